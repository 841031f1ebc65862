//! How one talks to a running cluster as its administrator, the same for each kind of cluster.

use std::path::{Path, PathBuf};
use std::process as std_process;
use std::sync::atomic::{AtomicU32, Ordering};

use kube::{Client, Config};

use crate::directory::Directory;
use crate::kubeconfig;

/// The administrator's way to a cluster, and the directory with the cluster's files, which goes with it.
#[derive(Debug)]
pub struct Access {
    config: Config,
    kubeconfig: PathBuf,
    bin_dir: &'static Path,
    /// Makes names of files differ.
    numbers: AtomicU32,
    directory: Directory,
}

impl Access {
    pub(crate) async fn new(directory: Directory, kubeconfig: PathBuf, bin_dir: &'static Path) -> anyhow::Result<Self> {
        let mut config = kubeconfig::config(&kubeconfig).await?;
        // It is on this machine, whatever HTTPS_PROXY says.
        config.proxy_url = None;
        Ok(Self { config, kubeconfig, bin_dir, numbers: AtomicU32::new(0), directory })
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

    /// Where the cluster keeps its files, among them a log of each program.
    pub fn dir(&self) -> &Path {
        self.directory.path()
    }

    /// The directory with `kubectl` and the other programs.
    pub fn bin_dir(&self) -> &'static Path {
        self.bin_dir
    }

    /// kube's configuration for the administrator, to make a client of one's own with.
    pub fn config(&self) -> Config {
        self.config.clone()
    }

    /// A new client for the administrator, named `testbed` in the audit log. It belongs to the runtime in which it was made,
    /// so tests that share a cluster, each with a runtime of its own, make one each.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn client(&self) -> anyhow::Result<Client> {
        kubeconfig::test_client(self.config())
    }

    /// `kubectl` as administrator, to be given its arguments.
    pub fn kubectl(&self) -> std_process::Command {
        kubeconfig::kubectl(&self.bin_dir.join("kubectl"), &self.kubeconfig, self.directory.path())
    }

    /// A file with a kubeconfig for a ServiceAccount, holding a token of its own that is valid for a day. It is removed with
    /// the cluster.
    ///
    /// # Errors
    /// When there is no such ServiceAccount.
    pub async fn service_account_kubeconfig(&self, namespace: &str, name: &str) -> anyhow::Result<PathBuf> {
        let content = kubeconfig::for_service_account(&self.client()?, &self.kubeconfig, namespace, name).await?;
        self.directory.write(&format!("{namespace}.{name}.{}.kubeconfig", self.number()), content)
    }
}
