//! A replica at work: the world, the shards it holds, their queue, leadership.

pub mod config;
mod departed;
pub mod fanout;
pub mod follow;
pub mod health;
pub mod memo;
mod names;
mod passed;
pub mod queue;
pub mod replica;
pub mod sources;
mod steps;
pub mod supervisor;
mod view;
pub mod work;
pub mod world;
