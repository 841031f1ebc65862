//! The ConfigMapSync operator, by layer. Each layer knows only those above it in this list.

pub mod api;
pub mod cli;
pub mod controller;
pub mod environment;
pub mod kubernetes;
pub mod leadership;
pub mod rules;
pub mod telemetry;
