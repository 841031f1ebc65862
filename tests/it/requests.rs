//! What the operator asks of the API server, by its audit log: requests are the currency of a controller.

use std::collections::BTreeMap;

use serde_json::json;
use testbed::AuditEvent;
use testbed::audit::Mark;

use crate::harness::{Bed, Case, seconds};

/// Tests start operators with a shorter one; the last of a repeated flag counts. With the shipped one no request is owed
/// to a lease that was lost on a busy machine.
pub const SHIPPED_LEASE: &str = "--lease-duration=10s";

/// What operators asked since `mark`, without Events.
pub fn asked(bed: &Bed, mark: Mark) -> Vec<AuditEvent> {
    let mut events = bed.cluster().audit().unwrap().since(mark).unwrap();
    events.retain(|event| event.agent() == "configmapsync-operator" && event.resource != "events");
    events
}

/// As `verb resource`, how often; Leases left out.
pub fn counted(events: &[AuditEvent]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for event in events.iter().filter(|event| event.resource != "leases") {
        *counts.entry(format!("{} {}", event.verb, event.what())).or_default() += 1;
    }
    counts
}

fn expected<const N: usize>(counts: [(&str, usize); N]) -> BTreeMap<String, usize> {
    counts.into_iter().map(|(what, count)| (what.to_owned(), count)).collect()
}

/// Waits until all of these syncs are in order and nothing is asked any more.
async fn settled(case: &Case<'_>, names: &[String]) {
    for name in names {
        case.until_ready(name).await;
    }
    tokio::time::sleep(seconds(1)).await;
}

/// `count` syncs of one source, each into a copy of its own name.
async fn many(case: &Case<'_>, count: usize) -> Vec<String> {
    let names: Vec<String> = (0..count).map(|number| format!("s{number}")).collect();
    for chunk in names.chunks(16) {
        futures::future::join_all(chunk.iter().map(|name| case.sync(name, json!({ "destinationName": name })))).await;
    }
    settled(case, &names).await;
    names
}

#[tokio::test]
async fn a_new_sync_costs_three_requests_and_a_change_one_read_and_two_writes_a_copy() {
    let Some(bed) = Bed::own("a_new_sync_costs_three_requests").await else { return };
    let case = Case::on(&bed, "cost").await;
    let _operator = bed.operator_with("cost", &[SHIPPED_LEASE]).await;
    bed.until_all_shards_are_held().await;
    case.source(json!({ "k": "1" })).await;
    let mark = case.mark().unwrap();
    let names = many(&case, 20).await;
    assert_eq!(
        counted(&asked(&bed, mark)),
        expected([
            ("create configmaps", 20),
            ("get configmaps", 1),
            ("patch configmapsyncs", 20),
            ("update configmapsyncs/status", 20),
        ]),
        "20 new syncs"
    );

    let mark = case.mark().unwrap();
    case.patch(&case.src, "cm", json!({ "data": { "k": "2" } })).await;
    case.until_data(&case.dst, "s19", json!({ "k": "2" })).await;
    settled(&case, &names).await;
    assert_eq!(
        counted(&asked(&bed, mark)),
        expected([("get configmaps", 1), ("update configmaps", 20), ("update configmapsyncs/status", 20)]),
        "a change of the source"
    );

    let mark = case.mark().unwrap();
    case.patch(&case.src, "cm", json!({ "metadata": { "labels": { "team": "blue" } } })).await;
    tokio::time::sleep(seconds(2)).await;
    assert_eq!(
        counted(&asked(&bed, mark)),
        expected([("get configmaps", 1), ("update configmapsyncs/status", 20)]),
        "a label on the source"
    );

    let mark = case.mark().unwrap();
    case.delete(&case.dst, "s3").await;
    case.until_data(&case.dst, "s3", json!({ "k": "2" })).await;
    settled(&case, &names).await;
    assert_eq!(
        counted(&asked(&bed, mark)),
        expected([("create configmaps", 1), ("update configmapsyncs/status", 1)]),
        "a copy that was deleted"
    );

    let mark = case.mark().unwrap();
    case.patch(&case.dst, "s3", json!({ "data": { "k": "tampered" } })).await;
    case.until_data(&case.dst, "s3", json!({ "k": "2" })).await;
    settled(&case, &names).await;
    assert_eq!(
        counted(&asked(&bed, mark)),
        expected([("get configmaps", 2), ("update configmaps", 1), ("update configmapsyncs/status", 1)]),
        "a copy that was changed: it is read, and so is the source, as the last word"
    );

    let mark = case.mark().unwrap();
    for number in 3..13 {
        case.patch(&case.src, "cm", json!({ "data": { "k": number.to_string() } })).await;
    }
    for name in &names {
        case.until_data(&case.dst, name, json!({ "k": "12" })).await;
    }
    settled(&case, &names).await;
    let counts = counted(&asked(&bed, mark));
    assert!(counts["update configmaps"] < 10 * names.len(), "ten changes in a row: {counts:?}");
    assert!(counts["get configmaps"] <= 10, "{counts:?}");

    let mark = case.mark().unwrap();
    futures::future::join_all(names.iter().map(|name| case.delete_sync(name))).await;
    for name in &names {
        case.until_sync_gone(name).await;
    }
    tokio::time::sleep(seconds(1)).await;
    let mut counts = counted(&asked(&bed, mark));
    // Two streams have no common order. Where a sync is seen to go before its copy, it is asked for, and then the copy is taken for a
    // leftover and deleted once more. That happens to a few at most.
    let mut questions = |what: &str| counts.remove(what).unwrap_or(0);
    let (syncs, definitions) = (questions("get configmapsyncs"), questions("get customresourcedefinitions"));
    let again = questions("delete configmaps") - 20;
    assert!(syncs <= names.len() && definitions <= names.len(), "{syncs} syncs and {definitions} definitions are read");
    assert!(again <= 5, "{again} copies are deleted twice");
    assert_eq!(counts, expected([("patch configmapsyncs", 20)]), "20 syncs deleted");
}

#[tokio::test]
async fn with_orphan_the_finalizer_goes_first() {
    let Some(bed) = Bed::own("with_orphan_the_finalizer_goes_first").await else { return };
    let case = Case::on(&bed, "orphan-first").await;
    let _operator = bed.holder("orphan").await;
    case.source(json!({ "k": "1" })).await;
    let mark = case.mark().unwrap();
    case.sync("s", json!({ "deletionPolicy": "Orphan" })).await;
    case.until_ready("s").await;
    let events = asked(&bed, mark);
    // The fleet leader renews its Lease by PATCH.
    let writes = events.iter().filter(|event| event.is_write() && event.resource != "leases");
    let writes: Vec<String> = writes.map(|event| format!("{} {}", event.verb, event.what())).collect();
    assert_eq!(writes, ["patch configmapsyncs", "create configmaps", "update configmapsyncs/status"]);
}
