//! Versions of ConfigMaps that concerned nobody when they came by. The watches are not ordered among each other: a
//! sync may arrive a moment after the event of its source, and must not miss it. So what is dropped leaves one number
//! behind, in a table of fixed size in which a newer entry replaces an older one.

use ahash::RandomState;
use parking_lot::{Mutex, MutexGuard};

use crate::rules::record::ObjectKey;

/// A power of two: 1 MiB of memory.
const SLOTS: usize = 1 << 16;

/// Instead of a version: it went.
pub(super) const GONE: u64 = u64::MAX;

/// The table.
pub(super) struct DroppedVersions {
    hasher: RandomState,
    slots: Mutex<Slots>,
}

struct Slots {
    /// The hash of a key, and its version.
    entries: Box<[(u64, u64)]>,
    /// Whether it was written since the list began.
    fresh: Box<[bool]>,
}

impl Default for DroppedVersions {
    fn default() -> Self {
        let slots = Slots { entries: vec![(0, 0); SLOTS].into(), fresh: vec![false; SLOTS].into() };
        // The same in every process: which keys share a slot must not be chance (`environment/random.rs`).
        Self { hasher: RandomState::with_seeds(2, 3, 5, 7), slots: Mutex::new(slots) }
    }
}

impl DroppedVersions {
    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock()
    }

    /// All ConfigMaps are about to be listed.
    pub(super) fn list_begins(&self) {
        self.lock().fresh.fill(false);
    }

    /// They are listed: what did not come by has gone.
    pub(super) fn list_ends(&self) {
        let mut slots = self.lock();
        let Slots { entries, fresh } = &mut *slots;
        for (entry, _) in entries.iter_mut().zip(fresh.iter()).filter(|(entry, fresh)| entry.1 != 0 && !**fresh) {
            entry.1 = GONE;
        }
    }

    /// The ConfigMap `key` was last seen with this resourceVersion.
    pub(super) fn remember(&self, key: &ObjectKey, rv: u64) {
        let hash = self.hasher.hash_one(key);
        let mut slots = self.lock();
        slots.entries[hash as usize % SLOTS] = (hash, rv);
        slots.fresh[hash as usize % SLOTS] = true;
    }

    /// The resourceVersion with which it was last seen, if that is still remembered.
    pub(super) fn recall(&self, key: &ObjectKey) -> Option<u64> {
        let hash = self.hasher.hash_one(key);
        let (owner, rv) = self.lock().entries[hash as usize % SLOTS];
        (owner == hash && rv != 0).then_some(rv)
    }
}
