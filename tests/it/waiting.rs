//! What waits, and what ends a wait: a copy that comes back, a writer that never gives up, a person who asks.

use std::time::{Duration, Instant};

use futures::TryStreamExt as _;
use k8s_openapi::api::core::v1::{ConfigMap, ResourceQuota};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::harness::{Bed, Case, PREFIX, eventually, eventually_within, seconds, stays};

// --- a copy that comes back ---------------------------------------------------------------------------------------

/// A ConfigMap as a backup keeps it: without what the API server gives it.
async fn saved(case: &Case<'_>, namespace: &str, name: &str) -> Value {
    let args = ["get", "configmap", name, "--namespace", namespace, "--output=json"];
    let mut object: Value = serde_json::from_str(&case.kubectl(&args, "").await.unwrap()).unwrap();
    for field in ["uid", "resourceVersion", "creationTimestamp", "managedFields"] {
        object["metadata"].as_object_mut().unwrap().remove(field);
    }
    object
}

/// The namespace of a copy and its sync are lost while the operator is down, and both come back from a backup.
async fn a_restored_copy(test: &str, name: &str, policy: &str) {
    let Some(bed) = Bed::own(test).await else { return };
    let case = Case::on(&bed, name).await;
    let operator = bed.holder(name).await;
    let spec = json!({ "conflictPolicy": policy });
    case.source(json!({ "k": "v" })).await;
    case.sync("s", spec.clone()).await;
    case.until_ready("s").await;
    let backup = saved(&case, &case.dst, "cm").await;
    assert!(operator.terminate().await.is_some_and(|status| status.success()));

    case.delete_sync("s").await;
    case.patch_sync("s", json!({ "metadata": { "finalizers": null } })).await;
    case.until_sync_gone("s").await;
    case.delete_namespace(&case.dst).await;
    case.create_namespace(&case.dst).await;
    case.kubectl(&["create", "-f", "-"], &backup.to_string()).await.unwrap();
    case.sync("s", spec).await;

    let _operator = bed.holder(name).await;
    case.until_ready("s").await;
    let copy = case.copy().await;
    assert_eq!(json!(copy.data), json!({ "k": "v" }));
    let annotations = copy.metadata.annotations.unwrap_or_default();
    assert!(!annotations.contains_key(&format!("{PREFIX}adopted")), "it was taken for somebody else's");
    let events = case.events("s").await;
    assert!(events.iter().all(|(reason, _)| reason != "Adopted"), "{events:?}");
    case.patch(&case.src, "cm", json!({ "data": { "k": "w" } })).await;
    case.until_copied(json!({ "k": "w" })).await;
    case.until_ready("s").await;
    case.delete_sync("s").await;
    case.until_sync_gone("s").await;
    assert!(case.get(&case.dst, "cm").await.is_none(), "a copy of ours goes with its sync");
}

#[tokio::test]
async fn a_copy_that_is_restored_with_its_namespace_is_ours_again() {
    a_restored_copy("a_copy_that_is_restored_with_its_namespace_is_ours_again", "back-fail", "Fail").await;
}

#[tokio::test]
async fn a_copy_that_is_restored_with_its_namespace_is_not_adopted() {
    a_restored_copy("a_copy_that_is_restored_with_its_namespace_is_not_adopted", "back-overwrite", "Overwrite").await;
}

#[tokio::test]
async fn a_restored_copy_that_was_changed_is_somebody_elses() {
    let Some(bed) = Bed::own("a_restored_copy_that_was_changed").await else { return };
    let case = Case::on(&bed, "back-changed").await;
    let operator = bed.holder("back-changed").await;
    case.source(json!({ "k": "v" })).await;
    case.sync("s", json!({ "conflictPolicy": "Fail" })).await;
    case.until_ready("s").await;
    let mut backup = saved(&case, &case.dst, "cm").await;
    backup["data"] = json!({ "k": "mine" });
    assert!(operator.terminate().await.is_some_and(|status| status.success()));
    case.delete_namespace(&case.dst).await;
    case.create_namespace(&case.dst).await;
    case.kubectl(&["create", "-f", "-"], &backup.to_string()).await.unwrap();
    let before = case.get(&case.dst, "cm").await;
    let _operator = bed.holder("back-changed").await;
    case.until_stalled("s", "DestinationExists").await;
    case.stays(&case.dst, "cm", seconds(1)).await;
    assert_eq!(case.get(&case.dst, "cm").await, before);
}

