//! How it stands with a copy.

use crate::rules::copy::guard::Guard;
use crate::rules::reason::Reason;
use crate::rules::record::ObjectKey;
use crate::rules::uid::Version;

/// How it stands with a copy.
#[derive(Clone, PartialEq, Debug)]
pub enum Verdict {
    /// The copy holds what the source holds.
    InOrder {
        /// The source that was compared.
        source: Version,
        /// The copy that was compared.
        copy: Version,
    },
    /// There is no such source.
    SourceMissing,
    /// The source's owner does not share it with the copy's namespace; or, where consent is needed, there is no source.
    SourceNotShared,
    /// There is no such destination namespace.
    NamespaceMissing,
    /// The destination namespace is being deleted.
    NamespaceTerminating,
    /// Only a person can mend it.
    Stalled(Stall),
    /// A request failed; it will be tried again.
    Failed(Failed),
    /// The copy was written, and admission changed it.
    Changed {
        /// The source that it was written from.
        source: Version,
        /// The copy as it stands there.
        copy: Version,
        /// What is not as it was sent, by the names of keys.
        what: String,
    },
    /// The copy is to go, or to be made anew, but what stands there is held by somebody's finalizer.
    CopyHeld(ObjectKey),
}

/// What only a person can mend.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stall {
    /// The spec makes no sense.
    InvalidSpec(String),
    /// The copy would be its own source; the ConfigMaps of the cycle.
    Cycle(Vec<ObjectKey>),
    /// Two keys of the source would have one name in the copy; which, in a sentence.
    KeyConflict(String),
    /// Another sync owns the destination.
    DestinationConflict(ObjectKey),
    /// Somebody says that nothing is to be written there.
    Guarded(Guard),
    /// `conflictPolicy: Fail`, and a ConfigMap that is not ours stands there.
    DestinationExists,
    /// A controller owns what stands there.
    DestinationControlled,
    /// What stands there is immutable and not ours.
    DestinationImmutable,
    /// Somebody keeps changing the copy; the field manager's name.
    Contested(String),
}

/// A request that failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failed {
    /// What was tried: [`Reason::FetchError`] for the source, [`Reason::CreateFailed`] and its like.
    pub reason: Reason,
    /// What the server said, and what to do about it.
    pub message: String,
    /// How many failed in a row, this one included.
    pub attempt: u32,
}

impl Verdict {
    /// The reason that stands in the `Synced` condition, and on Events.
    pub fn reason(&self) -> Reason {
        match self {
            Self::InOrder { .. } => Reason::SyncSucceeded,
            Self::SourceMissing => Reason::SourceNotFound,
            Self::SourceNotShared => Reason::SourceNotShared,
            Self::NamespaceMissing => Reason::DestinationNamespaceNotFound,
            Self::NamespaceTerminating => Reason::DestinationNamespaceTerminating,
            Self::Stalled(stall) => stall.reason(),
            Self::Failed(Failed { reason: Reason::DestinationForbidden, .. }) => Reason::DestinationForbidden,
            Self::Failed(_) => Reason::SyncFailed,
            Self::Changed { .. } => Reason::ChangedByAdmission,
            Self::CopyHeld(_) => Reason::CopyHeld,
        }
    }
}

impl Stall {
    /// The reason that stands in the `Stalled` condition.
    pub fn reason(&self) -> Reason {
        match self {
            Self::InvalidSpec(_) => Reason::InvalidSpec,
            Self::Cycle(_) => Reason::SyncCycle,
            Self::KeyConflict(_) => Reason::KeyConflict,
            Self::DestinationConflict(_) => Reason::DestinationConflict,
            Self::Guarded(Guard::Kubernetes | Guard::Protected) => Reason::DestinationProtected,
            Self::Guarded(Guard::Forbidden) => Reason::DestinationForbidden,
            Self::Guarded(Guard::Refused) => Reason::DestinationRefuses,
            Self::DestinationExists => Reason::DestinationExists,
            Self::DestinationControlled => Reason::DestinationControlled,
            Self::DestinationImmutable => Reason::DestinationImmutable,
            Self::Contested(_) => Reason::Contested,
        }
    }
}
