//! A model of a cluster with its whole history, and of replicas that see it late: what [`crate::rules::object::tests::model`] plays with.
//!
//! Time is a number that grows with every event and is the resourceVersion of what the event wrote, so a watch's
//! lag is an index into the history.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::rules::cluster::record::ClusterSync;
use crate::rules::copy::facts::{
    ConsentFacts, CopyFacts, CopyState, Destination, Hash, NamespaceState, Owner, Read, Reported, ShapeFacts, Source,
};
use crate::rules::copy::verdict::Verdict;
use crate::rules::copy::{cycle, ownership};
use crate::rules::object::facts::ObjectFacts;
use crate::rules::object::plan::next;
use crate::rules::object::status::StatusContent;
use crate::rules::object::step::Step;
use crate::rules::object::tests::many::Notes;
use crate::rules::record::{ConfigMapMeta, Name, ObjectKey, OwnerMark, Spec, Sync};
use crate::rules::uid::{Uid, Version};

/// A ConfigMap, and what only the model knows of it.
#[derive(Clone)]
pub(super) struct Map {
    pub(super) read: Read,
    /// We created it.
    pub(super) made_by_us: bool,
    /// Somebody put our marks on it.
    pub(super) forged: bool,
    /// A policy of a sync allowed us to write over it.
    pub(super) taken: bool,
    /// Somebody's finalizer is on it.
    pub(super) held: bool,
    /// The newest version of which source it has held.
    pub(super) high: Option<(ObjectKey, u64)>,
    /// What its marks say of its content, and when we wrote them.
    pub(super) named: Option<(Hash, u64)>,
}

/// The cluster at one moment.
#[derive(Clone, Default)]
pub(super) struct State {
    pub(super) maps: BTreeMap<ObjectKey, Map>,
    pub(super) syncs: BTreeMap<Uid, Rc<Sync>>,
    /// UID, and whether it is terminating.
    pub(super) spaces: BTreeMap<Name, (Uid, bool)>,
    /// The objects that want many copies.
    pub(super) objects: BTreeMap<Uid, Rc<ClusterSync>>,
    /// The namespaces with the label that selectors ask for.
    pub(super) fed: BTreeSet<Name>,
    pub(super) said: BTreeMap<Uid, (Verdict, StatusContent<'static>)>,
}

/// What a replica has seen: how far each of its watches is, and its cache of sources.
#[derive(Clone, Default)]
pub(super) struct Replica {
    pub(super) maps: usize,
    pub(super) syncs: usize,
    pub(super) spaces: usize,
    pub(super) objects: usize,
    pub(super) cache: BTreeMap<ObjectKey, (Version, Hash, usize)>,
    /// What it knows of objects that want many copies.
    pub(super) many: Notes,
}

/// A source that a GET told of, by its place; no version where it is missing. With the time of the answer.
pub(super) type Told = (ObjectKey, Option<(Version, Hash)>, usize);

/// What is remembered of a sync between two looks at it, with the time of the answer.
#[derive(Clone, Default)]
pub(super) struct Remembered {
    /// What stands at a place, and whether its content is known.
    pub(super) copies: BTreeMap<ObjectKey, (Option<Read>, bool, usize)>,
    pub(super) source: Option<Told>,
    pub(super) spaces: BTreeMap<Name, (NamespaceState, usize)>,
    pub(super) sync: Option<(Rc<Sync>, usize)>,
    pub(super) verified: Option<(Version, Version)>,
    /// The source was missing, and 10 s have passed.
    pub(super) waited: bool,
    pub(super) missing_twice: bool,
    pub(super) recheck: bool,
    /// Another sync has had time to take the copy over.
    pub(super) take_over_waited: bool,
    /// One of many copies waits for some time to pass; and whether it has passed.
    pub(super) waits: Option<bool>,
}

/// A step that was decided, and what it was decided on.
pub(super) struct Decided {
    pub(super) step: Step,
    pub(super) sync: Rc<Sync>,
    pub(super) source: Option<(Version, Hash)>,
    pub(super) namespace: NamespaceState,
    /// The owner of the mark that stands on the copy, if as far as the replica knows that one wants the place.
    pub(super) owner_known: Option<Uid>,
}

/// What is known of a place.
#[derive(Clone)]
pub(super) enum Known {
    Unknown,
    Absent,
    Cached(ConfigMapMeta),
    Read(Read),
}

impl Known {
    fn standing(&self) -> CopyState<'_> {
        match self {
            Self::Unknown => CopyState::Unknown,
            Self::Absent => CopyState::Absent,
            Self::Cached(meta) => CopyState::Cached(meta),
            Self::Read(read) => CopyState::Read(read),
        }
    }

