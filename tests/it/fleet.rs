//! Several replicas at once: they share the work, and nothing is lost when one comes, goes, dies or is paused.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::ListParams;
use serde_json::json;
use testbed::process::Signal;

use crate::harness::{Bed, Case, Operator, SYSTEM, Witness, eventually, seconds};
use crate::requests::{SHIPPED_LEASE, asked};

/// How many shards each replica holds, by the Leases; shards without a holder under "".
pub async fn shards(bed: &Bed) -> BTreeMap<String, usize> {
    let leases = Api::<Lease>::namespaced(bed.cluster().client().unwrap(), SYSTEM);
    let list = leases.list(&ListParams::default()).await.unwrap();
    let mut counts = BTreeMap::new();
    for lease in list.items {
        if lease.metadata.name.is_some_and(|name| name.starts_with("configmapsync-shard-")) {
            let holder = lease.spec.and_then(|spec| spec.holder_identity).unwrap_or_default();
            // A session's name goes on with a random number, and with how many it had before.
            let replica = holder.split_once('-').map_or(holder.clone(), |(replica, _)| replica.to_owned());
            *counts.entry(replica).or_default() += 1;
        }
    }
    counts
}

/// Waits until these replicas, and nobody else, hold all shards, even within one.
pub async fn until_even(bed: &Bed, replicas: &[&str]) {
    eventually(format!("{replicas:?} hold all shards, even within one"), async || {
        let counts = shards(bed).await;
        let even = counts.values().all(|held| held.abs_diff(64 / replicas.len()) <= 1);
        let right = counts.keys().map(String::as_str).eq(replicas.iter().copied());
        if even && right && counts.values().sum::<usize>() == 64 { Ok(()) } else { Err(format!("{counts:?}")) }
    })
    .await;
}

pub async fn operators(bed: &Bed, names: &[&str], flags: &[&str]) -> Vec<Operator> {
    let mut operators = Vec::new();
    for name in names {
        operators.push(bed.operator_with(name, flags).await);
    }
    until_even(bed, names).await;
    operators
}

/// `count` syncs of one source, each into a copy of its own name.
pub async fn many(case: &Case<'_>, count: usize) -> Vec<String> {
    let names: Vec<String> = (0..count).map(|number| format!("s{number}")).collect();
    for chunk in names.chunks(16) {
        futures::future::join_all(chunk.iter().map(|name| case.sync(name, json!({ "destinationName": name })))).await;
    }
    for name in &names {
        case.until_ready(name).await;
    }
    names
}

/// Waits until every copy holds this.
pub async fn until_all(case: &Case<'_>, copies: usize, value: &str) {
    eventually(format!("all {copies} copies hold {value}"), async || {
        let list = case.maps(&case.dst).list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        let holds = |map: &&ConfigMap| map.data.as_ref().and_then(|data| data.get("k")).is_some_and(|k| k == value);
        match list.items.iter().filter(holds).count() {
            n if n == copies => Ok(()),
            n => Err(format!("{n} do")),
        }
    })
    .await;
}

/// Waits until every status tells of the source as it is now: what is left undone costs whoever takes over a read.
pub async fn until_all_told(case: &Case<'_>) {
    let source = case.get(&case.src, "cm").await.unwrap().metadata.resource_version.unwrap();
    eventually("all statuses tell of the newest source", async || {
        let list = case.syncs().list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        let told = |sync: &&configmapsync_operator::api::ConfigMapSync| {
            sync.status
                .as_ref()
                .and_then(|status| status.source.as_ref())
                .is_some_and(|told| told.resource_version == source)
        };
        match list.items.iter().filter(told).count() {
            n if n == list.items.len() => Ok(()),
            n => Err(format!("{n} of {} do", list.items.len())),
        }
    })
    .await;
    tokio::time::sleep(seconds(1)).await; // all streams have it
}

pub async fn change(case: &Case<'_>, value: u32) {
    case.patch(&case.src, "cm", json!({ "data": { "k": value.to_string() } })).await;
}

#[tokio::test]
async fn three_replicas_share_the_work_and_shards_move_without_touching_a_sync_or_a_copy() {
    let Some(bed) = Bed::own("three_replicas_share_the_work").await else { return };
    let case = Case::on(&bed, "share").await;
    case.source(json!({ "k": "0" })).await;
    let first = operators(&bed, &["a"], &[SHIPPED_LEASE]).await;
    many(&case, 200).await;
    until_all_told(&case).await;

    let mark = case.mark().unwrap();
    let mut more = Vec::new();
    for name in ["b", "c"] {
        more.push(bed.operator_with(name, &[SHIPPED_LEASE]).await);
    }
    until_even(&bed, &["a", "b", "c"]).await;
    let by_replica = |events: &[testbed::AuditEvent], verb: &str| {
        ["(a)", "(b)", "(c)"].map(|name| {
            events
                .iter()
                .filter(|event| {
                    event.verb == verb && event.user_agent.ends_with(name) && event.resource == "configmaps"
                })
                .count()
        })
    };
    let events = asked(&bed, mark);
    let touched: Vec<String> = events
        .iter()
        .filter(|event| event.resource != "leases" && !["list", "watch"].contains(&event.verb.as_str()))
        .map(|event| format!("{} {} {}", event.verb, event.what(), event.name))
        .collect();
    assert!(touched.is_empty(), "scaling up touched {touched:?}");

    let mark = case.mark().unwrap();
    change(&case, 1).await;
    until_all(&case, 200, "1").await;
    let events = asked(&bed, mark);
    let (reads, writes) = (by_replica(&events, "get"), by_replica(&events, "update"));
    assert_eq!(reads, [1, 1, 1], "one GET a replica");
    assert!(writes.iter().all(|writes| *writes > 20) && writes.iter().sum::<usize>() == 200, "{writes:?}");
    until_all_told(&case).await;

    let mark = case.mark().unwrap();
    for operator in more {
        assert!(operator.terminate().await.is_some_and(|status| status.success()));
    }
    until_even(&bed, &["a"]).await;
    tokio::time::sleep(seconds(1)).await;
    let events = asked(&bed, mark);
    let touched: Vec<_> = events
        .iter()
        .filter(|event| event.resource != "leases" && event.verb != "watch")
        .map(|event| format!("{} {} {}", event.verb, event.what(), event.name))
        .collect();
    assert!(touched.is_empty(), "scaling down touched {touched:?}");
    drop(first);
}

