//! The fleet leader: does what must be done once and is harmless if it is done twice. It says how many shards nobody
//! holds, and sweeps the Leases of dead sessions. No copy depends on it.
//!
//! It is elected with kube-leader-election, whose Lease two replicas can win at once and which judges by the wall
//! clock (`docs/decisions/0003-kube-leader-election.md`): good enough for this, and for nothing that writes a copy.

use std::time::Duration;

use kube::Client;
use kube_leader_election::{LeaseLock, LeaseLockParams, LeaseLockResult};
use metrics::gauge;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::controller::leadership::handle::Leadership;
use crate::controller::leadership::task::Settings;
use crate::environment::clock::Clock;
use crate::kubernetes::error::ApiError;
use crate::kubernetes::leases::{FLEET_LEADER, version};
use crate::rules::uid::Version;
use crate::telemetry::instruments::{LEADER_ELECTION_MASTER_STATUS, SHARDS_UNHELD};

/// How long the leader's Lease lives, whatever the lease duration of the sessions. With [`TURN`] a successor leads at
/// most 23 s after the leader was killed, also when the leader's wall clock was far ahead ([`STALE`]).
const TTL: Duration = Duration::from_secs(10);
/// How often each replica tries.
const TURN: Duration = Duration::from_secs(5);
/// A leader's Lease that has not changed for this long by our own clock is deleted, whatever the times in it say: the
/// crate would believe a renewal in the year 9999 for ever, and cannot read a Lease without one.
const STALE: Duration = Duration::from_secs(17);

/// What this replica asks of the Leases here, for the log.
const STAND: &str = "stand for fleet leader";
const DELETE: &str = "delete";

/// The fleet leader's task in each replica.
struct Candidate {
    lock: LeaseLock,
    leadership: Leadership,
    clock: Clock,
    /// Since when we lead; renewed with each success, in our own clock.
    led: Option<Duration>,
    /// The leader's Lease as we last saw it, and since when it has been so.
    observed: Option<(Version, Duration)>,
    /// Whether we lead.
    leads: watch::Sender<bool>,
}

/// The task that stands for fleet leader until `cancel`, and whether it leads. `client` is [`Clients::leases`](crate::kubernetes::client::Clients::leases).
pub fn start(
    client: Client,
    settings: &Settings,
    leadership: Leadership,
    cancel: CancellationToken,
) -> (impl Future<Output = ()> + Send + use<>, watch::Receiver<bool>) {
    let params = LeaseLockParams {
        lease_name: FLEET_LEADER.to_owned(),
        holder_id: leadership.identity().to_owned(),
        lease_ttl: TTL,
    };
    let lock = LeaseLock::new(client, &settings.namespace, params);
    let (leads, is_leading) = watch::channel(false);
    let candidate = Candidate { lock, leadership, clock: settings.clock.clone(), led: None, observed: None, leads };
    (candidate.run(cancel), is_leading)
}

