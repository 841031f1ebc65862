//! What an owner guards stays as it is: his ConfigMap by an annotation, his namespace by a label, the platform's by a flag.

use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::harness::webhook::{Answer, Rule};
use crate::harness::{Bed, Case, FINALIZER, Many, Webhook, eventually, seconds};

const PROTECT: &str = "configmapsync.apps.kapendra.com/protect";
const ACCEPT: &str = "configmapsync.apps.kapendra.com/accept";

fn protect(value: Value) -> Value {
    json!({ "metadata": { "annotations": { PROTECT: value } } })
}

async fn accept(case: &Case<'_>, namespace: &str, value: Value) {
    let patch = json!({ "metadata": { "labels": { ACCEPT: value } } });
    case.patch_namespace(namespace, patch).await;
}

/// The reasons and notes of the Events about a ConfigMap, in its own namespace.
async fn events(case: &Case<'_>, namespace: &str, name: &str) -> Vec<(String, String)> {
    let events = Api::<k8s_openapi::api::events::v1::Event>::namespaced(case.client.clone(), namespace);
    let events = events.list(&ListParams::default()).await.unwrap().items.into_iter().filter(|event| {
        let about = event.regarding.as_ref();
        about.is_some_and(|it| it.kind.as_deref() == Some("ConfigMap") && it.name.as_deref() == Some(name))
    });
    events.map(|event| (event.reason.unwrap_or_default(), event.note.unwrap_or_default())).collect()
}

#[tokio::test]
async fn a_protected_configmap_is_left_as_it_is() {
    let case = Case::shared("protected").await;
    case.source(json!({ "k": "1" })).await;
    let theirs = json!({ "data": { "theirs": "x" }, "metadata": { "annotations": { PROTECT: "true" } } });
    let before = case.create(&case.dst, "cm", theirs).await;
    case.sync("s", json!({ "conflictPolicy": "Overwrite" })).await;
    let why = case.until_stalled("s", "DestinationProtected").await;
    assert!(why.contains(PROTECT) && why.contains(&format!("{}/cm", case.dst)), "{why}");
    case.patch(&case.src, "cm", json!({ "data": { "k": "2" } })).await;
    case.stays(&case.dst, "cm", seconds(1)).await;
    assert_eq!(case.copy().await, before);
    // Another value lets go, and stays where it was put.
    case.patch(&case.dst, "cm", protect(json!("false"))).await;
    case.until_ready("s").await;
    let copy = case.until_copied(json!({ "k": "2" })).await;
    assert_eq!(copy.metadata.annotations.unwrap()[PROTECT], "false");
    // Our own copy, too, is protected from us: while the sync lives, and when it goes.
    let guarded = case.patch(&case.dst, "cm", protect(json!("true"))).await;
    case.until_stalled("s", "DestinationProtected").await;
    case.patch(&case.src, "cm", json!({ "data": { "k": "3" } })).await;
    case.delete_sync("s").await;
    case.until_sync_gone("s").await;
    case.stays(&case.dst, "cm", seconds(1)).await;
    assert_eq!(case.copy().await, guarded);
}

#[tokio::test]
async fn a_namespace_that_refuses_is_left_as_it_is() {
    let case = Case::shared("refuses").await;
    accept(&case, &case.dst, json!("false")).await;
    case.source(json!({ "k": "1" })).await;
    case.sync("s", json!({})).await;
    let why = case.until_stalled("s", "DestinationRefuses").await;
    assert!(why.contains(ACCEPT) && why.contains(&case.dst), "{why}");
    assert_eq!(case.get(&case.dst, "cm").await, None);
    // The watch tells that it accepts again: nobody has to ask, or wait.
    accept(&case, &case.dst, json!(null)).await;
    case.until_copied(json!({ "k": "1" })).await;
    case.until_ready("s").await;
    // What stands there stays, unchanged, and goes with its sync.
    accept(&case, &case.dst, json!("false")).await;
    case.until_stalled("s", "DestinationRefuses").await;
    case.patch(&case.src, "cm", json!({ "data": { "k": "2" } })).await;
    case.patch(&case.dst, "cm", json!({ "data": { "k": "edited" } })).await;
    case.stays(&case.dst, "cm", seconds(1)).await;
    assert_eq!(json!(case.copy().await.data), json!({ "k": "edited" }));
    case.delete_sync("s").await;
    case.until_sync_gone("s").await;
    assert_eq!(case.get(&case.dst, "cm").await, None);
    // One that comes again under its name says for itself.
    case.sync("t", json!({})).await;
    case.until_stalled("t", "DestinationRefuses").await;
    case.delete_namespace(&case.dst).await;
    case.until("t", "Synced", "False", "DestinationNamespaceNotFound").await;
    case.create_namespace(&case.dst).await;
    case.until_copied(json!({ "k": "2" })).await;
    case.until_ready("t").await;
}

