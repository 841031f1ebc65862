//! The cache and its indexes. Only the watches write it, and everyone reads it.

use std::sync::atomic::AtomicU64;

use ahash::AHashSet;
use parking_lot::Mutex;

use crate::controller::cache::cluster::state::ClusterSyncs;
use crate::controller::cache::dropped_versions::{DroppedVersions, GONE};
use crate::controller::cache::interner::Interner;
use crate::controller::cache::maps::{Map, Uids};
use crate::controller::cache::sharings::Sharings;
use crate::controller::cache::syncs::Syncs;
use crate::controller::cache::tombstones::Tombstones;
use crate::rules::copy::guard::Forbidden;
use crate::rules::record::{ConfigMapMeta, Name, Namespace, ObjectKey, SlimArc, Sync};
use crate::rules::uid::Uid;

/// What a replica knows.
#[derive(Default)]
pub struct Cache {
    /// Every sync.
    pub(super) syncs: Syncs,
    /// The index that a fan-out needs: from a source to the syncs that copy it.
    pub(super) sources: Map<ObjectKey, Dependants>,
    /// From a destination to the syncs that want their copy there.
    pub(super) destinations: Map<ObjectKey, Uids>,
    /// From a namespace to the syncs that want their copy in it.
    pub(super) by_namespace: Map<Name, Uids>,
    /// ConfigMaps that are a source or a destination of some sync, or carry our marks.
    pub(super) configmaps: Map<ObjectKey, SlimArc<ConfigMapMeta>>,
    /// Every namespace.
    pub(super) namespaces: Map<Name, Namespace>,
    /// Copies that stand where their sync does not want them, by the UID on their mark.
    pub(super) orphaned_copies: Map<Uid, Vec<OrphanedCopy>>,
    /// Objects that want many copies.
    pub(super) cluster: ClusterSyncs,
    /// Namespaces that a flag forbids.
    pub(super) forbidden: Forbidden,
    /// What owners say of sharing their ConfigMaps.
    pub(super) sharings: Sharings,
    /// Objects that went.
    pub(super) tombstones: Tombstones,
    /// Versions of ConfigMaps that concerned nobody when they came.
    pub(super) dropped_versions: DroppedVersions,
    /// Each name once, however many records mention it.
    pub(super) interner: Interner,
    /// The newest version that the watch of ConfigMaps told.
    pub(super) configmaps_rv: AtomicU64,
    /// Destinations that many syncs want and that have another owner since their rivals were told last.
    pub(super) changed_hands: Mutex<AHashSet<ObjectKey>>,
}

#[derive(Default)]
pub(super) struct Dependants {
    pub(super) uids: Uids,
    /// Whether the watch has told, since the first of them came, whether the source is there.
    pub(super) observed: bool,
}

/// Up to so many syncs with one destination are looked at one by one, at each change of it.
const FEW_RIVALS: usize = 16;

/// A copy that stands where its sync does not want it.
#[derive(Clone, Debug, PartialEq)]
pub struct OrphanedCopy {
    /// Where it stands.
    pub key: ObjectKey,
    /// Whether this replica saw its sync want it there. Anyone may write a sync's marks on what is his.
    pub wanted: bool,
    /// Whether this replica saw its sync go: then it need not wait to be swept.
    pub deletion_observed: bool,
    /// `deletionPolicy: Orphan` of the sync that went.
    pub orphan: bool,
}

/// What the watch knows of a source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SourceVersion {
    /// It is there, with this resourceVersion.
    Version(u64),
    /// It is not there.
    Gone,
    /// Not shown since a sync named it: its last event came before that, and was dropped.
    Unknown,
}

impl Cache {
    /// Indexes a sync. The entries that its former version `before` has already are skipped.
    pub(super) fn index(&self, sync: &Sync, before: Option<&Sync>) {
        let Ok(spec) = &sync.spec else { return };
        let before = before.and_then(|before| before.spec.as_ref().ok());
        let uid = sync.uid();
        if before.is_none_or(|before| before.source != spec.source) {
            let mut source = self.sources.entry(spec.source.clone()).or_default();
            if source.uids.is_empty() {
                source.observed = self.configmaps.contains_key(&spec.source);
            }
            put_in(&mut source.uids, uid, |uids| uids.len());
        }
        if before.is_none_or(|before| before.destination != spec.destination) {
            let age = |uid: Uid| self.syncs.get(uid).map_or((0, uid), |sync| (sync.created, uid));
            put_in(&mut self.destinations.entry(spec.destination.clone()).or_default(), uid, |uids| {
                uids.partition_point(|other| age(*other) < (sync.created, uid))
            });
        }
        if before.is_none_or(|before| before.destination.namespace != spec.destination.namespace) {
            put_in(&mut self.by_namespace.entry(spec.destination.namespace.clone()).or_default(), uid, |uids| {
                uids.len()
            });
        }
        self.forget_orphaned(uid, &spec.destination);
    }

