//! The report as a page in Markdown.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Measurement, Report, WarmRestart, Who};
use crate::fleet::Usage;
use crate::screen::thousands;

impl Report {
    /// The page.
    pub fn page(&self) -> String {
        let mut page = self.head();
        page.push_str(&self.expectations());
        page.push_str(&self.ratio_table());
        page.push_str(&self.object_tables());
        page.push_str(&self.throughput_table());
        page.push_str(&self.hand_over_table());
        page.push_str(&self.all_measurements());
        page.push_str(&self.costs());
        page.push_str(&self.quiet_times());
        page
    }

    /// The ratios, for a screen.
    pub fn ratios(&self) -> String {
        let head = format!("{:46} {:>9} {:>8} {:>6}", "until the last copy, s", "operator", "bare", "ratio");
        let row = |one: &super::Comparison| {
            format!("{:46} {:9.2} {:8.2} {:6.2}", one.scenario, one.operator_seconds, one.bare_seconds, one.ratio)
        };
        let rows = std::iter::once(head).chain(self.comparisons.iter().map(row));
        rows.collect::<Vec<_>>().join("\n")
    }

    fn ratio_table(&self) -> String {
        let row = |one: &super::Comparison| {
            vec![
                one.scenario.clone(),
                format!("{:.2}", one.operator_seconds),
                format!("{:.2}", one.bare_seconds),
                format!("{:.2}", one.ratio),
                format!("{}, {}", one.rounds.0, one.rounds.1),
            ]
        };
        table(
            "Beside bare writers",
            &["until the last copy", "operator, s", "bare writers, s", "ratio", "rounds"],
            self.comparisons.iter().map(row),
        )
    }

    /// What was expected, for a screen; empty if nothing was.
    pub fn verdict_lines(&self) -> String {
        let row = |one: &super::Verdict| {
            let figure = one.figure.map_or("not measured".to_owned(), number);
            format!("{:72} {figure:>12} {:>10} {}", one.name, one.range.text(), verdict(one))
        };
        self.verdicts().iter().map(row).collect::<Vec<_>>().join("\n")
    }

    fn expectations(&self) -> String {
        let row = |one: super::Verdict| {
            let figure = one.figure.map_or("not measured".to_owned(), number);
            vec![one.name.clone(), figure, one.range.text(), verdict(&one).to_owned()]
        };
        let rows: Vec<_> = self.verdicts().into_iter().map(row).collect();
        table("What was expected", &["", "measured", "expected", ""], rows.into_iter())
    }

    fn throughput_table(&self) -> String {
        let first = self.throughput.first();
        let row = |one: &super::Throughput| {
            let bound = self.bound(one);
            let linear =
                first.map(|first| first.copies_per_second / f64::from(first.replicas) * f64::from(one.replicas));
            let beside = |other: Option<f64>| {
                other.map_or(String::new(), |other| format!("{:.2}", one.copies_per_second / other))
            };
            let shares: Vec<String> = one.shares.values().map(|writes| thousands(*writes)).collect();
            vec![
                one.replicas.to_string(),
                format!("{:.1}", one.copies_per_second),
                beside(linear),
                beside(bound),
                shares.join(", "),
            ]
        };
        let columns = ["replicas", "copies/s", "beside linear", "beside bare writers", "writes of each replica"];
        table("Throughput by replicas", &columns, self.throughput.iter().map(row))
    }

    fn hand_over_table(&self) -> String {
        let row = |one: &super::HandOver| {
            vec![
                format!("{} → {}", one.replicas.0, one.replicas.1),
                one.during.clone().map_or("rest".to_owned(), |set| format!("fan-out of {set}")),
                one.moved.to_string(),
                format!("{:.3}", one.gap.p50),
                format!("{:.3}", one.gap.p99),
                format!("{:.3}", one.gap.max),
                format!("{:.2}", one.even_seconds),
                counts(&one.requests),
            ]
        };
        let columns = [
            "replicas",
            "during",
            "shards moved",
            "gap p50, s",
            "p99",
            "max",
            "even after, s",
            "requests, Leases aside",
        ];
        table("Hand-over: from a shard's release to its next holder", &columns, self.hand_overs.iter().map(row))
    }

