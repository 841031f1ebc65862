//! A whole cluster on one machine: a control plane and a node that runs containers, in namespaces of their own.

mod cgroups;
mod files;
mod gate;
mod machine;
mod requirements;

use std::ffi::OsString;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process as std_process;
use std::time::{Duration, Instant};
use std::{env, fs};

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::{Node, ServiceAccount};
use kube::{Api, Client};
use serde_json::json;
use tokio::time::sleep;

use self::gate::Gate;
use self::machine::{Machine, until};
use crate::access::Access;
use crate::audit::AuditLog;
use crate::cgroups::ControlGroups;
use crate::directory::Directory;
use crate::image::Image;
use crate::process::Command;
use crate::programs::{Component, Layout};
use crate::startup::{self, READY_WITHIN};
use crate::{build, keys, kubeconfig, programs};

/// In a network of its own the API server can have its usual port.
const API_SERVER_PORT: u16 = 6443;

/// How a cluster with a node is to be.
#[derive(Clone, Debug, Default)]
pub struct NodeOptions {
    /// More flags for kube-apiserver, each as `--name=value`.
    pub api_server_flags: Vec<String>,
    /// Where it keeps its files; empty or absent before, removed after. By default a new temporary directory.
    pub dir: Option<PathBuf>,
}

/// A running cluster with one node, named `node`. Several can stand side by side.
///
/// Dropping it ends everything in its namespaces and removes its directory and cgroups. One that is never dropped (in a
/// `static`, or after SIGKILL) goes with the process, see [`crate::process`].
///
/// Pods reach each other and Services; nothing in it reaches the host or the network, and from the host only the API server
/// can be reached: for pods use [`NodeCluster::enter`] or `kubectl port-forward`. There is no DNS, no NetworkPolicy and no
/// controller that would notice a dead node.
#[derive(Debug)]
pub struct NodeCluster {
    // In the order in which they are to go.
    gate: Gate,
    machine: Machine,
    _groups: ControlGroups,
    audit: AuditLog,
    node_bin_dir: &'static Path,
    access: Access,
}

impl Deref for NodeCluster {
    type Target = Access;

    fn deref(&self) -> &Access {
        &self.access
    }
}

impl NodeCluster {
    /// Why no node can stand on this machine, in one line, if none can. A test that needs one prints this and is skipped.
    pub fn missing() -> Option<String> {
        requirements::missing()
    }

    /// Starts one and waits until the node is Ready and the API server can be reached by pods. What it runs is built first
    /// where that has not been done.
    ///
    /// # Errors
    /// When something is missing that it needs, or a program ends instead of serving; then the end of its log is in the message.
    pub async fn start(options: NodeOptions) -> anyhow::Result<Self> {
        if let Some(reason) = Self::missing() {
            bail!("a node {reason}");
        }
        let (bin_dir, node_bin_dir) = (build::bin_dir().await?, build::node_bin_dir().await?);
        let directory = match &options.dir {
            Some(dir) => Directory::at(dir)?,
            None => Directory::temporary()?,
        };
        let cgroup = format!("testbed-{}-{:08x}", std_process::id(), u32::from_ne_bytes(keys::random()?));
        let groups = cgroups::create(&cgroup)?;
        let version = build::version(bin_dir)?;
        files::write(&directory, node_bin_dir, &cgroup, version)?;
        let tokens = write_credentials(&directory)?;
        let audit = startup::write_audit_files(&directory, &[])?;

        let search = search_path(&[node_bin_dir, bin_dir])?;
        let machine =
            Machine::start(&directory, &search, &commands(bin_dir, node_bin_dir, &directory, &options)?).await?;
        for component in [Component::Containerd, Component::Etcd, Component::ApiServer] {
            machine.run(component).await?;
        }
        let certificate = startup::until_certificate(&directory, || machine.check()).await?;
        let gate = Gate::open(machine.init(), API_SERVER_PORT)?;
        let kubeconfig = write_kubeconfigs(&directory, &certificate, gate.port(), &tokens)?;
        let access = Access::new(directory, kubeconfig, bin_dir).await?;
        let started = Self { gate, machine, _groups: groups, audit, node_bin_dir, access };
        started.bring_up().await?;
        Ok(started)
    }

