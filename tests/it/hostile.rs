//! What anyone may write must hurt nobody but its author: forged marks, and objects with much on them.

use std::time::Duration;

use configmapsync_operator::api::ConfigMapSync;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::Api;
use kube::api::PostParams;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::harness::{Bed, Case, Operator, PREFIX, eventually, eventually_within, seconds};
use crate::requests::asked;

/// The labels and annotations of a copy of `sync` (namespace/name/UID) that stands as `name` in a namespace with this UID.
fn marks(sync: &str, namespace: &str, name: &str) -> Value {
    let parts: Vec<&str> = sync.split('/').collect();
    let mark = |key: &str| format!("{PREFIX}{key}");
    json!({
        "labels": {
            (mark("sync-name")): parts[1], (mark("sync-namespace")): parts[0],
            (mark("managed-by")): "configmapsync-controller",
        },
        "annotations": {
            (mark("sync")): sync,
            (mark("source")): format!("{}/cm/11111111-2222-3333-4444-555555555555/1", parts[0]),
            (mark("source-hash")): "0".repeat(64),
            (mark("last-sync")): "2026-01-01T00:00:00Z",
            (mark("at")): format!("{namespace}/{name}"),
        },
    })
}

async fn uid_of(case: &Case<'_>, namespace: &str) -> String {
    Api::<Namespace>::all(case.client.clone()).get(namespace).await.unwrap().metadata.uid.unwrap()
}

/// A sync that the operator saw come and go; its UID.
async fn departed(case: &Case<'_>, name: &str) -> String {
    let sync = case.sync(name, json!({ "destinationName": name })).await;
    case.until_ready(name).await;
    case.delete_sync(name).await;
    case.until_sync_gone(name).await;
    sync.metadata.uid.unwrap()
}

#[tokio::test]
async fn a_forged_mark_that_names_no_sync_makes_no_request() {
    let Some(bed) = Bed::own("a_forged_mark_that_names_no_sync_makes_no_request").await else { return };
    let case = Case::on(&bed, "forged-name").await;
    let tenant = case.namespace("tenant").await;
    let operator = bed.holder("forged-name").await;
    case.source(json!({ "k": "v" })).await;
    let home = uid_of(&case, &tenant).await;
    // The operator goes at once by the mark of a sync that it saw go; by others it goes after five minutes.
    let forged = [
        ("no-name", "", case.syncs.as_str()),
        ("query", "x?limit=500", &case.syncs),
        ("fragment", "#", &case.syncs),
        ("dots", "..", &case.syncs),
        ("encoded", "..%2f..%2f..", &case.syncs),
        ("capital", "Sync", &case.syncs),
        ("long", &"a".repeat(4000), &case.syncs),
        // Without a namespace it names a ClusterConfigMapSync, whose name may not be just anything either.
        ("no-namespace", "..", ""),
        ("namespace-dots", "x", ".."),
    ];
    let mut uids = Vec::new();
    for (name, ..) in &forged {
        uids.push(departed(&case, name).await);
    }
    let right = departed(&case, "right").await;

    let mark = case.mark().unwrap();
    let mut made = Vec::new();
    for ((name, sync, namespace), uid) in forged.iter().zip(&uids) {
        let mut metadata = marks(&format!("{namespace}/{sync}/{uid}"), &home, name);
        // A label could not hold it, and is not what counts.
        metadata.as_object_mut().unwrap().remove("labels");
        let map = case.create(&tenant, name, json!({ "metadata": metadata, "data": { "k": "theirs" } })).await;
        made.push(map);
    }
    // That the operator has looked at them is seen by one that is swept: its mark names a sync that is gone.
    let swept = marks(&format!("{}/right/{right}", case.syncs), &home, "swept");
    case.create(&tenant, "swept", json!({ "metadata": swept })).await;
    case.until_gone(&tenant, "swept").await;
    tokio::time::sleep(seconds(3)).await;

    let events = asked(&bed, mark);
    let asked_for: Vec<String> = events
        .iter()
        .filter(|event| event.verb != "watch" && event.resource != "leases")
        .map(|event| format!("{} {}", event.verb, event.uri))
        .filter(|request| {
            !request.contains("/configmapsyncs/right") && !request.contains("/customresourcedefinitions/")
        })
        .filter(|request| !request.contains("/configmaps/swept"))
        .collect();
    assert!(asked_for.is_empty(), "a forged mark made requests: {asked_for:#?}");
    for before in made {
        let name = before.metadata.name.clone().unwrap();
        assert_eq!(case.get(&tenant, &name).await, Some(before), "{name} is its author's");
    }
    assert!(operator.is_running());
    assert_eq!(operator.said(&["panicked"]), Vec::<String>::new());
}

