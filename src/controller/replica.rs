//! One replica, put together: streams into the world, leadership over shards, the queue, the workers.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ahash::AHashSet;
use futures::FutureExt as _;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::controller::cache::World;
use crate::controller::config::{ClusterError, Config};
use crate::controller::health::Health;
use crate::controller::ingest::{Follower, Progress, source_of};
use crate::controller::queue::{Cause, Outcome, Queue};
use crate::controller::reconcile::drive::{Tools, work};
use crate::controller::reconcile::memo::Memo;
use crate::controller::reconcile::snapshot::is_at_rest;
use crate::controller::reconcile::sources::Sources;
use crate::controller::supervisor::Supervisor;
use crate::environment::clock::Clock;
use crate::kubernetes::bulkheads::{Bulkheads, Wake};
use crate::kubernetes::client::{Clients, Pulses, Server};
use crate::kubernetes::events::Events;
use crate::kubernetes::limiter::{Limiter, Rate, Turn};
use crate::kubernetes::reader::Reader;
use crate::kubernetes::writer::{Gate, Writer};
use crate::kubernetes::{self, watch_thread};
use crate::leadership::protocol::{Fleet, Timing};
use crate::leadership::{Leadership, Settings, TenureEvent, Tenures, fleet_leader};
use crate::rules::shard::Shard;
use crate::rules::uid::Uid;
use crate::telemetry::instruments as i;

/// A stream that said nothing for this long is not fresh: the server sends a bookmark about every minute, and a
/// watch that is silent for 100 s is opened again.
const STALE: Duration = Duration::from_secs(180);
/// So many keys may be at work, those that hold no place included: they wait for a read, or for a late answer.
const AT_WORK: usize = 512;
/// How often gauges are set.
const MEASURE: Duration = Duration::from_secs(2);
/// How often syncs are counted, and names tidied.
const COUNT: Duration = Duration::from_secs(30);
/// How often a key that waits for the gate is counted.
const HELD_BACK: Duration = Duration::from_millis(500);
/// How often rivals are told of a place that many want, and that has another owner.
const CHANGED_HANDS: Duration = Duration::from_secs(10);
/// A loop that has not ticked for this long is stuck.
const STUCK: Duration = Duration::from_secs(60);

