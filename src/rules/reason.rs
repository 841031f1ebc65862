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

            /// The reason that is written so.
            pub fn parse(text: &str) -> Option<Self> {
                match text {
                    $(stringify!($name) => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

reasons! {
    /// The API server does not ask for the rights of whoever writes a sync.
    AuthorPolicyMissing
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
    /// The source's owner does not share it with the copy's namespace, or there is no source.
    SourceNotShared
    /// Event: what an owner says of sharing a source cannot be read.
    SharingUnreadable
    /// Event: the source's namespace was deleted and made again.
    SourceNamespaceChanged
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
    /// Two keys of the source would have one name in the copy.
    KeyConflict
    /// Another sync owns the destination.
    DestinationConflict
    /// What stands there is to stay as it is.
    DestinationProtected
    /// The operator may not write there.
    DestinationForbidden
    /// The namespace's label says that nothing is to be written to it.
    DestinationRefuses
    /// `conflictPolicy: Fail`, and a ConfigMap that is not ours stands there.
    DestinationExists
    /// A controller owns what stands there.
    DestinationControlled
    /// What stands there is immutable and not ours.
    DestinationImmutable
    /// Somebody keeps changing the copy.
    Contested
    /// `Ready` of many copies: all hold what the source holds.
    AllCopiesInOrder
    /// `Ready` of many copies: there is nothing to copy to yet.
    NoNamespaceMatches
    /// `Ready` of many copies: some are still to be written.
    CopiesPending
    /// `Ready` of many copies: some could not be written.
    SomeCopiesFailed
    /// The copies would take too many bytes together.
    TooLarge
    /// Nothing is selected any more, and so the copies stay.
    SelectionEmptied
    /// Event: some of many copies could not be written.
    CopiesFailed
    /// Event: all copies hold a new version of the source.
    RolledOut
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
    /// Event: what stands at the destination is about to be taken over.
    Adopting
    /// Event: what stood at the destination was taken over.
    Adopted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_its_name() {
        assert_eq!(Reason::ChangedByAdmission.as_str(), "ChangedByAdmission");
        assert_eq!(Reason::parse("ChangedByAdmission"), Some(Reason::ChangedByAdmission));
        assert_eq!(Reason::parse("Nonsense"), None);
    }
}
