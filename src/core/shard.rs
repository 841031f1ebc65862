//! Hash shards: every ConfigMapSync falls, by its UID, into one of [`SHARDS`] shards for ever.

use std::fmt;
use std::num::NonZeroU64;

/// How many shards there are. A constant: a heartbeat costs the same whatever this is, 64 shards spread over ten
/// replicas within 9 % of even, and a number that never changes needs no protocol for changing it.
pub const SHARDS: usize = 64;

/// The UID of an object: a UUID, kept in 16 bytes. Its lower half begins with the bits of its variant, so it is never
/// zero, and an `Option<Uid>` takes no more.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uid(u64, NonZeroU64);

impl Uid {
    fn new(value: u128) -> Option<Self> {
        NonZeroU64::new(value as u64).map(|low| Self((value >> 64) as u64, low))
    }

    /// Reads the text form (8-4-4-4-12 hexadecimal digits). `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        if bytes.len() != 36 {
            return None;
        }
        let mut value = 0u128;
        for (at, byte) in bytes.iter().enumerate() {
            if matches!(at, 8 | 13 | 18 | 23) {
                if *byte != b'-' {
                    return None;
                }
                continue;
            }
            value = (value << 4) | u128::from(char::from(*byte).to_digit(16)?);
        }
        Self::new(value)
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(high, low) = self;
        let (a, b, c, d) = (high >> 32, (high >> 16) & 0xffff, high & 0xffff, low.get() >> 48);
        write!(f, "{a:08x}-{b:04x}-{c:04x}-{d:04x}-{:012x}", low.get() & 0xffff_ffff_ffff)
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One of the [`SHARDS`] shards.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Shard(u8);

impl Shard {
    /// The shard of a sync: the top six bits of FNV-1a 64 over its UID's text. The same ranges as Kubernetes' own
    /// sharded list and watch (KEP-5866), so that a server can one day filter by them.
    pub fn of(uid: Uid) -> Self {
        Self((fnv1a(uid.to_string().as_bytes()) >> 58) as u8)
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

    #[test]
    fn a_uid_that_is_not_a_uuid_is_none() {
        let nil = "00000000-0000-0000-0000-000000000000";
        for text in ["", "x", "11111111-2222-3333-4444-55555555555", "11111111x2222-3333-4444-555555555555", nil] {
            assert_eq!(Uid::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_uid_reads_back_as_written(high: u64, low: NonZeroU64) {
            let uid = Uid(high, low);
            prop_assert_eq!(Uid::parse(&uid.to_string()), Some(uid));
        }

        #[test]
        fn shards_are_in_range(high: u64, low: NonZeroU64) {
            prop_assert!(Shard::of(Uid(high, low)).index() < SHARDS);
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
