//! What the operator shows of itself: metrics, logs, what it would write.

use std::collections::BTreeSet;

use configmapsync_operator::telemetry::instruments;
use serde_json::{Value, json};

use crate::harness::{Bed, Case, eventually, seconds};
use crate::requests::asked;

/// Some of everything: copies made, renewed, repaired, taken away; one that cannot be made.
async fn some_work(case: &Case<'_>) {
    case.source(json!({ "k": "1" })).await;
    for name in ["zebra", "okapi", "tapir"] {
        case.sync(name, json!({ "destinationName": name })).await;
    }
    case.sync("no-source", json!({ "configMapName": "none" })).await;
    for name in ["zebra", "okapi", "tapir"] {
        case.until_ready(name).await;
    }
    case.patch(&case.src, "cm", json!({ "data": { "k": "2" } })).await;
    for name in ["zebra", "okapi", "tapir"] {
        case.until_data(&case.dst, name, json!({ "k": "2" })).await;
        case.until_ready(name).await;
    }
    case.patch(&case.dst, "okapi", json!({ "data": { "k": "by hand" } })).await;
    case.until_data(&case.dst, "okapi", json!({ "k": "2" })).await;
    case.until_ready("okapi").await;
    case.delete_sync("tapir").await;
    case.until_sync_gone("tapir").await;
    case.until("no-source", "SourceAvailable", "False", "SourceNotFound").await;
}

