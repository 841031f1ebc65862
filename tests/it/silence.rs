//! Nothing happens, so nothing is asked: a minute of it at the shipped intervals, and a start with all in order.

use std::collections::BTreeMap;

use serde_json::json;
use testbed::AuditEvent;
use testbed::audit::Mark;

use crate::fleet::{many, until_all_told, until_even};
use crate::harness::{Bed, Case, seconds};
use crate::requests::SHIPPED_LEASE;

const SYNCS: usize = 300;
const REPLICAS: [&str; 3] = ["a", "b", "c"];

/// All that operators asked since `mark`, Events too: the replica, and what it was about.
fn classified(bed: &Bed, mark: Mark) -> BTreeMap<(String, String), usize> {
    let mut counts = BTreeMap::new();
    for event in bed.cluster().audit().unwrap().since(mark).unwrap() {
        if event.agent() == "configmapsync-operator" {
            let replica = event.user_agent.rsplit('(').next().unwrap_or_default().trim_end_matches(')').to_owned();
            *counts.entry((replica, kind(&event))).or_default() += 1;
        }
    }
    counts
}

fn kind(event: &AuditEvent) -> String {
    let lease = match event.name.as_str() {
        _ if event.resource != "leases" => None,
        name if name.starts_with("configmapsync-session-") => Some("session"),
        name if name.starts_with("configmapsync-shard-") => Some("shard"),
        "configmapsync-fleet-leader" => Some("leader"),
        _ => None,
    };
    format!("{} {}", event.verb, lease.map_or_else(|| event.what(), str::to_owned))
}

#[tokio::test]
async fn at_rest_there_are_renewals_and_nothing_else_and_a_restart_reads_lists_alone() {
    let Some(bed) = Bed::own("at_rest_there_are_renewals_and_nothing_else").await else { return };
    let case = Case::on(&bed, "rest").await;
    case.source(json!({ "k": "1" })).await;
    let mut operators = Vec::new();
    for name in REPLICAS {
        operators.push(bed.operator_with(name, &[SHIPPED_LEASE]).await);
    }
    until_even(&bed, &REPLICAS).await;
    many(&case, SYNCS).await;
    until_all_told(&case).await;
    // The Events about the syncs go out one a second: as soon as the last one went, nothing is left to do.
    let mut mark = case.mark().unwrap();
    tokio::time::sleep(seconds(3)).await;
    while classified(&bed, mark).keys().any(|(_, kind)| kind.ends_with("events")) {
        mark = case.mark().unwrap();
        tokio::time::sleep(seconds(3)).await;
    }

    let mark = case.mark().unwrap();
    tokio::time::sleep(seconds(60)).await;
    let asked = classified(&bed, mark);
    for replica in REPLICAS {
        let renewals = asked.get(&(replica.to_owned(), "update session".to_owned())).copied().unwrap_or_default();
        assert!((29..=31).contains(&renewals), "{replica} renews every 2 s, and not {renewals} times a minute");
    }
    for ((replica, kind), count) in &asked {
        let most = match kind.as_str() {
            "update session" => 31,
            // kube-leader-election looks every 5 s, and the leader renews.
            "get leader" | "patch leader" => 13,
            // One each in five minutes.
            "watch configmapsyncs"
            | "watch clusterconfigmapsyncs"
            | "watch configmaps"
            | "watch namespaces"
            | "watch leases" => 1,
            _ => 0,
        };
        assert!(*count <= most, "{replica} asked {count} times for {kind}, at rest");
    }

    for operator in operators {
        assert!(operator.terminate().await.expect("it ends in time").success());
    }
    let mark = case.mark().unwrap();
    let mut again = Vec::new();
    for name in REPLICAS {
        again.push(bed.operator_with(name, &[SHIPPED_LEASE]).await);
    }
    until_even(&bed, &REPLICAS).await;
    tokio::time::sleep(seconds(2)).await;
    for ((replica, kind), count) in classified(&bed, mark) {
        match kind.as_str() {
            _ if ["session", "shard", "leader", "leases"].iter().any(|lease| kind.ends_with(lease)) => {}
            "list configmapsyncs" | "list clusterconfigmapsyncs" | "list configmaps" | "list namespaces" => {
                assert_eq!(count, 1, "{replica}: {kind}; {SYNCS} syncs are less than a page");
            }
            "watch configmapsyncs" | "watch clusterconfigmapsyncs" | "watch configmaps" | "watch namespaces" => {}
            _ => panic!("a start with {SYNCS} syncs in order: {replica} asked {count} times for {kind}"),
        }
    }
    let events = bed.cluster().audit().unwrap().since(mark).unwrap();
    let lists = events.iter().filter(|event| event.verb == "list" && event.agent() == "configmapsync-operator");
    for list in lists {
        assert!(list.uri.contains("limit="), "a list goes by pages: {}", list.uri);
    }
}
