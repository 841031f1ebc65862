//! The shipped roles are just what the operator needs: what it lacks fails whichever test needs it (see [`Case`]), and
//! what it has and never uses fails here.

use std::collections::BTreeSet;

use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::harness::{Bed, Case, eventually, rights};

/// What the shipped roles grant, as `group/resource verb`.
fn granted() -> BTreeSet<String> {
    let roles = serde_yaml_ng::Deserializer::from_str(include_str!("../../deploy/base/rbac.yaml"));
    let mut granted = BTreeSet::new();
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    for role in roles.map(|role| Value::deserialize(role).unwrap()) {
        for rule in role["rules"].as_array().unwrap_or(&Vec::new()) {
            for group in texts(&rule["apiGroups"]) {
                for resource in texts(&rule["resources"]) {
                    granted.extend(texts(&rule["verbs"]).iter().map(|verb| format!("{group}/{resource} {verb}")));
                }
            }
        }
    }
    granted
}

#[tokio::test]
async fn every_verb_that_is_granted_is_used() {
    let Some(bed) = Bed::own("every_verb_that_is_granted_is_used").await else { return };
    let case = Case::on(&bed, "rights").await;
    let shipped = ["--author-policy=Deny"];
    let first = bed.operator_with("first", &shipped).await;
    bed.until_all_shards_are_held().await;
    let _second = bed.operator_with("second", &shipped).await;
    case.source(json!({ "k": "1" })).await;
    case.sync("s", json!({})).await;
    case.until_ready("s").await;
    for round in 0..2 {
        case.patch(&case.dst, "cm", json!({ "data": { "k": format!("by hand {round}") } })).await; // the same Event, twice
        case.until_copied(json!({ "k": "1" })).await;
        case.until_ready("s").await;
    }
    // A copy whose sync was let go by force is swept. Mostly at once: a finalizer that is put back first spoils it.
    for round in 0.. {
        case.patch_sync("s", json!({ "metadata": { "finalizers": null } })).await;
        case.delete_sync("s").await;
        case.until_gone(&case.dst, "cm").await;
        if rights::used(bed.cluster()).contains("apps.kapendra.com/configmapsyncs get") {
            break;
        }
        assert!(round < 20, "nothing is ever swept");
        case.sync("s", json!({})).await;
        case.until_ready("s").await;
    }
    // The same of one of many copies.
    let object = json!({
        "apiVersion": "apps.kapendra.com/v1alpha1", "kind": "ClusterConfigMapSync", "metadata": { "name": "rights" },
        "spec": { "sourceNamespace": case.src, "configMapName": "cm", "namespaces": [case.dst] },
    });
    case.kubectl(&["apply", "-f", "-"], &object.to_string()).await.unwrap();
    let ready = ["wait", "--for=condition=Ready", "--timeout=60s", "clusterconfigmapsync/rights"];
    case.kubectl(&ready, "").await.unwrap();
    let marks = case.copy().await.metadata.annotations;
    case.kubectl(&["delete", "clusterconfigmapsync/rights"], "").await.unwrap();
    case.until_gone(&case.dst, "cm").await;
    // A copy that a late write brings back.
    case.create(&case.dst, "cm", json!({ "metadata": { "annotations": marks } })).await;
    case.until_gone(&case.dst, "cm").await;
    // A destination that is not there, by the word of the API server.
    let nowhere = case.name("nowhere");
    case.sync("nowhere", json!({ "destinationNamespace": nowhere })).await;
    eventually("the status tells of the namespace", async || {
        let message = case.status("nowhere").await.message;
        if message.contains(&nowhere) { Ok(()) } else { Err(message) }
    })
    .await;
    // The Lease of a session that is over is swept by the leader, if that is not the one that went.
    assert!(first.terminate().await.is_some_and(|status| status.success()));
    eventually("all that is granted is used", async || {
        let used = rights::used(bed.cluster());
        let unused: Vec<String> = granted().into_iter().filter(|right| !used.contains(right)).collect();
        if unused.is_empty() { Ok(()) } else { Err(format!("these are not: {unused:?}")) }
    })
    .await;
}
