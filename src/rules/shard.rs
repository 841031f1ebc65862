//! Hash shards: every ConfigMapSync falls, by its UID, into one of [`SHARDS`] shards for ever.

use std::fmt;

use crate::rules::uid::Uid;

/// How many shards there are. A constant: a heartbeat costs the same whatever this is, 64 shards spread over ten
/// replicas within 9 % of even, and a number that never changes needs no protocol for changing it.
pub const SHARDS: usize = 64;

/// One of the [`SHARDS`] shards.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Shard(u8);

impl Shard {
    /// The shard of a sync: the top six bits of FNV-1a 64 over its UID's text. The same ranges as Kubernetes' own
    /// sharded list and watch (KEP-5866), so that a server can one day filter by them.
    pub fn of(uid: Uid) -> Self {
        Self((fnv1a(uid.encode(&mut [0; 36]).as_bytes()) >> 58) as u8)
    }

    /// All shards, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..SHARDS as u8).map(Self)
    }

    /// The shard with this number; `None` from [`SHARDS`] on.
    pub fn new(number: usize) -> Option<Self> {
        (number < SHARDS).then_some(Self(number as u8))
    }

    /// Its number, 0 to [`SHARDS`] - 1.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}", self.0)
    }
}

/// FNV-1a, 64 bits (Fowler, Noll, Vo).
pub fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fnv1a_gives_the_published_values() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"abc"), 0xe71f_a219_0541_574b);
    }

    proptest! {
        #[test]
        fn shards_are_in_range(value: u128) {
            prop_assume!(Uid::new(value).is_some());
            prop_assert!(Shard::of(Uid::new(value).unwrap()).index() < SHARDS);
        }
    }

    #[test]
    fn random_uids_fill_all_shards_evenly() {
        let mut counts = [0usize; SHARDS];
        // Any sequence of distinct UUIDs will do; multiplication by an odd constant scatters them.
        for n in 1..=64_000u128 {
            let uid = Uid::new(n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)).unwrap();
            counts[Shard::of(uid).index()] += 1;
        }
        assert!(counts.iter().all(|n| (800..1200).contains(n)), "{counts:?}");
    }
}
