//! Chart, kustomize and install.yaml describe the same objects.

use rstest::rstest;
use serde_json::{Value, json};

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

/// Those in crds/, and the labels that each way puts on everything.
#[tokio::test]
async fn every_way_ships_both_definitions() {
    let installed = objects(&std::fs::read_to_string(deploy("install.yaml")).unwrap());
    let production = deploy("overlays/production/values.yaml");
    let ways = [
        ("install.yaml", installed),
        ("kustomize", kustomize(".").await),
        ("crds/ alone", kustomize("../crds").await),
        ("overlay production", kustomize("overlays/production").await),
        ("overlay small", kustomize("overlays/small").await),
        ("chart", chart(&[])),
        ("chart for production", chart(&["--values", production.to_str().unwrap()])),
    ];
    for plural in ["configmapsyncs", "clusterconfigmapsyncs"] {
        let file = deploy(&format!("../crds/{plural}.apps.kapendra.com.yaml"));
        let generated = objects(&std::fs::read_to_string(file).unwrap());
        let (key, definition) = generated.first_key_value().unwrap();
        for (way, objects) in &ways {
            assert_eq!(objects[key]["spec"], definition["spec"], "{way}: {key}");
        }
    }
    for (way, objects) in &ways {
        assert_eq!(objects.keys().filter(|key| key.starts_with("CustomResourceDefinition ")).count(), 2, "{way}");
    }
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

#[tokio::test]
async fn the_overlay_for_kube_prometheus_stack_adds_the_label_by_which_it_selects() {
    let mut plain = kustomize("overlays/monitoring").await;
    let mut labelled = 0;
    for object in plain.values_mut().filter(|object| object["apiVersion"] == "monitoring.coreos.com/v1") {
        object["metadata"]["labels"]["release"] = json!("kube-prometheus-stack");
        labelled += 1;
    }
    assert_eq!(labelled, 2, "a monitor and the rules");
    assert_same(&plain, &kustomize("overlays/kube-prometheus-stack").await);
}

/// What a role allows on each resource of our group.
fn allowed(role: &Value) -> Vec<(String, Value)> {
    let rules = role["rules"].as_array().unwrap();
    let ours = rules.iter().filter(|rule| rule["apiGroups"] == json!(["apps.kapendra.com"]));
    ours.flat_map(|rule| {
        let resources = rule["resources"].as_array().unwrap().iter();
        resources.map(|resource| (resource.as_str().unwrap().to_owned(), rule["verbs"].clone()))
    })
    .collect()
}

/// Who may write a ClusterConfigMapSync has the operator write to every namespace: nobody gets that by a role of a namespace.
#[test]
fn roles_of_tenants_reach_no_cluster_config_map_sync() {
    let shipped = objects(&std::fs::read_to_string(deploy("install.yaml")).unwrap());
    let aggregated = "rbac.aggregateToView=true,rbac.aggregateToEdit=true,rbac.aggregateToAdmin=true";
    for (way, objects) in [("install.yaml", shipped), ("chart", chart(&["--set", aggregated]))] {
        let role = |name: &str| &objects[&format!("ClusterRole /configmapsync-{name}")];
        let (read, write) = (
            json!(["get", "list", "watch"]),
            json!(["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"]),
        );
        for (name, resource, verbs) in [
            ("viewer", "configmapsyncs", &read),
            ("editor", "configmapsyncs", &write),
            ("cluster-viewer", "clusterconfigmapsyncs", &read),
            ("cluster-editor", "clusterconfigmapsyncs", &write),
        ] {
            assert_eq!(allowed(role(name)), [(resource.to_owned(), verbs.clone())], "{way}: {name}");
        }
        let joins = |name: &str| -> Vec<String> {
            let labels = role(name)["metadata"]["labels"].as_object().unwrap().keys();
            labels.filter_map(|label| label.strip_prefix("rbac.authorization.k8s.io/")).map(str::to_owned).collect()
        };
        assert_eq!(joins("cluster-viewer"), ["aggregate-to-view"], "{way}");
        assert_eq!(joins("cluster-editor"), Vec::<String>::new(), "{way}");
    }
}
