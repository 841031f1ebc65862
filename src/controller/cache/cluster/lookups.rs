//! Which namespaces an object selects, and the keys of its copies.

use std::sync::atomic::Ordering;

use ahash::AHashMap;
use smallvec::SmallVec;

use crate::controller::cache::index::Cache;
use crate::rules::cluster::record::{ClusterSpec, ClusterSync};
use crate::rules::cluster::selection::{Labels, Selected};
use crate::rules::key::{CopyKey, Key};
use crate::rules::record::{Name, ObjectKey, OwnerMark, SlimArc, Sync};
use crate::rules::uid::Uid;

impl Cache {
    /// An object.
    pub fn cluster_sync(&self, uid: Uid) -> Option<SlimArc<ClusterSync>> {
        if self.cluster.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.cluster.objects.get(&uid).map(|entry| entry.value().clone())
    }

    /// Whether this is the UID of such an object, or of one that left copies behind.
    pub fn is_cluster_sync(&self, uid: Uid) -> bool {
        !self.cluster.is_unused() && (self.cluster.objects.contains_key(&uid) || self.cluster.copies.contains_key(&uid))
    }

    /// The UIDs of all objects, and of all whose copies stand somewhere, in order.
    pub fn cluster_uids(&self) -> Vec<Uid> {
        let mut uids: Vec<Uid> = self.cluster.objects.iter().map(|entry| *entry.key()).collect();
        uids.extend(self.cluster.copies.iter().map(|entry| *entry.key()));
        uids.sort_unstable();
        uids.dedup();
        uids
    }

    pub(super) fn find_cluster_sync(&self, is_it: impl Fn(&ClusterSync) -> bool) -> Option<Uid> {
        self.cluster.objects.iter().find(|entry| is_it(entry.value())).map(|entry| *entry.key())
    }

    /// What a namespace is to an object. One that is being deleted is not selected, and neither is the source's own, unless the
    /// copy has another name there.
    pub fn selected(&self, spec: &ClusterSpec, namespace: &Name) -> Selected {
        match self.namespaces.get(namespace) {
            Some(known) if !known.terminating => {}
            _ => return Selected::No,
        }
        if *namespace == spec.source.namespace && spec.copy_name == spec.source.name {
            return Selected::No;
        }
        let protected = self.cluster.protected.contains(namespace) || self.forbids(namespace);
        match self.cluster.labels.get(namespace) {
            Some(labels) => spec.selection.of(namespace, &labels, protected),
            None => spec.selection.of(namespace, &Labels::default(), protected),
        }
    }

    /// Calls `visit` with the name and the UID of each namespace that an object selects. Returns how many it would select, were they
    /// not excluded.
    pub fn each_selected(&self, object: &ClusterSync, mut visit: impl FnMut(&Name, Uid)) -> usize {
        let Ok(spec) = &object.spec else { return 0 };
        let mut excluded = 0;
        let mut look = |name: &Name, uid: Uid| match self.selected(spec, name) {
            Selected::Yes => visit(name, uid),
            Selected::Excluded => excluded += 1,
            Selected::No => {}
        };
        match spec.selection.names() {
            Some(names) => {
                for name in names {
                    if let Some(namespace) = self.namespace(name) {
                        look(&self.interner.intern_name(name), namespace.uid);
                    }
                }
            }
            None => {
                let all: Vec<(Name, Uid)> =
                    self.namespaces.iter().map(|entry| (entry.key().clone(), entry.uid)).collect();
                all.iter().for_each(|(name, uid)| look(name, *uid));
            }
        }
        excluded
    }

    /// How many namespaces there are: an object selects no more.
    pub fn count_namespaces(&self) -> usize {
        self.namespaces.len()
    }

    /// How many namespaces an object selects.
    pub fn count_selected(&self, object: &ClusterSync) -> usize {
        let epoch = self.cluster.namespaces_epoch.load(Ordering::Acquire);
        let known = self.cluster.selected.lock().get(&object.uid()).copied();
        if let Some((of, rv, count)) = known
            && (of, rv) == (epoch, object.version.rv)
        {
            return count;
        }
        let mut count = 0;
        self.each_selected(object, |_, _| count += 1);
        self.cluster.selected.lock().insert(object.uid(), (epoch, object.version.rv, count));
        count
    }

