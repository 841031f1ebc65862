//! What is to be done about an object that wants copies: its finalizer, its status, and the copies that it no longer wants.

pub mod facts;
pub mod plan;
pub mod status;
pub mod step;
#[cfg(test)]
mod tests;
