//! Chart, kustomize and install.yaml describe the same objects.

use rstest::rstest;
use serde_json::Value;

use super::render::{Objects, chart, deploy, kustomize, objects};

/// What helm adds and others lack. Nothing else may differ.
const LABELS_OF_HELM: [&str; 4] =
    ["helm.sh/chart", "app.kubernetes.io/instance", "app.kubernetes.io/managed-by", "app.kubernetes.io/version"];
const ANNOTATION_OF_HELM: &str = "helm.sh/resource-policy";
/// Helm makes the namespace itself, by --create-namespace.
const NOT_IN_THE_CHART: &str = "Namespace /configmapsync-system";

fn without_helm(mut objects: Objects) -> Objects {
    for (key, object) in &mut objects {
        let meta = object["metadata"].as_object_mut().unwrap();
        for label in LABELS_OF_HELM {
            assert!(meta["labels"].as_object_mut().unwrap().remove(label).is_some(), "{key} has no label {label}");
        }
        if let Some(annotations) = meta.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove(ANNOTATION_OF_HELM);
            if annotations.is_empty() {
                meta.remove("annotations");
            }
        }
    }
    objects
}

/// The paths at which two values differ, a line each.
fn differences(path: &str, left: &Value, right: &Value, found: &mut Vec<String>) {
    match (left, right) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))) {
                let side = |map: &serde_json::Map<_, _>| map.get(key).cloned().unwrap_or(Value::Null);
                differences(&format!("{path}.{key}"), &side(a), &side(b), found);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                differences(&format!("{path}[{index}]"), a, b, found);
            }
        }
        _ if left == right => {}
        _ => found.push(format!("{path}: {left} != {right}")),
    }
}

fn assert_same(left: &Objects, right: &Objects) {
    let value = |objects: &Objects| serde_json::to_value(objects).unwrap();
    let mut found = Vec::new();
    differences("", &value(left), &value(right), &mut found);
    assert!(found.is_empty(), "they differ:\n{}", found.join("\n"));
}

#[test]
fn a_difference_is_found_and_named() {
    let [left, right] =
        ["{kind: A, metadata: {name: x}, spec: {n: [1, 2]}}", "{kind: A, metadata: {name: x}, spec: {n: [1, 3]}}"]
            .map(|yaml| serde_json::to_value(objects(yaml)).unwrap());
    let mut found = Vec::new();
    differences("", &left, &right, &mut found);
    assert_eq!(found, [".A /x.spec.n[1]: 2 != 3"]);
}

#[rstest]
#[case("production")]
#[case("small")]
#[tokio::test]
async fn overlay_and_chart_with_its_values_agree(#[case] overlay: &str) {
    let mut overlaid = kustomize(&format!("overlays/{overlay}")).await;
    assert!(overlaid.remove(NOT_IN_THE_CHART).is_some());
    let values = deploy(&format!("overlays/{overlay}/values.yaml"));
    assert_same(&without_helm(chart(&["--values", values.to_str().unwrap()])), &overlaid);
}

#[tokio::test]
async fn kustomize_install_yaml_and_chart_agree() {
    let mut installed = objects(&std::fs::read_to_string(deploy("install.yaml")).unwrap());
    assert_same(&kustomize(".").await, &installed);
    assert!(installed.remove(NOT_IN_THE_CHART).is_some());
    assert_same(&without_helm(chart(&[])), &installed);
}

#[tokio::test]
async fn the_monitoring_overlay_is_what_the_chart_adds_for_its_values() {
    let values = deploy("overlays/monitoring/values.yaml");
    let mut added = without_helm(chart(&["--values", values.to_str().unwrap()]));
    let default = chart(&[]);
    added.retain(|key, _| !default.contains_key(key));
    assert!(added.keys().any(|key| key.starts_with("ServiceMonitor")), "{:?}", added.keys());
    assert_same(&added, &kustomize("overlays/monitoring").await);
}
