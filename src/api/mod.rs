//! The API group `apps.kapendra.com`: the types that the definitions are generated from, and the names that stand on objects.

pub mod clusterconfigmapsync;
pub mod configmapsync;
pub mod dns;
pub mod names;
pub mod policies;
mod schema;
pub mod shape;

pub use clusterconfigmapsync::{ClusterConfigMapSync, ClusterConfigMapSyncSpec, ClusterConfigMapSyncStatus};
pub use configmapsync::{ConfigMapSync, ConfigMapSyncSpec, ConfigMapSyncStatus};