    /// The keys of all copies that an object wants, or that stand somewhere with its marks.
    pub fn copy_keys(&self, uid: Uid) -> Vec<Key> {
        let mut places: AHashMap<Name, Uid> = AHashMap::new();
        if let Some(object) = self.cluster_sync(uid) {
            self.each_selected(&object, |name, namespace| _ = places.insert(name.clone(), namespace));
        }
        for namespace in self.namespaces_with_copies(uid) {
            if let Some(known) = self.namespace(&namespace) {
                places.insert(namespace, known.uid);
            }
        }
        let mut places: Vec<(Name, Uid)> = places.into_iter().collect();
        places.sort_unstable();
        places.into_iter().map(|(name, namespace)| copy_key(uid, name, namespace)).collect()
    }

    fn namespaces_with_copies(&self, uid: Uid) -> Vec<Name> {
        self.cluster.copies.get(&uid).map(|copies| copies.keys().cloned().collect()).unwrap_or_default()
    }

    /// The keys of the copies that what stands at `key` concerns: of objects that want a copy there, and of the one whose marks it
    /// carries.
    pub fn copy_keys_at(&self, key: &ObjectKey, keys: &mut Vec<Key>) {
        if self.cluster.is_unused() {
            return;
        }
        let Some(namespace) = self.namespace(&key.namespace) else { return };
        let copy_of = |uid| copy_key(uid, self.interner.intern_name(&key.namespace), namespace.uid);
        let wanting = self.wanting_many(key);
        keys.extend(wanting.iter().map(|object| copy_of(object.uid())));
        let mark = self.configmaps.get(key).and_then(|meta| meta.mark.as_ref().and_then(OwnerMark::one_of_many));
        let unwanted = mark.filter(|uid| wanting.iter().all(|object| object.uid() != *uid));
        keys.extend(unwanted.map(copy_of));
    }

    /// The keys of all copies that are wanted in a namespace, or stand there.
    pub fn copy_keys_in(&self, name: &str) -> Vec<Key> {
        if self.cluster.is_unused() {
            return Vec::new();
        }
        let Some(namespace) = self.namespace(name) else { return Vec::new() };
        let name = self.interner.intern_name(name);
        let concerned = |uid: &Uid| {
            let stands = self.cluster.copies.get(uid).is_some_and(|copies| copies.contains_key(&name));
            stands
                || self.cluster_sync(*uid).is_some_and(|object| {
                    object.spec.as_ref().is_ok_and(|spec| self.selected(spec, &name) == Selected::Yes)
                })
        };
        let uids = self.cluster_uids().into_iter().filter(concerned);
        uids.map(|uid| copy_key(uid, name.clone(), namespace.uid)).collect()
    }

    /// The objects that want a copy there.
    pub(in crate::controller::cache) fn wanting_many(&self, key: &ObjectKey) -> SmallVec<[SlimArc<ClusterSync>; 1]> {
        if self.cluster.count.load(Ordering::Acquire) == 0 {
            return SmallVec::new();
        }
        let uids = self.cluster.by_copy_name.get(&key.name).map(|uids| uids.clone()).unwrap_or_default();
        let wants = |object: &SlimArc<ClusterSync>| {
            object
                .spec
                .as_ref()
                .is_ok_and(|spec| spec.copy_name == key.name && self.selected(spec, &key.namespace) == Selected::Yes)
        };
        uids.iter().filter_map(|uid| self.cluster_sync(*uid)).filter(wants).collect()
    }

    /// What each of the objects that want a copy there says, as a ConfigMapSync would.
    pub(in crate::controller::cache) fn many_as_syncs(&self, key: &ObjectKey) -> SmallVec<[Sync; 1]> {
        self.wanting_many(key).iter().filter_map(|object| object.in_namespace(&key.namespace)).collect()
    }

    /// Whether a ConfigMap with this name may be a copy of such an object.
    pub(in crate::controller::cache) fn may_be_one_of_many(&self, key: &ObjectKey) -> bool {
        self.cluster.count.load(Ordering::Acquire) > 0 && self.cluster.by_copy_name.contains_key(&key.name)
    }

    /// Whether this replica saw this object go, and whether its copies are to stay.
    pub fn cluster_tombstone(&self, uid: Uid) -> Option<bool> {
        self.tombstones.recall(uid)
    }
}

pub(super) fn copy_key(object: Uid, name: Name, namespace: Uid) -> Key {
    Key::Copy(SlimArc::new(CopyKey { object, namespace, name }))
}
