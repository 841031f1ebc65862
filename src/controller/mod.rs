//! A replica at work: what it knows of the cluster ([`cache`]), whose turn it is ([`queue`]), and what is done with a key
//! ([`reconcile`]).

pub mod cache;
pub mod config;
pub mod health;
pub mod ingest;
pub mod queue;
pub mod reconcile;
pub mod replica;
pub mod supervisor;
