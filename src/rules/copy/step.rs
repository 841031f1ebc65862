//! What comes next for a copy.

use crate::rules::copy::facts::{Destination, NamespaceState};
use crate::rules::copy::verdict::Verdict;
use crate::rules::record::{Name, ObjectKey};
use crate::rules::uid::Version;

/// A request about a copy.
#[derive(Clone, PartialEq, Debug)]
pub enum CopyStep {
    /// GET the source. `uncached`: by a request sent from now on, not from a cache.
    ReadSource {
        /// Whether a cached answer will not do.
        uncached: bool,
    },
    /// POST the copy.
    Create,
    /// PUT the copy over this version. `adopt`: what stands there is not ours, and is marked as adopted.
    Replace {
        /// What is written over.
        over: Version,
        /// Whether to mark it as adopted.
        adopt: bool,
    },
    /// A look at a destination, or a removal there.
    Destination(DestinationStep),
}

/// A request about what stands at a destination. It needs neither the object nor the source.
#[derive(Clone, PartialEq, Debug)]
pub enum DestinationStep {
    /// GET a namespace.
    ReadNamespace(Name),
    /// GET the ConfigMap with this key.
    ReadCopy(ObjectKey),
    /// DELETE this version.
    Remove(ObjectKey, Version),
    /// PUT what stands there without our marks; it was read before.
    Unmark(ObjectKey),
}

impl DestinationStep {
    /// The ConfigMap that it is about.
    pub fn key(&self) -> Option<&ObjectKey> {
        match self {
            Self::ReadCopy(key) | Self::Remove(key, _) | Self::Unmark(key) => Some(key),
            Self::ReadNamespace(_) => None,
        }
    }
}

impl From<DestinationStep> for CopyStep {
    fn from(step: DestinationStep) -> Self {
        Self::Destination(step)
    }
}

/// What the plan of a copy answers.
#[derive(Clone, PartialEq, Debug)]
pub enum Next {
    /// This request.
    Do(CopyStep),
    /// This request, which makes the copy what the spec wants. The object may have to be made ready first.
    Write(CopyStep),
    /// Nothing more: so it stands.
    Settled(Verdict),
    /// So it stands, if the object's status says so already. If not, the request finds out.
    Unproven(Verdict, CopyStep),
    /// Nothing until that, whatever the status says.
    Rest(Until),
}

impl Next {
    /// GET what stands at a destination.
    pub(super) fn read_copy(destination: &Destination<'_>) -> Self {
        Self::Do(DestinationStep::ReadCopy(destination.key.clone()).into())
    }

    /// GET the namespace of a destination.
    pub(super) fn read_namespace(destination: &Destination<'_>) -> Self {
        Self::Do(DestinationStep::ReadNamespace(destination.key.namespace.clone()).into())
    }

    /// What tells whether a copy is there that the watch does not show; `None`: nothing can be there.
    pub(super) fn look_for(destination: &Destination<'_>) -> Option<Self> {
        match destination.namespace {
            NamespaceState::Unknown => Some(Self::read_namespace(destination)),
            NamespaceState::Absent | NamespaceState::Terminating => None,
            NamespaceState::Live(_) | NamespaceState::Refusing(_) => Some(Self::read_copy(destination)),
        }
    }
}

/// What ends the rest of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Until {
    /// A change that a watch shows.
    Change,
    /// That, or the time at which a missing source is asked for again.
    SourceRecheck,
    /// That, or the time at which a missing source is asked for once more before its copy goes.
    SecondLook,
    /// That, or the end of the time that another object has to take the copy over.
    TakeOver,
}
