//! The check of the history: who wrote what for a shard that was no longer theirs, and when that was made good.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use configmapsync_operator::rules::shard::Shard;
use configmapsync_operator::rules::uid::Uid;
use jiff::Timestamp;

use super::history::{Event, Life, What};
use crate::copies::Place;

/// A late write has to be undone within this time.
const UNDONE_WITHIN: Duration = Duration::from_secs(5);
/// A late status has to be: statuses wait while copies flow, and these flow for longer on a busy machine.
const STATUS_UNDONE_WITHIN: Duration = Duration::from_secs(15);

/// A write that took effect after another replica's tenure of the shard had begun, or would have, had it not been refused
/// since the object had changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Late {
    /// When.
    pub at: Timestamp,
    /// The shard.
    pub shard: Shard,
    /// What was written.
    pub what: String,
    /// Who wrote.
    pub by: String,
    /// Who held the shard; nobody, when it never was held.
    pub holder: String,
    /// Whether the writer had ever held it.
    pub held_before: bool,
    /// Whether it was refused.
    pub refused: bool,
    /// From the write until the object was as it should be; nothing passed when it was right as written.
    pub undone: Duration,
    /// How long that may take.
    pub within: Duration,
}

impl Late {
    /// Whether it is more than what is allowed of a process that was stopped between its gate and its send.
    pub fn is_wrong(&self) -> bool {
        !self.held_before || (!self.refused && self.undone > self.within)
    }
}

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shard, what, by, holder, .. } = self;
        write!(f, "{} by {by}, shard {shard} held by {holder}: ", what)?;
        match (self.held_before, self.undone) {
            (false, _) => f.write_str("it never held the shard"),
            (true, _) if self.refused => f.write_str("refused"),
            (true, Duration::ZERO) => f.write_str("right as written"),
            (true, undone) => write!(f, "undone after {:.2} s", undone.as_secs_f64()),
        }
    }
}

/// The late writes among `events`, which are in the order of the store. `whole` is when all objects were seen to be as
/// they should be, after the last of the events.
pub fn late_writes(events: &[Event], whole: Timestamp) -> Vec<Late> {
    let mut world = World::default();
    let mut found: Vec<(Late, Option<Right>)> = Vec::new();
    for event in events {
        // Of a copy that goes only the world before tells whose it was.
        let concerned = world.concerned(event);
        if !event.refused {
            world.take_in(event);
        }
        if let Some((uid, what)) = concerned
            && let Some(late) = world.late(event, &uid, what)
        {
            let right = (!event.refused).then(|| world.right(event, uid));
            found.push((late, right));
        }
        for (late, right) in &mut found {
            if right.as_ref().is_some_and(|right| world.is(right)) {
                late.undone = between(late.at, event.over);
                *right = None;
            }
        }
    }
    let at_the_end = |(mut late, right): (Late, Option<Right>)| {
        if right.is_some() {
            late.undone = between(late.at, whole);
        }
        late
    };
    found.into_iter().map(at_the_end).collect()
}

fn between(earlier: Timestamp, later: Timestamp) -> Duration {
    later.duration_since(earlier).try_into().unwrap_or_default()
}

/// What has to be so before a late write is made good.
enum Right {
    /// The copy holds this edition of its source, or a newer one; none is left when its sync is gone.
    Copy(Place, String, u64),
    /// The status speaks of these versions of source and copy, or of newer ones.
    Status(String, u64, u64),
    /// The sync has its finalizer.
    Finalizer(String),
}

#[derive(Default)]
struct World {
    tenures: BTreeMap<Shard, Tenures>,
    /// Edition and version.
    sources: BTreeMap<String, (u64, u64)>,
    syncs: BTreeMap<String, Sync>,
    copies: BTreeMap<Place, Copy>,
    /// Where a sync's copy stands, or stood.
    places: BTreeMap<String, Place>,
}

struct Tenures {
    holder: String,
    since: Timestamp,
    all: BTreeSet<String>,
}

struct Sync {
    source: String,
    life: Life,
    status: (u64, u64),
}

struct Copy {
    sync: String,
    edition: Option<u64>,
    version: u64,
}