#[tokio::test]
async fn a_copy_of_a_copy_stays_foreign_to_the_sync_that_wants_its_place() {
    let case = Case::shared("copy-of-copy").await;
    let elsewhere = case.namespace("elsewhere").await;
    case.source(json!({ "k": "v" })).await;
    case.sync("s", json!({})).await;
    case.until_ready("s").await;
    let mut duplicate = saved(&case, &case.dst, "cm").await;
    duplicate["metadata"]["namespace"] = json!(elsewhere);
    case.kubectl(&["create", "-f", "-"], &duplicate.to_string()).await.unwrap();
    let before = case.get(&elsewhere, "cm").await;
    case.sync("t", json!({ "conflictPolicy": "Fail", "destinationNamespace": elsewhere })).await;
    case.until_stalled("t", "DestinationExists").await;
    case.stays(&elsewhere, "cm", seconds(1)).await;
    case.delete_sync("t").await;
    case.until_sync_gone("t").await;
    assert_eq!(case.get(&elsewhere, "cm").await, before);
    // The one that it was copied from may move there, and finds somebody else's as well.
    case.patch_sync("s", json!({ "spec": { "conflictPolicy": "Fail", "destinationNamespace": elsewhere } })).await;
    case.until_stalled("s", "DestinationExists").await;
    assert_eq!(case.get(&elsewhere, "cm").await, before);
}

// --- a writer that never gives up ---------------------------------------------------------------------------------

/// The field manager of the other writer.
const RIVAL: &str = "rival-controller";

/// A controller that wants the copy `dst/cm` to hold something else. It ends when this is dropped.
struct Rival(JoinHandle<()>);

