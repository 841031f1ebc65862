//! deploy/install.sh and deploy/deploy-prod.sh, run as a user runs them, against a real control plane.
//!
//! There is no node here, so pods never run: the operator is a process under the account that the script made. What
//! needs real pods is tested on a real node.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "clippy excuses test functions, not their helpers")]

#[allow(dead_code, unused_imports, reason = "shared with tests/it, of which this uses a part")]
#[path = "../it/harness/mod.rs"]
mod harness;

mod both_kinds;
mod clusters;
mod contract;
mod need;
mod page;
mod script;
mod seed;
mod setup;
mod story;
mod upgrade;
