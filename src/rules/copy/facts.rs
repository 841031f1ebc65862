//! All that a decision about a copy rests on. What a replica knows, and how, is left behind here: [`crate::rules::copy::plan`] sees
//! nothing else.

use crate::rules::consent::Consent;
use crate::rules::record::{ConfigMapMeta, Namespace, ObjectKey, Spec};
use crate::rules::uid::{Uid, Version};

/// SHA-256 of a ConfigMap's content.
pub type Hash = [u8; 32];

/// All that a decision about a copy rests on.
#[derive(Clone, Debug)]
pub struct CopyFacts<'a> {
    /// The object whose copy it is.
    pub owner: Owner<'a>,
    /// What is wanted of the copy.
    pub spec: &'a Spec,
    /// What the owner's status says of the copy.
    pub reported: Reported,
    /// Whether a person asks for an attempt now.
    pub asked: bool,
    /// The source.
    pub source: Source,
    /// Whether the source was asked for twice, [`crate::rules::backoff::SOURCE_MISSING_TWICE`] apart, and was missing both times.
    pub missing_twice: bool,
    /// Whether a missing source must be asked for again though the status tells of it already.
    pub recheck: bool,
    /// Where the copy is to stand.
    pub destination: Destination<'a>,
    /// The object that owns the destination, if it is another one.
    pub rival: Option<ObjectKey>,
    /// The cycle that the copy is part of, if there is one.
    pub cycle: Option<Vec<ObjectKey>>,
    /// A copy that holds the content of the source with this resourceVersion, by our own write or check, though the
    /// status does not tell so yet.
    pub verified: Option<(Version, Version)>,
    /// What admission made of that copy, if it changed anything.
    pub changed: Option<&'a str>,
    /// Who keeps changing the copy, if somebody does.
    pub contested: Option<String>,
    /// What is wanted of its keys and its metadata.
    pub shape: ShapeFacts,
    /// What the source's owner says to it.
    pub consent: ConsentFacts,
}

/// What the source's owner says to a copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConsentFacts {
    /// Whether the copy needs consent.
    pub required: bool,
    /// What the owner says: by the answer that told the content, where that is in hand, else by what the watches told.
    pub consent: Consent,
    /// The UID of the source's namespace, if the watch shows it.
    pub source_namespace: Option<Uid>,
    /// Whether two GETs, [`crate::rules::backoff::SOURCE_MISSING_TWICE`] apart, told that the owner refuses, and the second is in hand.
    pub refused_twice: bool,
}

impl ConsentFacts {
    /// Whether the status may tell that the source is there.
    pub fn may_tell(&self) -> bool {
        !self.required || self.consent == Consent::Given
    }
}

/// What is wanted of the keys and the metadata of a copy, and how it stands with them. All of it is false where the spec says nothing
/// of them, and the copy was written for such a spec.
#[derive(Clone, Debug, Default)]
pub struct ShapeFacts {
    /// The spec says something of them.
    pub wanted: bool,
    /// Two keys of the source in hand would have one name; which, in a sentence.
    pub key_conflict: Option<String>,
    /// What stands there was written for this object and from the version of the source in hand, by another spec: with something
    /// else than that makes of it now.
    pub written_otherwise: bool,
    /// What stands there was read, and its content is right.
    pub holds_content: bool,
}

impl CopyFacts<'_> {
    /// The versions of source and copy that the status says were compared, if they were compared for what is wanted of keys and
    /// metadata now.
    pub fn reported_pair(&self) -> Option<(Version, Version)> {
        let Reported { source, copy, changed_by_admission, of_this_spec, .. } = self.reported;
        let shaped = self.destination.copy.meta().is_some_and(|meta| meta.shaped);
        // Admission may have taken the mark off.
        let as_wanted = shaped == self.shape.wanted || changed_by_admission;
        source.zip(copy).filter(|_| !(shaped || self.shape.wanted) || of_this_spec && as_wanted)
    }
}

/// The object whose copy it is.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    /// Its namespace and name.
    pub key: &'a ObjectKey,
    /// Its UID.
    pub uid: Uid,
}

/// What the owner's status says of a copy.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reported {
    /// The version of the source that was compared last.
    pub source: Option<Version>,
    /// The version of the copy that was compared last.
    pub copy: Option<Version>,
    /// Whether the copy is there.
    pub exists: bool,
    /// Whether `copy` is not what was sent, because admission changed it.
    pub changed_by_admission: bool,
    /// Whether the status tells of the spec as it is now.
    pub of_this_spec: bool,
}

