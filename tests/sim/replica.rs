//! A replica: the operator's own code, whole, in a runtime of its own, whose time stands still but for what the
//! simulation lets pass. So it can be frozen while time goes on, dropped in the middle of anything, and run by a clock
//! that is too fast.

use std::sync::Arc;
use std::time::Duration;

use configmapsync_operator::controller::config::Config;
use configmapsync_operator::controller::health::{Health, Question};
use configmapsync_operator::controller::leadership::Leadership;
use configmapsync_operator::controller::replica::{Environment, run_on};
use configmapsync_operator::environment::clock::Clock;
use configmapsync_operator::kubernetes::client::Server;
use configmapsync_operator::kubernetes::writer::Gate;
use configmapsync_operator::rules::shard::Shard;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::server::SYSTEM;
use crate::wire::{Reading, Sent, Wire};

/// A replica's grace period.
const GRACE: Duration = Duration::from_secs(25);

/// How a replica is started.
#[derive(Clone, Copy)]
pub struct Start {
    /// How fast its clock runs.
    pub rate: f64,
    /// Its gate never closes: what it once held it goes on writing.
    pub gate_held_open: bool,
    /// Its lease.
    pub lease: Duration,
}

impl Default for Start {
    fn default() -> Self {
        Self { rate: 1.0, gate_held_open: false, lease: Duration::from_secs(10) }
    }
}

/// A running replica. Dropping it is like SIGKILL.
pub struct Replica {
    /// The identity that it was started with; no two have the same.
    pub name: String,
    start: Start,
    runtime: Runtime,
    wire: Arc<Wire>,
    stop: CancellationToken,
    done: JoinHandle<()>,
    health: Health,
    /// When it was started, by the true time.
    born: Duration,
    epoch: Instant,
    /// How long it has run, by its own clock.
    age: Duration,
    /// It is frozen until then.
    pub frozen_until: Option<Duration>,
}

/// A gate that nothing closes.
struct HeldOpen(Leadership);

impl Gate for HeldOpen {
    fn may_write(&self, _: Shard) -> bool {
        true
    }
    fn request_timeout(&self) -> Duration {
        self.0.request_timeout()
    }
    fn surely_over(&self) -> Duration {
        self.0.surely_over()
    }
}

impl Replica {
    /// Starts the replica with this number.
    pub fn start(number: usize, start: Start, now: Duration) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let epoch = runtime.block_on(async { Instant::now() });
        let wire = Wire::new(number, Reading { local: epoch, truly: now, rate: start.rate });
        let stop = CancellationToken::new();
        let name = format!("r{number}");
        let ground = Environment {
            server: Server::Within(wire.service()),
            clock: Clock::Tokio(epoch),
            gate: if start.gate_held_open {
                |leadership| Arc::new(HeldOpen(leadership))
            } else {
                |leadership| Arc::new(leadership)
            },
        };
        let health = Health::default();
        let work = run_on(ground, config(&name, start.lease), health.clone(), stop.clone());
        let done = runtime.spawn(async move { work.await.unwrap() });
        let age = Duration::ZERO;
        Self { name, start, runtime, wire, stop, done, health, born: now, epoch, age, frozen_until: None }
    }

    /// Lets it run until then, by the true time. Returns what it sent.
    pub fn run_until(&mut self, from: Duration, until: Duration) -> Vec<Sent> {
        if self.frozen_until.is_some_and(|thaw| thaw > from) {
            return Vec::new();
        }
        if self.frozen_until.take().is_some() {
            // Time went on without it: all at once it is later, and what is due is due together.
            let jump = self.own_age(from).saturating_sub(self.age);
            self.runtime.block_on(async move { tokio::time::advance(jump).await });
            self.age += jump;
        }
        let age = self.own_age(until);
        if age > self.age {
            let truly = self.born + self.age.div_f64(self.start.rate);
            self.wire.set(Reading { local: self.epoch + self.age, truly, rate: self.start.rate });
            let _guard = tracing::info_span!("replica", name = self.name).entered();
            let end = self.epoch + age;
            self.runtime.block_on(async move { tokio::time::sleep_until(end).await });
            self.age = age;
        }
        self.wire.take()
    }

    /// In whole milliseconds, as timers are.
    fn own_age(&self, truly: Duration) -> Duration {
        let age = (truly - self.born).mul_f64(self.start.rate);
        Duration::from_millis(u64::try_from(age.as_millis()).unwrap())
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        self.stop.cancel();
    }

    /// Whether it is to hold its part of the shards: not when it was told to end, nor while it is frozen, nor when it
    /// goes on writing what others took.
    pub fn takes_part(&self) -> bool {
        !self.stop.is_cancelled() && self.frozen_until.is_none() && !self.start.gate_held_open
    }

    /// What it answers to a probe; `Err` when the probe fails.
    pub fn probe(&self, question: Question) -> Result<(), String> {
        let _clock = self.runtime.enter();
        let report = self.health.report(question);
        if report.ok { Ok(()) } else { Err(report.text) }
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.done.is_finished()
    }
}

fn config(name: &str, lease: Duration) -> Config {
    Config {
        kubeconfig: None,
        lease_namespace: SYSTEM.to_owned(),
        identity: name.to_owned(),
        lease_duration: lease,
        write_qps: None,
        max_in_flight: std::num::NonZeroUsize::new(8).unwrap(),
        observe_only: false,
        protected_namespaces: Vec::new(),
        author_policy: configmapsync_operator::controller::config::AuthorPolicy::Off,
        forbidden_namespaces: Vec::new(),
        max_fanout_bytes: None,
        consent_required: false,
        grace_period: GRACE,
    }
}
