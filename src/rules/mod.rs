//! What is right: pure functions, with no I/O, no clock, no executor and no Kubernetes client.

pub mod backoff;
pub mod cluster;
pub mod consent;
pub mod copy;
pub mod key;
pub mod lenient;
pub mod object;
pub mod reason;
pub mod record;
pub mod shard;
pub mod sharing;
pub mod spec;
#[cfg(test)]
pub(crate) mod testing;
pub mod uid;
