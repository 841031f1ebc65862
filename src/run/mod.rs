//! A replica at work: the world, the shards it holds, their queues, leadership.

pub mod config;
pub mod health;
pub mod leadership;
