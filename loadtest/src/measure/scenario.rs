//! Scenarios: what a run sets up, and the steps that it takes. They are files in `loadtest/scenarios`, each with another
//! beside it that says what is expected.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use super::set::{self, Set};
use super::steps::{Change, Disturb, Step, one};
use crate::fleet::Limits;
use crate::report::Range;

/// A scenario.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it is about, in a sentence.
    pub about: String,
    /// How many replicas run.
    #[serde(default = "one")]
    pub replicas: u8,
    /// How long shards outlive a dead replica, in seconds.
    #[serde(default = "ten")]
    pub lease_seconds: u64,
    /// More flags for each replica.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
    /// What each replica may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// How much later each request of the replicas arrives, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    /// Whether the FlowSchema that keeps renewals of Leases apart from other requests is taken away.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub without_flow_schema: bool,
    /// The syncs, by the name that the steps call them by.
    pub sets: BTreeMap<String, Syncs>,
    /// What is done, in this order.
    #[serde(with = "serde_yaml_ng::with::singleton_map_recursive")]
    pub steps: Vec<Step>,
}

/// Copies that are asked for together.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Syncs {
    /// How many copies: for each there is a sync.
    pub syncs: usize,
    /// Instead one object asks for all of them, a copy in each namespace.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub one_object: bool,
    /// How many sources they share.
    #[serde(default = "one")]
    pub sources: usize,
    /// Over how many namespaces the copies are spread.
    pub namespaces: usize,
    /// How large a source is.
    #[serde(default = "kibibyte")]
    pub bytes: usize,
}

fn ten() -> u64 {
    10
}

fn kibibyte() -> usize {
    1024
}

/// A scenario that is in a file, with its name and what is expected of it.
#[derive(Clone, Debug)]
pub struct Named {
    /// The file's name without its ending.
    pub name: String,
    /// The scenario.
    pub scenario: Scenario,
    /// By the name of a figure.
    pub expected: BTreeMap<String, Range>,
}

/// Where the scenarios are.
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")
}

/// The names of the scenarios that come with the load test.
///
/// # Errors
/// When their directory cannot be read.
pub fn names() -> anyhow::Result<Vec<String>> {
    let directory = directory();
    let entries = fs::read_dir(&directory).with_context(|| format!("no scenarios in {}", directory.display()))?;
    let files = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = files
        .filter(|file| !file.ends_with(EXPECTED))
        .filter_map(|file| file.strip_suffix(".yaml").map(str::to_owned))
        .collect();
    names.sort_unstable();
    Ok(names)
}

const EXPECTED: &str = ".expected.yaml";

impl Named {
    /// A scenario that comes with the load test, by its name, or any other, by the path of its file.
    ///
    /// # Errors
    /// When there is none, or it makes no sense; the message says what would.
    pub fn read(word: &str) -> anyhow::Result<Self> {
        let file = if word.ends_with(".yaml") { PathBuf::from(word) } else { directory().join(format!("{word}.yaml")) };
        let known = || names().map(|names| names.join(", ")).unwrap_or_default();
        let text = fs::read_to_string(&file).with_context(|| {
            format!("there is no scenario {word:?}; there are {}, or a path that ends in .yaml", known())
        })?;
        let name = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or("scenario").to_owned();
        let scenario: Scenario = serde_yaml_ng::from_str(&text).with_context(|| format!("the scenario {word}"))?;
        scenario.check().with_context(|| format!("the scenario {word}"))?;
        let expected = file.with_file_name(format!("{name}{EXPECTED}"));
        let expected = match fs::read_to_string(&expected) {
            Ok(text) => serde_yaml_ng::from_str(&text).with_context(|| format!("what {word} expects"))?,
            Err(_) => BTreeMap::new(),
        };
        Ok(Self { name, scenario, expected })
    }
}

impl Scenario {
    /// Fails when a step names what is not there, or comes at a time when it makes no sense.
    pub fn check(&self) -> anyhow::Result<()> {
        for (name, set) in &self.sets {
            if set.one_object && (set.syncs != set.namespaces || set.sources != 1) {
                bail!("the set {name}: one object has one source, and a copy in each namespace");
            }
        }
        let mut made: Vec<&str> = Vec::new();
        for step in &self.steps {
            if let Step::Create(set) = step {
                self.syncs(set)?;
                made.push(set);
                continue;
            }
            for set in step.sets() {
                self.syncs(set)?;
                if !made.contains(&set) {
                    bail!("{step:?}: the set {set} has not been created by then");
                }
            }
            if let Step::Disturb(Disturb { set, .. }) = step
                && !self.syncs(set)?.one_object
            {
                bail!("{step:?}: the set {set} is not asked for by one object");
            }
            if let Step::Delete(set) = step {
                made.retain(|other| other != set);
            }
        }
        Ok(())
    }

