//! One version of one object, by which writes say what they replace and a replica knows what it has seen.

use crate::rules::uid::Uid;

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
