//! What touches the API server: thin, on kube. Decisions are made elsewhere.

pub mod bulkheads;
pub mod chance;
pub mod client;
pub mod clock;
pub mod decode;
pub mod events;
mod exchange;
pub mod instruments;
pub mod limiter;
pub mod listening;
mod pages;
pub mod reader;
pub mod refusal;
pub mod streams;
pub mod trouble;
pub mod writer;
