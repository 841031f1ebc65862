//! The cluster with the operator on it, which all tests share, one after the other.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kube::Client;
use testbed::image::operator;
use testbed::{NodeCluster, NodeOptions};
use tokio::sync::{Mutex, MutexGuard, OnceCell};

use crate::pods::Pods;

/// Where the operator runs.
pub const SYSTEM: &str = "configmapsync-system";
/// The Deployment as kubectl names it.
pub const DEPLOYMENT: &str = "deployment/configmapsync-controller-manager";
/// What is shipped.
pub const MANIFESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/install.yaml");
/// As many replicas as are shipped.
pub const SHIPPED: usize = 2;

static SHARED: OnceCell<NodeCluster> = OnceCell::const_new();
static TURN: Mutex<()> = Mutex::const_new(());

/// Says something even where the test passes, whose output the test runner would keep to itself.
pub fn say(what: impl std::fmt::Display) {
    std::io::stderr().write_all(format!("{what}\n").as_bytes()).unwrap();
}

/// One test's turn on the cluster.
pub struct Installed {
    /// The cluster.
    pub cluster: &'static NodeCluster,
    /// The administrator's client.
    pub client: Client,
    /// What becomes of the operator's pods during this turn.
    pub pods: Pods,
    _turn: MutexGuard<'static, ()>,
}

impl Installed {
    /// Waits for this test's turn; `None`, said on standard error, where no node can stand.
    pub async fn turn(test: &str) -> Option<Self> {
        Self::on(test, async || SHARED.get_or_init(install).await).await
    }

    /// The same on a cluster that no other test gets; it goes when the last test is done.
    pub async fn alone(test: &str) -> Option<Self> {
        Self::on(test, async || &*Box::leak(Box::new(install().await))).await
    }

    async fn on(test: &str, cluster: impl AsyncFnOnce() -> &'static NodeCluster) -> Option<Self> {
        if let Some(reason) = NodeCluster::missing() {
            say(format_args!("SKIPPED {test}: {reason}"));
            return None;
        }
        let turn = TURN.lock().await;
        let cluster = cluster().await;
        let client = cluster.client().unwrap();
        let pods = Pods::watch(client.clone()).await;
        Some(Self { cluster, client, pods, _turn: turn })
    }

    /// kubectl as administrator; what it complains of is an error.
    pub async fn try_kubectl(&self, args: &[&str]) -> Result<String, String> {
        kubectl(self.cluster, args).await
    }

    /// kubectl as administrator.
    #[track_caller]
    pub fn kubectl(&self, args: &[&str]) -> impl Future<Output = String> {
        let place = std::panic::Location::caller();
        async move { self.try_kubectl(args).await.unwrap_or_else(|error| panic!("{place}: kubectl {args:?}: {error}")) }
    }

    /// `kubectl scale`.
    pub async fn scale(&self, replicas: usize) {
        self.kubectl(&["-n", SYSTEM, "scale", DEPLOYMENT, &format!("--replicas={replicas}")]).await;
    }

    /// Waits until a rollout or a scaling is over.
    pub async fn until_rolled_out(&self) {
        self.kubectl(&["-n", SYSTEM, "rollout", "status", DEPLOYMENT, "--timeout=180s"]).await;
    }

    /// The end of every turn: as many replicas as are shipped, and no pod has fared badly.
    pub async fn end(self) {
        self.scale(SHIPPED).await;
        self.until_rolled_out().await;
        self.pods.until(SHIPPED).await;
        self.pods.check();
        self.cluster.check().unwrap();
    }
}

async fn install() -> NodeCluster {
    let begun = Instant::now();
    let cluster = NodeCluster::start(NodeOptions::default()).await.unwrap();
    say(format_args!("the node was Ready after {:.1?}", begun.elapsed()));
    cluster.load_image(&image().await).await.unwrap();
    let begun = Instant::now();
    kubectl(&cluster, &["apply", "-f", MANIFESTS]).await.unwrap();
    kubectl(&cluster, &["-n", SYSTEM, "wait", "--for=condition=Available", DEPLOYMENT, "--timeout=180s"])
        .await
        .unwrap();
    say(format_args!("from `kubectl apply` to Available: {:.1?}", begun.elapsed()));
    cluster
}

/// The image to test: the one that is named, or else one of the program that was built with these tests.
pub async fn image() -> PathBuf {
    static BUILT: OnceCell<PathBuf> = OnceCell::const_new();
    let archive = Path::new(env!("CARGO_TARGET_TMPDIR")).join("operator.tar");
    let build = async || operator::to_run(&archive).await.unwrap();
    BUILT.get_or_init(build).await.clone()
}

async fn kubectl(cluster: &NodeCluster, args: &[&str]) -> Result<String, String> {
    let command = tokio::process::Command::from(cluster.kubectl()).args(args).kill_on_drop(true).output();
    let output =
        tokio::time::timeout(Duration::from_secs(240), command).await.map_err(|_| "no end within 240 s")?.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}
