//! The objects that the demo and the load test make.

use std::collections::BTreeMap;

use configmapsync_operator::api::clusterconfigmapsync::{
    ClusterConfigMapSync, ClusterConfigMapSyncSpec, LabelValue, NamespaceSelector,
};
use configmapsync_operator::api::configmapsync::{ConfigMapSync, ConfigMapSyncSpec};
use configmapsync_operator::api::names::{ANNOTATION_SOURCE, LABEL_MANAGED_BY, MANAGED_BY};
use configmapsync_operator::api::policies::{ConflictPolicy, DeletionPolicy, SourceMissingPolicy};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{Resource, ResourceExt as _};

/// Label of everything that we make, so that it can be found and removed.
pub const MADE_BY: &str = "app.kubernetes.io/part-of";

/// Selects the copies that the operator keeps.
pub fn copies_selector() -> String {
    format!("{LABEL_MANAGED_BY}={MANAGED_BY}")
}

/// A namespace of ours. `owner` tells our runs apart.
pub fn namespace(name: &str, owner: &str) -> Namespace {
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some(name.to_owned());
    namespace.metadata.labels = Some([(MADE_BY.to_owned(), owner.to_owned())].into());
    namespace
}

/// A ConfigMap.
pub fn config_map(namespace: &str, name: &str, data: BTreeMap<String, String>) -> ConfigMap {
    let mut config_map = ConfigMap { data: Some(data), ..ConfigMap::default() };
    config_map.metadata.namespace = Some(namespace.to_owned());
    config_map.metadata.name = Some(name.to_owned());
    config_map
}

/// A sync of `source` (namespace and name) to `destination` (namespace and name). It stands beside its source.
pub fn sync(name: &str, source: (&str, &str), destination: (&str, &str)) -> ConfigMapSync {
    let spec = ConfigMapSyncSpec {
        source_namespace: source.0.to_owned(),
        config_map_name: source.1.to_owned(),
        destination_namespace: destination.0.to_owned(),
        destination_name: (destination.1 != source.1).then(|| destination.1.to_owned()),
        conflict_policy: ConflictPolicy::Overwrite,
        deletion_policy: DeletionPolicy::Delete,
        source_missing_policy: SourceMissingPolicy::Keep,
        suspend: false,
        ..ConfigMapSyncSpec::default()
    };
    let mut sync = ConfigMapSync::new(name, spec);
    sync.metadata.namespace = Some(source.0.to_owned());
    sync
}

/// An object that keeps a copy of `source` (namespace and name) in each namespace with this label, under the name
/// `destination`.
pub fn cluster_sync(name: &str, source: (&str, &str), destination: &str, label: (&str, &str)) -> ClusterConfigMapSync {
    let match_labels = [(label.0.to_owned(), LabelValue(label.1.to_owned()))].into();
    let spec = ClusterConfigMapSyncSpec {
        source_namespace: source.0.to_owned(),
        config_map_name: source.1.to_owned(),
        namespace_selector: Some(NamespaceSelector { match_labels, match_expressions: Vec::new() }),
        destination_name: (destination != source.1).then(|| destination.to_owned()),
        ..ClusterConfigMapSyncSpec::default()
    };
    ClusterConfigMapSync::new(name, spec)
}

/// What an object for many namespaces says of its copies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The version of the source that they are compared with.
    pub version: u64,
    /// How many are in order, of how many: `997/1000`.
    pub copies: String,
    /// Whether it says that all of them are.
    pub ready: bool,
}

/// What it says, if it says anything yet.
pub fn told(object: &ClusterConfigMapSync) -> Option<Told> {
    let status = object.status.as_ref()?;
    let version = status.source.as_ref()?.resource_version.parse().ok()?;
    Some(Told { version, copies: status.copies.clone(), ready: says_ready(&status.conditions) })
}

/// Whether a sync says that its copy is in order.
pub fn is_ready(sync: &ConfigMapSync) -> bool {
    says_ready(sync.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default())
}

fn says_ready(conditions: &[Condition]) -> bool {
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// The version of the source that a copy was written from, as its annotation says. `annotation` is
/// [`ANNOTATION_SOURCE`] for copies of the operator.
pub fn source_version(copy: &impl Resource, annotation: &str) -> Option<u64> {
    copy.annotations().get(annotation)?.rsplit('/').next()?.parse().ok()
}

/// [`source_version`] of a copy of the operator.
pub fn edition(copy: &impl Resource) -> Option<u64> {
    source_version(copy, ANNOTATION_SOURCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_tells_its_sources_version() {
        let mut copy = config_map("a", "b", BTreeMap::new());
        assert_eq!(edition(&copy), None);
        copy.metadata.annotations = Some([(ANNOTATION_SOURCE.to_owned(), "n/s/uid/1234".to_owned())].into());
        assert_eq!(edition(&copy), Some(1234));
    }
}
