//! Two who want the same: syncs with one destination, and writers that never give up.

use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::harness::{Case, PREFIX, eventually, seconds};

#[tokio::test]
async fn two_syncs_with_one_destination_do_not_fight_and_the_loser_takes_over() {
    let case = Case::shared("one-place").await;
    case.source(json!({ "from": "cm" })).await;
    case.create(&case.src, "other", json!({ "data": { "from": "other" } })).await;
    case.sync("winner", json!({ "destinationName": "place" })).await;
    case.until_ready("winner").await;
    case.sync("loser", json!({ "configMapName": "other", "destinationName": "place" })).await;
    let why = case.until_stalled("loser", "DestinationConflict").await;
    assert!(why.contains(&format!("{}/winner", case.syncs)), "{why}");
    case.patch(&case.src, "other", json!({ "data": { "from": "other, changed" } })).await;
    case.stays(&case.dst, "place", seconds(1)).await;
    case.delete_sync("winner").await;
    case.until_sync_gone("winner").await;
    case.until_data(&case.dst, "place", json!({ "from": "other, changed" })).await;
    case.until_ready("loser").await;
    // The loser may give way too, and takes nothing along.
    case.sync("third", json!({ "destinationName": "place" })).await;
    case.until_stalled("third", "DestinationConflict").await;
    case.delete_sync("third").await;
    case.until_sync_gone("third").await;
    assert_eq!(json!(case.get(&case.dst, "place").await.unwrap().data), json!({ "from": "other, changed" }));
    // Or the winner moves away.
    case.sync("fourth", json!({ "destinationName": "place" })).await;
    case.until_stalled("fourth", "DestinationConflict").await;
    case.patch_sync("loser", json!({ "spec": { "destinationName": "moved" } })).await;
    case.until_data(&case.dst, "place", json!({ "from": "cm" })).await;
    case.until_data(&case.dst, "moved", json!({ "from": "other, changed" })).await;
    case.until_ready("fourth").await;
    case.until_ready("loser").await;
}

#[tokio::test]
async fn two_syncs_swap_their_destinations() {
    let case = Case::shared("swapped").await;
    for name in ["a", "b"] {
        case.create(&case.src, name, json!({ "data": { "from": name } })).await;
        case.sync(name, json!({ "configMapName": name, "destinationName": format!("place-{name}") })).await;
        case.until_ready(name).await;
    }
    for (left, right) in [("place-b", "place-a"), ("place-a", "place-b")] {
        case.patch_sync("a", json!({ "spec": { "destinationName": left } })).await;
        case.patch_sync("b", json!({ "spec": { "destinationName": right } })).await;
        case.until_data(&case.dst, left, json!({ "from": "a" })).await;
        case.until_data(&case.dst, right, json!({ "from": "b" })).await;
        case.until_ready("a").await;
        case.until_ready("b").await;
    }
    case.syncs().delete_collection(&DeleteParams::default(), &Default::default()).await.unwrap();
    for name in ["a", "b"] {
        case.until_sync_gone(name).await;
        assert!(case.get(&case.dst, &format!("place-{name}")).await.is_none());
    }
}

#[tokio::test]
async fn a_writer_that_never_gives_up_is_named() {
    let case = Case::shared("contested").await;
    case.source(json!({ "k": "v" })).await;
    case.sync("s", json!({})).await;
    case.until_ready("s").await;
    let mut n = 0;
    let why = eventually("the sync says that its copy is contested", async || {
        n += 1;
        case.patch(&case.dst, "cm", json!({ "data": { "k": format!("tampered {n}") } })).await;
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        let told = case.condition("s", "Stalled").await;
        told.filter(|stalled| stalled.reason == "Contested").map(|stalled| stalled.message).ok_or("not yet".to_owned())
    })
    .await;
    assert!(why.contains("kubectl-edit"), "{why}");
    // Left in peace, it is repaired in a while, and says so.
    case.until_copied(json!({ "k": "v" })).await;
    case.until_ready("s").await;
    assert!(case.condition("s", "Stalled").await.is_none_or(|stalled| stalled.status == "False"));
}

#[tokio::test]
async fn a_status_that_somebody_keeps_changing_is_not_fought_over_for_ever() {
    let case = Case::shared("status-war").await;
    case.source(json!({ "k": "v" })).await;
    case.sync("s", json!({})).await;
    case.until_ready("s").await;
    let mark = case.mark();
    for n in 0..40 {
        let wrong = json!({ "syncStatus": format!("Odd{n}"), "message": format!("by somebody else {n}") });
        let wrong = Patch::Merge(json!({ "status": wrong }));
        case.syncs().patch_status("s", &PatchParams::apply("somebody"), &wrong).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(150)).await;
    }
    if let Some(mark) = mark {
        let requests = case.requests(mark);
        let written = requests.get("update configmapsyncs/status").copied().unwrap_or(0);
        assert!(written <= 12, "{written} statuses were written against 40 in 6 s: {requests:?}");
    }
    // Left in peace, it tells the truth again.
    eventually("the status is ours again", async || match case.status("s").await.message {
        message if message.contains("by somebody else") => Err(message),
        _ => Ok(()),
    })
    .await;
}

#[tokio::test]
async fn a_sync_of_the_same_name_takes_over_what_an_earlier_one_left() {
    let case = Case::shared("same-name").await;
    case.source(json!({ "k": "v" })).await;
    for _ in 0..10 {
        let first = case.sync("s", json!({})).await;
        case.until_ready("s").await;
        case.delete_sync("s").await;
        // At once, which may have to wait for the first to be gone.
        let second = eventually("the name is free again", async || {
            let mut again = first.clone();
            again.metadata = kube::api::ObjectMeta { name: Some("s".to_owned()), ..Default::default() };
            again.status = None;
            case.syncs().create(&PostParams::default(), &again).await.map_err(|error| error.to_string())
        })
        .await;
        assert_ne!(first.metadata.uid, second.metadata.uid);
        case.until_ready("s").await;
        let copy = case.until_copied(json!({ "k": "v" })).await;
        assert!(copy.metadata.annotations.unwrap()[&format!("{PREFIX}sync")].ends_with(&second.metadata.uid.unwrap()));
        case.delete_sync("s").await;
        case.until_sync_gone("s").await;
        assert!(case.get(&case.dst, "cm").await.is_none());
    }
}
