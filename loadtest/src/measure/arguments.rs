//! The command line of the load test.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use super::scenario::{Named, Scenario, Syncs};
use super::steps::{Change, Step};

/// Creates thousands of syncs, measures what the operator makes of them, and sets it beside bare writers.
#[derive(Clone, Debug, Parser)]
#[command(name = "loadtest", version)]
pub(super) struct CommandLine {
    #[command(subcommand)]
    pub(super) command: Command,
}

/// What is wanted.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum Command {
    /// Measures. The load goes to a control plane that is started for it and removed at the end
    Run(Run),
    /// Prints the scenarios that `run` knows, with what they are about
    Scenarios,
    /// Prints namespaces, sources and syncs as YAML, for `kubectl apply -f -`
    Generate(Load),
    /// Writes the pages of earlier runs anew from their report.json
    Report {
        /// Directories of runs
        #[arg(required = true, value_name = "DIR")]
        runs: Vec<PathBuf>,
    },
    /// Sets two runs of a scenario side by side
    Compare {
        /// The directory of the earlier run
        before: PathBuf,
        /// The directory of the later run
        after: PathBuf,
        /// Where a page with plots is written
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,
    },
}

/// `loadtest run`.
#[derive(Clone, Debug, Args)]
pub(super) struct Run {
    /// Names of scenarios (see `loadtest scenarios`), or paths of their files; without any the flags below make one
    #[arg(value_name = "SCENARIO", conflicts_with_all = ["syncs", "sources", "per_namespace", "size", "fanout", "rounds", "rest"])]
    pub(super) scenarios: Vec<String>,
    #[command(flatten)]
    pub(super) load: Load,
    /// How many copies the one source of the fixed fan-out has, each in a namespace of its own; 0 leaves it out
    #[arg(long, default_value_t = 1000, value_name = "NUMBER")]
    pub(super) fanout: u32,
    /// How often each change is measured before, and again after, the bare writers' second turn
    #[arg(long, default_value_t = 3, value_name = "NUMBER", value_parser = clap::value_parser!(u8).range(1..=20))]
    pub(super) rounds: u8,
    /// How long nothing is done while every request is classified; 0s leaves it out
    #[arg(long, default_value = "60s", value_name = "DURATION", value_parser = duration)]
    pub(super) rest: Duration,
    /// How many replicas of the operator run [default: what the scenario says, else 3]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u8).range(1..=32))]
    pub(super) replicas: Option<u8>,
    /// How long shards outlive a dead replica [default: what the scenario says, else 10s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(super) lease_duration: Option<Duration>,
    /// A share of the scenario's syncs, to try it quickly: 0.1 is a tenth
    #[arg(long, default_value_t = 1.0, value_name = "SHARE", value_parser = share)]
    pub(super) scale: f64,
    /// The load test ends then, whatever it is at; counts for each scenario
    #[arg(long, default_value = "40m", value_name = "DURATION", value_parser = duration)]
    pub(super) time_limit: Duration,
    /// One more flag for each replica, such as --operator-flag=--max-in-flight=16; may be repeated
    #[arg(long, value_name = "FLAG", allow_hyphen_values = true)]
    pub(super) operator_flag: Vec<String>,
    /// The run's name, after the date [default: that of the scenario]
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub(super) name: Option<String>,
    /// Where the directory of the run is made [default: loadtest/runs]
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// Fails when a figure is not as the scenario expects
    #[arg(long)]
    pub(super) strict: bool,
    /// Sends the load to the cluster that KUBECONFIG names
    #[arg(long)]
    pub(super) yes_use_this_cluster: bool,
}

/// How much.
#[derive(Clone, Debug, Args)]
pub(super) struct Load {
    /// How many syncs
    #[arg(long, default_value_t = 5000, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=200_000))]
    pub(super) syncs: u32,
    /// How many sources the syncs share
    #[arg(long, default_value_t = 5, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) sources: u32,
    /// How many copies stand in one namespace
    #[arg(long, default_value_t = 10, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) per_namespace: u32,
    /// How large a source is
    #[arg(long, default_value_t = 1024, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(16..=1_000_000))]
    pub(super) size: u32,
}

impl Load {
    /// As a set of a scenario.
    pub(super) fn syncs(&self) -> Syncs {
        Syncs {
            syncs: self.syncs as usize,
            one_object: false,
            sources: self.sources.min(self.syncs) as usize,
            namespaces: self.syncs.div_ceil(self.per_namespace) as usize,
            bytes: self.size as usize,
        }
    }
}

