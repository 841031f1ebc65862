//! Whatever cluster there is: the one that `KUBECONFIG` names, or else one of our own.

use std::env;
use std::fs;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use kube::Client;
use kube::config::Kubeconfig;

use crate::access::Access;
use crate::directory::Directory;
use crate::{AuditLog, ControlPlane, NodeCluster, Options, build};

/// A cluster for tests, demo and load test. One talks to it by its [`Access`], whichever it is.
#[derive(Debug)]
pub enum Cluster {
    /// Started by us; everything can be done to it.
    Own(Box<ControlPlane>),
    /// Started by us, with a node that runs pods.
    Node(Arc<NodeCluster>),
    /// Someone's, named by `KUBECONFIG`: it can be used, but neither broken nor looked into.
    Given(Box<Access>),
}

impl Deref for Cluster {
    type Target = Access;

    fn deref(&self) -> &Access {
        match self {
            Self::Own(control_plane) => control_plane,
            Self::Node(cluster) => cluster,
            Self::Given(access) => access,
        }
    }
}

impl Cluster {
    /// The cluster of `KUBECONFIG` when that is set, which is said on standard error; else a new control plane.
    ///
    /// # Errors
    /// When `KUBECONFIG` names nothing usable, or as [`ControlPlane::start`].
    pub async fn connect_or_start(options: Options) -> anyhow::Result<Self> {
        match Self::given().await? {
            Some(cluster) => Ok(cluster),
            None => Ok(Self::Own(Box::new(ControlPlane::start(options).await?))),
        }
    }

    /// The cluster of `KUBECONFIG` when that is set, which is said on standard error.
    ///
    /// # Errors
    /// When it names nothing usable.
    pub async fn given() -> anyhow::Result<Option<Self>> {
        if env::var_os("KUBECONFIG").is_none_or(|value| value.is_empty()) {
            return Ok(None);
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
        Ok(Some(cluster))
    }

    /// Someone's cluster.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn connect(kubeconfig: Kubeconfig) -> anyhow::Result<Self> {
        let directory = Directory::temporary()?;
        // A file with all of it, since that is what can be passed on to kubectl and to an operator.
        let kubeconfig = directory.write("kubeconfig", serde_json::to_string_pretty(&kubeconfig)?)?;
        let kubectl = match in_path("kubectl") {
            Some(path) => path,
            None => build::bin_dir().await?.join("kubectl"),
        };
        let access = Access::to(directory, kubeconfig, kubectl).await?;
        let client = Client::try_from(access.config())?;
        client.apiserver_version().await.with_context(|| {
            format!("{} does not answer: is KUBECONFIG what it should be?", access.config().cluster_url)
        })?;
        Ok(Self::Given(Box::new(access)))
    }

    /// The control plane, for what can only be done to one's own: the audit log, stopping and pausing its programs.
    ///
    /// # Errors
    /// When the cluster is someone else's, or has a node; the message can be printed as the reason why a test is skipped.
    pub fn control_plane(&self) -> anyhow::Result<&ControlPlane> {
        match self {
            Self::Own(control_plane) => Ok(control_plane),
            Self::Node(_) => bail!("this needs a control plane without a node"),
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
        match self {
            Self::Node(cluster) => Ok(cluster.audit()),
            Self::Own(_) | Self::Given(_) => self.control_plane()?.audit(),
        }
    }
}

fn in_path(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|dir| dir.join(program))
        .find(|path| fs::metadata(path).is_ok_and(|file| file.is_file()))
}
