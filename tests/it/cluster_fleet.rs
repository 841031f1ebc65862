//! One object, many namespaces: many replicas.

use kube::api::{DeleteParams, PostParams};
use serde_json::json;

use crate::harness::{Bed, Case, Many, PREFIX, eventually, seconds, stays};

const FULL: &str = "this namespace is full";

/// A policy that refuses new ConfigMaps in one namespace.
fn refusing_copies_in(namespace: &str) -> String {
    json!({ "apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
            "metadata": { "name": "full" },
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": { "resourceRules": [{
                    "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE"],
                }] },
                "validations": [{ "expression": "false", "message": FULL }],
            },
        },
        {
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": { "name": "full" },
            "spec": {
                "policyName": "full", "validationActions": ["Deny"],
                "matchResources": { "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": namespace } } },
            },
        },
    ] })
    .to_string()
}

/// Two replicas, and a namespace that refuses its copy: who counts the copies need not be who was refused.
#[tokio::test]
async fn replicas_share_one_fan_out_and_tell_each_other_of_refusals() {
    let Some(bed) = Bed::own("many-fleet").await else { return };
    let many = Many::on(Case::on(&bed, "many-fleet").await, "many-fleet");
    let case = &many.case;
    let (a, b) = (bed.operator("a").await, bed.operator("b").await);
    bed.until_all_shards_are_held().await;
    case.source(json!({ "k": "1" })).await;
    let mut namespaces = Vec::new();
    for number in 0..20 {
        namespaces.push(many.selected(&format!("n{number}")).await);
    }
    let full = &namespaces[7];
    let policy = refusing_copies_in(full);
    case.kubectl(&["apply", "-f", "-"], &policy).await.unwrap();
    let probe = || async {
        let probe = serde_json::from_value(json!({ "metadata": { "name": "probe" } })).unwrap();
        case.maps(full).create(&PostParams { dry_run: true, ..PostParams::default() }, &probe).await
    };
    eventually("the policy is in force", async || match probe().await {
        Err(refusal) if refusal.to_string().contains(FULL) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    // One object for each of several shards: each replica counts some of them, and writes some of the copies.
    for number in 0..6 {
        many.create(&format!("all-{number}"), json!({ "destinationName": format!("copy-{number}") })).await;
    }
    for number in 0..6 {
        let status = many.until(&format!("all-{number}"), "SomeCopiesFailed", "19/20").await;
        assert_eq!((&*status.failures[0].namespace, &*status.failures[0].reason), (&**full, "CreateFailed"));
        assert!(status.failures[0].message.contains(FULL), "{:?}", status.failures);
    }
    let written = [&a, &b].map(|operator| async {
        operator
            .metric("configmapsync_writes_total", &["verb=\"create\"", "resource=\"configmaps\"", "result=\"ok\""])
            .await
    });
    for written in written {
        assert!(written.await > 10.0, "each replica writes its share");
    }
    case.kubectl(&["delete", "-f", "-"], &policy).await.unwrap();
    eventually("the policy is lifted", async || probe().await.map(drop).map_err(|error| error.to_string())).await;
    // What was refused is tried again after a while; asked for, it is tried at once.
    for number in 0..6 {
        many.patch(
            &format!("all-{number}"),
            json!({ "metadata": { "annotations": { (format!("{PREFIX}requested-at")): "now" } } }),
        )
        .await;
    }
    for number in 0..6 {
        many.until(&format!("all-{number}"), "AllCopiesInOrder", "20/20").await;
    }
    // A replica goes in the middle of a change: none is missed.
    case.patch(&case.src, "cm", json!({ "data": { "k": "2" } })).await;
    drop(b);
    for namespace in &namespaces {
        for number in 0..6 {
            many.until_copy(namespace, &format!("copy-{number}"), json!({ "k": "2" })).await;
        }
    }
    for number in 0..6 {
        many.until(&format!("all-{number}"), "AllCopiesInOrder", "20/20").await;
    }
    // A namespace that comes has its copies soon, and how soon is told.
    namespaces.push(many.selected("late").await);
    for number in 0..6 {
        many.until(&format!("all-{number}"), "AllCopiesInOrder", "21/21").await;
    }
    assert!(a.metric("configmapsync_namespace_sync_duration_seconds_count", &[]).await >= 1.0);
    // After a restart nothing is written.
    drop(a);
    let before = many.versions(&namespaces).await;
    let _again = bed.holder("again").await;
    stays("copies and objects", seconds(4), async || many.versions(&namespaces).await == before).await;
}

/// What a holder knows goes with its shards: whoever takes them reads nothing.
#[tokio::test]
async fn a_restart_and_a_hand_over_read_and_write_no_copy() {
    let Some(bed) = Bed::own("many-restart").await else { return };
    let many = Many::on(Case::on(&bed, "many-restart").await, "many-restart");
    let case = &many.case;
    let a = bed.holder("a").await;
    case.source(json!({ "k": "1" })).await;
    let mut namespaces = Vec::new();
    for number in 0..20 {
        namespaces.push(many.selected(&format!("n{number}")).await);
    }
    many.create("all", json!({})).await;
    many.until("all", "AllCopiesInOrder", "20/20").await;
    let at_rest = |since| async move {
        tokio::time::sleep(seconds(3)).await;
        case.requests(since).into_keys().collect::<Vec<_>>()
    };
    // The fleet is scaled to nothing and back.
    a.terminate().await;
    let since = case.mark().unwrap();
    let b = bed.holder("b").await;
    assert_eq!(at_rest(since).await, Vec::<String>::new());
    // A second replica takes its share.
    let since = case.mark().unwrap();
    let c = bed.operator("c").await;
    eventually("the second replica holds its share", async || {
        let held = c.metric("configmapsync_shards_held", &[]).await;
        if held == 32.0 { Ok(()) } else { Err(format!("{held}")) }
    })
    .await;
    assert_eq!(at_rest(since).await, Vec::<String>::new());
    // A crash: who lives has seen all that happened, and reads what was touched alone.
    let since = case.mark().unwrap();
    case.patch(&namespaces[3], "cm", json!({ "metadata": { "labels": { "team": "blue" } } })).await;
    b.kill();
    eventually("the survivor holds all shards", async || {
        let held = c.metric("configmapsync_shards_held", &[]).await;
        if held == 64.0 { Ok(()) } else { Err(format!("{held}")) }
    })
    .await;
    tokio::time::sleep(seconds(2)).await;
    let gets = case.requests(since).get("get configmaps").copied().unwrap_or_default();
    assert!(gets <= 3, "{gets} GETs: the touched copy, twice, and the source");
    // What was touched while nobody looked is found.
    c.terminate().await;
    case.patch(&namespaces[5], "cm", json!({ "data": { "k": "by hand" } })).await;
    let _d = bed.holder("d").await;
    many.until_copy(&namespaces[5], "cm", json!({ "k": "1" })).await;
    many.until("all", "AllCopiesInOrder", "20/20").await;
}

/// Nobody has watched, and no digest was left: what was touched meanwhile is found without a GET for each copy.
#[tokio::test]
async fn after_a_crash_of_the_whole_fleet_copies_are_read_by_pages() {
    const COPIES: usize = 60;
    let Some(bed) = Bed::own("many-crash").await else { return };
    let many = Many::on(Case::on(&bed, "many-crash").await, "many-crash");
    let case = &many.case;
    let a = bed.holder("a").await;
    case.source(json!({ "k": "1" })).await;
    let mut namespaces = Vec::new();
    for number in 0..COPIES {
        namespaces.push(many.selected(&format!("n{number}")).await);
    }
    many.create("all", json!({})).await;
    let all = format!("{COPIES}/{COPIES}");
    many.until("all", "AllCopiesInOrder", &all).await;
    a.kill();
    case.patch(&namespaces[5], "cm", json!({ "data": { "k": "by hand" } })).await;
    case.maps(&namespaces[9]).delete("cm", &DeleteParams::default()).await.unwrap();
    let since = case.mark().unwrap();
    let _b = bed.holder("b").await;
    for namespace in [&namespaces[5], &namespaces[9]] {
        many.until_copy(namespace, "cm", json!({ "k": "1" })).await;
    }
    many.until("all", "AllCopiesInOrder", &all).await;
    let requests = case.requests(since);
    let count = |what: &str| requests.get(what).copied().unwrap_or_default();
    assert_eq!((count("create configmaps"), count("update configmaps")), (1, 1), "{requests:?}");
    assert!(count("get configmaps") <= 4, "the touched copy, and the source: {requests:?}");
}

/// A replica of a version before this kind holds shards beside one of this version, as in a rolling update: it harms no copy of the kind
/// that it does not know, and once it is gone all is made good.
/// `OLD_OPERATOR=/path/to/configmapsync-operator cargo test --test it -- --ignored an_older_replica_harms_no_copy`
#[tokio::test]
#[ignore = "it needs the program of an older version"]
async fn an_older_replica_harms_no_copy() {
    let program = std::env::var("OLD_OPERATOR").expect("OLD_OPERATOR is the path of an older operator");
    let Some(bed) = Bed::own("older-replica").await else { return };
    let many = Many::on(Case::on(&bed, "older").await, "older");
    let case = &many.case;
    let new = bed.holder("new").await;
    case.source(json!({ "k": "1" })).await;
    let mut namespaces = Vec::new();
    for number in 0..40 {
        namespaces.push(many.selected(&format!("n{number}")).await);
    }
    many.create("all", json!({})).await;
    many.create("going", json!({ "destinationName": "going" })).await;
    many.until("all", "AllCopiesInOrder", "40/40").await;
    many.until("going", "AllCopiesInOrder", "40/40").await;
    let mark = case.mark().unwrap();
    let before = many.versions(&namespaces).await;
    let old = bed.operator_of(&program, "old").await;
    eventually("the older one holds its half of the shards", async || {
        match old.metric("configmapsync_shards_held", &[]).await {
            32.0 => Ok(()),
            held => Err(format!("{held}")),
        }
    })
    .await;
    case.sync("s", json!({ "destinationName": "of-a-sync" })).await;
    case.until_ready("s").await;
    stays("copies and objects", seconds(15), async || many.versions(&namespaces).await == before).await;
    // What happens meanwhile waits for it to go, as far as it concerns its shards.
    many.delete("going").await;
    tokio::time::sleep(seconds(5)).await;
    case.patch(&case.src, "cm", json!({ "data": { "k": "2" } })).await;
    tokio::time::sleep(seconds(10)).await;
    let mut there = 0;
    for namespace in &namespaces {
        assert!(case.get(namespace, "cm").await.is_some(), "{namespace}");
        there += usize::from(case.get(namespace, "going").await.is_some());
    }
    println!("{there} of 40 copies of the object that goes wait for the older replica to go");
    assert!(old.terminate().await.is_some_and(|status| status.success()));
    for namespace in &namespaces {
        many.until_copy(namespace, "cm", json!({ "k": "2" })).await;
    }
    many.until("all", "AllCopiesInOrder", "40/40").await;
    many.until_gone("going").await;
    let counts = case.requests(mark);
    assert_eq!(counts.get("delete configmaps"), Some(&40), "those of the object that went: {counts:?}");
    assert_eq!(
        counts.get("update configmaps"),
        Some(&41),
        "one for each copy of the other, and that of the sync: {counts:?}"
    );
    drop(new);
}
