//! What the operator needs is away, missing or refuses: it lives on, says so, and goes on by itself.

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use serde_json::json;
use testbed::Component;
use testbed::audit::Mark;

use crate::harness::{Bed, Case, Operator, eventually, seconds};

// --- the API server is away --------------------------------------------------------------------------------------

const COPIES: usize = 100;

/// How many copies hold this.
async fn copies_with(case: &Case<'_>, value: &str) -> Result<usize, String> {
    let list = case.maps(&case.dst).list(&ListParams::default()).await.map_err(|error| error.to_string())?;
    let holds = |map: &&ConfigMap| map.data.as_ref().and_then(|data| data.get("k")).is_some_and(|k| k == value);
    Ok(list.items.iter().filter(holds).count())
}

/// 100 copies of one source, and `fault` in the middle of their being written anew.
async fn in_the_middle_of_a_fan_out(bed: &Bed, fault: impl AsyncFnOnce(&Operator)) {
    let case = Case::on(bed, "fan-out").await;
    case.source(json!({ "k": "1" })).await;
    // Slow enough to be caught in the middle.
    let operator = bed.operator_with("fan-out", &["--write-qps=40"]).await;
    bed.until_all_shards_are_held().await;
    let names: Vec<String> = (0..COPIES).map(|number| format!("s{number}")).collect();
    for chunk in names.chunks(16) {
        futures::future::join_all(chunk.iter().map(|name| case.sync(name, json!({ "destinationName": name })))).await;
    }
    for name in &names {
        case.until_ready(name).await;
    }
    case.patch(&case.src, "cm", json!({ "data": { "k": "2" } })).await;
    let written = eventually("the first copies are written", async || match copies_with(&case, "2").await? {
        0 => Err("none is".to_owned()),
        written => Ok(written),
    })
    .await;
    assert!(written < COPIES / 2, "{written} copies are written: that is not the middle");
    fault(&operator).await;
    eventually("all copies are written", async || match copies_with(&case, "2").await? {
        COPIES => Ok(()),
        written => Err(format!("{written} are")),
    })
    .await;
    for name in &names {
        let status = case.until_ready(name).await;
        assert_eq!((status.sync_status.as_str(), status.retry_count), ("Success", 0), "{name}");
    }
    assert!(operator.is_running());
    assert_eq!(operator.said(&["panicked"]), Vec::<String>::new());
}

/// An API server that is away must not restart the fleet.
async fn is_alive_for(operator: &Operator, time: std::time::Duration) {
    let begun = std::time::Instant::now();
    while begun.elapsed() < time {
        operator.get("/healthz").await.unwrap();
        tokio::time::sleep(seconds(1) / 10).await;
    }
    assert!(operator.is_running());
}

