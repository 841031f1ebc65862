//! The plan of an object and its copy, tried: as a table, as scenarios, as laws, and in a model of a cluster that two replicas see late.

mod cases;
mod cluster;
mod consent;
mod guards;
mod laws;
mod many;
mod many_laws;
mod many_objects;
mod model;
mod scenario;
