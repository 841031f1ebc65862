//! The rules of the business: pure functions and state machines, with no I/O, no clock and no Kubernetes client.

pub mod shard;
