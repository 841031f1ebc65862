//! What the rest of a replica sees of leadership: which shards it holds, whether it may write now, and what has changed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::environment::clock::Clock;
use crate::kubernetes::leases::Leases;
use crate::kubernetes::leases::notes::Notes;
use crate::leadership::{Fleet, Timing};
use crate::rules::shard::Shard;
use crate::telemetry::instruments::GATE_CLOSED_TOTAL;

/// What happened to this replica's shards. When an event is received, [`Leadership`] already says the same.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LeadershipEvent {
    /// These shards are ours from now on: plan every sync of theirs.
    Opened(Vec<Shard>),
    /// Stop dequeuing this shard, let its requests in flight end, then call [`Leadership::drained`].
    Closing(Shard),
    /// This shard is no longer ours: stop at once and drop its queue. No answer is wanted.
    Lost(Shard),
    /// etcd was restored from a backup: forget every version and list everything again.
    Restored,
}

/// A cheap handle to what this replica holds. Whether it may write is answered from two atomics.
#[derive(Clone, Debug)]
pub struct Leadership {
    pub(super) shared: Arc<Published>,
    pub(super) base: Arc<str>,
    pub(super) clock: Clock,
    pub(super) timing: Timing,
    pub(super) leases: Leases,
    pub(super) latency: watch::Receiver<Duration>,
    pub(super) fleet: watch::Receiver<Fleet>,
    pub(super) gate_opens: watch::Receiver<bool>,
    pub(super) commands: mpsc::UnboundedSender<Command>,
    /// All is given up.
    pub(super) left: CancellationToken,
    /// The task is over, however it came to that.
    pub(super) stopped: CancellationToken,
}

#[derive(Debug)]
pub(super) struct Published {
    /// One bit for each shard that is held and not closing.
    pub(super) held: AtomicU64,
    /// When the gate closes, in nanoseconds of the clock: the writer's request timeout and margin are taken off.
    pub(super) gate: AtomicU64,
}

/// What the rest of the replica tells leadership.
#[derive(Debug)]
pub(super) enum Command {
    Drained(Shard),
    Leave,
}

impl Leadership {
    /// The gate: a request for this shard may be sent now, if it ends within [`Leadership::request_timeout`].
    pub fn may_write(&self, shard: Shard) -> bool {
        if !self.holds(shard) {
            return false;
        }
        let open = self.clock.now() < Duration::from_nanos(self.shared.gate.load(Ordering::SeqCst));
        if !open {
            metrics::counter!(GATE_CLOSED_TOTAL).increment(1);
        }
        open
    }

    /// What replicas tell each other on their sessions' Leases.
    pub fn notes(&self) -> &Notes {
        self.leases.notes()
    }

    /// Whether the shard is held (and not closing). That its gate is open is not said.
    pub fn holds(&self, shard: Shard) -> bool {
        self.shared.held.load(Ordering::SeqCst) & (1 << shard.index()) != 0
    }

    /// The shards that are held (and not closing).
    pub fn held(&self) -> Vec<Shard> {
        Shard::all().filter(|shard| self.holds(*shard)).collect()
    }

    /// The time within which each request sent under the gate has to end. It goes along as `?timeout=` too.
    pub fn request_timeout(&self) -> Duration {
        self.timing.request
    }

    /// The times that this replica coordinates by.
    pub fn timing(&self) -> Timing {
        self.timing
    }

    /// The identity of this process: what the names of its sessions begin with.
    pub fn identity(&self) -> &str {
        &self.base
    }

    /// How long the last renewal took. Writers halve their concurrency while it is a good part of the period
    /// ([`Timing::period`]): else a big fan-out starves its own heartbeat.
    pub fn renewal_latency(&self) -> watch::Receiver<Duration> {
        self.latency.clone()
    }

    /// Whether the gate is open, as of the last tick: for tasks that have nothing to do while it is closed. Before a write
    /// [`Leadership::may_write`] is asked.
    pub fn gate_opens(&self) -> watch::Receiver<bool> {
        self.gate_opens.clone()
    }

    /// The fleet in a few figures, as this replica's watch has shown it; for the fleet leader and for readiness.
    pub fn fleet(&self) -> watch::Receiver<Fleet> {
        self.fleet.clone()
    }

    /// What leadership lacks until somebody mends it: a right, a namespace.
    pub fn lacks(&self) -> Option<String> {
        self.leases.lacks().map(|error| error.to_string())
    }

    /// The Leases of the fleet.
    pub(super) fn leases(&self) -> &Leases {
        &self.leases
    }

    /// The answer to [`LeadershipEvent::Closing`]: no write for this shard is in flight any more.
    pub fn drained(&self, shard: Shard) {
        // Without a task there is nothing left to release.
        let _ = self.commands.send(Command::Drained(shard));
    }

    /// Gives everything up: closes and releases all shards, ends the session. Returns true when all was released,
    /// false when `grace` ended first or the task was cancelled; the Leases then run out by themselves. The events
    /// must be served meanwhile.
    pub async fn leave(&self, grace: Duration) -> bool {
        let _ = self.commands.send(Command::Leave);
        tokio::select! {
            biased;
            () = self.left.cancelled() => {}
            () = self.stopped.cancelled() => {}
            () = tokio::time::sleep(grace) => {}
        }
        self.left.is_cancelled()
    }
}
