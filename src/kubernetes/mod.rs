//! What touches the API server: thin, on kube. Decisions are made elsewhere.

pub mod budget;
pub mod bulkheads;
pub mod client;
pub mod decode;
pub mod events;
mod exchange;
pub mod limiter;
mod pages;
pub mod reader;
pub mod refusal;
pub mod trouble;
pub mod watch;
pub mod watch_thread;
pub mod writer;
