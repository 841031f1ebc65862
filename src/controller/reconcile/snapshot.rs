//! The facts for a decision: what the streams told, what our own answers told since, and what was read for it just now.

use std::time::Duration;

use tokio::time::Instant;

use crate::controller::cache::{Cache, OrphanedCopy, SourceVersion};
use crate::controller::reconcile::key_state::KeyState;
use crate::controller::reconcile::sources::{Found, Wanted};
use crate::kubernetes::reader::CopyRead;
use crate::rules::backoff;
use crate::rules::copy::facts::{CopyState, Destination, Facts, NamespaceState, Source};
use crate::rules::copy::plan;
use crate::rules::copy::step::{Step, Until};
use crate::rules::record::{ConfigMapMeta, Name, ObjectKey, SlimArc, Sync};
use crate::rules::uid::Uid;

/// A recheck of a missing source asks anew only if nobody has asked for nearly as long as it waited.
const RECHECK_SHARED: Duration = Duration::from_secs(240);

/// What was read while a key was at work. Forgotten when its work ends.
#[derive(Default)]
pub struct FreshReads {
    /// The source, and when the GET was sent.
    pub source: Option<(Found, Instant)>,
    /// What was read at places: `None` for nothing there.
    pub copies: Vec<(ObjectKey, Option<CopyRead>)>,
    /// When the answer of the last read of a copy came.
    pub copies_read_at: Option<Instant>,
    /// Namespaces that were read, or of which a refusal told.
    pub namespaces: Vec<(Name, NamespaceState)>,
    /// Whether a missing source is to be asked for again.
    pub recheck: bool,
    /// Whether a person asks for an attempt now.
    pub asked: bool,
    /// How many conflicts about the copy there were in this look.
    pub conflicts: u32,
}

impl FreshReads {
    /// What was read at a place.
    pub fn copy(&self, place: &ObjectKey) -> Option<&Option<CopyRead>> {
        self.copies.iter().find(|(at, _)| at == place).map(|(_, read)| read)
    }

    /// Notes what was read at a place.
    pub fn put_copy(&mut self, place: ObjectKey, read: Option<CopyRead>) {
        self.forget_copy(&place);
        self.copies.push((place, read));
        self.copies_read_at = Some(Instant::now());
    }

    /// Takes out what was read at a place.
    pub fn take_copy(&mut self, place: &ObjectKey) -> Option<CopyRead> {
        let at = self.copies.iter().position(|(at, _)| at == place)?;
        self.copies.swap_remove(at).1
    }

    /// What was read at a place has been written over.
    pub fn forget_copy(&mut self, place: &ObjectKey) {
        self.copies.retain(|(at, _)| at != place);
    }

    /// Notes what is known of a namespace.
    pub fn put_namespace(&mut self, name: &Name, home: NamespaceState) {
        self.namespaces.retain(|(other, _)| other != name);
        self.namespaces.push((name.clone(), home));
    }
}

/// A snapshot of what is known about one sync, which [`Facts`] borrow from.
pub struct Snapshot {
    /// The sync, by its newest version known.
    pub sync: SlimArc<Sync>,
    /// What the stream knows of its source.
    pub word: SourceVersion,
    destination: Option<DestinationSnapshot>,
    orphaned_copies: Vec<DestinationSnapshot>,
    owner: Option<ObjectKey>,
    ring: Option<Vec<ObjectKey>>,
}

struct DestinationSnapshot {
    place: ObjectKey,
    known: bool,
    home: NamespaceState,
    seen: Option<SlimArc<ConfigMapMeta>>,
    gone: bool,
    wanted_by_another: bool,
}