#[tokio::test]
async fn metrics_tell_what_was_done_and_name_nobody() {
    let Some(bed) = Bed::own("metrics_tell_what_was_done_and_name_nobody").await else { return };
    let case = Case::on(&bed, "measured").await;
    let operator = bed.holder("measured").await;
    some_work(&case).await;
    let at_least = [
        ("configmapsync_build_info", vec!["version="], 1.0),
        ("configmapsync_fanout_duration_seconds_count", vec![], 1.0),
        ("configmapsync_propagation_seconds_count", vec![], 3.0),
        ("configmapsync_source_reads_total", vec!["result="], 2.0),
        ("configmapsync_writes_total", vec![r#"verb="create""#, r#"resource="configmaps""#, r#"result="ok""#], 3.0),
        ("configmapsync_writes_total", vec![r#"verb="update""#, r#"resource="configmaps""#, r#"result="ok""#], 4.0),
        ("configmapsync_writes_total", vec![r#"verb="delete""#, r#"resource="configmaps""#, r#"result="ok""#], 1.0),
        ("configmapsync_writes_total", vec![r#"verb="patch""#, r#"resource="configmapsyncs""#, r#"result="ok""#], 4.0),
        ("configmapsync_writes_total", vec![r#"resource="configmapsyncs/status""#, r#"result="ok""#], 8.0),
        ("configmapsync_lease_renewals_total", vec!["result="], 1.0),
        ("configmapsync_shard_handovers_total", vec!["reason="], 64.0),
        ("leader_election_master_status", vec!["name="], 1.0),
        ("workqueue_adds_total", vec!["name="], 8.0),
        ("workqueue_queue_duration_seconds_count", vec!["name="], 8.0),
        ("workqueue_work_duration_seconds_count", vec!["name="], 8.0),
        ("rest_client_requests_total", vec![r#"code="201""#, r#"method="POST""#], 3.0),
        ("rest_client_requests_total", vec![r#"code="200""#, r#"method="PUT""#], 12.0),
        ("rest_client_request_duration_seconds_count", vec!["verb="], 20.0),
        ("controller_runtime_reconcile_total", vec!["controller=", r#"result="success""#], 4.0),
        ("controller_runtime_reconcile_time_seconds_count", vec!["controller="], 4.0),
        ("process_resident_memory_bytes", vec![], 1e6),
        ("process_cpu_seconds_total", vec![], 0.0001),
    ];
    for (name, labels, least) in &at_least {
        eventually(format!("{name} {labels:?} is at least {least}"), async || {
            let value = operator.metric(name, labels).await;
            if value >= *least { Ok(()) } else { Err(value.to_string()) }
        })
        .await;
    }
    eventually("the gauges tell of rest", async || {
        let held = operator.metric("configmapsync_shards_held", &[]).await;
        let waiting = operator.metric("configmapsync_queue_depth", &[]).await;
        let depth = operator.metric("workqueue_depth", &[]).await;
        if (held, waiting, depth) == (64.0, 0.0, 0.0) { Ok(()) } else { Err(format!("{held} {waiting} {depth}")) }
    })
    .await;
    let page = operator.get("/metrics").await.unwrap();
    let samples = |name: &str| page.lines().filter(|line| line.starts_with(name)).count();
    assert_eq!(samples("configmapsync_queue_depth{lane="), 3, "a sample for each lane, be it 0");
    for stream in ["configmapsyncs", "configmaps", "namespaces"] {
        assert_eq!(samples(&format!("configmapsync_watch_age_seconds{{stream=\"{stream}\"}}")), 1, "{stream}");
        let age = operator.metric("configmapsync_watch_age_seconds", &[stream]).await;
        assert!((0.0..120.0).contains(&age), "{stream} {age}");
    }
    eventually("no shard is unheld", async || match operator.metric("configmapsync_shards_unheld", &[]).await {
        0.0 => Ok(()),
        unheld => Err(format!("{unheld} are")),
    })
    .await;
    assert!(operator.metric("configmapsync_fanout_duration_seconds_sum", &[]).await < 60.0);
    assert!(operator.metric("process_resident_memory_bytes", &[]).await < 1e9);
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        for name in [&case.src, &case.dst, &case.syncs, "zebra", "okapi", "tapir", "no-source"] {
            assert!(!line.contains(name), "{name} stands in {line}");
        }
    }
}

/// The metrics of a page: each name, histograms' samples under their own, with what its TYPE line says.
fn names(page: &str) -> BTreeSet<(&str, &str)> {
    let types: BTreeSet<(&str, &str)> =
        page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let of_sample = |line: &'_ str| line.split(['{', ' ']).next().unwrap_or_default().to_owned();
    for sample in page.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(of_sample) {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| sample.strip_suffix(end)).unwrap_or(&sample);
        let known = types.contains(&(base, "histogram")) || types.iter().any(|(name, _)| *name == sample);
        assert!(known, "{sample} has no TYPE");
    }
    types
}

#[tokio::test]
async fn every_metric_stands_in_the_table_with_its_kind_and_a_sentence() {
    let Some(bed) = Bed::own("every_metric_stands_in_the_table").await else { return };
    let case = Case::on(&bed, "table").await;
    let operator = bed.holder("table").await;
    some_work(&case).await;
    tokio::time::sleep(seconds(3)).await; // gauges are set every two seconds
    let page = operator.get("/metrics").await.unwrap();
    for (name, kind) in names(&page) {
        assert!(page.contains(&format!("# HELP {name} ")), "{name} has no sentence");
        if name.starts_with("process_") {
            continue;
        }
        let one = instruments::ALL.iter().find(|one| one.name == name);
        let one = one.unwrap_or_else(|| panic!("{name} is on /metrics and not in the table"));
        assert_eq!(format!("{:?}", one.kind).to_lowercase(), kind, "{name}");
        for line in page.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{'))) {
            for label in one.labels {
                assert!(line.contains(&format!("{label}=\"")), "{label} is missing in {line}");
            }
        }
    }
}

#[tokio::test]
async fn log_lines_are_json_and_those_about_a_sync_say_which_and_in_what_shard() {
    let Some(bed) = Bed::own("log_lines_are_json").await else { return };
    let case = Case::on(&bed, "logged").await;
    let operator = bed.holder("logged").await;
    some_work(&case).await;
    eventually("the source that is not there is told of", async || {
        operator.said(&["not in order", "no-source"]).pop().ok_or_else(|| "not a word".to_owned())
    })
    .await;
    let mut about_syncs = BTreeSet::new();
    for text in operator.said(&[]) {
        let line: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        line["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        assert!(["ERROR", "WARN", "INFO", "DEBUG"].contains(&line["level"].as_str().unwrap()), "{text}");
        let message = line["message"].as_str().unwrap();
        assert!(!message.is_empty(), "{text}");
        if !line["target"].as_str().unwrap().starts_with("configmapsync_operator") || !text.contains(&case.syncs) {
            continue;
        }
        about_syncs.insert(message.to_owned());
        assert_eq!(line["namespace"], json!(case.syncs), "{text}");
        assert!(["zebra", "okapi", "tapir", "no-source"].contains(&line["name"].as_str().unwrap()), "{text}");
        let shard = line["shard"].as_u64().or_else(|| line["shard"].as_str()?.parse().ok());
        assert!(shard.is_some_and(|shard| shard < 64), "{text}");
    }
    for message in ["copy written", "in order", "not in order"] {
        assert!(about_syncs.contains(message), "{message} is not among {about_syncs:?}");
    }
}

#[tokio::test]
async fn one_that_only_observes_says_what_it_would_write_and_writes_nothing() {
    let Some(bed) = Bed::own("one_that_only_observes").await else { return };
    let case = Case::on(&bed, "observed").await;
    let before = bed.holder("before").await;
    case.source(json!({ "k": "1" })).await;
    for name in ["changed", "deleted", "in-order"] {
        let source = if name == "changed" { "cm" } else { "other" };
        if name == "deleted" {
            case.create(&case.src, "other", json!({ "data": { "k": "1" } })).await;
        }
        case.sync(name, json!({ "configMapName": source, "destinationName": name })).await;
        case.until_ready(name).await;
    }
    assert!(before.terminate().await.is_some_and(|status| status.success()));
    case.patch(&case.src, "cm", json!({ "data": { "k": "2" } })).await;
    case.delete_sync("deleted").await;
    case.sync("new", json!({ "destinationName": "new" })).await;

    let mark = case.mark().unwrap();
    let operator = bed.operator_with("observer", &["--observe-only"]).await;
    let would = [("create", "new"), ("update", "changed"), ("delete", "deleted")];
    for (verb, name) in would {
        let words = ["would write", &format!(r#""verb":"{verb}""#), &format!(r#""name":"{name}""#), &case.dst];
        eventually(format!("it would {verb} {name}"), async || {
            operator.said(&words).pop().ok_or_else(|| format!("{:#?}", operator.said(&["would write"])))
        })
        .await;
    }
    case.patch(&case.dst, "in-order", json!({ "data": { "k": "by hand" } })).await;
    eventually("it would repair what is changed now", async || {
        operator.said(&["would write", r#""verb":"update""#, r#""name":"in-order""#]).pop().ok_or_else(String::new)
    })
    .await;
    tokio::time::sleep(seconds(3)).await;
    let events = asked(&bed, mark);
    let written: Vec<_> = events.iter().filter(|event| event.is_write() && event.resource != "leases").collect();
    assert!(written.is_empty(), "{written:#?}");
    assert!(operator.said(&["would write"]).len() < 30, "{:#?}", operator.said(&["would write"]));
    assert_eq!(json!(case.get(&case.dst, "changed").await.unwrap().data), json!({ "k": "1" }));
    assert!(case.get(&case.dst, "new").await.is_none());
}

#[tokio::test]
async fn at_rest_no_write_is_in_flight() {
    let Some(bed) = Bed::own("at_rest_no_write_is_in_flight").await else { return };
    let operator = bed.holder("in-flight").await;
    eventually("no write is in flight", async || {
        let in_flight = operator.metric("configmapsync_writers_in_flight", &[]).await;
        if in_flight == 0.0 { Ok(()) } else { Err(in_flight.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn a_log_line_about_a_sync_has_its_shard_as_a_number() {
    let Some(bed) = Bed::own("a_log_line_about_a_sync_has_its_shard").await else { return };
    let case = Case::on(&bed, "shard").await;
    let operator = bed.operator_with("shard", &[]).await;
    let observer = bed.operator_with("observer", &["--observe-only"]).await;
    case.source(json!({ "k": "1" })).await;
    for number in 0..20 {
        case.sync(&format!("s{number}"), json!({ "destinationName": format!("s{number}") })).await;
    }
    let mut wrong = BTreeSet::new();
    for (one, message) in [(&operator, "copy written"), (&operator, "in order"), (&observer, "would write")] {
        let lines = eventually(format!("the log has {message:?}"), async || match one.said(&[message]) {
            none if none.is_empty() => Err("not yet".to_owned()),
            lines => Ok(lines),
        })
        .await;
        let first: Value = serde_json::from_str(&lines[0]).unwrap();
        if !first["shard"].is_u64() {
            wrong.insert(format!("{message}: {}", first["shard"]));
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}
