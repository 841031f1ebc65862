//! Lookups in the cache.

use std::sync::atomic::Ordering;

use crate::controller::cache::dropped_versions::GONE;
use crate::controller::cache::index::{Cache, OrphanedCopy, SourceVersion};
use crate::rules::copy::cycle;
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

    /// What the stream knows of a source that some sync names.
    pub fn source(&self, place: &ObjectKey) -> SourceVersion {
        if let Some(seen) = self.configmaps.get(place) {
            return SourceVersion::Version(seen.version.rv);
        }
        if self.sources.get(place).is_some_and(|source| source.observed) {
            return SourceVersion::Gone;
        }
        match self.dropped_versions.recall(place) {
            Some(GONE) => SourceVersion::Gone,
            Some(rv) => SourceVersion::Version(rv),
            None => SourceVersion::Unknown,
        }
    }

    /// What stands at a place.
    pub fn configmap(&self, place: &ObjectKey) -> Option<SlimArc<ConfigMapMeta>> {
        self.configmaps.get(place).map(|entry| entry.value().clone())
    }

    /// A namespace.
    pub fn namespace(&self, name: &str) -> Option<Namespace> {
        self.namespaces.get(name).map(|entry| *entry.value())
    }

    /// Where else copies of this sync stand.
    pub fn orphaned_copies(&self, uid: Uid) -> Vec<OrphanedCopy> {
        self.orphaned_copies.get(&uid).map(|entry| entry.value().clone()).unwrap_or_default()
    }

    /// The syncs that want their copy in this namespace.
    pub fn with_destination_in(&self, namespace: &str) -> Vec<Uid> {
        self.by_namespace.get(namespace).map(|uids| uids.to_vec()).unwrap_or_default()
    }

    /// Whether a live sync other than `uid` wants this place.
    pub fn wanted_by_another(&self, place: &ObjectKey, uid: Uid) -> bool {
        self.destinations.get(place).is_some_and(|uids| uids.iter().any(|other| *other != uid))
    }

    /// The sync that owns a place as its destination, by what the stream showed there.
    pub fn owner(&self, place: &ObjectKey) -> Option<SlimArc<Sync>> {
        self.owner_of(place, self.configmap(place).as_deref())
    }

    /// The sync that owns a place as its destination, by what stands there.
    pub fn owner_of(&self, place: &ObjectKey, standing: Option<&ConfigMapMeta>) -> Option<SlimArc<Sync>> {
        let wanting = self.destinations.get(place)?;
        let wants = |sync: &SlimArc<Sync>| sync.destination() == Some(place);
        let marked = standing.and_then(|seen| seen.mark.as_ref()).filter(|_| wanting.len() > 1);
        let marked = marked.and_then(|mark| match mark.uid {
            Some(uid) => self.sync(uid),
            None => self.syncs.named(&mark.sync),
        });
        // The oldest comes first in the index; it is the rule of `ownership::owner`.
        let oldest = || wanting.iter().filter_map(|uid| self.sync(*uid)).find(wants);
        marked.filter(wants).or_else(oldest)
    }

    /// The syncs of contested destinations whose owner changed since the last call.
    pub fn changed_hands(&self) -> Vec<Uid> {
        let places = std::mem::take(&mut *self.changed_hands.lock());
        let wanting = places.iter().filter_map(|place| self.destinations.get(place).map(|uids| uids.to_vec()));
        let mut uids: Vec<Uid> = wanting.flatten().collect();
        uids.sort_unstable();
        uids
    }

    /// The cycle that `sync` is part of.
    pub fn cycle(&self, sync: &Sync) -> Option<Vec<ObjectKey>> {
        cycle::find(sync, |place| self.owner(place))
    }

    /// The newest version that the stream of ConfigMaps told.
    pub fn configmaps_rv(&self) -> u64 {
        self.configmaps_rv.load(Ordering::Acquire)
    }

    /// Lets go of names that no record mentions any more. To be called now and then.
    pub fn tidy(&self) {
        self.interner.tidy();
    }
}
