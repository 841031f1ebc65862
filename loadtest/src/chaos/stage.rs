//! A control plane, replicas with a proxy and a clock each, and the load.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use configmapsync_operator::rules::shard::SHARDS;
use jiff::Timestamp;
use kube::Client;
use testbed::audit::Mark;
use testbed::{Cluster, ControlPlane, Options};

use super::clock::{Clocks, PROGRAM};
use super::history::{self, History};
use super::late::{Late, late_writes};
use super::load::Load;
use super::plan::{FEWEST, MOST};
use super::proxy::{Proxy, Tls};
use super::{Settings, whole};
use crate::fleet::{Fleet, Settings as FleetSettings};
use crate::{logs, writers};

/// From the start of the fleet to its being ready.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// After a fault. A bound for what never ends, not a measure: the machine may be busy with other things.
const WHOLE_WITHIN: Duration = Duration::from_secs(150);
const LOOK: Duration = Duration::from_millis(100);
/// How often a wait says what it waits for.
const PROGRESS: Duration = Duration::from_secs(15);
/// How many things that are missing an error names.
const NAMED: usize = 12;

/// All that a round needs. Fields are dropped in this order.
pub struct Stage {
    pub(super) client: Client,
    pub(super) load: Load,
    pub(super) fleet: Fleet,
    pub(super) proxies: Vec<Proxy>,
    pub(super) clocks: Result<Clocks, String>,
    pub(super) history: History,
    /// How far the history goes in the audit log.
    mark: Mark,
    /// The processes that run, by the numbers of their replicas. Each has a name of its own: one that was started again
    /// is another one, in Leases, logs and the history.
    running: BTreeMap<usize, String>,
    launched: usize,
    /// When all was last seen to be whole.
    whole: Timestamp,
    kubeconfigs: Vec<PathBuf>,
    cluster: Cluster,
}

impl Stage {
    /// Starts all of it, and waits until it is whole.
    ///
    /// # Errors
    /// When something cannot be started.
    pub async fn set_up(settings: &Settings) -> anyhow::Result<Self> {
        let options = Options { audited_objects: history::OBJECTS.to_vec(), ..Options::default() };
        let cluster = Cluster::Own(Box::new(ControlPlane::start(options).await?));
        let client = writers::client(cluster.config())?;
        let logs_at = logs("chaos-logs")?;
        // What an earlier run left.
        let _ = std::fs::remove_dir_all(&logs_at);
        let fleet_settings = FleetSettings {
            lease_duration: settings.lease,
            logs: logs_at,
            arguments: vec!["--log-level=info,configmapsync_operator=debug".to_owned()],
            limits: None,
        };
        let fleet = Fleet::install_to_run(PROGRAM, &cluster, client.clone(), fleet_settings).await?;
        let mark = cluster.audit()?.mark()?;
        let (proxies, kubeconfigs) = proxies(&cluster, &fleet).await?;
        let clocks = Clocks::in_directory(cluster.dir()).map_err(|error| format!("{error:#}"));
        let load = Load::start(client.clone(), settings.seed).await?;
        let mut stage = Self {
            client,
            load,
            fleet,
            proxies,
            clocks,
            history: History::default(),
            mark,
            running: BTreeMap::new(),
            launched: 0,
            whole: Timestamp::MIN,
            kubeconfigs,
            cluster,
        };
        for number in 1..=FEWEST {
            stage.launch(number)?;
        }
        stage.fleet.until_ready(READY_WITHIN).await?;
        stage.until_whole().await?;
        let taken = stage.history.shards_taken();
        if taken < SHARDS {
            bail!("the audit log tells of {taken} shards only that were taken: the history cannot be checked");
        }
        Ok(stage)
    }

    pub(super) fn control_plane(&self) -> anyhow::Result<&ControlPlane> {
        self.cluster.control_plane()
    }

    /// Starts a replica, with a right clock and in fair weather.
    pub(super) fn launch(&mut self, number: usize) -> anyhow::Result<()> {
        self.launched += 1;
        let name = format!("replica-{number}-{}", self.launched);
        let environment = match &self.clocks {
            Ok(clocks) => {
                clocks.set(&name, 0)?;
                clocks.environment(&name)
            }
            Err(_) => Vec::new(),
        };
        let kubeconfig = self.kubeconfigs.get(number - 1).context("there is no such replica")?;
        self.fleet.launch(&name, kubeconfig, &environment)?;
        self.running.insert(number, name);
        Ok(())
    }

