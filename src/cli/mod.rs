//! The command line: arguments, the HTTP server, signals.

pub mod args;
pub mod http;
mod seed_flags;
pub mod values;

use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::Parser as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::controller::config::Config;
use crate::controller::health::Health;
use crate::telemetry::{exporter, logs};
use args::Args;

/// The rest of the runtime gets this long at the very end. Nothing of value is in flight by then.
const RUNTIME_END: Duration = Duration::from_secs(1);
/// The server and the exporter's upkeep end at once when asked; this is for a page that is just being made.
const HELPERS_END: Duration = Duration::from_secs(2);

/// The program: from the command line to the exit code. 0: a clean end, 1: a failure, 2: wrong usage.
#[must_use]
pub fn run() -> ExitCode {
    run_with(crate::controller::replica::run)
}

/// As [`run`], with the replica as an argument: `replica(config, health, stop)` fills in its checks, works until
/// `stop` is cancelled, gives everything back and returns.
pub fn run_with<F, Fut, E>(replica: F) -> ExitCode
where
    F: FnOnce(Config, Health, CancellationToken) -> Fut,
    Fut: Future<Output = Result<(), E>>,
    E: Into<anyhow::Error>,
{
    let args = match Args::try_parse().and_then(|args| args.with_surroundings(&values::Surroundings::read())) {
        Ok(args) => args,
        Err(usage) => {
            let _ = usage.print();
            return ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(2));
        }
    };
    let toggle = match logs::install(args.log_format, args.log_level.as_deref().unwrap_or("info")) {
        Ok(toggle) => toggle,
        Err(error) => {
            eprintln!("error: logs cannot be set up: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    match start(args, toggle, replica) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(cause = format!("{error:#}"), "the operator ends with a failure");
            ExitCode::FAILURE
        }
    }
}

fn start<F, Fut, E>(args: Args, toggle: logs::Toggle, replica: F) -> anyhow::Result<()>
where
    F: FnOnce(Config, Health, CancellationToken) -> Fut,
    Fut: Future<Output = Result<(), E>>,
    E: Into<anyhow::Error>,
{
    // Under a CPU limit of half a core the machine looks like one: with a single worker, one long poll would hold up
    // the heartbeat.
    let workers = std::thread::available_parallelism().map_or(2, |cores| cores.get().clamp(2, 8));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .max_blocking_threads(16)
        .thread_name("worker")
        .enable_all()
        .build()
        .context("the runtime cannot be built")?;
    let outcome = runtime.block_on(work(args, toggle, replica));
    runtime.shutdown_timeout(RUNTIME_END);
    outcome
}

async fn work<F, Fut, E>(args: Args, toggle: logs::Toggle, replica: F) -> anyhow::Result<()>
where
    F: FnOnce(Config, Health, CancellationToken) -> Fut,
    Fut: Future<Output = Result<(), E>>,
    E: Into<anyhow::Error>,
{
    // First of all: until they are listened for, SIGUSR1 ends the process, and SIGTERM is lost where it is process 1 of a
    // container, which the kubelet then waits for until the grace period ends.
    let asked = signal(SignalKind::user_defined1()).context("SIGUSR1 cannot be listened for")?;
    let terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be listened for")?;
    let interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be listened for")?;
    let exporter = exporter::install().context("metrics cannot be set up")?;
    let health = Health::default();
    let ignored = args.ignored();
    let (probes_at, metrics_at) = (args.health_probe_bind_address.clone(), args.metrics_bind_address.clone());
    let config = args.into_config();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), identity = config.identity, "the operator starts");
    if !ignored.is_empty() {
        tracing::info!(flags = ignored.join(" "), "flags of the former operator are accepted and have no effect");
    }

    // The server outlives the replica: a probe without an answer on the way down would be one more alarm.
    let (helpers, helpers_stop) = (TaskTracker::new(), CancellationToken::new());
    helpers.spawn(exporter.clone().upkeep(helpers_stop.clone()));
    helpers.spawn(change_logs(asked, toggle, helpers_stop.clone()));
    http::start((&probes_at, health.clone()), (&metrics_at, exporter), &helpers, &helpers_stop).await?;
    let outcome = until_stopped([terminate, interrupt], config, health, replica).await;
    helpers_stop.cancel();
    helpers.close();
    if tokio::time::timeout(HELPERS_END, helpers.wait()).await.is_err() {
        tracing::warn!("the HTTP server did not end in time");
    }
    if outcome.is_ok() {
        tracing::info!("the operator ends");
    }
    outcome
}

/// SIGUSR1 switches details on and off: no port to guard, and no restart, which would give every shard away.
async fn change_logs(mut asked: Signal, mut toggle: logs::Toggle, stop: CancellationToken) {
    while let Some(Some(())) = stop.run_until_cancelled(asked.recv()).await {
        if let Err(error) = toggle.turn() {
            tracing::warn!(cause = format!("{error:#}"), "the log level cannot be changed");
        }
    }
}

/// Runs the replica until it ends by itself, or after a signal, for which it has the grace period.
async fn until_stopped<F, Fut, E>(
    signals: [Signal; 2],
    config: Config,
    health: Health,
    replica: F,
) -> anyhow::Result<()>
where
    F: FnOnce(Config, Health, CancellationToken) -> Fut,
    Fut: Future<Output = Result<(), E>>,
    E: Into<anyhow::Error>,
{
    let grace = config.grace_period;
    let stop = CancellationToken::new();
    let [mut terminate, mut interrupt] = signals;
    let mut working = std::pin::pin!(replica(config, health, stop.clone()));
    let name = tokio::select! {
        ended = &mut working => return ended.map_err(Into::into),
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    };
    tracing::info!(signal = name, "stopping: work in flight ends, then shards are given back");
    stop.cancel();
    tokio::select! {
        ended = &mut working => ended.map_err(Into::into),
        () = tokio::time::sleep(grace) => Err(anyhow!("the shutdown took longer than {grace:?}")),
        _ = terminate.recv() => Err(anyhow!("a second signal cut the shutdown short")),
        _ = interrupt.recv() => Err(anyhow!("a second signal cut the shutdown short")),
    }
}
