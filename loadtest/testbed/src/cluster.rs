//! Whatever cluster there is: the one that `KUBECONFIG` names, or else a control plane of our own.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs, process as std_process};

use anyhow::{Context as _, bail};
use kube::config::Kubeconfig;
use kube::{Client, Config};

use crate::directory::Directory;
use crate::{AuditLog, ControlPlane, Options, build, kubeconfig};

/// A cluster for tests, demo and load test.
#[derive(Debug)]
pub enum Cluster {
    /// Started by us; everything can be done to it.
    Own(Box<ControlPlane>),
    /// Someone's, named by `KUBECONFIG`: it can be used, but neither broken nor looked into.
    Given(Box<GivenCluster>),
}

/// A cluster that was there before us.
#[derive(Debug)]
pub struct GivenCluster {
    config: Config,
    kubeconfig: PathBuf,
    kubectl: PathBuf,
    kubeconfigs: AtomicU32,
    directory: Directory,
}

impl Cluster {
    /// The cluster of `KUBECONFIG` when that is set, which is said on standard error; else a new control plane.
    ///
    /// # Errors
    /// When `KUBECONFIG` names nothing usable, or as [`ControlPlane::start`].
    pub async fn connect_or_start(options: Options) -> anyhow::Result<Self> {
        if env::var_os("KUBECONFIG").is_none_or(|value| value.is_empty()) {
            return Ok(Self::Own(Box::new(ControlPlane::start(options).await?)));
        }
        // Several files may be named, and paths in them are relative to them; read like this they are merged and absolute.
        let kubeconfig = Kubeconfig::from_env()
            .context("cannot read what KUBECONFIG names")?
            .context("KUBECONFIG names no file: unset it to have a control plane started")?;
        let cluster = Self::connect(kubeconfig).await?;
        eprintln!(
            "testbed: KUBECONFIG is set, so THE CLUSTER AT {} IS USED, not one of the test bed's own",
            cluster.config().cluster_url
        );
        Ok(cluster)
    }

    /// Someone's cluster.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn connect(kubeconfig: Kubeconfig) -> anyhow::Result<Self> {
        Ok(Self::Given(Box::new(GivenCluster::connect(kubeconfig).await?)))
    }

    /// The control plane, for what can only be done to one's own: the audit log, stopping and pausing its programs.
    ///
    /// # Errors
    /// When the cluster is someone else's; the message can be printed as the reason why a test is skipped.
    pub fn control_plane(&self) -> anyhow::Result<&ControlPlane> {
        match self {
            Self::Own(control_plane) => Ok(control_plane),
            Self::Given(_) => {
                bail!("this needs a control plane of the test bed's own: unset KUBECONFIG to have one started")
            }
        }
    }

    /// The audit log.
    ///
    /// # Errors
    /// When the cluster is someone else's, or its audit log was switched off.
    pub fn audit(&self) -> anyhow::Result<&AuditLog> {
        self.control_plane()?.audit()
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        match self {
            Self::Own(control_plane) => control_plane.kubeconfig(),
            Self::Given(given) => &given.kubeconfig,
        }
    }

    /// A directory for files of the test, removed with this value.
    pub fn dir(&self) -> &Path {
        match self {
            Self::Own(control_plane) => control_plane.dir(),
            Self::Given(given) => given.directory.path(),
        }
    }

    /// kube's configuration for the administrator.
    pub fn config(&self) -> Config {
        match self {
            Self::Own(control_plane) => control_plane.config(),
            Self::Given(given) => given.config.clone(),
        }
    }

    /// A new client for the administrator, which belongs to the runtime in which it was made.
    ///
    /// # Errors
    /// When TLS or the way to log in cannot be set up.
    pub fn client(&self) -> anyhow::Result<Client> {
        kubeconfig::test_client(self.config())
    }

    /// `kubectl` as administrator, to be given its arguments.
    pub fn kubectl(&self) -> std_process::Command {
        match self {
            Self::Own(control_plane) => control_plane.kubectl(),
            Self::Given(given) => kubeconfig::kubectl(&given.kubectl, &given.kubeconfig, given.directory.path()),
        }
    }

    /// A file with a kubeconfig for a ServiceAccount, see [`ControlPlane::service_account_kubeconfig`].
    ///
    /// # Errors
    /// When there is no such ServiceAccount, or the administrator may not create tokens.
    pub async fn service_account_kubeconfig(&self, namespace: &str, name: &str) -> anyhow::Result<PathBuf> {
        match self {
            Self::Own(control_plane) => control_plane.service_account_kubeconfig(namespace, name).await,
            Self::Given(given) => {
                let content =
                    kubeconfig::for_service_account(&self.client()?, &given.kubeconfig, namespace, name).await?;
                let number = given.kubeconfigs.fetch_add(1, Ordering::Relaxed);
                given.directory.write(&format!("{namespace}.{name}.{number}.kubeconfig"), content)
            }
        }
    }
}

impl GivenCluster {
    async fn connect(content: Kubeconfig) -> anyhow::Result<Self> {
        let directory = Directory::temporary()?;
        // A file with all of it, since that is what can be passed on to kubectl and to an operator.
        let kubeconfig = directory.write("kubeconfig", serde_json::to_string_pretty(&content)?)?;
        let config = kubeconfig::config(&kubeconfig).await?;
        let client = Client::try_from(config.clone())?;
        client
            .apiserver_version()
            .await
            .with_context(|| format!("{} does not answer: is KUBECONFIG what it should be?", config.cluster_url))?;
        let kubectl = match in_path("kubectl") {
            Some(path) => path,
            None => build::bin_dir().await?.join("kubectl"),
        };
        Ok(Self { config, kubeconfig, kubectl, kubeconfigs: AtomicU32::new(0), directory })
    }
}

fn in_path(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|dir| dir.join(program))
        .find(|path| fs::metadata(path).is_ok_and(|file| file.is_file()))
}