impl DestinationSnapshot {
    fn new(cache: &Cache, key_state: &KeyState, place: &ObjectKey, uid: Uid, known: bool) -> Self {
        let told = cache.configmap(place);
        let answered = key_state.copy.as_ref().filter(|(at, _)| at == place).map(|(_, seen)| seen.clone());
        let newest = match (told, answered) {
            (Some(told), Some(answered)) if answered.version.rv > told.version.rv => Some(answered),
            (None, answered) => answered,
            (told, _) => told,
        };
        let removed = key_state.gone.as_ref().filter(|gone| gone.0 == *place).map(|gone| gone.1);
        let gone = removed.is_some_and(|uid| newest.as_ref().is_none_or(|seen| seen.version.uid == uid));
        let home = match cache.namespace(&place.namespace) {
            None => NamespaceState::Unknown,
            Some(namespace) if namespace.terminating => NamespaceState::Terminating,
            Some(namespace) => NamespaceState::Live(namespace.uid),
        };
        let seen = newest.filter(|_| !gone);
        Self { place: place.clone(), known, home, seen, gone, wanted_by_another: cache.wanted_by_another(place, uid) }
    }

    fn with<'a>(&'a self, fresh: &'a FreshReads) -> Destination<'a> {
        let read = fresh.namespaces.iter().find(|(name, _)| *name == self.place.namespace).map(|(_, home)| *home);
        let copy = match (fresh.copy(&self.place), &self.seen) {
            (Some(Some(copy)), _) => CopyState::Read(&copy.read),
            (Some(None), _) => CopyState::Absent,
            (None, Some(seen)) => CopyState::Cached(seen),
            (None, None) if self.gone => CopyState::Absent,
            (None, None) => CopyState::Unknown,
        };
        Destination {
            place: &self.place,
            namespace: read.unwrap_or(self.home),
            copy,
            wanted_by_another: self.wanted_by_another,
            known: self.known,
        }
    }
}

impl Snapshot {
    /// Whether a place is a former one of the sync only by the marks of what stands there.
    pub fn is_strange(&self, place: &ObjectKey) -> bool {
        self.orphaned_copies.iter().any(|destination| destination.place == *place && !destination.known)
    }

    /// What is known of a sync; `None` when it is gone.
    pub fn of(cache: &Cache, key_state: &KeyState, fresh: &FreshReads, uid: Uid) -> Option<Self> {
        let told = cache.sync(uid)?;
        let sync = match &key_state.sync {
            Some(answered) if answered.version.rv >= told.version.rv => answered.clone(),
            _ => told,
        };
        let spec = sync.spec.as_ref().ok();
        let destination = spec.map(|spec| DestinationSnapshot::new(cache, key_state, &spec.destination, uid, true));
        let standing =
            destination.as_ref().map(|destination| (&destination.place, destination.with(fresh).copy.seen()));
        let owner = standing.and_then(|(place, seen)| cache.owner_of(place, seen)).filter(|owner| owner.uid() != uid);
        let told_of = sync.status.copy.map(|copy| copy.uid);
        let orphaned_copy = |orphaned_copy: &OrphanedCopy| {
            let mut destination =
                DestinationSnapshot::new(cache, key_state, &orphaned_copy.place, uid, orphaned_copy.wanted);
            destination.known |= told_of.is_some() && destination.seen.as_ref().map(|seen| seen.version.uid) == told_of;
            destination
        };
        let orphaned_copies = cache.orphaned_copies(uid);
        Some(Self {
            word: spec.map_or(SourceVersion::Unknown, |spec| cache.source(&spec.source)),
            orphaned_copies: orphaned_copies.iter().map(orphaned_copy).collect(),
            owner: owner.map(|owner| owner.key.clone()),
            ring: cache.ring(&sync),
            destination,
            sync,
        })
    }