    fn syncs(&self, set: &str) -> anyhow::Result<Syncs> {
        let all = || self.sets.keys().cloned().collect::<Vec<_>>().join(", ");
        self.sets.get(set).copied().with_context(|| format!("there is no set {set:?}; there are {}", all()))
    }

    /// The objects of a set.
    pub fn set(&self, name: &str) -> anyhow::Result<Set> {
        let Syncs { syncs, one_object, sources, namespaces, bytes } = self.syncs(name)?;
        Ok(if one_object {
            Set::of_one_object(name, namespaces, bytes)
        } else {
            Set::new(name, syncs, sources, namespaces, bytes)
        })
    }

    /// How many namespaces the copies stand in.
    pub fn namespaces(&self) -> usize {
        self.sets.values().map(|set| set.namespaces).max().unwrap_or(0)
    }

    /// The labels of one of these namespaces: those that the one object of a set selects by.
    pub fn labels(&self, namespace: usize) -> impl Iterator<Item = (String, String)> {
        let sets = self.sets.iter().filter(move |(_, set)| set.one_object && namespace < set.namespaces);
        sets.map(|(name, _)| set::selected(name))
    }

    /// How long a lease is.
    pub fn lease_duration(&self) -> Duration {
        Duration::from_secs(self.lease_seconds)
    }

    /// The same with this share of the syncs.
    pub fn scaled(mut self, share: f64) -> Self {
        let scale = |number: &mut usize, least: usize| *number = ((*number as f64 * share) as usize).max(least);
        for set in self.sets.values_mut() {
            scale(&mut set.syncs, 4 * set.sources);
            scale(&mut set.namespaces, 4);
        }
        for step in &mut self.steps {
            match step {
                Step::Foreign(foreign) => scale(&mut foreign.config_maps, 10),
                Step::Rest(seconds) => *seconds = ((*seconds as f64 * share) as u64).max(5),
                _ => {}
            }
        }
        self
    }

    /// What bare writers do for the bound: each thing that the steps do and that they can do as well, once. All sets are
    /// deleted at the end, so that the next turn finds what this one found.
    pub fn bound(&self) -> Vec<Step> {
        let mut steps: Vec<Step> = Vec::new();
        for step in &self.steps {
            let step = match step {
                Step::Create(_) | Step::Change(_) | Step::Delete(_) => step.clone(),
                Step::Throughput(of) => {
                    let sources = self.sets.get(&of.set).map_or(1, |set| set.sources);
                    Step::Change(Change { set: of.set.clone(), sources, rounds: of.rounds })
                }
                _ => continue,
            };
            if !steps.contains(&step) {
                steps.push(step);
            }
        }
        for step in self.sets.keys().cloned().map(Step::Delete) {
            if !steps.contains(&step) {
                steps.push(step);
            }
        }
        steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_come_with_the_load_test_make_sense() {
        let names = names().unwrap();
        assert!(names.len() >= 10, "{names:?}");
        for name in names {
            let named = Named::read(&name).unwrap();
            assert!(!named.expected.is_empty(), "{name} expects nothing");
            named.scenario.scaled(0.01).check().unwrap();
        }
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        let scenario = |steps: &str| {
            let sets = "sets: {one: {syncs: 10, namespaces: 10}}";
            let scenario: Scenario = serde_yaml_ng::from_str(&format!("about: it\n{sets}\nsteps:\n{steps}")).unwrap();
            scenario.check().map_err(|error| error.to_string())
        };
        assert_eq!(scenario("- create: one\n- bound\n- change: {set: one}"), Ok(()));
        assert_eq!(scenario("- create: two").unwrap_err(), "there is no set \"two\"; there are one");
        assert!(scenario("- delete: one").unwrap_err().ends_with("has not been created by then"));
        assert!(scenario("- create: one\n- delete: one\n- change: {set: one}").is_err());
        assert!(scenario("- create: one\n- disturb: {set: one, times: 5}").is_err());
        assert!(
            Named::read("nonsense")
                .unwrap_err()
                .to_string()
                .starts_with("there is no scenario \"nonsense\"; there are ")
        );
    }
}
