//! From what stands in `.spec` of a ClusterConfigMapSync, whatever that is, to something that makes sense or a sentence about
//! what is wrong.

use serde_json::Value;

use crate::api::clusterconfigmapsync::ClusterConfigMapSyncSpec;
use crate::api::dns;
use crate::api::names::KUBE_ROOT_CA;
use crate::api::policies::{ConflictPolicy, DeletionPolicy, SourceMissingPolicy};
use crate::rules::cluster::record::ClusterSpec;
use crate::rules::cluster::selection::Selection;
use crate::rules::record::{InvalidSpec, ObjectKey, SlimArc};
use crate::rules::spec::shape;

/// Reads `.spec`.
///
/// # Errors
/// What is wrong with it, and whether the copies are to stay all the same.
pub fn read(spec: Value) -> Result<ClusterSpec, InvalidSpec> {
    let deletes = match spec.get("deletionPolicy") {
        None | Some(Value::Null) => true,
        Some(policy) => policy == "Delete",
    };
    sensible(spec).map_err(|why| InvalidSpec::new(why, !deletes))
}

fn sensible(mut spec: Value) -> Result<ClusterSpec, String> {
    if !spec.is_object() {
        return Err("spec is missing".to_owned());
    }
    let mut take = |field: &str| spec.get_mut(field).map(Value::take).unwrap_or_default();
    let shape = shape(take("keys"), take("metadata"))?.map(SlimArc::new);
    let spec: ClusterConfigMapSyncSpec = serde_json::from_value(spec).map_err(|error| error.to_string())?;
    let copy_name = spec.destination_name.as_ref().unwrap_or(&spec.config_map_name);
    for (field, name, valid) in [
        ("sourceNamespace", &spec.source_namespace, dns::is_label(&spec.source_namespace)),
        ("configMapName", &spec.config_map_name, dns::is_subdomain(&spec.config_map_name)),
        ("destinationName", copy_name, dns::is_subdomain(copy_name)),
    ] {
        if !valid {
            return Err(format!("{field} is not a valid name: {name:?}"));
        }
    }
    if [&spec.config_map_name, copy_name].into_iter().any(|name| name == KUBE_ROOT_CA) {
        return Err(format!("{KUBE_ROOT_CA} is kept by Kubernetes itself, in each namespace"));
    }
    let excluded: Vec<&str> = spec.exclude_namespaces.iter().map(|pattern| pattern.0.as_str()).collect();
    let selection = match (&spec.namespace_selector, &spec.namespaces) {
        (Some(selector), None) => Selection::by_labels(selector, &excluded)?,
        (None, Some(names)) if !names.is_empty() => {
            if let Some(name) = names.iter().find(|name| !dns::is_label(&name.0)) {
                return Err(format!("namespaces: {:?} is not the name of a namespace", name.0));
            }
            Selection::by_name(names.iter().map(|name| name.0.as_str().into()), &excluded)
        }
        (Some(_), Some(_)) => return Err("both namespaceSelector and namespaces are set".to_owned()),
        (None, _) => return Err("neither namespaceSelector nor namespaces is set".to_owned()),
    };
    let unknown = |field: &str, word: &str| Err(format!("{field}: {word:?} is not known"));
    Ok(ClusterSpec {
        source: ObjectKey::new(spec.source_namespace.as_str(), spec.config_map_name.as_str()),
        copy_name: copy_name.as_str().into(),
        selection,
        shape,
        overwrite: match spec.conflict_policy {
            None | Some(ConflictPolicy::Fail) => false,
            Some(ConflictPolicy::Overwrite) => true,
            Some(ConflictPolicy::Unknown(word)) => return unknown("conflictPolicy", &word),
        },
        orphan: match spec.deletion_policy {
            DeletionPolicy::Delete => false,
            DeletionPolicy::Orphan => true,
            DeletionPolicy::Unknown(word) => return unknown("deletionPolicy", &word),
        },
        delete_with_source: match spec.source_missing_policy {
            SourceMissingPolicy::Keep => false,
            SourceMissingPolicy::Delete => true,
            SourceMissingPolicy::Unknown(word) => return unknown("sourceMissingPolicy", &word),
        },
        require_consent: spec.require_consent,
        suspend: spec.suspend,
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn with(fields: Value) -> Value {
        let mut spec = json!({"sourceNamespace": "platform", "configMapName": "ca"});
        spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        spec
    }

    #[test]
    fn a_spec_is_read_with_its_defaults() {
        let spec = read(with(json!({"namespaceSelector": {}}))).unwrap();
        assert_eq!((spec.source.to_string().as_str(), spec.copy_name.as_str()), ("platform/ca", "ca"));
        assert_eq!([spec.overwrite, spec.orphan, spec.delete_with_source, spec.suspend], [false; 4]);
        let spec = with(json!({"namespaces": ["b", "a"], "destinationName": "cb", "conflictPolicy": "Overwrite"}));
        let spec = read(spec).unwrap();
        assert_eq!((spec.copy_name.as_str(), spec.overwrite), ("cb", true));
        assert_eq!(spec.selection.names().unwrap().iter().map(|name| name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    }

    #[rstest]
    #[case(json!(null), "spec is missing", false)]
    #[case(json!([1]), "spec is missing", false)]
    #[case(json!({}), "missing field `sourceNamespace`", false)]
    #[case(with(json!({})), "neither namespaceSelector nor namespaces", false)]
    #[case(with(json!({"namespaces": []})), "neither namespaceSelector nor namespaces", false)]
    #[case(with(json!({"namespaceSelector": null})), "neither namespaceSelector nor namespaces", false)]
    #[case(with(json!({"namespaceSelector": {}, "namespaces": ["a"]})), "both", false)]
    #[case(with(json!({"namespaceSelector": {"matchLabel": {}}})), "unknown field `matchLabel`", false)]
    #[case(with(json!({"namespaces": ["a"], "keys": {"inclde": []}})), "keys: unknown field `inclde`", false)]
    #[case(with(json!({"namespaces": ["a"], "metadata": {"labels": {"x/managed-by": "y"}}})), "must not name x/managed-by", false)]
    #[case(with(json!({"namespaces": ["A"]})), "\"A\" is not the name", false)]
    #[case(with(json!({"namespaces": ["a"], "destinationName": ".."})), "destinationName is not a valid name", false)]
    #[case(with(json!({"namespaces": ["a"], "destinationName": "kube-root-ca.crt"})), "kept by Kubernetes", false)]
    #[case(with(json!({"namespaces": ["a"], "deletionPolicy": "Sometimes"})), "deletionPolicy: \"Sometimes\"", true)]
    #[case(with(json!({"namespaces": 3, "deletionPolicy": "Orphan"})), "invalid type", true)]
    fn a_spec_that_makes_no_sense_says_why(#[case] spec: Value, #[case] why: &str, #[case] orphan: bool) {
        let invalid = read(spec).unwrap_err();
        assert!(invalid.why.contains(why), "{}", invalid.why);
        assert_eq!(invalid.orphan, orphan);
    }
}
