//! The plan of an object and its copy, tried: as a table, as scenarios, as laws, and in a model of a cluster that two replicas see late.

mod cases;
mod cluster;
mod laws;
mod model;
mod scenario;
