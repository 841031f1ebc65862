//! What is done with a key whose turn it is: look, plan, execute, until nothing is left to do.

pub mod drive;
mod execute;
mod failure;
pub mod key;
pub mod key_state;
pub mod snapshot;
pub mod sources;
mod sweep;
