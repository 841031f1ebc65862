//! One object, a copy in each of many namespaces.

use kube::api::DeleteParams;
use serde_json::json;

use crate::harness::{Bed, Case, FINALIZER, Many, PREFIX, eventually, seconds, stays};

#[tokio::test]
async fn one_object_feeds_every_namespace_that_matches() {
    let many = Many::shared("many").await;
    let case = &many.case;
    case.source(json!({ "k": "1" })).await;
    let (one, two) = (many.selected("one").await, many.selected("two").await);
    many.create("all", json!({})).await;
    let copy = many.until_copy(&one, "cm", json!({ "k": "1" })).await;
    many.until_copy(&two, "cm", json!({ "k": "1" })).await;
    let status = many.until("all", "AllCopiesInOrder", "2/2").await;
    assert_eq!(serde_json::to_value(status.namespaces).unwrap()["selected"], 2);
    // Its marks name the object, without a namespace: it cannot be taken for a ConfigMapSync.
    let object = many.api().get(&case.name("all")).await.unwrap();
    assert_eq!(object.metadata.finalizers, Some(vec![FINALIZER.to_owned()]));
    let annotations = copy.metadata.annotations.unwrap();
    let mark = format!("/{}/{}", case.name("all"), object.metadata.uid.unwrap());
    assert_eq!(annotations[&format!("{PREFIX}sync")], mark);
    let labels = copy.metadata.labels.unwrap();
    assert_eq!(labels[&format!("{PREFIX}cluster-sync-name")], case.name("all"));
    assert!(!labels.contains_key(&format!("{PREFIX}sync-name")));
    assert!(case.get(&case.dst, "cm").await.is_none(), "it is not selected");

    case.patch(&case.src, "cm", json!({ "data": { "k": "2" } })).await;
    many.until_copy(&one, "cm", json!({ "k": "2" })).await;
    many.until_copy(&two, "cm", json!({ "k": "2" })).await;
    let changed = many.until("all", "AllCopiesInOrder", "2/2").await;
    eventually("the status names the new version", async || {
        let now = many.status("all").await.source;
        if now != status.source { Ok(()) } else { Err(format!("{now:?}")) }
    })
    .await;
    assert_eq!(changed.failures, []);

    // A namespace that comes, one that is labelled, one that comes again.
    let three = many.selected("three").await;
    many.until_copy(&three, "cm", json!({ "k": "2" })).await;
    many.label(&case.dst, json!("yes")).await;
    many.until_copy(&case.dst, "cm", json!({ "k": "2" })).await;
    many.until("all", "AllCopiesInOrder", "4/4").await;
    case.delete_namespace(&three).await;
    many.until("all", "AllCopiesInOrder", "3/3").await;
    many.selected("three").await;
    many.until_copy(&three, "cm", json!({ "k": "2" })).await;
    many.until("all", "AllCopiesInOrder", "4/4").await;

    // What is done to a copy is undone.
    case.patch(&one, "cm", json!({ "data": { "k": "by hand" } })).await;
    many.until_copy(&one, "cm", json!({ "k": "2" })).await;
    case.maps(&two).delete("cm", &DeleteParams::default()).await.unwrap();
    many.until_copy(&two, "cm", json!({ "k": "2" })).await;

    many.delete("all").await;
    many.until_gone("all").await;
    for namespace in [&one, &two, &three, &case.dst] {
        assert!(case.get(namespace, "cm").await.is_none(), "{namespace}");
    }
    assert!(case.get(&case.src, "cm").await.is_some());
}

#[tokio::test]
async fn at_rest_nothing_is_written() {
    let many = Many::shared("many-rest").await;
    let case = &many.case;
    case.source(json!({ "k": "1" })).await;
    let one = many.selected("one").await;
    many.create("all", json!({})).await;
    many.until("all", "AllCopiesInOrder", "1/1").await;
    let before = many.api().get(&case.name("all")).await.unwrap().metadata.resource_version;
    case.stays(&one, "cm", seconds(3)).await;
    stays("the object", seconds(3), async || {
        many.api().get(&case.name("all")).await.unwrap().metadata.resource_version
    })
    .await;
    let after = many.api().get(&case.name("all")).await.unwrap().metadata.resource_version;
    assert_eq!(before, after);
    // A label of the source changes nothing that is copied.
    case.patch(&case.src, "cm", json!({ "metadata": { "labels": { "team": "blue" } } })).await;
    case.stays(&one, "cm", seconds(2)).await;
}

#[tokio::test]
async fn a_label_taken_off_takes_the_copy_along_after_a_while() {
    let many = Many::shared("many-unlabelled").await;
    let case = &many.case;
    case.source(json!({ "k": "1" })).await;
    let (one, two) = (many.selected("one").await, many.selected("two").await);
    many.create("all", json!({})).await;
    many.until("all", "AllCopiesInOrder", "2/2").await;
    many.label(&one, json!(null)).await;
    case.stays(&one, "cm", seconds(3)).await;
    many.label(&one, json!("yes")).await;
    case.stays(&one, "cm", seconds(8)).await;
    many.label(&one, json!(null)).await;
    many.until_none(&one, "cm").await;
    many.until("all", "AllCopiesInOrder", "1/1").await;
    assert!(case.get(&two, "cm").await.is_some());
}

