//! The machine, tried: rule by rule, in every state that a model can reach, and under faults by seeds.

mod model;
mod rules;
mod simulation;