    pub(super) fn meta(&self) -> Option<&ConfigMapMeta> {
        self.standing().meta()
    }

    fn mark(&self) -> Option<&OwnerMark> {
        self.meta()?.mark.as_ref()
    }
}

/// What one replica knows, for one sync.
pub(super) struct View<'a> {
    pub(super) history: &'a [Rc<State>],
    pub(super) replica: &'a Replica,
    pub(super) remembered: &'a Remembered,
}

impl View<'_> {
    pub(super) fn sync(&self, uid: Uid) -> Option<Rc<Sync>> {
        let remembered =
            self.remembered.sync.as_ref().filter(|(sync, at)| *at > self.replica.syncs && sync.uid() == uid);
        remembered.map(|(sync, _)| sync).or_else(|| self.history[self.replica.syncs].syncs.get(&uid)).cloned()
    }

    pub(super) fn streamed(&self, key: &ObjectKey) -> Option<&ConfigMapMeta> {
        self.history[self.replica.maps].maps.get(key).map(|map| &map.read.meta)
    }

    pub(super) fn known(&self, key: &ObjectKey) -> Known {
        let streamed = self.streamed(key);
        let recall =
            |read: &Read, full: bool| if full { Known::Read(read.clone()) } else { Known::Cached(read.meta.clone()) };
        match (self.remembered.copies.get(key), streamed) {
            (Some((None, _, at)), _) if *at > self.replica.maps => Known::Absent,
            (Some((Some(read), full, at)), _) if *at > self.replica.maps => recall(read, *full),
            (Some((Some(read), full, _)), Some(meta)) if read.meta.version == meta.version => recall(read, *full),
            (_, Some(meta)) => Known::Cached(meta.clone()),
            (Some((None, ..)), None) => Known::Absent,
            (_, None) => Known::Unknown,
        }
    }

    pub(super) fn source(&self, spec: &Spec) -> Source {
        let streamed = self.streamed(&spec.source).map(|meta| meta.version.rv);
        let lagging = |at: usize| at > self.replica.maps;
        let read_at = self.remembered.copies.get(&spec.destination).map_or(usize::MAX, |(_, _, at)| *at);
        match (&self.remembered.source, streamed) {
            (Some((of, Some((version, hash)), at)), rv)
                if *of == spec.source && rv.map_or(lagging(*at), |rv| version.rv >= rv) =>
            {
                Source::InHand { version: *version, hash: *hash, immutable: false, uncached: *at > read_at }
            }
            (Some((of, None, at)), rv) if *of == spec.source && (lagging(*at) || rv.is_none()) => Source::Missing,
            (_, Some(rv)) => Source::Observed(rv),
            (_, None) => Source::Unknown,
        }
    }

    pub(super) fn namespace(&self, name: &Name) -> NamespaceState {
        let remembered = self.remembered.spaces.get(name);
        match (remembered, self.history[self.replica.spaces].spaces.get(name)) {
            (Some((namespace, at)), _) if *at > self.replica.spaces => *namespace,
            (_, Some((_, true))) => NamespaceState::Terminating,
            (_, Some((uid, false))) => NamespaceState::Live(*uid),
            (Some((NamespaceState::Absent, _)), None) => NamespaceState::Absent,
            (_, None) => NamespaceState::Unknown,
        }
    }

    /// Who wants a place, as far as this replica knows: of either kind.
    fn wanting(&self, key: &ObjectKey) -> Vec<Rc<Sync>> {
        let syncs = self.history[self.replica.syncs].syncs.values();
        let one = syncs.filter(|sync| !sync.deleting && sync.destination() == Some(key)).cloned();
        one.chain(self.wanting_many(key)).collect()
    }

    pub(super) fn destination<'p>(&self, key: &'p ObjectKey, known: &'p Known, sync: &Sync) -> Destination<'p> {
        Destination {
            key,
            namespace: self.namespace(&key.namespace),
            copy: known.standing(),
            wanted_by_another: self.wanting(key).iter().any(|other| other.uid() != sync.uid()),
            wanted_before: true,
            forbidden: false,
        }
    }

    /// The next step for a sync; `None` when this replica does not know it.
    pub(super) fn decide(&self, uid: Uid) -> Option<Decided> {
        let sync = self.sync(uid)?;
        let spec = sync.spec.as_ref().ok()?;
        let known = self.known(&spec.destination);
        let streamed = self.history[self.replica.maps].maps.keys();
        let keys: BTreeSet<&ObjectKey> = streamed.chain(self.remembered.copies.keys()).collect();
        let carry: Vec<(ObjectKey, Known)> = keys
            .into_iter()
            .filter(|key| **key != spec.destination)
            .map(|key| (key.clone(), self.known(key)))
            .filter(|(_, known)| known.mark().is_some_and(|mark| mark.uid == Some(uid)))
            .collect();
        let copy = self.copy_facts(&sync, spec, &known);
        let (source, owner_known) = (copy.source, self.owner_known(&sync, &known));
        let orphaned_copies = carry.iter().map(|(key, known)| self.destination(key, known, &sync)).collect();
        let take_over_waited = self.remembered.take_over_waited;
        let facts = ObjectFacts { sync: &sync, copy: Some(copy), orphaned_copies, take_over_waited };
        let step = next(&facts);
        let source = match source {
            Source::InHand { version, hash, .. } => Some((version, hash)),
            _ => None,
        };
        let namespace = self.namespace(&spec.destination.namespace);
        Some(Decided { step, source, namespace, owner_known, sync: sync.clone() })
    }

    /// All that is known of a copy that is wanted, and of its source.
    pub(super) fn copy_facts<'p>(&self, sync: &'p Sync, spec: &'p Spec, known: &'p Known) -> CopyFacts<'p> {
        let wanting = self.wanting(&spec.destination);
        let owner = ownership::owner(wanting.iter().map(|other| &**other), known.mark());
        // No object that wants many copies holds a sync up, which would close a cycle with it.
        let counts = |owner: &Sync| sync.key.is_cluster_scoped() || !owner.key.is_cluster_scoped();
        CopyFacts {
            owner: Owner::of(sync),
            spec,
            reported: Reported::by(sync),
            asked: sync.request().is_some(),
            source: self.source(spec),
            missing_twice: self.remembered.missing_twice,
            recheck: self.remembered.recheck,
            destination: self.destination(&spec.destination, known, sync),
            rival: owner.filter(|owner| owner.uid() != sync.uid()).map(|owner| owner.key.clone()),
            cycle: cycle::find(sync, |key| {
                let mark = self.streamed(key).and_then(|meta| meta.mark.as_ref());
                let wanting = self.wanting(key);
                ownership::owner(wanting.iter().map(|other| &**other), mark).filter(|owner| counts(owner)).cloned()
            }),
            verified: self.remembered.verified,
            changed: None,
            contested: None,
            shape: ShapeFacts::default(),
            consent: ConsentFacts::default(),
        }
    }

    /// The owner of the mark that stands on the copy, if it is another one that wants the place, as far as this replica knows.
    pub(super) fn owner_known(&self, sync: &Sync, known: &Known) -> Option<Uid> {
        let marked = known.mark()?.uid.filter(|marked| *marked != sync.uid())?;
        let wanting = self.wanting(sync.destination()?);
        wanting.iter().map(|other| other.uid()).find(|other| *other == marked)
    }
}
