//! The rules of the business: pure functions and state machines, with no I/O, no clock and no Kubernetes client.

pub mod backoff;
pub mod content;
pub mod cycle;
pub mod facts;
pub mod lenient;
pub mod ownership;
pub mod plan;
pub mod records;
pub mod shard;
pub mod spec;
pub mod status;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
