//! What a replica knows of the cluster: slim records of objects, with the few fields that decisions need.
//!
//! A record never holds the contents of a ConfigMap, and it stays small: there is one for every sync of the cluster
//! in every replica.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::rules::copy::shape::Shape;
use crate::rules::sharing::Sharing;
use crate::rules::uid::{Uid, Version};

/// A name, shared by all records that mention it: a pointer.
pub type Name = arcstr::ArcStr;

/// Seconds since 1970, until 2106.
pub type Seconds = u32;

/// A metadata.generation, or an observedGeneration; 0 where there is none.
pub fn generation(number: Option<i64>) -> u32 {
    number.and_then(|number| number.try_into().ok()).unwrap_or(0)
}

/// A record, shared by all who look at it: a pointer and one counter.
pub type SlimArc<T> = triomphe::Arc<T>;

/// Where a namespaced object stands.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    /// Its namespace.
    pub namespace: Name,
    /// Its name.
    pub name: Name,
}

impl ObjectKey {
    /// A key of these two names.
    pub fn new(namespace: impl Into<Name>, name: impl Into<Name>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// Whether it is the key of a ClusterConfigMapSync, as the marks on its copies name it: without a namespace.
    pub fn is_cluster_scoped(&self) -> bool {
        self.namespace.is_empty()
    }

    /// Kind and name of the object that wants a copy and has this key.
    pub fn owner_name(&self) -> String {
        match self.is_cluster_scoped() {
            true => format!("ClusterConfigMapSync {}", self.name),
            false => format!("ConfigMapSync {self}"),
        }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A ConfigMapSync.
#[derive(Clone, PartialEq, Debug)]
pub struct Sync {
    /// Its namespace and name.
    pub key: ObjectKey,
    /// metadata.uid and metadata.resourceVersion.
    pub version: Version,
    /// metadata.generation: a change of the spec adds one.
    pub generation: u32,
    /// metadata.creationTimestamp.
    pub created: Seconds,
    /// Whether it has a deletionTimestamp.
    pub deleting: bool,
    /// Whether our finalizer is on it.
    pub finalizer: bool,
    /// What most have not.
    pub rare: Option<Box<RareFields>>,
    /// What is wanted, or what is wrong with it.
    pub spec: Result<Spec, InvalidSpec>,
    /// What its status said.
    pub status: ObservedStatus,
}

impl Sync {
    /// metadata.uid.
    pub fn uid(&self) -> Uid {
        self.version.uid
    }

    /// Where the copy is to stand; `None` while the spec makes no sense.
    pub fn destination(&self) -> Option<&ObjectKey> {
        self.spec.as_ref().ok().map(|spec| &spec.destination)
    }

    /// Whether its status tells of the spec as it is now.
    pub fn is_observed(&self) -> bool {
        self.status.observed_generation == self.generation
    }

    /// The request for an attempt now that its status does not answer yet.
    pub fn request(&self) -> Option<&str> {
        let foreign = &self.rare.as_ref()?.foreign;
        foreign.requested.as_deref().filter(|requested| foreign.handled.as_deref() != Some(requested))
    }

    /// What its spec says of keys and metadata, if it says anything.
    pub fn shape(&self) -> Option<&Shape> {
        self.rare.as_ref()?.shape.as_deref()
    }

    /// Whether the copy outlives the sync.
    pub fn orphan(&self) -> bool {
        match &self.spec {
            Ok(spec) => spec.orphan,
            Err(unusable) => unusable.orphan,
        }
    }
}

/// What most syncs have not.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct RareFields {
    /// What the spec says of keys and metadata.
    pub shape: Option<SlimArc<Shape>>,
    /// What others put on it.
    pub foreign: ForeignFields,
}

/// What others put on a sync. It is passed on when we write there.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ForeignFields {
    /// Finalizers that are not ours, in order.
    pub finalizers: Vec<String>,
    /// Conditions of types that are not ours, in order.
    pub conditions: Vec<Condition>,
    /// The annotation by which a person asks for an attempt now.
    pub requested: Option<Box<str>>,
    /// status.lastHandledRequest.
    pub handled: Option<Box<str>>,
}

/// A spec that makes sense.
#[derive(Clone, PartialEq, Debug)]
pub struct Spec {
    /// Where the source stands.
    pub source: ObjectKey,
    /// Where the copy is to stand.
    pub destination: ObjectKey,
    /// `conflictPolicy: Overwrite`: a ConfigMap already standing at the destination is adopted.
    pub overwrite: bool,
    /// `deletionPolicy: Orphan`: the copy outlives the sync.
    pub orphan: bool,
    /// `sourceMissingPolicy: Delete`: the copy goes with the source.
    pub delete_with_source: bool,
    /// `requireConsent: true`: the source is copied only where its owner shares it.
    pub require_consent: bool,
    /// `suspend: true`: everything is left as it is.
    pub suspend: bool,
}

/// A spec that makes no sense.
#[derive(Clone, PartialEq, Debug)]
pub struct InvalidSpec {
    /// One sentence that names the field.
    pub why: Box<str>,
    /// `deletionPolicy` is something else than `Delete`: then nothing is deleted, whatever it was meant to say.
    pub orphan: bool,
}

/// So many characters say what is wrong with a spec: the API server takes no condition whose message has more than 32 KiB, and what is
/// shown of the spec may have any length.
const LONGEST_WHY: usize = 1_000;

impl InvalidSpec {
    /// With the beginning of a sentence that is too long.
    pub fn new(mut why: String, orphan: bool) -> Self {
        if let Some((end, _)) = why.char_indices().nth(LONGEST_WHY) {
            why.truncate(end);
            why.push('…');
        }
        Self { why: why.into_boxed_str(), orphan }
    }
}

/// What a sync's status said when it was last seen.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ObservedStatus {
    /// status.observedGeneration; 0 where it does not say.
    pub observed_generation: u32,
    /// status.source.
    pub source: Option<Version>,
    /// status.sourceNamespaceUid.
    pub source_namespace: Option<Uid>,
    /// status.copy.
    pub copy: Option<Version>,
    /// status.sourceExists.
    pub source_exists: bool,
    /// status.destinationExists.
    pub destination_exists: bool,
    /// status.retryCount.
    pub retry_count: u32,
    /// status.lastSyncTime.
    pub last_sync: Option<Seconds>,
    /// The copy of which `copy` tells is not what was sent: admission changed it.
    pub changed_by_admission: bool,
    /// For each of [`crate::rules::object::status::CONDITIONS`]: its status and lastTransitionTime, if it stood there.
    pub conditions: [Option<ObservedCondition>; 4],
    /// [`crate::rules::object::status::StatusContent::digest`] of the whole.
    pub digest: u64,
}

