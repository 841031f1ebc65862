//! What the story is played on: the cluster, the replicas, and what was made in the cluster and has to go again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use configmapsync_operator::api::configmapsync::ConfigMapSync;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client, ResourceExt as _};
use testbed::image::operator;
use testbed::{Cluster, ControlPlane, NodeCluster, NodeOptions, Options};

use super::Arguments;
use super::crew::{Crew, Players};
use super::pods::{Pods, scale};
use crate::fleet::{DEPLOYMENT, Fleet, NAMESPACE, Settings, Shards};
use crate::screen::{BLOCK, Screen, time};
use crate::{objects, writers};

/// The namespace of the source that everyone gets, and of its syncs.
pub(super) const SOURCE_NAMESPACE: &str = "demo";
/// The one object that feeds all namespaces with a label; also its source, and its copies.
pub(super) const OBJECT: &str = "everyones-settings";
/// That label.
pub(super) const SELECTED: (&str, &str) = ("demo.kapendra.com/settings", "everyones");
/// Tells our namespaces from others.
const OWNER: &str = "configmapsync-demo";
/// The issue's own example.
pub(super) const SAMPLE: &str = "deploy/samples/01-quick-start.yaml";

/// How long shards outlive a dead replica, as shipped.
const SHIPPED_LEASE: Duration = Duration::from_secs(10);

/// The stage.
pub(super) struct Stage {
    pub(super) arguments: Arguments,
    /// How long shards outlive a dead replica.
    pub(super) lease_duration: Duration,
    pub(super) screen: Screen,
    pub(super) client: Client,
    pub(super) crew: Crew,
    // After the replicas, which talks to it: fields are dropped in this order.
    pub(super) cluster: Cluster,
}

impl Stage {
    /// The map of shards, and how many each replica holds.
    pub(super) fn show_shards(&self, shards: &Shards) {
        self.screen.block(&self.crew.map(shards, &[]));
        self.screen.block(&self.crew.counts(shards));
    }

    /// Brings the cluster up and installs what the operator needs. Of processes none runs yet; pods do.
    pub(super) async fn set(arguments: Arguments, logs: PathBuf) -> anyhow::Result<Self> {
        let screen = Screen::new();
        let cluster = cluster(&arguments, &screen, &logs.with_file_name("demo-image.tar")).await?;
        let client = writers::client(cluster.config())?;
        let version = client.apiserver_version().await.context("the API server does not answer")?.git_version;
        let (what, time) = (format!("Kubernetes {version}"), time(screen.elapsed()));
        screen.fact(&match &cluster {
            Cluster::Own(_) => format!(
                "{what} is up after {time}: etcd, kube-apiserver and kube-controller-manager, the real ones, as plain \
                 processes."
            ),
            Cluster::Node(_) => format!(
                "{what} is up after {time}: the real control plane, and a node that runs containers, with kubelet, \
                 containerd and kube-proxy."
            ),
            Cluster::Given(_) => format!("{what} at {}, as KUBECONFIG says.", cluster.config().cluster_url),
        });
        let (players, lease_duration) = match &cluster {
            Cluster::Node(node) => (pods(Arc::clone(node), &client, &screen).await?, SHIPPED_LEASE),
            Cluster::Own(_) | Cluster::Given(_) => {
                let lease_duration = Duration::from_secs(arguments.lease_duration.into());
                let settings = Settings { lease_duration, logs, arguments: Vec::new(), limits: None };
                (Players::Processes(Fleet::install(&cluster, client.clone(), settings).await?), lease_duration)
            }
        };
        let stage = Self { arguments, lease_duration, screen, client, crew: Crew::new(players), cluster };
        stage.nothing_of_ours_there().await?;
        if stage.crew.processes().is_some() {
            stage.screen.fact(
                "ConfigMapSync is defined there, and the operator's ServiceAccount has the rights that are shipped, no \
                 more.",
            );
        }
        Ok(stage)
    }

    /// The story would tell of someone else's objects, and delete them.
    async fn nothing_of_ours_there(&self) -> anyhow::Result<()> {
        let syncs = self.syncs().list(&ListParams::default()).await?.items.len();
        let namespaces = self.our_namespaces().await?.len();
        if syncs + namespaces > 0 {
            bail!(
                "the cluster has {syncs} ConfigMapSyncs and {namespaces} namespaces of an earlier demo: \
                 the demo wants a cluster without them (unset KUBECONFIG to have one started)"
            );
        }
        Ok(())
    }

