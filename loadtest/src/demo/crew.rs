//! Who plays: replicas of the operator, be they processes of this machine or pods of the shipped Deployment.

use std::time::Duration;

use anyhow::Context as _;

use super::pods::Pods;
use crate::fleet::{Fleet, Shards};

/// From the start of a process to its being ready.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// The replicas.
pub(super) struct Crew {
    players: Players,
    /// All that ever ran, in the order of their numbers.
    numbered: Vec<String>,
}

/// What the replicas are.
pub(super) enum Players {
    /// Processes, each with an account of the cluster.
    Processes(Fleet),
    /// Pods.
    Pods(Pods),
}

impl Crew {
    pub(super) fn new(players: Players) -> Self {
        let mut crew = Self { players, numbered: Vec::new() };
        crew.number();
        crew
    }

    /// The pods, if they are pods.
    pub(super) fn pods(&self) -> Option<&Pods> {
        match &self.players {
            Players::Processes(_) => None,
            Players::Pods(pods) => Some(pods),
        }
    }

    /// The processes, if they are processes.
    pub(super) fn processes(&self) -> Option<&Fleet> {
        match &self.players {
            Players::Processes(fleet) => Some(fleet),
            Players::Pods(_) => None,
        }
    }

    /// Runs so many, and waits until all are ready.
    pub(super) async fn run(&mut self, count: usize) -> anyhow::Result<()> {
        match &mut self.players {
            Players::Processes(fleet) => {
                fleet.start(count)?;
                fleet.until_ready(READY_WITHIN).await?;
            }
            Players::Pods(pods) => pods.scale(count).await?,
        }
        self.number();
        Ok(())
    }

    fn number(&mut self) {
        for name in self.names() {
            if !self.numbered.contains(&name) {
                self.numbered.push(name);
            }
        }
    }

    /// The names of those that run.
    pub(super) fn names(&self) -> Vec<String> {
        match &self.players {
            Players::Processes(fleet) => fleet.names(),
            Players::Pods(pods) => pods.names().to_vec(),
        }
    }

    /// Who holds which shard.
    pub(super) async fn shards(&self) -> anyhow::Result<Shards> {
        match &self.players {
            Players::Processes(fleet) => fleet.shards().await,
            Players::Pods(pods) => pods.shards().await,
        }
    }

    /// The map of shards, by the numbers of the replicas; `x` where a session of `former` still holds one.
    pub(super) fn map(&self, shards: &Shards, former: &[String]) -> String {
        shards.map(&self.numbered, former)
    }

    /// How many shards each of those that run holds, in a line.
    pub(super) fn counts(&self, shards: &Shards) -> String {
        let count = |(place, name): (usize, &String)| format!("{}: {}", self.short(place, name), shards.held_by(name));
        let running = self.names();
        let there = self.numbered.iter().enumerate().filter(|(_, name)| running.contains(name));
        there.map(count).collect::<Vec<_>>().join("   ")
    }

    /// A pod's name is long, and all but its end is the same for all.
    fn short(&self, place: usize, name: &str) -> String {
        match &self.players {
            Players::Processes(_) => name.to_owned(),
            Players::Pods(_) => {
                format!("{} {}", place + 1, name.rsplit('-').next().unwrap_or_default())
            }
        }
    }

    /// One that runs, to be killed.
    pub(super) fn victim(&self) -> anyhow::Result<String> {
        self.names().get(1).cloned().context("one replica alone cannot be taken over from")
    }

    /// Ends it with SIGKILL. A process stays away; a pod's program is started again by its kubelet.
    pub(super) async fn kill(&mut self, name: &str) -> anyhow::Result<()> {
        match &mut self.players {
            Players::Processes(fleet) => fleet.kill(name),
            Players::Pods(pods) => pods.crash(name).await,
        }
    }

    /// Ends all with SIGTERM.
    pub(super) async fn terminate(&mut self) -> anyhow::Result<()> {
        match &mut self.players {
            Players::Processes(fleet) => fleet.terminate().await,
            Players::Pods(pods) => pods.scale(0).await,
        }
    }

    /// The sum of the times of all fan-outs, of each replica, in seconds: its own metric.
    pub(super) async fn fanout_seconds(&self) -> anyhow::Result<Vec<f64>> {
        let mut sums = Vec::new();
        match &self.players {
            Players::Processes(fleet) => {
                for replica in fleet.replicas() {
                    sums.push(replica.metrics().await?);
                }
            }
            Players::Pods(pods) => {
                for name in pods.names() {
                    sums.push(pods.metrics(name).await?);
                }
            }
        }
        Ok(sums.iter().map(|page| page.sum("configmapsync_fanout_duration_seconds_sum", &[])).collect())
    }

    /// Fails when one that should run has ended.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        match &self.players {
            Players::Processes(fleet) => fleet.check(),
            Players::Pods(pods) => pods.check(),
        }
    }
}
