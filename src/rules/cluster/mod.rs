//! What is right for an object that wants a copy in each of many namespaces.

pub mod record;
pub mod rollup;
pub mod selection;
pub mod spec;
pub mod status;