#[tokio::test]
async fn an_edit_that_selects_nothing_removes_nothing() {
    let many = Many::shared("many-emptied").await;
    let case = &many.case;
    case.source(json!({ "k": "1" })).await;
    let one = many.selected("one").await;
    many.create("all", json!({})).await;
    many.until("all", "AllCopiesInOrder", "1/1").await;
    many.patch("all", json!({ "spec": { "namespaceSelector": { "matchLabels": { "no": "such" } } } })).await;
    let status = many.until("all", "SelectionEmptied", "0/0").await;
    assert!(
        status.message.contains("1 copy stands") && status.message.contains("mend the selection"),
        "{}",
        status.message
    );
    case.stays(&one, "cm", seconds(12)).await;
    many.delete("all").await;
    many.until_gone("all").await;
    assert!(case.get(&one, "cm").await.is_none());
}

#[tokio::test]
async fn namespaces_are_named_excluded_and_the_sources_own_is_left_out() {
    let many = Many::shared("many-named").await;
    let case = &many.case;
    case.source(json!({ "k": "1" })).await;
    let (later, excluded) = (case.name("later"), many.selected("x-sandbox").await);
    let names = json!({ "namespaceSelector": null, "namespaces": [case.dst, later, excluded, case.src],
        "excludeNamespaces": ["*-sandbox"] });
    many.create("named", names).await;
    let status = many.until("named", "AllCopiesInOrder", "1/1").await;
    assert_eq!(status.namespaces.unwrap().excluded, 1);
    case.create_namespace(&later).await;
    many.until_copy(&later, "cm", json!({ "k": "1" })).await;
    many.until("named", "AllCopiesInOrder", "2/2").await;
    assert!(case.get(&excluded, "cm").await.is_none());
    // Under another name the source's own namespace gets one too; the new place first, then the old copies go.
    many.patch("named", json!({ "spec": { "destinationName": "other" } })).await;
    many.until_copy(&case.src, "other", json!({ "k": "1" })).await;
    many.until_none(&later, "cm").await;
    many.until("named", "AllCopiesInOrder", "3/3").await;
    assert!(case.get(&case.src, "cm").await.is_some());
}

#[tokio::test]
async fn a_missing_source_keeps_the_copies_or_takes_them_along() {
    let many = Many::shared("many-missing").await;
    let case = &many.case;
    let one = many.selected("one").await;
    many.create("all", json!({})).await;
    many.until("all", "SourceNotFound", "0/1").await;
    case.source(json!({ "k": "1" })).await;
    many.until_copy(&one, "cm", json!({ "k": "1" })).await;
    many.until("all", "AllCopiesInOrder", "1/1").await;
    case.maps(&case.src).delete("cm", &DeleteParams::default()).await.unwrap();
    let status = many.until("all", "SourceNotFound", "1/1").await;
    assert!(status.message.contains("the last copies are kept"), "{}", status.message);
    case.stays(&one, "cm", seconds(2)).await;
    case.source(json!({ "k": "2" })).await;
    many.until_copy(&one, "cm", json!({ "k": "2" })).await;
    many.until("all", "AllCopiesInOrder", "1/1").await;
    many.patch("all", json!({ "spec": { "sourceMissingPolicy": "Delete" } })).await;
    case.maps(&case.src).delete("cm", &DeleteParams::default()).await.unwrap();
    many.until_none(&one, "cm").await;
}

#[tokio::test]
async fn an_object_that_is_too_large_in_all_writes_nothing() {
    let Some(bed) = Bed::own("many-large").await else { return };
    let many = Many::on(Case::on(&bed, "many-large").await, "many-large");
    let case = &many.case;
    let _operator = bed.operator_with("a", &["--max-fanout-bytes=5000"]).await;
    case.source(json!({ "k": "x".repeat(2_000) })).await;
    let (one, two) = (many.selected("one").await, many.selected("two").await);
    many.create("all", json!({})).await;
    many.until("all", "AllCopiesInOrder", "2/2").await;
    many.selected("three").await;
    let status = many.until("all", "TooLarge", "2/3").await;
    assert!(status.message.contains("--max-fanout-bytes"), "{}", status.message);
    case.patch(&case.src, "cm", json!({ "data": { "k": "small" } })).await;
    many.until("all", "AllCopiesInOrder", "3/3").await;
    for namespace in [&one, &two] {
        many.until_copy(namespace, "cm", json!({ "k": "small" })).await;
    }
}

/// One of the places is where the object's own source is copied from.
#[tokio::test]
async fn a_place_upstream_of_its_own_source_is_refused_and_the_others_are_served() {
    let many = Many::shared("many-upstream").await;
    let case = &many.case;
    let (one, up) = (many.selected("one").await, many.selected("up").await);
    let first = case.create(&up, "first", json!({ "data": { "k": "1" } })).await;
    let spec = json!({
        "sourceNamespace": up, "configMapName": "first", "destinationNamespace": case.src, "destinationName": "cm",
    });
    case.sync("s", spec).await;
    case.until_ready("s").await;
    many.create("all", json!({ "destinationName": "first", "conflictPolicy": "Overwrite" })).await;
    many.until_copy(&one, "first", json!({ "k": "1" })).await;
    let status = many.until("all", "SomeCopiesFailed", "1/2").await;
    assert_eq!((&*status.failures[0].namespace, &*status.failures[0].reason), (&*up, "SyncCycle"));
    // A change passes through both, and nothing is written where it came from.
    case.patch(&up, "first", json!({ "data": { "k": "2" } })).await;
    many.until_copy(&one, "first", json!({ "k": "2" })).await;
    many.until("all", "SomeCopiesFailed", "1/2").await;
    let still = case.get(&up, "first").await.unwrap();
    assert_eq!((still.metadata.uid, still.metadata.labels), (first.metadata.uid, None), "it is nobody's copy");
}
