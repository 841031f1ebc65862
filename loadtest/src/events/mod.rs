//! What a replica pays for an event that is not its own, beside what a bare watch pays and what the mere reading costs:
//! bare writers write while a crew listens, one crew after the other, and each process' CPU time is divided by the
//! events. How fast the writers are tells how much a crew slows them.
//!
//! The shards belong to a replica that is dead: its Leases outlive it for ten minutes, so that those that listen are idle
//! and nothing is written but by the bare writers.

mod crew;
mod kind;
mod listener;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Parser;
use configmapsync_operator::api::configmapsync::ConfigMapSync;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{ListParams, PostParams};
use kube::{Api, Client};
use serde::Serialize;
use testbed::{Cluster, Component, ControlPlane, Options};

use crate::fleet::{self, Fleet, Settings};
use crate::report::Surroundings;
use crate::screen::Screen;
use crate::{exit_code, logs, objects, unless_interrupted, writers};
use crew::{Crew, Listening};
use kind::{HOME, Kind, Targets};
use listener::Listener;

/// The longest that the operator allows.
const OUTLIVES: Duration = Duration::from_secs(600);
/// After the last write: what is under way arrives.
const ARRIVES: Duration = Duration::from_secs(1);

/// Measures what a replica pays for an event that is not its own, beside bare watches.
#[derive(Clone, Debug, Parser)]
#[command(name = "events", version)]
struct Arguments {
    /// How many events of each kind a crew hears in a round; all together they have to fit into ten minutes
    #[arg(long, default_value_t = 5000, value_name = "NUMBER")]
    events: usize,
    /// How many processes a crew has
    #[arg(long, default_value_t = 1, value_name = "NUMBER", value_parser = clap::value_parser!(u8).range(1..=32))]
    listeners: u8,
    /// How often each crew has its turn
    #[arg(long, default_value_t = 2, value_name = "NUMBER", value_parser = clap::value_parser!(u8).range(1..=20))]
    rounds: u8,
    /// How many objects of each kind there are
    #[arg(long, default_value_t = 100, value_name = "NUMBER")]
    objects: usize,
    /// One more flag for each replica; may be repeated
    #[arg(long, value_name = "FLAG", allow_hyphen_values = true)]
    operator_flag: Vec<String>,
    /// The file that the figures go to
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Only listens, to the cluster that KUBECONFIG names: what a crew of bare watches is made of
    #[arg(long, hide = true)]
    listen: Option<Listener>,
    /// Which of the listeners it is, from 0
    #[arg(long, hide = true, default_value_t = 0)]
    number: u8,
}

/// What came of the writes of one kind while one crew listened.
#[derive(Clone, Debug, Serialize)]
struct Turn {
    crew: String,
    listeners: u8,
    kind: Kind,
    events: usize,
    /// How long the bare writers took, in seconds.
    seconds: f64,
    /// CPU time of each listener for an event, in microseconds, without what it uses in as much time of rest.
    listener_micros: Vec<f64>,
    /// What it uses in a second of rest, in microseconds.
    rest_micros: Vec<f64>,
    /// The same of the API server.
    api_server_micros: f64,
}

#[derive(Serialize)]
struct Report {
    surroundings: Surroundings,
    turns: Vec<Turn>,
}

