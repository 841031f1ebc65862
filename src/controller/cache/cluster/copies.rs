//! Where the copies of an object stand, and what is known of their content.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use ahash::AHashMap;

use smallvec::SmallVec;

use crate::controller::cache::change::Told;
use crate::controller::cache::cluster::state::{CopiesHere, FailuresElsewhere};
use crate::controller::cache::index::Cache;
use crate::rules::cluster::record::{ContentMark, CopyRecord};
use crate::rules::cluster::rollup::Failure;
use crate::rules::copy::ownership::stands_where_written;
use crate::rules::record::{Name, ObjectKey, OwnerMark};
use crate::rules::shard::Shard;
use crate::rules::uid::Uid;

/// So many copies that went are remembered.
const DELETED: usize = 1024;

/// Failures by object, and how many more there are.
pub type FailuresOf = BTreeMap<Uid, (Vec<Failure>, usize)>;

impl Cache {
    /// Notes a ConfigMap with the marks of such an object.
    pub(in crate::controller::cache) fn note_copy(&self, uid: Uid, key: &ObjectKey, record: CopyRecord, told: Told) {
        let by_its_holder = told == Told::ChangedElsewhere;
        let mut copies = self.cluster.copies_of(uid);
        let here = copies.entry(key.namespace.clone()).or_default();
        match here.iter_mut().find(|(name, _)| *name == key.name) {
            Some((_, known)) => *known = known.after(&record, by_its_holder),
            None => here.push((key.name.clone(), CopyRecord { proven: by_its_holder, ..record })),
        }
    }

    /// Notes that this version of a copy holds what its marks say: its holder wrote it, or compared it.
    pub fn note_proven(&self, uid: Uid, key: &ObjectKey, rv: u64, content: ContentMark) {
        let mut copies = self.cluster.copies_of(uid);
        let here = copies.entry(key.namespace.clone()).or_default();
        // When it was written the watch will tell.
        let record = CopyRecord { content, written: 0, rv, proven: true };
        match here.iter_mut().find(|(name, _)| *name == key.name) {
            Some((_, known)) if known.rv > rv => {}
            Some((_, known)) if known.rv == rv => (known.content, known.proven) = (content, true),
            Some((_, known)) => *known = record,
            None => here.push((key.name.clone(), record)),
        }
    }

    /// This version of a copy was read, and holds what its marks say.
    pub fn note_as_marked(&self, uid: Uid, key: &ObjectKey, rv: u64) {
        let mut copies = self.cluster.copies.get_mut(&uid);
        let here = copies.as_mut().and_then(|copies| copies.get_mut(&key.namespace)).into_iter().flatten();
        here.filter(|(name, known)| *name == key.name && known.rv == rv).for_each(|(_, known)| known.proven = true);
    }

