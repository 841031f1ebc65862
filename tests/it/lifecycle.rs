//! The life of a sync: suspended, moved, deleted, and found again after a restart.

use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::harness::{Bed, Case, FINALIZER, PREFIX, eventually, seconds, stays};

#[tokio::test]
async fn while_suspended_everything_is_left_as_it_is() {
    let case = Case::shared("suspend").await;
    case.source(json!({ "k": "1" })).await;
    case.sync("s", json!({ "suspend": true })).await;
    case.stays(&case.dst, "cm", seconds(1)).await;
    assert!(case.get(&case.dst, "cm").await.is_none());
    case.patch_sync("s", json!({ "spec": { "suspend": false } })).await;
    case.until_copied(json!({ "k": "1" })).await;
    case.until_ready("s").await;
    case.patch_sync("s", json!({ "spec": { "suspend": true } })).await;
    tokio::time::sleep(seconds(1)).await;
    case.patch(&case.src, "cm", json!({ "data": { "k": "2" } })).await;
    case.patch(&case.dst, "cm", json!({ "data": { "k": "by hand" } })).await;
    case.stays(&case.dst, "cm", seconds(2)).await;
    assert_eq!(json!(case.copy().await.data), json!({ "k": "by hand" }));
    case.patch_sync("s", json!({ "spec": { "suspend": null } })).await;
    case.until_copied(json!({ "k": "2" })).await;
    case.until_ready("s").await;
    // Suspended, it can be deleted still, and its copy goes.
    case.patch_sync("s", json!({ "spec": { "suspend": true } })).await;
    case.delete_sync("s").await;
    case.until_sync_gone("s").await;
    assert!(case.get(&case.dst, "cm").await.is_none());
}

#[tokio::test]
async fn the_copy_goes_with_its_sync_and_the_sync_waits_for_that() {
    let case = Case::shared("deleted").await;
    case.source(json!({ "k": "v" })).await;
    let sync = case.sync("s", json!({})).await;
    assert_eq!(sync.metadata.finalizers, None);
    case.until_ready("s").await;
    let finalizers = case.syncs().get("s").await.unwrap().metadata.finalizers;
    assert_eq!(finalizers, Some(vec![FINALIZER.to_owned()]));
    case.delete_sync("s").await;
    case.until_sync_gone("s").await;
    assert!(case.get(&case.dst, "cm").await.is_none());
    assert!(case.get(&case.src, "cm").await.is_some());
    // One that never got anywhere goes too.
    for (name, more) in
        [("no-source", json!({ "configMapName": "none" })), ("nowhere", json!({ "destinationNamespace": "none" }))]
    {
        case.sync(name, more).await;
        tokio::time::sleep(seconds(1)).await;
        case.delete_sync(name).await;
        case.until_sync_gone(name).await;
    }
}

#[tokio::test]
async fn with_deletion_policy_orphan_the_copy_stays_without_our_marks() {
    let case = Case::shared("orphan").await;
    case.source(json!({ "k": "v" })).await;
    case.sync("s", json!({ "deletionPolicy": "Orphan" })).await;
    case.until_ready("s").await;
    case.patch(&case.dst, "cm", json!({ "metadata": { "labels": { "team": "blue" } } })).await;
    let uid = case.copy().await.metadata.uid;
    case.until_ready("s").await;
    case.delete_sync("s").await;
    case.until_sync_gone("s").await;
    let copy = case.copy().await;
    assert_eq!((json!(copy.data), copy.metadata.uid), (json!({ "k": "v" }), uid));
    assert_eq!(json!(copy.metadata.labels), json!({ "team": "blue" }));
    assert_eq!(copy.metadata.annotations.unwrap_or_default().len(), 0);
    case.stays(&case.dst, "cm", seconds(1)).await;
    // An immutable copy too: its labels may be changed, though not its data.
    case.create(&case.src, "fixed", json!({ "data": { "k": "v" }, "immutable": true })).await;
    case.sync("t", json!({ "deletionPolicy": "Orphan", "configMapName": "fixed" })).await;
    case.until_ready("t").await;
    case.delete_sync("t").await;
    case.until_sync_gone("t").await;
    let copy = case.get(&case.dst, "fixed").await.unwrap();
    assert_eq!(copy.metadata.annotations.unwrap_or_default().len(), 0);
}

