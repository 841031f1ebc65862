//! One replica, put together: watches into the cache, leadership over shards, the queue, the workers.

use std::future::Future;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use ahash::AHashSet;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::controller::author_policy::look_after;
use crate::controller::background::{share_the_pace, spare_the_heartbeat, wake_rivals, wake_who_waits};
use crate::controller::cache::Cache;
use crate::controller::config::{ClusterError, Config};
use crate::controller::dispatcher::dispatch;
use crate::controller::gate::Observer;
use crate::controller::gauges::measure;
use crate::controller::handover::{open, serve_leadership};
use crate::controller::health::Health;
use crate::controller::ingest::Follower;
use crate::controller::leadership::{self, Leadership, Settings, fleet_leader};
use crate::controller::observe::Progress;
use crate::controller::probes::Probes;
use crate::controller::queue::Queue;
use crate::controller::reconcile::reconciler::Context;
use crate::controller::reconcile::sources::Sources;
use crate::controller::refusals::share_refusals;
use crate::controller::supervisor::Supervisor;
use crate::controller::verification::Verification;
use crate::environment::clock::Clock;
use crate::kubernetes::bulkheads::Bulkheads;
use crate::kubernetes::client::{Clients, Server};
use crate::kubernetes::events::Events;
use crate::kubernetes::limiter::Limiter;
use crate::kubernetes::rate::Rate;
use crate::kubernetes::reader::Reader;
use crate::kubernetes::writer::{Gate, Writer};
use crate::kubernetes::{self, watch_thread};
use crate::leadership::Timing;
use crate::rules::copy::guard::Forbidden;
use crate::rules::shard::Shard;

/// Why a replica could not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No cluster to work on.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The clients cannot be made.
    #[error("no client can be made of the configuration: {0}")]
    Client(#[from] kube::Error),
    /// No thread for the watches.
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
    let environment = Environment::of(config.cluster().await?);
    run_on(environment, config, health, stop).await
}

/// What a replica stands on. Simulations put something else there.
#[derive(Clone)]
pub struct Environment {
    /// The API server.
    pub server: Server,
    /// The clock by which leases are judged.
    pub clock: Clock,
    /// What writers ask before they send.
    pub gate: fn(Leadership) -> Arc<dyn Gate>,
}

impl Environment {
    /// The real one.
    pub fn of(cluster: kube::Config) -> Self {
        Self { server: Server::Remote(Box::new(cluster)), clock: Clock::Boot, gate: |leadership| Arc::new(leadership) }
    }
}

/// As [`run`], on this environment.
///
/// # Errors
/// As [`run`].
pub async fn run_on(
    environment: Environment,
    config: Config,
    health: Health,
    stop: CancellationToken,
) -> Result<(), Error> {
    let timing = Timing::new(config.lease_duration).map_err(Error::Timing)?;
    let probes = Arc::new(Probes::new());
    probes.clone().report_to(&health);
    loop {
        match Run::begin(&config, timing, &environment, &probes, &stop)?.live(&stop).await {
            End::Stopped => return Ok(()),
            End::Broken(task) => return Err(Error::TaskEnded(task)),
            End::Restored => {
                tracing::warn!("the API server's store was restored from a backup: everything is listed again");
            }
        }
    }
}

/// For so long a run that ends because the store was restored tries to end its session.
const ENDS_SESSION: Duration = Duration::from_secs(2);

/// How a run ends.
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
struct Run {
    config: Config,
    timing: Timing,
    environment: Environment,
    clients: Clients,
    probes: Arc<Probes>,
    cache: Arc<Cache>,
    queue: Arc<Queue>,
    tracker: TaskTracker,
    supervisor: Supervisor,
    /// Where the watches run.
    watch_thread: Handle,
    end: CancellationToken,
}

