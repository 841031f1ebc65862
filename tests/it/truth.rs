//! A sync is Ready only when its copy holds what the source holds, and its status says what does not.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::PostParams;
use serde_json::{Value, json};
use testbed::audit::Mark;

use crate::harness::{Bed, Case, PREFIX, eventually, seconds, stays};

/// What changes copies here, and the version of Kubernetes from which on it is there without a gate.
const POLICY: &str = "MutatingAdmissionPolicy of version v1";
const SINCE: (u32, u32) = (1, 36);

/// A policy that changes the ConfigMaps `cm` and `probe` of `dst`, in force until it is lifted.
struct Mutated<'a> {
    case: &'a Case<'a>,
    list: String,
}

impl<'a> Mutated<'a> {
    /// `patch` is what the policy does to a ConfigMap, as a list of JSONPatch operations in CEL.
    async fn on(case: &'a Case<'a>, patch: &str) -> Self {
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": [
            {
                "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy",
                "metadata": { "name": "mutated" },
                "spec": {
                    "failurePolicy": "Fail",
                    "reinvocationPolicy": "Never",
                    "matchConstraints": { "resourceRules": [{
                        "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"],
                        "operations": ["CREATE", "UPDATE"],
                    }] },
                    "matchConditions": [{ "name": "name", "expression": "object.metadata.name in ['cm', 'probe']" }],
                    "mutations": [{ "patchType": "JSONPatch", "jsonPatch": { "expression": patch } }],
                },
            },
            {
                "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicyBinding",
                "metadata": { "name": "mutated" },
                "spec": {
                    "policyName": "mutated",
                    "matchResources": {
                        "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": case.dst } },
                    },
                },
            },
        ] })
        .to_string();
        case.kubectl(&["apply", "-f", "-"], &list).await.unwrap();
        let mutated = Self { case, list };
        eventually("the policy is in force", async || match mutated.tried().await? {
            true => Ok(()),
            false => Err("what is written is left as it is".to_owned()),
        })
        .await;
        mutated
    }

    /// Whether a ConfigMap that looks like a copy, and is not created, is answered with a change.
    async fn tried(&self) -> Result<bool, String> {
        let annotations = json!({ (format!("{PREFIX}sync")): "x", (format!("{PREFIX}source-hash")): "x" });
        let probe = json!({ "metadata": { "name": "probe", "annotations": annotations }, "data": { "k": "v" } });
        let probe: ConfigMap = serde_json::from_value(probe).unwrap();
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        let answer = self.case.maps(&self.case.dst).create(&dry, &probe).await.map_err(|error| error.to_string())?;
        Ok((answer.data, answer.metadata.annotations) != (probe.data, probe.metadata.annotations))
    }

    async fn lift(self) {
        self.case.kubectl(&["delete", "-f", "-"], &self.list).await.unwrap();
        eventually("the policy is no longer in force", async || match self.tried().await? {
            false => Ok(()),
            true => Err("it still changes what is written".to_owned()),
        })
        .await;
    }
}

/// How many writes of copies there were since then.
fn writes(case: &Case<'_>, since: Mark) -> usize {
    let written =
        |(what, count): (String, usize)| (what.ends_with(" configmaps") && !what.starts_with("get")).then_some(count);
    case.requests(since).into_iter().filter_map(written).sum()
}

/// What the status says without its times, which a restart may not change either.
async fn told(case: &Case<'_>) -> Value {
    json!(case.status("s").await)
}

/// Waits until the status tells of a change by admission, in these words.
async fn until_told(case: &Case<'_>, words: &[&str]) {
    let message = case.until_stalled("s", "ChangedByAdmission").await;
    assert!(words.iter().all(|word| message.contains(word)), "{message}");
    let ready = case.condition("s", "Ready").await.expect("there is a condition Ready");
    assert_eq!(ready.status, "False", "{}", ready.message);
}

