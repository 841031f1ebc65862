//! From the API server's JSON to records. Decoding never fails for what an object holds: one undecodable object would
//! restart its watch for ever. Decoding skips what is not kept, above all the contents of ConfigMaps.

mod cluster_sync;
mod configmap;
mod namespace;
mod object;
mod sync;

pub use cluster_sync::ClusterSyncObject;
pub use configmap::{ConfigMapObject, ConfigMapRecord};
pub use namespace::{NamespaceObject, NamespaceRecord};
pub use object::Object;
pub use sync::SyncObject;
