//! The ConfigMapSync operator, by room: each answers one question. `docs/architecture.md` says which, and what each may import.

pub mod api;
pub mod cli;
pub mod controller;
pub mod environment;
pub mod kubernetes;
pub mod leadership;
pub mod rules;
pub mod telemetry;