    /// A ConfigMap does not carry the marks of this object any more.
    pub(in crate::controller::cache) fn forget_copy(&self, uid: Uid, key: &ObjectKey) {
        let mut deleted = self.cluster.deleted.lock();
        deleted.push_back((uid, key.clone()));
        if deleted.len() > DELETED {
            deleted.pop_front();
        }
        drop(deleted);
        if let Some(mut copies) = self.cluster.copies.get_mut(&uid)
            && let Some(here) = copies.get_mut(&key.namespace)
        {
            here.retain(|(name, _)| *name != key.name);
            if here.is_empty() {
                copies.remove(&key.namespace);
            }
        }
        if self.cluster.copies.remove_if(&uid, |_, copies| copies.is_empty()).is_some() {
            self.cluster.marked.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Whether this copy went a short while ago. It is asked once: then it is made anew.
    pub fn takes_deleted(&self, uid: Uid, key: &ObjectKey) -> bool {
        let mut deleted = self.cluster.deleted.lock();
        let at = deleted.iter().rposition(|(of, gone)| *of == uid && gone == key);
        at.and_then(|at| deleted.remove(at)).is_some()
    }

    /// What is known of one copy of an object.
    pub fn copy_record(&self, uid: Uid, key: &ObjectKey) -> Option<CopyRecord> {
        let copies = self.cluster.copies.get(&uid)?;
        let here = copies.get(&key.namespace)?;
        here.iter().find(|(name, _)| *name == key.name).map(|(_, record)| *record)
    }

    /// The keys of the ConfigMaps in one namespace that carry the marks of an object.
    pub fn copies_in(&self, uid: Uid, namespace: &Name) -> SmallVec<[ObjectKey; 1]> {
        let copies = self.cluster.copies.get(&uid);
        let here = copies.as_ref().and_then(|copies| copies.get(namespace));
        here.into_iter().flat_map(|here| keys_in(namespace, here)).collect()
    }

    /// Whether what carries the marks of an object is its copy: it stands where they say, in a namespace that is not being deleted.
    /// What somebody carried elsewhere with all its marks is not. What only our own answer told of is.
    pub fn is_standing(&self, key: &ObjectKey) -> bool {
        let Some(namespace) = self.namespace(&key.namespace).filter(|it| !it.terminating) else { return false };
        let in_place = |mark: &OwnerMark| stands_where_written(mark, namespace.uid);
        self.configmap(key).is_none_or(|meta| meta.mark.as_ref().is_some_and(in_place))
    }

    /// Whether a ConfigMap with these marks may be a copy that stands, by what the watch of Namespaces told.
    pub fn may_stand(&self, namespace: &Name, mark: &OwnerMark) -> bool {
        self.namespace(namespace).is_none_or(|it| !it.terminating && stands_where_written(mark, it.uid))
    }

    /// The keys of all copies of an object, in namespaces that are not being deleted.
    pub fn standing_copies(&self, uid: Uid) -> Vec<ObjectKey> {
        let Some(copies) = self.cluster.copies.get(&uid) else { return Vec::new() };
        let mut keys: Vec<ObjectKey> = keys_of(&copies).filter(|key| self.is_standing(key)).collect();
        keys.sort_unstable();
        keys
    }

    /// How many copies of an object there are, in namespaces that are not being deleted, without those that nobody may remove.
    pub fn count_standing(&self, uid: Uid) -> usize {
        let may_go = |key: &ObjectKey| self.is_standing(key) && self.may_remove(key);
        self.cluster.copies.get(&uid).map_or(0, |copies| keys_of(&copies).filter(may_go).count())
    }

    /// Notes how it stands with a copy, by its holder; `None`: it is in order. Whether that is news.
    pub fn note_failure(&self, uid: Uid, namespace: &Name, failure: Option<Failure>) -> bool {
        match failure {
            Some(failure) => {
                let mut failures = self.cluster.failures.entry(uid).or_default();
                failures.insert(namespace.clone(), failure.clone()) != Some(failure)
            }
            None => {
                let was_there =
                    self.cluster.failures.get_mut(&uid).is_some_and(|mut all| all.remove(namespace).is_some());
                self.cluster.failures.remove_if(&uid, |_, all| all.is_empty());
                was_there
            }
        }
    }

    /// What this replica knows of a copy that failed, or was told by another one.
    pub fn failure(&self, uid: Uid, namespace: &Name) -> Option<Failure> {
        let own = self.cluster.failures.get(&uid).and_then(|failures| failures.get(namespace).cloned());
        own.or_else(|| self.cluster.elsewhere.lock().get(&uid)?.0.get(namespace).cloned())
    }

    /// How many copies of an object failed elsewhere that are not known by name.
    pub fn more_failures(&self, uid: Uid) -> usize {
        self.cluster.elsewhere.lock().get(&uid).map_or(0, |(_, more)| *more)
    }

    /// The failures that this replica itself knows of, by object and in the order of namespaces.
    pub fn own_failures(&self) -> FailuresOf {
        let sorted = |failures: &AHashMap<Name, Failure>| {
            let mut failures: Vec<Failure> = failures.values().cloned().collect();
            failures.sort_unstable_by(|a, b| a.namespace.cmp(&b.namespace));
            failures
        };
        self.cluster.failures.iter().map(|entry| (*entry.key(), (sorted(entry.value()), 0))).collect()
    }

    /// Takes in what the other replicas know of. Returns the objects of which they tell something new.
    pub fn failures_elsewhere(&self, all: FailuresOf) -> Vec<Uid> {
        let by_name = |failures: Vec<Failure>| failures.into_iter().map(|it| (it.namespace.clone(), it)).collect();
        let now: AHashMap<Uid, FailuresElsewhere> =
            all.into_iter().map(|(uid, (failures, more))| (uid, (by_name(failures), more))).collect();
        let before = std::mem::replace(&mut *self.cluster.elsewhere.lock(), now.clone());
        let mut changed: Vec<Uid> =
            before.keys().chain(now.keys()).filter(|uid| before.get(uid) != now.get(uid)).copied().collect();
        changed.sort_unstable();
        changed.dedup();
        changed
    }

    /// Forgets failures in namespaces that are gone, and in shards that this replica does not hold: what it knew of them is old.
    /// Returns the objects of which it knows less now.
    pub fn forget_failures(&self, is_held: impl Fn(Shard) -> bool) -> Vec<Uid> {
        let stays = |namespace: &Name| self.namespace(namespace).is_some_and(|it| is_held(Shard::of(it.uid)));
        let mut changed = Vec::new();
        for mut entry in self.cluster.failures.iter_mut() {
            let before = entry.value().len();
            entry.value_mut().retain(|namespace, _| stays(namespace));
            if entry.value().len() < before {
                changed.push(*entry.key());
            }
        }
        self.cluster.failures.retain(|_, all| !all.is_empty());
        changed.sort_unstable();
        changed
    }
}

fn keys_of(copies: &AHashMap<Name, CopiesHere>) -> impl Iterator<Item = ObjectKey> {
    copies.iter().flat_map(|(namespace, here)| keys_in(namespace, here))
}

fn keys_in(namespace: &Name, here: &CopiesHere) -> impl Iterator<Item = ObjectKey> {
    here.iter().map(|(name, _)| ObjectKey { namespace: namespace.clone(), name: name.clone() })
}
