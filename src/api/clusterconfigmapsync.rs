//! `ClusterConfigMapSync`: one object, a copy in each of many namespaces. `crds/` is generated from the types here.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, CustomResourceExt as _, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::api::configmapsync::ObjectVersion;
use crate::api::policies::{self, ConflictPolicy, DeletionPolicy, SourceMissingPolicy};
use crate::api::schema::{IS_NAME, IS_NAMESPACE, completed};
use crate::api::shape::{CopyMetadata, KeySelection};

// `type_` stands in several columns, which clippy takes for one attribute said twice.
#[allow(clippy::duplicated_attributes)]
/// Keeps a copy of one ConfigMap in many namespaces. The source always wins.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "apps.kapendra.com",
    version = "v1alpha1",
    kind = "ClusterConfigMapSync",
    plural = "clusterconfigmapsyncs",
    shortname = "ccms",
    category = "kapendra",
    status = "ClusterConfigMapSyncStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "Keeps a copy of one ConfigMap in many namespaces. The source always wins.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Source", type_ = "string", json_path = ".spec.sourceNamespace"),
    printcolumn(name = "ConfigMap", type_ = "string", json_path = ".spec.configMapName"),
    printcolumn(name = "Copies", type_ = "string", json_path = ".status.copies"),
    printcolumn(name = "Failed", type_ = "integer", json_path = ".status.namespaces.failed"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(name = "Last Sync", type_ = "date", json_path = ".status.lastSyncTime"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Name", type_ = "string", json_path = ".spec.destinationName", priority = 1),
    printcolumn(name = "Suspended", type_ = "boolean", json_path = ".spec.suspend", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message", priority = 1)
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
    "has(self.namespaceSelector) != has(self.namespaces)"
).message(
    "say which namespaces get the copy: either namespaceSelector or namespaces, and not both"
))]
pub struct ClusterConfigMapSyncSpec {
    /// The namespace of the source ConfigMap.
    #[x_kube(validation = Rule::new(IS_NAMESPACE).message("sourceNamespace must be a namespace's name: at most 63 lower-case letters, digits and '-', beginning and ending with a letter or digit"))]
    #[schemars(length(min = 1, max = 63))]
    pub source_namespace: String,

    /// The name of the source ConfigMap, and of the copies unless destinationName says otherwise.
    #[x_kube(validation = Rule::new("self != 'kube-root-ca.crt'").message("configMapName must not be kube-root-ca.crt: Kubernetes keeps that one in each namespace, and its changes are not watched"))]
    #[x_kube(validation = Rule::new(IS_NAME).message("configMapName must be a ConfigMap's name: at most 253 lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit"))]
    #[schemars(length(min = 1, max = 253))]
    pub config_map_name: String,

    /// The namespaces that get a copy, by their labels. {} means all namespaces. Protected namespaces are never meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<NamespaceSelector>,

    /// The namespaces that get a copy, by name. They may be created later.
    #[schemars(length(min = 1, max = 1000))]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = Rule::new("self.all(name, name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'))").message("namespaces must hold names of namespaces: at most 63 lower-case letters, digits and '-', beginning and ending with a letter or digit"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<Vec<NamespaceName>>,

    /// Namespaces that get no copy, whatever selects them. * stands for any characters, ? for one.
    #[schemars(length(max = 100))]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = Rule::new("self.all(name, name.matches('^[-a-z0-9*?]+$'))").message("excludeNamespaces must hold names of namespaces; * stands for any characters, ? for one"))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude_namespaces: Vec<NamespaceName>,

    /// The name of the copies, where it is not to be configMapName.
    #[x_kube(validation = Rule::new(IS_NAME).message("destinationName must be a ConfigMap's name: at most 253 lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit"))]
    #[x_kube(validation = Rule::new("self != 'kube-root-ca.crt'").message("destinationName must not be kube-root-ca.crt: Kubernetes keeps that one itself"))]
    #[schemars(length(min = 1, max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination_name: Option<String>,

    /// Which keys the copies have of the source, and under which names. All, to the byte, where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<KeySelection>,

    /// Labels and annotations of the copies beside the operator's own. What others put there stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<CopyMetadata>,

    /// What to do where a ConfigMap that the operator did not write stands in the copy's place: Fail leaves it alone, Overwrite adopts it.
    #[schemars(schema_with = "conflict_policy")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conflict_policy: Option<ConflictPolicy>,

    /// What happens to a copy when this object is deleted or no longer selects its namespace: Delete deletes it, Orphan keeps it without the operator's marks.
    #[schemars(schema_with = "deletion_policy")]
    #[serde(default, skip_serializing_if = "policies::is_default")]
    pub deletion_policy: DeletionPolicy,

    /// What happens to the copies when the source is deleted: Keep keeps the last ones, Delete deletes them.
    #[schemars(schema_with = "source_missing_policy")]
    #[serde(default, skip_serializing_if = "policies::is_default")]
    pub source_missing_policy: SourceMissingPolicy,

    /// While true, the source is copied only where its owner shares it: by the annotation configmapsync.apps.kapendra.com/share or share-with, on it or on its Namespace.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub require_consent: bool,

    /// While true the operator writes neither the copies nor the status.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
}

/// The name of a namespace, or a pattern of names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct NamespaceName(#[schemars(length(min = 1, max = 63))] pub String);

