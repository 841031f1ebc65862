//! What the watches tell of objects that want many copies, and of the labels of namespaces.

use std::sync::atomic::Ordering;

use ahash::AHashSet;

use crate::controller::cache::change::Change;
use crate::controller::cache::cluster::lookups::copy_key;
use crate::controller::cache::index::{Cache, put_in};
use crate::kubernetes::decode::NamespaceRecord;
use crate::rules::cluster::record::ClusterSync;
use crate::rules::cluster::selection::Labels;
use crate::rules::key::Key;
use crate::rules::record::{Name, ObjectKey, SlimArc};
use crate::rules::uid::Uid;

impl Cache {
    /// Namespaces that a selector never means.
    #[must_use]
    pub fn protecting(mut self, namespaces: impl IntoIterator<Item = Name>) -> Self {
        self.cluster.protected = namespaces.into_iter().collect();
        self
    }

    /// An object came or changed.
    pub fn cluster_sync_applied(&self, mut object: ClusterSync, affected: &mut Vec<Uid>) -> Change {
        let uid = object.uid();
        let before = self.cluster_sync(uid);
        if before.as_ref().is_some_and(|before| before.version.rv >= object.version.rv) {
            return Change::Nothing;
        }
        object.name = self.interner.intern_name(&object.name);
        if let Ok(spec) = &mut object.spec {
            spec.source = self.interner.intern(&spec.source);
            spec.copy_name = self.interner.intern_name(&spec.copy_name);
        }
        let twin = |other: &ClusterSync| other.name == object.name && other.uid() != uid;
        if let Some(twin) = self.find_cluster_sync(twin) {
            self.forget_cluster_sync(twin, affected); // deleted and created again: the watch left out the end of the first
        }
        let same_wish = before.as_ref().is_some_and(|before| before.spec == object.spec);
        let change = match &before {
            Some(before) if same_wish && before.deleting == object.deleting && before.finalizer == object.finalizer => {
                Change::Status
            }
            _ => Change::Wanted,
        };
        let object = SlimArc::new(object);
        if before.is_none() {
            self.cluster.count.fetch_add(1, Ordering::AcqRel);
        }
        if !same_wish {
            self.index_cluster_sync(&object);
        }
        self.cluster.objects.insert(uid, object.clone());
        let lets_go = before.as_ref().is_some_and(|before| before.deleting != object.deleting);
        if lets_go && same_wish {
            self.affected_by_cluster_sync(&object, affected);
        }
        if !same_wish {
            if let Some(before) = &before {
                self.unindex_cluster_sync(before, Some(&object));
                self.affected_by_cluster_sync(before, affected);
            }
            self.affected_by_cluster_sync(&object, affected);
        }
        change
    }

    /// An object went.
    pub fn cluster_sync_deleted(&self, object: &ClusterSync, affected: &mut Vec<Uid>) {
        self.forget_cluster_sync(object.uid(), affected);
    }

    /// A list of all objects is complete: those that are not in it are gone.
    pub fn cluster_syncs_listed(&self, listed: &AHashSet<Uid>, affected: &mut Vec<Uid>) {
        for uid in self.cluster_uids().into_iter().filter(|uid| !listed.contains(uid)) {
            self.forget_cluster_sync(uid, affected);
        }
    }

    fn forget_cluster_sync(&self, uid: Uid, affected: &mut Vec<Uid>) {
        let Some((_, object)) = self.cluster.objects.remove(&uid) else { return };
        self.cluster.count.fetch_sub(1, Ordering::AcqRel);
        self.tombstones.remember(uid, object.orphan());
        self.unindex_cluster_sync(&object, None);
        self.cluster.failures.remove(&uid);
        self.cluster.selected.lock().remove(&uid);
        self.affected_by_cluster_sync(&object, affected);
        affected.push(uid);
    }

    fn index_cluster_sync(&self, object: &ClusterSync) {
        let Ok(spec) = &object.spec else { return };
        let uid = object.uid();
        let mut source = self.sources.entry(spec.source.clone()).or_default();
        if source.uids.is_empty() {
            source.observed = self.configmaps.contains_key(&spec.source);
        }
        if !source.uids.contains(&uid) {
            put_in(&mut source.uids, uid, |uids| uids.len());
        }
        drop(source);
        let mut named = self.cluster.by_copy_name.entry(spec.copy_name.clone()).or_default();
        if !named.contains(&uid) {
            named.push(uid);
        }
    }

