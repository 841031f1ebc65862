//! What touches the API server: thin, on kube. Decisions are made elsewhere.

pub mod author_policy;
pub mod backoff;
pub mod budget;
pub mod bulkheads;
pub mod client;
pub mod decode;
pub mod error;
pub mod events;
mod exchange;
pub mod failures;
pub mod leases;
pub mod limiter;
mod pages;
pub mod rate;
pub mod reader;
pub mod watch;
pub mod watch_thread;
pub mod writer;
