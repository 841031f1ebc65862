//! What a run of the load test has to say, as JSON for machines and as a page for people.

mod compare;
mod figures;
mod machine;
mod objects;
mod page;
mod plots;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::fleet::Usage;
use crate::stats::{Latency, median};

pub use compare::compare;
pub use figures::{Range, Verdict};
pub use machine::{Surroundings, masked};
pub use page::counts;

/// Who did the work that was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Who {
    /// The operator's replicas.
    Operator,
    /// This program's own writers, without any operator: the bound.
    BareWriters,
}

/// One thing that was done once.
#[derive(Clone, Debug, Deserialize, Serialize)]
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
    /// From the first request until the status of the one object that asks for them all told of all copies, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told_seconds: Option<f64>,
    /// What the API server spent until everything was there, and told where one object tells it: processor seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_seconds: Option<f64>,
    /// Of single copies: from the request that asked for it (the change of the source, the creation of the sync) until it
    /// was seen.
    pub latency: Latency,
    /// From the first request until each hundredth of the copies was seen, in seconds: the k-th number is of k percent.
    pub arrivals: Vec<f32>,
    /// What another client waited for a GET of one ConfigMap, from the first request to the last copy.
    #[serde(default)]
    pub bystander: Latency,
    /// What it waited for a write of that ConfigMap.
    #[serde(default)]
    pub bystander_writes: Latency,
    /// What the API server took for renewals of the operator's sessions until all was settled.
    #[serde(default)]
    pub renewals: Latency,
    /// The operator's requests by verb and resource, Leases aside; of the bare writers, theirs.
    pub requests: BTreeMap<String, usize>,
    /// The operator's writes of copies by replica.
    #[serde(default)]
    pub shares: BTreeMap<String, usize>,
    /// What each process used during it.
    pub processes: BTreeMap<String, Usage>,
}

/// One thing that was done to one namespace or copy at a time, many times over.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Disturbance {
    /// What was done.
    pub what: String,
    /// How many copies there were.
    pub copies: usize,
    /// How often.
    pub times: usize,
    /// From our request until the copy was seen in order.
    pub latency: Latency,
    /// The answer to our own request, which is part of that.
    pub asked: Latency,
    /// The operator's requests for all of it, Leases aside.
    pub requests: BTreeMap<String, usize>,
}

/// A minute in which nothing happens.
#[derive(Clone, Debug, Deserialize, Serialize)]
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
#[derive(Clone, Debug, Deserialize, Serialize)]
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

/// A replica was killed with everything in order, and others took its shards.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct TakeOver {
    /// How many syncs were in order.
    pub syncs: usize,
    /// How many shards it held.
    pub shards: usize,
    /// From SIGKILL until each shard had another holder.
    pub held_seconds: f64,
    /// Writes to anything but Leases: 0.
    pub writes: usize,
    /// GETs of anything but Leases: 0.
    pub gets: usize,
    /// Lists: 0.
    pub lists: usize,
}

/// Shards that changed hands on purpose.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct HandOver {
    /// From and to how many replicas.
    pub replicas: (u8, u8),
    /// What went on meanwhile: the name of the set whose copies were being written, or nothing.
    pub during: Option<String>,
    /// From the start or the end of replicas until the shards were even.
    pub even_seconds: f64,
    /// Of single shards: from the release to the next holder's own mark, as a watch saw both.
    pub gap: Latency,
    /// How many shards changed hands.
    pub moved: usize,
    /// Requests for syncs and ConfigMaps by verb and resource; at rest there are the lists and watches of a replica that
    /// starts, and nothing else.
    pub requests: BTreeMap<String, usize>,
}

/// How fast so many replicas write.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Throughput {
    /// What was done.
    pub scenario: String,
    /// How many replicas.
    pub replicas: u8,
    /// Copies written in a second: the median of all rounds, each from the change to its last copy.
    pub copies_per_second: f64,
    /// Writes of copies by replica, over all rounds.
    pub shares: BTreeMap<String, usize>,
}

/// Memory before and after other people's ConfigMaps came.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Growth {
    /// How many came.
    pub config_maps: usize,
    /// How large each is.
    pub bytes: usize,
    /// Each replica before.
    pub before: BTreeMap<String, Usage>,
    /// Each replica after.
    pub after: BTreeMap<String, Usage>,
}

/// The operator beside the bare writers: medians of all rounds.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
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
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Report {
    /// The scenario's name.
    pub scenario: String,
    /// What it is about.
    pub about: String,
    /// What it ran on, and how it was called.
    pub surroundings: Surroundings,
    /// The scenario.
    pub settings: serde_json::Value,
    /// Why it ended early, if it did.
    pub error: Option<String>,
    /// How long all of it took.
    pub seconds: f64,
    /// The ratios.
    pub comparisons: Vec<Comparison>,
    /// Each measurement, in the order of the run.
    pub measurements: Vec<Measurement>,
    /// What was done to single namespaces and copies.
    pub disturbances: Vec<Disturbance>,
    /// The time of rest.
    pub rest: Option<Rest>,
    /// The restart.
    pub warm_restart: Option<WarmRestart>,
    /// The start after all replicas were killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crash: Option<WarmRestart>,
    /// The death of a replica.
    pub take_over: Option<TakeOver>,
    /// Each time that replicas came or went.
    pub hand_overs: Vec<HandOver>,
    /// By the number of replicas.
    pub throughput: Vec<Throughput>,
    /// Other people's ConfigMaps.
    pub growth: Option<Growth>,
    /// Each replica before there was any sync.
    pub memory_empty: BTreeMap<String, Usage>,
    /// Each replica with all syncs in order.
    pub memory: BTreeMap<String, Usage>,
    /// How many syncs that were.
    pub memory_syncs: usize,
    /// What is expected, by the name of a figure.
    pub expected: BTreeMap<String, Range>,
}

impl Report {
    /// Sets operator and bare writers beside each other.
    pub fn compare(&mut self) {
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
        self.comparisons = self.scenarios().iter().filter_map(|scenario| comparison(scenario)).collect();
    }

    /// Writes `report.json`, `README.md` and `report.html` into a new directory, `{date}-{name}` under `runs`.
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
        fs::write(directory.join(JSON), serde_json::to_string_pretty(self)? + "\n")
            .context("cannot write the report")?;
        self.render(&directory)?;
        Ok(directory)
    }

    /// Writes the pages for people beside `report.json`.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn render(&self, directory: &Path) -> anyhow::Result<()> {
        let page = self.page();
        let html = plots::document(&self.title(), &page, &self.plots()?);
        fs::write(directory.join("README.md"), &page).context("cannot write README.md")?;
        fs::write(directory.join("report.html"), html).context("cannot write report.html")
    }

    /// Reads the report of an earlier run.
    ///
    /// # Errors
    /// When there is none in the directory.
    pub fn read(directory: &Path) -> anyhow::Result<Self> {
        let file = directory.join(JSON);
        let text =
            fs::read_to_string(&file).with_context(|| format!("{} is no directory of a run", directory.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is not a report of this version", file.display()))
    }

    fn title(&self) -> String {
        format!("{}, {}", self.scenario, self.surroundings.started)
    }
}

/// Everything, for machines.
const JSON: &str = "report.json";
