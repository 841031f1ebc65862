//! Who listens while bare writers write.

use std::fmt;
use std::time::Duration;

use clap::ValueEnum as _;
use testbed::Cluster;
use testbed::process::{self, Child, Command};

use super::listener::Listener;
use crate::fleet::{self, Fleet};

/// After a listener's start: its watches stand.
const STANDING: Duration = Duration::from_secs(3);

/// How long nothing happens, to see what that costs.
const REST: Duration = Duration::from_secs(10);

/// Who listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Crew {
    /// Nobody.
    Nobody,
    /// Bare watches.
    Bare(Listener),
    /// Replicas that hold no shard.
    Replicas,
}

impl Crew {
    pub(super) const ALL: [Self; 5] = [
        Self::Nobody,
        Self::Bare(Listener::Raw),
        Self::Bare(Listener::Sharded),
        Self::Bare(Listener::Metadata),
        Self::Replicas,
    ];
}

impl fmt::Display for Crew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nobody => "nobody",
            Self::Bare(Listener::Raw) => "raw reads",
            Self::Bare(Listener::Sharded) => "raw reads of a share",
            Self::Bare(Listener::Metadata) => "metadata watches",
            Self::Replicas => "idle replicas",
        })
    }
}

/// A crew at work. The replicas run in the fleet.
pub(super) struct Listening {
    bare: Vec<Child>,
}

impl Listening {
    pub(super) async fn start(crew: Crew, count: usize, cluster: &Cluster, fleet: &mut Fleet) -> anyhow::Result<Self> {
        let mut bare = Vec::new();
        match crew {
            Crew::Nobody => {}
            Crew::Bare(listener) => {
                let word = listener.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
                let spawn = |number: usize| {
                    let (number, count) = (number.to_string(), count.to_string());
                    let command = Command::new(std::env::current_exe()?)
                        .args(["--listen", &word, "--number", &number, "--listeners", &count])
                        .env("KUBECONFIG", cluster.kubeconfig())
                        .log(fleet.logs().join("listener.log"));
                    process::spawn(&command)
                };
                bare = (0..count).map(spawn).collect::<anyhow::Result<_>>()?;
            }
            Crew::Replicas => {
                fleet.start(count)?;
                fleet.until_ready(Duration::from_secs(120)).await?;
            }
        }
        tokio::time::sleep(STANDING).await;
        Ok(Self { bare })
    }

    /// Processor time so far of each, in seconds.
    pub(super) fn used(&self, fleet: &Fleet) -> anyhow::Result<Vec<f64>> {
        for child in &self.bare {
            let ended = child.try_wait()?;
            anyhow::ensure!(
                ended.is_none(),
                "a listener has ended: the API server does that to those that are too slow"
            );
        }
        let pids = self.bare.iter().map(Child::pid).chain(fleet.replicas().iter().map(fleet::Replica::pid));
        pids.map(|pid| Ok(fleet::usage(pid)?.cpu_seconds)).collect()
    }

    /// Processor time of each in a second in which nothing happens, in seconds.
    pub(super) async fn rest(&self, fleet: &Fleet) -> anyhow::Result<Vec<f64>> {
        let before = self.used(fleet)?;
        tokio::time::sleep(REST).await;
        let used = self.used(fleet)?;
        Ok(used.iter().zip(before).map(|(now, was)| (now - was) / REST.as_secs_f64()).collect())
    }

    /// Ends it, and makes sure that no replica has taken a shard meanwhile.
    pub(super) async fn end(self, fleet: &mut Fleet) -> anyhow::Result<()> {
        let (shards, names) = (fleet.shards().await?, fleet.names());
        drop(self);
        for name in names {
            // That of the dead holder begins with the same name.
            anyhow::ensure!(shards.sessions().len() == 1, "{name} was not idle: give it fewer events");
            fleet.kill(&name)?;
        }
        Ok(())
    }
}
