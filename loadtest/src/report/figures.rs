//! The single figures of a run, by name, and what is expected of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Report, Throughput, Who};
use crate::stats::median;

/// What a figure is expected to be.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// No less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<f64>,
    /// No more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<f64>,
}

impl Range {
    /// Whether a figure is in it.
    pub fn holds(&self, figure: f64) -> bool {
        self.at_least.is_none_or(|least| figure >= least) && self.at_most.is_none_or(|most| figure <= most)
    }

    /// `≤ 1.15`, `≥ 0.9` or both.
    pub fn text(&self) -> String {
        let least = self.at_least.map(|least| format!("≥ {least}"));
        let most = self.at_most.map(|most| format!("≤ {most}"));
        least.into_iter().chain(most).collect::<Vec<_>>().join(", ")
    }
}

/// A figure beside what was expected of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Its name.
    pub name: String,
    /// The figure; none if the run did not come to it.
    pub figure: Option<f64>,
    /// What was expected.
    pub range: Range,
}

impl Verdict {
    /// Whether it is as expected.
    pub fn is_met(&self) -> bool {
        self.figure.is_some_and(|figure| self.range.holds(figure))
    }
}

impl Report {
    /// Every single figure by its name. Names are what range files and comparisons of runs go by.
    pub fn figures(&self) -> BTreeMap<String, f64> {
        let mut figures = BTreeMap::new();
        for one in &self.comparisons {
            figures.insert(format!("{}: beside bare writers", one.scenario), one.ratio);
        }
        self.of_measurements(&mut figures);
        self.of_objects(&mut figures);
        self.of_quiet_times(&mut figures);
        self.of_shards(&mut figures);
        self.of_memory(&mut figures);
        figures
    }

    /// The figures of which something is expected.
    pub fn verdicts(&self) -> Vec<Verdict> {
        let figures = self.figures();
        let verdict = |(name, range): (&String, &Range)| Verdict {
            name: name.clone(),
            figure: figures.get(name).copied(),
            range: *range,
        };
        self.expected.iter().map(verdict).collect()
    }

    fn of_measurements(&self, figures: &mut BTreeMap<String, f64>) {
        for scenario in self.scenarios() {
            let rounds = self.measurements.iter().filter(|one| one.who == Who::Operator && one.scenario == scenario);
            let rounds: Vec<_> = rounds.collect();
            if rounds.is_empty() {
                continue;
            }
            let last: Vec<f64> = rounds.iter().map(|round| round.last_seconds).collect();
            figures.insert(format!("{}: last copy, s", scenario), median(&last));
            let writes = |round: &&super::Measurement| {
                let of_copies = |(what, number): (&String, &usize)| {
                    let is = ["create configmaps", "update configmaps", "delete configmaps"].contains(&what.as_str());
                    if is { *number } else { 0 }
                };
                round.requests.iter().map(of_copies).sum::<usize>() as f64 / round.copies.max(1) as f64
            };
            let writes: Vec<f64> = rounds.iter().map(writes).collect();
            figures.insert(format!("{}: writes a copy", scenario), median(&writes));
            let slowest = rounds.iter().map(|round| round.renewals.max).fold(0.0, f64::max);
            figures.insert(format!("{}: slowest renewal, s", scenario), slowest);
            let bystander: Vec<f64> = rounds.iter().map(|round| round.bystander.p99).collect();
            figures.insert(format!("{}: GET of another client, p99, s", scenario), median(&bystander));
            let writes: Vec<f64> = rounds.iter().map(|round| round.bystander_writes.p99).collect();
            figures.insert(format!("{}: PATCH of another client, p99, s", scenario), median(&writes));
        }
    }

    fn of_quiet_times(&self, figures: &mut BTreeMap<String, f64>) {
        if let Some(rest) = &self.rest {
            figures.insert("rest: requests out of place".to_owned(), rest.out_of_place.values().sum::<usize>() as f64);
            let replicas = rest.processes.iter().filter(|(name, _)| name.starts_with("replica-"));
            let busiest = replicas.map(|(_, usage)| usage.cpu_seconds / rest.seconds * 100.0).fold(0.0, f64::max);
            figures.insert("rest: processor of the busiest replica, %".to_owned(), busiest);
        }
        if let Some(restart) = &self.warm_restart {
            figures.insert("restart: writes".to_owned(), restart.writes as f64);
            figures.insert("restart: GETs".to_owned(), restart.gets as f64);
            figures.insert("restart: ready, s".to_owned(), restart.ready_seconds);
        }
        if let Some(crash) = &self.crash {
            figures.insert("crash: writes".to_owned(), crash.writes as f64);
            figures.insert("crash: GETs".to_owned(), crash.gets as f64);
            figures.insert("crash: all shards held, s".to_owned(), crash.held_seconds);
        }
        if let Some(take_over) = &self.take_over {
            figures.insert("take-over: writes".to_owned(), take_over.writes as f64);
            figures.insert("take-over: GETs".to_owned(), take_over.gets as f64);
            figures.insert("take-over: lists".to_owned(), take_over.lists as f64);
            figures.insert("take-over: all shards held, s".to_owned(), take_over.held_seconds);
        }
    }

