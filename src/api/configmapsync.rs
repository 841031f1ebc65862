//! `ConfigMapSync`: the custom resource. `crds/` is generated from the types here.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, CustomResourceExt as _, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::api::policies::{self, ConflictPolicy, DeletionPolicy, SourceMissingPolicy};
use crate::api::schema::{IS_NAME, IS_NAMESPACE, completed};
use crate::api::shape::{CopyMetadata, KeySelection};

// `type_` stands in several columns, which clippy takes for one attribute said twice.
#[allow(clippy::duplicated_attributes)]
/// Keeps a copy of one ConfigMap in another namespace. The source always wins.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "apps.kapendra.com",
    version = "v1",
    kind = "ConfigMapSync",
    plural = "configmapsyncs",
    shortname = "cms",
    category = "kapendra",
    namespaced,
    status = "ConfigMapSyncStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "Keeps a copy of one ConfigMap in another namespace. The source always wins.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Source", type_ = "string", json_path = ".spec.sourceNamespace"),
    printcolumn(name = "Destination", type_ = "string", json_path = ".spec.destinationNamespace"),
    printcolumn(name = "ConfigMap", type_ = "string", json_path = ".spec.configMapName"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.conditions[?(@.type=='Synced')].reason"),
    printcolumn(name = "Last Sync", type_ = "date", json_path = ".status.lastSyncTime"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Suspended", type_ = "boolean", json_path = ".spec.suspend", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message", priority = 1)
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
    "!has(self.sourceNamespace) || !has(self.destinationNamespace) || !has(self.configMapName) || self.sourceNamespace != self.destinationNamespace || (has(self.destinationName) && self.destinationName != self.configMapName)"
).message(
    "a ConfigMap cannot be synced onto itself: choose another destinationNamespace, or give the copy another name with destinationName"
))]
pub struct ConfigMapSyncSpec {
    /// The namespace of the source ConfigMap.
    #[x_kube(validation = Rule::new(IS_NAMESPACE).message("sourceNamespace must be a namespace's name: at most 63 lower-case letters, digits and '-', beginning and ending with a letter or digit"))]
    #[schemars(length(min = 1, max = 63))]
    pub source_namespace: String,

    /// The namespace that the copy is kept in. It may be created later.
    #[x_kube(validation = Rule::new(IS_NAMESPACE).message("destinationNamespace must be a namespace's name: at most 63 lower-case letters, digits and '-', beginning and ending with a letter or digit"))]
    #[schemars(length(min = 1, max = 63))]
    pub destination_namespace: String,

    /// The name of the source ConfigMap, and of the copy unless destinationName says otherwise.
    #[x_kube(validation = Rule::new("self != 'kube-root-ca.crt'").message("configMapName must not be kube-root-ca.crt: Kubernetes keeps that one in each namespace, and its changes are not watched"))]
    #[x_kube(validation = Rule::new(IS_NAME).message("configMapName must be a ConfigMap's name: at most 253 lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit"))]
    #[schemars(length(min = 1, max = 253))]
    pub config_map_name: String,

    /// The name of the copy, where it is not to be configMapName.
    #[x_kube(validation = Rule::new(IS_NAME).message("destinationName must be a ConfigMap's name: at most 253 lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit"))]
    #[x_kube(validation = Rule::new("self != 'kube-root-ca.crt'").message("destinationName must not be kube-root-ca.crt: Kubernetes keeps that one itself"))]
    #[schemars(length(min = 1, max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination_name: Option<String>,

    /// Which keys the copy has of the source, and under which names. All, to the byte, where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<KeySelection>,

    /// Labels and annotations of the copy beside the operator's own. What others put there stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<CopyMetadata>,

    /// What to do when a ConfigMap that the operator did not write stands at the destination: Overwrite adopts it, Fail leaves it alone.
    #[schemars(schema_with = "conflict_policy")]
    #[serde(default, skip_serializing_if = "policies::is_default")]
    pub conflict_policy: ConflictPolicy,

    /// What happens to the copy when this object is deleted or gets another destination: Delete deletes it, Orphan keeps it without the operator's marks.
    #[schemars(schema_with = "deletion_policy")]
    #[serde(default, skip_serializing_if = "policies::is_default")]
    pub deletion_policy: DeletionPolicy,

    /// What happens to the copy when the source is deleted: Keep keeps the last one, Delete deletes it.
    #[schemars(schema_with = "source_missing_policy")]
    #[serde(default, skip_serializing_if = "policies::is_default")]
    pub source_missing_policy: SourceMissingPolicy,

    /// While true, the source is copied only where its owner shares it: by the annotation configmapsync.apps.kapendra.com/share or share-with, on it or on its Namespace.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub require_consent: bool,

    /// While true the operator writes neither the copy nor the status.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
}

fn conflict_policy(_: &mut SchemaGenerator) -> Schema {
    policies::schema(
        ConflictPolicy::WORDS,
        "What to do when a ConfigMap that the operator did not write stands at the destination: Overwrite adopts it, Fail leaves it alone.",
    )
}

fn deletion_policy(_: &mut SchemaGenerator) -> Schema {
    policies::schema(
        DeletionPolicy::WORDS,
        "What happens to the copy when this object is deleted or gets another destination: Delete deletes it, Orphan keeps it without the operator's marks.",
    )
}

fn source_missing_policy(_: &mut SchemaGenerator) -> Schema {
    policies::schema(
        SourceMissingPolicy::WORDS,
        "What happens to the copy when the source is deleted: Keep keeps the last one, Delete deletes it.",
    )
}

/// What the operator says of a sync.
// Atomic: it is written whole. The API server then keeps no record of who wrote which field of it (decision 0014).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigMapSyncStatus {
    /// When the copy was last written or found in order, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_sync_time: Option<Time>,
    /// Success, Failed or InProgress.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sync_status: String,
    /// What happened, for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Whether the source ConfigMap exists.
    pub source_exists: bool,
    /// Whether the copy exists.
    pub destination_exists: bool,
    /// How many requests failed in a row.
    pub retry_count: i32,
    /// The generation of the spec that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The source, as of our last write or check of the copy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<ObjectVersion>,
    /// metadata.uid of the source's namespace, as of our last write or check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_namespace_uid: Option<String>,
    /// The copy, as of our last write or check of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copy: Option<ObjectVersion>,
    /// The value of the annotation configmapsync.apps.kapendra.com/requested-at that was answered last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_handled_request: Option<String>,
    /// Ready, Synced, SourceAvailable, and Stalled where only a person can help.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// One version of one object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectVersion {
    /// metadata.uid of the object.
    pub uid: String,
    /// metadata.resourceVersion of the object.
    pub resource_version: String,
}

/// The CustomResourceDefinition.
///
/// An object that was stored under an older definition must be able to lose its finalizer, whatever it holds. The server
/// lets unchanged fields be as they were, but not the root of an object, nor a rule that it cannot even evaluate. So
/// that a spec must be there is said by a rule of its own, which lets an old object without one pass.
///
/// An object that nobody has looked at yet observes generation -1: without a status, tools that go by kstatus would take
/// it for done.
///
/// Nothing is dropped from the selection of keys: see `drop_nothing`.
#[must_use]
pub fn definition() -> CustomResourceDefinition {
    completed(ConfigMapSync::crd(), &["keys"], "the source and the destination")
}
