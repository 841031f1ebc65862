//! What a replica knows of a ClusterConfigMapSync.

use std::cmp::Ordering;

use crate::api::clusterconfigmapsync::ClusterConfigMapSyncStatus;
use crate::rules::cluster::selection::Selection;
use crate::rules::copy::content::is_shaped;
use crate::rules::copy::shape::Shape;
use crate::rules::record::{
    ForeignFields, InvalidSpec, Name, ObjectKey, ObservedStatus, RareFields, Seconds, SlimArc, Spec, Sync,
};
use crate::rules::uid::{Uid, Version};

/// A ClusterConfigMapSync.
#[derive(Clone, PartialEq, Debug)]
pub struct ClusterSync {
    /// metadata.name.
    pub name: Name,
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
    /// What others put on it.
    pub others: ForeignFields,
    /// What is wanted, or what is wrong with it.
    pub spec: Result<ClusterSpec, InvalidSpec>,
    /// What its status said.
    pub status: ClusterConfigMapSyncStatus,
}

/// A spec that makes sense.
#[derive(Clone, PartialEq, Debug)]
pub struct ClusterSpec {
    /// Where the source stands.
    pub source: ObjectKey,
    /// The name of the copies.
    pub copy_name: Name,
    /// Which namespaces get a copy.
    pub selection: Selection,
    /// What is wanted of the keys and the metadata of the copies, if anything is said of them.
    pub shape: Option<SlimArc<Shape>>,
    /// `conflictPolicy: Overwrite`: a ConfigMap already standing at a destination is adopted.
    pub overwrite: bool,
    /// `deletionPolicy: Orphan`: the copies outlive the object.
    pub orphan: bool,
    /// `sourceMissingPolicy: Delete`: the copies go with the source.
    pub delete_with_source: bool,
    /// `requireConsent: true`: the source is copied only where its owner shares it.
    pub require_consent: bool,
    /// `suspend: true`: everything is left as it is.
    pub suspend: bool,
}

impl ClusterSpec {
    /// Where the copy in a namespace is to stand.
    pub fn copy_of(&self, namespace: &Name) -> ObjectKey {
        ObjectKey { namespace: namespace.clone(), name: self.copy_name.clone() }
    }
}

impl ClusterSync {
    /// metadata.uid.
    pub fn uid(&self) -> Uid {
        self.version.uid
    }

    /// Its key, as the marks on its copies name it: an empty namespace, which no ConfigMapSync has.
    pub fn key(&self) -> ObjectKey {
        ObjectKey { namespace: Name::new(), name: self.name.clone() }
    }

    /// Whether the copies outlive the object.
    pub fn orphan(&self) -> bool {
        match &self.spec {
            Ok(spec) => spec.orphan,
            Err(unusable) => unusable.orphan,
        }
    }

    /// The request for an attempt now that its status does not answer yet.
    pub fn request(&self) -> Option<&str> {
        self.others.requested.as_deref().filter(|requested| self.others.handled.as_deref() != Some(requested))
    }

    /// `status.contentHash`, if it tells what the copies are to hold by the spec as it is now: another one may have wanted other
    /// keys, or other labels.
    pub fn content_hash(&self) -> Option<&str> {
        let shaped = self.spec.as_ref().is_ok_and(|spec| spec.shape.is_some());
        let hash = self.status.content_hash.as_str();
        let observed = self.status.observed_generation == Some(self.generation.into());
        (is_shaped(hash) == shaped && (observed || !shaped)).then_some(hash)
    }

    /// What it wants in one namespace, as a ConfigMapSync would say it. `None` while its spec makes no sense.
    pub fn in_namespace(&self, namespace: &Name) -> Option<Sync> {
        let spec = self.spec.as_ref().ok()?;
        Some(Sync {
            key: self.key(),
            version: self.version,
            generation: self.generation,
            created: self.created,
            deleting: self.deleting,
            finalizer: self.finalizer,
            rare: spec.shape.clone().map(|shape| Box::new(RareFields { shape: Some(shape), ..RareFields::default() })),
            spec: Ok(Spec {
                source: spec.source.clone(),
                destination: spec.copy_of(namespace),
                overwrite: spec.overwrite,
                orphan: spec.orphan,
                delete_with_source: spec.delete_with_source,
                require_consent: spec.require_consent,
                suspend: spec.suspend,
            }),
            status: ObservedStatus::default(),
        })
    }
}

/// What is known of a copy of such an object beside its metadata.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CopyRecord {
    /// The beginning of the hash that its marks name.
    pub content: ContentMark,
    /// When it was written, as its marks say; 0 where they have not been seen.
    pub written: Seconds,
    /// Its resourceVersion.
    pub rv: u64,
    /// Whether it is known to hold what its marks say: its holder wrote or checked it, and nobody has touched it since.
    pub proven: bool,
}

impl CopyRecord {
    /// What is known after a watch told `told`. `by_its_holder`: it is a change, and another replica holds the shard.
    ///
    /// A change that leaves the marks as they were is somebody's touch. One that changes them is a write of the holder, whose shard
    /// this replica may take over one day.
    pub fn after(&self, told: &Self, by_its_holder: bool) -> Self {
        match self.rv.cmp(&told.rv) {
            Ordering::Greater => *self,
            Ordering::Equal => Self { written: told.written, ..*self },
            Ordering::Less => {
                let written_anew = self.written != 0 && self.written != told.written;
                let marked_anew = self.content != told.content || written_anew;
                Self { proven: by_its_holder && marked_anew, ..*told }
            }
        }
    }
}

/// The content that copies are to hold, where it is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Expected {
    /// The version of the source.
    pub source: Version,
    /// The mark of its content.
    pub content: ContentMark,
}

/// The first 8 bytes of the hash of what a copy has; 0 where the marks do not say.
pub type ContentMark = u64;

/// The mark of a copy with this hash.
pub fn content_mark(hash: &[u8; 32]) -> ContentMark {
    let [a, b, c, d, e, f, g, h, ..] = *hash;
    ContentMark::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// The mark of a content whose hash is written like this; 0 where it is no hash.
pub fn parse_content_mark(hexadecimal: &str) -> ContentMark {
    hexadecimal.get(..16).and_then(|start| ContentMark::from_str_radix(start, 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::copy::content::hexadecimal;

    #[test]
    fn a_content_mark_reads_back_from_the_annotation() {
        let hash: [u8; 32] = std::array::from_fn(|at| u8::try_from(at * 7 % 256).unwrap());
        assert_eq!(parse_content_mark(&hexadecimal(&hash)), content_mark(&hash));
        assert_eq!(parse_content_mark("nonsense, and long enough"), 0);
        assert_eq!(parse_content_mark("ü"), 0);
    }
}
