//! The load test: what is measured, and in which order.
//!
//! The bare writers have two turns, one before and one after the operator's, which has two as well: so a machine that
//! grows slower or faster during the run shows as a difference between turns, and not as a ratio.

mod arguments;
mod bare;
mod bench;
mod idle;
mod operator;
mod set;
mod verify;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Parser;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, ResourceExt as _};
use testbed::{Cluster, Options};

use crate::copies::Copies;
use crate::fleet::{Fleet, Settings};
use crate::report::{Measurement, Report, Surroundings, Who, counts, masked};
use crate::screen::{Screen, thousands, time};
use crate::{interrupted, logs, objects, writers};
use arguments::Arguments;
use bare::Written;
use bench::Bench;
use operator::Served;
use set::Set;

/// Tells our namespaces from others.
const OWNER: &str = "configmapsync-loadtest";

/// The whole program.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let run = || -> anyhow::Result<()> {
        tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(until_end(arguments))
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nloadtest: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn until_end(arguments: Arguments) -> anyhow::Result<()> {
    let begun = Instant::now();
    let mut report = Report::new(Surroundings::look(), arguments.settings());
    let limit = arguments.time_limit;
    let mut stop = Box::pin(interrupted()?);
    let mut bench = tokio::select! {
        bench = set_up(arguments) => bench?,
        () = &mut stop => bail!("interrupted"),
        () = tokio::time::sleep(limit) => bail!("--time-limit: nothing was set up within {} s", limit.as_secs()),
    };
    report.surroundings.kubernetes = bench.client.apiserver_version().await?.git_version;
    let run = tokio::select! {
        run = run(&mut bench, &mut report) => run,
        () = &mut stop => Err(anyhow::anyhow!("interrupted")),
        () = tokio::time::sleep(limit.saturating_sub(begun.elapsed())) => {
            Err(anyhow::anyhow!("--time-limit: it was not over after {} s", limit.as_secs()))
        }
    };
    report.seconds = begun.elapsed().as_secs_f64();
    report.error = run.as_ref().err().map(|error| masked(&format!("{error:#}")));
    report.compare();
    let directory = report.write(&bench.arguments.runs(), &bench.arguments.name)?;
    bench.screen.chapter("Beside bare writers");
    bench.screen.block(&report.ratios());
    bench.screen.fact(&format!("Everything is in {}", directory.display()));
    let cleared = clear(&mut bench).await;
    run.and(cleared)
}

/// Starts a control plane, or takes the one that the user insists on.
async fn set_up(arguments: Arguments) -> anyhow::Result<Bench> {
    let screen = Screen::new();
    screen.chapter("A control plane for the load test");
    let given = std::env::var_os("KUBECONFIG").is_some_and(|value| !value.is_empty());
    let cluster = match (given, arguments.yes_use_this_cluster) {
        (true, true) => Cluster::connect_or_start(Options::default()).await?,
        (false, true) => bail!("--yes-use-this-cluster: KUBECONFIG has to name the cluster"),
        (given, false) => {
            if given {
                screen.say(
                    "KUBECONFIG is set and not used: load goes there only with --yes-use-this-cluster. A control plane \
                     is started instead.",
                );
            }
            Cluster::Own(Box::new(testbed::ControlPlane::start(Options::default()).await?))
        }
    };
    let client = writers::client(cluster.config())?;
    let settings = Settings {
        lease_duration: arguments.lease_duration,
        logs: logs("loadtest-logs")?,
        arguments: arguments.operator_flag.clone(),
    };
    let fleet = Fleet::install(&cluster, client.clone(), settings).await?;
    let bench = Bench { arguments, screen, client, fleet, cluster };
    make_namespaces(&bench).await?;
    Ok(bench)
}

/// How many namespaces the copies stand in.
fn namespaces(arguments: &Arguments) -> usize {
    let load = arguments.syncs.div_ceil(arguments.per_namespace);
    load.max(arguments.fanout) as usize
}

async fn make_namespaces(bench: &Bench) -> anyhow::Result<()> {
    let names = (0..namespaces(&bench.arguments)).map(set::namespace).chain([set::HOME.to_owned()]);
    let names: Vec<String> = names.collect();
    let api = Api::<Namespace>::all(bench.client.clone());
    let create = |name: &String| {
        let (api, namespace) = (api.clone(), objects::namespace(name, OWNER));
        async move { Ok(api.create(&PostParams::default(), &namespace).await.map(drop)?) }
    };
    let done = |done| bench.screen.progress(&format!("{} of {} namespaces", thousands(done), thousands(names.len())));
    writers::each(&names, create, done).await.context("the namespaces cannot be made")?;
    bench.quiet("namespaces made").await?;
    bench.screen.fact(&format!(
        "It is up, with the operator's definition and rights and {} namespaces, after {}.",
        thousands(names.len()),
        time(bench.screen.elapsed())
    ));
    Ok(())
}

/// The sets that the run is about: the fixed fan-out, if it is wanted, and the load.
fn sets(arguments: &Arguments) -> Vec<Set> {
    let size = arguments.size as usize;
    let fanout = arguments.fanout as usize;
    let mut sets = Vec::new();
    if fanout > 0 {
        sets.push(Set::new("fanout", fanout, 1, fanout, size));
    }
    let sources = arguments.sources.min(arguments.syncs) as usize;
    let in_namespaces = arguments.syncs.div_ceil(arguments.per_namespace) as usize;
    sets.push(Set::new("load", arguments.syncs as usize, sources, in_namespaces, size));
    sets
}