    fn head(&self) -> String {
        let around = &self.surroundings;
        let mut text = format!("# Load test {} of {}\n\n{}\n\n", self.scenario, around.started, self.about);
        if let Some(error) = &self.error {
            let _ = writeln!(text, "**It ended early:** {}\n", error.lines().next().unwrap_or_default());
        }
        let build = if around.optimized { "" } else { ", built without optimizations" };
        let rows = [
            ("command", format!("`{}`", around.command)),
            ("commit", format!("{}, version {}{build}", around.commit, around.version)),
            ("control plane", around.kubernetes.clone()),
            (
                "machine",
                format!("{}, {} cores, {} MiB", around.processor, around.cores, thousands_of(around.memory_mib)),
            ),
            ("kernel", around.kernel.clone()),
            ("took", format!("{:.0} s", self.seconds)),
        ];
        text.push_str("| | |\n| --- | --- |\n");
        for (name, value) in rows {
            let _ = writeln!(text, "| {name} | {value} |");
        }
        text.push_str(
            "\nOperator, API server, etcd, bare writers and the watch that takes the times share the cores of one machine.\n",
        );
        text
    }

    fn all_measurements(&self) -> String {
        let row = |one: &Measurement| {
            let latency = &one.latency;
            let mut row = vec![one.scenario.clone(), who(one.who).to_owned()];
            row.extend([one.asked_seconds, one.first_seconds, one.last_seconds].map(|seconds| format!("{seconds:.3}")));
            row.push(one.settled_seconds.map_or(String::new(), |seconds| format!("{seconds:.2}")));
            row.extend([latency.p50, latency.p90, latency.p99, latency.max].map(|seconds| format!("{seconds:.3}")));
            row
        };
        let titles = [
            "",
            "by",
            "all asked, s",
            "first copy, s",
            "last copy, s",
            "last status, s",
            "copy p50, s",
            "p90",
            "p99",
            "max",
        ];
        table("Every measurement, in the order of the run", &titles, self.measurements.iter().map(row))
    }

    fn costs(&self) -> String {
        let by_operator = self.measurements.iter().filter(|one| one.who == Who::Operator);
        let requests = by_operator.clone().map(|one| {
            let total: usize = one.requests.values().sum();
            let each = total as f64 / one.copies.max(1) as f64;
            vec![one.scenario.clone(), counts(&one.requests), format!("{each:.2}")]
        });
        let requests = table(
            "The operator's requests, by the API server's audit log, Leases aside",
            &["", "requests", "a copy"],
            requests,
        );
        let processors = self.measurements.iter().map(|one| {
            let seconds = |(name, usage): (&String, &Usage)| format!("{name} {:.2}", usage.cpu_seconds);
            let each: Vec<String> = one.processes.iter().map(seconds).collect();
            vec![one.scenario.clone(), who(one.who).to_owned(), each.join(", ")]
        });
        let others = self.measurements.iter().map(|one| {
            let (bystander, writes, renewals) = (&one.bystander, &one.bystander_writes, &one.renewals);
            let mut row = vec![one.scenario.clone(), who(one.who).to_owned()];
            row.extend([bystander.p50, bystander.p99, bystander.max].map(|seconds| format!("{:.1}", seconds * 1000.0)));
            row.extend([writes.p50, writes.p99, writes.max].map(|seconds| format!("{:.1}", seconds * 1000.0)));
            row.extend([renewals.p99, renewals.max].map(|seconds| match one.who {
                Who::Operator => format!("{:.1}", seconds * 1000.0),
                Who::BareWriters => String::new(),
            }));
            row
        });
        let columns = [
            "",
            "by",
            "GET of another client, p50, ms",
            "p99",
            "max",
            "its PATCH, p50, ms",
            "p99",
            "max",
            "renewal of a session, p99, ms",
            "max",
        ];
        let others = table("What others waited meanwhile", &columns, others);
        requests + &others + &table("Processor seconds", &["", "by", "seconds"], processors) + &self.memory_table()
    }

    fn memory_table(&self) -> String {
        let row = |(name, usage): (&String, &Usage)| {
            vec![name.clone(), format!("{:.1}", usage.resident_mib), format!("{:.1}", usage.peak_mib)]
        };
        let title = format!("Memory with {} syncs in order", thousands(self.memory_syncs));
        table(&title, &["", "resident, MiB", "peak, MiB"], self.memory.iter().map(row))
    }

