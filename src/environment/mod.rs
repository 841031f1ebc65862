//! What a replica takes from its surroundings: the clock, and random numbers. A simulation gives others.

pub mod clock;
pub mod random;
