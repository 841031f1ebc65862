//! The facts for a decision: what the watches told, what our own answers told since, and what was read for it just now.

use std::time::Duration;

use tokio::time::Instant;

use crate::controller::cache::{Cache, OrphanedCopy, SourceVersion};
use crate::controller::reconcile::fresh_reads::FreshReads;
use crate::controller::reconcile::in_hand::InHand;
use crate::controller::reconcile::key_state::{CopyKeyState, KeyState, Retries};
use crate::controller::reconcile::shaping;
use crate::controller::reconcile::sources::{Found, Wanted};
use crate::rules::backoff;
use crate::rules::cluster::record::{ClusterSync, CopyRecord, Expected, content_mark, parse_content_mark};
use crate::rules::copy::facts::{
    ConsentFacts, CopyFacts, CopyState, Destination, NamespaceState, Owner, Reported, Source,
};
use crate::rules::copy::removal;
use crate::rules::copy::step::DestinationStep;
use crate::rules::object::facts::ObjectFacts;
use crate::rules::record::{ConfigMapMeta, Name, ObjectKey, ObservedStatus, SlimArc, Sync};
use crate::rules::uid::{Uid, Version};

/// A recheck of a missing source asks anew only if nobody has asked for nearly as long as it waited.
pub(super) const RECHECK_SHARED: Duration = Duration::from_secs(240);

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
    /// What is known of the copy's content, where it is one of many.
    record: Option<CopyRecord>,
    /// What the source's owner says to the copy.
    consent: ConsentFacts,
}

struct DestinationSnapshot {
    key: ObjectKey,
    wanted_before: bool,
    namespace: NamespaceState,
    meta: Option<SlimArc<ConfigMapMeta>>,
    gone: bool,
    wanted_by_another: bool,
    forbidden: bool,
}

impl DestinationSnapshot {
    fn new(cache: &Cache, key_state: &CopyKeyState, key: &ObjectKey, uid: Uid, wanted_before: bool) -> Self {
        let observed = cache.configmap(key);
        let answered = key_state.answer.as_ref().filter(|(at, _)| at == key).map(|(_, meta)| meta.clone());
        let newest = match (observed, answered) {
            (Some(observed), Some(answered)) if answered.version.rv > observed.version.rv => Some(answered),
            (None, answered) => answered,
            (observed, _) => observed,
        };
        let removed = key_state.gone.as_ref().filter(|gone| gone.0 == *key).map(|gone| gone.1);
        let gone = removed.is_some_and(|uid| newest.as_ref().is_none_or(|meta| meta.version.uid == uid));
        let namespace = cache.namespace_state(&key.namespace);
        let meta = newest.filter(|_| !gone);
        Self {
            key: key.clone(),
            wanted_before,
            namespace,
            meta,
            gone,
            wanted_by_another: cache.wanted_by_another(key, uid),
            forbidden: cache.forbids(&key.namespace),
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
            namespace: match (read, self.namespace) {
                // The watch may have told of the label since.
                (Some(NamespaceState::Live(_)), refusing @ NamespaceState::Refusing(_)) => refusing,
                (read, known) => read.unwrap_or(known),
            },
            copy,
            wanted_by_another: self.wanted_by_another,
            wanted_before: self.wanted_before,
            forbidden: self.forbidden,
        }
    }
}

impl Snapshot {
    /// Whether the sync is known to have wanted its copy there by nothing but the marks of what stands there.
    pub fn is_known_by_marks_only(&self, key: &ObjectKey) -> bool {
        self.orphaned_copies.iter().any(|copy| copy.key == *key && !copy.wanted_before)
    }

    /// What is known of a sync; `None` when it is gone.
    pub(super) fn of(cache: &Cache, key_state: &KeyState, fresh: &FreshReads, uid: Uid) -> Option<Self> {
        let observed = cache.sync(uid)?;
        let sync = match &key_state.object.answer {
            Some(answered) if answered.version.rv >= observed.version.rv => answered.clone(),
            _ => observed,
        };
        let spec = sync.spec.as_ref().ok();
        let destination =
            spec.map(|spec| DestinationSnapshot::new(cache, &key_state.copy, &spec.destination, uid, true));
        let standing = destination.as_ref().map(|destination| (&destination.key, destination.with(fresh).copy.meta()));
        let rival = standing.and_then(|(key, meta)| cache.owner_of(key, meta)).filter(|rival| rival.uid() != uid);
        let reported = sync.status.copy.map(|copy| copy.uid);
        let orphaned_copy = |orphaned: &OrphanedCopy| {
            let mut copy = DestinationSnapshot::new(cache, &key_state.copy, &orphaned.key, uid, orphaned.wanted);
            copy.wanted_before |= reported.is_some() && copy.meta.as_ref().map(|meta| meta.version.uid) == reported;
            copy
        };
        let snapshot = Self {
            source: spec.map_or(SourceVersion::Unknown, |spec| cache.source(&spec.source)),
            orphaned_copies: cache.orphaned_copies(uid).iter().map(orphaned_copy).collect(),
            rival: rival.map(|rival| rival.key.clone()),
            cycle: cache.cycle(&sync),
            destination,
            record: None,
            consent: ConsentFacts::default(),
            sync,
        };
        Some(snapshot.with_consent(cache, fresh))
    }