    /// The name of the process of a replica.
    pub(super) fn name(&self, number: usize) -> anyhow::Result<&str> {
        self.running.get(&number).map(String::as_str).with_context(|| format!("replica-{number} does not run"))
    }

    /// Of a replica that is about to end: its name, for the last time.
    pub(super) fn forget(&mut self, number: usize) -> anyhow::Result<String> {
        self.running.remove(&number).with_context(|| format!("replica-{number} does not run"))
    }

    /// Changes each source once more, and waits until all is as it should be. Returns the late writes since the last time.
    ///
    /// # Errors
    /// When something stays missing, or a late write is more than what is allowed.
    pub(super) async fn until_whole(&mut self) -> anyhow::Result<Vec<Late>> {
        let (before, whole) = (self.whole, self.seen_whole().await?);
        self.whole = whole;
        let (requests, mark) = self.cluster.audit()?.read(self.mark)?;
        self.mark = mark;
        let lates = late_writes(self.history.take_in(&requests), whole);
        let lates: Vec<Late> = lates.into_iter().filter(|late| late.at > before && late.at <= whole).collect();
        let wrong: Vec<String> = lates.iter().filter(|late| late.is_wrong()).map(Late::to_string).collect();
        if !wrong.is_empty() {
            bail!("{} writes for shards that others held:\n  {}", wrong.len(), wrong.join("\n  "));
        }
        Ok(lates)
    }

    /// Nothing is changed between the returned time and the look that found all whole.
    async fn seen_whole(&self) -> anyhow::Result<Timestamp> {
        let mut still = self.load.stop().await;
        still.change_all().await.context("a source cannot be changed")?;
        let deadline = Instant::now() + WHOLE_WITHIN;
        let mut next_word = Instant::now() + PROGRESS;
        loop {
            self.fleet.check()?;
            self.control_plane()?.check()?;
            let missing = match whole::missing(&self.client, &self.fleet.names()).await {
                Ok(missing) if missing.is_empty() => return Ok(Timestamp::now()),
                Ok(missing) => missing,
                Err(error) => vec![format!("{error:#}")],
            };
            if Instant::now() > deadline {
                let named = missing[..missing.len().min(NAMED)].join("\n  ");
                bail!("not whole after {} s, {} things:\n  {named}", WHOLE_WITHIN.as_secs(), missing.len());
            }
            if Instant::now() > next_word {
                next_word += PROGRESS;
                let named = missing[..missing.len().min(3)].join("; ");
                println!("          not whole yet, {} things: {named}", missing.len());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Keeps the audit log beside the logs of the replicas.
    pub(super) fn keep_evidence(&self) -> anyhow::Result<PathBuf> {
        let directory = self.fleet.logs();
        std::fs::copy(self.cluster.audit()?.path(), directory.join("audit.log"))?;
        Ok(directory.to_owned())
    }

    /// Ends all replicas with SIGTERM, and looks for panics in their logs.
    pub(super) async fn end(&mut self) -> anyhow::Result<()> {
        self.fleet.terminate().await?;
        for log in std::fs::read_dir(self.fleet.logs())? {
            let log = std::fs::read_to_string(log?.path())?;
            if let Some(line) = log.lines().find(|line| line.contains("panicked")) {
                bail!("a replica panicked: {line}");
            }
        }
        Ok(())
    }
}

/// A proxy for each replica that there can be, and the kubeconfig that leads to it.
async fn proxies(cluster: &Cluster, fleet: &Fleet) -> anyhow::Result<(Vec<Proxy>, Vec<PathBuf>)> {
    let (certificate, key) = cluster.control_plane()?.certificate();
    let server = cluster.config().cluster_url.port_u16().context("the API server has no port")?;
    let tls = Tls::new(&certificate, &key, server)?;
    let (mut proxies, mut kubeconfigs) = (Vec::new(), Vec::new());
    for number in 1..=MOST {
        let proxy = Proxy::start(tls.clone()).await?;
        let kubeconfig = cluster.dir().join(format!("replica-{number}.kubeconfig"));
        std::fs::write(&kubeconfig, fleet.kubeconfig_through(proxy.port())?)?;
        proxies.push(proxy);
        kubeconfigs.push(kubeconfig);
    }
    Ok((proxies, kubeconfigs))
}