    /// The facts, with what was read just now.
    pub fn facts<'a>(&'a self, key_state: &'a KeyState, fresh: &'a FreshReads) -> Facts<'a> {
        Facts {
            sync: &self.sync,
            source: self.source(key_state, fresh),
            missing_twice: key_state
                .trouble()
                .missing_since
                .is_some_and(|since| since.elapsed() >= backoff::SOURCE_MISSING_TWICE),
            recheck: fresh.recheck,
            destination: self.destination.as_ref().map(|destination| destination.with(fresh)),
            orphaned_copies: self.orphaned_copies.iter().map(|destination| destination.with(fresh)).collect(),
            owner: self.owner.clone(),
            ring: self.ring.clone(),
            verified: key_state.verified.as_ref().map(|verified| (verified.source, verified.copy)),
            changed: key_state.verified.as_ref().and_then(|verified| verified.changed.as_deref()),
            contested: key_state.held_back().map(|(_, manager)| manager.to_owned()),
        }
    }

    fn source(&self, key_state: &KeyState, fresh: &FreshReads) -> Source {
        match &fresh.source {
            Some((Found::Missing, _)) => return Source::Missing,
            Some((Found::Content(content), sent)) if !self.outdated(content.version.rv) => {
                let uncached = fresh.copies_read_at.is_some_and(|read| *sent >= read);
                let immutable = content.immutable;
                return Source::InHand { version: content.version, hash: content.hash, immutable, uncached };
            }
            _ => {}
        }
        let told = &self.sync.status;
        let of_this_spec = self.sync.is_observed();
        match self.word {
            SourceVersion::Version(rv) => Source::Observed(rv),
            SourceVersion::Gone => Source::Unknown,
            // No news since a sync named it: then it is as we, or a former holder, found it.
            SourceVersion::Unknown => key_state
                .verified
                .as_ref()
                .filter(|verified| verified.generation == self.sync.generation)
                .map(|verified| verified.source)
                .or(told.source.filter(|_| of_this_spec))
                .map_or(Source::Unknown, |source| Source::Observed(source.rv)),
        }
    }

    fn outdated(&self, rv: u64) -> bool {
        matches!(self.word, SourceVersion::Version(newer) if newer > rv)
    }

    /// Which answer about the source will do. `uncached`: one to a GET that is sent from now on.
    pub fn wanted(&self, key_state: &KeyState, fresh: &FreshReads, uncached: bool) -> Wanted {
        let now = Instant::now();
        let twice = key_state
            .trouble()
            .missing_since
            .map(|since| since + backoff::SOURCE_MISSING_TWICE)
            .filter(|at| *at <= now);
        let sent_since = match (fresh.recheck, twice) {
            _ if fresh.asked => Some(now),
            (_, Some(at)) => Some(at),
            (true, None) => Some(now.checked_sub(RECHECK_SHARED).unwrap_or(now)),
            (false, None) => uncached.then_some(now),
        };
        Wanted { word: self.word, sent_since }
    }
}

/// Whether there is nothing to do for a key, by what the streams told alone: most keys of a shard that was just taken
/// over need no more than this look.
pub fn is_at_rest(cache: &Cache, uid: Uid) -> bool {
    let (key_state, fresh) = (KeyState::default(), FreshReads::default());
    let view = Snapshot::of(cache, &key_state, &fresh, uid);
    view.is_some_and(|view| plan::next(&view.facts(&key_state, &fresh)) == Step::Rest(Until::Change))
}

/// The facts about a copy whose sync is gone. `None` when nothing stands there any more.
pub fn orphaned_copy<'a>(
    cache: &Cache,
    fresh: &'a FreshReads,
    orphaned_copy: &'a OrphanedCopy,
    uid: Uid,
) -> Option<(ObjectKey, OwnedDestination<'a>)> {
    let seen = cache.configmap(&orphaned_copy.place)?;
    let sync = seen.mark.as_ref()?.sync.clone();
    Some((
        sync,
        OwnedDestination {
            destination: DestinationSnapshot::new(
                cache,
                &KeyState::default(),
                &orphaned_copy.place,
                uid,
                orphaned_copy.wanted,
            ),
            fresh,
        },
    ))
}

/// A destination with what it borrows from.
pub struct OwnedDestination<'a> {
    destination: DestinationSnapshot,
    fresh: &'a FreshReads,
}

impl OwnedDestination<'_> {
    /// The destination.
    pub fn destination(&self) -> Destination<'_> {
        self.destination.with(self.fresh)
    }
}
