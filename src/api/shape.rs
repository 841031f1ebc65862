//! What a copy has of its source, and what it has beside: the same for both kinds.

use std::collections::BTreeMap;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Which keys of the source a copy has, and under which names. {} means all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
// A field that is dropped in silence would widen the selection: see `schema::drop_nothing`.
#[x_kube(validation = Rule::new(
    "size(dyn(self)) == (has(self.include) ? 1 : 0) + (has(self.exclude) ? 1 : 0) + (has(self.rename) ? 1 : 0)"
).message("keys takes include, exclude and rename, none of them null, and no other field: {} alone means all keys"))]
pub struct KeySelection {
    /// The keys that the copy has. * stands for any characters, ? for one. All keys, where there is no pattern.
    #[schemars(length(max = 32), inner(length(min = 1, max = 253)))]
    #[x_kube(validation = Rule::new(ARE_PATTERNS).message("include must hold names of keys: letters, digits, '-', '_' and '.'; * stands for any characters, ? for one"))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,

    /// The keys that the copy has not, whatever includes them. * stands for any characters, ? for one.
    #[schemars(length(max = 32), inner(length(min = 1, max = 253)))]
    #[x_kube(validation = Rule::new(ARE_PATTERNS).message("exclude must hold names of keys: letters, digits, '-', '_' and '.'; * stands for any characters, ? for one"))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,

    /// Keys that have another name in the copy.
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("self.all(one, self.exists_one(other, other.from == one.from))").message("rename must name each key of the source once"))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rename: Vec<KeyRename>,
}

/// A key that has another name in the copy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyRename {
    /// The key in the source.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new(IS_KEY).message("from must be the name of a key: letters, digits, '-', '_' and '.', and not begin with '..'"))]
    pub from: String,
    /// The key in the copy.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new(IS_KEY).message("to must be the name of a key: letters, digits, '-', '_' and '.', and not begin with '..'"))]
    pub to: String,
}

/// Labels and annotations that a copy has beside the operator's own. What others put on a copy stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CopyMetadata {
    /// Labels, with their values.
    #[schemars(extend("maxProperties" = 32), extend("additionalProperties" = {"type": "string", "maxLength": 63}))]
    #[x_kube(validation = Rule::new(NOT_RESERVED).message("labels must not be the operator's own, nor those by which Argo CD, Flux, Helm and kubectl know what is theirs"))]
    #[x_kube(validation = Rule::new(ARE_NAMES).message("labels must have labels' keys: a domain and '/' or nothing, then at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit"))]
    #[x_kube(validation = Rule::new(ARE_VALUES).message("labels must have labels' values: at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit"))]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,

    /// Annotations, with their values.
    #[schemars(extend("maxProperties" = 32), extend("additionalProperties" = {"type": "string", "maxLength": 4096}))]
    #[x_kube(validation = Rule::new(NOT_RESERVED).message("annotations must not be the operator's own, nor those by which Argo CD, Flux, Helm and kubectl know what is theirs"))]
    #[x_kube(validation = Rule::new(ARE_NAMES).message("annotations must have annotations' keys: a domain and '/' or nothing, then at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit"))]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,

    /// Labels that the copy has as the source has them, by name. A value in labels wins.
    #[schemars(length(max = 32), inner(length(min = 1, max = 317)))]
    #[x_kube(validation = Rule::new(NOT_RESERVED).message("copyLabels must not name the operator's own, nor those by which Argo CD, Flux, Helm and kubectl know what is theirs"))]
    #[x_kube(validation = Rule::new(ARE_NAMES).message("copyLabels must hold labels' keys: a domain and '/' or nothing, then at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit"))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub copy_labels: Vec<String>,

    /// Annotations that the copy has as the source has them, by name. A value in annotations wins.
    #[schemars(length(max = 32), inner(length(min = 1, max = 317)))]
    #[x_kube(validation = Rule::new(NOT_RESERVED).message("copyAnnotations must not name the operator's own, nor those by which Argo CD, Flux, Helm and kubectl know what is theirs"))]
    #[x_kube(validation = Rule::new(ARE_NAMES).message("copyAnnotations must hold annotations' keys: a domain and '/' or nothing, then at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit"))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub copy_annotations: Vec<String>,
}

/// Whether a label or annotation is the operator's own, or one by which another tool knows what is its own. On a copy it would
/// make that tool take the copy for its own, and delete it. The schema says the same, see [`NOT_RESERVED`].
pub fn is_reserved(name: &str) -> bool {
    const DOMAINS: [&str; 7] = [
        crate::api::names::PREFIX,
        "argocd.argoproj.io/",
        "kustomize.toolkit.fluxcd.io/",
        "helm.toolkit.fluxcd.io/",
        "meta.helm.sh/",
        "helm.sh/",
        "applyset.kubernetes.io/",
    ];
    DOMAINS.iter().any(|domain| name.starts_with(domain))
        || name.ends_with("/managed-by")
        || ["app.kubernetes.io/instance", "kubectl.kubernetes.io/last-applied-configuration"].contains(&name)
}

const NOT_RESERVED: &str = "self.all(name, !(name.startsWith('configmapsync.apps.kapendra.com/') || name.startsWith('argocd.argoproj.io/') || name.startsWith('kustomize.toolkit.fluxcd.io/') || name.startsWith('helm.toolkit.fluxcd.io/') || name.startsWith('meta.helm.sh/') || name.startsWith('helm.sh/') || name.startsWith('applyset.kubernetes.io/') || name.endsWith('/managed-by') || name == 'app.kubernetes.io/instance' || name == 'kubectl.kubernetes.io/last-applied-configuration'))";
const IS_KEY: &str = "self.matches('^[-._a-zA-Z0-9]+$') && self != '.' && !self.startsWith('..')";
const ARE_PATTERNS: &str = "self.all(key, key.matches('^[-._a-zA-Z0-9*?]+$'))";
const ARE_NAMES: &str = "self.all(name, name.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))";
const ARE_VALUES: &str = "self.all(name, self[name].matches('^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$'))";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_other_tools_are_reserved_and_those_of_people_are_not() {
        for name in [
            "configmapsync.apps.kapendra.com/sync",
            "argocd.argoproj.io/tracking-id",
            "kustomize.toolkit.fluxcd.io/name",
            "helm.toolkit.fluxcd.io/name",
            "meta.helm.sh/release-name",
            "helm.sh/chart",
            "applyset.kubernetes.io/part-of",
            "kubectl.kubernetes.io/last-applied-configuration",
            "app.kubernetes.io/instance",
            "app.kubernetes.io/managed-by",
            "example.com/managed-by",
        ] {
            assert!(is_reserved(name), "{name}");
        }
        for name in ["team", "managed-by", "grafana_dashboard", "app.kubernetes.io/name", "reloader.stakater.com/match"]
        {
            assert!(!is_reserved(name), "{name}");
        }
    }
}
