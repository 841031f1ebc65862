//! The task that feeds the state machine and does what it says.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{BoxStream, FuturesUnordered};
use futures::{FutureExt as _, StreamExt as _};
use kube::runtime::watcher::{self, Event};
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::controller::leadership::handle::{Command, Leadership, LeadershipEvent, Published};
use crate::controller::leadership::log::LeadershipLog;
use crate::environment::clock::Clock;
use crate::environment::random;
use crate::kubernetes::leases::{LeaseObject, Leases, Parser, identity};
use crate::leadership::{Action, Answer, Fleet, Input, Machine, Record, Request, Timing};
use crate::rules::shard::{SHARDS, Shard};

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

/// The handle, the news and the task of leadership, which the caller runs. It ends with `cancel`, without releasing anything: for that, call
/// [`Leadership::leave`] first. `client` is [`Clients::leases`](crate::kubernetes::client::Clients::leases).
pub fn start(
    client: kube::Client,
    settings: Settings,
    cancel: CancellationToken,
) -> (Leadership, mpsc::UnboundedReceiver<LeadershipEvent>, impl Future<Output = ()> + Send + use<>) {
    let base = identity(&settings.identity, random::random());
    let leases = Leases::new(client, &settings.namespace, settings.timing, &base);
    let (events, receiver) = mpsc::unbounded_channel();
    let (commands, orders) = mpsc::unbounded_channel();
    let (latency_sender, latency) = watch::channel(Duration::ZERO);
    let (fleet_sender, fleet) = watch::channel(Fleet::default());
    let (gate_sender, gate_opens) = watch::channel(false);
    let leadership = Leadership {
        shared: Arc::new(Published { held: AtomicU64::new(0), gate: AtomicU64::new(0) }),
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
    let outlets = Outlets {
        shared: Arc::clone(&leadership.shared),
        events,
        latency: latency_sender,
        fleet: fleet_sender,
        gate: gate_sender,
        left: leadership.left.clone(),
    };
    let task = Task::new(&base, settings, leases, orders, outlets);
    let stopped = leadership.stopped.clone().drop_guard();
    let run = async move {
        let _stopped = stopped;
        task.run(cancel).await;
    };
    (leadership, receiver, run)
}

/// The task takes in so many things that are ready before it does anything: shards that open together are announced together.
const BATCH: usize = 128;

/// Where the task tells what it knows.
struct Outlets {
    pub(super) shared: Arc<Published>,
    pub(super) events: mpsc::UnboundedSender<LeadershipEvent>,
    pub(super) latency: watch::Sender<Duration>,
    pub(super) fleet: watch::Sender<Fleet>,
    pub(super) gate: watch::Sender<bool>,
    pub(super) left: CancellationToken,
}

/// The answer to a request, and how long it took.
type Answered = (Request, Answer, Duration);

/// Leadership's own task.
struct Task {
    machine: Machine,
    clock: Clock,
    tick: Duration,
    leases: Leases,
    watch: BoxStream<'static, watcher::Result<Event<LeaseObject>>>,
    parser: Parser,
    /// What the list that is under way has shown.
    listing: Vec<Record>,
    in_flight: FuturesUnordered<BoxFuture<'static, Answered>>,
    orders: mpsc::UnboundedReceiver<Command>,
    outlets: Outlets,
    log: LeadershipLog,
    /// The figures of the fleet are worked out again at this time.
    fleet_due: Duration,
}

impl Task {
    pub(super) fn new(
        base: &str,
        settings: Settings,
        leases: Leases,
        orders: mpsc::UnboundedReceiver<Command>,
        outlets: Outlets,
    ) -> Self {
        let now = settings.clock.now();
        Self {
            machine: Machine::new(base, settings.timing, SHARDS, now),
            tick: (settings.timing.period / 20).min(Duration::from_millis(100)),
            watch: leases.watch().boxed(),
            log: LeadershipLog::new(settings.timing),
            clock: settings.clock,
            leases,
            parser: Parser::default(),
            listing: Vec::new(),
            in_flight: FuturesUnordered::new(),
            orders,
            outlets,
            fleet_due: now,
        }
    }

    /// Runs until everything was given up or `cancel` comes. Nothing may be written afterwards.
    pub(super) async fn run(mut self, cancel: CancellationToken) {
        let mut ticks = tokio::time::interval(self.tick);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.outlets.left.is_cancelled() {
            let input = tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                Some(answered) = self.in_flight.next() => Some(self.answered(answered)),
                Some(command) = self.orders.recv() => Some(Self::ordered(&command)),
                Some(event) = self.watch.next() => self.watched(event),
                _ = ticks.tick() => Some(Input::Tick),
            };
            let mut actions = input.map(|input| self.step(input)).unwrap_or_default();
            for _ in 1..BATCH {
                if actions.iter().any(|action| matches!(action, Action::Restored | Action::Rewatch)) {
                    break; // what this watch has still to say is of the past
                }
                let Some(input) = self.ready() else { break };
                actions.extend(input.map(|input| self.step(input)).unwrap_or_default());
            }
            // The gate is published first: when the news of a loss arrives, the gate is closed already.
            self.publish();
            self.perform(actions);
        }
        self.outlets.shared.held.store(0, Ordering::SeqCst);
        self.outlets.shared.gate.store(0, Ordering::SeqCst);
        self.log.stopped();
    }

    fn step(&mut self, input: Input) -> Vec<Action> {
        self.machine.step(self.clock.now(), input)
    }

    /// What can be taken in without waiting; `Some(None)` is something that the machine need not know.
    fn ready(&mut self) -> Option<Option<Input>> {
        if let Some(Some(answered)) = self.in_flight.next().now_or_never() {
            return Some(Some(self.answered(answered)));
        }
        if let Ok(command) = self.orders.try_recv() {
            return Some(Some(Self::ordered(&command)));
        }
        let event = self.watch.next().now_or_never()??;
        Some(self.watched(event))
    }

    fn ordered(command: &Command) -> Input {
        match command {
            Command::Drained(shard) => Input::Drained(*shard),
            Command::Leave => Input::Leave,
        }
    }

    fn answered(&mut self, (request, answer, took): Answered) -> Input {
        if let Request::CreateSession { .. } | Request::Renew { .. } = &request {
            self.outlets.latency.send_replace(took);
        }
        self.log.answered(&request, &answer, took);
        Input::Answered(request, answer)
    }

    fn watched(&mut self, event: watcher::Result<Event<LeaseObject>>) -> Option<Input> {
        match event {
            Ok(Event::Init) => {
                self.listing.clear();
                Some(Input::Relisting)
            }
            Ok(Event::InitApply(lease)) => {
                self.listing.extend(self.parser.record(&lease.0));
                None
            }
            Ok(Event::InitDone) => Some(Input::Relisted(std::mem::take(&mut self.listing))),
            Ok(Event::Apply(lease)) => self.parser.record(&lease.0).map(Input::Observed),
            Ok(Event::Delete(lease)) => self.parser.record(&lease.0).map(Input::Gone),
            Err(_) => None, // Leases has logged it
        }
    }

    /// Publishes which shards are held, and until when they may be written for.
    fn publish(&mut self) {
        let now = self.clock.now();
        let held =
            Shard::all().filter(|shard| self.machine.holds(*shard)).fold(0, |bits, shard| bits | 1 << shard.index());
        let gate = self.machine.gate().map_or(0, |closes| u64::try_from(closes.as_nanos()).unwrap_or(u64::MAX));
        self.outlets.shared.held.store(held, Ordering::SeqCst);
        self.outlets.shared.gate.store(gate, Ordering::SeqCst);
        let open = self.machine.gate_is_open(now);
        self.outlets.gate.send_if_modified(|known| std::mem::replace(known, open) != open);
        self.log.published(held.count_ones(), open);
        if now >= self.fleet_due {
            self.fleet_due = now + Duration::from_secs(1);
            let fleet = self.machine.fleet(now);
            self.log.fleet(&fleet);
            self.outlets.fleet.send_if_modified(|known| {
                let modified = *known != fleet;
                *known = fleet;
                modified
            });
        }
    }

    fn perform(&mut self, actions: Vec<Action>) {
        let mut opened = Vec::new();
        for action in actions {
            self.log.action(&action);
            match action {
                Action::Open(shard, _) => opened.push(shard),
                Action::Close(shard, _) => self.tell(&mut opened, LeadershipEvent::Closing(shard)),
                Action::Lose(shard, _) => self.tell(&mut opened, LeadershipEvent::Lost(shard)),
                Action::Restored => {
                    self.tell(&mut opened, LeadershipEvent::Restored);
                    self.watch_anew();
                }
                Action::Rewatch => self.watch_anew(),
                Action::Send(request) => self.send(request),
                Action::Renamed(..) => {}
                Action::Left => self.outlets.left.cancel(),
            }
        }
        self.flush(&mut opened);
    }

    fn watch_anew(&mut self) {
        self.watch = self.leases.watch().boxed();
        self.listing.clear();
    }

    fn send(&self, request: Request) {
        let (leases, clock) = (self.leases.clone(), self.clock.clone());
        self.in_flight.push(
            async move {
                let sent = clock.now();
                let answer = leases.send(&request).await;
                (request, answer, clock.now().saturating_sub(sent))
            }
            .boxed(),
        );
    }

    /// Events keep their order. The receiver is gone only while the replica goes down.
    fn tell(&self, opened: &mut Vec<Shard>, event: LeadershipEvent) {
        self.flush(opened);
        let _ = self.outlets.events.send(event);
    }

    fn flush(&self, opened: &mut Vec<Shard>) {
        if !opened.is_empty() {
            let _ = self.outlets.events.send(LeadershipEvent::Opened(std::mem::take(opened)));
        }
    }
}
