//! The UID of an object, and one version of it, by which writes say what they replace and a replica knows what it has seen.

use std::fmt;
use std::num::NonZeroU64;

use uuid::Uuid;
use uuid::fmt::Hyphenated;

/// The UID of an object: a UUID, kept in 16 bytes. Its lower half begins with the bits of its variant, so it is never
/// zero, and an `Option<Uid>` takes no more. `uuid::NonNilUuid` has an alignment of 16, and would make 32 bytes of the 24
/// that a version takes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uid(u64, NonZeroU64);

impl Uid {
    #[cfg(test)]
    pub(super) fn new(value: u128) -> Option<Self> {
        Self::from_uuid(Uuid::from_u128(value))
    }

    fn from_uuid(uuid: Uuid) -> Option<Self> {
        let (high, low) = uuid.as_u64_pair();
        NonZeroU64::new(low).map(|low| Self(high, low))
    }

    /// Reads the text form (8-4-4-4-12 hexadecimal digits). `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let hyphenated = text.len() == Hyphenated::LENGTH; // the crate reads other forms too, of other lengths
        Uuid::try_parse(text).ok().filter(|_| hyphenated).and_then(Self::from_uuid)
    }

    /// The text form in lower case, without an allocation.
    pub(super) fn encode(self, buffer: &mut [u8; Hyphenated::LENGTH]) -> &str {
        self.hyphenated().encode_lower(buffer)
    }

    fn hyphenated(self) -> Hyphenated {
        Uuid::from_u64_pair(self.0, self.1.get()).hyphenated()
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.hyphenated(), f)
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One version of one object. Within a resource `rv` is a number that only grows (KEP-5504).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Version {
    /// metadata.uid.
    pub uid: Uid,
    /// metadata.resourceVersion.
    pub rv: u64,
}

impl Version {
    /// Reads both as they stand in an object. `None`: one of them is not what an API server sends.
    pub fn parse(uid: &str, resource_version: &str) -> Option<Self> {
        Some(Self { uid: Uid::parse(uid)?, rv: resource_version.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_uid_that_is_not_a_uuid_is_none() {
        let nil = "00000000-0000-0000-0000-000000000000";
        let [simple, braced] = ["11111111222233334444555555555555", "{11111111-2222-3333-4444-555555555555}"];
        let [short, wrong] = ["11111111-2222-3333-4444-55555555555", "11111111x2222-3333-4444-555555555555"];
        for text in ["", "x", short, wrong, nil, simple, braced] {
            assert_eq!(Uid::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_uid_takes_no_more_than_its_bits_also_where_there_may_be_none() {
        assert_eq!((size_of::<Uid>(), size_of::<Option<Uid>>(), align_of::<Uid>()), (16, 16, 8));
    }

    #[test]
    fn a_uid_in_capitals_is_written_in_lower_case() {
        let uid = Uid::parse("ABCDEF01-2345-6789-ABCD-EF0123456789").unwrap();
        assert_eq!(uid.to_string(), "abcdef01-2345-6789-abcd-ef0123456789");
        assert_eq!(uid.encode(&mut [0; 36]), uid.to_string());
    }

    proptest! {
        #[test]
        fn a_uid_reads_back_as_written(high: u64, low: NonZeroU64) {
            let uid = Uid(high, low);
            prop_assert_eq!(Uid::parse(&uid.to_string()), Some(uid));
        }
    }
}
