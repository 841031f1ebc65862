//! Habits of dashboards, rules and runbooks, read from the files alone.

use std::collections::BTreeSet;

use configmapsync_operator::telemetry::exporter::PROCESS;
use configmapsync_operator::telemetry::instruments::{self, Kind};
use promql_parser::parser::{self, Expr, VectorSelector};
use serde_json::json;

use crate::prometheus;
use crate::shipped::{DASHBOARDS, RULES, alerts, dashboard, panels, path, queries, read};

/// Grafana's variables, as Grafana would put them in.
fn substituted(expr: &str) -> String {
    expr.replace("$__rate_interval", "1m").replace("$job", ".*").replace("$instance", ".*")
}

/// A selector in a query, and the functions and aggregations around it, outermost first.
struct Use {
    selector: VectorSelector,
    around: Vec<String>,
}

fn uses(expr: &Expr, around: &[String], found: &mut Vec<Use>) {
    let within = |name: String| around.iter().cloned().chain([name]).collect::<Vec<_>>();
    match expr {
        Expr::VectorSelector(selector) => found.push(Use { selector: selector.clone(), around: around.to_vec() }),
        Expr::MatrixSelector(matrix) => found.push(Use { selector: matrix.vs.clone(), around: around.to_vec() }),
        Expr::Call(call) => {
            call.args.args.iter().for_each(|arg| uses(arg, &within(call.func.name.to_owned()), found));
        }
        Expr::Aggregate(one) => {
            let labels = one.modifier.as_ref().map(|by| format!("{by:?}")).unwrap_or_default();
            uses(&one.expr, &within(format!("{} {labels}", one.op)), found);
        }
        Expr::Binary(both) => {
            uses(&both.lhs, around, found);
            uses(&both.rhs, around, found);
        }
        Expr::Paren(inner) => uses(&inner.expr, around, found),
        Expr::Unary(inner) => uses(&inner.expr, around, found),
        Expr::Subquery(inner) => uses(&inner.expr, around, found),
        _ => {}
    }
}

/// The kind of a metric by the tables, `None` where it is not in them. A histogram is asked for by its buckets.
fn kind(name: &str) -> Option<Kind> {
    if let Some(base) = name.strip_suffix("_bucket") {
        return instruments::ALL.iter().find(|one| one.name == base).map(|one| one.kind);
    }
    let own = instruments::ALL.iter().find(|one| one.name == name).map(|one| one.kind);
    let process = PROCESS.iter().find(|(known, ..)| *known == name);
    let process = process.map(|(_, kind, _)| if *kind == "counter" { Kind::Counter } else { Kind::Gauge });
    own.or(process).or((name == "up").then_some(Kind::Gauge))
}

/// What is wrong with a query.
fn faults(expr: &str, on_a_dashboard: bool) -> Vec<String> {
    let parsed = match parser::parse(&substituted(expr)) {
        Ok(parsed) => parsed,
        Err(error) => return vec![format!("does not parse: {error}")],
    };
    let mut wrong = Vec::new();
    let mut found = Vec::new();
    uses(&parsed, &[], &mut found);
    if found.is_empty() {
        wrong.push("asks for nothing".to_owned());
    }
    for Use { selector, around } in found {
        let name = selector.name.clone().unwrap_or_default();
        let counted = around.iter().any(|one| one == "rate" || one == "increase");
        match kind(&name) {
            None => wrong.push(format!("{name} is in no table")),
            Some(Kind::Counter) if !counted => {
                wrong.push(format!("{name} is a counter and not under rate or increase"))
            }
            Some(Kind::Gauge) if counted => wrong.push(format!("{name} is a gauge under rate or increase")),
            Some(Kind::Histogram) => {
                let quantile = around.iter().any(|one| one == "histogram_quantile");
                let by_le = around.iter().any(|one| one.starts_with("sum") && one.contains("\"le\""));
                if !(name.ends_with("_bucket") && counted && quantile && by_le) {
                    wrong.push(format!("{name} is not asked for as a quantile of the rate of its buckets by le"));
                }
            }
            _ => {}
        }
        if let Some(one) = instruments::ALL.iter().find(|one| one.name == name.trim_end_matches("_bucket")) {
            let scraped = ["job", "instance", "namespace", "pod", "le"];
            for matcher in &selector.matchers.matchers {
                if !one.labels.contains(&matcher.name.as_str()) && !scraped.contains(&matcher.name.as_str()) {
                    wrong.push(format!("{name} has no label {}", matcher.name));
                }
            }
        }
        for label in ["job", "instance"] {
            let matched = selector.matchers.matchers.iter().any(|matcher| matcher.name == label);
            if on_a_dashboard && !(matched && expr.contains(&format!("{label}=~\"${label}\""))) {
                wrong.push(format!("{name} is not matched by {label}"));
            }
        }
    }
    if expr.contains("or vector(") {
        wrong.push("invents a value".to_owned());
    }
    if on_a_dashboard && expr.contains('[') && expr.matches('[').count() != expr.matches("[$__rate_interval]").count() {
        wrong.push("has a range other than $__rate_interval".to_owned());
    }
    wrong
}