async fn run(bench: &mut Bench, report: &mut Report) -> anyhow::Result<()> {
    let sets = sets(&bench.arguments);
    bench.screen.chapter("Bare writers, without any operator: the bound");
    bare_turn(bench, report, &sets).await?;

    let replicas = bench.arguments.replicas;
    bench.screen.chapter(&format!("The operator, {replicas} replicas"));
    let (ready, held) = bench.start().await?;
    bench.screen.fact(&format!("Ready after {}, all shards held after {}.", time(ready), time(held)));
    let copies = watch(bench).await?;
    let mut served = operator_turn(bench, report, &sets, &copies).await?;
    let syncs = served.iter().map(Served::len).sum();
    report.memory = bench.replicas()?;
    if bench.arguments.rest > Duration::ZERO {
        let rest = idle::rest(bench, syncs).await?;
        bench.screen.fact(&format!(
            "{} s of rest: {}; out of place: {}.",
            bench.arguments.rest.as_secs(),
            counts(&rest.requests),
            counts(&rest.out_of_place)
        ));
        report.rest = Some(rest);
    }
    let ending = Instant::now();
    bench.fleet.terminate().await?;
    let end = ending.elapsed();
    drop(copies);

    bench.screen.chapter("Bare writers again");
    bare_turn(bench, report, &sets).await?;

    bench.screen.chapter(&format!("The operator again: a warm restart with {} syncs", thousands(syncs)));
    let restart = idle::warm_restart(bench, syncs, end).await?;
    bench.screen.fact(&format!(
        "Ready after {:.2} s, all shards held after {:.2} s; {} writes and {} GETs.",
        restart.ready_seconds, restart.held_seconds, restart.writes, restart.gets
    ));
    report.warm_restart = Some(restart);
    let copies = watch(bench).await?;
    for one in &mut served {
        one.verify(bench).await.context("after the restart")?;
        one.watch(copies.clone());
        change(bench, report, one).await?;
    }
    for one in served.into_iter().rev() {
        let measurement = one.delete(bench).await?;
        tell(bench, report, measurement);
    }
    if let Some(fanout) = sets.first() {
        let (served, measurement) = Served::create(bench, fanout.clone(), copies).await?;
        tell(bench, report, measurement);
        let measurement = served.delete(bench).await?;
        tell(bench, report, measurement);
    }
    bench.fleet.terminate().await
}

async fn watch(bench: &Bench) -> anyhow::Result<Arc<Copies>> {
    let selector = objects::copies_selector();
    Ok(Arc::new(Copies::by_metadata(bench.client.clone(), &selector, objects::edition).await?))
}

async fn bare_turn(bench: &Bench, report: &mut Report, sets: &[Set]) -> anyhow::Result<()> {
    let copies = Arc::new(bare::watch(bench).await?);
    for set in sets {
        let (mut written, measurement) = Written::create(bench, set, copies.clone()).await?;
        tell(bench, report, measurement);
        for sources in changes(bench, set) {
            let measurement = written.change(bench, &sources).await?;
            tell(bench, report, measurement);
        }
        let measurement = written.delete(bench).await?;
        tell(bench, report, measurement);
    }
    Ok(())
}

async fn operator_turn(
    bench: &Bench,
    report: &mut Report,
    sets: &[Set],
    copies: &Arc<Copies>,
) -> anyhow::Result<Vec<Served>> {
    let mut all = Vec::new();
    for set in sets {
        let (mut served, measurement) = Served::create(bench, set.clone(), copies.clone()).await?;
        tell(bench, report, measurement);
        change(bench, report, &mut served).await?;
        all.push(served);
    }
    Ok(all)
}

async fn change(bench: &Bench, report: &mut Report, served: &mut Served) -> anyhow::Result<()> {
    for sources in changes(bench, served.set()) {
        let measurement = served.change(bench, &sources).await?;
        tell(bench, report, measurement);
    }
    Ok(())
}

/// Which sources are changed together, one after the other.
fn changes(bench: &Bench, set: &Set) -> Vec<Vec<usize>> {
    let mut changes = vec![vec![0]; usize::from(bench.arguments.rounds)];
    if set.sources > 1 {
        changes.push((0..set.sources).collect());
    }
    changes
}

/// One line on the screen, and a row in the report.
fn tell(bench: &Bench, report: &mut Report, measurement: Measurement) {
    let settled = measurement.settled_seconds.map(|seconds| format!(", statuses {seconds:.2} s")).unwrap_or_default();
    bench.screen.fact(&format!(
        "{}{}: all asked {:.2} s, first {:.3} s, last {:.2} s{settled}.",
        if measurement.who == Who::BareWriters { "bare writers, " } else { "" },
        measurement.scenario,
        measurement.asked_seconds,
        measurement.first_seconds,
        measurement.last_seconds,
    ));
    report.measurements.push(measurement);
}

/// In someone else's cluster: what we made goes again.
async fn clear(bench: &mut Bench) -> anyhow::Result<()> {
    if matches!(bench.cluster, Cluster::Own(_)) {
        return Ok(());
    }
    bench.screen.progress("deleting what the load test made");
    let syncs =
        Api::<configmapsync_operator::api::configmapsync::ConfigMapSync>::namespaced(bench.client.clone(), set::HOME);
    if !bench.fleet.replicas().is_empty() {
        syncs.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
        bench.quiet("syncs deleted").await?;
    }
    let left = syncs.list_metadata(&ListParams::default().limit(1)).await?.items.len();
    bench.fleet.terminate().await?;
    let namespaces = Api::<Namespace>::all(bench.client.clone());
    let ours = ListParams::default().labels(&format!("{}={OWNER}", objects::MADE_BY));
    for namespace in namespaces.list_metadata(&ours).await?.items {
        namespaces.delete(&namespace.name_any(), &DeleteParams::background()).await?;
    }
    if left > 0 {
        bail!(
            "syncs of the load test are left in the namespace {}, and no operator runs that lets them go: start one",
            set::HOME
        );
    }
    Ok(())
}
