//! io

pub mod instruments;