/// Why a replica could not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No cluster to work on.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The clients cannot be made.
    #[error("no client can be made of the configuration: {0}")]
    Client(#[from] kube::Error),
    /// No thread for the streams.
    #[error("the streams' thread cannot be started: {0}")]
    Thread(#[from] std::io::Error),
    /// A long-lived task ended early; it is a fault of the program.
    #[error("the task {0:?} has ended early; the log before tells of a panic, if it was one")]
    TaskEnded(&'static str),
    /// The lease duration makes no sense.
    #[error("--lease-duration: {0}")]
    Timing(String),
}

/// Works until `stop` is cancelled, then gives the shards back.
///
/// # Errors
/// When it cannot start. An API server that is away is no error: it is waited for.
pub async fn run(config: Config, health: Health, stop: CancellationToken) -> Result<(), Error> {
    let ground = Ground::of(config.cluster().await?);
    run_on(ground, config, health, stop).await
}

/// What a replica stands on. Simulations put something else there.
#[derive(Clone)]
pub struct Ground {
    /// The API server.
    pub server: Server,
    /// The clock by which leases are judged.
    pub clock: Clock,
    /// What writers ask before they send.
    pub gate: fn(Tenures) -> Arc<dyn Gate>,
}

impl Ground {
    /// The real one.
    pub fn of(cluster: kube::Config) -> Self {
        Self { server: Server::Remote(Box::new(cluster)), clock: Clock::Boot, gate: |tenures| Arc::new(tenures) }
    }
}

/// As [`run`], on this ground.
///
/// # Errors
/// As [`run`].
pub async fn run_on(ground: Ground, config: Config, health: Health, stop: CancellationToken) -> Result<(), Error> {
    let timing = Timing::new(config.lease_duration).map_err(Error::Timing)?;
    let vitals = Arc::new(Vitals::new());
    vitals.clone().report_to(&health);
    loop {
        match Life::begin(&config, timing, &ground, &vitals, &stop)?.live(&stop).await {
            End::Stopped => return Ok(()),
            End::Broken(task) => return Err(Error::TaskEnded(task)),
            End::Restored => {
                tracing::warn!("the API server's store was restored from a backup: all that was known is listed anew");
            }
        }
    }
}

type Streams = Vec<(&'static str, Arc<Progress>)>;

/// What the probes ask.
struct Vitals {
    streams: Mutex<Option<(Streams, Pulses)>>,
    tenures: Mutex<Option<Tenures>>,
    start: Instant,
    /// When the dispatcher last went round, in milliseconds since the start; 0 before it began.
    ticked: AtomicU64,
}

impl Vitals {
    fn new() -> Self {
        Self { streams: Mutex::default(), tenures: Mutex::default(), start: Instant::now(), ticked: AtomicU64::new(0) }
    }

    fn watch(&self, streams: Streams, pulses: Pulses) {
        *self.streams.lock().unwrap_or_else(PoisonError::into_inner) = Some((streams, pulses));
    }

    /// Nothing is dispatched before all is listed; that takes as long as it takes.
    fn begin_anew(&self) {
        self.ticked.store(0, Ordering::Relaxed);
    }

    fn tick(&self) {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.ticked.store(now.max(1), Ordering::Relaxed);
    }

    fn report_to(self: Arc<Self>, health: &Health) {
        let vitals = self.clone();
        health.live("loops", move || {
            let last = vitals.ticked.load(Ordering::Relaxed);
            let age = vitals.start.elapsed().saturating_sub(Duration::from_millis(last));
            if last == 0 || age < STUCK {
                return Ok(());
            }
            Err(format!("the dispatcher has not ticked for {} s", age.as_secs()))
        });
        let vitals = self.clone();
        health.ready("streams", move || vitals.streams_are_fresh());
        health.ready("leases", move || {
            let tenures = self.tenures.lock().unwrap_or_else(PoisonError::into_inner);
            tenures.as_ref().and_then(Tenures::lacks).map_or(Ok(()), Err)
        });
    }

    fn streams_are_fresh(&self) -> Result<(), String> {
        let streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((streams, pulses)) = &*streams else { return Err("not opened yet".to_owned()) };
        for (name, progress) in streams {
            let trouble = progress.trouble().map(|trouble| format!(": {trouble}")).unwrap_or_default();
            if !progress.is_listed() {
                return Err(format!("{name} are not listed yet{trouble}"));
            }
            if progress.is_refused() {
                return Err(format!("{name} cannot be followed{trouble}"));
            }
            let age = pulses.age(name);
            if age > STALE {
                return Err(format!("nothing was heard of {name} for {} s{trouble}", age.as_secs()));
            }
        }
        Ok(())
    }
}

/// How a life ends.
#[derive(PartialEq, Eq)]
enum End {
    /// It was told to stop.
    Stopped,
    /// What it knows is of a store that is no more.
    Restored,
    /// A long-lived task ended early.
    Broken(&'static str),
}

/// A replica from a first list to its end. When the store was restored from a backup, another one begins.
struct Life {
    config: Config,
    timing: Timing,
    ground: Ground,
    clients: Clients,
    vitals: Arc<Vitals>,
    world: Arc<World>,
    queue: Arc<Queue>,
    tracker: TaskTracker,
    supervisor: Supervisor,
    /// Where the streams run.
    listening: Handle,
    end: CancellationToken,
}

impl Life {
    fn begin(
        config: &Config,
        timing: Timing,
        ground: &Ground,
        vitals: &Arc<Vitals>,
        stop: &CancellationToken,
    ) -> Result<Self, Error> {
        vitals.begin_anew();
        let agent = format!("configmapsync-operator/{} ({})", env!("CARGO_PKG_VERSION"), config.identity);
        let clients = Clients::new(&ground.server, &agent)?;
        let (tracker, end) = (TaskTracker::new(), CancellationToken::new());
        let listening = watch_thread::start(&ground.server, &tracker, end.clone())?;
        let supervisor = Supervisor::new(tracker.clone(), end.clone(), stop.clone());
        Ok(Self {
            config: config.clone(),
            timing,
            ground: ground.clone(),
            clients,
            vitals: vitals.clone(),
            world: Arc::default(),
            queue: Arc::default(),
            tracker,
            supervisor,
            listening,
            end,
        })
    }

    async fn live(self, stop: &CancellationToken) -> End {
        let end = self.until_end(stop).await;
        self.end.cancel();
        self.tracker.close();
        if tokio::time::timeout(Duration::from_secs(5), self.tracker.wait()).await.is_err() {
            tracing::warn!("some tasks did not end in time");
        }
        end
    }

    async fn until_end(&self, stop: &CancellationToken) -> End {
        let (events, sender) = Events::new(self.clients.requests.clone(), self.config.identity.clone());
        match self.config.observe_only {
            true => self.supervisor.spawn("events", sender.discard(self.end.clone())),
            false => self.supervisor.spawn("events", sender.run(self.end.clone())),
        }
        let gauges = measure(self.world.clone(), self.queue.clone(), self.clients.pulses.clone());
        self.supervisor.spawn("gauges", gauges);
        let follower = Follower { world: self.world.clone(), queue: self.queue.clone(), events: events.clone() };
        tokio::select! {
            biased;
            () = stop.cancelled() => return End::Stopped,
            task = self.supervisor.broken() => return End::Broken(task),
            () = self.follow(&follower) => {}
        }
        if self.config.observe_only {
            return self.observe(&follower, events, stop).await;
        }
        tracing::info!(syncs = self.world.len(), "all streams are listed: taking part in leadership");
        let settings = Settings {
            namespace: self.config.lease_namespace.clone(),
            identity: self.config.identity.clone(),
            timing: self.timing,
            clock: self.ground.clock.clone(),
        };
        let (tenures, changes) =
            Leadership::start(self.clients.leases.clone(), settings.clone(), &self.supervisor, self.end.clone());
        *self.vitals.tenures.lock().unwrap_or_else(PoisonError::into_inner) = Some(tenures.clone());
        fleet_leader::start(
            self.clients.leases.clone(),
            &settings,
            tenures.clone(),
            &self.supervisor,
            self.end.clone(),
        );
        let tools = self.tools((self.ground.gate)(tenures.clone()), events);
        let heartbeat = spare_the_heartbeat(tenures.renewal_latency(), self.timing, tools.limiter.clone());
        self.supervisor.spawn("heartbeat", heartbeat);
        let writer = tools.writer.clone();
        self.dispatch(tools);
        self.supervisor.spawn("pace", share_the_pace(tenures.fleet(), self.queue.clone()));
        let (restored, is_restored) = tokio::sync::oneshot::channel();
        let serving = serve_tenures(tenures.clone(), changes, follower, writer, self.tracker.clone(), restored);
        self.supervisor.spawn("hand-over", serving);
        tokio::select! {
            biased;
            Ok(()) = is_restored => End::Restored,
            () = stop.cancelled() => {
                let grace = self.config.grace_period.saturating_sub(Duration::from_secs(1));
                if tenures.leave(grace).await {
                    tracing::info!("shards are given back");
                } else {
                    tracing::warn!("some shards could not be given back; others take them when the lease has run out");
                }
                End::Stopped
            }
            task = self.supervisor.broken() => End::Broken(task),
        }
    }

    /// Looks at all syncs, says what it would write and takes no part in leadership.
    async fn observe(&self, follower: &Follower, events: Events, stop: &CancellationToken) -> End {
        tracing::info!(syncs = self.world.len(), "all streams are listed: observing, without a part in leadership");
        self.dispatch(self.tools(Arc::new(Observer), events));
        let all: AHashSet<Shard> = Shard::all().collect();
        open(follower, &all).await;
        tokio::select! {
            biased;
            () = stop.cancelled() => End::Stopped,
            task = self.supervisor.broken() => End::Broken(task),
        }
    }

    fn dispatch(&self, tools: Arc<Tools>) {
        let gate = tools.writer.gate_opens();
        self.supervisor.spawn("dispatcher", dispatch(tools, gate, self.tracker.clone(), self.vitals.clone()));
    }

    fn listen(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.supervisor.spawn_on(&self.listening, name, task);
    }

    /// Opens the streams; returns when all are listed. ConfigMaps come after syncs: only then it is known which of
    /// them to keep.
    async fn follow(&self, follower: &Follower) {
        let [syncs, configmaps, namespaces]: [Arc<Progress>; 3] = Default::default();
        let all = vec![
            ("configmapsyncs", syncs.clone()),
            ("namespaces", namespaces.clone()),
            ("configmaps", configmaps.clone()),
        ];
        self.vitals.watch(all, self.clients.pulses.clone());
        self.listen("configmapsyncs", follower.clone().syncs(kubernetes::watch::syncs(&self.clients), syncs.clone()));
        self.listen(
            "namespaces",
            follower.clone().namespaces(kubernetes::watch::namespaces(&self.clients), namespaces.clone()),
        );
        syncs.listed().await;
        self.listen(
            "configmaps",
            follower.clone().configmaps(kubernetes::watch::configmaps(&self.clients), configmaps.clone()),
        );
        namespaces.listed().await;
        configmaps.listed().await;
    }

    fn tools(&self, gate: Arc<dyn Gate>, events: Events) -> Arc<Tools> {
        let limiter = Limiter::new(self.config.max_in_flight.get());
        let reader = Reader::new(self.clients.requests.clone());
        let rate = Rate::new(self.config.write_qps);
        let client = self.clients.requests.clone();
        let (wake, woken) = mpsc::unbounded_channel();
        let bulkheads = Bulkheads::new(wake);
        let waking = wake_who_waits(woken, bulkheads.clone(), self.world.clone(), self.queue.clone());
        self.supervisor.spawn("bulkheads", waking);
        Arc::new(Tools {
            world: self.world.clone(),
            sources: Sources::new(reader.clone()),
            reader,
            writer: Writer::new(client, gate, limiter.clone(), bulkheads, rate, self.config.observe_only),
            queue: self.queue.clone(),
            limiter,
            events,
        })
    }
}

impl Gate for Tenures {
    fn may_write(&self, shard: Shard) -> bool {
        Tenures::may_write(self, shard)
    }
    fn request_timeout(&self) -> Duration {
        Tenures::request_timeout(self)
    }
    fn surely_over(&self) -> Duration {
        self.timing().request + self.timing().margin
    }
    fn opens(&self) -> Option<watch::Receiver<bool>> {
        Some(self.gate_opens())
    }
}

/// The gate of a replica that only observes: nothing is ever sent.
struct Observer;

impl Gate for Observer {
    fn may_write(&self, _: Shard) -> bool {
        false
    }
    fn request_timeout(&self) -> Duration {
        Duration::ZERO
    }
    fn surely_over(&self) -> Duration {
        Duration::ZERO
    }
}

/// Hands keys to workers, as many at once as the limiter allows, and none while the gate is closed.
async fn dispatch(
    tools: Arc<Tools>,
    mut gate: Option<watch::Receiver<bool>>,
    tracker: TaskTracker,
    vitals: Arc<Vitals>,
) {
    let at_work = Arc::new(Semaphore::new(AT_WORK));
    loop {
        let ready = async {
            if let Some(gate) = &mut gate {
                until_open(gate, &tools.queue).await?;
            }
            let at_work = at_work.clone().acquire_owned().await.ok()?;
            // No place is held while there is no key: one that has begun may need the last one.
            tools.queue.ready().await;
            let permit = tools.limiter.acquire().await;
            Some((at_work, permit, tools.queue.try_pop()))
        };
        let (at_work, permit, job) = tokio::select! {
            biased;
            Some(ready) = ready => ready,
            () = ticks(&vitals) => continue,
        };
        vitals.tick();
        let Some(job) = job else { continue };
        let (tools, turn) = (tools.clone(), Turn::new(tools.limiter.clone(), permit));
        tracker.spawn(async move {
            let uid = job.uid;
            let worked = std::panic::AssertUnwindSafe(work(&tools, job, turn)).catch_unwind().await;
            let (memo, fanout, outcome) = worked.unwrap_or_else(|_| {
                let sync = tools.world.sync(uid);
                let (namespace, name) = sync.as_ref().map(|sync| (&*sync.key.namespace, &*sync.key.name)).unzip();
                let shard = Shard::of(uid).index();
                tracing::error!(namespace, name, shard, "the work on a sync panicked; it is tried again");
                (Memo::default(), None, Outcome::Retry(Duration::from_secs(30)))
            });
            tools.queue.done(uid, memo, outcome, source_of(&tools.world, uid), fanout);
            drop(at_work);
        });
    }
}

/// Waits until the gate is open; `None`: there is no leadership any more, and nothing is to be written. A key that waits for
/// it is a write held back, counted every half second.
async fn until_open(gate: &mut watch::Receiver<bool>, queue: &Queue) -> Option<()> {
    while !*gate.borrow_and_update() {
        tokio::select! {
            biased;
            changed = gate.changed() => changed.ok()?,
            () = tokio::time::sleep(HELD_BACK) => {
                if queue.has_turn() {
                    metrics::counter!(i::GATE_CLOSED_TOTAL).increment(1);
                }
            }
        }
    }
    Some(())
}

/// Ends after a while, so that a loop that has nothing to do ticks too.
async fn ticks(vitals: &Vitals) {
    tokio::time::sleep(STUCK / 10).await;
    vitals.tick();
}

/// Opens shards: whatever is not at rest in them is put into the queue.
async fn open(follower: &Follower, shards: &AHashSet<Shard>) {
    shards.iter().for_each(|shard| follower.queue.open(*shard));
    for uids in follower.world.uids().chunks(1_000) {
        let of_these = uids.iter().copied().filter(|uid: &Uid| shards.contains(&Shard::of(*uid)));
        let at_work: Vec<Uid> = of_these.filter(|uid| !is_at_rest(&follower.world, *uid)).collect();
        follower.wake(&at_work, &Cause { urgent: true, ..Cause::default() });
        tokio::task::yield_now().await;
    }
}

/// Opens and closes shards as leadership says.
async fn serve_tenures(
    tenures: Tenures,
    mut changes: UnboundedReceiver<TenureEvent>,
    follower: Follower,
    writer: Writer,
    tracker: TaskTracker,
    restored: tokio::sync::oneshot::Sender<()>,
) {
    while let Some(change) = changes.recv().await {
        match change {
            TenureEvent::Opened(shards) => {
                open(&follower, &shards.into_iter().collect()).await;
            }
            TenureEvent::Closing(shard) => {
                let drained = follower.queue.close(shard);
                let (tenures, writer) = (tenures.clone(), writer.clone());
                tracker.spawn(async move {
                    // Nothing is sent any more. What outlives that time is late, and guarded by what it was decided for.
                    let surely_over = tenures.timing().request + tenures.timing().margin;
                    let over = async {
                        let _ = drained.await;
                        writer.settled(shard).await;
                    };
                    let _ = tokio::time::timeout(surely_over, over).await;
                    tenures.drained(shard);
                });
            }
            TenureEvent::Lost(shard) => drop(follower.queue.close(shard)),
            TenureEvent::Restored => {
                let _ = restored.send(());
                // What is known is forgotten, and this life ends.
                return std::future::pending().await;
            }
        }
    }
}

/// The API server is the same for all replicas: the more they are, the less paperwork each does while copies flow.
async fn share_the_pace(mut fleet: watch::Receiver<Fleet>, queue: Arc<Queue>) {
    while fleet.changed().await.is_ok() {
        queue.share_pace(fleet.borrow_and_update().sessions);
    }
}

/// A heartbeat that takes a good part of its period is starved by our own writes: half as many, then.
async fn spare_the_heartbeat(mut latency: watch::Receiver<Duration>, timing: Timing, limiter: Limiter) {
    while latency.changed().await.is_ok() {
        let took = *latency.borrow_and_update();
        if took > timing.period / 4 {
            limiter.halve();
        } else {
            let now = Instant::now();
            limiter.heartbeat(now.checked_sub(took).unwrap_or(now));
        }
    }
}

/// A namespace answers again: who waited for it tries now.
async fn wake_who_waits(
    mut woken: UnboundedReceiver<Wake>,
    bulkheads: Bulkheads,
    world: Arc<World>,
    queue: Arc<Queue>,
) {
    loop {
        let wake = tokio::time::timeout(COUNT, woken.recv()).await;
        bulkheads.tidy();
        let wake = match wake {
            Ok(Some(wake)) => wake,
            Ok(None) => return,
            Err(_) => continue,
        };
        let (namespace, all) = match &wake {
            Wake::All(namespace) => (namespace, true),
            Wake::One(namespace) => (namespace, false),
        };
        for uid in world.at_home_in(namespace) {
            if queue.end_wait(uid, source_of(&world, uid)) && !all {
                break;
            }
        }
    }
}

/// Sets gauges, and now and then counts.
async fn measure(world: Arc<World>, queue: Arc<Queue>, pulses: Pulses) {
    let mut counted: Option<Instant> = None;
    let mut told = Instant::now();
    loop {
        queue.measure();
        if told.elapsed() >= CHANGED_HANDS {
            told = Instant::now();
            for uid in world.changed_hands() {
                queue.push(uid, source_of(&world, uid), &Cause { urgent: true, ..Cause::default() });
            }
        }
        for name in ["configmapsyncs", "configmaps", "namespaces"] {
            metrics::gauge!(i::WATCH_AGE_SECONDS, "stream" => name).set(pulses.age(name).as_secs_f64());
        }
        if counted.is_none_or(|at| at.elapsed() > COUNT) {
            counted = Some(Instant::now());
            count(&world, &queue);
            world.tidy();
        }
        tokio::time::sleep(MEASURE).await;
    }
}

fn count(world: &World, queue: &Queue) {
    let (mut all, mut stalled, mut not_ready) = (0u32, 0u32, 0u32);
    let held = queue.held();
    world.each_sync(|sync| {
        if !held[Shard::of(sync.uid()).index()] {
            return;
        }
        all += 1;
        let is_true = |at: usize| sync.status.conditions[at].is_some_and(|condition| condition.is_true);
        if is_true(3) {
            stalled += 1;
        } else if !is_true(2) {
            not_ready += 1;
        }
    });
    metrics::gauge!(i::SYNCS).set(f64::from(all));
    metrics::gauge!(i::SYNCS_NOT_READY, "reason" => "Stalled").set(f64::from(stalled));
    metrics::gauge!(i::SYNCS_NOT_READY, "reason" => "NotReady").set(f64::from(not_ready));
}