    /// What is known of one of the many copies of an object: as of a sync that wants its copy in this namespace. `None` when the
    /// object's spec makes no sense.
    pub(super) fn of_one_of_many(
        cache: &Cache,
        key_state: &KeyState,
        fresh: &FreshReads,
        object: &ClusterSync,
        namespace: &Name,
        expected: Option<Expected>,
    ) -> Option<Self> {
        let mut sync = object.in_namespace(namespace)?;
        let spec = sync.spec.clone().ok()?;
        let uid = object.uid();
        let source = cache.source(&spec.source);
        let destination = DestinationSnapshot::new(cache, &key_state.copy, &spec.destination, uid, true);
        let record = cache.copy_record(uid, &spec.destination);
        sync.status = reported(object, expected, destination.meta.as_deref(), record);
        let rival = cache.owner_of(&spec.destination, destination.with(fresh).copy.meta());
        let elsewhere = cache.copies_in(uid, namespace).into_iter().filter(|key| *key != spec.destination);
        let snapshot = Self {
            source,
            orphaned_copies: elsewhere
                .map(|key| DestinationSnapshot::new(cache, &key_state.copy, &key, uid, true))
                .collect(),
            rival: rival.filter(|rival| rival.uid() != uid).map(|rival| rival.key.clone()),
            cycle: cache.cycle(&sync),
            destination: Some(destination),
            record,
            consent: ConsentFacts::default(),
            sync: SlimArc::new(sync),
        };
        Some(snapshot.with_consent(cache, fresh))
    }

    /// The same with what the source's owner says: by the answer that told the content, where that is in hand.
    fn with_consent(mut self, cache: &Cache, fresh: &FreshReads) -> Self {
        if let Ok(spec) = &self.sync.spec {
            let in_hand = self.in_hand(fresh).map(|content| content.sharing.as_deref());
            self.consent = cache.consent(spec.require_consent, &spec.source, in_hand, &spec.destination.namespace);
        }
        self
    }