impl Run {
    /// What is to be run.
    pub(super) fn named(&self) -> anyhow::Result<Vec<Named>> {
        let mut all = match self.scenarios.as_slice() {
            [] => vec![self.of_flags()],
            words => words.iter().map(|word| Named::read(word)).collect::<anyhow::Result<_>>()?,
        };
        for named in &mut all {
            let scenario = &mut named.scenario;
            scenario.replicas = self.replicas.unwrap_or(scenario.replicas);
            scenario.lease_seconds = self.lease_duration.map_or(scenario.lease_seconds, |duration| duration.as_secs());
            scenario.flags.extend(self.operator_flag.iter().cloned());
            if self.scale < 1.0 {
                // Expectations are for the whole.
                *scenario = scenario.clone().scaled(self.scale);
                named.expected.clear();
            }
        }
        Ok(all)
    }

    /// A fixed fan-out and a load: made, changed, left alone, found again after a restart, deleted.
    fn of_flags(&self) -> Named {
        let mut sets = BTreeMap::from([("load".to_owned(), self.load.syncs())]);
        let mut names = vec!["load"];
        if self.fanout > 0 {
            let (syncs, namespaces) = (self.fanout as usize, self.fanout as usize);
            let bytes = self.load.size as usize;
            let fanout = Syncs { syncs, one_object: false, sources: 1, namespaces, bytes };
            sets.insert("fanout".to_owned(), fanout);
            names.insert(0, "fanout");
        }
        let create = |set: &&str| Step::Create((*set).to_owned());
        let delete = |set: &&str| Step::Delete((*set).to_owned());
        let changes = |set: &str| {
            let change = |sources, rounds| Step::Change(Change { set: set.to_owned(), sources, rounds });
            let all = sets[set].sources;
            let one = change(1, usize::from(self.rounds));
            if all > 1 { vec![one, change(all, 1)] } else { vec![one] }
        };
        let mut steps = vec![Step::Bound];
        for set in &names {
            steps.push(create(set));
            steps.extend(changes(set));
        }
        if self.rest > Duration::ZERO {
            steps.push(Step::Rest(self.rest.as_secs()));
        }
        steps.push(Step::Bound);
        steps.extend(names.iter().flat_map(|set| changes(set)));
        steps.extend(names.iter().rev().map(delete));
        steps.extend(names.first().into_iter().flat_map(|set| [create(set), delete(set)]));
        let about = "New syncs, changed sources, rest, a restart and deletion, beside bare writers.".to_owned();
        let scenario = Scenario {
            about,
            replicas: 3,
            lease_seconds: 10,
            flags: Vec::new(),
            limits: None,
            delay_ms: None,
            without_flow_schema: false,
            sets,
            steps,
        };
        Named { name: "run".to_owned(), scenario, expected: BTreeMap::new() }
    }

    /// Where the directory of the run is made.
    pub(super) fn runs(&self) -> PathBuf {
        self.out.clone().unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("runs"))
    }
}

/// More than nothing and no more than all.
fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| *share > 0.0 && *share <= 1.0);
    share.ok_or_else(|| format!("{text:?} is no share: a number above 0 and up to 1"))
}

/// `90s`, `20m`, `1h`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration: write it like 90s, 20m or 1h");
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    Ok(Duration::from_secs(number.checked_mul(unit).ok_or_else(wrong)?))
}

/// A part of a directory's name.
fn name(text: &str) -> Result<String, String> {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if text.is_empty() || !text.chars().all(good) {
        return Err(format!("{text:?} is no name of a run: letters, digits and '-' only"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        <CommandLine as clap::CommandFactory>::command().debug_assert();
        let Command::Run(run) = CommandLine::parse_from(["loadtest", "run"]).command else { panic!() };
        for named in run.named().unwrap() {
            named.scenario.check().unwrap();
        }
        assert!(CommandLine::try_parse_from(["loadtest", "run", "fanout-1000", "--syncs", "5"]).is_err());
    }

    #[test]
    fn values_are_checked() {
        assert_eq!(duration("20m"), Ok(Duration::from_secs(1200)));
        for wrong in ["", "s", "10", "1.5s", "-1s", "99999999999999999999h", "1ü"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert!(share("0.1") == Ok(0.1) && share("0").is_err() && share("2").is_err());
        assert!(name("three-replicas").is_ok() && name("../x").is_err());
    }
}
