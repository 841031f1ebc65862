//! What is done with a key whose turn it is: look, plan, execute, learn, until nothing is left to do.

mod cluster_sync;
mod consent;
pub mod copies;
pub mod counting;
pub mod drive;
mod execute;
mod failure;
mod fresh_reads;
mod in_hand;
pub mod key_state;
pub mod knowledge;
pub mod reconciler;
mod shaping;
pub(in crate::controller) mod snapshot;
pub mod sources;
mod sweep;