#[test]
fn every_query_keeps_the_habits() {
    let mut wrong = Vec::new();
    for query in queries() {
        wrong.extend(
            faults(&query.expr, true).into_iter().map(|why| format!("{} {}: {why}", query.dashboard, query.panel)),
        );
    }
    for alert in alerts() {
        wrong.extend(faults(&alert.expr, false).into_iter().map(|why| format!("{}: {why}", alert.name)));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_lint_sees_what_it_is_for() {
    const SEL: &str = r#"job=~"$job", instance=~"$instance""#;
    let queries = [
        ("sum(", "does not parse"),
        ("sum(configmapsync_nonsense{SEL})", "in no table"),
        ("sum(configmapsync_writes_total{SEL})", "not under rate"),
        ("sum(rate(configmapsync_syncs{SEL}[$__rate_interval]))", "is a gauge"),
        ("sum(rate(configmapsync_writes_total{SEL}[5m]))", "range other than"),
        ("sum(rate(configmapsync_writes_total{SEL, shard=\"1\"}[$__rate_interval]))", "no label shard"),
        (r#"sum(up{job=~"$job"})"#, "not matched by instance"),
        ("sum(up{SEL}) or vector(0)", "invents"),
        (
            "histogram_quantile(0.9, sum(rate(configmapsync_fanout_duration_seconds_bucket{SEL}[$__rate_interval])))",
            "by le",
        ),
    ];
    for (query, fault) in queries {
        let found = faults(&query.replace("SEL", SEL), true);
        assert!(found.iter().any(|one| one.contains(fault)), "{query}: {found:?}");
    }
}

#[test]
fn every_panel_has_title_sentence_and_unit_and_overlaps_no_other() {
    for name in DASHBOARDS {
        let board = dashboard(name);
        assert_eq!(board["editable"], json!(false), "{name}");
        let variables: Vec<_> =
            board["templating"]["list"].as_array().unwrap().iter().map(|v| v["name"].clone()).collect();
        assert_eq!(variables, [json!("datasource"), json!("job"), json!("instance")], "{name}");
        let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
        for panel in board["panels"].as_array().unwrap() {
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{name}: two have the id of {panel}");
            let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
            for x in at("x")..at("x") + at("w") {
                for y in at("y")..at("y") + at("h") {
                    assert!(x < 24 && taken.insert((x, y)), "{name}: {} overlaps at {x},{y}", panel["title"]);
                }
            }
        }
        for panel in panels(&board) {
            let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
            let title = text(&panel["title"]);
            assert!(!title.is_empty() && text(&panel["description"]).ends_with('.'), "{name}: {title}");
            assert!(!text(&panel["fieldConfig"]["defaults"]["unit"]).is_empty(), "{name}: {title} has no unit");
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{name}: {title}");
        }
    }
}

#[test]
fn every_alert_says_what_to_do_in_a_runbook_of_its_own() {
    let mut runbooks: BTreeSet<String> = std::fs::read_dir(path("docs/runbooks"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    for alert in alerts() {
        assert!(["warning", "critical"].contains(&alert.labels["severity"].as_str()), "{}", alert.name);
        assert!(!alert.annotations["summary"].is_empty() && !alert.annotations["description"].is_empty());
        let file = format!("{}.md", alert.name);
        assert!(alert.annotations["runbook_url"].ends_with(&format!("/docs/runbooks/{file}")), "{}", alert.name);
        assert!(runbooks.remove(&file), "{} has no runbook", alert.name);
        let text = read(&format!("docs/runbooks/{file}"));
        assert!(text.starts_with(&format!("# {}\n", alert.name)), "{file}");
        for chapter in ["## Meaning\n", "## Impact\n", "## Diagnosis\n", "```sh\nkubectl ", "## Mitigation\n- "] {
            assert!(text.contains(chapter), "{file} has no {chapter:?}");
        }
        assert!(text.contains(&format!("Severity: {}", alert.labels["severity"])), "{file}");
    }
    assert!(runbooks.is_empty(), "no alert has the runbooks {runbooks:?}");
}

#[test]
fn promtool_finds_the_rules_right_and_each_alert_is_tested_to_fire_and_to_be_silent() {
    let Some(programs) = prometheus::programs("promtool_finds_the_rules_right") else { return };
    for args in [["check", "rules", RULES], ["test", "rules", "deploy/monitoring/rules_test.yaml"]] {
        let output =
            std::process::Command::new(programs.join("promtool")).current_dir(path("")).args(args).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {said}");
    }
    let tests: serde_json::Value = serde_yaml_ng::from_str(&read("deploy/monitoring/rules_test.yaml")).unwrap();
    let cases: Vec<_> =
        tests["tests"].as_array().unwrap().iter().flat_map(|t| t["alert_rule_test"].as_array().unwrap()).collect();
    for alert in alerts() {
        let of: Vec<_> = cases.iter().filter(|case| case["alertname"] == json!(alert.name)).collect();
        assert!(of.iter().any(|case| case["exp_alerts"] != json!([])), "{} is not tested to fire", alert.name);
        assert!(of.iter().any(|case| case["exp_alerts"] == json!([])), "{} is not tested to be silent", alert.name);
    }
}
