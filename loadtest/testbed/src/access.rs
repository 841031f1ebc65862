//! How one talks to a running cluster as its administrator, the same for each kind of cluster.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, iter, process as std_process};

use anyhow::Context as _;
use kube::{Client, Config};

use crate::directory::Directory;
use crate::kubeconfig;

/// The administrator's way to a cluster, and the directory with the cluster's files, which goes with it.
#[derive(Debug)]
pub struct Access {
    config: Config,
    kubeconfig: PathBuf,
    kubectl: PathBuf,
    /// Makes names of files differ.
    numbers: AtomicU32,
    directory: Directory,
}

impl Access {
    /// To a cluster of our own, with the programs of `bin_dir`.
    pub(crate) async fn new(directory: Directory, kubeconfig: PathBuf, bin_dir: &Path) -> anyhow::Result<Self> {
        let mut access = Self::to(directory, kubeconfig, bin_dir.join("kubectl")).await?;
        // It is on this machine, whatever HTTPS_PROXY says.
        access.config.proxy_url = None;
        Ok(access)
    }

    /// To any cluster.
    pub(crate) async fn to(directory: Directory, kubeconfig: PathBuf, kubectl: PathBuf) -> anyhow::Result<Self> {
        let config = kubeconfig::config(&kubeconfig).await?;
        Ok(Self { config, kubeconfig, kubectl, numbers: AtomicU32::new(0), directory })
    }

    pub(crate) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// A number that no other file of this cluster has in its name.
    pub(crate) fn number(&self) -> u32 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// The administrator's kubeconfig, for programs on this machine.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// A directory for files of the test, removed with this value. A cluster of our own keeps its files there, among them a
    /// log of each program.
    pub fn dir(&self) -> &Path {
        self.directory.path()
    }

    /// The directory with `kubectl`, to be put on the `PATH`.
    pub fn bin_dir(&self) -> &Path {
        self.kubectl.parent().unwrap_or(Path::new("/"))
    }

    /// kube's configuration for the administrator, to make a client of one's own with.
    pub fn config(&self) -> Config {
        self.config.clone()
    }

    /// A new client for the administrator, named `testbed` in the audit log. It belongs to the runtime in which it was made,
    /// so tests that share a cluster, each with a runtime of its own, make one each.
    ///
    /// # Errors
    /// When TLS or the way to log in cannot be set up.
    pub fn client(&self) -> anyhow::Result<Client> {
        kubeconfig::test_client(self.config())
    }

    /// The version of its Kubernetes, major and minor.
    ///
    /// # Errors
    /// When the API server does not answer, or not with numbers.
    pub async fn version(&self) -> anyhow::Result<(u32, u32)> {
        let told = self.client()?.apiserver_version().await?;
        // Some providers have it that the minor one is "30+".
        let numbers = [told.major.parse(), told.minor.trim_end_matches('+').parse()];
        match numbers {
            [Ok(major), Ok(minor)] => Ok((major, minor)),
            [Err(error), _] | [_, Err(error)] => Err(error).context(format!("{} is no version", told.git_version)),
        }
    }

    /// `kubectl` as administrator, to be given its arguments.
    pub fn kubectl(&self) -> std_process::Command {
        kubeconfig::kubectl(&self.kubectl, &self.kubeconfig, self.directory.path())
    }

    /// A program that runs `kubectl`, as administrator: it finds the cluster's first on its `PATH`.
    pub fn command(&self, program: &str) -> std_process::Command {
        let mut command = kubeconfig::kubectl(Path::new(program), &self.kubeconfig, self.directory.path());
        let path = env::var_os("PATH").unwrap_or_default();
        let path = iter::once(self.bin_dir().to_owned()).chain(env::split_paths(&path));
        // A directory whose name cannot be in PATH is not found there, no worse than without it.
        if let Ok(path) = env::join_paths(path) {
            command.env("PATH", path);
        }
        command.env_remove("KUBECTL");
        command
    }

    /// A file with a kubeconfig for a ServiceAccount, holding a token of its own that is valid for a day. It is removed with
    /// the cluster.
    ///
    /// # Errors
    /// When there is no such ServiceAccount, or the administrator may not create tokens.
    pub async fn service_account_kubeconfig(&self, namespace: &str, name: &str) -> anyhow::Result<PathBuf> {
        let content = kubeconfig::for_service_account(&self.client()?, &self.kubeconfig, namespace, name).await?;
        self.directory.write(&format!("{namespace}.{name}.{}.kubeconfig", self.number()), content)
    }
}
