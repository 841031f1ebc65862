//! One object, many namespaces: whose a copy is.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;

use crate::harness::{Many, PREFIX, eventually};

#[tokio::test]
async fn what_stands_there_is_left_alone_unless_told_otherwise() {
    let many = Many::shared("many-foreign").await;
    let case = &many.case;
    case.source(json!({ "k": "1" })).await;
    let (one, two) = (many.selected("one").await, many.selected("two").await);
    case.create(&one, "cm", json!({ "data": { "theirs": "x" } })).await;
    many.create("all", json!({})).await;
    let status = many.until("all", "SomeCopiesFailed", "1/2").await;
    assert_eq!((&*status.failures[0].namespace, &*status.failures[0].reason), (&*one, "DestinationExists"));
    assert!(status.conditions.iter().any(|it| it.type_ == "Stalled" && it.status == "True"));
    many.until_copy(&two, "cm", json!({ "k": "1" })).await;
    assert_eq!(json!(case.get(&one, "cm").await.unwrap().data), json!({ "theirs": "x" }));
    many.patch("all", json!({ "spec": { "conflictPolicy": "Overwrite" } })).await;
    many.until_copy(&one, "cm", json!({ "k": "1" })).await;
    many.until("all", "AllCopiesInOrder", "2/2").await;
    // What was there before stays when the object goes, without our marks.
    many.delete("all").await;
    many.until_gone("all").await;
    let left = case.get(&one, "cm").await.unwrap();
    assert!(left.metadata.annotations.unwrap_or_default().keys().all(|key| !key.starts_with(PREFIX)));
    assert!(case.get(&two, "cm").await.is_none());
}

#[tokio::test]
async fn one_rule_settles_who_owns_a_place_whatever_the_kind() {
    let many = Many::shared("many-rivals").await;
    let case = &many.case;
    case.source(json!({ "k": "1" })).await;
    many.label(&case.dst, json!("yes")).await;
    case.sync("s", json!({})).await;
    case.until_ready("s").await;
    let uid = case.copy().await.metadata.uid;
    many.create("all", json!({})).await;
    let status = many.until("all", "SomeCopiesFailed", "0/1").await;
    assert_eq!(status.failures[0].reason, "DestinationConflict");
    assert!(status.failures[0].message.contains(&format!("ConfigMapSync {}/s", case.syncs)));
    // From many to one: the copy is handed over, and does not go.
    case.delete_sync("s").await;
    case.until_sync_gone("s").await;
    many.until("all", "AllCopiesInOrder", "1/1").await;
    assert_eq!(case.copy().await.metadata.uid, uid);
    // And back.
    case.sync("t", json!({})).await;
    let message = case.until_stalled("t", "DestinationConflict").await;
    assert!(message.contains(&format!("ClusterConfigMapSync {}", case.name("all"))), "{message}");
    many.delete("all").await;
    many.until_gone("all").await;
    case.until_ready("t").await;
    assert_eq!(case.copy().await.metadata.uid, uid);
}

