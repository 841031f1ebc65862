//! What a run of the load test has to say, as JSON for machines and as a page for people.

mod machine;
mod page;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;

use crate::fleet::Usage;
use crate::stats::{Latency, median};

pub use machine::{Surroundings, masked};
pub use page::counts;

/// Who did the work that was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Who {
    /// The operator's replicas.
    Operator,
    /// This program's own writers, without any operator: the bound.
    BareWriters,
}

/// One thing that was done once.
#[derive(Clone, Debug, Serialize)]
pub struct Measurement {
    /// What was done; the same words for operator and bare writers.
    pub scenario: String,
    /// By whom.
    pub who: Who,
    /// How many copies it was about.
    pub copies: usize,
    /// From the first request to the answer to the last of our own requests (the change of the source, the creation of
    /// the syncs), in seconds. What the operator could do before that, others asked for later.
    pub asked_seconds: f64,
    /// From the first request to the first copy seen, in seconds.
    pub first_seconds: f64,
    /// From the first request to the last copy seen, in seconds.
    pub last_seconds: f64,
    /// From the first request to the end of the operator's last request for it (statuses come after copies), in seconds.
    pub settled_seconds: Option<f64>,
    /// Of single copies: from the request that asked for it (the change of the source, the creation of the sync) until it
    /// was seen.
    pub latency: Latency,
    /// The operator's requests by verb and resource, Leases aside; of the bare writers, theirs.
    pub requests: BTreeMap<String, usize>,
    /// What each process used during it.
    pub processes: BTreeMap<String, Usage>,
}

/// A minute in which nothing happens.
#[derive(Clone, Debug, Serialize)]
pub struct Rest {
    /// How long it was.
    pub seconds: f64,
    /// How many syncs were in order meanwhile.
    pub syncs: usize,
    /// The operator's requests by what they were for.
    pub requests: BTreeMap<String, usize>,
    /// Those that have no place in a time of rest, by verb and resource: none.
    pub out_of_place: BTreeMap<String, usize>,
    /// What each process used during it.
    pub processes: BTreeMap<String, Usage>,
}

/// All replicas ended and started again with everything in order.
#[derive(Clone, Debug, Serialize)]
pub struct WarmRestart {
    /// How many syncs were in order.
    pub syncs: usize,
    /// From SIGTERM to the end of the last replica.
    pub end_seconds: f64,
    /// From the start of the processes until all said that they are ready.
    pub ready_seconds: f64,
    /// From the start of the processes until each shard had a holder.
    pub held_seconds: f64,
    /// How long requests were counted after the start.
    pub counted_seconds: f64,
    /// Writes to anything but Leases: 0.
    pub writes: usize,
    /// GETs of anything but Leases: 0.
    pub gets: usize,
    /// All requests by verb and resource, Leases aside.
    pub requests: BTreeMap<String, usize>,
    /// What each replica has used by then.
    pub processes: BTreeMap<String, Usage>,
}

/// The operator beside the bare writers: medians of all rounds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// What was done.
    pub scenario: String,
    /// How often by the operator, how often by the bare writers.
    pub rounds: (usize, usize),
    /// Until the last copy, in seconds.
    pub operator_seconds: f64,
    /// Until the last copy, in seconds.
    pub bare_seconds: f64,
    /// The first by the second.
    pub ratio: f64,
}

/// A run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What it ran on, and how it was called.
    pub surroundings: Surroundings,
    /// The arguments, and what follows from them.
    pub settings: BTreeMap<String, serde_json::Value>,
    /// Why it ended early, if it did.
    pub error: Option<String>,
    /// How long all of it took.
    pub seconds: f64,
    /// The ratios.
    pub comparisons: Vec<Comparison>,
    /// Each measurement, in the order of the run.
    pub measurements: Vec<Measurement>,
    /// The time of rest.
    pub rest: Option<Rest>,
    /// The restart.
    pub warm_restart: Option<WarmRestart>,
    /// Each replica with all syncs in order.
    pub memory: BTreeMap<String, Usage>,
}

impl Report {
    /// Nothing is measured yet.
    pub fn new(surroundings: Surroundings, settings: BTreeMap<String, serde_json::Value>) -> Self {
        Self {
            surroundings,
            settings,
            error: None,
            seconds: 0.0,
            comparisons: Vec::new(),
            measurements: Vec::new(),
            rest: None,
            warm_restart: None,
            memory: BTreeMap::new(),
        }
    }

    /// Sets operator and bare writers beside each other.
    pub fn compare(&mut self) {
        let mut scenarios: Vec<&str> = Vec::new();
        for measurement in &self.measurements {
            if !scenarios.contains(&measurement.scenario.as_str()) {
                scenarios.push(&measurement.scenario);
            }
        }
        let times = |scenario: &str, who: Who| -> Vec<f64> {
            let of = self.measurements.iter().filter(|one| one.scenario == scenario && one.who == who);
            of.map(|one| one.last_seconds).collect()
        };
        let comparison = |scenario: &str| {
            let (operator, bare) = (times(scenario, Who::Operator), times(scenario, Who::BareWriters));
            let (operator_seconds, bare_seconds) = (median(&operator), median(&bare));
            (!operator.is_empty() && !bare.is_empty()).then(|| Comparison {
                scenario: scenario.to_owned(),
                rounds: (operator.len(), bare.len()),
                operator_seconds,
                bare_seconds,
                ratio: operator_seconds / bare_seconds,
            })
        };
        self.comparisons = scenarios.into_iter().filter_map(comparison).collect();
    }

    /// Writes `report.json` and `README.md` into a new directory, `{date}-{name}` under `runs`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, runs: &Path, name: &str) -> anyhow::Result<PathBuf> {
        let date = self.surroundings.started.get(..10).unwrap_or("undated");
        let plain = runs.join(format!("{date}-{name}"));
        let numbered = |number: u32| runs.join(format!("{date}-{name}-{number}"));
        let directory = std::iter::once(plain).chain((2..).map(numbered)).find(|path| !path.exists());
        let directory = directory.context("no name is free for the run")?;
        fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
        let json = serde_json::to_string_pretty(self)? + "\n";
        for (file, content) in [("report.json", json), ("README.md", self.page())] {
            fs::write(directory.join(file), content).with_context(|| format!("cannot write {file}"))?;
        }
        Ok(directory)
    }
}
