//! The one next step for a sync.

use crate::rules::record::{Name, ObjectKey, Version};
use crate::rules::status::{StatusContent, Verdict};

/// What to do next.
#[derive(Clone, PartialEq, Debug)]
pub enum Step {
    /// Nothing, until that.
    Rest(Until),
    /// GET the source. `uncached`: by a request sent from now on, not from a cache.
    ReadSource {
        /// Whether a cached answer will not do.
        uncached: bool,
    },
    /// GET a namespace.
    ReadNamespace(Name),
    /// GET what stands at a place.
    ReadCopy(ObjectKey),
    /// POST the copy.
    Create,
    /// PUT the copy over this version. `adopt`: what stands there is not ours, and is marked as adopted.
    Replace {
        /// What is written over.
        over: Version,
        /// Whether to mark it as adopted.
        adopt: bool,
    },
    /// DELETE this version.
    Remove(ObjectKey, Version),
    /// PUT what stands there without our marks; it was read before.
    Unmark(ObjectKey),
    /// Put our finalizer on the sync. `ahead`: the copy waits for it.
    AddFinalizer {
        /// Whether the copy waits for it.
        ahead: bool,
    },
    /// Take our finalizer off the sync.
    RemoveFinalizer,
    /// PUT the status.
    Report(Verdict, Box<StatusContent<'static>>),
}

impl Step {
    /// Whether it reads or writes at a place, rather than says something or waits.
    pub(super) fn is_about_copies(&self) -> bool {
        !matches!(self, Self::Report(..) | Self::Rest(_))
    }

    /// Whether it is about the sync itself, and so can wait for copies of other syncs.
    pub fn is_status_work(&self) -> bool {
        matches!(self, Self::AddFinalizer { ahead: false } | Self::Report(..))
    }
}

/// What ends the rest of a sync.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Until {
    /// A change that a watch shows.
    Change,
    /// That, or the time at which a missing source is asked for again.
    SourceRecheck,
    /// That, or the time at which a missing source is asked for once more before its copy goes.
    SecondLook,
}
