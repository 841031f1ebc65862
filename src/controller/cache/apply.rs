//! What the watches tell: each change answers with the syncs that have reason to look again.

use std::sync::atomic::Ordering;

use ahash::AHashSet;

use crate::controller::cache::change::{Change, Told};
use crate::controller::cache::dropped_versions::GONE;
use crate::controller::cache::index::{Cache, OrphanedCopy};
use crate::kubernetes::decode::ConfigMapRecord;
use crate::rules::record::{ConfigMapMeta, Name, Namespace, ObjectKey, OwnerMark, SlimArc, Sync};
use crate::rules::uid::Uid;

// --- the watch of syncs ---

impl Cache {
    /// A sync came or changed. Adds to `affected` everyone else whose case depends on it.
    pub fn sync_applied(&self, mut sync: Sync, affected: &mut Vec<Uid>) -> Change {
        let uid = sync.uid();
        let before = self.syncs.get(uid);
        if before.as_ref().is_some_and(|before| before.version.rv >= sync.version.rv) {
            return Change::Nothing;
        }
        self.interner.intern_sync(&mut sync);
        if let Some(other) = self.syncs.named(&sync.key).filter(|other| other.uid() != uid) {
            self.forget(other.uid(), affected); // deleted and created again: the watch left out the end of the first
        }
        let same_wish =
            before.as_ref().is_some_and(|before| before.spec == sync.spec && before.shape() == sync.shape());
        let change = match &before {
            Some(before) if same_wish && before.deleting == sync.deleting && before.finalizer == sync.finalizer => {
                Change::Status
            }
            _ => Change::Wanted,
        };
        let sync = SlimArc::new(sync);
        if same_wish {
            let lets_go = before.as_ref().is_some_and(|before| before.deleting != sync.deleting);
            let owner = lets_go.then(|| self.owner_at(before.as_deref())).flatten();
            self.syncs.put(&sync);
            if lets_go {
                self.affected_by(&sync, owner, affected);
            }
            return change;
        }
        // Whoever looks meanwhile finds the sync in the index, under its former destination, its new one or both; which of
        // them it wants the record says.
        let owners = [before.as_deref(), Some(&*sync)].map(|sync| self.owner_at(sync));
        self.index(&sync, before.as_deref());
        self.syncs.put(&sync);
        if let Some(before) = &before {
            self.unindex(before, Some(&sync));
            if before.destination() != sync.destination() {
                self.note_orphaned(before, false);
            }
            self.affected_by(before, owners[0], affected);
        }
        self.affected_by(&sync, owners[1], affected);
        change
    }

    fn owner_at(&self, sync: Option<&Sync>) -> Option<Uid> {
        sync.and_then(Sync::destination).and_then(|key| self.owner(key)).map(|owner| owner.uid())
    }

    /// A sync went.
    pub fn sync_deleted(&self, sync: &Sync, affected: &mut Vec<Uid>) {
        self.forget(sync.uid(), affected);
    }

    /// A list of all syncs is complete: those that are not in it are gone.
    pub fn syncs_listed(&self, listed: &AHashSet<Uid>, affected: &mut Vec<Uid>) {
        let mut gone: Vec<Uid> = self.syncs.uids();
        gone.retain(|uid| !listed.contains(uid));
        gone.sort_unstable();
        for uid in gone {
            self.forget(uid, affected);
        }
    }

    fn forget(&self, uid: Uid, affected: &mut Vec<Uid>) {
        let owner = self.owner_at(self.syncs.get(uid).as_deref());
        let Some(sync) = self.syncs.remove(uid) else { return };
        self.tombstones.remember(uid, sync.orphan());
        self.unindex(&sync, None);
        self.note_orphaned(&sync, true);
        self.affected_by(&sync, owner, affected);
        affected.push(uid);
    }
}

// --- the watch of ConfigMaps ---

impl Cache {
    /// A ConfigMap came or changed. Adds to `sources` those that copy it, to `others` everyone else affected.
    pub fn configmap_applied(
        &self,
        ConfigMapRecord { key, meta, content }: ConfigMapRecord,
        told: Told,
        sources: &mut Vec<Uid>,
        others: &mut Vec<Uid>,
    ) {
        self.configmaps_rv.fetch_max(meta.version.rv, Ordering::AcqRel);
        let marked = meta.mark.as_ref().and_then(|mark| mark.uid);
        if marked.is_none() && !self.concerns_a_sync(&key) {
            self.dropped_versions.remember(&key, meta.version.rv);
            if let Some((_, before)) = self.configmaps.remove(&key) {
                self.unmark(&key, &before, others); // our marks were taken off
            }
            return;
        }
        let key = self.interner.intern(&key);
        let mut meta = meta;
        if let Some(mark) = &mut meta.mark {
            mark.sync = self.interner.intern(&mark.sync);
        }
        let one_of_many = meta.mark.as_ref().and_then(OwnerMark::one_of_many);
        if let Some((uid, record)) = one_of_many.zip(content) {
            self.note_copy(uid, &key, record, told);
        }
        let owner = self.owner(&key).map(|owner| owner.uid());
        let before = self.configmaps.insert(key.clone(), SlimArc::new(meta));
        self.forget_read_sharing(&key);
        if let Some(before) = &before
            && before.mark.as_ref().and_then(|mark| mark.uid) != marked
        {
            self.unmark(&key, before, others);
        }
        if let Some(uid) = marked.filter(|_| one_of_many.is_none())
            && self.syncs.get(uid).is_none_or(|sync| sync.destination() != Some(&key))
        {
            let tombstones = self.tombstones.recall(uid).filter(|_| !self.syncs.contains(uid));
            let (deletion_observed, orphan) = (tombstones.is_some(), tombstones.unwrap_or(false));
            self.add_orphaned_copy(uid, OrphanedCopy { key: key.clone(), wanted: false, deletion_observed, orphan });
            others.push(uid);
        }
        self.affected_by_configmap(&key, owner, sources, others);
    }

