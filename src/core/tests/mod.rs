//! The plan, tried: as a table, as stories, as laws, and in a model of a cluster that two replicas see late.

mod plan_cases;
mod plan_laws;
mod plan_model;
mod plan_story;
mod plan_world;
