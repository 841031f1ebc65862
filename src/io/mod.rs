//! Thin on kube: streams, writer, Leases. Observes and applies, and decides nothing.

pub mod clock;
pub mod instruments;
pub mod leases;