#[tokio::test]
async fn an_api_server_that_restarts_in_the_middle_of_a_fan_out_loses_no_copy_and_no_operator() {
    let Some(bed) = Bed::own("an_api_server_that_restarts_in_the_middle").await else { return };
    let control_plane = bed.cluster().control_plane().unwrap();
    in_the_middle_of_a_fan_out(&bed, async |operator| {
        control_plane.stop(Component::ApiServer).unwrap();
        is_alive_for(operator, seconds(6)).await; // longer than its lease
        control_plane.start_again(Component::ApiServer).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn an_etcd_that_stops_for_three_seconds_in_the_middle_of_a_fan_out_loses_no_copy() {
    let Some(bed) = Bed::own("an_etcd_that_stops_for_three_seconds").await else { return };
    let control_plane = bed.cluster().control_plane().unwrap();
    in_the_middle_of_a_fan_out(&bed, async |operator| {
        control_plane.pause(Component::Etcd).unwrap();
        is_alive_for(operator, seconds(3)).await;
        control_plane.resume(Component::Etcd).unwrap();
        control_plane.until_ready().await.unwrap();
    })
    .await;
}

// --- a policy refuses --------------------------------------------------------------------------------------------

const WORDS: &str = "copies are frozen until Monday";

/// A policy that refuses operations on ConfigMaps in `dst`, in force until it is lifted.
struct Frozen<'a> {
    case: &'a Case<'a>,
    list: String,
}

impl<'a> Frozen<'a> {
    /// `probe`, a ConfigMap in `dst` that these operations are tried on, must be there when `operations` has DELETE.
    async fn on(case: &'a Case<'a>, operations: &[&str], reason: &str) -> Self {
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": [
            {
                "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
                "metadata": { "name": "frozen" },
                "spec": {
                    "failurePolicy": "Fail",
                    "matchConstraints": { "resourceRules": [{
                        "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": operations,
                    }] },
                    "validations": [{ "expression": "false", "message": WORDS, "reason": reason }],
                },
            },
            {
                "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
                "metadata": { "name": "frozen" },
                "spec": {
                    "policyName": "frozen", "validationActions": ["Deny"],
                    "matchResources": { "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": case.dst } } },
                },
            },
        ] })
        .to_string();
        let probe = json!({ "metadata": { "name": "probe" } });
        case.maps(&case.dst).create(&PostParams::default(), &serde_json::from_value(probe).unwrap()).await.unwrap();
        case.kubectl(&["apply", "-f", "-"], &list).await.unwrap();
        let frozen = Self { case, list };
        eventually("the policy is in force", async || match frozen.tried().await {
            Err(refusal) if refusal.contains(WORDS) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
        frozen
    }

    /// An update and a delete of the probe that are not carried out; the first refusal.
    async fn tried(&self) -> Result<(), String> {
        let maps = self.case.maps(&self.case.dst);
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        let probe = maps.get("probe").await.map_err(|error| error.to_string())?;
        maps.replace("probe", &dry, &probe).await.map_err(|error| error.to_string())?;
        let dry = DeleteParams { dry_run: true, ..DeleteParams::default() };
        maps.delete("probe", &dry).await.map(drop).map_err(|error| error.to_string())
    }

    async fn lift(self) {
        self.case.kubectl(&["delete", "-f", "-"], &self.list).await.unwrap();
        eventually("the policy is no longer in force", async || self.tried().await).await;
    }
}

/// How many writes of the copy `cm` there were since then.
fn writes_of_the_copy(case: &Case<'_>, since: Mark) -> usize {
    let events = case.bed.cluster().audit().unwrap().since(since).unwrap();
    let of_copy = events.iter().filter(|event| {
        event.agent() == "configmapsync-operator"
            && event.is_write()
            && event.resource == "configmaps"
            && event.namespace == case.dst
    });
    of_copy.count()
}

/// Waits for a warning about `s` with the server's words.
async fn until_warned(case: &Case<'_>, reason: &str) {
    let events = Api::<Event>::namespaced(case.client.clone(), &case.syncs);
    eventually(format!("there is a Warning {reason}"), async || {
        let list = events.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        let found = list.items.iter().any(|event| {
            event.regarding.as_ref().is_some_and(|object| object.name.as_deref() == Some("s"))
                && event.type_.as_deref() == Some("Warning")
                && event.reason.as_deref() == Some(reason)
                && event.note.as_ref().is_some_and(|note| note.contains(WORDS))
        });
        if found { Ok(()) } else { Err(format!("{:?}", case.events("s").await)) }
    })
    .await;
}

