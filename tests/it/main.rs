//! The operator against a real API server: one binary, in which tests that only need "an operator" share a control
//! plane and one operator process, each with namespaces of its own.
//!
//! With `KUBECONFIG` set the shared operator works on that cluster. Tests that need a control plane of their own (to
//! kill and restart the operator, or to count every request) are skipped then, and say so.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "clippy excuses test functions, not their helpers")]

mod harness;

mod account;
mod api;
mod author_policies;
mod authors;
mod bad_input;
mod bulkheads;
mod cluster;
mod cluster_fleet;
mod cluster_owners;
mod cluster_schema;
mod consent;
mod content;
mod ends;
mod events;
mod faults;
mod flags;
mod fleet;
mod foreign;
mod guards;
mod hostile;
mod leadership;
mod lifecycle;
mod limits;
mod moving_over;
mod namespaces;
mod need;
mod observed;
mod ownership;
mod people;
mod requests;
mod rights;
mod rivals;
mod seed;
mod shape;
mod silence;
mod sources;
mod stale;
mod store;
mod target_namespaces;
mod trust;
mod truth;
mod waiting;
