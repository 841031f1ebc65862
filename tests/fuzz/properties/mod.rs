//! What holds for any bytes. Each function panics where something does not.
//!
//! The API server is believed in what it writes itself: names, UIDs, versions, and the types of the metadata. All else
//! is what somebody may write. So each function first makes of its input an object as the server would send it.

mod clusters;
mod consent;
mod content;
mod leases;
mod objects;
mod refusals;
mod served;
mod syncs;

pub use clusters::cluster_sync;
pub use consent::consent;
pub use content::content;
pub use leases::lease;
pub use objects::{config_map, namespace};
pub use refusals::refusal;
pub use syncs::{spec, sync};

/// A property by its name, which is also that of its target and of its corpus.
pub type Property = (&'static str, fn(&[u8]));

/// All of them.
pub const ALL: [Property; 9] = [
    ("cluster_sync", cluster_sync),
    ("config_map", config_map),
    ("consent", consent),
    ("content", content),
    ("lease", lease),
    ("namespace", namespace),
    ("refusal", refusal),
    ("spec", spec),
    ("sync", sync),
];