    async fn bring_up(&self) -> anyhow::Result<()> {
        let pause = self.dir().join("pause.tar");
        Image::of_program(files::PAUSE, &self.pause())?.write(&pause)?;
        self.load_image(&pause).await?;
        startup::until_ready(self.config(), self.access.directory(), || self.check()).await?;
        for component in [Component::ControllerManager, Component::Scheduler, Component::Kubelet, Component::KubeProxy]
        {
            self.machine.run(component).await?;
        }
        self.until_ready().await
    }

    /// Waits until the node is Ready, pods can be created in the namespace `default` and the API server's Service is served.
    ///
    /// # Errors
    /// When a program ends, or after two minutes.
    pub async fn until_ready(&self) -> anyhow::Result<()> {
        let client = self.client()?;
        let deadline = Instant::now() + READY_WITHIN;
        while !self.is_ready(&client).await.unwrap_or(false) {
            self.check()?;
            if Instant::now() > deadline {
                bail!(
                    "the node is not ready after {} s; the logs are in {}",
                    READY_WITHIN.as_secs(),
                    self.dir().display()
                );
            }
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    async fn is_ready(&self, client: &Client) -> anyhow::Result<bool> {
        let node = Api::<Node>::all(client.clone()).get("node").await?;
        let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
        if !conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True") {
            return Ok(false);
        }
        Api::<ServiceAccount>::namespaced(client.clone(), "default").get("default").await?;
        let services = self.enter().args(["nft", "list", "map", "ip", "kube-proxy", "service-ips"]).output()?;
        Ok(String::from_utf8_lossy(&services.stdout).contains("10.0.0.1 "))
    }

    /// Gives the node an image: an archive such as [`Image::write`] makes, or `docker save`. Pods find it by its name.
    ///
    /// # Errors
    /// When containerd does not take it.
    pub async fn load_image(&self, archive: &Path) -> anyhow::Result<()> {
        let socket = format!("/proc/{}/root{}", self.machine.init(), files::SOCKET);
        until("containerd listens", || Path::new(&socket).exists(), || self.check()).await?;
        // Some paths are other ones in there.
        let copy = self.dir().join(format!("image-{}.tar", self.number()));
        fs::copy(archive, &copy).with_context(|| format!("cannot read the image {}", archive.display()))?;
        let output = self.ctr().args(["images", "import"]).arg(&copy).output().context("cannot run nsenter")?;
        fs::remove_file(&copy)?;
        if !output.status.success() {
            bail!("containerd does not take {}: {}", archive.display(), String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    /// Kills the program of a container with SIGKILL, as if it had crashed. The id is that of the pod's status, behind
    /// `containerd://`.
    ///
    /// # Errors
    /// When it does not run.
    pub fn crash(&self, container: &str) -> anyhow::Result<()> {
        let output = self.ctr().args(["tasks", "kill", "--signal", "SIGKILL", container]).output()?;
        if !output.status.success() {
            bail!("the container {container} cannot be killed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    fn ctr(&self) -> std_process::Command {
        let mut ctr = self.enter();
        ctr.arg(self.node_bin_dir.join("ctr")).args(["--address", files::SOCKET, "--namespace", "k8s.io"]);
        ctr
    }

    /// A command that runs inside the node, to be given a program and its arguments: it has the host's files, and the node's
    /// network, mounts and processes.
    pub fn enter(&self) -> std_process::Command {
        self.machine.enter()
    }

    /// Kills a program and waits until it is gone. Its data stays, and so do the pods.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn stop(&self, component: Component) -> anyhow::Result<()> {
        self.machine.stop(component).await
    }

    /// Starts a program again after [`NodeCluster::stop`], without waiting until it serves: see [`NodeCluster::until_ready`].
    ///
    /// # Errors
    /// When it is not stopped.
    pub async fn start_again(&self, component: Component) -> anyhow::Result<()> {
        self.machine.run(component).await
    }

    /// Fails when a program has ended that was not stopped; the message has the end of its log.
    ///
    /// # Errors
    /// As said.
    pub fn check(&self) -> anyhow::Result<()> {
        self.machine.check()
    }

    /// The port of the API server on 127.0.0.1 of the host.
    pub fn port(&self) -> u16 {
        self.gate.port()
    }

    /// A static program that does nothing until it is told to end, to make the image of something else with.
    pub fn pause(&self) -> PathBuf {
        self.node_bin_dir.join("pause")
    }

    /// The audit log.
    pub fn audit(&self) -> &AuditLog {
        &self.audit
    }
}

/// The bearer tokens of those who log in.
struct Tokens {
    admin: String,
    controllers: String,
    kubelet: String,
    proxy: String,
}

fn write_credentials(directory: &Directory) -> anyhow::Result<Tokens> {
    let [admin, controllers] = startup::write_credentials(directory)?;
    let [kubelet, proxy] = [keys::token()?, keys::token()?];
    let mut tokens = fs::read_to_string(directory.path().join(programs::TOKENS))?;
    tokens.push_str(&format!("{kubelet},system:node:node,kubelet,\"system:nodes\"\n{proxy},system:kube-proxy,proxy\n"));
    directory.write(programs::TOKENS, tokens)?;
    Ok(Tokens { admin, controllers, kubelet, proxy })
}

/// Writes those for inside, and the administrator's for outside, whose path it returns.
fn write_kubeconfigs(directory: &Directory, certificate: &[u8], port: u16, tokens: &Tokens) -> anyhow::Result<PathBuf> {
    let authority = STANDARD.encode(certificate);
    let inside = json!({
        "server": format!("https://{}:{API_SERVER_PORT}", files::ADDRESS),
        "certificate-authority-data": authority,
    });
    let files = [
        (programs::CONTROLLERS_KUBECONFIG, &tokens.controllers),
        (files::KUBELET_KUBECONFIG, &tokens.kubelet),
        (files::PROXY_KUBECONFIG, &tokens.proxy),
    ];
    for (name, token) in files {
        directory.write(name, kubeconfig::with_token(inside.clone(), token)?)?;
    }
    let outside = json!({
        "server": format!("https://127.0.0.1:{port}"),
        // The one name that the certificate has for this way.
        "tls-server-name": "localhost",
        "certificate-authority-data": authority,
    });
    directory.write("kubeconfig", kubeconfig::with_token(outside, &tokens.admin)?)
}

fn commands(
    bin_dir: &Path,
    node_bin_dir: &Path,
    directory: &Directory,
    options: &NodeOptions,
) -> anyhow::Result<[(Component, Command); 7]> {
    let layout = Layout {
        bin_dir,
        directory,
        etcd_client_port: 2379,
        etcd_peer_port: 2380,
        api_server_port: API_SERVER_PORT,
        node: Some(files::ADDRESS),
    };
    let file = |name: &str| directory.path().join(name);
    let kubelet = Command::new(bin_dir.join("kubelet"))
        .arg("--config")
        .arg(file(files::KUBELET))
        .arg("--kubeconfig")
        .arg(file(files::KUBELET_KUBECONFIG))
        .args(["--hostname-override", "node", "--node-ip", &files::ADDRESS.to_string()])
        .arg("--root-dir")
        .arg(file("kubelet"))
        .arg("--cert-dir")
        .arg(file("kubelet-certs"));
    let sharded_watch = startup::knows_sharded_watch(bin_dir)?;
    Ok([
        (Component::Etcd, layout.etcd()),
        (Component::ApiServer, layout.api_server(true, sharded_watch, &options.api_server_flags)),
        (Component::ControllerManager, layout.controller_manager()),
        (Component::Scheduler, layout.scheduler()),
        (
            Component::Containerd,
            Command::new(node_bin_dir.join("containerd")).arg("--config").arg(file(files::CONTAINERD)),
        ),
        (Component::Kubelet, kubelet),
        (Component::KubeProxy, Command::new(bin_dir.join("kube-proxy")).arg("--config").arg(file(files::PROXY))),
    ])
}

/// These directories, then those of `PATH`, then where an administrator's programs are, which not every `PATH` has.
fn search_path(first: &[&Path]) -> anyhow::Result<OsString> {
    let inherited = env::var_os("PATH").unwrap_or_default();
    let all = first.iter().map(|path| (*path).to_owned()).chain(env::split_paths(&inherited));
    Ok(env::join_paths(all.chain(["/usr/sbin", "/sbin"].map(PathBuf::from)))?)
}
