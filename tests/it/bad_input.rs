//! Objects that make no sense, stored before the schema forbade them.

use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::harness::{Bed, Case, FINALIZER, eventually};

/// The schema of the definition, made to let everything pass.
pub fn relaxed(document: &mut Value) {
    if document["kind"] == "CustomResourceDefinition" {
        let schema = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
        document["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = schema;
    }
}

pub fn untyped(case: &Case<'_>) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&kube::api::GroupVersionKind::gvk("apps.kapendra.com", "v1", "ConfigMapSync"));
    Api::namespaced_with(case.client.clone(), &case.syncs, &resource)
}

fn has_wrong_types(spec: &Value) -> bool {
    match spec {
        Value::Object(fields) => fields.iter().any(|(name, value)| match name.as_str() {
            "configMapName" | "sourceNamespace" | "destinationNamespace" => !value.is_string() && !value.is_null(),
            _ => false,
        }),
        other => other != "none",
    }
}

/// Whether a rule of the schema speaks against it, and not only a type or a length.
fn breaks_a_rule(spec: &Value, source_namespace: &str) -> bool {
    spec["sourceNamespace"] == "UPPER"
        || spec["configMapName"] == ""
        || spec["destinationNamespace"] == source_namespace
}

/// Before Kubernetes 1.33 the API server refuses also the status of an object whose spec breaks a rule.
async fn takes_statuses(bed: &Bed) -> bool {
    bed.version().await.unwrap() >= (1, 33)
}

/// Stores objects under a schema that lets everything pass, installs the real one, and starts an operator. The others
/// must go on, and each of these must say what is wrong with it, and go when it is deleted.
async fn broken_ones_stop_nobody(test: &str, namespace: &str, broken: &[(&str, Value)]) {
    let Some(bed) = Bed::bare(test).await else { return };
    bed.install(relaxed).await;
    let case = Case::on(&bed, namespace).await;
    let syncs = untyped(&case);
    let takes_statuses = takes_statuses(&bed).await;
    let mut unwritable = Vec::new();
    for (name, change) in broken {
        let mut object = json!({
            "apiVersion": "apps.kapendra.com/v1", "kind": "ConfigMapSync",
            "metadata": { "name": name, "finalizers": [FINALIZER] }, "spec": case.spec(json!({})),
        });
        if has_wrong_types(change) {
            object["metadata"].as_object_mut().unwrap().remove("finalizers");
        }
        match change.as_object() {
            Some(change) if change.get("destinationNamespace") == Some(&json!("SOURCE")) => {
                object["spec"]["destinationNamespace"] = json!(case.src);
            }
            Some(change) if change.is_empty() => object["spec"] = json!({}),
            Some(change) => object["spec"].as_object_mut().unwrap().extend(change.clone()),
            None if change == "none" => drop(object.as_object_mut().unwrap().remove("spec")),
            None => object["spec"] = change.clone(),
        }
        if has_wrong_types(change) || !takes_statuses && breaks_a_rule(&object["spec"], &case.src) {
            unwritable.push(*name);
        }
        syncs.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    }
    let odd = json!({
        "apiVersion": "apps.kapendra.com/v1", "kind": "ConfigMapSync",
        "metadata": { "name": "odd-status" }, "spec": case.spec(json!({})),
    });
    syncs.create(&PostParams::default(), &serde_json::from_value(odd).unwrap()).await.unwrap();
    let odd = json!({ "status": { "conditions": 3, "retryCount": "many", "lastSyncTime": "yesterday" } });
    syncs.patch_status("odd-status", &PatchParams::default(), &Patch::Merge(odd)).await.unwrap();
    case.source(json!({ "k": "v" })).await;

    bed.install(|_| {}).await;
    let operator = bed.holder("loose").await;
    // The others go on, also with what comes later.
    case.until_copied(json!({ "k": "v" })).await;
    case.sync("later", json!({ "destinationName": "later" })).await;
    case.until_ready("later").await;
    case.patch(&case.src, "cm", json!({ "data": { "k": "w" } })).await;
    case.until_data(&case.dst, "later", json!({ "k": "w" })).await;
    eventually("the odd status is replaced", async || {
        let status = syncs.get("odd-status").await.unwrap().data["status"].clone();
        if status["conditions"].is_array() { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
    case.until_ready("odd-status").await;
    eventually("each is told of", async || {
        let mut wrong = Vec::new();
        for (name, _) in broken {
            if let Err(why) = told_of(&case, &operator, &syncs, name, !unwritable.contains(name)).await {
                wrong.push(format!("{name}: {why}"));
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(format!("{wrong:#?}")) }
    })
    .await;
    for (name, _) in broken {
        syncs.delete(name, &DeleteParams::default()).await.unwrap();
    }
    for (name, _) in broken {
        eventually(format!("{name} is deleted"), async || match syncs.get_opt(name).await.unwrap() {
            None => Ok(()),
            Some(left) => Err(serde_json::to_string(&left).unwrap()),
        })
        .await;
    }
}

#[tokio::test]
async fn what_the_seeds_schema_let_pass_stops_nobody_says_so_and_can_be_deleted() {
    let broken = [
        ("upper-case", json!({ "sourceNamespace": "UPPER" })),
        ("too-long", json!({ "sourceNamespace": "a".repeat(64) })),
        ("empty-name", json!({ "configMapName": "" })),
        ("onto-itself", json!({ "destinationNamespace": "SOURCE" })),
        ("policy", json!({ "conflictPolicy": "Perhaps" })),
        ("suspend", json!({ "suspend": "yes" })),
    ];
    let test = "what_the_seeds_schema_let_pass_stops_nobody_says_so_and_can_be_deleted";
    broken_ones_stop_nobody(test, "loose", &broken).await;
}

#[tokio::test]
async fn an_object_without_a_spec_stops_nobody_says_so_and_can_be_deleted() {
    let test = "an_object_without_a_spec_stops_nobody_says_so_and_can_be_deleted";
    broken_ones_stop_nobody(test, "no-spec", &[("no-spec", json!("none"))]).await;
}

#[tokio::test]
async fn what_lacks_fields_stops_nobody_says_so_and_can_be_deleted() {
    let broken = [("null", json!({ "sourceNamespace": null })), ("nothing", json!({}))];
    broken_ones_stop_nobody("what_lacks_fields_stops_nobody_says_so_and_can_be_deleted", "lacking", &broken).await;
}

/// Only a definition that somebody weakened by hand lets these in. The server refuses every write to such an object, a
/// status too, until its spec is mended; so no finalizer may be on it, and it is told of in the log and in an Event.
#[tokio::test]
async fn what_is_of_another_shape_stops_nobody_is_told_of_and_can_be_deleted() {
    let broken = [
        ("number", json!({ "configMapName": 5 })),
        ("list", json!({ "destinationNamespace": ["x"] })),
        ("spec-is-text", json!("x")),
        ("spec-is-list", json!([1])),
    ];
    broken_ones_stop_nobody("what_is_of_another_shape_stops_nobody_is_told_of_and_can_be_deleted", "shapes", &broken)
        .await;
}

/// Whether an invalid one says so on itself, in the log and in an Event.
async fn told_of(
    case: &Case<'_>,
    operator: &crate::harness::Operator,
    syncs: &Api<DynamicObject>,
    name: &str,
    writable: bool,
) -> Result<(), String> {
    let status = syncs.get(name).await.unwrap().data["status"].clone();
    let reason = if writable { "InvalidSpec" } else { "StatusFailed" };
    let stalled = status["conditions"].as_array().and_then(|conditions| {
        conditions.iter().find(|condition| condition["type"] == "Stalled" && condition["status"] == "True")
    });
    if writable && stalled.is_none_or(|stalled| stalled["reason"] != "InvalidSpec") {
        return Err(format!("not Stalled/InvalidSpec: {status}"));
    }
    let named = format!(r#""name":"{name}""#);
    let words = ["is invalid: it is skipped", if writable { "InvalidSpec" } else { "write the status" }];
    if words.iter().all(|word| operator.said(&[word, &named]).is_empty()) {
        return Err("no word in the log".to_owned());
    }
    let events = case.events(name).await;
    if !events.iter().any(|(told, _)| told == reason) {
        return Err(format!("no Event: {events:?}"));
    }
    Ok(())
}

#[tokio::test]
async fn an_invalid_sync_that_is_mended_works() {
    let Some(bed) = Bed::bare("an_invalid_sync_that_is_mended_works").await else { return };
    bed.install(relaxed).await;
    let case = Case::on(&bed, "mended").await;
    let syncs = untyped(&case);
    let object = json!({
        "apiVersion": "apps.kapendra.com/v1", "kind": "ConfigMapSync", "metadata": { "name": "s" },
        "spec": case.spec(json!({ "sourceNamespace": "UPPER" })),
    });
    syncs.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    bed.install(|_| {}).await;
    case.source(json!({ "k": "v" })).await;
    let _operator = bed.holder("mended").await;
    if takes_statuses(&bed).await {
        let why = case.until_stalled("s", "InvalidSpec").await;
        assert!(why.contains("sourceNamespace") && why.contains("UPPER"), "{why}");
    } else {
        let why = case.until_event("s", "StatusFailed").await;
        assert!(why.contains("sourceNamespace must be a namespace's name"), "{why}");
    }
    case.patch_sync("s", json!({ "spec": { "sourceNamespace": case.src } })).await;
    case.until_copied(json!({ "k": "v" })).await;
    case.until_ready("s").await;
}