#[tokio::test]
async fn a_moved_destination_gets_the_new_copy_first_and_then_loses_the_old_one() {
    let case = Case::shared("moved").await;
    let other = case.namespace("other").await;
    case.source(json!({ "k": "v" })).await;
    case.create(&case.dst, "adopted", json!({ "data": { "old": "x" } })).await;
    case.sync("s", json!({})).await;
    case.until_ready("s").await;
    let moves = [
        (json!({ "destinationName": "renamed" }), (&case.dst, "cm"), (&case.dst, "renamed")),
        (json!({ "destinationNamespace": other }), (&case.dst, "renamed"), (&other, "renamed")),
        (json!({ "destinationNamespace": case.dst, "destinationName": null }), (&other, "renamed"), (&case.dst, "cm")),
    ];
    for (change, from, to) in moves {
        case.patch_sync("s", json!({ "spec": change })).await;
        eventually(format!("{from:?} goes once {to:?} is there"), async || {
            // The old one first: had it gone before the new one came, there would be a moment with neither.
            let old = case.get(from.0, from.1).await;
            let new = case.get(to.0, to.1).await;
            assert!(old.is_some() || new.is_some(), "neither is there");
            if old.is_none() && new.is_some() { Ok(()) } else { Err(format!("{}, {}", old.is_some(), new.is_some())) }
        })
        .await;
        case.until_data(to.0, to.1, json!({ "k": "v" })).await;
        case.until_ready("s").await;
    }
    // What it took over on the way stays where it is.
    case.patch_sync("s", json!({ "spec": { "destinationName": "adopted" } })).await;
    case.until_gone(&case.dst, "cm").await;
    case.patch_sync("s", json!({ "spec": { "destinationName": "last" } })).await;
    case.until_ready("s").await;
    let kept = eventually("the marks are off", async || {
        let kept = case.get(&case.dst, "adopted").await.unwrap();
        if kept.metadata.annotations.is_none() { Ok(kept) } else { Err(format!("{:?}", kept.metadata)) }
    })
    .await;
    assert_eq!(json!(kept.data), json!({ "k": "v" }));
    // And a copy that moves with Orphan is left behind.
    case.patch_sync("s", json!({ "spec": { "deletionPolicy": "Orphan" } })).await;
    case.until_ready("s").await;
    case.patch_sync("s", json!({ "spec": { "destinationName": "cm" } })).await;
    case.until_ready("s").await;
    eventually("the marks are off", async || match case.get(&case.dst, "last").await.unwrap().metadata.annotations {
        None => Ok(()),
        marks => Err(format!("{marks:?}")),
    })
    .await;
}

#[tokio::test]
async fn another_source_is_copied_to_the_same_place() {
    let case = Case::shared("other-source").await;
    // The new source is older than the old one: its version is lower.
    case.create(&case.src, "older", json!({ "data": { "from": "older" } })).await;
    case.source(json!({ "from": "cm" })).await;
    case.sync("s", json!({ "destinationName": "place" })).await;
    case.until_data(&case.dst, "place", json!({ "from": "cm" })).await;
    case.until_ready("s").await;
    case.patch_sync("s", json!({ "spec": { "configMapName": "older" } })).await;
    case.until_data(&case.dst, "place", json!({ "from": "older" })).await;
    case.until_ready("s").await;
    case.patch(&case.src, "cm", json!({ "data": { "from": "cm, changed" } })).await;
    case.stays(&case.dst, "place", seconds(1)).await;
    case.patch_sync("s", json!({ "spec": { "configMapName": "cm" } })).await;
    case.until_data(&case.dst, "place", json!({ "from": "cm, changed" })).await;
    case.until_ready("s").await;
}

#[tokio::test]
async fn a_copy_that_somebody_holds_is_waited_for() {
    let case = Case::shared("held").await;
    case.source(json!({ "k": "v" })).await;
    case.sync("s", json!({})).await;
    case.until_ready("s").await;
    case.patch(&case.dst, "cm", json!({ "metadata": { "finalizers": ["example.com/hold"] } })).await;
    case.until_ready("s").await;
    case.delete_sync("s").await;
    let status = case.until("s", "Synced", "False", "CopyHeld").await;
    assert!(status.message.contains(&format!("{}/cm", case.dst)), "{}", status.message);
    assert_eq!(status.sync_status, "InProgress");
    stays("the sync", seconds(1), async || case.syncs().get_opt("s").await.unwrap().is_some()).await;
    case.patch(&case.dst, "cm", json!({ "metadata": { "finalizers": null } })).await;
    case.until_gone(&case.dst, "cm").await;
    case.until_sync_gone("s").await;
}

#[tokio::test]
async fn a_copy_that_is_deleted_by_hand_while_held_is_made_anew_when_it_goes() {
    let case = Case::shared("held-by-hand").await;
    case.source(json!({ "k": "v" })).await;
    case.sync("s", json!({})).await;
    case.until_ready("s").await;
    case.patch(&case.dst, "cm", json!({ "metadata": { "finalizers": ["example.com/hold"] } })).await;
    case.until_ready("s").await;
    case.delete(&case.dst, "cm").await;
    case.patch(&case.src, "cm", json!({ "data": { "k": "w" } })).await;
    tokio::time::sleep(seconds(1)).await;
    case.patch(&case.dst, "cm", json!({ "metadata": { "finalizers": null } })).await;
    case.until_copied(json!({ "k": "w" })).await;
    case.until_ready("s").await;
    assert_eq!(case.copy().await.metadata.deletion_timestamp, None);
}

