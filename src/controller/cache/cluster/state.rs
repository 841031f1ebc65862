//! What a replica knows of objects that want a copy in each of many namespaces.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use std::collections::VecDeque;

use ahash::{AHashMap, AHashSet};
use dashmap::mapref::entry::Entry;
use dashmap::mapref::one::RefMut;
use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::controller::cache::maps::{Map, Uids};
use crate::rules::cluster::record::{ClusterSync, CopyRecord};
use crate::rules::cluster::rollup::Failure;
use crate::rules::cluster::selection::Labels;
use crate::rules::key::Key;
use crate::rules::record::{Name, ObjectKey, SlimArc};
use crate::rules::uid::Uid;

/// The copies of one object in one namespace, by name: mostly one.
pub(super) type CopiesHere = SmallVec<[(Name, CopyRecord); 1]>;

/// What other holders told of the copies of one object that failed, by namespace, and how many more there are.
pub(super) type FailuresElsewhere = (AHashMap<Name, Failure>, usize);

/// What a replica knows of such objects.
pub struct ClusterSyncs {
    pub(super) objects: Map<Uid, SlimArc<ClusterSync>>,
    /// How many there are.
    pub(super) count: AtomicUsize,
    /// How many UIDs `copies` holds. Most clusters have neither, and then nothing here is to be looked at.
    pub(super) marked: AtomicUsize,
    /// From the name of their copies to the objects.
    pub(super) by_copy_name: Map<Name, Uids>,
    /// Every ConfigMap that carries the marks of such an object: by the UID on the marks, then by namespace.
    pub(super) copies: Map<Uid, AHashMap<Name, CopiesHere>>,
    /// Labels of namespaces that have some.
    pub(in crate::controller::cache) labels: Map<Name, Labels>,
    /// Namespaces that a selector never means.
    pub(super) protected: AHashSet<Name>,
    /// Grows whenever a namespace comes, goes or changes.
    pub(super) namespaces_epoch: AtomicU64,
    /// How many namespaces an object selects, as of an epoch and a version of the object.
    pub(super) selected: Mutex<AHashMap<Uid, (u64, u64, usize)>>,
    /// Keys of copies that a change of a ConfigMapSync affects, until they are enqueued.
    pub(super) affected: Mutex<Vec<Key>>,
    /// Copies that went though they are wanted, the last to go at the end.
    pub(super) deleted: Mutex<VecDeque<(Uid, ObjectKey)>>,
    /// What a holder knows of copies that failed: by object, then by namespace.
    pub(super) failures: Map<Uid, AHashMap<Name, Failure>>,
    /// What other holders told of copies that failed.
    pub(super) elsewhere: Mutex<AHashMap<Uid, FailuresElsewhere>>,
}

impl Default for ClusterSyncs {
    fn default() -> Self {
        let protected = ["kube-system", "kube-public", "kube-node-lease"];
        Self {
            objects: Map::default(),
            count: AtomicUsize::new(0),
            marked: AtomicUsize::new(0),
            by_copy_name: Map::default(),
            copies: Map::default(),
            labels: Map::default(),
            protected: protected.map(Name::from).into_iter().collect(),
            namespaces_epoch: AtomicU64::new(0),
            selected: Mutex::default(),
            affected: Mutex::default(),
            deleted: Mutex::default(),
            failures: Map::default(),
            elsewhere: Mutex::default(),
        }
    }
}

impl ClusterSyncs {
    pub(super) fn is_unused(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0 && self.marked.load(Ordering::Acquire) == 0
    }

    pub(super) fn copies_of(&self, uid: Uid) -> RefMut<'_, Uid, AHashMap<Name, CopiesHere>> {
        match self.copies.entry(uid) {
            Entry::Occupied(entry) => entry.into_ref(),
            Entry::Vacant(entry) => {
                self.marked.fetch_add(1, Ordering::AcqRel);
                entry.insert(AHashMap::new())
            }
        }
    }
}
