//! A replica at work: what it knows of the cluster ([`cache`]), whose turn it is ([`queue`]), and what is done with a key
//! ([`reconcile`]).

mod author_policy;
mod background;
pub mod cache;
pub mod config;
mod dispatcher;
mod gate;
mod gauges;
mod handover;
pub mod health;
pub mod ingest;
pub mod leadership;
pub mod observe;
mod probes;
pub mod queue;
pub mod reconcile;
mod refusals;
pub mod replica;
pub mod supervisor;
mod verification;
