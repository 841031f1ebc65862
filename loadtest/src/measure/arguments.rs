//! The command line of the load test.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use serde_json::json;

/// Creates thousands of syncs, measures what the operator makes of them, and sets it beside bare writers.
///
/// The load goes to a control plane that is started for it and removed at the end.
#[derive(Clone, Debug, Parser)]
#[command(name = "loadtest", version)]
pub(super) struct Arguments {
    /// How many syncs
    #[arg(long, default_value_t = 5000, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=200_000))]
    pub(super) syncs: u32,
    /// How many replicas of the operator run
    #[arg(long, default_value_t = 3, value_name = "NUMBER", value_parser = clap::value_parser!(u8).range(1..=32))]
    pub(super) replicas: u8,
    /// How many sources the syncs share
    #[arg(long, default_value_t = 5, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) sources: u32,
    /// How many copies stand in one namespace
    #[arg(long, default_value_t = 10, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) per_namespace: u32,
    /// How many copies the one source of the fixed scenario has, each in a namespace of its own; 0 leaves it out
    #[arg(long, default_value_t = 1000, value_name = "NUMBER")]
    pub(super) fanout: u32,
    /// How large a source is
    #[arg(long, default_value_t = 1024, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(16..=1_000_000))]
    pub(super) size: u32,
    /// How often each change is measured before, and again after, the bare writers' second turn
    #[arg(long, default_value_t = 3, value_name = "NUMBER", value_parser = clap::value_parser!(u8).range(1..=20))]
    pub(super) rounds: u8,
    /// How long nothing is done while every request is classified; 0s leaves it out
    #[arg(long, default_value = "60s", value_name = "DURATION", value_parser = duration)]
    pub(super) rest: Duration,
    /// How long shards outlive a dead replica
    #[arg(long, default_value = "10s", value_name = "DURATION", value_parser = duration)]
    pub(super) lease_duration: Duration,
    /// The load test ends then, whatever it is at
    #[arg(long, default_value = "20m", value_name = "DURATION", value_parser = duration)]
    pub(super) time_limit: Duration,
    /// One more flag for each replica, such as --operator-flag=--max-in-flight=16; may be repeated
    #[arg(long, value_name = "FLAG", allow_hyphen_values = true)]
    pub(super) operator_flag: Vec<String>,
    /// The run's name, after the date
    #[arg(long, default_value = "run", value_name = "NAME", value_parser = name)]
    pub(super) name: String,
    /// Where the directory of the run is made [default: loadtest/runs]
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// Sends the load to the cluster that KUBECONFIG names
    #[arg(long)]
    pub(super) yes_use_this_cluster: bool,
}

impl Arguments {
    /// What decides about the figures.
    pub(super) fn settings(&self) -> BTreeMap<String, serde_json::Value> {
        [
            ("syncs", json!(self.syncs)),
            ("replicas", json!(self.replicas)),
            ("sources", json!(self.sources)),
            ("per namespace", json!(self.per_namespace)),
            ("fan-out", json!(self.fanout)),
            ("source bytes", json!(self.size)),
            ("rounds", json!(self.rounds)),
            ("rest seconds", json!(self.rest.as_secs())),
            ("lease seconds", json!(self.lease_duration.as_secs())),
            ("writers in flight", json!(crate::writers::IN_FLIGHT)),
            ("operator flags", json!(self.operator_flag.join(" "))),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    /// Where the directory of the run is made.
    pub(super) fn runs(&self) -> PathBuf {
        self.out.clone().unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("runs"))
    }
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
        <Arguments as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn values_are_checked() {
        assert_eq!(duration("20m"), Ok(Duration::from_secs(1200)));
        for wrong in ["", "s", "10", "1.5s", "-1s", "99999999999999999999h", "1ü"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert!(name("three-replicas").is_ok() && name("../x").is_err());
    }
}
