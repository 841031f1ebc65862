//! A namespace's metadata.

use std::borrow::Cow;
use std::fmt;

use kube::core::ClusterResourceScope;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::api::names::LABEL_ACCEPT;
use crate::kubernetes::decode::configmap::sharing;
use crate::kubernetes::decode::object::{FromRaw, Marks, Metadata, Object, resource};
use crate::rules::cluster::selection::Labels;
use crate::rules::copy::guard;
use crate::rules::lenient::Field;
use crate::rules::record::Namespace;
use crate::rules::sharing::Sharing;
use crate::rules::uid::Version;

/// A namespace's name, what is kept of it, and its labels.
pub type NamespaceObject = Object<NamespaceRecord>;
resource!(NamespaceRecord, ClusterResourceScope, "", "v1", "Namespace", "namespaces");

/// What a watch tells of a namespace.
#[derive(Clone, Debug, PartialEq)]
pub struct NamespaceRecord {
    /// Its name.
    pub name: Box<str>,
    /// What is kept of it.
    pub namespace: Namespace,
    /// Its labels.
    pub labels: Labels,
    /// What its owner says of sharing the ConfigMaps in it, if anything.
    pub sharing: Option<Sharing>,
}

/// A namespace of which nothing but the metadata is decoded.
#[doc(hidden)]
#[derive(Deserialize)]
pub struct RawNamespace<'a> {
    #[serde(borrow)]
    metadata: LabelledMetadata<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct LabelledMetadata<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    uid: Cow<'a, str>,
    #[serde(borrow)]
    resource_version: Cow<'a, str>,
    deletion_timestamp: Option<serde::de::IgnoredAny>,
    #[serde(borrow)]
    labels: AllLabels<'a>,
    #[serde(borrow)]
    annotations: Marks<'a>,
}

/// Labels, whatever they hold.
#[doc(hidden)]
#[derive(Default)]
pub struct AllLabels<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl FromRaw for NamespaceRecord {
    type Raw<'a> = RawNamespace<'a>;
    type Body<'a> = (AllLabels<'a>, Option<Sharing>);
    fn split<'a>(raw: Self::Raw<'a>) -> (Metadata<'a>, Self::Body<'a>) {
        let LabelledMetadata { name, uid, resource_version, deletion_timestamp, labels, annotations } = raw.metadata;
        let sharing = sharing(&annotations);
        (Metadata { name, uid, resource_version, deletion_timestamp, ..Metadata::default() }, (labels, sharing))
    }
    fn from_raw(metadata: Metadata<'_>, version: Version, (AllLabels(labels), sharing): Self::Body<'_>) -> Self {
        let terminating = metadata.deletion_timestamp.is_some();
        let accept = labels.iter().find(|(key, _)| key == LABEL_ACCEPT).map(|(_, value)| &**value);
        Self {
            name: metadata.name.into(),
            namespace: Namespace { uid: version.uid, terminating, refuses: guard::refuses(accept) },
            labels: Labels::new(labels.iter().map(|(key, value)| ((&**key).into(), (&**value).into()))),
            sharing,
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for AllLabels<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = AllLabels<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of strings")
            }
            fn visit_unit<E>(self) -> Result<AllLabels<'de>, E> {
                Ok(AllLabels::default())
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<AllLabels<'de>, A::Error> {
                let mut labels = Vec::new();
                while let Some(key) = map.next_key::<Field<'de>>()? {
                    if let (Field::Text(key), Field::Text(value)) = (key, map.next_value()?) {
                        labels.push((key, value));
                    }
                }
                Ok(AllLabels(labels))
            }
        }
        deserializer.deserialize_any(Entries)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn labels_are_kept_but_for_the_name() {
        let object = json!({"metadata": {"name": "n", "uid": "11111111-2222-3333-4444-555555555555", "resourceVersion": "7",
            "labels": {"kubernetes.io/metadata.name": "n", "team": "blue", "odd": 3}}});
        let record = serde_json::from_str::<NamespaceObject>(&object.to_string()).unwrap().record.unwrap();
        assert_eq!(record.labels, Labels::new([("team".into(), "blue".into())]));
    }
}
