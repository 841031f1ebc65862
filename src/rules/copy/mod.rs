//! What is to be done about one copy: from what is known ([`facts`]) to the next step ([`plan`]).

pub mod content;
pub mod cycle;
pub mod facts;
pub mod ownership;
pub mod plan;
pub mod step;
#[cfg(test)]
mod tests;
