//! The plan, tried: as a table, as stories, as laws, and in a model of a cluster that two replicas see late.

mod cases;
mod laws;
mod model;
mod story;
mod world;
