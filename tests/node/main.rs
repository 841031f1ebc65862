//! The operator as a user has it: the shipped manifests and the shipped image, run by a kubelet.
//!
//! These tests need what a node needs ([`testbed::NodeCluster::missing`]); elsewhere each says that it is skipped, and why.
//! They share one cluster and take turns on it, since each of them changes how many replicas there are.
//! `CONFIGMAPSYNC_IMAGE` names an archive, such as `make image` writes, to test instead of a quicker build of the same image.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "clippy excuses test functions, not their helpers")]

#[allow(dead_code, reason = "shared with tests/deploy, of which this uses a part")]
#[path = "../deploy/render.rs"]
mod render;
#[allow(dead_code, reason = "shared with tests/install, of which this uses a part")]
#[path = "../install/script.rs"]
mod script;
#[allow(dead_code, reason = "shared with tests/install, of which this uses a part")]
#[path = "../install/seed.rs"]
mod seed;

mod capacity;
mod chart;
mod disruptions;
mod image;
mod install;
mod installed;
mod kustomize;
mod level;
mod load;
mod network;
mod pods;
mod readme;
mod sample;
mod scale;
mod setup;
mod shards;
mod upgrade;
mod wait;
