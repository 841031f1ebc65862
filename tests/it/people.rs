//! What people, and the tools of people, see of a sync: the tables and descriptions of kubectl, `kubectl wait`,
//! `kubectl explain`, kstatus.

use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::bad_input::{relaxed, untyped};
use crate::harness::{Bed, Case, eventually, seconds, stays};

/// A sync in each state that a user meets, by its name. The operator has ended, so that all of it stays as it is.
async fn in_every_state(case: &Case<'_>) {
    let bed = case.bed;
    bed.install(relaxed).await;
    let invalid = json!({
        "apiVersion": "apps.kapendra.com/v1", "kind": "ConfigMapSync", "metadata": { "name": "invalid" },
        "spec": case.spec(json!({ "sourceNamespace": "Upper", "destinationName": "invalid" })),
    });
    untyped(case).create(&PostParams::default(), &serde_json::from_value(invalid).unwrap()).await.unwrap();
    let operator = bed.holder("people").await;
    // While nothing speaks against it: with the real schema an API server before Kubernetes 1.33 refuses this status.
    case.until_stalled("invalid", "InvalidSpec").await;
    bed.install(|_| {}).await;

    case.source(json!({ "k": "1" })).await;
    for name in ["ready", "suspended", "held"] {
        case.sync(name, json!({ "destinationName": name })).await;
        case.until_ready(name).await;
    }
    case.patch(&case.dst, "ready", json!({ "data": { "k": "by hand" } })).await;
    case.until_data(&case.dst, "ready", json!({ "k": "1" })).await;
    case.until_ready("ready").await;
    case.patch_sync("suspended", json!({ "spec": { "suspend": true } })).await;
    case.patch(&case.dst, "held", json!({ "metadata": { "finalizers": ["example.com/hold"] } })).await;
    case.until_ready("held").await;
    case.delete_sync("held").await;
    case.until("held", "Synced", "False", "CopyHeld").await;

    case.sync("no-source", json!({ "configMapName": "none", "destinationName": "no-source" })).await;
    case.until("no-source", "SourceAvailable", "False", "SourceNotFound").await;
    case.sync("no-namespace", json!({ "destinationNamespace": case.name("none") })).await;
    case.until("no-namespace", "Synced", "False", "DestinationNamespaceNotFound").await;
    case.sync("second", json!({ "destinationName": "ready" })).await;
    case.until_stalled("second", "DestinationConflict").await;
    for (name, from, to) in [("ring-a", &case.src, &case.dst), ("ring-b", &case.dst, &case.src)] {
        let ring = json!({ "sourceNamespace": from, "destinationNamespace": to, "configMapName": "ring" });
        case.sync(name, ring).await;
    }
    case.until_stalled("ring-a", "SyncCycle").await;
    case.until_stalled("ring-b", "SyncCycle").await;
    case.create(&case.dst, "mine", json!({ "data": { "old": "x" } })).await;
    case.sync("exists", json!({ "destinationName": "mine", "conflictPolicy": "Fail" })).await;
    case.until_stalled("exists", "DestinationExists").await;
    // 256 KiB of annotations are allowed in all: nothing is left for ours.
    let full = json!({ "metadata": { "annotations": { "note": "x".repeat(256 * 1024 - 20) } } });
    case.create(&case.dst, "full", full).await;
    case.sync("failed", json!({ "destinationName": "full" })).await;
    case.until("failed", "Synced", "False", "SyncFailed").await;
    case.until_event("ready", "Repaired").await;
    case.until_event("no-source", "SourceNotFound").await;
    case.until_event("failed", "UpdateFailed").await;

    assert!(operator.terminate().await.is_some_and(|status| status.success()));
    case.sync("fresh", json!({ "destinationName": "fresh" })).await;
}

/// The text with another time, as long as before, for that of the next attempt.
fn without_next_attempt(text: &str) -> String {
    const BEFORE: &str = "tried again at ";
    const TIME: &str = "2026-01-01T00:00:00Z";
    let mut parts = text.split(BEFORE);
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| format!("{text}{BEFORE}{TIME}{}", &part[TIME.len()..]))
}