#[tokio::test]
async fn some_of_many_namespaces_refuse_and_the_others_are_served() {
    let many = Many::shared("many-refuse").await;
    let case = &many.case;
    case.source(json!({ "k": "1" })).await;
    let (one, two, three) = (many.selected("one").await, many.selected("two").await, many.selected("three").await);
    accept(case, &one, json!("false")).await;
    let theirs = json!({ "data": { "theirs": "x" }, "metadata": { "annotations": { PROTECT: "true" } } });
    let theirs = case.create(&two, "cm", theirs).await;
    many.create("all", json!({ "conflictPolicy": "Overwrite" })).await;
    let status = many.until("all", "SomeCopiesFailed", "1/3").await;
    let told: Vec<_> = status.failures.iter().map(|it| (it.namespace.as_str(), it.reason.as_str())).collect();
    assert_eq!(told, [(&*one, "DestinationRefuses"), (&*two, "DestinationProtected")]);
    assert!(status.conditions.iter().any(|it| it.type_ == "Stalled" && it.status == "True"));
    many.until_copy(&three, "cm", json!({ "k": "1" })).await;
    assert_eq!((case.get(&one, "cm").await, case.get(&two, "cm").await), (None, Some(theirs.clone())));
    // Both let go; then both guard what is a copy by now.
    accept(case, &one, json!(null)).await;
    case.patch(&two, "cm", protect(json!(null))).await;
    many.until("all", "AllCopiesInOrder", "3/3").await;
    accept(case, &one, json!("false")).await;
    let guarded = case.patch(&two, "cm", protect(json!("true"))).await;
    many.until("all", "SomeCopiesFailed", "1/3").await;
    case.patch(&case.src, "cm", json!({ "data": { "k": "2" } })).await;
    many.until_copy(&three, "cm", json!({ "k": "2" })).await;
    many.until("all", "SomeCopiesFailed", "1/3").await;
    assert_eq!(json!(case.get(&one, "cm").await.unwrap().data), json!({ "k": "1" }));
    assert_eq!(case.get(&two, "cm").await.unwrap(), guarded);
    // The object goes: what is ours goes with it, and what is protected holds nobody up.
    many.delete("all").await;
    many.until_gone("all").await;
    assert_eq!((case.get(&one, "cm").await, case.get(&three, "cm").await), (None, None));
    assert_eq!(case.get(&two, "cm").await.unwrap(), guarded);
}

/// The owner sees an Event on his ConfigMap, and puts the annotation on while the operator's PUT is on its way.
#[tokio::test]
async fn protection_that_comes_between_a_look_and_its_write_holds() {
    const TEST: &str = "protection_that_comes_between_a_look_and_its_write_holds";
    let Some(bed) = Bed::own(TEST).await else { return };
    let many = Many::on(Case::on(&bed, "race").await, "race");
    let case = &many.case;
    many.label(&case.dst, json!("yes")).await;
    // Longer requests than by default: the write is held back for some seconds.
    let operator = bed.operator_with("race", &["--lease-duration=15s"]).await;
    bed.until_all_shards_are_held().await;
    eventually("a ConfigMap of every namespace's is there", async || {
        case.get(&case.dst, "kube-root-ca.crt").await.ok_or_else(|| "none".to_owned())
    })
    .await;
    let rule = Rule { operations: &["UPDATE"], failure_policy: "Fail", timeout_seconds: 20, label: "test-race" };
    let webhook = Webhook::in_force(&bed, rule, &case.dst, Answer::After(seconds(0))).await;
    case.source(json!({ "k": "1" })).await;
    case.create(&case.dst, "cm", json!({ "data": { "theirs": "x" } })).await;
    webhook.set(Answer::After(seconds(4)));
    case.sync("s", json!({})).await;
    eventually("the write is on its way", async || {
        let in_flight = operator.metric("configmapsync_writers_in_flight", &[]).await;
        if in_flight == 1.0 { Ok(()) } else { Err(format!("{in_flight}")) }
    })
    .await;
    webhook.set(Answer::After(seconds(0)));
    let guarded = case.patch(&case.dst, "cm", protect(json!("true"))).await;
    assert_eq!(json!(guarded.data), json!({ "theirs": "x" }), "the annotation came first");
    case.until_stalled("s", "DestinationProtected").await;
    let labels = ["verb=\"update\"", "resource=\"configmaps\"", "result=\"conflict\""];
    assert!(operator.metric("configmapsync_writes_total", &labels).await >= 1.0, "the write met the annotation");
    let told = events(case, &case.dst, "cm").await;
    let note = told.iter().find(|(reason, _)| reason == "Adopting").map(|(_, note)| note.clone());
    let note = note.unwrap_or_else(|| panic!("{told:?}"));
    assert!(note.contains(&format!("ConfigMapSync {}/s", case.syncs)) && note.contains(PROTECT), "{note}");
    // While nobody runs: another ConfigMap is protected, and the source changes. Who comes leaves both as they are.
    webhook.lift().await;
    case.create(&case.dst, "other", json!({})).await;
    case.sync("t", json!({ "destinationName": "other" })).await;
    case.until_ready("t").await;
    operator.terminate().await;
    let other = case.patch(&case.dst, "other", protect(json!("true"))).await;
    case.patch(&case.src, "cm", json!({ "data": { "k": "2" } })).await;
    let _operator = bed.holder("next").await;
    case.until_stalled("t", "DestinationProtected").await;
    assert_eq!(case.get(&case.dst, "other").await.unwrap(), other);
    assert_eq!(case.copy().await, guarded);
}

