//! What is done with a key whose turn it is: look, plan, execute, learn, until nothing is left to do.

pub mod drive;
mod execute;
mod failure;
mod fresh_reads;
pub mod key_state;
pub mod knowledge;
pub mod reconciler;
mod snapshot;
pub mod sources;
mod sweep;
