//! A namespace's metadata.

use kube::core::ClusterResourceScope;

use crate::kubernetes::decode::object::{FromRaw, Metadata, Object, RawMetadata, resource};
use crate::rules::record::{Namespace, Version};

/// A namespace's metadata: its name, and what is kept of it.
pub type NamespaceObject = Object<(Box<str>, Namespace)>;
resource!((Box<str>, Namespace), ClusterResourceScope, "", "v1", "Namespace", "namespaces");

impl FromRaw for (Box<str>, Namespace) {
    type Raw<'a> = RawMetadata<'a>;
    type Body<'a> = ();
    fn split<'a>(raw: Self::Raw<'a>) -> (Metadata<'a>, Self::Body<'a>) {
        (raw.metadata, ())
    }
    fn from_raw(metadata: Metadata<'_>, version: Version, (): ()) -> Self {
        let terminating = metadata.deletion_timestamp.is_some();
        (metadata.name.into(), Namespace { uid: version.uid, terminating })
    }
}
