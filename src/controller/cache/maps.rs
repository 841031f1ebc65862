//! The maps of the cache.

use ahash::RandomState;
use dashmap::DashMap;
use smallvec::SmallVec;

use crate::rules::uid::Uid;

/// A map that many may use at once.
pub(super) type Map<K, V> = DashMap<K, V, RandomState>;
/// Mostly one.
pub(super) type Uids = SmallVec<[Uid; 1]>;
