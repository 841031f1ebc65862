//! The facts for a decision: what the watches told, what our own answers told since, and what was read for it just now.

use std::time::Duration;

use tokio::time::Instant;

use crate::controller::cache::{Cache, OrphanedCopy, SourceVersion};
use crate::controller::reconcile::fresh_reads::FreshReads;
use crate::controller::reconcile::key_state::{CopyMemory, KeyState};
use crate::controller::reconcile::sources::{Found, Wanted};
use crate::rules::backoff;
use crate::rules::copy::facts::{CopyFacts, CopyState, Destination, NamespaceState, Owner, Reported, Source};
use crate::rules::copy::removal;
use crate::rules::copy::step::CopyStep;
use crate::rules::object::facts::ObjectFacts;
use crate::rules::record::{ConfigMapMeta, ObjectKey, SlimArc, Sync};
use crate::rules::uid::Uid;

/// A recheck of a missing source asks anew only if nobody has asked for nearly as long as it waited.
const RECHECK_SHARED: Duration = Duration::from_secs(240);

/// A snapshot of what is known about one sync, which [`ObjectFacts`] borrow from.
pub struct Snapshot {
    /// The sync, by its newest version known.
    pub sync: SlimArc<Sync>,
    /// What the watch knows of its source.
    pub source: SourceVersion,
    destination: Option<DestinationSnapshot>,
    orphaned_copies: Vec<DestinationSnapshot>,
    rival: Option<ObjectKey>,
    cycle: Option<Vec<ObjectKey>>,
}

struct DestinationSnapshot {
    key: ObjectKey,
    wanted_before: bool,
    namespace: NamespaceState,
    meta: Option<SlimArc<ConfigMapMeta>>,
    gone: bool,
    wanted_by_another: bool,
}

impl DestinationSnapshot {
    fn new(cache: &Cache, memory: &CopyMemory, key: &ObjectKey, uid: Uid, wanted_before: bool) -> Self {
        let observed = cache.configmap(key);
        let answered = memory.answer.as_ref().filter(|(at, _)| at == key).map(|(_, meta)| meta.clone());
        let newest = match (observed, answered) {
            (Some(observed), Some(answered)) if answered.version.rv > observed.version.rv => Some(answered),
            (None, answered) => answered,
            (observed, _) => observed,
        };
        let removed = memory.gone.as_ref().filter(|gone| gone.0 == *key).map(|gone| gone.1);
        let gone = removed.is_some_and(|uid| newest.as_ref().is_none_or(|meta| meta.version.uid == uid));
        let namespace = cache.namespace(&key.namespace).map_or(NamespaceState::Unknown, NamespaceState::from);
        let meta = newest.filter(|_| !gone);
        Self {
            key: key.clone(),
            wanted_before,
            namespace,
            meta,
            gone,
            wanted_by_another: cache.wanted_by_another(key, uid),
        }
    }

    fn with<'a>(&'a self, fresh: &'a FreshReads) -> Destination<'a> {
        let read = fresh.namespaces.iter().find(|(name, _)| *name == self.key.namespace).map(|(_, state)| *state);
        let copy = match (fresh.copy(&self.key), &self.meta) {
            (Some(Some(copy)), _) => CopyState::Read(&copy.read),
            (Some(None), _) => CopyState::Absent,
            (None, Some(meta)) => CopyState::Cached(meta),
            (None, None) if self.gone => CopyState::Absent,
            (None, None) => CopyState::Unknown,
        };
        Destination {
            key: &self.key,
            namespace: read.unwrap_or(self.namespace),
            copy,
            wanted_by_another: self.wanted_by_another,
            wanted_before: self.wanted_before,
        }
    }
}

impl Snapshot {
    /// Whether the sync is known to have wanted its copy there by nothing but the marks of what stands there.
    pub fn is_known_by_marks_only(&self, key: &ObjectKey) -> bool {
        self.orphaned_copies.iter().any(|copy| copy.key == *key && !copy.wanted_before)
    }

    /// What is known of a sync; `None` when it is gone.
    pub(super) fn of(cache: &Cache, memory: &KeyState, fresh: &FreshReads, uid: Uid) -> Option<Self> {
        let observed = cache.sync(uid)?;
        let sync = match &memory.object.answer {
            Some(answered) if answered.version.rv >= observed.version.rv => answered.clone(),
            _ => observed,
        };
        let spec = sync.spec.as_ref().ok();
        let destination = spec.map(|spec| DestinationSnapshot::new(cache, &memory.copy, &spec.destination, uid, true));
        let standing = destination.as_ref().map(|destination| (&destination.key, destination.with(fresh).copy.meta()));
        let rival = standing.and_then(|(key, meta)| cache.owner_of(key, meta)).filter(|rival| rival.uid() != uid);
        let reported = sync.status.copy.map(|copy| copy.uid);
        let orphaned_copy = |orphaned: &OrphanedCopy| {
            let mut copy = DestinationSnapshot::new(cache, &memory.copy, &orphaned.key, uid, orphaned.wanted);
            copy.wanted_before |= reported.is_some() && copy.meta.as_ref().map(|meta| meta.version.uid) == reported;
            copy
        };
        Some(Self {
            source: spec.map_or(SourceVersion::Unknown, |spec| cache.source(&spec.source)),
            orphaned_copies: cache.orphaned_copies(uid).iter().map(orphaned_copy).collect(),
            rival: rival.map(|rival| rival.key.clone()),
            cycle: cache.cycle(&sync),
            destination,
            sync,
        })
    }

