//! Sources that come, go and change, and syncs that hang on each other.

use serde_json::json;

use crate::harness::{Case, eventually, seconds, stays};

#[tokio::test]
async fn a_source_may_be_created_late() {
    let case = Case::shared("late-source").await;
    case.sync("s", json!({})).await;
    let status = case.until("s", "SourceAvailable", "False", "SourceNotFound").await;
    assert!(!status.source_exists && !status.destination_exists);
    assert_eq!((status.retry_count, status.sync_status.as_str()), (0, "Failed"));
    case.stays(&case.dst, "cm", seconds(1)).await;
    stays("the status", seconds(1), async || case.syncs().get("s").await.unwrap()).await;
    case.source(json!({ "k": "v" })).await;
    case.until_copied(json!({ "k": "v" })).await;
    case.until_ready("s").await;
}

#[tokio::test]
async fn the_last_copy_is_kept_when_the_source_goes() {
    let case = Case::shared("keep").await;
    case.source(json!({ "k": "v" })).await;
    case.sync("s", json!({})).await;
    case.until_ready("s").await;
    let copy = case.copy().await;
    case.delete(&case.src, "cm").await;
    let status = case.until("s", "SourceAvailable", "False", "SourceNotFound").await;
    assert!(status.message.contains("the last copy is kept"), "{}", status.message);
    assert!(!status.source_exists && status.destination_exists);
    assert_eq!(case.copy().await, copy);
    // Created again with another UID, it is copied, older or not.
    case.source(json!({ "k": "again" })).await;
    case.until_copied(json!({ "k": "again" })).await;
    case.until_ready("s").await;
    // With the same content too, the status tells of the new one.
    case.delete(&case.src, "cm").await;
    let again = case.source(json!({ "k": "again" })).await.metadata.uid.unwrap();
    eventually("the status tells the new UID", async || {
        let told = case.status("s").await.source.map(|source| source.uid);
        if told.as_ref() == Some(&again) { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await;
    case.until_ready("s").await;
}

#[tokio::test]
async fn a_kept_copy_goes_with_its_sync() {
    let case = Case::shared("kept-goes").await;
    case.source(json!({ "k": "v" })).await;
    case.sync("s", json!({})).await;
    case.until_ready("s").await;
    case.delete(&case.src, "cm").await;
    case.until("s", "SourceAvailable", "False", "SourceNotFound").await;
    case.delete_sync("s").await;
    case.until_sync_gone("s").await;
    assert!(case.get(&case.dst, "cm").await.is_none());
}

#[tokio::test]

async fn a_copy_that_goes_while_there_is_no_source_is_told_of() {
    let case = Case::shared("neither").await;
    case.source(json!({ "k": "v" })).await;
    case.sync("s", json!({})).await;
    case.until_ready("s").await;
    case.delete(&case.src, "cm").await;
    case.until("s", "SourceAvailable", "False", "SourceNotFound").await;
    case.delete(&case.dst, "cm").await;
    eventually("the status knows that the copy is gone", async || {
        let status = case.status("s").await;
        if status.destination_exists { Err(serde_json::to_string(&status).unwrap()) } else { Ok(()) }
    })
    .await;
    case.source(json!({ "k": "v" })).await;
    case.until_ready("s").await;
}

#[tokio::test]
async fn with_source_missing_policy_delete_the_copy_goes_but_not_for_a_source_that_is_replaced() {
    let case = Case::shared("follow").await;
    case.create(&case.src, "cm", json!({ "data": { "k": "1" }, "immutable": false })).await;
    case.create(&case.dst, "adopted", json!({ "data": { "old": "x" } })).await;
    case.sync("s", json!({ "sourceMissingPolicy": "Delete" })).await;
    case.sync("over", json!({ "sourceMissingPolicy": "Delete", "destinationName": "adopted" })).await;
    case.until_ready("s").await;
    case.until_ready("over").await;
    let copy = case.copy().await.metadata.uid;
    // `kubectl replace --force`: the copy is changed, never deleted.
    case.delete(&case.src, "cm").await;
    tokio::time::sleep(seconds(2)).await;
    case.source(json!({ "k": "2" })).await;
    assert_eq!(case.until_copied(json!({ "k": "2" })).await.metadata.uid, copy);
    case.until_ready("s").await;

    case.delete(&case.src, "cm").await;
    case.stays(&case.dst, "cm", seconds(8)).await;
    case.until_gone(&case.dst, "cm").await;
    let status = case.until("s", "SourceAvailable", "False", "SourceNotFound").await;
    assert!(!status.destination_exists && !status.source_exists, "{status:?}");
    // What was there before us is not ours to delete.
    case.until("over", "SourceAvailable", "False", "SourceNotFound").await;
    let kept = eventually("our marks are off", async || {
        let kept = case.get(&case.dst, "adopted").await.ok_or("it is gone")?;
        let marks = kept.metadata.annotations.clone().unwrap_or_default();
        if marks.is_empty() { Ok(kept) } else { Err(format!("{marks:?}")) }
    })
    .await;
    assert_eq!(json!(kept.data), json!({ "k": "2" }));
    case.source(json!({ "k": "3" })).await;
    case.until_copied(json!({ "k": "3" })).await;
    case.until_data(&case.dst, "adopted", json!({ "k": "3" })).await;
    case.until_ready("s").await;
    case.until_ready("over").await;
}

#[tokio::test]
async fn a_label_on_a_source_changes_no_copys_content_and_makes_nothing_missing() {
    let case = Case::shared("label").await;
    case.source(json!({ "k": "v" })).await;
    case.sync("s", json!({ "sourceMissingPolicy": "Delete" })).await;
    case.until_ready("s").await;
    let (mark, copy) = (case.mark(), case.copy().await);
    let labelled = case.patch(&case.src, "cm", json!({ "metadata": { "labels": { "l": "1" } } })).await;
    eventually("the status tells of the source's new version", async || {
        let status = case.status("s").await;
        assert!(status.source_exists, "a labelled source is called missing");
        let told = status.source.as_ref().map(|source| source.resource_version.clone());
        if told == labelled.metadata.resource_version { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;
    case.until_ready("s").await;
    let after = case.copy().await;
    assert_eq!((&after.data, &after.metadata.uid), (&copy.data, &copy.metadata.uid));
    assert!(after.metadata.labels.unwrap().keys().all(|key| key != "l"), "labels are not copied");
    let Some(mark) = mark else { return };
    let requests = case.requests(mark);
    let of = |what: &str| requests.get(what).copied().unwrap_or(0);
    assert!(of("update configmaps") <= 1 && of("get configmaps") <= 2, "{requests:?}");
    assert_eq!(of("update configmapsyncs/status"), 1, "{requests:?}");
    assert_eq!(of("create configmaps") + of("delete configmaps"), 0, "{requests:?}");
}

#[tokio::test]
async fn a_copy_under_another_name_may_stand_beside_its_source() {
    let case = Case::shared("beside").await;
    case.source(json!({ "k": "v" })).await;
    case.sync("s", json!({ "destinationNamespace": case.src, "destinationName": "copy" })).await;
    case.until_data(&case.src, "copy", json!({ "k": "v" })).await;
    case.until_ready("s").await;
    case.patch(&case.src, "cm", json!({ "data": { "k": "w" } })).await;
    case.until_data(&case.src, "copy", json!({ "k": "w" })).await;
    case.until_ready("s").await;
    case.delete_sync("s").await;
    case.until_sync_gone("s").await;
    assert!(case.get(&case.src, "copy").await.is_none());
    assert!(case.get(&case.src, "cm").await.is_some());
}

#[tokio::test]
async fn a_chain_passes_a_change_on() {
    let case = Case::shared("chain").await;
    let [dev, staging, prod] =
        [case.namespace("dev").await, case.namespace("staging").await, case.namespace("prod").await];
    // The last link first: each waits for what is before it.
    for (name, from, to) in [("promote", &staging, &prod), ("stage", &dev, &staging)] {
        case.sync(name, json!({ "sourceNamespace": from, "destinationNamespace": to })).await;
    }
    case.create(&dev, "cm", json!({ "data": { "n": "0" } })).await;
    for n in ["0", "1", "2"] {
        case.patch(&dev, "cm", json!({ "data": { "n": n } })).await;
        case.until_data(&staging, "cm", json!({ "n": n })).await;
        case.until_data(&prod, "cm", json!({ "n": n })).await;
    }
    case.until_ready("stage").await;
    case.until_ready("promote").await;
    // Its middle tampered with, all is as it was in the end.
    case.patch(&staging, "cm", json!({ "data": { "n": "tampered" } })).await;
    case.until_data(&staging, "cm", json!({ "n": "2" })).await;
    case.until_ready("stage").await;
    case.until_data(&prod, "cm", json!({ "n": "2" })).await;
    case.until_ready("promote").await;
}

#[tokio::test]
async fn a_ring_of_three_is_named_and_writes_nothing_until_it_is_broken() {
    let case = Case::shared("ring").await;
    let places = [case.namespace("a").await, case.namespace("b").await, case.namespace("c").await];
    case.create(&places[0], "cm", json!({ "data": { "k": "v" } })).await;
    let mark = case.mark();
    // One ConfigMap only, and the ring is closed before anything has been copied: none of them may write.
    for (name, from, to) in [("c-a", 2, 0), ("a-b", 0, 1), ("b-c", 1, 2)] {
        case.sync(
            name,
            json!({ "sourceNamespace": places[from], "destinationNamespace": places[to], "suspend": true }),
        )
        .await;
    }
    for name in ["c-a", "a-b", "b-c"] {
        case.patch_sync(name, json!({ "spec": { "suspend": null } })).await;
    }
    for name in ["c-a", "a-b", "b-c"] {
        let why = case.until_stalled(name, "SyncCycle").await;
        for place in &places {
            assert!(why.contains(&format!("{place}/cm")), "{why}");
        }
    }
    case.patch(&places[0], "cm", json!({ "data": { "k": "w" } })).await;
    case.stays(&places[1], "cm", seconds(2)).await;
    assert!(case.get(&places[1], "cm").await.is_none() && case.get(&places[2], "cm").await.is_none());
    if let Some(mark) = mark {
        let requests = case.requests(mark);
        assert!(requests.keys().all(|what| !what.ends_with("configmaps") || what.starts_with("get")), "{requests:?}");
    }
    case.delete_sync("c-a").await;
    case.until_sync_gone("c-a").await;
    for (name, place) in [("a-b", &places[1]), ("b-c", &places[2])] {
        case.until_data(place, "cm", json!({ "k": "w" })).await;
        case.until_ready(name).await;
    }
    // Closed again, it stops again, and what was copied stays.
    case.sync("c-a", json!({ "sourceNamespace": places[2], "destinationNamespace": places[0] })).await;
    for name in ["c-a", "a-b", "b-c"] {
        case.until_stalled(name, "SyncCycle").await;
    }
    for place in &places {
        assert_eq!(json!(case.get(place, "cm").await.unwrap().data), json!({ "k": "w" }));
    }
}