/// A selector of namespaces by their labels, as `metav1.LabelSelector`: what it lists must all hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
// For `has` a null is not there, and `size` counts it, as it does fields that are not declared.
#[x_kube(validation = Rule::new(
    "size(dyn(self)) == (has(self.matchLabels) ? 1 : 0) + (has(self.matchExpressions) ? 1 : 0)"
).message("namespaceSelector takes matchLabels and matchExpressions, neither of them null, and no other field: {} alone means all namespaces"))]
pub struct NamespaceSelector {
    /// Labels that a namespace must have, with these values.
    #[schemars(extend("maxProperties" = 50))]
    #[x_kube(validation = Rule::new(KEYS_ARE_LABELS).message("matchLabels must hold labels' keys: a domain and '/' or nothing, then at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit"))]
    #[x_kube(validation = Rule::new("self.all(key, dyn(self[key]) != null && self[key].matches('^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$'))").message("matchLabels must hold labels' values: at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit"))]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, LabelValue>,
    /// Requirements on labels.
    #[schemars(length(max = 50))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<LabelRequirement>,
}

/// The value of a label.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct LabelValue(#[schemars(length(max = 63))] pub String);

/// One requirement on a label.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new(
    "self.operator in ['In', 'NotIn'] ? has(self.values) && size(self.values) > 0 : !has(self.values) || size(self.values) == 0"
).message("In and NotIn need values; Exists and DoesNotExist must have none"))]
pub struct LabelRequirement {
    /// The label.
    #[x_kube(validation = Rule::new(IS_LABEL).message("key must be a label's key: a domain and '/' or nothing, then at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit"))]
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    /// How the label's value relates to `values`.
    pub operator: LabelOperator,
    /// The values of In and NotIn.
    #[schemars(length(max = 100))]
    #[x_kube(validation = Rule::new("self.all(value, value.matches('^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$'))").message("values must hold labels' values: at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit"))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<LabelValue>,
}

/// How a label's value relates to the values of a requirement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LabelOperator {
    /// The label has one of the values.
    #[default]
    In,
    /// The label has none of the values, or is not there.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is not there.
    DoesNotExist,
}

const IS_LABEL: &str = "self.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$')";
const KEYS_ARE_LABELS: &str = "self.all(key, key.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))";

fn conflict_policy(_: &mut SchemaGenerator) -> Schema {
    policies::schema(
        // A selector meets ConfigMaps that its author never saw.
        ["Fail", "Overwrite"],
        "What to do where a ConfigMap that the operator did not write stands in the copy's place: Fail leaves it alone, Overwrite adopts it.",
    )
}

fn deletion_policy(_: &mut SchemaGenerator) -> Schema {
    policies::schema(
        DeletionPolicy::WORDS,
        "What happens to a copy when this object is deleted or no longer selects its namespace: Delete deletes it, Orphan keeps it without the operator's marks.",
    )
}

fn source_missing_policy(_: &mut SchemaGenerator) -> Schema {
    policies::schema(
        SourceMissingPolicy::WORDS,
        "What happens to the copies when the source is deleted: Keep keeps the last ones, Delete deletes them.",
    )
}

/// What the operator says of the object and all its copies.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterConfigMapSyncStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Success, Failed or InProgress.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sync_status: String,
    /// What happened, for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// When all copies were last in order, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_sync_time: Option<Time>,
    /// The version of the source that the copies are compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<ObjectVersion>,
    /// SHA-256 of what that version of the source holds, as it stands on the copies.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub content_hash: String,
    /// metadata.uid of the source's namespace, as of our last write or check.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub source_namespace_uid: String,
    /// How many copies are in order, and how many namespaces are selected: 997/1000.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub copies: String,
    /// How many namespaces are in which state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<NamespaceCounts>,
    /// Namespaces whose copy failed: at most ten, those that failed first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<NamespaceFailure>,
    /// The value of the annotation configmapsync.apps.kapendra.com/requested-at that was answered last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_handled_request: Option<String>,
    /// Ready, Synced, SourceAvailable, and Stalled where only a person can help.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// How many namespaces are in which state. `selected` is the sum of `synced`, `pending` and `failed`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NamespaceCounts {
    /// Namespaces that are to have a copy.
    pub selected: i32,
    /// Selected namespaces whose copy is in order.
    pub synced: i32,
    /// Selected namespaces whose copy is still to be written.
    pub pending: i32,
    /// Selected namespaces whose copy could not be written.
    pub failed: i32,
    /// Namespaces that excludeNamespaces, or their protection, leaves out.
    pub excluded: i32,
    /// Copies that are still to be removed.
    pub removing: i32,
}

/// A namespace whose copy failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NamespaceFailure {
    /// The namespace.
    pub namespace: String,
    /// One word for programs.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
    /// Since when, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
}

/// The CustomResourceDefinition. As for `ConfigMapSync`: an object that nobody has looked at yet observes generation -1, and an
/// object without a spec can still lose its finalizer.
///
/// Nothing is dropped from the selections: see `drop_nothing`.
#[must_use]
pub fn definition() -> CustomResourceDefinition {
    completed(ClusterConfigMapSync::crd(), &["namespaceSelector", "keys"], "the source and the namespaces")
}