    /// The facts about the sync.
    pub(super) fn facts<'a>(&'a self, memory: &'a KeyState, fresh: &'a FreshReads) -> ObjectFacts<'a> {
        ObjectFacts {
            sync: &self.sync,
            copy: self.copy_facts(memory, fresh),
            orphaned_copies: self.orphaned_copies.iter().map(|copy| copy.with(fresh)).collect(),
        }
    }

    /// The facts about its copy.
    fn copy_facts<'a>(&'a self, memory: &'a KeyState, fresh: &'a FreshReads) -> Option<CopyFacts<'a>> {
        let verified = memory.copy.verified.as_ref();
        let missing_since = memory.retries().missing_since;
        Some(CopyFacts {
            owner: Owner::of(&self.sync),
            spec: self.sync.spec.as_ref().ok()?,
            reported: Reported::by(&self.sync),
            asked: self.sync.request().is_some(),
            source: self.source(memory, fresh),
            missing_twice: missing_since.is_some_and(|since| since.elapsed() >= backoff::SOURCE_MISSING_TWICE),
            recheck: fresh.recheck,
            destination: self.destination.as_ref()?.with(fresh),
            rival: self.rival.clone(),
            cycle: self.cycle.clone(),
            verified: verified.map(|verified| (verified.source, verified.copy)),
            changed: verified.and_then(|verified| verified.changed.as_deref()),
            contested: memory.copy.held_back().map(|(_, manager)| manager.to_owned()),
        })
    }

    fn source(&self, memory: &KeyState, fresh: &FreshReads) -> Source {
        match &fresh.source {
            Some((Found::Missing, _)) => return Source::Missing,
            Some((Found::Content(content), sent)) if !self.outdated(content.version.rv) => {
                let uncached = fresh.copies_read_at.is_some_and(|read| *sent >= read);
                let immutable = content.immutable;
                return Source::InHand { version: content.version, hash: content.hash, immutable, uncached };
            }
            _ => {}
        }
        let reported = &self.sync.status;
        let of_this_spec = self.sync.is_observed();
        match self.source {
            SourceVersion::Version(rv) => Source::Observed(rv),
            SourceVersion::Gone => Source::Unknown,
            // No news since a sync named it: then it is as we, or a former holder, found it.
            SourceVersion::Unknown => memory
                .copy
                .verified
                .as_ref()
                .filter(|verified| verified.generation == self.sync.generation)
                .map(|verified| verified.source)
                .or(reported.source.filter(|_| of_this_spec))
                .map_or(Source::Unknown, |source| Source::Observed(source.rv)),
        }
    }

    fn outdated(&self, rv: u64) -> bool {
        matches!(self.source, SourceVersion::Version(newer) if newer > rv)
    }

    /// Which answer about the source will do. `uncached`: one to a GET that is sent from now on.
    pub(super) fn wanted(&self, memory: &KeyState, fresh: &FreshReads, uncached: bool) -> Wanted {
        let now = Instant::now();
        let twice =
            memory.retries().missing_since.map(|since| since + backoff::SOURCE_MISSING_TWICE).filter(|at| *at <= now);
        let sent_since = match (fresh.recheck, twice) {
            _ if fresh.asked => Some(now),
            (_, Some(at)) => Some(at),
            (true, None) => Some(now.checked_sub(RECHECK_SHARED).unwrap_or(now)),
            (false, None) => uncached.then_some(now),
        };
        Wanted { observed: self.source, sent_since }
    }
}

/// The next step for a copy whose sync, with this UID, is gone. `None`: it is left alone, or nothing stands there any more.
pub(super) fn sweep(
    cache: &Cache,
    memory: &CopyMemory,
    fresh: &FreshReads,
    orphaned: &OrphanedCopy,
    uid: Uid,
) -> Option<CopyStep> {
    let copy = DestinationSnapshot::new(cache, memory, &orphaned.key, uid, orphaned.wanted);
    removal::sweep(&copy.with(fresh), orphaned.orphan)
}