    /// The facts about the sync.
    pub(super) fn facts<'a>(&'a self, key_state: &'a KeyState, fresh: &'a FreshReads) -> ObjectFacts<'a> {
        ObjectFacts {
            sync: &self.sync,
            copy: self.copy_facts(key_state, fresh),
            orphaned_copies: self.orphaned_copies.iter().map(|copy| copy.with(fresh)).collect(),
            take_over_waited: key_state.take_over_waited(),
        }
    }

    /// The facts about its copy.
    fn copy_facts<'a>(&'a self, key_state: &'a KeyState, fresh: &'a FreshReads) -> Option<CopyFacts<'a>> {
        let destination = self.destination.as_ref()?.with(fresh);
        let meta = destination.copy.meta();
        let read = fresh.copy(destination.key).and_then(Option::as_ref);
        let shape = shaping::facts(&self.sync, self.in_hand(fresh), meta, read, self.record);
        // Another spec may want other keys or other labels of the same source.
        let any_spec = !(shape.wanted || meta.is_some_and(|meta| meta.shaped));
        let verified = key_state.copy.verified.as_ref();
        let verified = verified.filter(|verified| any_spec || verified.generation == self.sync.generation);
        let missing_since = key_state.retries().missing_since;
        Some(CopyFacts {
            owner: Owner::of(&self.sync),
            spec: self.sync.spec.as_ref().ok()?,
            reported: Reported::by(&self.sync),
            asked: self.sync.request().is_some(),
            source: self.source(key_state, fresh),
            missing_twice: missing_since.is_some_and(|since| since.elapsed() >= backoff::SOURCE_MISSING_TWICE),
            recheck: fresh.recheck,
            destination,
            rival: self.rival.clone(),
            cycle: self.cycle.clone(),
            verified: verified.map(|verified| (verified.source, verified.copy)).or_else(|| self.proven(fresh)),
            changed: verified.and_then(|verified| verified.changed.as_deref()),
            contested: key_state.copy.held_back().map(|(_, manager)| manager.to_owned()),
            shape,
            consent: ConsentFacts { refused_twice: refused_twice(key_state, fresh), ..self.consent },
        })
    }

    /// What a copy is to hold of the content in hand.
    pub(super) fn content(&self, fresh: &FreshReads) -> Option<Expected> {
        let Some((Found::Content(content), _)) = &fresh.source else { return None };
        let shaped = content.shaped_for(&self.sync).ok()?;
        Some(Expected { source: content.version, content: content_mark(&shaped.hash) })
    }

    /// The content in hand, if the watch tells of no newer version.
    fn in_hand<'a>(&self, fresh: &'a FreshReads) -> Option<&'a InHand> {
        match &fresh.source {
            Some((Found::Content(content), _)) if !self.outdated(content.version.rv) => Some(content),
            _ => None,
        }
    }

    /// The versions of source and copy, where the copy's marks name the content in hand, and nobody has touched it since.
    fn proven(&self, fresh: &FreshReads) -> Option<(Version, Version)> {
        let (record, meta) = (self.record.filter(|record| record.proven)?, self.destination.as_ref()?.meta.as_ref()?);
        let expected = self.content(fresh)?;
        let holds_it = record.rv == meta.version.rv && record.content == expected.content;
        holds_it.then_some((expected.source, meta.version))
    }

    fn source(&self, key_state: &KeyState, fresh: &FreshReads) -> Source {
        match &fresh.source {
            Some((Found::Missing, _)) => return Source::Missing,
            Some((Found::Content(content), sent)) if !self.outdated(content.version.rv) => {
                let uncached = fresh.copies_read_at.is_some_and(|read| *sent >= read);
                let (version, immutable) = (content.version, content.immutable);
                // Where no copy can hold it, its hash does not matter.
                let hash = content.shaped_for(&self.sync).map_or(content.hash, |shaped| shaped.hash);
                return Source::InHand { version, hash, immutable, uncached };
            }
            _ => {}
        }
        let reported = &self.sync.status;
        let of_this_spec = self.sync.is_observed();
        match self.source {
            SourceVersion::Version(rv) => Source::Observed(rv),
            SourceVersion::Gone => Source::Unknown,
            // No news since a sync named it: then it is as we, or a former holder, found it.
            SourceVersion::Unknown => key_state
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
    pub(super) fn wanted(&self, key_state: &KeyState, fresh: &FreshReads, uncached: bool) -> Wanted {
        let now = Instant::now();
        let Retries { missing_since, refused_since, .. } = key_state.retries();
        let twice =
            missing_since.or(refused_since).map(|since| since + backoff::SOURCE_MISSING_TWICE).filter(|at| *at <= now);
        let sent_since = match (fresh.recheck, twice) {
            _ if fresh.asked => Some(now),
            (_, Some(at)) => Some(at),
            (true, None) => Some(now.checked_sub(RECHECK_SHARED).unwrap_or(now)),
            (false, None) => uncached.then_some(now),
        };
        Wanted { observed: self.source, sent_since }
    }
}

/// Whether the source in hand was asked for long enough after a first GET that told that its owner refuses.
fn refused_twice(key_state: &KeyState, fresh: &FreshReads) -> bool {
    let (since, sent) = (key_state.retries().refused_since, fresh.source.as_ref().map(|(_, sent)| *sent));
    since.zip(sent).is_some_and(|(since, sent)| sent >= since + backoff::SOURCE_MISSING_TWICE)
}

/// The content that the object's status names, if it is that of the source as the watch shows it.
pub fn expected_by_status(object: &ClusterSync, source: SourceVersion) -> Option<Expected> {
    let told = object.status.source.as_ref()?;
    let version = Version::parse(&told.uid, &told.resource_version)?;
    let content = parse_content_mark(object.content_hash()?);
    let unchanged = matches!(source, SourceVersion::Version(rv) if rv == version.rv);
    (unchanged && content != 0).then_some(Expected { source: version, content })
}

/// What the status of a sync would say of one of the many copies of `object`: that it is in order, where the copy's marks name the
/// content that is expected, and nobody has touched it since.
fn reported(
    object: &ClusterSync,
    expected: Option<Expected>,
    meta: Option<&ConfigMapMeta>,
    record: Option<CopyRecord>,
) -> ObservedStatus {
    let compared = expected.zip(meta).filter(|(expected, meta)| {
        let holds_it = |it: CopyRecord| it.proven && it.rv == meta.version.rv && it.content == expected.content;
        record.is_some_and(holds_it)
    });
    ObservedStatus {
        observed_generation: object.generation,
        source: compared.map(|(expected, _)| expected.source),
        copy: compared.map(|(_, meta)| meta.version),
        ..ObservedStatus::default()
    }
}

/// The next step for a copy whose sync, with this UID, is gone. `None`: it is left alone, or nothing stands there any more.
pub(super) fn sweep(
    cache: &Cache,
    key_state: &CopyKeyState,
    fresh: &FreshReads,
    orphaned: &OrphanedCopy,
    uid: Uid,
) -> Option<DestinationStep> {
    let copy = DestinationSnapshot::new(cache, key_state, &orphaned.key, uid, orphaned.wanted);
    removal::sweep(&copy.with(fresh), orphaned.orphan)
}