impl World {
    fn take_in(&mut self, event: &Event) {
        match &event.what {
            What::Tenure(shard) => {
                let Some(holder) = event.by.clone() else { return };
                let new = || Tenures { holder: String::new(), since: event.over, all: BTreeSet::new() };
                let tenures = self.tenures.entry(*shard).or_insert_with(new);
                tenures.all.insert(holder.clone());
                if tenures.holder != holder {
                    (tenures.holder, tenures.since) = (holder, event.over);
                }
            }
            What::Source { name, edition, version } => {
                self.sources.insert(name.clone(), (*edition, *version));
            }
            What::Sync { uid, source, life } => {
                let new = || Sync { source: source.clone(), life: *life, status: (0, 0) };
                self.syncs.entry(uid.clone()).or_insert_with(new).life = *life;
            }
            What::Status { uid, source, copy } => {
                if let Some(sync) = self.syncs.get_mut(uid) {
                    sync.status = (*source, copy.unwrap_or_default());
                }
            }
            What::Copy { place, sync, edition, version } => {
                let before = self.copies.get(place).map(|copy| copy.sync.clone());
                let Some(sync) = sync.clone().or(before) else { return };
                self.places.insert(sync.clone(), place.clone());
                self.copies.insert(place.clone(), Copy { sync, edition: *edition, version: *version });
            }
            What::CopyGone(place) => {
                self.copies.remove(place);
            }
        }
    }

    /// The sync that a replica wrote for, and what it wrote.
    fn concerned(&self, event: &Event) -> Option<(String, String)> {
        event.by.as_ref()?;
        let at = |(namespace, name): &Place| format!("{namespace}/{name}");
        match &event.what {
            What::Tenure(_) | What::Source { .. } => None,
            What::Sync { uid, .. } => Some((uid.clone(), format!("finalizer of {}", self.name(uid)))),
            What::Status { uid, .. } => Some((uid.clone(), format!("status of {}", self.name(uid)))),
            What::Copy { place, sync, .. } => Some((sync.clone()?, format!("copy {}", at(place)))),
            What::CopyGone(place) => Some((self.copies.get(place)?.sync.clone(), format!("no copy {}", at(place)))),
        }
    }

    fn name(&self, uid: &str) -> String {
        self.places.get(uid).map_or_else(|| uid.to_owned(), |(_, name)| name.clone())
    }

    fn late(&self, event: &Event, uid: &str, what: String) -> Option<Late> {
        let by = event.by.clone()?;
        let shard = Shard::of(Uid::parse(uid)?);
        let tenures = self.tenures.get(&shard);
        if let Some(tenures) = tenures {
            // Where a deletion, or what was refused, stands in the order of the store is known by the requests' times only.
            let unordered = event.refused || matches!(event.what, What::CopyGone(_));
            let at_once = unordered && tenures.since > event.begun;
            if tenures.holder == by || at_once && tenures.all.contains(&by) {
                return None;
            }
        }
        Some(Late {
            at: event.over,
            shard,
            what,
            held_before: tenures.is_some_and(|tenures| tenures.all.contains(&by)),
            by,
            holder: tenures.map_or_else(|| "nobody".to_owned(), |tenures| tenures.holder.clone()),
            refused: event.refused,
            undone: Duration::ZERO,
            within: match event.what {
                What::Status { .. } => STATUS_UNDONE_WITHIN,
                _ => UNDONE_WITHIN,
            },
        })
    }

    /// What has to be so after this write of a replica for this sync.
    fn right(&self, event: &Event, uid: String) -> Right {
        let source = self.syncs.get(&uid).and_then(|sync| self.sources.get(&sync.source));
        let (edition, version) = source.copied().unwrap_or_default();
        match &event.what {
            What::Copy { place, .. } | What::CopyGone(place) => Right::Copy(place.clone(), uid, edition),
            What::Status { .. } => {
                let copy = self.places.get(&uid).and_then(|place| self.copies.get(place));
                Right::Status(uid, version, copy.map_or(0, |copy| copy.version))
            }
            _ => Right::Finalizer(uid),
        }
    }

    fn is(&self, right: &Right) -> bool {
        let (Right::Copy(_, uid, _) | Right::Status(uid, ..) | Right::Finalizer(uid)) = right;
        let sync = self.syncs.get(uid);
        let life = sync.map_or(Life::Gone, |sync| sync.life);
        let wanted = matches!(life, Life::New | Life::Live);
        match right {
            Right::Copy(place, _, edition) => {
                let copy = self.copies.get(place).filter(|copy| copy.sync == *uid);
                match copy {
                    Some(copy) => wanted && copy.edition.is_some_and(|held| held >= *edition),
                    None => !wanted,
                }
            }
            Right::Status(_, source, copy) => {
                !wanted || sync.is_some_and(|sync| sync.status.0 >= *source && sync.status.1 >= *copy)
            }
            Right::Finalizer(_) => life != Life::New,
        }
    }
}

#[cfg(test)]
#[path = "late_tests.rs"]
mod tests;
