//! A cluster with a node and the operator on it, for people: what `make cluster` runs.

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;
use testbed::image::operator;
use testbed::{NodeCluster, NodeOptions};
use tokio::signal::unix::{SignalKind, signal};

use crate::stdin_closes;

const NAMESPACE: &str = "configmapsync-system";
const DEPLOYMENT: &str = "deployment/configmapsync-controller-manager";

#[derive(Args)]
pub(crate) struct Arguments {
    /// Where it keeps its files; must be empty or absent, and is removed at the end [default: a temporary directory]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The operator's image, as `make image` writes it [default: that of CONFIGMAPSYNC_IMAGE, or one of the
    /// program that is built beside this one]
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// Installs nothing
    #[arg(long)]
    bare: bool,
    /// The manifests to install
    #[arg(long, value_name = "FILE", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/install.yaml"))]
    manifests: PathBuf,
    /// Ends when standard input is closed, for scripts that hold the other end of a pipe
    #[arg(long)]
    until_stdin_closes: bool,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut closed = pin!(stdin_closes(arguments.until_stdin_closes));
    let cluster = tokio::select! {
        up = up(&arguments) => up?,
        _ = interrupt.recv() => return Ok(()),
        _ = terminate.recv() => return Ok(()),
        () = &mut closed => return Ok(()),
    };
    println!("{}", cluster.kubeconfig().display());
    eprintln!("{}", how_to_talk_to(&cluster));
    loop {
        tokio::select! {
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            () = &mut closed => return Ok(()),
            () = tokio::time::sleep(Duration::from_secs(1)) => cluster.check()?,
        }
    }
}

async fn up(arguments: &Arguments) -> anyhow::Result<NodeCluster> {
    if let Some(reason) = NodeCluster::missing() {
        bail!("a cluster with a node {reason}");
    }
    let begun = Instant::now();
    let said = |what: &str| eprintln!("testbed: {:5.1} s  {what}", begun.elapsed().as_secs_f64());
    let cluster = NodeCluster::start(NodeOptions { dir: arguments.dir.clone(), ..NodeOptions::default() }).await?;
    said("the node is Ready");
    if arguments.bare {
        return Ok(cluster);
    }
    let image = match &arguments.image {
        Some(image) => image.clone(),
        None => operator::to_run(&cluster.dir().join("operator.tar")).await?,
    };
    said("the operator's image is there");
    cluster.load_image(&image).await?;
    said("the node has the image");
    kubectl(&cluster, &["apply", "-f", path(&arguments.manifests)?]).await?;
    kubectl(&cluster, &["--namespace", NAMESPACE, "rollout", "status", DEPLOYMENT, "--timeout", "120s"]).await?;
    said("the operator is Available");
    Ok(cluster)
}

fn path(path: &Path) -> anyhow::Result<&str> {
    path.to_str().with_context(|| format!("{} is no name that kubectl takes", path.display()))
}

async fn kubectl(cluster: &NodeCluster, arguments: &[&str]) -> anyhow::Result<()> {
    let output = tokio::process::Command::from(cluster.kubectl()).args(arguments).kill_on_drop(true).output().await?;
    if !output.status.success() {
        bail!("kubectl {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

fn how_to_talk_to(cluster: &NodeCluster) -> String {
    format!(
        "\nIn another terminal:\n
  export KUBECONFIG={kubeconfig} PATH={bin}:$PATH
  kubectl apply -f deploy/samples/00-namespaces.yaml -f deploy/samples/01-quick-start.yaml
  kubectl get cms --all-namespaces
  kubectl -n {NAMESPACE} scale {DEPLOYMENT} --replicas=4
  kubectl -n {NAMESPACE} get pods
  kubectl -n {NAMESPACE} get leases
  kubectl -n {NAMESPACE} logs {DEPLOYMENT}
  kubectl -n {NAMESPACE} rollout restart {DEPLOYMENT}\n
Logs of the cluster's own programs are in {dir}. Ctrl-C ends it and removes everything.",
        kubeconfig = cluster.kubeconfig().display(),
        bin = cluster.bin_dir().display(),
        dir = cluster.dir().display(),
    )
}