    /// A ConfigMap went.
    pub fn configmap_deleted(&self, key: &ObjectKey, rv: u64, sources: &mut Vec<Uid>, others: &mut Vec<Uid>) {
        self.configmaps_rv.fetch_max(rv, Ordering::AcqRel);
        let owner = self.owner(key).map(|owner| owner.uid());
        if let Some((_, before)) = self.configmaps.remove(key) {
            self.unmark(key, &before, others);
        }
        self.forget_read_sharing(key);
        if !self.concerns_a_sync(key) {
            self.dropped_versions.remember(key, GONE);
        }
        self.affected_by_configmap(key, owner, sources, others);
    }

    /// All ConfigMaps are about to be listed.
    pub fn configmaps_listing(&self) {
        self.dropped_versions.list_begins();
    }

    /// A list of all ConfigMaps is complete: those that are not in it are gone, and the watch has shown every source that is there.
    pub fn configmaps_listed(&self, listed: &AHashSet<Uid>, sources: &mut Vec<Uid>, others: &mut Vec<Uid>) {
        let gone = |entry: &dashmap::mapref::multiple::RefMulti<'_, ObjectKey, SlimArc<ConfigMapMeta>>| {
            (!listed.contains(&entry.version.uid)).then(|| (entry.key().clone(), entry.version.rv))
        };
        let mut gone: Vec<(ObjectKey, u64)> = self.configmaps.iter().filter_map(|entry| gone(&entry)).collect();
        gone.sort_unstable_by_key(|(_, rv)| *rv);
        for (key, rv) in gone {
            self.configmap_deleted(&key, rv, sources, others);
        }
        self.dropped_versions.list_ends();
        let begin = sources.len();
        for mut entry in self.sources.iter_mut() {
            if !std::mem::replace(&mut entry.observed, true) && !self.configmaps.contains_key(entry.key()) {
                sources.extend(&entry.uids); // until now the watch had not shown it; now it is known to be gone
            }
        }
        sources[begin..].sort_unstable();
        // A copy of which only our own answer told may have gone before the watch could show it.
        let begin = others.len();
        for entry in self.destinations.iter().filter(|entry| !self.configmaps.contains_key(entry.key())) {
            others.extend(entry.value());
        }
        others[begin..].sort_unstable();
        self.copies_listed();
    }
}

// --- the watch of namespaces ---

impl Cache {
    /// A namespace came or changed.
    pub fn namespace_applied(&self, name: &str, namespace: Namespace, affected: &mut Vec<Uid>) {
        let name = self.interner.intern_name(name);
        if self.namespaces.insert(name.clone(), namespace) != Some(namespace) {
            self.note_namespaces_changed();
            self.affected_by_namespace(&name, affected);
        }
    }

    /// A namespace went.
    pub fn namespace_deleted(&self, name: &str, affected: &mut Vec<Uid>) {
        let copies = self.copy_keys_in(name);
        if let Some((name, _)) = self.namespaces.remove(name) {
            self.note_affected_copies(copies);
            self.forget_labels(&name);
            self.namespace_shares(&name, None);
            self.affected_by_namespace(&name, affected);
        }
    }

    /// A list of all namespaces is complete.
    pub fn namespaces_listed(&self, listed: &AHashSet<Uid>, affected: &mut Vec<Uid>) {
        let gone = self.namespaces.iter().filter(|entry| !listed.contains(&entry.uid));
        let mut gone: Vec<Name> = gone.map(|entry| entry.key().clone()).collect();
        gone.sort_unstable();
        for name in gone {
            self.namespace_deleted(&name, affected);
        }
    }

    fn affected_by_namespace(&self, name: &Name, affected: &mut Vec<Uid>) {
        if let Some(uids) = self.by_namespace.get(name) {
            affected.extend(uids.iter());
        }
        // What stands there without being wanted is cleared away only in a namespace that is known.
        let stands_here = |orphaned_copy: &OrphanedCopy| orphaned_copy.key.namespace == *name;
        let begin = affected.len();
        let orphaned_copies = self.orphaned_copies.iter().filter(|entry| entry.value().iter().any(stands_here));
        affected.extend(orphaned_copies.map(|entry| *entry.key()));
        affected[begin..].sort_unstable();
    }
}