/// A policy does this to the copy, which the status tells in these words.
async fn admission_changes_a_copy(test: &str, name: &str, patch: &str, words: &[&str]) {
    let Some(bed) = Bed::own_since(test, POLICY, SINCE).await else { return };
    let case = Case::on(&bed, name).await;
    let operator = bed.holder(name).await;
    let mutated = Mutated::on(&case, patch).await;
    case.source(json!({ "k": "1" })).await;
    let mark = case.mark().unwrap();
    case.sync("s", json!({})).await;
    until_told(&case, words).await;
    tokio::time::sleep(seconds(10)).await;
    let written = writes(&case, mark);
    assert!(written <= 3, "{written} writes of a copy that admission changes, within 10 s");
    until_told(&case, words).await;

    let before = told(&case).await;
    let mark = case.mark().unwrap();
    assert!(operator.terminate().await.is_some_and(|status| status.success()));
    let _operator = bed.holder(name).await;
    stays("the status", seconds(5), async || told(&case).await == before).await;
    assert_eq!(told(&case).await, before, "after a restart");
    assert_eq!(writes(&case, mark), 0, "writes of the copy after a restart: {:?}", case.requests(mark));

    // A change of the source is written, and changed again.
    let mark = case.mark().unwrap();
    case.patch(&case.src, "cm", json!({ "data": { "more": "2" } })).await;
    eventually("the change is written", async || match case.copy().await.data.unwrap_or_default().get("more") {
        Some(more) if more == "2" => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    until_told(&case, words).await;
    tokio::time::sleep(seconds(5)).await;
    let written = writes(&case, mark);
    assert!(written <= 3, "{written} writes of one change");

    mutated.lift().await;
    case.patch_sync("s", json!({ "metadata": { "annotations": { (format!("{PREFIX}requested-at")): "now1" } } })).await;
    case.until_copied(json!({ "k": "1", "more": "2" })).await;
    case.until_ready("s").await;
    let annotations = case.copy().await.metadata.annotations.unwrap_or_default();
    assert!(annotations.contains_key(&format!("{PREFIX}sync")), "{annotations:?}");
}

#[tokio::test]
async fn a_key_that_admission_adds_to_a_copy_is_told() {
    let patch = r#"[JSONPatch{op: "add", path: "/data/injected", value: "x"}]"#;
    let test = "a_key_that_admission_adds_to_a_copy_is_told";
    admission_changes_a_copy(test, "injected", patch, &["admission", "key injected added"]).await;
}

#[tokio::test]
async fn a_value_that_admission_replaces_in_a_copy_is_told() {
    let patch = r#"[JSONPatch{op: "replace", path: "/data/k", value: "other"}]"#;
    let test = "a_value_that_admission_replaces_in_a_copy_is_told";
    admission_changes_a_copy(test, "replaced", patch, &["admission", "key k changed"]).await;
}

#[tokio::test]
async fn a_key_that_admission_takes_out_of_a_copy_is_told() {
    let patch = r#"[JSONPatch{op: "remove", path: "/data/k"}]"#;
    let test = "a_key_that_admission_takes_out_of_a_copy_is_told";
    admission_changes_a_copy(test, "taken-out", patch, &["admission", "key k removed"]).await;
}

#[tokio::test]
async fn a_mark_that_admission_takes_off_a_copy_is_told() {
    let patch = r#"[JSONPatch{op: "remove", path: "/metadata/annotations/configmapsync.apps.kapendra.com~1sync"}]"#;
    let test = "a_mark_that_admission_takes_off_a_copy_is_told";
    let words = ["admission", "annotation configmapsync.apps.kapendra.com/sync removed"];
    admission_changes_a_copy(test, "mark-off", patch, &words).await;
}

#[tokio::test]
async fn a_change_that_admission_begins_to_make_later_is_told_when_the_copy_is_next_written() {
    let test = "a_change_that_admission_begins_to_make_later";
    let Some(bed) = Bed::own_since(test, POLICY, SINCE).await else { return };
    let case = Case::on(&bed, "later").await;
    let _operator = bed.holder("later").await;
    case.until_a_sync_works().await;
    let mutated = Mutated::on(&case, r#"[JSONPatch{op: "add", path: "/data/injected", value: "x"}]"#).await;
    case.patch(&case.src, "cm", json!({ "data": { "k": "w" } })).await;
    case.until_copied(json!({ "injected": "x", "k": "w" })).await;
    until_told(&case, &["key injected added"]).await;
    mutated.lift().await;
    // The next change of the source is answer enough; nobody has to ask for it.
    case.patch(&case.src, "cm", json!({ "data": { "k": "x" } })).await;
    case.until_copied(json!({ "k": "x" })).await;
    case.until_ready("s").await;
}

#[tokio::test]
async fn the_root_certificate_of_a_namespace_is_no_source() {
    let case = Case::shared("root-source").await;
    // Its changes are not seen, so that a copy of it would grow old in silence.
    let spec = case.spec(json!({ "configMapName": "kube-root-ca.crt", "destinationName": "root-ca" }));
    let sync = json!({
        "apiVersion": "apps.kapendra.com/v1", "kind": "ConfigMapSync",
        "metadata": { "name": "s", "namespace": case.syncs }, "spec": spec,
    });
    let refusal = case.kubectl(&["create", "-f", "-"], &sync.to_string()).await.expect_err("it is refused");
    let says = |word: &str| refusal.contains(word);
    assert!(says("spec.configMapName") && says("configMapName must not be kube-root-ca.crt"), "{refusal}");
}
