//! Kubernetes Events: there for people, and never many.

use serde_json::json;

use crate::harness::{Bed, Case, eventually, seconds};

#[tokio::test]
async fn events_tell_what_happened() {
    let Some(bed) = Bed::own("events_tell_what_happened").await else { return };
    let case = Case::on(&bed, "told").await;
    let _operator = bed.holder("events").await;
    case.source(json!({ "k": "1" })).await;
    case.sync("s", json!({})).await;
    let copy = format!("{}/cm", case.dst);
    let note = case.until_event("s", "Created").await;
    assert!(note.contains(&copy) && note.contains(&format!("{}/cm", case.src)), "{note}");
    case.until_ready("s").await;
    case.patch(&case.src, "cm", json!({ "data": { "k": "2" } })).await;
    case.until_event("s", "Updated").await;
    case.until_ready("s").await;
    case.patch(&case.dst, "cm", json!({ "data": { "k": "tampered" } })).await;
    let note = case.until_event("s", "Repaired").await;
    assert!(note.contains(&copy) && note.contains("kubectl-edit"), "{note}");
    case.create(&case.dst, "before", json!({ "data": { "old": "x" } })).await;
    case.sync("over", json!({ "destinationName": "before" })).await;
    let note = case.until_event("over", "Adopted").await;
    assert!(note.contains(&format!("{}/before", case.dst)) && note.contains("replaced"), "{note}");
    case.sync("late", json!({ "destinationName": "before" })).await;
    let note = case.until_event("late", "DestinationConflict").await;
    assert!(note.contains("over"), "{note}");
    case.sync("none", json!({ "configMapName": "none" })).await;
    case.until_event("none", "SourceNotFound").await;
}

#[tokio::test]
async fn events_are_few_and_hold_nothing_up() {
    let Some(bed) = Bed::own("events_are_few_and_hold_nothing_up").await else { return };
    let case = Case::on(&bed, "few").await;
    let operator = bed.holder("events").await;
    case.source(json!({ "k": "v" })).await;
    let mark = case.mark().unwrap();
    let names: Vec<String> = (0..150).map(|n| format!("s{n}")).collect();
    let begun = std::time::Instant::now();
    futures::future::join_all(names.iter().map(|name| case.sync(name, json!({ "destinationName": name })))).await;
    for name in &names {
        case.until_ready(name).await;
    }
    tokio::time::sleep(seconds(1)).await;
    let audit = bed.cluster().audit().unwrap();
    let sent = audit.since(mark).unwrap();
    let sent =
        sent.iter().filter(|event| event.resource == "events" && event.agent() == "configmapsync-operator").count();
    let allowed = 25 + usize::try_from(begun.elapsed().as_secs()).unwrap() + 1;
    assert!(0 < sent && sent <= allowed, "{sent} Events were sent, {allowed} are allowed");
    eventually("those that were left out are counted", async || {
        let dropped = operator.metric("configmapsync_events_dropped_total", &[]).await;
        if dropped + sent as f64 >= 150.0 { Ok(()) } else { Err(format!("{dropped} dropped, {sent} sent")) }
    })
    .await;
}

#[tokio::test]

async fn a_sync_with_a_long_name_has_events_too() {
    let Some(bed) = Bed::own("a_sync_with_a_long_name_has_events_too").await else { return };
    let case = Case::on(&bed, "long").await;
    let _operator = bed.holder("events").await;
    case.source(json!({ "k": "v" })).await;
    let name = "n".repeat(253);
    case.sync(&name, json!({})).await;
    case.until_ready(&name).await;
    case.until_event(&name, "Created").await;
}
