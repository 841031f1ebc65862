//! The reasons: words for programs, on conditions and Events. People filter by them, so they stay.

macro_rules! reasons {
    ($($(#[doc = $doc:literal])* $name:ident)*) => {
        /// Why something is as it is, or happened.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Reason {
            $($(#[doc = $doc])* $name,)*
        }

        impl Reason {
            /// As it stands on objects.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }
        }
    };
}

reasons! {
    /// `Synced`: the copy holds what the source holds.
    SyncSucceeded
    /// `Synced`: a request failed and is tried again.
    SyncFailed
    /// `Ready`: all is in order.
    AllComponentsReady
    /// `Ready`: it is not; `Synced` says why.
    NotReady
    /// `SourceAvailable`: it is there.
    SourceFound
    /// There is no such source.
    SourceNotFound
    /// `SourceAvailable`: nobody has asked.
    NotChecked
    /// There is no such destination namespace.
    DestinationNamespaceNotFound
    /// The destination namespace is being deleted.
    DestinationNamespaceTerminating
    /// What stands at the destination is held by somebody's finalizer.
    CopyHeld
    /// Admission changed the copy.
    ChangedByAdmission
    /// The spec makes no sense.
    InvalidSpec
    /// The copy would be its own source.
    SyncCycle
    /// Another sync owns the destination.
    DestinationConflict
    /// Nobody may write there.
    DestinationProtected
    /// `conflictPolicy: Fail`, and a ConfigMap that is not ours stands there.
    DestinationExists
    /// A controller owns what stands there.
    DestinationControlled
    /// What stands there is immutable and not ours.
    DestinationImmutable
    /// Somebody keeps changing the copy.
    Contested
    /// The source could not be read.
    FetchError
    /// A destination could not be read.
    ReadFailed
    /// A copy could not be created.
    CreateFailed
    /// A copy could not be updated.
    UpdateFailed
    /// A copy could not be deleted.
    DeleteFailed
    /// The finalizer could not be written.
    FinalizerFailed
    /// The status could not be written.
    StatusFailed
    /// Event: a copy was created.
    Created
    /// Event: a copy was updated.
    Updated
    /// Event: a copy that somebody changed or deleted was restored.
    Repaired
    /// Event: what stood at the destination was taken over.
    Adopted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_its_name() {
        assert_eq!(Reason::ChangedByAdmission.as_str(), "ChangedByAdmission");
    }
}
