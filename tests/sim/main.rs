//! Whole replicas, the operator's own code, in simulated time: with every fault there is, by seeds that repeat.
//!
//! `SIM_SEEDS=10000 cargo test --release --test sim` plays more seeds than usual, `SIM_SEED=7` one, `SIM_LOG=debug`
//! prints what happens.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "clippy excuses test functions, not their helpers")]

mod bulkheads;
mod compare;
mod consent;
mod counts;
mod faults;
mod found;
mod laws;
mod many;
mod network;
mod play;
mod replica;
mod script;
mod seeds;
mod server;
mod sim;
mod slow;
mod stage;
mod stale;
mod wire;
