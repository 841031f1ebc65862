//! What is to be done about one copy: from what is known ([`facts`]) to what comes next ([`plan`]).

pub mod content;
pub mod cycle;
pub mod facts;
pub mod guard;
pub mod ownership;
pub mod plan;
pub mod removal;
pub mod shape;
pub mod step;
pub mod verdict;
