//! A fleet of operator replicas, each a process of its own on this machine under the ServiceAccount and the RBAC rules
//! that are shipped.
//!
//! They are children of this process and never outlive it, see [`testbed::process`].

mod install;
mod limits;
mod page;
mod replica;
mod shards;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use testbed::Cluster;
use testbed::image::operator::{PROGRAM, beside};
use testbed::process::Signal;

pub use install::{DEPLOYMENT, NAMESPACE, SERVICE_ACCOUNT};
pub use limits::Limits;
pub use page::Page;
pub use replica::{Replica, Usage, usage};
pub use shards::{SESSION_LEASE, SHARD_LEASE, Shards, is_session_of};

/// How the replicas are to run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `--lease-duration` of the operator.
    pub lease_duration: Duration,
    /// Where each replica's log goes; what stood there before is replaced.
    pub logs: PathBuf,
    /// More arguments for each replica.
    pub arguments: Vec<String>,
    /// What each replica may use.
    pub limits: Option<Limits>,
}

/// The fleet.
#[derive(Debug)]
pub struct Fleet {
    settings: Settings,
    operator: PathBuf,
    kubeconfig: PathBuf,
    leases: Api<Lease>,
    replicas: Vec<Replica>,
}

impl Fleet {
    /// Installs definition and RBAC rules, and is ready to start replicas; none runs yet.
    ///
    /// # Errors
    /// When the operator is not built, another one is at work in the cluster, or the cluster refuses.
    pub async fn install(cluster: &Cluster, client: Client, settings: Settings) -> anyhow::Result<Self> {
        Self::install_to_run(PROGRAM, cluster, client, settings).await
    }

    /// The same, with replicas that run this program, which Cargo built beside this one.
    ///
    /// # Errors
    /// As [`Fleet::install`].
    pub async fn install_to_run(
        program: &str,
        cluster: &Cluster,
        client: Client,
        settings: Settings,
    ) -> anyhow::Result<Self> {
        let operator = beside(program)?;
        install::no_other_operator(&client).await?;
        install::manifests(cluster).await?;
        install::until_served(&client).await?;
        let kubeconfig = cluster.service_account_kubeconfig(NAMESPACE, SERVICE_ACCOUNT).await?;
        std::fs::create_dir_all(&settings.logs)
            .with_context(|| format!("no directory for logs at {}", settings.logs.display()))?;
        let leases = Api::namespaced(client, NAMESPACE);
        Ok(Self { settings, operator, kubeconfig, leases, replicas: Vec::new() })
    }

    /// Starts replicas `replica-1` to `replica-{count}`; those that run already are left alone.
    ///
    /// # Errors
    /// When one cannot be started.
    pub fn start(&mut self, count: usize) -> anyhow::Result<()> {
        for number in 1..=count {
            let name = format!("replica-{number}");
            if self.replicas.iter().any(|replica| replica.name() == name) {
                continue;
            }
            let log = self.settings.logs.join(format!("{name}.log"));
            std::fs::write(&log, "").with_context(|| format!("cannot write {}", log.display()))?;
            self.launch(&name, &self.kubeconfig.clone(), &[])?;
        }
        Ok(())
    }

    /// Starts one replica, with a way of its own to the cluster and this in its environment. Its log is continued.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn launch(&mut self, name: &str, kubeconfig: &Path, environment: &[(&str, OsString)]) -> anyhow::Result<()> {
        self.replicas.push(Replica::start(name, &self.operator, kubeconfig, environment, &self.settings)?);
        Ok(())
    }

    /// The kubeconfig of the operator's account.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The same, by way of a port of this machine.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn kubeconfig_through(&self, port: u16) -> anyhow::Result<String> {
        let mut account: serde_json::Value = serde_json::from_slice(&std::fs::read(&self.kubeconfig)?)?;
        account["clusters"][0]["cluster"]["server"] = format!("https://127.0.0.1:{port}").into();
        Ok(account.to_string())
    }

    /// The replicas that run.
    pub fn replicas(&self) -> &[Replica] {
        &self.replicas
    }

    /// Kills the replica with SIGKILL. Its Leases stay as they are.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn kill(&mut self, name: &str) -> anyhow::Result<()> {
        self.take(name)?.kill()
    }

    /// Kills all replicas with SIGKILL. Their Leases stay as they are.
    ///
    /// # Errors
    /// When one has ended already.
    pub fn kill_all(&mut self) -> anyhow::Result<()> {
        self.replicas.drain(..).try_for_each(|replica| replica.kill())
    }

    /// Sends one a signal, such as SIGSTOP.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn signal(&self, name: &str, signal: Signal) -> anyhow::Result<()> {
        let replica = self.replicas.iter().find(|replica| replica.name() == name);
        replica.with_context(|| format!("no {name} runs"))?.signal(signal)
    }

    /// Ends one with SIGTERM.
    ///
    /// # Errors
    /// When there is none of this name, it had to be killed, or did not end with exit code 0.
    pub async fn retire(&mut self, name: &str) -> anyhow::Result<()> {
        self.take(name)?.terminate().await
    }

    fn take(&mut self, name: &str) -> anyhow::Result<Replica> {
        let at = self.replicas.iter().position(|replica| replica.name() == name);
        Ok(self.replicas.remove(at.with_context(|| format!("no {name} runs"))?))
    }

    /// Ends with SIGTERM, at once, all replicas after the first `count`.
    ///
    /// # Errors
    /// As [`Self::terminate`].
    pub async fn shrink(&mut self, count: usize) -> anyhow::Result<()> {
        let surplus = self.replicas.split_off(count.min(self.replicas.len()));
        futures::future::try_join_all(surplus.iter().map(Replica::terminate)).await?;
        Ok(())
    }

    /// Ends all replicas with SIGTERM, at once, as a Deployment that is scaled to 0 does.
    ///
    /// # Errors
    /// When one had to be killed, or did not end with exit code 0.
    pub async fn terminate(&mut self) -> anyhow::Result<()> {
        let replicas = std::mem::take(&mut self.replicas);
        futures::future::try_join_all(replicas.iter().map(Replica::terminate)).await?;
        Ok(())
    }

    /// Waits until `/readyz` of every replica answers 200.
    ///
    /// # Errors
    /// When one ends, or after `within`; the message has what it said last.
    pub async fn until_ready(&self, within: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + within;
        for replica in &self.replicas {
            replica.until_ready(deadline).await?;
        }
        Ok(())
    }

    /// Who holds which shard, as the Leases say.
    ///
    /// # Errors
    /// When the Leases cannot be listed.
    pub async fn shards(&self) -> anyhow::Result<Shards> {
        Shards::read(&self.leases).await
    }

    /// Whether every shard has a holder among the replicas that run, and none among `former`, the names of sessions.
    pub fn all_held(&self, shards: &Shards, former: &[String]) -> bool {
        shards.all_held_by(&self.names(), former)
    }

    /// The names of the replicas that run.
    pub fn names(&self) -> Vec<String> {
        self.replicas.iter().map(|replica| replica.name().to_owned()).collect()
    }

    /// Fails when a replica that should run has ended.
    ///
    /// # Errors
    /// As said; the message has the end of its log.
    pub fn check(&self) -> anyhow::Result<()> {
        self.replicas.iter().try_for_each(Replica::check)
    }

    /// The directory of the logs.
    pub fn logs(&self) -> &Path {
        &self.settings.logs
    }
}
