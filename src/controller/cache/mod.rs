//! All that a replica knows of the cluster, and the indexes to find it by.

mod dropped_versions;
mod index;
mod interner;
mod questions;
mod syncs;
#[cfg(test)]
mod tests;
mod tombstones;

pub use index::{Change, Leftover, SourceWord, World};