impl Run {
    fn begin(
        config: &Config,
        timing: Timing,
        environment: &Environment,
        probes: &Arc<Probes>,
        stop: &CancellationToken,
    ) -> Result<Self, Error> {
        probes.begin_anew();
        let agent = format!("configmapsync-operator/{} ({})", env!("CARGO_PKG_VERSION"), config.identity);
        let clients = Clients::new(&environment.server, &agent)?;
        let (tracker, end) = (TaskTracker::new(), CancellationToken::new());
        let watch_thread = watch_thread::start(&environment.server, &tracker, end.clone())?;
        let protected = config.protected_namespaces.iter().chain([&config.lease_namespace]);
        let cache = Cache::default().protecting(protected.map(|name| name.as_str().into()));
        let cache = cache.forbidding(Forbidden::new(&config.forbidden_namespaces));
        let cache = cache.requiring_consent(config.consent_required);
        let supervisor = Supervisor::new(tracker.clone(), end.clone(), stop.clone());
        Ok(Self {
            config: config.clone(),
            timing,
            environment: environment.clone(),
            clients,
            probes: probes.clone(),
            cache: Arc::new(cache),
            queue: Arc::default(),
            tracker,
            supervisor,
            watch_thread,
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
        let gauges = measure(self.cache.clone(), self.queue.clone(), self.clients.activity.clone());
        self.supervisor.spawn("gauges", gauges);
        let follower = Follower { cache: self.cache.clone(), queue: self.queue.clone() };
        self.supervisor.spawn("rivals", wake_rivals(follower.clone()));
        tokio::select! {
            biased;
            () = stop.cancelled() => return End::Stopped,
            task = self.supervisor.broken() => return End::Broken(task),
            () = self.follow(&follower) => {}
        }
        if self.config.observe_only {
            return self.observe(&follower, events, stop).await;
        }
        tracing::info!(syncs = self.cache.len(), "everything is listed: taking part in leadership");
        let settings = Settings {
            namespace: self.config.lease_namespace.clone(),
            identity: self.config.identity.clone(),
            timing: self.timing,
            clock: self.environment.clock.clone(),
        };
        let leases = self.clients.leases.clone();
        let (leadership, changes, run) = leadership::start(leases.clone(), settings.clone(), self.end.clone());
        self.supervisor.spawn("leadership", run);
        *self.probes.leadership.lock() = Some(leadership.clone());
        let (fleet_leader, leads) = fleet_leader::start(leases, &settings, leadership.clone(), self.end.clone());
        self.supervisor.spawn("fleet-leader", fleet_leader);
        if let Some(action) = self.config.author_policy.action() {
            let policies = look_after(self.clients.clone(), action, leads, events.clone());
            self.supervisor.spawn("author-policies", policies);
        }
        let context = self.context((self.environment.gate)(leadership.clone()), events);
        let heartbeat = spare_the_heartbeat(leadership.renewal_latency(), self.timing, context.limiter.clone());
        self.supervisor.spawn("heartbeat", heartbeat);
        let (reader, writer) = (context.reader.clone(), context.writer.clone());
        self.dispatch(context);
        self.supervisor.spawn("pace", share_the_pace(leadership.fleet(), self.queue.clone()));
        let refusals = share_refusals(leadership.notes().clone(), self.cache.clone(), self.queue.clone());
        self.supervisor.spawn("refusals", refusals);
        let (restored, is_restored) = oneshot::channel();
        let verification = self.verify(&follower, reader);
        let serving = serve_leadership(
            leadership.clone(),
            changes,
            follower,
            writer,
            verification,
            self.tracker.clone(),
            restored,
        );
        self.supervisor.spawn("hand-over", serving);
        tokio::select! {
            biased;
            Ok(()) = is_restored => {
                // The session that was begun since would outlive this run, and draw shards that nobody serves.
                leadership.leave(ENDS_SESSION).await;
                End::Restored
            }
            () = stop.cancelled() => {
                let grace = self.config.grace_period.saturating_sub(Duration::from_secs(1));
                if leadership.leave(grace).await {
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
        tracing::info!(syncs = self.cache.len(), "everything is listed: observing, without a part in leadership");
        let context = self.context(Arc::new(Observer), events);
        let verification = self.verify(follower, context.reader.clone());
        self.dispatch(context);
        let all: AHashSet<Shard> = Shard::all().collect();
        open(follower, &all, None, &verification).await;
        tokio::select! {
            biased;
            () = stop.cancelled() => End::Stopped,
            task = self.supervisor.broken() => End::Broken(task),
        }
    }

    fn verify(&self, follower: &Follower, reader: Reader) -> Verification {
        let verification = Verification::default();
        self.supervisor.spawn("verification", verification.clone().run(follower.clone(), reader));
        verification
    }

    fn dispatch(&self, context: Arc<Context>) {
        let gate = context.writer.gate_opens();
        self.supervisor.spawn("dispatcher", dispatch(context, gate, self.tracker.clone(), self.probes.clone()));
    }

    fn listen(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.supervisor.spawn_on(&self.watch_thread, name, task);
    }

    /// Opens the watches; returns when all are listed. ConfigMaps come after syncs: only then it is known which of
    /// them to keep.
    async fn follow(&self, follower: &Follower) {
        let [syncs, cluster_syncs, configmaps, namespaces]: [Arc<Progress>; 4] = Default::default();
        let all = vec![
            ("configmapsyncs", syncs.clone()),
            ("clusterconfigmapsyncs", cluster_syncs.clone()),
            ("namespaces", namespaces.clone()),
            ("configmaps", configmaps.clone()),
        ];
        self.probes.watch(all, self.clients.activity.clone());
        self.listen("configmapsyncs", follower.clone().syncs(kubernetes::watch::syncs(&self.clients), syncs.clone()));
        self.listen(
            "namespaces",
            follower.clone().namespaces(kubernetes::watch::namespaces(&self.clients), namespaces.clone()),
        );
        let objects = kubernetes::watch::cluster_syncs(&self.clients);
        self.listen("clusterconfigmapsyncs", follower.clone().cluster_syncs(objects, cluster_syncs.clone()));
        syncs.listed().await;
        cluster_syncs.listed().await;
        self.listen(
            "configmaps",
            follower.clone().configmaps(kubernetes::watch::configmaps(&self.clients), configmaps.clone()),
        );
        namespaces.listed().await;
        configmaps.listed().await;
    }

    fn context(&self, gate: Arc<dyn Gate>, events: Events) -> Arc<Context> {
        let limiter = Limiter::new(self.config.max_in_flight.get());
        let reader = Reader::new(self.clients.requests.clone());
        let rate = Rate::new(self.config.write_qps);
        let client = self.clients.requests.clone();
        let (wake, woken) = mpsc::unbounded_channel();
        let bulkheads = Bulkheads::new(wake);
        let waking = wake_who_waits(woken, bulkheads.clone(), self.cache.clone(), self.queue.clone());
        self.supervisor.spawn("bulkheads", waking);
        Arc::new(Context {
            cache: self.cache.clone(),
            sources: Sources::new(reader.clone()),
            reader,
            writer: Writer::new(client, gate, limiter.clone(), bulkheads, rate, self.config.observe_only),
            queue: self.queue.clone(),
            limiter,
            events,
            max_fanout_bytes: self.config.max_fanout_bytes.map(NonZeroU64::get),
        })
    }
}