    /// Takes a sync out of the index. The entries that its new version `now` needs stay.
    pub(super) fn unindex(&self, sync: &Sync, now: Option<&Sync>) {
        let Ok(spec) = &sync.spec else { return };
        let now = now.and_then(|now| now.spec.as_ref().ok());
        let uid = sync.uid();
        if now.is_none_or(|now| now.source != spec.source) {
            self.unindex_source(&spec.source, uid);
        }
        if now.is_none_or(|now| now.destination != spec.destination) {
            take_out(&self.destinations, &spec.destination, uid);
        }
        if now.is_none_or(|now| now.destination.namespace != spec.destination.namespace) {
            take_out(&self.by_namespace, &spec.destination.namespace, uid);
        }
        self.drop_if_unneeded(&spec.source);
        self.drop_if_unneeded(&spec.destination);
    }

    /// An object does not copy this source any more.
    pub(super) fn unindex_source(&self, source: &ObjectKey, uid: Uid) {
        if let Some(mut source) = self.sources.get_mut(source) {
            source.uids.retain(|other| *other != uid);
        }
        let Some((key, source)) = self.sources.remove_if(source, |_, source| source.uids.is_empty()) else { return };
        self.forget_read_sharing(&key);
        self.forget_told(&key);
        if source.observed && !self.configmaps.contains_key(&key) {
            // It is gone. Who names it next must not take it to be as its status says.
            self.dropped_versions.remember(&key, GONE);
        }
    }

    /// Lets go of a ConfigMap that concerns no object any more.
    pub(super) fn drop_if_unneeded(&self, key: &ObjectKey) {
        let unmarked = |meta: &SlimArc<ConfigMapMeta>| meta.mark.as_ref().is_none_or(|mark| mark.uid.is_none());
        if !self.concerns_a_sync(key)
            && let Some((_, meta)) = self.configmaps.remove_if(key, |_, meta| unmarked(meta))
        {
            self.dropped_versions.remember(key, meta.version.rv);
        }
    }

    /// Adds the syncs that this sync's source or destination affects: those with the same destination, the one whose mark stands
    /// there, and all downstream, since a cycle may have appeared or gone. `owner`: the destination's former owner.
    pub(super) fn affected_by(&self, sync: &Sync, owner: Option<Uid>, affected: &mut Vec<Uid>) {
        let Ok(spec) = &sync.spec else { return };
        self.note_affected(&spec.destination);
        let mut downstream = vec![spec.destination.clone()];
        let mut visited: AHashSet<Uid> = AHashSet::new();
        self.rivals(&spec.destination, owner, |uid| _ = visited.insert(uid));
        // Whose copy stands there, though it wants it no more: it was left for this sync to take over.
        visited.extend(self.mark_at(&spec.destination));
        while let Some(key) = downstream.pop() {
            let dependants = self.sources.get(&key).map(|source| source.uids.clone()).unwrap_or_default();
            for uid in dependants {
                if visited.insert(uid)
                    && let Some(next) = self.syncs.get(uid).and_then(|sync| sync.destination().cloned())
                {
                    downstream.push(next);
                }
            }
        }
        visited.remove(&sync.uid());
        let begin = affected.len();
        affected.extend(visited);
        affected[begin..].sort_unstable();
    }

    pub(super) fn affected_by_configmap(
        &self,
        key: &ObjectKey,
        owner: Option<Uid>,
        sources: &mut Vec<Uid>,
        others: &mut Vec<Uid>,
    ) {
        if let Some(mut entry) = self.sources.get_mut(key) {
            entry.observed = true;
            sources.extend(&entry.uids);
        }
        self.rivals(key, owner, |uid| others.push(uid));
    }

    /// Those syncs with a destination that have reason to look again at once. Where they are many, that is who owns it; the others
    /// have reason only when it changed hands, and are told together, by [`Cache::changed_hands`].
    pub(super) fn rivals(&self, key: &ObjectKey, owner_before: Option<Uid>, mut visit: impl FnMut(Uid)) {
        let Some(wanting) = self.destinations.get(key) else { return };
        if wanting.len() <= FEW_RIVALS {
            return wanting.iter().copied().for_each(visit);
        }
        drop(wanting);
        let owner = self.owner(key).map(|owner| owner.uid());
        owner.into_iter().for_each(&mut visit);
        if owner != owner_before {
            self.changed_hands.lock().insert(key.clone());
        }
    }

    pub(super) fn concerns_a_sync(&self, key: &ObjectKey) -> bool {
        self.destinations.contains_key(key) || self.sources.contains_key(key) || self.may_be_one_of_many(key)
    }
}

/// Puts a UID in where `at` says. A list grows by an eighth: one that doubles is half empty at times, and
/// together they hold every sync.
pub(super) fn put_in(uids: &mut Uids, uid: Uid, at: impl Fn(&Uids) -> usize) {
    if uids.len() == uids.capacity() {
        uids.reserve_exact(uids.len() / 8 + 1);
    }
    uids.insert(at(uids), uid);
}

fn take_out<K: Eq + std::hash::Hash>(map: &Map<K, Uids>, key: &K, uid: Uid) {
    if let Some(mut uids) = map.get_mut(key) {
        uids.retain(|other| *other != uid);
    }
    map.remove_if(key, |_, uids| uids.is_empty());
}