    fn unindex_cluster_sync(&self, object: &ClusterSync, now: Option<&ClusterSync>) {
        let Ok(spec) = &object.spec else { return };
        let now = now.and_then(|now| now.spec.as_ref().ok());
        let uid = object.uid();
        if now.is_none_or(|now| now.source != spec.source) {
            self.unindex_source(&spec.source, uid);
            self.drop_if_unneeded(&spec.source);
        }
        if now.is_none_or(|now| now.copy_name != spec.copy_name) {
            if let Some(mut named) = self.cluster.by_copy_name.get_mut(&spec.copy_name) {
                named.retain(|other| *other != uid);
            }
            self.cluster.by_copy_name.remove_if(&spec.copy_name, |_, uids| uids.is_empty());
        }
    }

    /// ConfigMapSyncs that want one of the places, or read from one.
    fn affected_by_cluster_sync(&self, object: &ClusterSync, affected: &mut Vec<Uid>) {
        let Ok(spec) = &object.spec else { return };
        let begin = affected.len();
        self.each_selected(object, |namespace, _| {
            let key = spec.copy_of(namespace);
            if let Some(wanting) = self.destinations.get(&key) {
                affected.extend(wanting.iter());
            }
            if let Some(dependants) = self.sources.get(&key) {
                affected.extend(dependants.uids.iter().filter(|uid| **uid != object.uid()));
            }
        });
        affected[begin..].sort_unstable();
    }

    /// Notes that who wants a copy there has reason to look again.
    pub(in crate::controller::cache) fn note_affected(&self, key: &ObjectKey) {
        if !self.cluster.is_unused() {
            self.copy_keys_at(key, &mut self.cluster.affected.lock());
        }
    }

    /// Notes that one of the copies of an object has reason to be looked at again.
    pub(in crate::controller::cache) fn note_affected_copy(&self, uid: Uid, key: &ObjectKey) {
        if let Some(namespace) = self.namespace(&key.namespace) {
            let name = self.interner.intern_name(&key.namespace);
            self.cluster.affected.lock().push(copy_key(uid, name, namespace.uid));
        }
    }

    /// Notes that these copies have reason to be looked at again.
    pub(in crate::controller::cache) fn note_affected_copies(&self, keys: Vec<Key>) {
        if !keys.is_empty() {
            self.cluster.affected.lock().extend(keys);
        }
    }

    /// A list of all ConfigMaps is complete: copies that only our own answers told of, and that are not in it, are gone.
    pub(in crate::controller::cache) fn copies_listed(&self) {
        let mut uids: Vec<Uid> = self.cluster.copies.iter().map(|entry| *entry.key()).collect();
        uids.sort_unstable();
        for uid in uids {
            for key in self.standing_copies(uid).iter().filter(|key| !self.configmaps.contains_key(*key)) {
                self.forget_copy(uid, key);
                self.note_affected_copy(uid, key);
            }
        }
    }

    /// The keys of copies that what the watches told has affected since the last call.
    pub fn affected_copies(&self) -> Vec<Key> {
        if self.cluster.is_unused() {
            return Vec::new();
        }
        std::mem::take(&mut *self.cluster.affected.lock())
    }

    /// The watch told of a namespace and its labels. One that is as it was affects nobody.
    pub fn namespace_observed(&self, record: NamespaceRecord, affected: &mut Vec<Uid>) {
        let NamespaceRecord { name, namespace, labels, sharing } = record;
        if self.namespace_shares(&name, sharing) {
            self.affected_by_sharing(&name, affected);
        }
        let labelled = self.has_other_labels(&name, &labels);
        if self.namespace(&name) == Some(namespace) && !labelled {
            return;
        }
        if labelled {
            self.affected_by_labels(&name, affected);
        }
        // Those that are wanted or stand there no longer, and those that are or do now.
        self.note_affected_copies(self.copy_keys_in(&name));
        self.namespace_labelled(&name, &labels);
        self.namespace_applied(&name, namespace, affected);
        self.note_affected_copies(self.copy_keys_in(&name));
    }

    fn has_other_labels(&self, name: &str, labels: &Labels) -> bool {
        self.cluster.labels.get(name).map_or(!labels.is_empty(), |known| *known != *labels)
    }

    /// Keeps the labels of a namespace. Whether they changed.
    pub fn namespace_labelled(&self, name: &str, labels: &Labels) -> bool {
        let intern = |(key, value): &(Name, Name)| (self.interner.intern_name(key), self.interner.intern_name(value));
        let changed = self.has_other_labels(name, labels);
        if changed && labels.is_empty() {
            self.cluster.labels.remove(name);
        } else if changed {
            let labels = Labels::new(labels.iter().map(intern));
            self.cluster.labels.insert(self.interner.intern_name(name), labels);
        }
        if changed {
            self.note_namespaces_changed();
        }
        changed
    }

    pub(in crate::controller::cache) fn note_namespaces_changed(&self) {
        self.cluster.namespaces_epoch.fetch_add(1, Ordering::AcqRel);
    }

    pub(in crate::controller::cache) fn forget_labels(&self, name: &str) {
        self.cluster.labels.remove(name);
        self.note_namespaces_changed();
    }
}
