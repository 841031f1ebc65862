//! The API `apps.kapendra.com/v1`: the type that the CRD is generated from, and the names that stand on objects.

pub mod configmapsync;
pub mod dns;
pub mod names;
pub mod policies;

pub use configmapsync::{ConfigMapSync, ConfigMapSyncSpec, ConfigMapSyncStatus};