impl Rival {
    fn of(case: &Case<'_>) -> Self {
        let maps = case.maps(&case.dst);
        Self(tokio::spawn(async move {
            loop {
                // A watch ends now and then.
                let _ = hold(&maps).await;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }))
    }
}

impl Drop for Rival {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Writes `k: theirs` within 300 ms of each change, as long as the watch lasts.
async fn hold(maps: &Api<ConfigMap>) -> Result<(), kube::Error> {
    let params = WatchParams::default().fields("metadata.name=cm");
    let mut changes = std::pin::pin!(maps.watch(&params, "0").await?);
    let by = PatchParams { field_manager: Some(RIVAL.to_owned()), ..PatchParams::default() };
    while let Some(event) = changes.try_next().await? {
        if let WatchEvent::Added(map) | WatchEvent::Modified(map) = event
            && map.data.unwrap_or_default().get("k").is_none_or(|k| k != "theirs")
        {
            tokio::time::sleep(Duration::from_millis(200)).await;
            maps.patch("cm", &by, &Patch::Merge(json!({ "data": { "k": "theirs" } }))).await?;
        }
    }
    Ok(())
}

/// How many updates of the copy by the operator there were since then.
fn repairs(case: &Case<'_>, since: testbed::audit::Mark) -> usize {
    case.requests(since).get("update configmaps").copied().unwrap_or(0)
}

async fn until_contested(case: &Case<'_>) {
    let told = |status: &configmapsync_operator::api::ConfigMapSyncStatus| {
        status.conditions.iter().find(|c| c.type_ == "Stalled" && c.reason == "Contested").map(|c| c.message.clone())
    };
    let message = eventually_within(seconds(60), "the sync says that its copy is contested", async || {
        let status = case.status("s").await;
        told(&status).ok_or_else(|| serde_json::to_string(&status).unwrap())
    })
    .await;
    assert!(message.contains(RIVAL), "{message}");
}

#[tokio::test]
#[ignore = "it measures, for ten minutes"]
async fn measure_ten_minutes_with_a_rival() {
    let Some(bed) = Bed::own("measure_ten_minutes_with_a_rival").await else { return };
    let case = Case::on(&bed, "rival").await;
    let _operator = bed.holder("rival").await;
    case.until_a_sync_works().await;
    let mark = case.mark().unwrap();
    let _rival = Rival::of(&case);
    for minute in 1..=10 {
        tokio::time::sleep(seconds(60)).await;
        println!("{} repairs after {minute} minutes", repairs(&case, mark));
    }
}

#[tokio::test]
async fn a_copy_that_another_controller_keeps_is_left_to_it_after_a_handful_of_repairs() {
    let Some(bed) = Bed::own("a_copy_that_another_controller_keeps").await else { return };
    let case = Case::on(&bed, "kept-by-another").await;
    let _operator = bed.holder("kept-by-another").await;
    case.until_a_sync_works().await;
    let mark = case.mark().unwrap();
    let begun = Instant::now();
    let rival = Rival::of(&case);
    until_contested(&case).await;
    tokio::time::sleep(seconds(90).saturating_sub(begun.elapsed())).await;
    let written = repairs(&case, mark);
    assert!((1..=9).contains(&written), "{written} repairs in 90 s of a copy that another controller keeps");
    until_contested(&case).await;
    stays("the status says that the copy is contested", seconds(10), async || {
        case.condition("s", "Stalled").await.map(|stalled| (stalled.status, stalled.reason))
    })
    .await;
    assert_eq!(json!(case.copy().await.data), json!({ "k": "theirs" }));

    // A change of the spec begins anew, and so does a person's request: with the rival, and without.
    for (number, change) in [
        json!({ "spec": { "conflictPolicy": "Fail" } }),
        json!({ "metadata": { "annotations": { (format!("{PREFIX}requested-at")): "1" } } }),
    ]
    .into_iter()
    .enumerate()
    {
        let mark = case.mark().unwrap();
        case.patch_sync("s", change).await;
        eventually(format!("change {number} has it repaired"), async || match repairs(&case, mark) {
            0 => Err(serde_json::to_string(&case.status("s").await).unwrap()),
            _ => Ok(()),
        })
        .await;
        until_contested(&case).await;
    }
    drop(rival);
    case.patch_sync("s", json!({ "metadata": { "annotations": { (format!("{PREFIX}requested-at")): "2" } } })).await;
    case.until_copied(json!({ "k": "v" })).await;
    case.until_ready("s").await;
}

// --- a person who asks --------------------------------------------------------------------------------------------

/// Asks for a look, as the documents say.
async fn ask(case: &Case<'_>, sync: &str, value: &str) {
    let annotation = format!("{PREFIX}requested-at={value}");
    let args = ["annotate", "--overwrite", "cms", sync, "--namespace", &case.syncs, &annotation];
    case.kubectl(&args, "").await.unwrap();
}

/// Waits until the status answers a request, and says how long that took.
#[track_caller]
fn until_answered(case: &Case<'_>, sync: &str, value: &str) -> impl Future<Output = ()> {
    eventually_within(seconds(10), format!("the status of {sync} answers {value:?}"), async move || {
        let args = ["get", "cms", sync, "--namespace", &case.syncs, "--output=json"];
        let object: Value = serde_json::from_str(&case.kubectl(&args, "").await?).map_err(|error| error.to_string())?;
        match &object["status"]["lastHandledRequest"] {
            answer if answer == value => Ok(()),
            _ => Err(object["status"].to_string()),
        }
    })
}

/// A quota for ConfigMaps in `dst` that is used up, until it is lifted. No controller counts here, so the test says it.
async fn until_the_quota_is_used_up(case: &Case<'_>) {
    let quotas = Api::<ResourceQuota>::namespaced(case.client.clone(), &case.dst);
    let quota = json!({ "metadata": { "name": "none" }, "spec": { "hard": { "count/configmaps": "0" } } });
    quotas.create(&PostParams::default(), &serde_json::from_value(quota).unwrap()).await.unwrap();
    let counted = json!({ "hard": { "count/configmaps": "0" }, "used": { "count/configmaps": "0" } });
    let counted = Patch::Merge(json!({ "status": counted }));
    quotas.patch_status("none", &PatchParams::default(), &counted).await.unwrap();
    eventually("the quota is in force", async || match room(case).await {
        Err(refusal) if refusal.contains("exceeded quota") => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

async fn lift_the_quota(case: &Case<'_>) {
    case.kubectl(&["delete", "resourcequota", "none", "--namespace", &case.dst], "").await.unwrap();
    eventually("the quota is no longer in force", async || room(case).await).await;
}

/// Whether `dst` has room for one more ConfigMap, which is not created.
async fn room(case: &Case<'_>) -> Result<(), String> {
    let probe = serde_json::from_value(json!({ "metadata": { "name": "probe" } })).unwrap();
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    case.maps(&case.dst).create(&dry, &probe).await.map(drop).map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_request_ends_the_wait_after_a_failure() {
    let case = Case::shared("asked-quota").await;
    case.source(json!({ "k": "v" })).await;
    until_the_quota_is_used_up(&case).await;
    case.sync("s", json!({})).await;
    let status = eventually("the creation fails", async || {
        let status = case.status("s").await;
        if status.sync_status == "Failed" { Ok(status) } else { Err(serde_json::to_string(&status).unwrap()) }
    })
    .await;
    assert!(status.message.contains("exceeded quota"), "{}", status.message);
    assert!(status.message.contains("tried again at"), "{}", status.message);
    lift_the_quota(&case).await;
    ask(&case, "s", "1").await;
    eventually_within(seconds(10), "the copy is there", async || {
        case.get(&case.dst, "cm").await.map(drop).ok_or_else(|| "nothing is there".to_owned())
    })
    .await;
    until_answered(&case, "s", "1").await;
    case.until_ready("s").await;
    // The same request is answered once; what is asked next is another.
    ask(&case, "s", "2").await;
    until_answered(&case, "s", "2").await;
}

#[tokio::test]
async fn a_request_ends_the_wait_after_a_failure_while_the_reason_stands() {
    let case = Case::shared("asked-again").await;
    case.source(json!({ "k": "v" })).await;
    until_the_quota_is_used_up(&case).await;
    case.sync("s", json!({})).await;
    case.until("s", "Synced", "False", "SyncFailed").await;
    ask(&case, "s", "1").await;
    until_answered(&case, "s", "1").await;
    let status = case.status("s").await;
    assert_eq!(status.sync_status, "Failed", "it was tried again, and failed again: {}", status.message);
    lift_the_quota(&case).await;
    ask(&case, "s", "2").await;
    until_answered(&case, "s", "2").await;
    case.until_ready("s").await;
}

#[tokio::test]
async fn a_request_without_a_source_is_answered() {
    let case = Case::shared("asked-source").await;
    case.sync("s", json!({})).await;
    case.until("s", "SourceAvailable", "False", "SourceNotFound").await;
    ask(&case, "s", "1").await;
    until_answered(&case, "s", "1").await;
    case.source(json!({ "k": "v" })).await;
    case.until_copied(json!({ "k": "v" })).await;
    case.until_ready("s").await;
    until_answered(&case, "s", "1").await;
}

#[tokio::test]
async fn a_request_to_a_sync_that_is_in_order_is_answered_and_writes_no_copy() {
    let case = Case::shared("asked-in-order").await;
    case.until_a_sync_works().await;
    let before = case.copy().await;
    ask(&case, "s", "1").await;
    until_answered(&case, "s", "1").await;
    case.until_ready("s").await;
    assert_eq!(case.copy().await, before);
}

#[tokio::test]
async fn a_request_to_a_sync_that_is_stalled_is_answered() {
    let case = Case::shared("asked-stalled").await;
    case.source(json!({ "k": "v" })).await;
    let before = case.create(&case.dst, "cm", json!({ "data": { "old": "x" } })).await;
    case.sync("s", json!({ "conflictPolicy": "Fail" })).await;
    case.until_stalled("s", "DestinationExists").await;
    ask(&case, "s", "1").await;
    until_answered(&case, "s", "1").await;
    case.until_stalled("s", "DestinationExists").await;
    assert_eq!(case.copy().await, before);
}
