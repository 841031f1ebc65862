//! Namespaces that come and go.

use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use crate::harness::{Case, PREFIX, eventually};

#[tokio::test]
async fn a_destination_namespace_may_be_created_late() {
    let case = Case::shared("late-namespace").await;
    let late = case.name("late");
    case.source(json!({ "k": "v" })).await;
    case.sync("s", json!({ "destinationNamespace": late })).await;
    let status = case.until("s", "Ready", "False", "NotReady").await;
    assert!(status.message.contains(&format!("namespace {late} does not exist")), "{}", status.message);
    assert!(status.source_exists && !status.destination_exists);
    case.create_namespace(&late).await;
    case.until_data(&late, "cm", json!({ "k": "v" })).await;
    case.until_ready("s").await;
}

#[tokio::test]
async fn a_destination_namespace_may_be_deleted_and_created_again() {
    let case = Case::shared("again").await;
    let there = case.namespace("there").await;
    case.source(json!({ "k": "v" })).await;
    case.sync("s", json!({ "destinationNamespace": there })).await;
    case.until_ready("s").await;
    let first = case.get(&there, "cm").await.unwrap();
    case.delete_namespace(&there).await;
    let status = case.until("s", "Ready", "False", "NotReady").await;
    assert!(status.message.contains(&there), "{}", status.message);
    eventually("the status knows that the copy is gone", async || {
        let status = case.status("s").await;
        if status.destination_exists { Err(serde_json::to_string(&status).unwrap()) } else { Ok(()) }
    })
    .await;
    case.create_namespace(&there).await;
    let second = case.until_data(&there, "cm", json!({ "k": "v" })).await;
    case.until_ready("s").await;
    let at = |map: &k8s_openapi::api::core::v1::ConfigMap| {
        map.metadata.annotations.as_ref().unwrap()[&format!("{PREFIX}at")].clone()
    };
    assert_ne!(at(&first), at(&second), "it tells the namespace by its UID");
    // A change after all that reaches it as ever.
    case.patch(&case.src, "cm", json!({ "data": { "k": "w" } })).await;
    case.until_data(&there, "cm", json!({ "k": "w" })).await;
}

#[tokio::test]
async fn a_source_namespace_may_be_deleted_and_created_again() {
    let case = Case::shared("source-again").await;
    case.source(json!({ "k": "v" })).await;
    case.sync("s", json!({})).await;
    case.until_ready("s").await;
    case.delete_namespace(&case.src).await;
    case.until("s", "SourceAvailable", "False", "SourceNotFound").await;
    assert_eq!(json!(case.copy().await.data), json!({ "k": "v" }));
    case.create_namespace(&case.src).await;
    case.source(json!({ "k": "w" })).await;
    case.until_copied(json!({ "k": "w" })).await;
    case.until_ready("s").await;
}

#[tokio::test]
async fn a_terminating_destination_is_told_of_and_does_not_hold_a_sync() {
    let case = Case::shared("terminating").await;
    let going = case.namespace("going").await;
    case.source(json!({ "k": "v" })).await;
    case.sync("s", json!({ "destinationNamespace": going })).await;
    case.sync("t", json!({ "destinationNamespace": going, "destinationName": "t" })).await;
    case.until_ready("s").await;
    case.until_ready("t").await;
    // Somebody's ConfigMap holds the namespace in its end; and so does a finalizer on one of the copies.
    case.create(&going, "holds", json!({ "metadata": { "finalizers": ["example.com/hold"] } })).await;
    case.patch(&going, "t", json!({ "metadata": { "finalizers": ["example.com/hold"] } })).await;
    let namespaces = Api::<Namespace>::all(case.client.clone());
    namespaces.delete(&going, &DeleteParams::default()).await.unwrap();
    case.until_gone(&going, "cm").await;
    let status = case.until("s", "Ready", "False", "NotReady").await;
    assert!(status.message.contains("is being deleted"), "{}", status.message);
    case.until("s", "Synced", "False", "DestinationNamespaceTerminating").await;
    // A new one that wants to go there is told so, and is no failure of a request.
    case.sync("new", json!({ "destinationNamespace": going, "destinationName": "new" })).await;
    let status = case.until("new", "Synced", "False", "DestinationNamespaceTerminating").await;
    assert_eq!(status.retry_count, 0);
    for name in ["s", "new", "t"] {
        case.delete_sync(name).await;
        case.until_sync_gone(name).await;
    }
    for name in ["holds", "t"] {
        let off = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
        case.maps(&going).patch(name, &PatchParams::default(), &off).await.unwrap();
    }
    eventually("the namespace goes", async || match namespaces.get_opt(&going).await.unwrap() {
        None => Ok(()),
        Some(namespace) => Err(format!("{:?}", namespace.status)),
    })
    .await;
}

#[tokio::test]
async fn a_destination_that_is_gone_does_not_hold_a_sync() {
    let case = Case::shared("gone").await;
    let gone = case.namespace("away").await;
    case.source(json!({ "k": "v" })).await;
    case.sync("s", json!({ "destinationNamespace": gone })).await;
    case.sync(
        "orphan",
        json!({ "destinationNamespace": gone, "destinationName": "orphan", "deletionPolicy": "Orphan" }),
    )
    .await;
    case.until_ready("s").await;
    case.until_ready("orphan").await;
    case.delete_namespace(&gone).await;
    for name in ["s", "orphan"] {
        case.delete_sync(name).await;
        case.until_sync_gone(name).await;
    }
}

#[tokio::test]
async fn all_namespaces_of_a_sync_may_go_at_once() {
    let case = Case::shared("at-once").await;
    case.source(json!({ "k": "v" })).await;
    for name in ["a", "b", "c"] {
        case.sync(name, json!({ "destinationName": name })).await;
        case.until_ready(name).await;
    }
    let args = ["delete", "namespace", "--timeout=60s", &case.dst, &case.syncs, &case.src];
    case.kubectl(&args, "").await.unwrap();
}