/// A write of the copy is refused by a policy with this reason.
async fn a_refused_write(test: &str, namespace: &str, is_update: bool, reason: &str) {
    let Some(bed) = Bed::own(test).await else { return };
    let case = Case::on(&bed, namespace).await;
    let operator = bed.holder(namespace).await;
    case.source(json!({ "k": "1" })).await;
    if is_update {
        case.sync("s", json!({})).await;
        case.until_ready("s").await;
    }
    let frozen = Frozen::on(&case, &["CREATE", "UPDATE"], reason).await;
    let mark = case.mark().unwrap();
    let event = if is_update {
        case.patch(&case.src, "cm", json!({ "data": { "k": "2" } })).await;
        "UpdateFailed"
    } else {
        case.sync("s", json!({})).await;
        "CreateFailed"
    };
    let status = case.until("s", "Synced", "False", "SyncFailed").await;
    assert_eq!((status.sync_status.as_str(), status.retry_count), ("Failed", 1));
    assert_eq!((status.source_exists, status.destination_exists), (true, is_update));
    let copy = format!("{}/cm", case.dst);
    assert!(status.message.contains(WORDS) && status.message.contains(&copy), "{}", status.message);
    until_warned(&case, event).await;
    assert!(!operator.said(&["WARN", WORDS, r#""name":"s""#, &case.syncs]).is_empty(), "the log does not say it");
    tokio::time::sleep(seconds(10)).await;
    let writes = writes_of_the_copy(&case, mark);
    assert!((1..=2).contains(&writes), "{writes} writes of a copy that is refused, within 10 s");
    assert_eq!(case.status("s").await.retry_count, 1);

    frozen.lift().await;
    case.patch(&case.src, "cm", json!({ "data": { "k": "3" } })).await;
    case.until_copied(json!({ "k": "3" })).await;
    let status = case.until_ready("s").await;
    assert_eq!((status.sync_status.as_str(), status.retry_count), ("Success", 0));
}

#[tokio::test]
async fn a_copy_whose_creation_is_refused_fails_once_says_why_and_heals() {
    let test = "a_copy_whose_creation_is_refused_fails_once_says_why_and_heals";
    a_refused_write(test, "no-create", false, "Forbidden").await;
}

#[tokio::test]
async fn a_copy_whose_creation_is_called_invalid_fails_once_says_why_and_heals() {
    let test = "a_copy_whose_creation_is_called_invalid_fails_once_says_why_and_heals";
    a_refused_write(test, "invalid-new", false, "Invalid").await;
}

#[tokio::test]
async fn a_copy_whose_update_is_called_invalid_fails_once_says_why_and_heals() {
    let test = "a_copy_whose_update_is_called_invalid_fails_once_says_why_and_heals";
    a_refused_write(test, "no-update", true, "Invalid").await;
}

#[tokio::test]
async fn a_sync_whose_copy_may_not_be_deleted_stays_says_why_and_goes_later() {
    let Some(bed) = Bed::own("a_sync_whose_copy_may_not_be_deleted").await else { return };
    let case = Case::on(&bed, "no-delete").await;
    let _operator = bed.holder("no-delete").await;
    case.source(json!({ "k": "v" })).await;
    case.sync("s", json!({})).await;
    case.until_ready("s").await;
    let frozen = Frozen::on(&case, &["DELETE"], "Forbidden").await;
    let mark = case.mark().unwrap();
    case.delete_sync("s").await;
    until_warned(&case, "DeleteFailed").await;
    let status = eventually("the status tells of the refusal", async || {
        let status = case.status("s").await;
        if status.message.contains(WORDS) { Ok(status) } else { Err(serde_json::to_string(&status).unwrap()) }
    })
    .await;
    assert_eq!((status.sync_status.as_str(), status.retry_count), ("Failed", 1));
    assert!(status.message.contains(&format!("cannot delete {}/cm", case.dst)), "{}", status.message);
    assert!(status.destination_exists);
    tokio::time::sleep(seconds(10)).await;
    let writes = writes_of_the_copy(&case, mark);
    assert!((1..=2).contains(&writes), "{writes} deletes of a copy that are refused, within 10 s");
    assert!(case.syncs().get("s").await.unwrap().metadata.deletion_timestamp.is_some());
    assert_eq!(json!(case.copy().await.data), json!({ "k": "v" }));

    frozen.lift().await;
    case.patch(&case.dst, "cm", json!({ "metadata": { "labels": { "touched": "yes" } } })).await;
    case.until_sync_gone("s").await;
    assert!(case.get(&case.dst, "cm").await.is_none());
}
