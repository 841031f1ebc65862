//! `docs/metrics.md`, from the table of all metrics.

use std::fmt::Write as _;

use configmapsync_operator::telemetry::exporter::PROCESS;
use configmapsync_operator::telemetry::instruments::{ALL, Instrument};

const HEAD: &str = "\
<!-- Generated from src/telemetry/instruments.rs by `make manifests`. -->
# Metrics

Served as `/metrics` on port 8080 of each replica. No label has the name of an object or a namespace in it: the number of
series does not grow with the cluster. Each replica counts what it did itself: add up (`sum`) over the replicas, but take the
largest (`max`) of `configmapsync_shards_unheld`, `configmapsync_namespaces_set_apart`, `leader_election_master_status` and ages.

Dashboards and alert rules are in [deploy/monitoring](../deploy/monitoring); each alert has a [runbook](runbooks).
";

/// Headings, and how the names under them begin.
const CHAPTERS: &[(&str, &[&str])] = &[
    ("The operator", &["configmapsync_"]),
    ("Under the names that generic dashboards know", &["workqueue_", "rest_client_", "leader_", "controller_runtime_"]),
];

/// The page.
pub fn page() -> String {
    let mut page = HEAD.to_owned();
    for (heading, prefixes) in CHAPTERS {
        let rows = ALL.iter().filter(|one| prefixes.iter().any(|prefix| one.name.starts_with(prefix)));
        chapter(&mut page, heading, rows.map(row));
    }
    let process = PROCESS.iter().map(|(name, kind, help)| format!("| `{name}` | {kind} | | {help} |"));
    chapter(&mut page, "The process", process);
    page
}

fn chapter(page: &mut String, heading: &str, rows: impl Iterator<Item = String>) {
    let rows: Vec<String> = rows.collect();
    // Writing to a String cannot fail.
    let _ = write!(page, "\n## {heading}\n\n| metric | type | labels | tells |\n| --- | --- | --- | --- |\n");
    let _ = writeln!(page, "{}", rows.join("\n"));
}

fn row(one: &Instrument) -> String {
    let labels: Vec<String> = one.labels.iter().map(|label| format!("`{label}`")).collect();
    let kind = format!("{:?}", one.kind).to_lowercase();
    format!("| `{}` | {kind} | {} | {} |", one.name, labels.join(", "), one.help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_on_the_page_once() {
        let page = page();
        for name in ALL.iter().map(|one| one.name).chain(PROCESS.iter().map(|(name, ..)| *name)) {
            assert_eq!(page.matches(&format!("\n| `{name}` |")).count(), 1, "{name}");
        }
    }
}
