//! Versions of ConfigMaps that concerned nobody when they came by. The streams are not ordered among each other: a
//! sync may arrive a moment after the event of its source, and must not miss it. So what is dropped leaves one number
//! behind, in a table of fixed size in which a newer entry replaces an older one.

use std::sync::Mutex;
use std::sync::PoisonError;

use ahash::RandomState;

use crate::core::records::Place;

/// A power of two: 1 MiB of memory.
const SLOTS: usize = 1 << 16;

/// The table.
pub(super) struct Passed {
    hasher: RandomState,
    slots: Mutex<Box<[(u64, u64)]>>,
}

impl Default for Passed {
    fn default() -> Self {
        Self { hasher: RandomState::with_seeds(2, 3, 5, 7), slots: Mutex::new(vec![(0, 0); SLOTS].into_boxed_slice()) }
    }
}

impl Passed {
    /// The ConfigMap at `place` was last seen with this resourceVersion.
    pub(super) fn remember(&self, place: &Place, rv: u64) {
        let hash = self.hasher.hash_one(place);
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)[hash as usize % SLOTS] = (hash, rv);
    }

    /// The resourceVersion with which it was last seen, if that is still remembered.
    pub(super) fn recall(&self, place: &Place) -> Option<u64> {
        let hash = self.hasher.hash_one(place);
        let (owner, rv) = self.slots.lock().unwrap_or_else(PoisonError::into_inner)[hash as usize % SLOTS];
        (owner == hash && rv != 0).then_some(rv)
    }
}
