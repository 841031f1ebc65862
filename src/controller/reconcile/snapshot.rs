//! The facts for a decision: what the streams told, what our own answers told since, and what was read for it just now.

use std::time::Duration;

use tokio::time::Instant;

use crate::controller::cache::{Leftover, SourceWord, World};
use crate::controller::reconcile::memo::Memo;
use crate::controller::reconcile::sources::{Found, Wanted};
use crate::kubernetes::reader::CopyRead;
use crate::rules::backoff;
use crate::rules::copy::facts::{Facts, Home, Source, Spot, Standing};
use crate::rules::copy::plan;
use crate::rules::copy::step::{Step, Until};
use crate::rules::record::{Name, Place, Seen, Shared, Sync};
use crate::rules::uid::Uid;

/// A recheck of a missing source asks anew only if nobody has asked for nearly as long as it waited.
const RECHECK_SHARED: Duration = Duration::from_secs(240);

/// What was read for one look at a key. Forgotten afterwards.
#[derive(Default)]
pub struct Local {
    /// The source, and when the GET was sent.
    pub source: Option<(Found, Instant)>,
    /// What was read at places: `None` for nothing there.
    pub copies: Vec<(Place, Option<CopyRead>)>,
    /// When the answer of the last read of a copy came.
    pub copies_read_at: Option<Instant>,
    /// Namespaces that were read, or of which a refusal told.
    pub namespaces: Vec<(Name, Home)>,
    /// Whether a missing source is to be asked for again.
    pub recheck: bool,
    /// Whether a person asks for an attempt now.
    pub asked: bool,
    /// How many conflicts about the copy there were in this look.
    pub conflicts: u32,
}

impl Local {
    /// What was read at a place.
    pub fn copy(&self, place: &Place) -> Option<&Option<CopyRead>> {
        self.copies.iter().find(|(at, _)| at == place).map(|(_, read)| read)
    }

    /// Notes what was read at a place.
    pub fn put_copy(&mut self, place: Place, read: Option<CopyRead>) {
        self.forget_copy(&place);
        self.copies.push((place, read));
        self.copies_read_at = Some(Instant::now());
    }

    /// Takes out what was read at a place.
    pub fn take_copy(&mut self, place: &Place) -> Option<CopyRead> {
        let at = self.copies.iter().position(|(at, _)| at == place)?;
        self.copies.swap_remove(at).1
    }

    /// What was read at a place has been written over.
    pub fn forget_copy(&mut self, place: &Place) {
        self.copies.retain(|(at, _)| at != place);
    }

    /// Notes what is known of a namespace.
    pub fn put_namespace(&mut self, name: &Name, home: Home) {
        self.namespaces.retain(|(other, _)| other != name);
        self.namespaces.push((name.clone(), home));
    }
}

/// A snapshot of what is known about one sync, which [`Facts`] borrow from.
pub struct View {
    /// The sync, by its newest version known.
    pub sync: Shared<Sync>,
    /// What the stream knows of its source.
    pub word: SourceWord,
    destination: Option<Corner>,
    leftovers: Vec<Corner>,
    owner: Option<Place>,
    ring: Option<Vec<Place>>,
}

struct Corner {
    place: Place,
    known: bool,
    home: Home,
    seen: Option<Shared<Seen>>,
    gone: bool,
    wanted_by_another: bool,
}

impl Corner {
    fn new(world: &World, memo: &Memo, place: &Place, uid: Uid, known: bool) -> Self {
        let told = world.configmap(place);
        let answered = memo.copy.as_ref().filter(|(at, _)| at == place).map(|(_, seen)| seen.clone());
        let newest = match (told, answered) {
            (Some(told), Some(answered)) if answered.version.rv > told.version.rv => Some(answered),
            (None, answered) => answered,
            (told, _) => told,
        };
        let removed = memo.gone.as_ref().filter(|gone| gone.0 == *place).map(|gone| gone.1);
        let gone = removed.is_some_and(|uid| newest.as_ref().is_none_or(|seen| seen.version.uid == uid));
        let home = match world.namespace(&place.namespace) {
            None => Home::Unknown,
            Some(namespace) if namespace.terminating => Home::Terminating,
            Some(namespace) => Home::Live(namespace.uid),
        };
        let seen = newest.filter(|_| !gone);
        Self { place: place.clone(), known, home, seen, gone, wanted_by_another: world.wanted_by_another(place, uid) }
    }

    fn spot<'a>(&'a self, local: &'a Local) -> Spot<'a> {
        let read = local.namespaces.iter().find(|(name, _)| *name == self.place.namespace).map(|(_, home)| *home);
        let copy = match (local.copy(&self.place), &self.seen) {
            (Some(Some(copy)), _) => Standing::Read(&copy.read),
            (Some(None), _) => Standing::Absent,
            (None, Some(seen)) => Standing::Seen(seen),
            (None, None) if self.gone => Standing::Absent,
            (None, None) => Standing::Unknown,
        };
        Spot {
            place: &self.place,
            namespace: read.unwrap_or(self.home),
            copy,
            wanted_by_another: self.wanted_by_another,
            known: self.known,
        }
    }
}

impl View {
    /// Whether a place is a former one of the sync only by the marks of what stands there.
    pub fn is_strange(&self, place: &Place) -> bool {
        self.leftovers.iter().any(|corner| corner.place == *place && !corner.known)
    }

