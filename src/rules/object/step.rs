//! The one next step for an object and its copy.

use crate::rules::copy::step::{CopyStep, Until};
use crate::rules::copy::verdict::Verdict;
use crate::rules::object::status::StatusContent;

/// What to do next.
#[derive(Clone, PartialEq, Debug)]
pub enum Step {
    /// Nothing, until that.
    Rest(Until),
    /// A request about a copy.
    Copy(CopyStep),
    /// Put our finalizer on the object. `ahead`: the copy waits for it.
    AddFinalizer {
        /// Whether the copy waits for it.
        ahead: bool,
    },
    /// Take our finalizer off the object.
    RemoveFinalizer,
    /// PUT the status.
    Report(Verdict, Box<StatusContent<'static>>),
}

impl Step {
    /// Whether it is about the object itself, and so can wait for copies of other objects.
    pub fn is_status_work(&self) -> bool {
        matches!(self, Self::AddFinalizer { ahead: false } | Self::Report(..))
    }
}
