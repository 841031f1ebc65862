//! All that a decision about a sync rests on. What a replica knows, and how, is left behind here: [`crate::rules::copy::plan`] sees
//! nothing else.

use crate::rules::record::{ConfigMapMeta, ObjectKey, Sync, Version};
use crate::rules::uid::Uid;

/// SHA-256 of a ConfigMap's content.
pub type Hash = [u8; 32];

/// All that a decision about a sync rests on.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The sync, by its newest version known.
    pub sync: &'a Sync,
    /// Its source.
    pub source: Source,
    /// Whether the source was asked for twice, [`crate::rules::backoff::SOURCE_MISSING_TWICE`] apart, and was missing both times.
    pub missing_twice: bool,
    /// Whether a missing source must be asked for again though the status tells of it already.
    pub recheck: bool,
    /// Where the copy is to stand. `None` while the spec makes no sense.
    pub destination: Option<Destination<'a>>,
    /// Where else something stands that carries this sync's mark.
    pub orphaned_copies: Vec<Destination<'a>>,
    /// The sync that owns the destination, if it is another one.
    pub owner: Option<ObjectKey>,
    /// The ring that this sync is part of, if there is one.
    pub ring: Option<Vec<ObjectKey>>,
    /// A copy that holds the content of the source with this resourceVersion, by our own write or check, though the
    /// status does not tell so yet.
    pub verified: Option<(Version, Version)>,
    /// What admission made of that copy, if it changed anything.
    pub changed: Option<&'a str>,
    /// Who keeps changing the copy, if somebody does.
    pub contested: Option<String>,
}

/// What is known of the source.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Source {
    /// Nothing: no word of it in the stream.
    Unknown,
    /// A GET was answered 404.
    Missing,
    /// The stream told its version.
    Observed(u64),
    /// Its content is in hand, and is not older than what the stream told.
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

/// A place and what stands there.
#[derive(Clone, Debug)]
pub struct Destination<'a> {
    /// The place.
    pub place: &'a ObjectKey,
    /// Its namespace.
    pub namespace: NamespaceState,
    /// What stands there.
    pub copy: CopyState<'a>,
    /// Another live sync wants this place.
    pub wanted_by_another: bool,
    /// The sync wanted this place, as far as this replica or the status knows. Anyone can write the sync's marks on a
    /// ConfigMap of his own: such a one must not hold the sync up.
    pub known: bool,
}

/// What is known of a namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NamespaceState {
    /// No word of it in the stream.
    Unknown,
    /// A GET was answered 404.
    Absent,
    /// It is being deleted.
    Terminating,
    /// It is there.
    Live(Uid),
}

/// What is known of what stands at a place.
#[derive(Clone, Copy, Debug)]
pub enum CopyState<'a> {
    /// No word of it in the stream.
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
    pub fn seen(self) -> Option<&'a ConfigMapMeta> {
        match self {
            Self::Cached(seen) => Some(seen),
            Self::Read(read) => Some(&read.seen),
            Self::Unknown | Self::Absent => None,
        }
    }
}

/// What a GET of a copy told.
#[derive(Clone, Debug)]
pub struct Read {
    /// Its metadata.
    pub seen: ConfigMapMeta,
    /// The hash of its content.
    pub hash: Hash,
    /// Whether it is immutable.
    pub immutable: bool,
    /// Whether its content is that of which its mark has the hash.
    pub as_marked: bool,
}
