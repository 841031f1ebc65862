//! What is ours and what we never touch.

use kube::api::PostParams;
use serde_json::{Value, json};

use crate::harness::{Case, PREFIX, eventually, seconds};

fn ours(object: &k8s_openapi::api::core::v1::ConfigMap) -> Vec<String> {
    let meta = &object.metadata;
    let keys = [&meta.labels, &meta.annotations].into_iter().flatten().flat_map(|entries| entries.keys().cloned());
    keys.filter(|key| key.starts_with(PREFIX)).collect()
}

#[tokio::test]
async fn a_copy_that_was_tampered_with_or_deleted_is_restored() {
    let case = Case::shared("tampered").await;
    let right = json!({ "k": "v" });
    case.source(right.clone()).await;
    case.sync("s", json!({})).await;
    let first = case.until_copied(right.clone()).await;
    case.until_ready("s").await;
    for wrong in [
        json!({ "data": { "k": "other" } }),
        json!({ "data": { "k": null } }),
        json!({ "data": { "more": "x" } }),
        json!({ "binaryData": { "b": "AAE=" } }),
    ] {
        case.patch(&case.dst, "cm", wrong).await;
        let copy = case.until_copied(right.clone()).await;
        assert_eq!(copy.metadata.uid, first.metadata.uid);
        case.until_ready("s").await;
        assert_eq!(case.copy().await.binary_data.unwrap_or_default().len(), 0);
    }
    case.delete(&case.dst, "cm").await;
    let copy = eventually("a new copy", async || match case.get(&case.dst, "cm").await {
        Some(copy) if copy.metadata.uid != first.metadata.uid => Ok(copy),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert_eq!(json!(copy.data), right);
    case.until_ready("s").await;
}

#[tokio::test]
async fn marks_taken_off_a_copy_do_not_make_it_somebody_elses_for_good() {
    let case = Case::shared("marks-off").await;
    case.source(json!({ "k": "v" })).await;
    case.sync("s", json!({})).await;
    case.until_ready("s").await;
    case.patch(&case.dst, "cm", json!({ "metadata": { "annotations": null, "labels": null } })).await;
    case.until_ready("s").await;
    case.patch(&case.src, "cm", json!({ "data": { "k": "w" } })).await;
    case.until_copied(json!({ "k": "w" })).await;
    case.until_ready("s").await;
}

#[tokio::test]
async fn what_others_put_on_a_copy_stays() {
    let case = Case::shared("others-labels").await;
    case.source(json!({ "k": "1" })).await;
    case.sync("s", json!({})).await;
    case.until_ready("s").await;
    let owner = case.create(&case.dst, "owner", json!({})).await;
    let owner = json!([{ "apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.metadata.uid }]);
    let theirs = json!({
        "labels": { "team": "blue" }, "annotations": { "note": "ours" }, "ownerReferences": owner,
        "finalizers": ["example.com/hold"],
    });
    case.patch(&case.dst, "cm", json!({ "metadata": theirs })).await;
    case.until_ready("s").await;
    for change in [(&case.src, "2"), (&case.dst, "tampered"), (&case.src, "3")] {
        case.patch(change.0, "cm", json!({ "data": { "k": change.1 } })).await;
        let source = case.get(&case.src, "cm").await.unwrap();
        let copy = case.until_copied(json!(source.data)).await;
        let meta = json!(copy.metadata);
        assert_eq!((&meta["labels"]["team"], &meta["annotations"]["note"]), (&json!("blue"), &json!("ours")));
        assert_eq!(meta["ownerReferences"][0]["uid"], owner[0]["uid"]);
        assert_eq!(meta["finalizers"], theirs["finalizers"]);
        assert_eq!(ours(&copy).len(), 9, "and our marks: {meta}");
        case.until_ready("s").await;
    }
    case.patch(&case.dst, "cm", json!({ "metadata": { "finalizers": null } })).await;
}

#[tokio::test]
async fn a_copy_edited_between_read_and_write_loses_nothing() {
    let case = Case::shared("edit-race").await;
    case.source(json!({ "n": "0" })).await;
    case.sync("s", json!({})).await;
    case.until_ready("s").await;
    // Labels on the copy and changes of the source at the same time: now and then one comes in between.
    let sources = async {
        for n in 1..=80 {
            case.patch(&case.src, "cm", json!({ "data": { "n": n.to_string() } })).await;
        }
    };
    let labels = async {
        for n in 1..=80 {
            case.patch(&case.dst, "cm", json!({ "metadata": { "labels": { (format!("l{n}")): "x" } } })).await;
        }
    };
    tokio::join!(sources, labels);
    let copy = case.until_copied(json!({ "n": "80" })).await;
    let labels = copy.metadata.labels.unwrap();
    let lost: Vec<String> = (1..=80).map(|n| format!("l{n}")).filter(|label| !labels.contains_key(label)).collect();
    assert!(lost.is_empty(), "labels of others were lost: {lost:?}");
    case.until_ready("s").await;
}

#[tokio::test]
async fn what_stood_at_the_destination_before_is_taken_over_and_stays_when_the_sync_goes() {
    let case = Case::shared("stood-before").await;
    case.source(json!({ "k": "v" })).await;
    let before = json!({ "data": { "old": "x" }, "metadata": { "labels": { "team": "blue" } } });
    let before = case.create(&case.dst, "cm", before).await;
    case.sync("s", json!({})).await;
    let copy = case.until_copied(json!({ "k": "v" })).await;
    case.until_ready("s").await;
    assert_eq!(copy.metadata.uid, before.metadata.uid);
    assert_eq!(copy.metadata.labels.as_ref().unwrap()["team"], "blue");
    assert!(copy.metadata.annotations.as_ref().unwrap().contains_key(&format!("{PREFIX}adopted")));
    // It stays adopted over changes and repairs.
    case.patch(&case.src, "cm", json!({ "data": { "k": "w" } })).await;
    case.until_copied(json!({ "k": "w" })).await;
    case.until_ready("s").await;
    case.patch(&case.dst, "cm", json!({ "data": { "k": "tampered" } })).await;
    case.until_copied(json!({ "k": "w" })).await;
    case.until_ready("s").await;
    case.delete_sync("s").await;
    case.until_sync_gone("s").await;
    let after = case.copy().await;
    assert_eq!((json!(after.data), &after.metadata.uid), (json!({ "k": "w" }), &before.metadata.uid));
    assert_eq!(ours(&after), Vec::<String>::new(), "our marks are off");
    assert_eq!(json!(after.metadata.labels), json!({ "team": "blue" }));
}

#[tokio::test]
async fn with_conflict_policy_fail_what_stands_there_is_left_alone_until_it_goes() {
    let case = Case::shared("policy-fail").await;
    case.source(json!({ "k": "v" })).await;
    let before = case.create(&case.dst, "cm", json!({ "data": { "old": "x" } })).await;
    case.sync("s", json!({ "conflictPolicy": "Fail" })).await;
    let why = case.until_stalled("s", "DestinationExists").await;
    assert!(why.contains(&format!("{}/cm", case.dst)) && why.contains("conflictPolicy"), "{why}");
    case.stays(&case.dst, "cm", seconds(1)).await;
    assert_eq!(case.copy().await, before);
    // Freed, it is ours, and a change of it afterwards is repaired like any other.
    case.delete(&case.dst, "cm").await;
    case.until_copied(json!({ "k": "v" })).await;
    let status = case.until_ready("s").await;
    assert!(status.conditions.iter().all(|condition| condition.type_ != "Stalled" || condition.status == "False"));
    case.patch(&case.dst, "cm", json!({ "data": { "k": "tampered" } })).await;
    case.until_copied(json!({ "k": "v" })).await;
    case.until_ready("s").await;
    // Overwrite, said later, takes over what stands in the way.
    case.create(&case.dst, "other", json!({ "data": { "old": "x" } })).await;
    case.sync("t", json!({ "conflictPolicy": "Fail", "destinationName": "other" })).await;
    case.until_stalled("t", "DestinationExists").await;
    case.patch_sync("t", json!({ "spec": { "conflictPolicy": "Overwrite" } })).await;
    case.until_data(&case.dst, "other", json!({ "k": "v" })).await;
    case.until_ready("t").await;
}

#[tokio::test]
async fn a_sync_that_is_deleted_leaves_alone_what_it_never_took() {
    let case = Case::shared("never-took").await;
    case.source(json!({ "k": "v" })).await;
    let before = case.create(&case.dst, "cm", json!({ "data": { "old": "x" } })).await;
    case.sync("s", json!({ "conflictPolicy": "Fail" })).await;
    case.until_stalled("s", "DestinationExists").await;
    case.delete_sync("s").await;
    case.until_sync_gone("s").await;
    assert_eq!(case.copy().await, before);
}

#[tokio::test]
async fn what_a_controller_owns_is_never_taken() {
    let case = Case::shared("controlled").await;
    case.source(json!({ "k": "v" })).await;
    let owner = case.create(&case.dst, "owner", json!({})).await.metadata.uid;
    let owner = |controller: bool| {
        json!({ "metadata": { "ownerReferences":
            [{ "apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner, "controller": controller }] } })
    };
    let mut body = owner(true);
    body["data"] = json!({ "old": "x" });
    let before = case.create(&case.dst, "cm", body).await;
    case.sync("s", json!({})).await;
    let why = case.until_stalled("s", "DestinationControlled").await;
    assert!(why.contains(&format!("{}/cm", case.dst)), "{why}");
    case.patch(&case.src, "cm", json!({ "data": { "k": "w" } })).await;
    case.stays(&case.dst, "cm", seconds(1)).await;
    assert_eq!(case.copy().await, before);
    // Let go by its controller, it may be taken over.
    case.patch(&case.dst, "cm", owner(false)).await;
    case.until_copied(json!({ "k": "w" })).await;
    case.until_ready("s").await;
}

#[tokio::test]
async fn what_a_namespace_gets_from_kubernetes_is_never_written() {
    let case = Case::shared("root-ca").await;
    for field in ["configMapName", "destinationName"] {
        let spec = case.spec(json!({ field: "kube-root-ca.crt" }));
        let sync = json!({ "metadata": { "name": "s" }, "spec": spec });
        let refused = case.syncs().create(&PostParams::default(), &serde_json::from_value(sync).unwrap()).await;
        let words = refused.expect_err("it is refused").to_string();
        assert!(words.contains(&format!("{field} must not be kube-root-ca.crt")), "{words}");
    }
    let copy = eventually("Kubernetes makes its own", async || {
        case.get(&case.dst, "kube-root-ca.crt").await.ok_or("none".into())
    })
    .await;
    assert_eq!(ours(&copy), Vec::<String>::new());
}

#[tokio::test]
async fn a_foreign_immutable_one_is_never_replaced() {
    let case = Case::shared("foreign-fixed").await;
    case.source(json!({ "k": "v" })).await;
    let before = case.create(&case.dst, "cm", json!({ "data": { "old": "x" }, "immutable": true })).await;
    case.sync("s", json!({})).await;
    let why = case.until_stalled("s", "DestinationImmutable").await;
    assert!(why.contains("immutable"), "{why}");
    case.patch(&case.src, "cm", json!({ "data": { "k": "w" } })).await;
    case.stays(&case.dst, "cm", seconds(1)).await;
    assert_eq!(case.copy().await, before);
    case.delete(&case.dst, "cm").await;
    case.until_copied(json!({ "k": "w" })).await;
    case.until_ready("s").await;
}

#[tokio::test]
async fn our_immutable_copy_of_an_immutable_source_is_replaced_with_it() {
    let case = Case::shared("own-fixed").await;
    case.create(&case.src, "cm", json!({ "data": { "k": "1" }, "immutable": true })).await;
    case.sync("s", json!({})).await;
    case.until_ready("s").await;
    assert_eq!(case.copy().await.immutable, Some(true));
    let theirs = json!({ "labels": { "team": "blue" }, "annotations": { "note": "ours" } });
    case.patch(&case.dst, "cm", json!({ "metadata": theirs })).await;
    case.until_ready("s").await;
    for k in ["2", "3"] {
        case.delete(&case.src, "cm").await;
        case.create(&case.src, "cm", json!({ "data": { "k": k }, "immutable": true })).await;
        let copy = case.until_copied(json!({ "k": k })).await;
        let meta = json!(copy.metadata);
        assert_eq!(
            (&meta["labels"]["team"], &meta["annotations"]["note"]),
            (&json!("blue"), &json!("ours")),
            "carried over"
        );
        case.until_ready("s").await;
    }
    // A source that may be changed again makes such a copy too.
    case.delete(&case.src, "cm").await;
    case.source(json!({ "k": "4" })).await;
    assert_eq!(case.until_copied(json!({ "k": "4" })).await.immutable, None);
    case.patch(&case.src, "cm", json!({ "data": { "k": "5" } })).await;
    case.until_copied(json!({ "k": "5" })).await;
    case.until_ready("s").await;
}

#[tokio::test]

async fn a_source_that_is_made_immutable_makes_its_copy_so_whatever_labels_others_put_on_it() {
    let case = Case::shared("made-fixed").await;
    case.source(json!({ "k": "v" })).await;
    for (name, labels) in [("plain", json!(null)), ("labelled", json!({ "team": "blue" }))] {
        case.sync(name, json!({ "destinationName": name })).await;
        case.until_ready(name).await;
        case.patch(&case.dst, name, json!({ "metadata": { "labels": labels } })).await;
        case.until_ready(name).await;
    }
    case.patch(&case.src, "cm", json!({ "immutable": true })).await;
    for name in ["plain", "labelled"] {
        eventually(format!("the copy {name} is immutable too"), async || {
            match case.get(&case.dst, name).await.unwrap().immutable {
                Some(true) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        case.until_ready(name).await;
    }
}

#[tokio::test]
async fn a_copy_that_somebody_copied_elsewhere_stays() {
    let case = Case::shared("copied-copy").await;
    let elsewhere = case.namespace("elsewhere").await;
    case.source(json!({ "k": "v" })).await;
    case.sync("s", json!({})).await;
    case.until_ready("s").await;
    // As `kubectl get -o yaml | sed | kubectl apply` does: all our marks go along.
    let mut copies = Vec::new();
    for (namespace, name) in [(&elsewhere, "cm"), (&case.dst, "by-another-name")] {
        let text =
            case.kubectl(&["get", "configmap", "cm", "--namespace", &case.dst, "--output=json"], "").await.unwrap();
        let mut object: Value = serde_json::from_str(&text).unwrap();
        for field in ["uid", "resourceVersion", "creationTimestamp", "managedFields"] {
            object["metadata"].as_object_mut().unwrap().remove(field);
        }
        object["metadata"]["namespace"] = json!(namespace);
        object["metadata"]["name"] = json!(name);
        case.kubectl(&["create", "-f", "-"], &object.to_string()).await.unwrap();
        copies.push((namespace, name, case.get(namespace, name).await));
    }
    assert!(copies.iter().all(|(_, _, copy)| copy.as_ref().is_some_and(|copy| ours(copy).len() == 9)));
    case.stays(&elsewhere, "cm", seconds(1)).await;
    case.patch(&case.src, "cm", json!({ "data": { "k": "w" } })).await;
    case.until_copied(json!({ "k": "w" })).await;
    case.delete_sync("s").await;
    case.until_sync_gone("s").await;
    assert!(case.get(&case.dst, "cm").await.is_none());
    case.stays(&elsewhere, "cm", seconds(2)).await;
    for (namespace, name, before) in copies {
        assert_eq!(case.get(namespace, name).await, before, "{namespace}/{name}");
    }
}
