//! One object for many copies: what its status said when, what the API server spent on a copy, and how soon single
//! namespaces and copies were in order again.

use std::collections::BTreeMap;

use super::page::{counts, table, who};
use super::{Disturbance, Measurement, Report, Who};
use crate::stats::median;

/// Writes of the status of the one object.
const STATUS: &str = "clusterconfigmapsyncs/status";

impl Report {
    pub(super) fn of_objects(&self, figures: &mut BTreeMap<String, f64>) {
        for scenario in &self.scenarios() {
            let rounds = |who| self.measurements.iter().filter(move |one| one.who == who && one.scenario == *scenario);
            let told = || rounds(Who::Operator).filter(|one| one.told_seconds.is_some());
            let mut tell = |what: &str, figure: f64| figures.insert(format!("{scenario}: {what}"), figure);
            if told().next().is_some() {
                let first: Vec<f64> = told().map(|one| one.first_seconds).collect();
                tell("first copy, s", median(&first));
                let after = || told().filter_map(Measurement::told_after);
                tell("told after the last copy, at most, s", after().fold(f64::MIN, f64::max));
                tell("told after the last copy, at least, s", after().fold(f64::MAX, f64::min));
                let most = |of: &dyn Fn(&Measurement) -> usize| told().map(of).max().unwrap_or_default() as f64;
                tell("statuses beyond one in 5 s and one at the end", most(&Measurement::surplus_statuses));
                tell("GETs", most(&|one| one.requests_for("get", "")));
            }
            let spent = |who| rounds(who).filter_map(Measurement::server_of_a_copy).collect::<Vec<_>>();
            let (operator, bare) = (spent(Who::Operator), spent(Who::BareWriters));
            if !operator.is_empty() && !bare.is_empty() {
                tell("processor of the API server beside bare writers", median(&operator) / median(&bare));
            }
        }
        for one in &self.disturbances {
            for (what, figure) in [("p50", one.latency.p50), ("p99", one.latency.p99), ("max", one.latency.max)] {
                figures.insert(format!("{}: until the copy is in order, {what}, s", one.what), figure);
            }
        }
    }

    pub(super) fn object_tables(&self) -> String {
        let milliseconds = |seconds: f64| format!("{:.1}", seconds * 1000.0);
        // Beside them the bare writers' rounds, for the processor.
        let told = |one: &&Measurement| {
            let mut same = self.measurements.iter().filter(|other| other.scenario == one.scenario);
            same.any(|other| other.told_seconds.is_some())
        };
        let row = |one: &Measurement| {
            let spent = one.server_of_a_copy().map_or(String::new(), |seconds| format!("{:.2}", seconds * 1000.0));
            let mut row = vec![one.scenario.clone(), who(one.who).to_owned(), milliseconds(one.asked_seconds)];
            row.extend([milliseconds(one.first_seconds), format!("{:.3}", one.last_seconds)]);
            row.push(one.told_after().map_or(String::new(), |seconds| format!("{seconds:.3}")));
            row.push(match one.who {
                Who::Operator => one.requests_for("", STATUS).to_string(),
                Who::BareWriters => String::new(),
            });
            row.push(spent);
            row
        };
        let columns = [
            "",
            "by",
            "answer to the change, ms",
            "first copy, ms",
            "last copy, s",
            "told after it, s",
            "statuses",
            "processor of the API server for a copy, ms",
        ];
        let measured = table("One object", &columns, self.measurements.iter().filter(told).map(row));
        let row = |one: &Disturbance| {
            let mut row = vec![one.what.clone(), one.times.to_string(), milliseconds(one.asked.p50)];
            let latency = &one.latency;
            row.extend([latency.min, latency.p50, latency.p90, latency.p99, latency.max].map(milliseconds));
            row.push(counts(&one.requests));
            row
        };
        let columns = [
            "until its copy is in order",
            "times",
            "of that the answer to us, p50, ms",
            "fastest, ms",
            "p50",
            "p90",
            "p99",
            "max",
            "the operator's requests",
        ];
        measured + &table("One namespace or copy at a time", &columns, self.disturbances.iter().map(row))
    }
}

impl Measurement {
    /// How long after the last copy the object told of all copies, in seconds; less than nothing if it did so before.
    fn told_after(&self) -> Option<f64> {
        self.told_seconds.map(|told| told - self.last_seconds)
    }

    /// What the API server spent on each copy, in seconds.
    fn server_of_a_copy(&self) -> Option<f64> {
        self.server_seconds.map(|spent| spent / self.copies.max(1) as f64)
    }

    /// How many requests there were of this verb and for this resource; of any where it is empty.
    fn requests_for(&self, verb: &str, resource: &str) -> usize {
        let is = |what: &str| {
            let mut words = what.split(' ');
            let mut matches = |wanted: &str| words.next().is_some_and(|word| wanted.is_empty() || word == wanted);
            matches(verb) && matches(resource)
        };
        self.requests.iter().filter(|(what, _)| is(what)).map(|(_, number)| number).sum()
    }

    /// How many statuses were written beyond one in each 5 s and one at the end.
    fn surplus_statuses(&self) -> usize {
        let allowed = 1 + (self.settled_seconds.unwrap_or_default() / 5.0) as usize;
        self.requests_for("", STATUS).saturating_sub(allowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::page::tests::measurement;
    use crate::stats::Latency;

    #[test]
    fn an_object_is_set_beside_bare_writers() {
        let mut report = Report::default();
        for (who, last, told, spent) in [
            (Who::BareWriters, 1.0, None, 2.0),
            (Who::Operator, 1.0, Some(1.25), 2.2),
            (Who::Operator, 1.0, Some(1.5), 2.4),
        ] {
            let mut one = measurement(who, last);
            (one.told_seconds, one.settled_seconds, one.server_seconds) = (told, Some(1.5), Some(spent));
            one.requests.insert(format!("update {STATUS}"), 3);
            one.requests.insert("get configmaps".to_owned(), 1);
            report.measurements.push(one);
        }
        let figures = report.figures();
        let figure = |name: &str| figures[&format!("change, 1,000 copies: {name}")];
        assert_eq!(figure("first copy, s"), 0.01);
        assert_eq!(figure("told after the last copy, at most, s"), 0.5);
        assert_eq!(figure("told after the last copy, at least, s"), 0.25);
        assert_eq!(figure("statuses beyond one in 5 s and one at the end"), 2.0);
        assert_eq!(figure("GETs"), 1.0);
        assert!((figure("processor of the API server beside bare writers") - 1.15).abs() < 1e-9);
        let tables = report.object_tables();
        assert!(
            tables.contains("| change, 1,000 copies | operator | 0.0 | 10.0 | 1.000 | 0.500 | 3 | 2.40 |"),
            "{tables}"
        );
    }

    #[test]
    fn disturbances_have_a_row_each() {
        let latency = Latency { min: 0.01, p50: 0.02, p90: 0.03, p99: 0.04, max: 0.05 };
        let report = Report {
            disturbances: vec![Disturbance {
                what: "a copy deleted".to_owned(),
                copies: 1000,
                times: 50,
                latency,
                asked: latency,
                requests: BTreeMap::new(),
            }],
            ..Report::default()
        };
        assert_eq!(report.figures()["a copy deleted: until the copy is in order, p99, s"], 0.04);
        let tables = report.object_tables();
        assert!(
            tables.contains("| a copy deleted | 50 | 20.0 | 10.0 | 20.0 | 30.0 | 40.0 | 50.0 | none |"),
            "{tables}"
        );
        assert_eq!(Report::default().object_tables(), "");
    }
}
