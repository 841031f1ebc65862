//! All that a decision about a copy rests on. What a replica knows, and how, is left behind here: [`crate::rules::copy::plan`] sees
//! nothing else.

use crate::rules::record::{ConfigMapMeta, Namespace, ObjectKey, Spec, Version};
use crate::rules::uid::Uid;

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
        /// The hash of its content.
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
}

impl From<Namespace> for NamespaceState {
    fn from(namespace: Namespace) -> Self {
        if namespace.terminating { Self::Terminating } else { Self::Live(namespace.uid) }
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
    /// The hash of its content.
    pub hash: Hash,
    /// Whether it is immutable.
    pub immutable: bool,
    /// Whether its content is that of which its mark has the hash.
    pub as_marked: bool,
}