/// The whole program.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let run = || -> anyhow::Result<()> {
        // As the operator's, so that wake-ups cost the same.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(unless_interrupted(run(arguments)))
    };
    exit_code("events", run())
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    if let Some(listener) = arguments.listen {
        return listener::listen(listener, (arguments.number, arguments.listeners)).await;
    }
    let screen = Screen::new();
    let mut report = Report { surroundings: Surroundings::look(), turns: Vec::new() };
    screen.chapter("A control plane, and syncs whose holder is dead");
    let cluster = Cluster::Own(Box::new(ControlPlane::start(Options::default()).await?));
    let client = writers::client(cluster.config())?;
    report.surroundings.kubernetes = client.apiserver_version().await?.git_version;
    let mut fleet = orphans(&arguments, &cluster, &client).await?;
    let targets = Targets::find(&client).await?;
    for round in 0..usize::from(arguments.rounds) {
        screen.chapter(&format!("Round {}", round + 1));
        for crew in Crew::ALL {
            let listening = Listening::start(crew, usize::from(arguments.listeners), &cluster, &mut fleet).await?;
            let rest = listening.rest(&fleet).await?;
            for kind in [Kind::Foreign, Kind::Copies, Kind::Statuses] {
                let number = report.turns.len();
                let turn = async {
                    let before = (listening.used(&fleet)?, api_server(&cluster)?);
                    let begun = Instant::now();
                    targets.write(&client, kind, number, arguments.events).await?;
                    let seconds = begun.elapsed().as_secs_f64();
                    tokio::time::sleep(ARRIVES).await;
                    let micros = |seconds: f64| (seconds * 1e7 / arguments.events as f64).round() / 10.0;
                    let (used, elapsed) = (listening.used(&fleet)?, begun.elapsed().as_secs_f64());
                    let own =
                        used.iter().zip(&before.0).zip(&rest).map(|((now, was), rest)| now - was - rest * elapsed);
                    anyhow::Ok(Turn {
                        crew: crew.to_string(),
                        listeners: arguments.listeners,
                        kind,
                        events: arguments.events,
                        seconds,
                        listener_micros: own.map(micros).collect(),
                        rest_micros: rest.iter().map(|rest| (rest * 1e6).round()).collect(),
                        api_server_micros: micros(api_server(&cluster)? - before.1),
                    })
                };
                let turn = turn.await.with_context(|| format!("{kind} while {crew} listened"))?;
                screen.fact(&format!(
                    "{crew}, {kind}: {:?} µs an event (at rest {:?} µs/s); API server {:.0} µs; {:.0} events/s.",
                    turn.listener_micros,
                    turn.rest_micros,
                    turn.api_server_micros,
                    arguments.events as f64 / turn.seconds
                ));
                report.turns.push(turn);
            }
            listening.end(&mut fleet).await?;
        }
    }
    if let Some(file) = &arguments.report {
        let text = serde_json::to_string_pretty(&report)?;
        std::fs::write(file, text + "\n").with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

fn api_server(cluster: &Cluster) -> anyhow::Result<f64> {
    let pid = cluster.control_plane()?.pid(Component::ApiServer).context("the API server has ended")?;
    Ok(fleet::usage(pid)?.cpu_seconds)
}

/// Syncs with their copies, and all shards in the hands of a replica that was killed. The fleet is empty.
async fn orphans(arguments: &Arguments, cluster: &Cluster, client: &Client) -> anyhow::Result<Fleet> {
    let settings = |lease_duration, arguments: &[String]| {
        anyhow::Ok(Settings { lease_duration, logs: logs("events-logs")?, arguments: arguments.to_vec(), limits: None })
    };
    let mut fleet = Fleet::install(cluster, client.clone(), settings(Duration::from_secs(2), &[])?).await?;
    let params = PostParams::default();
    Api::<Namespace>::all(client.clone()).create(&params, &objects::namespace(HOME, HOME)).await?;
    let config_maps = Api::<ConfigMap>::namespaced(client.clone(), HOME);
    let data = || [("settings".to_owned(), "x".repeat(1024))].into();
    config_maps.create(&params, &objects::config_map(HOME, "source", data())).await?;
    let syncs = Api::<ConfigMapSync>::namespaced(client.clone(), HOME);
    for number in 0..arguments.objects {
        let mut foreign = objects::config_map(HOME, &format!("foreign-{number:04}"), data());
        foreign.metadata.labels = Some([(objects::MADE_BY.to_owned(), HOME.to_owned())].into());
        config_maps.create(&params, &foreign).await?;
        let name = format!("copy-{number:04}");
        syncs.create(&params, &objects::sync(&name, (HOME, "source"), (HOME, &name))).await?;
    }
    fleet.start(1)?;
    let deadline = Instant::now() + Duration::from_secs(120);
    while !syncs.list(&ListParams::default()).await?.items.iter().all(objects::is_ready) {
        anyhow::ensure!(Instant::now() < deadline, "the copies were not made");
        fleet.check()?;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    fleet.terminate().await?;
    let mut holder = Fleet::install(cluster, client.clone(), settings(OUTLIVES, &[])?).await?;
    holder.start(1)?;
    while !holder.shards().await?.all_held_by(&holder.names(), &[]) {
        anyhow::ensure!(Instant::now() < deadline, "the shards were not taken");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    holder.kill("replica-1")?;
    Fleet::install(cluster, client.clone(), settings(OUTLIVES, &arguments.operator_flag)?).await
}
