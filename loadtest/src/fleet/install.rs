//! What has to be in a cluster before replicas can run: `deploy/install.yaml` without what runs pods.

use std::io::Write as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use configmapsync_operator::api::{ClusterConfigMapSync, ConfigMapSync};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::ListParams;
use kube::{Api, Client};
use testbed::Cluster;

/// The operator's namespace.
pub const NAMESPACE: &str = "configmapsync-system";
/// The account that the operator runs under.
pub const SERVICE_ACCOUNT: &str = "configmapsync-controller-manager";
/// From a definition's coming in to its being served.
const SERVED_WITHIN: Duration = Duration::from_secs(30);
/// The operator's Deployment.
pub const DEPLOYMENT: &str = "configmapsync-controller-manager";

const MANIFESTS: &str = include_str!("../../../deploy/install.yaml");

/// Fails when the cluster has an operator at work: two fleets would share the shards, and nothing measured would be
/// ours.
pub(super) async fn no_other_operator(client: &Client) -> anyhow::Result<()> {
    let deployments = Api::<Deployment>::namespaced(client.clone(), NAMESPACE);
    let found = deployments.get_opt(DEPLOYMENT).await.context("cannot ask for the operator's Deployment")?;
    let replicas = found.and_then(|deployment| deployment.spec).map_or(0, |spec| spec.replicas.unwrap_or(1));
    if replicas > 0 {
        bail!(
            "an operator runs in this cluster already: scale it down first with \
             `kubectl scale -n {NAMESPACE} deployment {DEPLOYMENT} --replicas=0`"
        );
    }
    Ok(())
}

/// Applies the definitions, the namespace, the ServiceAccount and its rules.
pub(super) async fn manifests(cluster: &Cluster) -> anyhow::Result<()> {
    let mut kubectl = cluster.kubectl();
    let apply = move || -> anyhow::Result<()> {
        kubectl.args(["apply", "--server-side", "--force-conflicts", "-f", "-"]);
        let mut child = kubectl.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        // Dropped at the end of the statement, so that kubectl sees the end.
        child.stdin.take().context("kubectl has no standard input")?.write_all(without_pods().as_bytes())?;
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!("kubectl apply: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    };
    tokio::task::spawn_blocking(apply).await?.context("the manifests cannot be applied")?;
    Ok(())
}

/// Waits until both kinds can be listed: for some moments after a definition is established, the API server answers that it
/// is still making its store ready.
pub(super) async fn until_served(client: &Client) -> anyhow::Result<()> {
    let (syncs, cluster_syncs) = (Api::<ConfigMapSync>::all(client.clone()), Api::all(client.clone()));
    let deadline = Instant::now() + SERVED_WITHIN;
    until_listed(&syncs, deadline).await.context("ConfigMapSyncs are not served")?;
    until_listed::<ClusterConfigMapSync>(&cluster_syncs, deadline).await.context("ClusterConfigMapSyncs are not served")
}

async fn until_listed<K>(objects: &Api<K>, deadline: Instant) -> kube::Result<()>
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    loop {
        match objects.list_metadata(&ListParams::default().limit(1)).await {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// The manifests but for the Deployment and what counts its pods.
fn without_pods() -> String {
    let of_pods = |document: &&str| {
        !document.lines().any(|line| matches!(line.trim_end(), "kind: Deployment" | "kind: PodDisruptionBudget"))
    };
    MANIFESTS.split("\n---\n").filter(of_pods).collect::<Vec<_>>().join("\n---\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_pods_is_left_out_and_nothing_else() {
        let kinds = |text: &str| -> Vec<String> {
            text.lines().filter_map(|line| line.strip_prefix("kind: ")).map(str::to_owned).collect()
        };
        let mut expected = kinds(MANIFESTS);
        expected.retain(|kind| kind != "Deployment" && kind != "PodDisruptionBudget");
        assert_eq!(kinds(&without_pods()), expected);
        assert_eq!(kinds(MANIFESTS).len() - expected.len(), 2);
        for kind in ["CustomResourceDefinition", "Namespace", "ServiceAccount", "ClusterRole"] {
            assert!(expected.iter().any(|one| one == kind), "{kind} in {expected:?}");
        }
    }
}