    fn of_shards(&self, figures: &mut BTreeMap<String, f64>) {
        for one in &self.hand_overs {
            let when = if one.during.is_some() { "in a fan-out" } else { "at rest" };
            let mut worst = |what: &str, figure: f64| {
                let known = figures.entry(format!("hand-over {when}: {what}")).or_insert(figure);
                *known = known.max(figure);
            };
            worst("gap p50, s", one.gap.p50);
            worst("gap p99, s", one.gap.p99);
            worst("even after, s", one.even_seconds);
            let single = |(what, number): (&String, &usize)| {
                if what.starts_with("list") || what.starts_with("watch") { 0 } else { *number }
            };
            worst("reads and writes of single objects", one.requests.iter().map(single).sum::<usize>() as f64);
        }
        let Some(first) = self.throughput.first() else { return };
        let bound = self.bound(first);
        for one in &self.throughput {
            let rate = one.copies_per_second;
            let mut tell =
                |what: &str, figure: f64| figures.insert(format!("{} replicas: {what}", one.replicas), figure);
            tell("copies/s", rate);
            if let Some(bound) = bound {
                tell("beside bare writers", rate / bound);
                // Linear as far as 80 % of what the API server gives.
                let linear = first.copies_per_second * f64::from(one.replicas) / f64::from(first.replicas);
                tell("beside linear, up to 80 % of bare writers", rate / linear.min(0.8 * bound));
            }
            let (most, total) = (one.shares.values().max(), one.shares.values().sum::<usize>());
            if let Some(most) = most {
                tell("largest share beside even", *most as f64 * f64::from(one.replicas) / total.max(1) as f64);
            }
        }
    }

    /// How fast bare writers did the same, in copies a second.
    pub(super) fn bound(&self, of: &Throughput) -> Option<f64> {
        let bare = self.measurements.iter().filter(|one| one.who == Who::BareWriters && one.scenario == of.scenario);
        let rates: Vec<f64> = bare.map(|one| one.copies as f64 / one.last_seconds).collect();
        (!rates.is_empty()).then(|| median(&rates))
    }

    fn of_memory(&self, figures: &mut BTreeMap<String, f64>) {
        if self.memory_syncs > 0 {
            let peak = self.memory.values().map(|usage| usage.peak_mib).fold(0.0, f64::max);
            figures.insert("memory: peak, MiB".to_owned(), peak);
            let grown = |(name, usage): (&String, &crate::fleet::Usage)| {
                let empty = self.memory_empty.get(name).map_or(0.0, |empty| empty.resident_mib);
                (usage.resident_mib - empty) * f64::from(1 << 20) / self.memory_syncs as f64
            };
            figures.insert("memory: bytes a sync".to_owned(), self.memory.iter().map(grown).fold(0.0, f64::max));
        }
        if let Some(growth) = &self.growth {
            let grown = growth
                .after
                .iter()
                .map(|(name, after)| after.peak_mib - growth.before.get(name).map_or(0.0, |before| before.peak_mib));
            figures.insert("foreign ConfigMaps: peak grew by, MiB".to_owned(), grown.fold(0.0, f64::max));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Comparison;

    #[test]
    fn figures_are_set_beside_what_is_expected() {
        let at_most = |most| Range { at_least: None, at_most: Some(most) };
        let mut report = Report::default();
        report.comparisons.push(Comparison {
            scenario: "it".to_owned(),
            rounds: (1, 1),
            operator_seconds: 1.2,
            bare_seconds: 1.0,
            ratio: 1.2,
        });
        let names = ["it: beside bare writers", "rest: requests out of place"];
        report.expected = names.map(|name| (name.to_owned(), at_most(1.15))).into();
        let met: Vec<_> = report.verdicts().iter().map(|one| (one.figure, one.is_met())).collect();
        assert_eq!(met, [(Some(1.2), false), (None, false)], "what was not measured is not met");
        report.expected.insert(names[0].to_owned(), at_most(1.2));
        assert!(report.verdicts()[0].is_met());
    }

    #[test]
    fn throughput_is_set_beside_linear() {
        let throughput = |replicas, copies_per_second| Throughput {
            scenario: "all changed".to_owned(),
            replicas,
            copies_per_second,
            shares: BTreeMap::new(),
        };
        let mut report = Report { throughput: vec![throughput(1, 50.0), throughput(4, 190.0)], ..Report::default() };
        assert!(!report.figures().contains_key("4 replicas: beside linear, up to 80 % of bare writers"));
        let mut bare = crate::report::page::tests::measurement(Who::BareWriters, 1.0);
        (bare.scenario, bare.copies) = ("all changed".to_owned(), 1000);
        report.measurements.push(bare);
        assert_eq!(report.figures()["4 replicas: beside linear, up to 80 % of bare writers"], 0.95);
    }
}
