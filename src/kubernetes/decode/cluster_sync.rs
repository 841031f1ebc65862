//! A ClusterConfigMapSync: its metadata, its spec, its status, whatever they hold. There are few, so spec and status are read as
//! values first.

use kube::core::ClusterResourceScope;
use serde::Deserialize;
use serde_json::Value;

use crate::api::clusterconfigmapsync::ClusterConfigMapSyncStatus;
use crate::api::names;
use crate::kubernetes::decode::object::{FromRaw, Metadata, Object, resource};
use crate::kubernetes::decode::sync::{created, requested};
use crate::rules::cluster::record::ClusterSync;
use crate::rules::cluster::spec;
use crate::rules::lenient::Field;
use crate::rules::object::status::CONDITIONS;
use crate::rules::record::{ForeignFields, generation};
use crate::rules::uid::Version;

/// A ClusterConfigMapSync, as the watch sends it.
pub type ClusterSyncObject = Object<ClusterSync>;
resource!(
    ClusterSync,
    ClusterResourceScope,
    "apps.kapendra.com",
    "v1alpha1",
    "ClusterConfigMapSync",
    "clusterconfigmapsyncs"
);

/// Its metadata, its spec and its status.
#[doc(hidden)]
#[derive(Deserialize)]
pub struct RawClusterSync<'a> {
    #[serde(borrow)]
    metadata: Metadata<'a>,
    #[serde(default)]
    spec: Value,
    #[serde(default)]
    status: Value,
}

impl FromRaw for ClusterSync {
    type Raw<'a> = RawClusterSync<'a>;
    type Body<'a> = (Value, Value);
    fn split<'a>(raw: Self::Raw<'a>) -> (Metadata<'a>, Self::Body<'a>) {
        (raw.metadata, (raw.spec, raw.status))
    }
    fn from_raw(metadata: Metadata<'_>, version: Version, (spec, status): Self::Body<'_>) -> Self {
        let (created, requested) = (created(&metadata), requested(&metadata));
        let finalizers = metadata.finalizers.items().unwrap_or_default();
        let foreign = finalizers.iter().filter_map(Field::text).filter(|finalizer| *finalizer != names::FINALIZER);
        // A status that cannot be read says nothing: it is written anew.
        let status: ClusterConfigMapSyncStatus = serde_json::from_value(status).unwrap_or_default();
        let is_ours = |kind: &str| CONDITIONS.contains(&kind);
        Self {
            name: (&*metadata.name).into(),
            version,
            generation: generation(Some(metadata.generation)),
            created,
            deleting: metadata.deletion_timestamp.is_some(),
            finalizer: finalizers.iter().any(|finalizer| finalizer.text() == Some(names::FINALIZER)),
            others: ForeignFields {
                finalizers: foreign.map(str::to_owned).collect(),
                conditions: status.conditions.iter().filter(|it| !is_ours(&it.type_)).cloned().collect(),
                requested,
                handled: status.last_handled_request.as_deref().filter(|it| !it.is_empty()).map(Into::into),
            },
            spec: spec::read(spec),
            status,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whatever_it_holds_it_is_decoded() {
        let metadata = json!({"name": "ca", "uid": "11111111-2222-3333-4444-555555555555", "resourceVersion": "7",
            "generation": 3, "creationTimestamp": "2025-01-23T10:30:45Z", "finalizers": ["x/y", names::FINALIZER]});
        for (spec, status) in [
            (json!(null), json!(null)),
            (json!("x"), json!([])),
            (json!({"namespaces": [1]}), json!({"conditions": 3, "copies": 7})),
        ] {
            // A watch event may hold its object before its type.
            let text = json!({"metadata": metadata, "spec": spec, "status": status}).to_string();
            let object = serde_json::from_str::<ClusterSyncObject>(&text).unwrap().record.unwrap();
            assert!(object.spec.is_err() && object.finalizer);
            assert_eq!((object.generation, object.created, &*object.name), (3, 1_737_628_245, "ca"));
            assert_eq!(object.others.finalizers, ["x/y"]);
        }
    }
}
