//! Objects that want a copy in each of many namespaces.

mod apply;
mod copies;
mod digest;
mod lookups;
pub(super) mod state;

pub use copies::FailuresOf;
