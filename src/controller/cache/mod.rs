//! All that a replica knows of the cluster, and the indexes to find it by.

mod apply;
mod change;
mod cluster;
mod dropped_versions;
mod guards;
mod index;
mod interner;
mod lookups;
mod maps;
mod orphans;
mod sharing;
mod sharings;
mod syncs;
#[cfg(test)]
mod tests;
mod tombstones;

pub use change::{Change, Told};
pub use cluster::FailuresOf;
pub use index::{Cache, OrphanedCopy, SourceVersion};
