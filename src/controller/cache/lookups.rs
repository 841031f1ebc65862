//! Lookups in the cache.

use std::sync::atomic::Ordering;

use crate::controller::cache::dropped_versions::GONE;
use crate::controller::cache::index::{Cache, OrphanedCopy, SourceVersion};
use crate::rules::copy::{cycle, ownership};
use crate::rules::record::{ConfigMapMeta, Namespace, ObjectKey, SlimArc, Sync};
use crate::rules::uid::Uid;

impl Cache {
    /// A sync.
    pub fn sync(&self, uid: Uid) -> Option<SlimArc<Sync>> {
        self.syncs.get(uid)
    }

    /// How many syncs there are.
    pub fn len(&self) -> usize {
        self.syncs.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The UIDs of all syncs, and of all copies that stand somewhere without one, in order: what follows from the same
    /// events is the same in every run.
    pub fn uids(&self) -> Vec<Uid> {
        let mut uids = self.syncs.uids();
        uids.extend(self.orphaned_copies.iter().map(|entry| *entry.key()).filter(|uid| !self.syncs.contains(*uid)));
        uids.sort_unstable();
        uids
    }

    /// Calls `visit` with each sync.
    pub fn each_sync(&self, visit: impl FnMut(&Sync)) {
        self.syncs.each(visit);
    }

    /// What the watch knows of a source that some sync names.
    pub fn source(&self, key: &ObjectKey) -> SourceVersion {
        if let Some(meta) = self.configmaps.get(key) {
            return SourceVersion::Version(meta.version.rv);
        }
        if self.sources.get(key).is_some_and(|source| source.observed) {
            return SourceVersion::Gone;
        }
        match self.dropped_versions.recall(key) {
            Some(GONE) => SourceVersion::Gone,
            Some(rv) => SourceVersion::Version(rv),
            None => SourceVersion::Unknown,
        }
    }

    /// The ConfigMap with this key.
    pub fn configmap(&self, key: &ObjectKey) -> Option<SlimArc<ConfigMapMeta>> {
        self.configmaps.get(key).map(|entry| entry.value().clone())
    }

    /// A namespace.
    pub fn namespace(&self, name: &str) -> Option<Namespace> {
        self.namespaces.get(name).map(|entry| *entry.value())
    }

    /// Where else copies of this sync stand.
    pub fn orphaned_copies(&self, uid: Uid) -> Vec<OrphanedCopy> {
        self.orphaned_copies.get(&uid).map(|entry| entry.value().clone()).unwrap_or_default()
    }

    /// Whether a live sync other than `uid` wants its copy there.
    pub fn wanted_by_another(&self, key: &ObjectKey, uid: Uid) -> bool {
        let lives = |other: &Uid| *other != uid && self.sync(*other).is_some_and(|sync| !sync.deleting);
        self.destinations.get(key).is_some_and(|uids| uids.iter().any(lives))
            || self.wanting_many(key).iter().any(|object| object.uid() != uid && !object.deleting)
    }

    /// The sync that owns this destination, by what the watch showed there.
    pub fn owner(&self, key: &ObjectKey) -> Option<SlimArc<Sync>> {
        self.owner_of(key, self.configmap(key).as_deref())
    }

    /// The sync that owns this destination, by what stands there.
    pub fn owner_of(&self, key: &ObjectKey, standing: Option<&ConfigMapMeta>) -> Option<SlimArc<Sync>> {
        let many = self.many_as_syncs(key);
        if !many.is_empty() {
            let wanting = self.destinations.get(key).map(|uids| uids.to_vec()).unwrap_or_default();
            let wanting: Vec<SlimArc<Sync>> = wanting.iter().filter_map(|uid| self.sync(*uid)).collect();
            let syncs = wanting.iter().map(|sync| &**sync).filter(|sync| sync.destination() == Some(key));
            let mark = standing.and_then(|meta| meta.mark.as_ref());
            return ownership::owner(syncs.chain(&many), mark).cloned().map(SlimArc::new);
        }
        let wanting = self.destinations.get(key)?;
        let wants = |sync: &SlimArc<Sync>| sync.destination() == Some(key);
        let marked = standing.and_then(|meta| meta.mark.as_ref()).filter(|_| wanting.len() > 1);
        let marked = marked.and_then(|mark| match mark.uid {
            Some(uid) => self.sync(uid),
            None => self.syncs.named(&mark.sync),
        });
        // The oldest comes first in the index; it is the rule of `ownership::owner`.
        let lives = |sync: &SlimArc<Sync>| wants(sync) && !sync.deleting;
        let oldest =
            |is_it: &dyn Fn(&SlimArc<Sync>) -> bool| wanting.iter().filter_map(|uid| self.sync(*uid)).find(is_it);
        let marked = marked.filter(wants);
        match marked {
            Some(marked) if !marked.deleting => Some(marked),
            marked => oldest(&lives).or(marked).or_else(|| oldest(&wants)),
        }
    }

    /// The syncs of contested destinations whose owner changed since the last call.
    pub fn changed_hands(&self) -> Vec<Uid> {
        let keys = std::mem::take(&mut *self.changed_hands.lock());
        let wanting = keys.iter().filter_map(|key| self.destinations.get(key).map(|uids| uids.to_vec()));
        let mut uids: Vec<Uid> = wanting.flatten().collect();
        uids.sort_unstable();
        uids
    }

    /// The cycle that `sync` is part of. One of an object's many copies that would close a cycle is not written: no cycle of
    /// ConfigMapSyncs passes through it.
    pub fn cycle(&self, sync: &Sync) -> Option<Vec<ObjectKey>> {
        let writes = |owner: &SlimArc<Sync>| sync.key.is_cluster_scoped() || !owner.key.is_cluster_scoped();
        cycle::find(sync, |key| self.owner(key).filter(writes))
    }

    /// The newest version that the watch of ConfigMaps told.
    pub fn configmaps_rv(&self) -> u64 {
        self.configmaps_rv.load(Ordering::Acquire)
    }

    /// Lets go of names that no record mentions any more. To be called now and then.
    pub fn tidy(&self) {
        self.interner.tidy();
    }
}
