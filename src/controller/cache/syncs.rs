//! All syncs, by UID and by name. Each set stores only a pointer to the record and reads the key from it. That saves memory for
//! every sync.

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};

use ahash::RandomState;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

use crate::rules::record::{ObjectKey, SlimArc, Sync};
use crate::rules::uid::Uid;

/// A DashSet could not put a record in the place of its predecessor, which counts as the same.
type Set<T> = DashMap<T, (), RandomState>;

#[derive(Default)]
pub(super) struct Syncs {
    by_uid: Set<ByUid>,
    by_name: Set<ByName>,
}

macro_rules! found_by {
    ($name:ident, $key:ty, $of:expr) => {
        struct $name(SlimArc<Sync>);

        impl Borrow<$key> for $name {
            fn borrow(&self) -> &$key {
                let of: fn(&Sync) -> &$key = $of;
                of(&self.0)
            }
        }

        impl Hash for $name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                Borrow::<$key>::borrow(self).hash(state);
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                Borrow::<$key>::borrow(self) == Borrow::<$key>::borrow(other)
            }
        }

        impl Eq for $name {}
    };
}
found_by!(ByUid, Uid, |sync| &sync.version.uid);
found_by!(ByName, ObjectKey, |sync| &sync.key);

/// Puts it in, in the place of what was found in the same way.
fn put<T: Eq + Hash>(set: &Set<T>, it: T) {
    match set.entry(it) {
        Entry::Occupied(entry) => drop(entry.replace_entry(())),
        Entry::Vacant(entry) => drop(entry.insert(())),
    }
}

impl Syncs {
    pub(super) fn get(&self, uid: Uid) -> Option<SlimArc<Sync>> {
        self.by_uid.get(&uid).map(|entry| entry.key().0.clone())
    }

    pub(super) fn named(&self, name: &ObjectKey) -> Option<SlimArc<Sync>> {
        self.by_name.get(name).map(|entry| entry.key().0.clone())
    }

    pub(super) fn contains(&self, uid: Uid) -> bool {
        self.by_uid.contains_key(&uid)
    }

    pub(super) fn put(&self, sync: &SlimArc<Sync>) {
        put(&self.by_uid, ByUid(sync.clone()));
        put(&self.by_name, ByName(sync.clone()));
    }

    pub(super) fn remove(&self, uid: Uid) -> Option<SlimArc<Sync>> {
        let (ByUid(sync), ()) = self.by_uid.remove(&uid)?;
        self.by_name.remove_if(&sync.key, |ByName(named), ()| named.uid() == uid);
        Some(sync)
    }

    pub(super) fn len(&self) -> usize {
        self.by_uid.len()
    }

    pub(super) fn each(&self, mut visit: impl FnMut(&Sync)) {
        for entry in self.by_uid.iter() {
            visit(&entry.key().0);
        }
    }

    pub(super) fn uids(&self) -> Vec<Uid> {
        self.by_uid.iter().map(|entry| entry.key().0.uid()).collect()
    }
}
