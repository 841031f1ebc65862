//! All that a replica knows of the cluster, and the indexes to find it by.

mod apply;
mod dropped_versions;
mod index;
mod interner;
mod lookups;
mod orphans;
mod syncs;
#[cfg(test)]
mod tests;
mod tombstones;

pub use apply::Change;
pub use index::{Cache, OrphanedCopy, SourceVersion};