#[tokio::test]
async fn forged_marks_of_a_living_sync_do_not_hold_up_its_end() {
    const FORGED: usize = 300;
    let Some(bed) = Bed::own("forged_marks_of_a_living_sync").await else { return };
    let case = Case::on(&bed, "forged-uid").await;
    let forger = case.namespace("forger").await;
    let operator = bed.holder("forged-uid").await;
    case.until_a_sync_works().await;
    let victim = format!("{}/s/{}", case.syncs, case.syncs().get("s").await.unwrap().metadata.uid.unwrap());
    let home = uid_of(&case, &forger).await;
    let forged: Vec<Value> = (0..FORGED)
        .map(|number| {
            let name = format!("forged{number}");
            let mut metadata = marks(&victim, &home, &name);
            metadata["name"] = json!(name);
            if number == 0 {
                metadata["finalizers"] = json!(["example.com/for-ever"]);
            }
            json!({ "metadata": metadata, "data": { "k": "v" } })
        })
        .collect();
    made(&case.maps(&forger), forged).await;
    tokio::time::sleep(seconds(2)).await; // the stream has them
    // It works as before, and says so.
    case.patch(&case.src, "cm", json!({ "data": { "k": "w" } })).await;
    case.until_copied(json!({ "k": "w" })).await;
    case.until_ready("s").await;
    case.delete_sync("s").await;
    case.until_gone(&case.dst, "cm").await;
    case.until_sync_gone("s").await;
    assert!(operator.is_running());
    case.patch(&forger, "forged0", json!({ "metadata": { "finalizers": null } })).await;
}

// --- objects with much on them -----------------------------------------------------------------------------------

/// Of an annotation of somebody's; 256 KiB are allowed.
const NOTE: usize = 200 * 1024;
/// A replica has 128 MiB.
const MOST: u64 = 100 << 20;

/// The metadata of an object with an annotation of 200 KB.
fn with_a_note(name: &str) -> Value {
    json!({ "name": name, "annotations": { "example.com/last-applied": "x".repeat(NOTE) } })
}

/// Creates them, a few at a time.
async fn made<K>(api: &Api<K>, objects: Vec<Value>)
where
    K: Clone + DeserializeOwned + Serialize + std::fmt::Debug,
{
    for chunk in objects.chunks(8) {
        let created = chunk.iter().map(async |object| {
            let object: K = serde_json::from_value(object.clone()).unwrap();
            api.create(&PostParams::default(), &object).await.unwrap()
        });
        futures::future::join_all(created).await;
    }
}

