//! The load test: scenarios, and how a run of one goes.
//!
//! The bare writers have their turns before, between and after the operator's: so a machine that grows slower or faster
//! during the run shows as a difference between turns, and not as a ratio.

mod arguments;
mod bare;
mod bench;
mod bystander;
mod disturb;
mod generate;
mod handover;
mod idle;
mod object;
mod operator;
mod run;
mod scenario;
mod set;
mod steps;
mod verify;

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Parser;
use configmapsync_operator::api::clusterconfigmapsync::ClusterConfigMapSync;
use configmapsync_operator::api::configmapsync::ConfigMapSync;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::flowcontrol::v1::FlowSchema;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use testbed::{Cluster, Options};

use crate::distance::Distance;
use crate::fleet::{Fleet, Settings};
use crate::report::{self, Report, Surroundings, masked};
use crate::screen::{Screen, thousands, time};
use crate::{interrupted, logs, objects, writers};
use arguments::{Command, CommandLine};
use bench::Bench;
use bystander::Bystander;
use run::Run;
use scenario::{Named, Scenario};
use set::Set;

/// Tells our namespaces from others.
const OWNER: &str = "configmapsync-loadtest";

/// The whole program.
pub fn main() -> ExitCode {
    match carry_out(CommandLine::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("\nloadtest: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn carry_out(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(arguments) => {
            return tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run_all(&arguments));
        }
        Command::Scenarios => {
            for name in scenario::names()? {
                println!("{name:24} {}", Named::read(&name)?.scenario.about);
            }
        }
        Command::Generate(load) => {
            let syncs = load.syncs();
            let set = Set::new("load", syncs.syncs, syncs.sources, syncs.namespaces, syncs.bytes);
            generate::generate(&set, syncs.namespaces, std::io::stdout().lock())?;
        }
        Command::Report { runs } => {
            for directory in runs {
                Report::read(&directory)?.render(&directory)?;
                println!("{}", directory.display());
            }
        }
        Command::Compare { before, after, html } => {
            let (text, page) = report::compare(&Report::read(&before)?, &Report::read(&after)?)?;
            print!("{text}");
            if let Some(file) = html {
                std::fs::write(&file, page).with_context(|| format!("cannot write {}", file.display()))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// One scenario after the other, each on a control plane of its own.
async fn run_all(arguments: &arguments::Run) -> anyhow::Result<ExitCode> {
    let all = arguments.named()?;
    anyhow::ensure!(
        all.len() == 1 || arguments.name.is_none(),
        "--name is for a single scenario: several would share one name"
    );
    let mut met = true;
    for named in all {
        met &= run_one(arguments, named).await?;
    }
    Ok(if met || !arguments.strict { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether all figures are as expected.
async fn run_one(arguments: &arguments::Run, named: Named) -> anyhow::Result<bool> {
    let begun = Instant::now();
    let Named { name, scenario, expected } = named;
    let mut report = Report {
        scenario: name.clone(),
        about: scenario.about.clone(),
        surroundings: Surroundings::look(),
        settings: serde_json::to_value(&scenario)?,
        expected,
        ..Report::default()
    };
    let limit = arguments.time_limit;
    let mut stop = Box::pin(interrupted()?);
    let mut bench = tokio::select! {
        bench = set_up(scenario, arguments.yes_use_this_cluster) => bench?,
        () = &mut stop => bail!("interrupted"),
        () = tokio::time::sleep(limit) => bail!("--time-limit: nothing was set up within {} s", limit.as_secs()),
    };
    report.surroundings.kubernetes = bench.client.apiserver_version().await?.git_version;
    let run = tokio::select! {
        run = Run::new(&mut bench, &mut report).all_steps() => run,
        () = &mut stop => Err(anyhow::anyhow!("interrupted")),
        () = tokio::time::sleep(limit.saturating_sub(begun.elapsed())) => {
            Err(anyhow::anyhow!("--time-limit: it was not over after {} s", limit.as_secs()))
        }
    };
    report.seconds = begun.elapsed().as_secs_f64();
    report.error = run.as_ref().err().map(|error| masked(&format!("{error:#}")));
    report.compare();
    let directory = report.write(&arguments.runs(), arguments.name.as_ref().unwrap_or(&name))?;
    tell(&bench.screen, &report, &directory);
    let cleared = clear(&mut bench).await;
    run.and(cleared)?;
    Ok(report.verdicts().iter().all(report::Verdict::is_met))
}

fn tell(screen: &Screen, report: &Report, directory: &Path) {
    if !report.comparisons.is_empty() {
        screen.chapter("Beside bare writers");
        screen.block(&report.ratios());
    }
    if !report.expected.is_empty() {
        screen.chapter("What was expected");
        screen.block(&report.verdict_lines());
    }
    screen.fact(&format!("Everything is in {}", directory.display()));
}

/// Starts a control plane, or takes the one that the user insists on.
async fn set_up(scenario: Scenario, use_this_cluster: bool) -> anyhow::Result<Bench> {
    let screen = Screen::new();
    screen.chapter(&scenario.about);
    let given = std::env::var_os("KUBECONFIG").is_some_and(|value| !value.is_empty());
    let cluster = match (given, use_this_cluster) {
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
        lease_duration: scenario.lease_duration(),
        logs: logs("loadtest-logs")?,
        arguments: scenario.flags.clone(),
        limits: scenario.limits,
    };
    let fleet = Fleet::install(&cluster, client.clone(), settings).await?;
    let distance = match scenario.delay_ms {
        Some(delay) => Some(put_away(&cluster, &fleet, Duration::from_millis(delay)).await?),
        None => None,
    };
    if scenario.without_flow_schema {
        let schemas = Api::<FlowSchema>::all(client.clone());
        schemas
            .delete("configmapsync-leases", &DeleteParams::default())
            .await
            .context("the FlowSchema cannot be deleted")?;
    }
    make_namespaces(&scenario, &client, &screen).await?;
    let bystander = Bystander::start(&cluster, &client).await?;
    let bench = Bench { scenario, screen, client, fleet, bystander, _distance: distance, cluster };
    bench.quiet("namespaces made").await?;
    Ok(bench)
}

/// Puts a longer way between the replicas and the API server.
async fn put_away(cluster: &Cluster, fleet: &Fleet, delay: Duration) -> anyhow::Result<Distance> {
    cluster.control_plane().context("a delay is for a control plane that the load test has started")?;
    let server = cluster.config().cluster_url.port_u16().context("the API server has no port")?;
    let distance = Distance::to(server, delay).await?;
    std::fs::write(fleet.kubeconfig(), fleet.kubeconfig_through(distance.port())?)?;
    Ok(distance)
}

async fn make_namespaces(scenario: &Scenario, client: &Client, screen: &Screen) -> anyhow::Result<()> {
    let mut all = vec![objects::namespace(set::HOME, OWNER)];
    all.extend((0..scenario.namespaces()).map(|number| {
        let mut namespace = objects::namespace(&set::namespace(number), OWNER);
        namespace.labels_mut().extend(scenario.labels(number));
        namespace
    }));
    let count = thousands(all.len());
    let api = Api::<Namespace>::all(client.clone());
    let create = |namespace: Namespace| {
        let api = api.clone();
        async move { Ok(api.create(&PostParams::default(), &namespace).await.map(drop)?) }
    };
    let done = |done| screen.progress(&format!("{} of {count} namespaces", thousands(done)));
    writers::each(all, create, done).await.context("the namespaces cannot be made")?;
    screen.fact(&format!(
        "It is up, with the operator's definition and rights and {count} namespaces, after {}.",
        time(screen.elapsed())
    ));
    Ok(())
}

/// In someone else's cluster: what we made goes again.
async fn clear(bench: &mut Bench) -> anyhow::Result<()> {
    if matches!(bench.cluster, Cluster::Own(_)) {
        return Ok(());
    }
    bench.screen.progress("deleting what the load test made");
    let syncs = Api::<ConfigMapSync>::namespaced(bench.client.clone(), set::HOME);
    let objects = Api::<ClusterConfigMapSync>::all(bench.client.clone());
    for (name, _) in bench.scenario.sets.iter().filter(|(_, set)| set.one_object) {
        if objects.get_metadata_opt(name).await?.is_some() {
            objects.delete(name, &DeleteParams::default()).await?;
        }
    }
    if !bench.fleet.replicas().is_empty() {
        syncs.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
        bench.quiet("syncs deleted").await?;
    }
    let few = ListParams::default().limit(1);
    let left = syncs.list_metadata(&few).await?.items.len() + objects.list_metadata(&few).await?.items.len();
    bench.fleet.terminate().await?;
    let namespaces = Api::<Namespace>::all(bench.client.clone());
    let ours = ListParams::default().labels(&format!("{}={OWNER}", objects::MADE_BY));
    for namespace in namespaces.list_metadata(&ours).await?.items {
        namespaces.delete(&namespace.name_any(), &DeleteParams::background()).await?;
    }
    if left > 0 {
        bail!(
            "syncs of the load test are left, in the namespace {} or in none, and no operator runs that lets them go: start \
             one",
            set::HOME
        );
    }
    Ok(())
}
