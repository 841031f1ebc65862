//! A Lease as it is decoded: the fields that are read, and no others. A typed Lease, and even an untyped object, fails for a
//! time that cannot be parsed, for instance in the managed fields. The list of all Leases would then fail too, for ever.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::api::DynamicObject;
use kube::core::NamespaceResourceScope;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

/// A Lease.
#[derive(Clone, Debug)]
pub struct LeaseObject(pub DynamicObject);

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Raw {
    metadata: Metadata,
    spec: Value,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    annotations: Option<BTreeMap<String, String>>,
}

impl<'de> Deserialize<'de> for LeaseObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Raw { metadata, spec } = Raw::deserialize(deserializer)?;
        let Metadata { name, namespace, uid, resource_version, annotations } = metadata;
        let metadata = ObjectMeta { name, namespace, uid, resource_version, annotations, ..ObjectMeta::default() };
        Ok(Self(DynamicObject { types: None, metadata, data: json!({ "spec": spec }) }))
    }
}

impl Resource for LeaseObject {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;
    fn kind((): &()) -> Cow<'_, str> {
        "Lease".into()
    }
    fn group((): &()) -> Cow<'_, str> {
        "coordination.k8s.io".into()
    }
    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }
    fn plural((): &()) -> Cow<'_, str> {
        "leases".into()
    }
    fn meta(&self) -> &ObjectMeta {
        &self.0.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.0.metadata
    }
}
