//! Leadership of one replica over shards: it renews the session, takes and releases shards, and tells the rest of the
//! replica what it may write.

mod story;
mod task;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::core::session::Fleet;

use crate::core::session::Timing;
use crate::core::shard::Shard;
use crate::io::chance;
use crate::io::clock::Clock;
use crate::io::instruments::GATE_CLOSED_TOTAL;
use crate::io::leases::{Leases, identity};
use crate::run::supervisor::Supervisor;

/// What leadership needs to know before it starts.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The namespace of the Leases.
    pub namespace: String,
    /// The name of this replica (pod or host), which opens the names of its sessions.
    pub identity: String,
    /// The times, derived from the lease duration.
    pub timing: Timing,
    /// The clock by which leases are judged.
    pub clock: Clock,
}

/// What happened to this replica's shards. When an event is received, [`Tenures`] already says the same.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TenureEvent {
    /// These shards are ours from now on: plan every sync of theirs.
    Opened(Vec<Shard>),
    /// Stop dequeuing this shard, let its requests in flight end, then call [`Tenures::drained`].
    Closing(Shard),
    /// This shard is no longer ours: stop at once and drop its queue. No answer is wanted.
    Lost(Shard),
    /// etcd was restored from a backup: forget every version and list everything again.
    Restored,
}

/// Leadership's own task.
#[derive(Debug)]
pub struct Leadership;

impl Leadership {
    /// Starts leadership. It ends with `cancel`, without releasing anything: for that, call
    /// [`Tenures::leave`] first. `client` is [`Clients::leases`](crate::io::client::Clients::leases).
    pub fn start(
        client: kube::Client,
        settings: Settings,
        supervisor: &Supervisor,
        cancel: CancellationToken,
    ) -> (Tenures, mpsc::UnboundedReceiver<TenureEvent>) {
        let base = identity(&settings.identity, chance::random());
        let leases = Leases::new(client, &settings.namespace, settings.timing, &base);
        let (events, receiver) = mpsc::unbounded_channel();
        let (commands, orders) = mpsc::unbounded_channel();
        let (latency_sender, latency) = watch::channel(Duration::ZERO);
        let (fleet_sender, fleet) = watch::channel(Fleet::default());
        let (gate_sender, gate_opens) = watch::channel(false);
        let tenures = Tenures {
            shared: Arc::new(Shared { held: AtomicU64::new(0), gate: AtomicU64::new(0) }),
            base: base.clone().into(),
            clock: settings.clock.clone(),
            timing: settings.timing,
            leases: leases.clone(),
            latency,
            fleet,
            gate_opens,
            commands,
            left: CancellationToken::new(),
            stopped: CancellationToken::new(),
        };
        let outlets = task::Outlets {
            shared: Arc::clone(&tenures.shared),
            events,
            latency: latency_sender,
            fleet: fleet_sender,
            gate: gate_sender,
            left: tenures.left.clone(),
        };
        let task = task::Task::new(&base, settings, leases, orders, outlets);
        let stopped = tenures.stopped.clone().drop_guard();
        supervisor.spawn("leadership", async move {
            let _stopped = stopped;
            task.run(cancel).await;
        });
        (tenures, receiver)
    }
}

/// A cheap handle to what this replica holds. Every question is answered from two atomics.
#[derive(Clone, Debug)]
pub struct Tenures {
    shared: Arc<Shared>,
    base: Arc<str>,
    clock: Clock,
    timing: Timing,
    leases: Leases,
    latency: watch::Receiver<Duration>,
    fleet: watch::Receiver<Fleet>,
    gate_opens: watch::Receiver<bool>,
    commands: mpsc::UnboundedSender<Command>,
    /// All is given up.
    left: CancellationToken,
    /// The task is over, however it came to that.
    stopped: CancellationToken,
}

#[derive(Debug)]
struct Shared {
    /// One bit for each shard that is held and not closing.
    held: AtomicU64,
    /// When the gate closes, in nanoseconds of the clock: the writer's request timeout and margin are taken off.
    gate: AtomicU64,
}

/// What the rest of the replica tells leadership.
#[derive(Debug)]
enum Command {
    Drained(Shard),
    Leave,
}

impl Tenures {
    /// The gate: a request for this shard may be sent now, if it ends within [`Tenures::request_timeout`].
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

    /// Whether the gate is open, as of the last tick: for who has nothing to do while it is closed. Before a write
    /// [`Tenures::may_write`] is asked.
    pub fn gate_opens(&self) -> watch::Receiver<bool> {
        self.gate_opens.clone()
    }

    /// The fleet in a few figures, as this replica's watch has shown it; for the fleet leader and for readiness.
    pub fn fleet(&self) -> watch::Receiver<Fleet> {
        self.fleet.clone()
    }

    /// What leadership lacks, if it is something that does not come by itself: a right, a namespace.
    pub fn lacks(&self) -> Option<String> {
        self.leases.lacks().map(|trouble| trouble.to_string())
    }

    /// The Leases of the fleet.
    pub(super) fn leases(&self) -> &Leases {
        &self.leases
    }

    /// The answer to [`TenureEvent::Closing`]: nothing is in flight for this shard any more.
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