/// A replica that starts is ready, serves, and never holds much. It goes on until it is dropped.
#[must_use]
async fn a_replica_stays_small(bed: &Bed, case: &Case<'_>) -> Operator {
    // Nothing else on the machine is waited for longer than this.
    const READY_WITHIN: Duration = seconds(120);
    let operator = bed.operator_in_need("small").await;
    eventually_within(READY_WITHIN, "the operator is ready", async || operator.get("/readyz").await).await;
    let ready = operator.peak_memory();
    bed.until_all_shards_are_held().await;
    case.source(json!({ "k": "v" })).await;
    case.sync("served", json!({})).await;
    case.until_copied(json!({ "k": "v" })).await;
    eventually("the queue is empty", async || match operator.metric("workqueue_depth", &[]).await {
        0.0 => Ok(()),
        depth => Err(depth.to_string()),
    })
    .await;
    let peak = operator.peak_memory();
    println!("peak: {} MiB when ready, {} MiB later", ready >> 20, peak >> 20);
    assert!(peak < MOST, "it once held {} MiB ({} MiB by the time it was ready)", peak >> 20, ready >> 20);
    operator
}

#[tokio::test]
async fn what_others_put_on_their_configmaps_costs_a_replica_no_memory() {
    let Some(bed) = Bed::own("what_others_put_on_their_configmaps").await else { return };
    let case = Case::on(&bed, "noted-maps").await;
    let crowd = case.namespace("crowd").await;
    let objects = (0..600).map(|number| json!({ "metadata": with_a_note(&format!("cm{number}")) })).collect();
    made(&case.maps(&crowd), objects).await;
    drop(a_replica_stays_small(&bed, &case).await);
}

#[tokio::test]
async fn what_others_put_on_syncs_costs_a_replica_no_memory() {
    let Some(bed) = Bed::own("what_others_put_on_syncs").await else { return };
    let case = Case::on(&bed, "noted-syncs").await;
    let spec = |name: &str| case.spec(json!({ "configMapName": "none", "destinationName": name }));
    let object = |name: String| json!({ "metadata": with_a_note(&name), "spec": spec(&name) });
    let objects = (0..300).map(|number| object(format!("noted{number}"))).collect();
    made::<ConfigMapSync>(&case.syncs(), objects).await;
    drop(a_replica_stays_small(&bed, &case).await);
}

#[tokio::test]
async fn what_others_put_on_namespaces_costs_a_replica_no_memory() {
    let Some(bed) = Bed::own("what_others_put_on_namespaces").await else { return };
    let case = Case::on(&bed, "noted-spaces").await;
    let object = |number| json!({ "metadata": with_a_note(&case.name(&format!("noted{number}"))) });
    made::<Namespace>(&Api::all(case.client.clone()), (0..300).map(object).collect()).await;
    drop(a_replica_stays_small(&bed, &case).await);
}

#[tokio::test]
async fn what_others_put_on_copies_costs_a_replica_no_memory() {
    let Some(bed) = Bed::own("what_others_put_on_copies").await else { return };
    let case = Case::on(&bed, "noted-copies").await;
    // Each is read whole before it is written, since what is on it is kept.
    let names: Vec<String> = (0..200).map(|number| format!("noted{number}")).collect();
    let objects = names.iter().map(|name| json!({ "metadata": with_a_note(name), "data": { "old": "x" } })).collect();
    made::<ConfigMap>(&case.maps(&case.dst), objects).await;
    let spec = |name: &str| case.spec(json!({ "configMapName": "many", "destinationName": name }));
    let syncs = names.iter().map(|name| json!({ "metadata": { "name": name }, "spec": spec(name) })).collect();
    made::<ConfigMapSync>(&case.syncs(), syncs).await;
    case.create(&case.src, "many", json!({ "data": { "k": "v" } })).await;
    let _operator = a_replica_stays_small(&bed, &case).await;
    case.until_data(&case.dst, &names[0], json!({ "k": "v" })).await;
    let adopted = case.get(&case.dst, &names[0]).await.unwrap();
    assert_eq!(adopted.metadata.annotations.unwrap()["example.com/last-applied"].len(), NOTE);
}

