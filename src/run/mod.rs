//! run

pub mod config;
pub mod health;