#[tokio::test]
async fn copies_of_an_object_that_was_let_go_by_force_are_swept() {
    let many = Many::shared("many-forced").await;
    let case = &many.case;
    case.source(json!({ "k": "1" })).await;
    let one = many.selected("one").await;
    many.create("all", json!({})).await;
    many.until("all", "AllCopiesInOrder", "1/1").await;
    // A finalizer of somebody else's holds the copy, and the status names it.
    case.patch(&one, "cm", json!({ "metadata": { "finalizers": ["example.com/held"] } })).await;
    many.delete("all").await;
    eventually("the status names the copy that is held", async || {
        let status = many.status("all").await;
        let told = status.message.contains(&format!("{one}/cm waits for a finalizer of somebody else's"));
        if told { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;
    many.patch("all", json!({ "metadata": { "finalizers": null } })).await;
    many.until_gone("all").await;
    case.patch(&one, "cm", json!({ "metadata": { "finalizers": null } })).await;
    many.until_none(&one, "cm").await;
}

#[tokio::test]
async fn with_deletion_policy_orphan_the_copies_stay_without_our_marks() {
    let many = Many::shared("many-orphan").await;
    let case = &many.case;
    case.source(json!({ "k": "1" })).await;
    let (one, two) = (many.selected("one").await, many.selected("two").await);
    many.create("all", json!({ "deletionPolicy": "Orphan" })).await;
    many.until("all", "AllCopiesInOrder", "2/2").await;
    // Somebody carried a copy elsewhere with all its marks: it holds nothing up, and stays as it is.
    let mut carried = case.get(&one, "cm").await.unwrap();
    carried.metadata = ObjectMeta {
        name: Some("carried".into()),
        labels: carried.metadata.labels,
        annotations: carried.metadata.annotations,
        ..ObjectMeta::default()
    };
    let carried = case.maps(&case.dst).create(&PostParams::default(), &carried).await.unwrap();
    many.delete("all").await;
    many.until_gone("all").await;
    for namespace in [&one, &two] {
        let copy = case.get(namespace, "cm").await.expect("it was to stay");
        let marks = [copy.metadata.labels, copy.metadata.annotations].into_iter().flatten().flatten();
        let marks: Vec<_> = marks.filter(|(name, _)| name.starts_with(PREFIX)).collect();
        assert_eq!((json!(copy.data), marks), (json!({ "k": "1" }), vec![]), "{namespace}");
    }
    let left = case.get(&case.dst, "carried").await.unwrap();
    assert_eq!(left.metadata.resource_version, carried.metadata.resource_version);
}

#[tokio::test]
async fn whoever_keeps_deleting_a_copy_is_named_and_waited_for() {
    let many = Many::shared("many-contested").await;
    let case = &many.case;
    case.source(json!({ "k": "1" })).await;
    let one = many.selected("one").await;
    many.create("all", json!({})).await;
    for _ in 0..5 {
        many.until_copy(&one, "cm", json!({ "k": "1" })).await;
        case.maps(&one).delete("cm", &DeleteParams::default()).await.unwrap();
    }
    many.until_copy(&one, "cm", json!({ "k": "1" })).await;
    case.maps(&one).delete("cm", &DeleteParams::default()).await.unwrap();
    let status = many.until("all", "SomeCopiesFailed", "0/1").await;
    assert_eq!(status.failures[0].reason, "Contested");
    many.until("all", "AllCopiesInOrder", "1/1").await;
}

/// The way from many ConfigMapSyncs to one object: no copy goes, not even for a moment.
#[tokio::test]
async fn a_hundred_syncs_are_replaced_by_one_object() {
    const SYNCS: usize = 100;
    let many = Many::shared("many-replace").await;
    let case = &many.case;
    case.source(json!({ "k": "1" })).await;
    let mut namespaces = Vec::new();
    for number in 0..SYNCS {
        namespaces.push(many.selected(&format!("n{number}")).await);
        case.sync(&format!("s{number}"), json!({ "destinationNamespace": namespaces[number] })).await;
    }
    let mut before = Vec::new();
    for (number, namespace) in namespaces.iter().enumerate() {
        case.until_ready(&format!("s{number}")).await;
        before.push(case.get(namespace, "cm").await.unwrap().metadata.uid);
    }
    many.create("all", json!({})).await;
    let none = format!("0/{SYNCS}");
    many.until("all", "SomeCopiesFailed", &none).await;
    for number in 0..SYNCS {
        case.delete_sync(&format!("s{number}")).await;
    }
    many.until("all", "AllCopiesInOrder", &format!("{SYNCS}/{SYNCS}")).await;
    for (number, (namespace, before)) in namespaces.iter().zip(&before).enumerate() {
        case.until_sync_gone(&format!("s{number}")).await;
        assert_eq!(
            case.get(namespace, "cm").await.unwrap().metadata.uid,
            *before,
            "{namespace}/cm is the one that was"
        );
    }
}
