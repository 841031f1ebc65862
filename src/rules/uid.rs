//! The UID of an object.

use std::fmt;
use std::num::NonZeroU64;

/// The UID of an object: a UUID, kept in 16 bytes. Its lower half begins with the bits of its variant, so it is never
/// zero, and an `Option<Uid>` takes no more.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uid(u64, NonZeroU64);

impl Uid {
    pub(super) fn new(value: u128) -> Option<Self> {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
    }
}
