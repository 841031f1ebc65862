//! The keys that have reason to be looked at, and whose turn it is.

pub mod fanout;
mod queue;

pub use queue::{Cause, Job, Lane, Outcome, Queue};
