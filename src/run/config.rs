//! What a replica is told at its start: checked values only, so that nothing below has to doubt them.
//!
//! The edge builds this from flags and environment; tests and the demo build it by hand.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

/// The shortest lease that is accepted: below it a heartbeat has no room for one slow request.
pub const LEASE_DURATION_MIN: Duration = Duration::from_secs(2);
/// The longest lease that is accepted: a crashed replica's shards stand still for about that long.
pub const LEASE_DURATION_MAX: Duration = Duration::from_secs(600);

/// The settings of one replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// A kubeconfig file named on the command line; `None`: `KUBECONFIG`, `~/.kube/config`, or the Pod's own account.
    pub kubeconfig: Option<PathBuf>,
    /// The namespace that holds the Leases of sessions and shards; the same for the whole fleet.
    pub lease_namespace: String,
    /// The readable part of this replica's identity, a DNS subdomain of at most 200 characters. Whoever opens a
    /// session adds a random end, so that a process that comes back under its old name is a new session.
    pub identity: String,
    /// How long a session lives after its last renewal.
    pub lease_duration: Duration,
    /// The most writes a second this replica sends; `None`: no cap.
    pub write_qps: Option<NonZeroU32>,
    /// The most writes in flight at once; the adaptive limiter stays at or below it.
    pub max_in_flight: NonZeroUsize,
    /// Say what would be written and write nothing.
    pub observe_only: bool,
    /// How long the way down may take after the first signal: requests in flight, then releasing the shards.
    pub grace_period: Duration,
}

impl Config {
    /// Where the API server is and who we are there.
    ///
    /// # Errors
    /// When the named kubeconfig cannot be read or parsed, or when neither a kubeconfig nor a Pod's account is found.
    pub async fn cluster(&self) -> Result<kube::Config, ClusterError> {
        let Some(path) = &self.kubeconfig else {
            return kube::Config::infer().await.map_err(|source| ClusterError::Infer { source: Box::new(source) });
        };
        let broken = |source| ClusterError::Kubeconfig { path: path.clone(), source: Box::new(source) };
        let file = kube::config::Kubeconfig::read_from(path).map_err(broken)?;
        kube::Config::from_custom_kubeconfig(file, &kube::config::KubeConfigOptions::default()).await.map_err(broken)
    }
}

/// Why no cluster could be found.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The file of `--kubeconfig` is of no use.
    #[error("the kubeconfig {} cannot be used: {source}", path.display())]
    Kubeconfig {
        /// The file that was named.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<kube::config::KubeconfigError>,
    },
    /// Nothing was named and nothing was found.
    #[error("no cluster found; set KUBECONFIG, or run in a Pod with a service account: {source}")]
    Infer {
        /// What was tried, in kube's words.
        source: Box<kube::config::InferConfigError>,
    },
}