#[tokio::test]
async fn finalizers_of_others_on_a_sync_stay() {
    let case = Case::shared("others-finalizer").await;
    case.source(json!({ "k": "v" })).await;
    case.sync("s", json!({})).await;
    case.patch_sync("s", json!({ "metadata": { "finalizers": ["example.com/theirs", FINALIZER] } })).await;
    case.until_ready("s").await;
    case.delete_sync("s").await;
    case.until_gone(&case.dst, "cm").await;
    eventually("only theirs is left", async || {
        let left = case.syncs().get("s").await.unwrap().metadata.finalizers.unwrap_or_default();
        if left == ["example.com/theirs"] { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
    case.patch_sync("s", json!({ "metadata": { "finalizers": null } })).await;
    case.until_sync_gone("s").await;
}

#[tokio::test]
async fn a_sync_torn_away_from_its_finalizer_takes_its_copy_along() {
    let case = Case::shared("torn-away").await;
    case.source(json!({ "k": "v" })).await;
    case.sync("s", json!({})).await;
    case.until_ready("s").await;
    // In one request, so that the operator sees it go without having been asked.
    case.delete_sync("s").await;
    let off = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
    let _ = case.syncs().patch("s", &PatchParams::default(), &off).await;
    case.until_sync_gone("s").await;
    case.until_gone(&case.dst, "cm").await;
}

#[tokio::test]
async fn what_happened_while_no_operator_ran_is_made_good_and_nothing_else_is_touched() {
    let Some(bed) = Bed::own("what_happened_while_no_operator_ran_is_made_good_and_nothing_else_is_touched").await
    else {
        return;
    };
    let case = Case::on(&bed, "restart").await;
    let operator = bed.holder("before").await;
    for name in ["quiet", "key-gone", "copy-gone", "source-changed", "sync-gone", "source-gone", "marks-gone"] {
        case.create(&case.src, name, json!({ "data": { "a": "1", "b": "2" } })).await;
        case.sync(name, json!({ "configMapName": name })).await;
        case.until_ready(name).await;
    }
    case.sync("waiting", json!({ "configMapName": "nothing" })).await;
    case.until("waiting", "SourceAvailable", "False", "SourceNotFound").await;
    assert!(operator.terminate().await.is_some_and(|status| status.success()));

    let mark = case.mark().unwrap();
    let operator = bed.holder("restarted").await;
    tokio::time::sleep(seconds(2)).await;
    let requests = case.requests(mark);
    assert!(requests.is_empty(), "a restart with everything in order: {requests:?}");
    operator.kill();

    case.patch(&case.dst, "key-gone", json!({ "data": { "b": null } })).await;
    case.delete(&case.dst, "copy-gone").await;
    case.patch(&case.src, "source-changed", json!({ "data": { "a": "changed" } })).await;
    case.delete_sync("sync-gone").await;
    case.delete(&case.src, "source-gone").await;
    let unmarked = json!({ "metadata": { "annotations": null, "labels": null }, "data": { "a": "wrong" } });
    case.patch(&case.dst, "marks-gone", unmarked).await;
    let (quiet, sync) = (case.get(&case.dst, "quiet").await, case.syncs().get("quiet").await.unwrap());
    let _operator = bed.holder("after").await;
    for name in ["key-gone", "copy-gone", "marks-gone"] {
        case.until_data(&case.dst, name, json!({ "a": "1", "b": "2" })).await;
        case.until_ready(name).await;
    }
    case.until_data(&case.dst, "source-changed", json!({ "a": "changed", "b": "2" })).await;
    case.until_ready("source-changed").await;
    case.until_sync_gone("sync-gone").await;
    case.until_gone(&case.dst, "sync-gone").await;
    let status = case.until("source-gone", "SourceAvailable", "False", "SourceNotFound").await;
    assert!(status.destination_exists && !status.source_exists);
    assert_eq!((case.get(&case.dst, "quiet").await, case.syncs().get("quiet").await.unwrap()), (quiet, sync));
}

#[tokio::test]
async fn two_hundred_syncs_go_with_their_namespace_and_take_their_copies_along() {
    let case = Case::shared("two-hundred").await;
    case.source(json!({ "k": "v" })).await;
    let names: Vec<String> = (0..200).map(|n| format!("s{n}")).collect();
    futures::future::join_all(names.iter().map(|name| case.sync(name, json!({ "destinationName": name })))).await;
    let count = async || {
        let list = case.maps(&case.dst).list_metadata(&Default::default()).await.unwrap();
        list.items
            .into_iter()
            .filter(|map| {
                map.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(&format!("{PREFIX}sync-name")))
            })
            .count()
    };
    eventually("200 copies", async || match count().await {
        200 => Ok(()),
        n => Err(n.to_string()),
    })
    .await;
    case.kubectl(&["delete", "namespace", &case.syncs, "--timeout=60s"], "").await.unwrap();
    eventually("no copy is left", async || match count().await {
        0 => Ok(()),
        n => Err(n.to_string()),
    })
    .await;
    assert!(case.get(&case.src, "cm").await.is_some());
    let left = case.maps(&case.dst).list(&Default::default()).await.unwrap().items.len();
    assert_eq!(left, 1, "only kube-root-ca.crt is left");
}