#[tokio::test]
async fn one_of_three_replicas_is_killed_in_the_middle_of_a_fan_out_and_nothing_is_lost() {
    let Some(bed) = Bed::own("one_of_three_replicas_is_killed").await else { return };
    let case = Case::on(&bed, "killed").await;
    case.source(json!({ "k": "0" })).await;
    let mut replicas = operators(&bed, &["a", "b", "c"], &[]).await;
    many(&case, 300).await;
    let witness = Witness::of(case.maps(&case.dst)).await;
    change(&case, 1).await;
    tokio::time::sleep(Duration::from_millis(60)).await;
    replicas.pop().expect("three were started").kill();
    until_all(&case, 300, "1").await;
    until_even(&bed, &["a", "b"]).await;
    change(&case, 2).await;
    until_all(&case, 300, "2").await;
    until_all_told(&case).await;
    witness.no_copy_went_back();
}

#[tokio::test]
async fn a_replica_that_was_paused_for_longer_than_its_lease_takes_nothing_back() {
    let Some(bed) = Bed::own("a_replica_that_was_paused").await else { return };
    let case = Case::on(&bed, "paused").await;
    case.source(json!({ "k": "0" })).await;
    let replicas = operators(&bed, &["a", "b"], &[]).await;
    many(&case, 200).await;
    let witness = Witness::of(case.maps(&case.dst)).await;
    for round in 1..=3u32 {
        change(&case, 10 * round).await;
        tokio::time::sleep(Duration::from_millis(40)).await;
        replicas[1].signal(Signal::Stop);
        until_all(&case, 200, &(10 * round).to_string()).await; // the other one has taken over
        change(&case, 10 * round + 1).await;
        tokio::time::sleep(Duration::from_millis(40)).await;
        replicas[1].signal(Signal::Cont);
        until_all(&case, 200, &(10 * round + 1).to_string()).await;
        until_even(&bed, &["a", "b"]).await;
        tokio::time::sleep(seconds(1)).await; // what was still on its way has landed
        until_all(&case, 200, &(10 * round + 1).to_string()).await;
    }
    witness.no_copy_went_back();
    let anew = replicas[1].said(&["lost the session; beginning a new one"]).len();
    assert_eq!(anew, 3, "one that was taken for dead takes a new identity each time");
    assert!(replicas[0].said(&["lost the session"]).is_empty());
}

#[tokio::test]
async fn one_replica_leads_the_fleet_and_another_follows_it() {
    let Some(bed) = Bed::own("one_replica_leads_the_fleet").await else { return };
    let mut replicas = operators(&bed, &["a", "b", "c"], &[]).await;
    let leads = async |operator: &Operator| operator.metric("leader_election_master_status", &[]).await == 1.0;
    let leader = eventually("one of them leads", async || {
        let mut leaders = Vec::new();
        for (at, operator) in replicas.iter().enumerate() {
            if leads(operator).await {
                leaders.push(at);
            }
        }
        if let [leader] = leaders[..] { Ok(leader) } else { Err(format!("{leaders:?}")) }
    })
    .await;
    eventually("it says that no shard is unheld", async || {
        let unheld = replicas[leader].metric("configmapsync_shards_unheld", &[]).await;
        if unheld == 0.0 { Ok(()) } else { Err(format!("{unheld}")) }
    })
    .await;
    for (at, replica) in replicas.iter().enumerate() {
        let page = replica.get("/metrics").await.unwrap();
        let says = page.lines().any(|line| line.starts_with("configmapsync_shards_unheld ") && !line.ends_with("NaN"));
        assert_eq!(says, at == leader, "the leader alone says how many shards are unheld");
    }
    replicas.remove(leader).kill();
    eventually("another one leads", async || {
        for operator in &replicas {
            if leads(operator).await {
                return Ok(());
            }
        }
        Err("nobody does".to_owned())
    })
    .await;
}

#[tokio::test]
async fn all_replicas_are_replaced_one_by_one_while_the_source_keeps_changing() {
    const COPIES: usize = 100;
    let Some(bed) = Bed::own("all_replicas_are_replaced_one_by_one").await else { return };
    let case = Case::on(&bed, "rolling").await;
    case.source(json!({ "k": "0" })).await;
    let mut replicas = operators(&bed, &["a", "b", "c"], &[]).await;
    many(&case, COPIES).await;
    let witness = Witness::of(case.maps(&case.dst)).await;
    let mut value = 0;
    for name in ["d", "e", "f"] {
        replicas.push(bed.operator(name).await);
        let old = replicas.remove(0);
        let ended = old.terminate();
        tokio::pin!(ended);
        loop {
            value += 1;
            change(&case, value).await;
            if let Ok(ended) = tokio::time::timeout(Duration::from_millis(200), &mut ended).await {
                assert!(ended.is_some_and(|status| status.success()), "it ends by itself, and well");
                break;
            }
        }
    }
    until_even(&bed, &["d", "e", "f"]).await;
    until_all(&case, COPIES, &value.to_string()).await;
    until_all_told(&case).await;
    witness.no_copy_went_back();
}
