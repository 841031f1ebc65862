//! The demo and the load test: a fleet of operator processes on a control plane of the test bed's own, with work given to
//! it and watched from outside. What is measured here is what a user of the API sees; the operator's own word about
//! itself (its metrics) only stands beside it.

pub mod copies;
pub mod demo;
pub mod fleet;
pub mod objects;
pub mod screen;
pub mod writers;
