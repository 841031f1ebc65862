//! What a replica tells of itself: the table of metrics, their exporter, and logs.

pub mod exporter;
pub mod instruments;
pub mod logs;
