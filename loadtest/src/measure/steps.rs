//! The steps that a scenario can take.

use serde::{Deserialize, Serialize};

/// One step.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Bare writers do what the steps do, without any operator. Replicas that run are ended before, and started again after.
    Bound,
    /// The same beside replicas that run and have nothing to do: what their watches alone cost.
    BoundBesideReplicas,
    /// Creates the syncs of a set at once.
    Create(String),
    /// Changes sources of a set at once.
    Change(Change),
    /// Changes one source several times before its copies can have followed.
    Burst(Burst),
    /// Changes the source of one set while the copies of another one's are being written.
    Overtake(Overtake),
    /// Disturbs a set with one object, one namespace or copy at a time, and waits each time until all is in order again.
    Disturb(Disturb),
    /// Deletes the syncs of a set at once.
    Delete(String),
    /// Nothing is done for so many seconds, and every request is classified.
    Rest(u64),
    /// Ends all replicas and starts them again.
    Restart,
    /// Kills all replicas at once and starts others.
    Crash,
    /// Kills a replica; the others take its shards over.
    Kill,
    /// Starts and ends replicas until there are so many, one number after the other.
    Scale(Scale),
    /// All sources of a set are changed, with as many replicas as each of these numbers says.
    Throughput(Throughput),
    /// Other people's ConfigMaps come, and memory is measured before and after.
    Foreign(Foreign),
}

/// See [`Step::Change`].
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Of which set.
    pub set: String,
    /// How many of its sources.
    #[serde(default = "one")]
    pub sources: usize,
    /// How often.
    #[serde(default = "one")]
    pub rounds: usize,
}

/// See [`Step::Burst`].
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Burst {
    /// Of which set.
    pub set: String,
    /// How many changes.
    pub changes: usize,
    /// How far apart, in milliseconds.
    pub apart_ms: u64,
}

/// See [`Step::Overtake`].
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Overtake {
    /// Whose copies are being written: a set with one source.
    pub large: String,
    /// Whose source changes meanwhile.
    pub small: String,
    /// How often.
    #[serde(default = "one")]
    pub rounds: usize,
}

/// See [`Step::Disturb`].
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Disturb {
    /// Which set.
    pub set: String,
    /// How often in each way.
    pub times: usize,
}

/// See [`Step::Scale`].
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Scale {
    /// How many replicas, one number after the other.
    pub to: Vec<u8>,
    /// All sources of this set change just before each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub during: Option<String>,
}

/// See [`Step::Throughput`].
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Throughput {
    /// Of which set.
    pub set: String,
    /// How many replicas, one number after the other.
    pub replicas: Vec<u8>,
    /// How often with each number.
    #[serde(default = "one")]
    pub rounds: usize,
}

/// See [`Step::Foreign`].
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Foreign {
    /// How many ConfigMaps.
    pub config_maps: usize,
    /// How large each.
    pub bytes: usize,
}

/// What is left out is one.
pub fn one<N: From<u8>>() -> N {
    N::from(1)
}

impl Step {
    /// The sets that it is about.
    pub fn sets(&self) -> Vec<&str> {
        match self {
            Self::Create(set) | Self::Delete(set) => vec![set],
            Self::Change(Change { set, .. })
            | Self::Burst(Burst { set, .. })
            | Self::Disturb(Disturb { set, .. })
            | Self::Throughput(Throughput { set, .. }) => vec![set],
            Self::Overtake(Overtake { large, small, .. }) => vec![large, small],
            Self::Scale(Scale { during, .. }) => during.iter().map(String::as_str).collect(),
            Self::Bound
            | Self::BoundBesideReplicas
            | Self::Rest(_)
            | Self::Restart
            | Self::Crash
            | Self::Kill
            | Self::Foreign(_) => Vec::new(),
        }
    }
}
