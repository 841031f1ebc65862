//! The replicas as pods of the shipped Deployment, on a node of the test bed's own.

use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use testbed::NodeCluster;

use crate::fleet::{DEPLOYMENT, NAMESPACE, Page, Shards};

/// Pods take 10 s to be ready on an idle machine.
const WITHIN: Duration = Duration::from_secs(180);

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The pods.
pub(super) struct Pods {
    cluster: Arc<NodeCluster>,
    client: Client,
    pods: Api<Pod>,
    leases: Api<Lease>,
    names: Vec<String>,
}

impl Pods {
    /// Runs `deploy/install.sh`; the node has the image. Returns what that said and how long it took.
    pub(super) async fn install(cluster: Arc<NodeCluster>, client: Client) -> anyhow::Result<(Self, String, Duration)> {
        let mut script = tokio::process::Command::from(cluster.command("deploy/install.sh"));
        script.current_dir(ROOT).stdin(Stdio::null()).kill_on_drop(true);
        let begun = Instant::now();
        let output = script.output().await.context("deploy/install.sh cannot be run")?;
        if !output.status.success() {
            bail!("deploy/install.sh failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let took = begun.elapsed();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let (pods, leases) = (Api::namespaced(client.clone(), NAMESPACE), Api::namespaced(client.clone(), NAMESPACE));
        let mut this = Self { cluster, client, pods, leases, names: Vec::new() };
        this.look().await?;
        Ok((this, said, took))
    }

    /// `kubectl scale`, and waits until as many pods are there and ready.
    pub(super) async fn scale(&mut self, count: usize) -> anyhow::Result<()> {
        let mut kubectl = tokio::process::Command::from(self.cluster.kubectl());
        kubectl.args(scale(count).split(' ').skip(1)).kill_on_drop(true);
        let output = kubectl.output().await?;
        if !output.status.success() {
            bail!("`{}` failed: {}", scale(count), String::from_utf8_lossy(&output.stderr).trim());
        }
        let deadline = Instant::now() + WITHIN;
        while !(self.look().await? && self.names.len() == count) {
            self.check()?;
            if Instant::now() > deadline {
                bail!("after {} s there are not {count} ready pods, but: {:?}", WITHIN.as_secs(), self.names);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// Notes which pods are there, in the order in which they were made; whether all of them are ready.
    async fn look(&mut self) -> anyhow::Result<bool> {
        let mut pods = self.pods.list(&ListParams::default()).await.context("cannot list the pods")?.items;
        pods.sort_by_key(|pod| (pod.creation_timestamp(), pod.name_any()));
        self.names = pods.iter().map(ResourceExt::name_any).collect();
        Ok(pods.iter().all(is_ready))
    }

    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    pub(super) async fn shards(&self) -> anyhow::Result<Shards> {
        Shards::read(&self.leases).await
    }

    /// Kills the pod's program; the kubelet starts it again.
    pub(super) async fn crash(&self, name: &str) -> anyhow::Result<()> {
        let pod = self.pods.get(name).await?;
        let statuses = pod.status.and_then(|status| status.container_statuses).unwrap_or_default();
        let id = statuses.into_iter().find_map(|status| status.container_id);
        let id = id.with_context(|| format!("the pod {name} has no container"))?;
        self.cluster.crash(id.strip_prefix("containerd://").unwrap_or(&id))
    }

    /// Its metrics now, by way of the API server.
    pub(super) async fn metrics(&self, name: &str) -> anyhow::Result<Page> {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{name}:8080/proxy/metrics");
        let request = http::Request::get(path).body(Vec::new())?;
        let page = self.client.request_text(request).await;
        Ok(Page::parse(&page.with_context(|| format!("the pod {name} does not tell its metrics"))?))
    }

    pub(super) fn check(&self) -> anyhow::Result<()> {
        self.cluster.check()
    }
}

/// As one would type it.
pub(super) fn scale(count: usize) -> String {
    format!("kubectl scale -n {NAMESPACE} --replicas={count} deployment/{DEPLOYMENT}")
}

fn is_ready(pod: &Pod) -> bool {
    let mut conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