impl Reported {
    /// Whether the status tells of this ConfigMap, from which admission took our marks.
    pub(super) fn names_unmarked(&self, meta: &ConfigMapMeta) -> bool {
        let ours = self.changed_by_admission && self.copy.is_some_and(|copy| copy.uid == meta.version.uid);
        ours && meta.mark.is_none()
    }
}

/// What is known of the source.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Source {
    /// Nothing: the watch has not shown it.
    Unknown,
    /// A GET was answered 404.
    Missing,
    /// The watch told its version.
    Observed(u64),
    /// Its content is in hand, and is not older than what the watch told.
    InHand {
        /// The version that the GET returned.
        version: Version,
        /// The hash of what a copy of it is to have: its content, and where the spec says something of keys or metadata, what that
        /// makes of it, with labels and annotations.
        hash: Hash,
        /// Whether it is immutable: then its copy is to be.
        immutable: bool,
        /// Whether the GET was sent after the copy had been read: then it is what the source is now, whatever its version.
        uncached: bool,
    },
}

impl Source {
    /// Its resourceVersion, if it is there.
    pub fn rv(self) -> Option<u64> {
        match self {
            Self::Observed(rv) => Some(rv),
            Self::InHand { version, .. } => Some(version.rv),
            Self::Unknown | Self::Missing => None,
        }
    }
}

/// A namespace and name, and what stands there.
#[derive(Clone, Debug)]
pub struct Destination<'a> {
    /// Its namespace and name.
    pub key: &'a ObjectKey,
    /// Its namespace.
    pub namespace: NamespaceState,
    /// What stands there.
    pub copy: CopyState<'a>,
    /// Whether another live sync wants its copy here.
    pub wanted_by_another: bool,
    /// Whether the owner wanted its copy here, as far as this replica or the status knows. Anyone can write the owner's marks
    /// on a ConfigMap of his own: such a one must not hold the owner up.
    pub wanted_before: bool,
    /// Whether a flag of the operator forbids its namespace.
    pub forbidden: bool,
}

impl Destination<'_> {
    /// Whether its content was read.
    pub(super) fn is_read(&self) -> bool {
        matches!(self.copy, CopyState::Read(_))
    }

    /// Whether its content was read and is that of which the mark has the hash.
    pub(super) fn is_as_marked(&self) -> bool {
        matches!(self.copy, CopyState::Read(read) if read.as_marked)
    }
}

/// What is known of a namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NamespaceState {
    /// The watch has not shown it.
    Unknown,
    /// A GET was answered 404.
    Absent,
    /// It is being deleted.
    Terminating,
    /// It is there.
    Live(Uid),
    /// It is there, and its label says that nothing is to be written to it.
    Refusing(Uid),
}

impl NamespaceState {
    /// Its UID, if things may stand in it and stay.
    pub fn uid(self) -> Option<Uid> {
        match self {
            Self::Live(uid) | Self::Refusing(uid) => Some(uid),
            Self::Unknown | Self::Absent | Self::Terminating => None,
        }
    }
}

impl From<Namespace> for NamespaceState {
    fn from(namespace: Namespace) -> Self {
        match namespace {
            Namespace { terminating: true, .. } => Self::Terminating,
            Namespace { refuses: true, uid, .. } => Self::Refusing(uid),
            Namespace { uid, .. } => Self::Live(uid),
        }
    }
}

/// What is known of what stands at a destination.
#[derive(Clone, Copy, Debug)]
pub enum CopyState<'a> {
    /// The watch has not shown it.
    Unknown,
    /// A request was answered 404, or we removed it ourselves.
    Absent,
    /// Its metadata.
    Cached(&'a ConfigMapMeta),
    /// All of it, by a GET.
    Read(&'a Read),
}

impl<'a> CopyState<'a> {
    /// Its metadata, if something stands there.
    pub fn meta(self) -> Option<&'a ConfigMapMeta> {
        match self {
            Self::Cached(meta) => Some(meta),
            Self::Read(read) => Some(&read.meta),
            Self::Unknown | Self::Absent => None,
        }
    }
}

/// What a GET of a copy told.
#[derive(Clone, Debug)]
pub struct Read {
    /// Its metadata.
    pub meta: ConfigMapMeta,
    /// The hash of what it has: its content, and where its marks say so, the labels and annotations that we wrote.
    pub hash: Hash,
    /// Whether it is immutable.
    pub immutable: bool,
    /// Whether what it has is that of which its mark has the hash.
    pub as_marked: bool,
}