impl Candidate {
    async fn run(mut self, cancel: CancellationToken) {
        gauge!(LEADER_ELECTION_MASTER_STATUS, "name" => FLEET_LEADER).set(0);
        let mut fleet = self.leadership.fleet();
        let mut turn = tokio::time::interval(TURN);
        turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                _ = turn.tick() => {
                    self.stand().await;
                    self.sweep().await;
                }
                Ok(()) = fleet.changed() => {}
            }
            self.report();
        }
        if self.led.take().is_some() {
            self.stopped_leading();
            if let Ok(Err(error)) = tokio::time::timeout(TURN, self.lock.step_down()).await {
                warn!(lease = FLEET_LEADER, cause = %api_error(&error), "could not step down as fleet leader; a successor waits for the Lease to run out");
            }
        }
    }

    /// Tries to become or to stay the leader.
    async fn stand(&mut self) {
        let asked = self.clock.now();
        match tokio::time::timeout(TURN, self.lock.try_acquire_or_renew()).await {
            Ok(Ok(LeaseLockResult::Acquired(_))) => {
                self.leadership.leases().answered(STAND);
                if self.led.replace(asked).is_none() {
                    info!(lease = FLEET_LEADER, "leading the fleet");
                    gauge!(LEADER_ELECTION_MASTER_STATUS, "name" => FLEET_LEADER).set(1);
                    self.leads.send_replace(true);
                }
                self.observed = None;
                return;
            }
            Ok(Ok(LeaseLockResult::NotAcquired(lease))) => {
                self.leadership.leases().answered(STAND);
                if self.led.take().is_some() {
                    self.stopped_leading();
                }
                self.clear_stale(version(&lease.metadata)).await;
                return;
            }
            Ok(Err(error)) => self.leadership.leases().fails(STAND, &api_error(&error)),
            Err(_) => self.leadership.leases().fails(STAND, &ApiError::Unavailable("no answer in time".to_owned())),
        }
        // The crate knows no clock but the wall's, and a paused leader believes itself to lead: we do not.
        if self.led.is_some_and(|led| self.clock.now() >= led + TTL) {
            self.led = None;
            self.stopped_leading();
        }
        // Perhaps it is one that the crate cannot read.
        if let Ok(Ok(version)) = tokio::time::timeout(TURN, self.leadership.leases().version(FLEET_LEADER)).await {
            self.clear_stale(version).await;
        }
    }

    /// Deletes the leader's Lease when nothing about it has changed for so long that its holder must be dead.
    async fn clear_stale(&mut self, version: Option<Version>) {
        let now = self.clock.now();
        let Some(version) = version else {
            self.observed = None;
            return;
        };
        match self.observed {
            Some((observed, since)) if observed == version => {
                if now >= since + STALE {
                    info!(
                        lease = FLEET_LEADER,
                        "the fleet leader's Lease has not changed for a long time: deleting it"
                    );
                    match self.leadership.leases().delete(FLEET_LEADER, version).await {
                        Ok(()) => self.leadership.leases().answered(DELETE),
                        Err(error) => self.leadership.leases().fails(DELETE, &error),
                    }
                }
            }
            _ => self.observed = Some((version, now)),
        }
    }

    /// Deletes the Leases of sessions that are over and that no shard names.
    async fn sweep(&self) {
        if self.led.is_none() {
            return;
        }
        let dead = self.leadership.fleet().borrow().dead.clone();
        for session in dead {
            match self.leadership.leases().sweep(&session).await {
                Ok(()) => {
                    info!(session = %session.name, "deleted the Lease of a session that has ended");
                    self.leadership.leases().answered(DELETE);
                }
                Err(error) => return self.leadership.leases().fails(DELETE, &error),
            }
        }
    }

    fn report(&self) {
        let fleet = self.leadership.fleet();
        let fleet = fleet.borrow();
        if self.led.is_some() && fleet.synced {
            gauge!(SHARDS_UNHELD).set(fleet.unheld as f64);
        }
    }

    /// A gauge cannot be taken back. 0 is what leaves `max` and `sum` over the replicas to the one that leads now; NaN
    /// would make the sum NaN. The other gauge says that nobody leads, and has an alert of its own.
    fn stopped_leading(&self) {
        info!(lease = FLEET_LEADER, "no longer leading the fleet");
        gauge!(LEADER_ELECTION_MASTER_STATUS, "name" => FLEET_LEADER).set(0);
        gauge!(SHARDS_UNHELD).set(0);
        self.leads.send_replace(false);
    }
}

/// What an error of the election means.
fn api_error(error: &kube_leader_election::Error) -> ApiError {
    use kube_leader_election::Error as E;
    match error {
        E::GetLease(e) | E::CreateLease(e) | E::AcquireLease(e) | E::RenewLease(e) | E::ReleaseLease(e) => e.into(),
        other => ApiError::Unavailable(other.to_string()),
    }
}