    fn quiet_times(&self) -> String {
        let mut text = String::new();
        if let Some(rest) = &self.rest {
            let _ = writeln!(
                text,
                "\n## {:.0} s of rest with {} copies in order\n\nRequests of all replicas: {}. Out of place: {}.",
                rest.seconds,
                thousands(rest.syncs),
                counts(&rest.requests),
                if rest.out_of_place.is_empty() { "none".to_owned() } else { counts(&rest.out_of_place) }
            );
        }
        if let Some(restart) = &self.warm_restart {
            let _ = writeln!(
                text,
                "\n## Warm restart of all replicas with {} copies in order\n\nEnded {:.2} s after SIGTERM; ready {}",
                thousands(restart.syncs),
                restart.end_seconds,
                after_start(restart)
            );
        }
        if let Some(crash) = &self.crash {
            let _ = writeln!(
                text,
                "\n## All replicas killed with {} copies in order\n\nReady {}",
                thousands(crash.syncs),
                after_start(crash)
            );
        }
        if let Some(one) = &self.take_over {
            let _ = writeln!(
                text,
                "\n## A replica killed with {} syncs in order\n\nIts {} shards had other holders {:.2} s after SIGKILL; {} \
                 writes, {} GETs and {} lists, Leases aside.",
                thousands(one.syncs),
                one.shards,
                one.held_seconds,
                one.writes,
                one.gets,
                one.lists
            );
        }
        if let Some(growth) = &self.growth {
            let mib = |usages: &BTreeMap<String, Usage>| {
                let each: Vec<_> = usages.iter().map(|(name, usage)| format!("{name} {:.1}", usage.peak_mib)).collect();
                each.join(", ")
            };
            let _ = writeln!(
                text,
                "\n## {} ConfigMaps of others, {} bytes each\n\nPeak memory before, MiB: {}; after: {}.",
                thousands(growth.config_maps),
                thousands(growth.bytes),
                mib(&growth.before),
                mib(&growth.after)
            );
        }
        text
    }
}

/// How soon all replicas were at work again, and what they asked for.
fn after_start(restart: &WarmRestart) -> String {
    format!(
        "{:.2} s and all shards held {:.2} s after the start. In {:.0} s: {} writes and {} GETs, Leases aside. All requests: {}.",
        restart.ready_seconds,
        restart.held_seconds,
        restart.counted_seconds,
        restart.writes,
        restart.gets,
        counts(&restart.requests)
    )
}

fn verdict(verdict: &super::Verdict) -> &'static str {
    if verdict.is_met() { "as expected" } else { "**not as expected**" }
}

/// With as many digits as say something.
pub(super) fn number(figure: f64) -> String {
    match figure.abs() {
        whole if whole.fract() == 0.0 => format!("{figure:.0}"),
        large if large >= 100.0 => format!("{figure:.0}"),
        middle if middle >= 10.0 => format!("{figure:.1}"),
        _ => format!("{figure:.3}"),
    }
}

pub(super) fn who(who: Who) -> &'static str {
    match who {
        Who::Operator => "operator",
        Who::BareWriters => "bare writers",
    }
}

/// `1,000 update configmaps, 3 get configmaps`, or `none`.
pub fn counts(requests: &BTreeMap<String, usize>) -> String {
    let each: Vec<String> = requests.iter().map(|(what, number)| format!("{} {what}", thousands(*number))).collect();
    if each.is_empty() { "none".to_owned() } else { each.join(", ") }
}

fn thousands_of(number: u64) -> String {
    thousands(usize::try_from(number).unwrap_or(usize::MAX))
}

/// A section with one table; nothing when there are no rows.
pub(super) fn table(title: &str, columns: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let rows: Vec<String> = rows.map(|row| format!("| {} |\n", row.join(" | "))).collect();
    if rows.is_empty() {
        return String::new();
    }
    let head = columns.join(" | ");
    format!("\n## {title}\n\n| {head} |\n|{}\n{}", " --- |".repeat(columns.len()), rows.concat())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::stats::Latency;

    pub fn measurement(who: Who, last_seconds: f64) -> Measurement {
        Measurement {
            scenario: "change, 1,000 copies".to_owned(),
            who,
            copies: 1000,
            asked_seconds: 0.0,
            first_seconds: 0.01,
            last_seconds,
            settled_seconds: None,
            told_seconds: None,
            server_seconds: None,
            latency: Latency::default(),
            arrivals: vec![0.5; 100],
            bystander: Latency::default(),
            bystander_writes: Latency::default(),
            renewals: Latency::default(),
            requests: [("update configmaps".to_owned(), 1000)].into(),
            shares: BTreeMap::new(),
            processes: BTreeMap::new(),
        }
    }

    #[test]
    fn medians_are_set_beside_each_other() {
        let measurements = [1.0, 1.2, 5.0].map(|seconds| measurement(Who::Operator, seconds)).to_vec();
        let mut report = Report { measurements, ..Report::default() };
        report.measurements.push(measurement(Who::BareWriters, 0.8));
        report.compare();
        assert_eq!(report.comparisons.len(), 1);
        assert!((report.comparisons[0].ratio - 1.5).abs() < 1e-9);
        let page = report.page();
        assert!(page.contains("| change, 1,000 copies | 1.20 | 0.80 | 1.50 | 3, 1 |"), "{page}");
        assert!(page.contains("| 1,000 update configmaps | 1.00 |"), "{page}");
    }
}