    /// ConfigMapSyncs of all namespaces.
    pub(super) fn syncs(&self) -> Api<ConfigMapSync> {
        Api::all(self.client.clone())
    }

    /// The names of the namespaces that the one source is copied into.
    pub(super) fn destinations(&self) -> Vec<String> {
        (1..=self.arguments.namespaces).map(|number| format!("demo-{number:04}")).collect()
    }

    /// A namespace of ours.
    pub(super) fn namespace(&self, name: &str) -> Namespace {
        objects::namespace(name, OWNER)
    }

    async fn our_namespaces(&self) -> anyhow::Result<Vec<String>> {
        let ours = ListParams::default().labels(&format!("{}={OWNER}", objects::MADE_BY));
        let found = Api::<Namespace>::all(self.client.clone()).list_metadata(&ours).await?;
        Ok(found.items.iter().map(|namespace| namespace.name_any()).collect())
    }

    /// Runs kubectl as the administrator, the way the command line shows it, and returns what it prints.
    pub(super) async fn kubectl(&self, arguments: &str) -> anyhow::Result<String> {
        let mut command = self.cluster.kubectl();
        command.args(arguments.split_whitespace()).current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
        let output = tokio::task::spawn_blocking(move || command.output()).await??;
        if !output.status.success() {
            bail!("`kubectl {arguments}` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs kubectl, and shows what is typed and what comes back.
    pub(super) async fn show_kubectl(&self, arguments: &str) -> anyhow::Result<()> {
        self.screen.command(&format!("kubectl {arguments}"));
        let output = self.kubectl(arguments).await?;
        self.screen.block(&narrow(&output));
        Ok(())
    }

    /// Says how to talk to what is left standing.
    pub(super) fn explain(&self) {
        let screen = &self.screen;
        screen.chapter("Yours until Ctrl-C");
        screen.say("In another terminal:");
        screen.block("");
        let mut lines = format!("export KUBECONFIG={}\n", self.cluster.kubeconfig().display());
        if !matches!(self.cluster, Cluster::Given(_)) {
            lines.push_str(&format!("export PATH={}:$PATH\n", self.cluster.bin_dir().display()));
        }
        lines.push_str(&format!(
            "kubectl get configmapsyncs -A\n\
             kubectl get clusterconfigmapsyncs\n\
             kubectl get leases -n {NAMESPACE}\n\
             kubectl edit configmap shared-settings -n {SOURCE_NAMESPACE}\n\
             kubectl get configmap shared-settings -n demo-0001 -o yaml\n\
             kubectl delete configmapsyncs --all -n {SOURCE_NAMESPACE}\n\
             kubectl delete clusterconfigmapsyncs --all\n",
        ));
        if let Some(fleet) = self.crew.processes() {
            for replica in fleet.replicas() {
                lines.push_str(&format!(
                    "curl -s localhost:{}/metrics | grep ^configmapsync   # {}\n",
                    replica.metrics_port(),
                    replica.name()
                ));
            }
            lines.push_str(&format!("tail -f {}/*.log\n", fleet.logs().display()));
        } else {
            lines.push_str(&format!(
                "kubectl get pods -n {NAMESPACE}\n\
                 {}\n\
                 kubectl logs -f deployment/{DEPLOYMENT} -n {NAMESPACE}\n\
                 kubectl port-forward deployment/{DEPLOYMENT} -n {NAMESPACE} 8080\n\
                 deploy/install.sh --uninstall\n",
                scale(2)
            ));
        }
        // As they are: a path that is cut is of no use.
        for line in lines.lines() {
            screen.verbatim(line);
        }
    }

    /// Ends the replicas; in someone else's cluster also what the demo made there, but for the definition and the RBAC rules.
    pub(super) async fn clear(&mut self) -> anyhow::Result<()> {
        if !matches!(self.cluster, Cluster::Given(_)) {
            return Ok(());
        }
        self.screen.progress("deleting what the demo made in this cluster");
        if !self.crew.names().is_empty() {
            self.kubectl(&format!("delete --ignore-not-found clusterconfigmapsync {OBJECT}")).await?;
            self.delete_all_syncs().await?;
        }
        let _ = self.kubectl(&format!("delete --ignore-not-found -f {SAMPLE}")).await;
        self.crew.terminate().await?;
        let namespaces = Api::<Namespace>::all(self.client.clone());
        for name in self.our_namespaces().await? {
            namespaces.delete(&name, &DeleteParams::background()).await?;
        }
        self.screen.say(
            "What the demo made is deleted, but for the definition and the operator's account: \
             `make undeploy uninstall` removes those.",
        );
        Ok(())
    }

    /// Deletes every sync of the demo's namespace and waits until the operator has let them go.
    async fn delete_all_syncs(&self) -> anyhow::Result<()> {
        let syncs = Api::<ConfigMapSync>::namespaced(self.client.clone(), SOURCE_NAMESPACE);
        syncs.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
        for _ in 0..600 {
            if syncs.list_metadata(&ListParams::default().limit(1)).await?.items.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bail!("syncs of the demo are still there after a minute: `kubectl get configmapsyncs -n {SOURCE_NAMESPACE}`")
    }
}

/// The cluster that `KUBECONFIG` names, or one of our own: with a node where one can stand. The node has the image, which is written
/// to `archive` if no other is named.
async fn cluster(arguments: &Arguments, screen: &Screen, archive: &Path) -> anyhow::Result<Cluster> {
    let given = Cluster::given().await?;
    let why = match &given {
        Some(_) => Some("the cluster is the one of KUBECONFIG".to_owned()),
        None if arguments.processes => Some("--processes says so".to_owned()),
        None => NodeCluster::missing().map(|reason| format!("a node, which runs pods, {reason}")),
    };
    // First of all: where it has to be built, the compiler has much to say.
    let image = if why.is_none() { Some(operator::to_run(archive).await?) } else { None };
    screen.chapter("A cluster");
    if let Some(why) = &why {
        screen.say(&format!("Replicas are processes of this machine: {why}."));
    }
    screen.progress("starting its programs");
    Ok(match (given, image) {
        (Some(given), _) => given,
        (None, Some(image)) => {
            let node = NodeCluster::start(NodeOptions::default()).await?;
            node.load_image(&image).await?;
            Cluster::Node(Arc::new(node))
        }
        (None, None) => Cluster::Own(Box::new(ControlPlane::start(Options::default()).await?)),
    })
}

/// The pods, installed as a user does it.
async fn pods(node: Arc<NodeCluster>, client: &Client, screen: &Screen) -> anyhow::Result<Players> {
    screen.chapter("The operator is installed");
    screen.command("deploy/install.sh");
    screen.progress("waiting for the pods");
    let (pods, said, took) = Pods::install(node, client.clone()).await?;
    screen.block(&said);
    screen.fact(&format!(
        "Installed after {}: {} pods from the shipped manifests and this checkout's image.",
        time(took),
        pods.names().len()
    ));
    Ok(Players::Pods(pods))
}

/// Tables of kubectl have three spaces between columns; with two, or one, they may fit.
fn narrow(output: &str) -> String {
    if !output.starts_with("NAME ") {
        return output.to_owned();
    }
    let rows: Vec<Vec<&str>> = output.lines().map(split_columns).collect();
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.len()).max();
    let widths: Vec<usize> = (0..).map_while(width).collect();
    let gap = if widths.iter().map(|width| width + 2).sum::<usize>() <= BLOCK + 2 { 2 } else { 1 };
    let line = |row: &Vec<&str>| {
        row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<0$}", width + gap)).collect::<String>()
    };
    rows.iter().map(|row| line(row).trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// Cells are separated by at least two spaces: a column's title may have one in it.
fn split_columns(line: &str) -> Vec<&str> {
    line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_become_narrow() {
        let table = "NAME            READY   LAST SYNC\nmy-first-sync   True    1s\n";
        assert_eq!(narrow(table), "NAME           READY  LAST SYNC\nmy-first-sync  True   1s");
        assert_eq!(narrow("a   b\n"), "a   b\n");
    }
}