#[tokio::test]
async fn many_large_sources_that_change_at_once_cost_a_replica_no_memory() {
    const SOURCES: usize = 64;
    let Some(bed) = Bed::own("many_large_sources").await else { return };
    let case = Case::on(&bed, "large").await;
    let operator = bed.holder("large").await;
    let content = |letter: &str| json!({ "data": { "k": letter.repeat(900_000) } });
    let names: Vec<String> = (0..SOURCES).map(|number| format!("large{number}")).collect();
    let sources = names.iter().map(|name| {
        let mut source = content("a");
        source["metadata"] = json!({ "name": name });
        source
    });
    made::<ConfigMap>(&case.maps(&case.src), sources.collect()).await;
    let syncs = names.iter().map(|name| {
        let spec = case.spec(json!({ "configMapName": name }));
        json!({ "metadata": { "name": name }, "spec": spec })
    });
    made::<ConfigMapSync>(&case.syncs(), syncs.collect()).await;
    // A label of somebody else's on each copy: it is read whole before it is written.
    let labelled = |name: &String| (name.clone(), json!({ "metadata": { "labels": { "theirs": "yes" } } }));
    for (name, label) in names.iter().map(labelled) {
        eventually_within(seconds(120), format!("{name} is copied"), async || {
            case.get(&case.dst, &name).await.map(drop).ok_or_else(|| "not yet".to_owned())
        })
        .await;
        case.patch(&case.dst, &name, label).await;
    }
    futures::future::join_all(names.iter().map(|name| case.patch(&case.src, name, content("b")))).await;
    for name in &names {
        eventually_within(seconds(120), format!("{name} has the change"), async || {
            let copy = case.get(&case.dst, name).await.unwrap();
            let changed = copy.data.is_some_and(|data| data["k"].starts_with('b'));
            let kept = copy.metadata.labels.is_some_and(|labels| labels.contains_key("theirs"));
            if changed && kept { Ok(()) } else { Err(format!("changed: {changed}, label kept: {kept}")) }
        })
        .await;
    }
    let peak = operator.peak_memory();
    println!("peak: {} MiB", peak >> 20);
    assert!(peak < MOST, "it once held {} MiB", peak >> 20);
}

#[tokio::test]
async fn forty_sources_that_change_at_once_are_read_once_each() {
    const SOURCES: usize = 40;
    const COPIES: usize = 10;
    let Some(bed) = Bed::own("forty_sources").await else { return };
    let case = Case::on(&bed, "forty").await;
    let _operator = bed.holder("forty").await;
    let content = |letter: &str| json!({ "k": letter.repeat(150_000) });
    let names: Vec<String> = (0..SOURCES).map(|number| format!("s{number}")).collect();
    let sources = names.iter().map(|name| json!({ "metadata": { "name": name }, "data": content("a") }));
    made::<ConfigMap>(&case.maps(&case.src), sources.collect()).await;
    let copies: Vec<(String, String)> = names
        .iter()
        .flat_map(|name| (0..COPIES).map(move |number| (name.clone(), format!("{name}-{number}"))))
        .collect();
    let syncs = copies.iter().map(|(source, copy)| {
        let spec = case.spec(json!({ "configMapName": source, "destinationName": copy }));
        json!({ "metadata": { "name": copy }, "spec": spec })
    });
    made::<ConfigMapSync>(&case.syncs(), syncs.collect()).await;
    for (_, copy) in &copies {
        case.until_ready(copy).await;
    }
    let mark = case.mark().unwrap();
    futures::future::join_all(names.iter().map(|name| case.patch(&case.src, name, json!({ "data": content("b") }))))
        .await;
    for (_, copy) in &copies {
        eventually_within(seconds(120), format!("{copy} has the change"), async || {
            let data = case.get(&case.dst, copy).await.and_then(|copy| copy.data).unwrap_or_default();
            if data["k"].starts_with('b') { Ok(()) } else { Err("not yet".to_owned()) }
        })
        .await;
    }
    let reads = case.requests(mark).get("get configmaps").copied().unwrap_or_default();
    println!("{reads} reads of {SOURCES} sources");
    assert_eq!(reads, SOURCES, "one read of each source serves its {COPIES} copies");
}
