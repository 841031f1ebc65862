//! What is shipped for those who watch the operator, and what it is worth: dashboards, alert rules and runbooks, linted,
//! and evaluated by a real Prometheus on real replicas against a real control plane, with faults caused for real.
//!
//! Prometheus is Debian's, unpacked into `target/` when it is not on the PATH; where it cannot be had, the tests that need
//! it are skipped and say so.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "clippy excuses test functions, not their helpers")]

#[path = "../it/harness/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the other test binary uses the rest")]
mod harness;

mod faults;
mod lint;
mod live;
mod prometheus;
mod screens;
mod shipped;
mod stage;
