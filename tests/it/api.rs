//! The CustomResourceDefinition: what it refuses, and how it shows.

use serde_json::{Value, json};

use crate::harness::{Case, seconds, stays};

async fn apply(case: &Case<'_>, name: &str, spec: Value) -> Result<String, String> {
    let sync = json!({
        "apiVersion": "apps.kapendra.com/v1", "kind": "ConfigMapSync",
        "metadata": { "name": name, "namespace": case.syncs }, "spec": spec,
    });
    case.kubectl(&["apply", "-f", "-"], &sync.to_string()).await
}

#[tokio::test]
async fn a_spec_that_makes_no_sense_is_refused_with_a_sentence_that_names_the_field() {
    let case = Case::shared("refused").await;
    let long = |n: usize| "a".repeat(n);
    let refused: &[(Value, &[&str])] = &[
        (json!({ "sourceNamespace": "A" }), &["spec.sourceNamespace", "must be a namespace's name"]),
        (json!({ "sourceNamespace": "a.b" }), &["spec.sourceNamespace", "must be a namespace's name"]),
        (json!({ "sourceNamespace": "" }), &["spec.sourceNamespace"]),
        (json!({ "sourceNamespace": long(64) }), &["spec.sourceNamespace", "63"]),
        (json!({ "sourceNamespace": null }), &["spec.sourceNamespace"]),
        (json!({ "sourceNamespace": 5 }), &["spec.sourceNamespace", "string"]),
        (json!({ "destinationNamespace": "-a" }), &["spec.destinationNamespace", "must be a namespace's name"]),
        (json!({ "destinationNamespace": "a_b" }), &["spec.destinationNamespace", "must be a namespace's name"]),
        (json!({ "destinationNamespace": long(64) }), &["spec.destinationNamespace", "63"]),
        (json!({ "configMapName": "a..b" }), &["spec.configMapName", "must be a ConfigMap's name"]),
        (json!({ "configMapName": "a/b" }), &["spec.configMapName", "must be a ConfigMap's name"]),
        (json!({ "configMapName": "a\n" }), &["spec.configMapName", "must be a ConfigMap's name"]),
        (json!({ "configMapName": long(254) }), &["spec.configMapName", "253"]),
        (json!({ "destinationName": "B" }), &["spec.destinationName", "must be a ConfigMap's name"]),
        (json!({ "destinationName": "" }), &["spec.destinationName"]),
        (json!({ "destinationName": "kube-root-ca.crt" }), &["spec.destinationName", "kube-root-ca.crt"]),
        (
            json!({ "configMapName": "kube-root-ca.crt", "destinationName": "root-ca" }),
            &["spec.configMapName", "kube-root-ca.crt"],
        ),
        (json!({ "conflictPolicy": "Perhaps" }), &["spec.conflictPolicy", "Overwrite", "Fail"]),
        (json!({ "deletionPolicy": "Keep" }), &["spec.deletionPolicy", "Delete", "Orphan"]),
        (json!({ "sourceMissingPolicy": "Orphan" }), &["spec.sourceMissingPolicy", "Keep", "Delete"]),
        (json!({ "suspend": "yes" }), &["spec.suspend", "boolean"]),
        (json!({ "destinationNamespace": case.src }), &["spec", "cannot be synced onto itself"]),
        (
            json!({ "destinationNamespace": case.src, "destinationName": "cm" }),
            &["spec", "cannot be synced onto itself"],
        ),
    ];
    for (number, (change, sentences)) in refused.iter().enumerate() {
        let said = apply(&case, &format!("wrong-{number}"), case.spec(change.clone())).await.unwrap_err();
        for sentence in *sentences {
            assert!(said.contains(sentence), "{change}: no word of {sentence:?} in\n{said}");
        }
    }
    for field in ["sourceNamespace", "destinationNamespace", "configMapName"] {
        let mut spec = case.spec(json!({}));
        spec.as_object_mut().unwrap().remove(field);
        let said = apply(&case, "incomplete", spec).await.unwrap_err();
        assert!(said.contains(&format!("spec.{field}")), "{said}");
    }
}

#[tokio::test]
async fn names_at_their_limits_are_taken() {
    let case = Case::shared("limits").await;
    let name = format!("{}.{}", "a".repeat(63), "9".repeat(189));
    let taken = [
        json!({ "sourceNamespace": "a".repeat(63), "destinationNamespace": "0" }),
        json!({ "configMapName": "a".repeat(253) }),
        json!({ "destinationName": name }),
        json!({ "destinationNamespace": case.src, "destinationName": "another" }),
    ];
    for (number, change) in taken.into_iter().enumerate() {
        let answer = apply(&case, &format!("right-{number}"), case.spec(change.clone())).await;
        answer.unwrap_or_else(|said| panic!("{change}: {said}"));
    }
}

#[tokio::test]
async fn kubectl_shows_columns_and_knows_the_short_name() {
    let case = Case::shared("columns").await;
    case.source(json!({ "k": "v" })).await;
    case.sync("shown", json!({})).await;
    case.until_ready("shown").await;
    let table = case.kubectl(&["get", "cms", "--namespace", &case.syncs], "").await.unwrap();
    let mut lines = table.lines();
    let columns: Vec<&str> = lines.next().unwrap().split("  ").map(str::trim).filter(|word| !word.is_empty()).collect();
    assert_eq!(columns, ["NAME", "READY", "SOURCE", "DESTINATION", "CONFIGMAP", "STATUS", "LAST SYNC", "AGE"]);
    let row: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(row[..6], ["shown", "True", &case.src, &case.dst, "cm", "SyncSucceeded"]);
    let wide = case.kubectl(&["get", "cms", "--namespace", &case.syncs, "--output=wide"], "").await.unwrap();
    assert!(wide.contains("ConfigMap synced successfully"), "{wide}");
    let all = case.kubectl(&["get", "kapendra", "--namespace", &case.syncs, "--output=name"], "").await.unwrap();
    assert_eq!(all.trim(), "configmapsync.apps.kapendra.com/shown", "the category");
}

#[tokio::test]
async fn a_sync_that_is_in_order_is_left_alone() {
    let case = Case::shared("quiet").await;
    case.source(json!({ "k": "v" })).await;
    let mark = case.mark();
    case.sync("s", json!({})).await;
    case.until_ready("s").await;
    stays("the sync", seconds(2), async || case.syncs().get("s").await.unwrap()).await;
    let Some(mark) = mark else { return };
    let requests = case.requests(mark);
    let expected = [
        ("create configmaps", 1),
        ("get configmaps", 1),
        ("patch configmapsyncs", 1),
        ("update configmapsyncs/status", 1),
    ];
    assert_eq!(requests, expected.map(|(what, count)| (what.to_owned(), count)).into());
}