    /// What is known of a sync; `None` when it is gone.
    pub fn of(world: &World, memo: &Memo, local: &Local, uid: Uid) -> Option<Self> {
        let told = world.sync(uid)?;
        let sync = match &memo.sync {
            Some(answered) if answered.version.rv >= told.version.rv => answered.clone(),
            _ => told,
        };
        let spec = sync.spec.as_ref().ok();
        let destination = spec.map(|spec| Corner::new(world, memo, &spec.destination, uid, true));
        let standing = destination.as_ref().map(|corner| (&corner.place, corner.spot(local).copy.seen()));
        let owner = standing.and_then(|(place, seen)| world.owner_of(place, seen)).filter(|owner| owner.uid() != uid);
        let told_of = sync.status.copy.map(|copy| copy.uid);
        let leftover = |leftover: &Leftover| {
            let mut corner = Corner::new(world, memo, &leftover.place, uid, leftover.wanted);
            corner.known |= told_of.is_some() && corner.seen.as_ref().map(|seen| seen.version.uid) == told_of;
            corner
        };
        let leftovers = world.leftovers(uid);
        Some(Self {
            word: spec.map_or(SourceWord::Unheard, |spec| world.source(&spec.source)),
            leftovers: leftovers.iter().map(leftover).collect(),
            owner: owner.map(|owner| owner.key.clone()),
            ring: world.ring(&sync),
            destination,
            sync,
        })
    }

    /// The facts, with what was read just now.
    pub fn facts<'a>(&'a self, memo: &'a Memo, local: &'a Local) -> Facts<'a> {
        Facts {
            sync: &self.sync,
            source: self.source(memo, local),
            missing_twice: memo
                .trouble()
                .missing_since
                .is_some_and(|since| since.elapsed() >= backoff::SOURCE_MISSING_TWICE),
            recheck: local.recheck,
            destination: self.destination.as_ref().map(|corner| corner.spot(local)),
            leftovers: self.leftovers.iter().map(|corner| corner.spot(local)).collect(),
            owner: self.owner.clone(),
            ring: self.ring.clone(),
            verified: memo.verified.as_ref().map(|verified| (verified.source, verified.copy)),
            changed: memo.verified.as_ref().and_then(|verified| verified.changed.as_deref()),
            contested: memo.held_back().map(|(_, manager)| manager.to_owned()),
        }
    }

    fn source(&self, memo: &Memo, local: &Local) -> Source {
        match &local.source {
            Some((Found::Missing, _)) => return Source::Missing,
            Some((Found::Content(content), sent)) if !self.outdated(content.version.rv) => {
                let last_word = local.copies_read_at.is_some_and(|read| *sent >= read);
                let immutable = content.immutable;
                return Source::InHand { version: content.version, hash: content.hash, immutable, last_word };
            }
            _ => {}
        }
        let told = &self.sync.status;
        let of_this_spec = self.sync.is_observed();
        match self.word {
            SourceWord::Version(rv) => Source::Seen(rv),
            SourceWord::Gone => Source::Unknown,
            // No news since a sync named it: then it is as we, or a former holder, found it.
            SourceWord::Unheard => memo
                .verified
                .as_ref()
                .filter(|verified| verified.generation == self.sync.generation)
                .map(|verified| verified.source)
                .or(told.source.filter(|_| of_this_spec))
                .map_or(Source::Unknown, |source| Source::Seen(source.rv)),
        }
    }

    fn outdated(&self, rv: u64) -> bool {
        matches!(self.word, SourceWord::Version(newer) if newer > rv)
    }

    /// Which answer about the source will do. `last_word`: one to a GET that is sent from now on.
    pub fn wanted(&self, memo: &Memo, local: &Local, last_word: bool) -> Wanted {
        let now = Instant::now();
        let twice =
            memo.trouble().missing_since.map(|since| since + backoff::SOURCE_MISSING_TWICE).filter(|at| *at <= now);
        let sent_since = match (local.recheck, twice) {
            _ if local.asked => Some(now),
            (_, Some(at)) => Some(at),
            (true, None) => Some(now.checked_sub(RECHECK_SHARED).unwrap_or(now)),
            (false, None) => last_word.then_some(now),
        };
        Wanted { word: self.word, sent_since }
    }
}

/// Whether there is nothing to do for a key, by what the streams told alone: most keys of a shard that was just taken
/// over need no more than this look.
pub fn is_at_rest(world: &World, uid: Uid) -> bool {
    let (memo, local) = (Memo::default(), Local::default());
    let view = View::of(world, &memo, &local, uid);
    view.is_some_and(|view| plan::next(&view.facts(&memo, &local)) == Step::Rest(Until::Change))
}

/// The facts about a copy whose sync is gone. `None` when nothing stands there any more.
pub fn leftover<'a>(
    world: &World,
    local: &'a Local,
    leftover: &'a Leftover,
    uid: Uid,
) -> Option<(Place, OwnedSpot<'a>)> {
    let seen = world.configmap(&leftover.place)?;
    let sync = seen.mark.as_ref()?.sync.clone();
    Some((
        sync,
        OwnedSpot { corner: Corner::new(world, &Memo::default(), &leftover.place, uid, leftover.wanted), local },
    ))
}

/// A spot with what it borrows from.
pub struct OwnedSpot<'a> {
    corner: Corner,
    local: &'a Local,
}

impl OwnedSpot<'_> {
    /// The spot.
    pub fn spot(&self) -> Spot<'_> {
        self.corner.spot(self.local)
    }
}