/// A table of kubectl's, with the same columns and the times taken out.
pub fn table(text: &str) -> String {
    let text = without_next_attempt(text);
    let mut lines = text.lines();
    let header = lines.next().unwrap();
    let names: Vec<&str> = header.split("   ").map(str::trim).filter(|name| !name.is_empty()).collect();
    let starts: Vec<usize> = names
        .iter()
        .scan(0, |from, name| {
            let at = *from + header[*from..].find(name).unwrap();
            *from = at + name.len();
            Some(at)
        })
        .collect();
    let cells = |line: &str| -> Vec<String> {
        let chars: Vec<char> = line.chars().collect();
        let end = |column: usize| starts.get(column + 1).copied().unwrap_or(chars.len()).min(chars.len());
        let cell = |(column, name): (usize, &&str)| {
            let text: String = chars[starts[column].min(chars.len())..end(column)].iter().collect();
            let is_time = ["LAST SYNC", "AGE"].contains(name) && !text.trim().is_empty();
            if is_time { "1s".to_owned() } else { text.trim().to_owned() }
        };
        names.iter().enumerate().map(cell).collect()
    };
    let mut rows: Vec<Vec<String>> = vec![names.iter().map(|name| (*name).to_owned()).collect()];
    rows.extend(lines.map(cells));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap();
    let widths: Vec<usize> = (0..names.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("   ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// What `kubectl describe` prints, with what differs from run to run taken out.
fn description(text: &str) -> String {
    let text = without_next_attempt(text);
    let fields = ["Time:", "Timestamp:", "UID:", "Uid:", "Resource Version:"];
    let line = |line: &str| {
        if let Some(field) = fields.iter().find(|field| line.contains(*field)) {
            let end = line.find(field).unwrap() + field.len();
            return format!("{} ...", &line[..end]);
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        match (words.first(), line.find("configmapsync-controller")) {
            (Some(&("Normal" | "Warning")), Some(from)) => {
                format!("  {}  {}  1s  {}", words[0], words[1], &line[from..])
            }
            (Some(&("Type" | "----")), None) => format!("  {}", words.join("  ")),
            _ => line.trim_end().to_owned(),
        }
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// How Argo CD, Flux, Helm and `kpt live` read an object of a kind that they do not know: the rules of kstatus
/// (sigs.k8s.io/cli-utils/pkg/kstatus).
fn kstatus(object: &Value) -> &'static str {
    let status = &object["status"];
    let condition = |kind: &str| {
        let conditions = status["conditions"].as_array();
        let found = conditions.and_then(|all| all.iter().find(|condition| condition["type"] == kind));
        found.and_then(|condition| condition["status"].as_str())
    };
    let observed = &status["observedGeneration"];
    match () {
        () if !object["metadata"]["deletionTimestamp"].is_null() => "Terminating",
        () if !observed.is_null() && *observed != object["metadata"]["generation"] => "InProgress",
        () if condition("Reconciling") == Some("True") => "InProgress",
        () if condition("Stalled") == Some("True") => "Failed",
        () => match condition("Ready") {
            Some("True") | None => "Current",
            Some(_) => "InProgress",
        },
    }
}

#[tokio::test]
async fn each_state_of_a_sync_reads_well() {
    let Some(bed) = Bed::bare("each_state_of_a_sync_reads_well").await else { return };
    bed.install(|_| {}).await;
    let case = Case::on(&bed, "people").await;
    in_every_state(&case).await;
    let get = async |args: &str| {
        let args = args.split_whitespace().chain(["--namespace", &case.syncs]);
        let text = bed.kubectl(&args.collect::<Vec<_>>(), "").await.unwrap();
        // The API server's words of older versions.
        text.replace("must have at most 262144 bytes", "may not be more than 262144 bytes")
    };
    insta::assert_snapshot!("get", table(&get("get cms").await));
    insta::assert_snapshot!("get_wide", table(&get("get cms -o wide").await));
    insta::assert_snapshot!("get_all", table(&bed.kubectl(&["get", "cms", "-A"], "").await.unwrap()));
    for name in ["configmapsync", "configmapsyncs", "configmapsyncs.apps.kapendra.com"] {
        assert_eq!(table(&get(&format!("get {name}")).await), table(&get("get cms").await), "{name}");
    }
    // A table of the category says the kind with each name, since there are two.
    assert_eq!(get("get kapendra -o name").await, get("get cms -o name").await);
    for name in ["ready", "no-source", "second", "held", "failed", "fresh"] {
        let text = description(&get(&format!("describe cms {name}")).await);
        insta::assert_snapshot!(format!("describe_{name}"), text);
    }

    // What tools wait for.
    let list: Value = serde_json::from_str(&get("get cms -o json").await).unwrap();
    let read = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|sync| format!("{:<13} {}", sync["metadata"]["name"].as_str().unwrap(), kstatus(sync)));
    insta::assert_snapshot!("kstatus", read.collect::<Vec<_>>().join("\n"));
    let wait = async |name: &str| {
        let sync = format!("cms/{name}");
        let args = ["wait", "--for=condition=Ready", "--timeout=2s", &sync, "--namespace", &case.syncs];
        bed.kubectl(&args, "").await
    };
    assert_eq!(wait("ready").await.unwrap(), "configmapsync.apps.kapendra.com/ready condition met\n");
    for name in ["no-source", "second", "suspended", "fresh"] {
        let said = wait(name).await.unwrap_err();
        assert_eq!(said, format!("error: timed out waiting for the condition on configmapsyncs/{name}\n"));
    }
    let stalled = ["wait", "--for=condition=Stalled", "--timeout=2s", "cms/second", "--namespace", &case.syncs];
    bed.kubectl(&stalled, "").await.unwrap();
}

#[tokio::test]
async fn one_that_waits_for_ready_sees_it_come() {
    let case = Case::shared("waits").await;
    case.sync("s", json!({})).await;
    let args = ["wait", "--for=condition=Ready", "--timeout=60s", "cms/s", "--namespace", &case.syncs];
    let (waited, _) = tokio::join!(case.kubectl(&args, ""), async {
        tokio::time::sleep(seconds(1)).await;
        case.source(json!({ "k": "v" })).await;
    });
    waited.unwrap();
    assert_eq!(json!(case.copy().await.data), json!({ "k": "v" }));
}

/// The descriptions of all fields below one, by their paths.
pub fn sentences(path: &str, schema: &Value, found: &mut Vec<(String, String)>) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        found.push((path.clone(), field["description"].as_str().unwrap_or_default().to_owned()));
        sentences(&path, field, found);
        sentences(&format!("{path}[]"), &field["items"], found);
    }
}

#[tokio::test]
async fn kubectl_explains_every_field() {
    let case = Case::shared("explained").await;
    let text = case.kubectl(&["get", "crd", "configmapsyncs.apps.kapendra.com", "-o", "json"], "").await.unwrap();
    let crd: Value = serde_json::from_str(&text).unwrap();
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let mut found = Vec::new();
    sentences("", schema, &mut found);
    assert!(found.len() > 20, "{found:?}");
    let generic = [".apiVersion", ".kind", ".metadata"];
    for (path, sentence) in found.iter().filter(|(path, _)| !generic.contains(&path.as_str())) {
        assert!(sentence.len() > 10 && sentence.ends_with('.'), "{path}: {sentence:?} is no sentence");
    }
    // What the server says of its kinds comes a moment after the definition.
    let explained =
        eventually("kubectl knows the kind", async || case.kubectl(&["explain", "cms.spec"], "").await).await;
    insta::assert_snapshot!("explain", explained.lines().map(str::trim_end).collect::<Vec<_>>().join("\n"));
}

#[tokio::test]
async fn a_condition_that_somebody_else_writes_stays() {
    let case = Case::shared("conditions").await;
    case.until_a_sync_works().await;
    let mut conditions = json!(case.status("s").await.conditions);
    conditions.as_array_mut().unwrap().push(json!({
        "type": "Audited", "status": "True", "reason": "Seen", "message": "", "lastTransitionTime": "2025-01-23T10:30:45Z",
    }));
    let theirs = Patch::Merge(json!({ "status": { "conditions": conditions } }));
    let written = case.syncs().patch_status("s", &PatchParams::default(), &theirs).await.unwrap();
    stays("the sync", seconds(2), async || case.syncs().get("s").await.unwrap() == written).await;
    case.patch(&case.src, "cm", json!({ "data": { "k": "w" } })).await;
    case.until_copied(json!({ "k": "w" })).await;
    case.until_ready("s").await;
    assert_eq!(case.condition("s", "Audited").await.unwrap().reason, "Seen");
    case.delete(&case.src, "cm").await;
    case.until("s", "SourceAvailable", "False", "SourceNotFound").await;
    assert_eq!(case.condition("s", "Audited").await.unwrap().reason, "Seen");
}