/// What is kept of a condition: enough to know when it turned. Packed, since there are four for each sync.
#[repr(Rust, packed)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ObservedCondition {
    /// Whether its status was `True`.
    pub is_true: bool,
    /// lastTransitionTime.
    pub since: Seconds,
}

/// The metadata of a ConfigMap: a source, a copy, or both.
#[derive(Clone, PartialEq, Debug)]
pub struct ConfigMapMeta {
    /// metadata.uid and metadata.resourceVersion.
    pub version: Version,
    /// Our marks on it, if it has any.
    pub mark: Option<OwnerMark>,
    /// It stood there before us: its removal is never ours to do.
    pub adopted: bool,
    /// Somebody else's labels, annotations, owner references or finalizers are on it.
    pub foreign_metadata: bool,
    /// A controller owns it.
    pub controlled: bool,
    /// It has a deletionTimestamp.
    pub deleting: bool,
    /// Somebody's annotation says that it is to stay as it is.
    pub protected: bool,
    /// The spec that it was written for says something of keys or metadata.
    pub shaped: bool,
    /// Its marks name this very ConfigMap by namespace and name, whatever the UID of the namespace is by now.
    pub marks_name_it: bool,
    /// The seed's operator wrote its annotations on it but not its labels: it adopted a ConfigMap that stood there.
    pub seed_adopted: bool,
    /// What its owner says of sharing it, if anything.
    pub sharing: Option<SlimArc<Sharing>>,
}

/// What the marks on a copy say.
#[derive(Clone, PartialEq, Debug)]
pub struct OwnerMark {
    /// Namespace and name of the sync that wrote it.
    pub sync: ObjectKey,
    /// The sync's UID. `None`: the marks are those of the seed's operator, which wrote names only.
    pub uid: Option<Uid>,
    /// resourceVersion of the source that it was written from; 0 where the marks do not say.
    pub source_rv: u64,
    /// UID of the namespace that it was written to, if the mark names the copy's own name too.
    pub at: Option<Uid>,
}

impl OwnerMark {
    /// The UID of the object whose copy it is on, if that object wants many.
    pub fn one_of_many(&self) -> Option<Uid> {
        self.uid.filter(|_| self.sync.is_cluster_scoped())
    }
}

/// A namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Namespace {
    /// metadata.uid.
    pub uid: Uid,
    /// It is being deleted: nothing can be created in it, and all in it will go.
    pub terminating: bool,
    /// Its label says that nothing is to be written to it.
    pub refuses: bool,
}