/// Writes wait for their turn. Those that wait when a label comes are not sent.
#[tokio::test]
async fn a_label_stops_a_fan_out_on_its_way() {
    const NAMESPACES: usize = 12;
    let Some(bed) = Bed::own("a_label_stops_a_fan_out_on_its_way").await else { return };
    let many = Many::on(Case::on(&bed, "stop").await, "stop");
    let case = &many.case;
    let _operator = bed.operator_with("slow", &["--write-qps=1"]).await;
    bed.until_all_shards_are_held().await;
    case.source(json!({ "k": "1" })).await;
    let mut namespaces = Vec::new();
    for number in 0..NAMESPACES {
        namespaces.push(many.selected(&format!("n{number}")).await);
    }
    let standing = async || {
        let mut standing = Vec::new();
        for namespace in &namespaces {
            standing.extend(case.get(namespace, "cm").await.map(|_| namespace.clone()));
        }
        standing
    };
    many.create("all", json!({})).await;
    eventually("the first copies stand", async || match standing().await.len() {
        2.. => Ok(()),
        few => Err(format!("{few}")),
    })
    .await;
    for namespace in &namespaces {
        accept(case, namespace, json!("false")).await;
    }
    // The watch has told by now.
    tokio::time::sleep(seconds(1)).await;
    let then = standing().await;
    assert!(then.len() < NAMESPACES - 3, "the fan-out was over before it could be stopped: {then:?}");
    tokio::time::sleep(seconds(4)).await;
    assert_eq!(standing().await, then);
    // It goes on where it was stopped.
    for namespace in &namespaces {
        accept(case, namespace, json!(null)).await;
    }
    many.until("all", "AllCopiesInOrder", &format!("{NAMESPACES}/{NAMESPACES}")).await;
}

#[tokio::test]
async fn forbidden_namespaces_are_not_touched() {
    let Some(bed) = Bed::own("forbidden_namespaces_are_not_touched").await else { return };
    let many = Many::on(Case::on(&bed, "forbidden").await, "forbidden");
    let case = &many.case;
    case.source(json!({ "k": "1" })).await;
    let (open, closed) = (many.selected("open").await, many.selected("closed").await);
    many.create("all", json!({})).await;
    case.sync("s", json!({ "destinationNamespace": closed, "destinationName": "mine" })).await;
    // It stands there when the flag comes.
    let before = bed.holder("before").await;
    many.until("all", "AllCopiesInOrder", "2/2").await;
    eventually("the sync is in order", async || match case.get(&closed, "mine").await {
        Some(copy) => Ok(copy),
        None => Err("none".to_owned()),
    })
    .await;
    before.terminate().await;
    let here = async || (case.get(&closed, "cm").await.unwrap(), case.get(&closed, "mine").await.unwrap());
    let left = here().await;
    let _operator = bed.operator_with("after", &["--forbidden-namespaces=nobody,*-closed"]).await;
    let why = case.until_stalled("s", "DestinationForbidden").await;
    assert!(why.contains("--forbidden-namespaces") && why.contains(&closed), "{why}");
    case.patch(&case.src, "cm", json!({ "data": { "k": "2" } })).await;
    let status = many.until("all", "AllCopiesInOrder", "1/1").await;
    assert_eq!(status.namespaces.map(|it| it.excluded), Some(1));
    many.until_copy(&open, "cm", json!({ "k": "2" })).await;
    // By name it is meant, and the status says why it has none.
    let by_name = json!({ "namespaceSelector": null, "namespaces": [closed], "destinationName": "named" });
    many.create("named", by_name).await;
    let status = many.until("named", "SomeCopiesFailed", "0/1").await;
    assert_eq!(status.failures[0].reason, "DestinationForbidden");
    // Longer than a copy that is not selected any more is kept.
    case.stays(&closed, "cm", seconds(12)).await;
    // Objects go, and leave there what is there.
    for name in ["all", "named"] {
        many.delete(name).await;
        many.until_gone(name).await;
    }
    case.delete_sync("s").await;
    case.until_sync_gone("s").await;
    assert_eq!(case.get(&open, "cm").await, None);
    assert_eq!(here().await, left);
    assert!(!json!(left.0.metadata).to_string().contains(FINALIZER));
}
