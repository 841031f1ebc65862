//! One control plane: started, asked, broken on purpose, and gone when it is dropped.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::access::Access;
use crate::audit::AuditLog;
use crate::directory::Directory;
use crate::programs::{self, Component, Layout};
use crate::running::{PortTaken, Program};
use crate::{build, kubeconfig, ports, startup};

/// How often a start is tried whose ports were taken by someone else in between.
const ATTEMPTS: u32 = 5;

/// How a control plane is to be.
#[derive(Clone, Debug)]
pub struct Options {
    /// Runs kube-scheduler too. There are no nodes, so it only matters to tests that make some.
    pub scheduler: bool,
    /// Runs kube-controller-manager; without it namespaces are never deleted and Deployments make no pods.
    pub controller_manager: bool,
    /// Writes the audit log, which costs the API server a few percent.
    pub audit: bool,
    /// Resources, each after its API group, of which the audit log keeps what writes send and are answered.
    pub audited_objects: Vec<(&'static str, &'static str)>,
    /// More flags for kube-apiserver, each as `--name=value`.
    pub api_server_flags: Vec<String>,
    /// Where it keeps its files; empty or absent before, removed after. By default a new temporary directory.
    pub dir: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            scheduler: false,
            controller_manager: true,
            audit: true,
            audited_objects: Vec::new(),
            api_server_flags: Vec::new(),
            dir: None,
        }
    }
}

/// A running control plane with ports and a directory of its own, so that several can stand side by side.
///
/// Dropping it kills its programs, waits until they are gone and removes the directory. One that is never dropped (in a
/// `static`, or after SIGKILL) goes with the process, see [`crate::process`]. One talks to it by its [`Access`].
#[derive(Debug)]
pub struct ControlPlane {
    programs: BTreeMap<Component, Program>,
    etcd_client_port: u16,
    audit: Option<AuditLog>,
    // After the programs, which write into its directory: fields are dropped in this order.
    access: Access,
}

impl Deref for ControlPlane {
    type Target = Access;

    fn deref(&self) -> &Access {
        &self.access
    }
}

impl ControlPlane {
    /// Starts one and waits until it serves. Builds it first where that has not been done, see [`crate::bin_dir`].
    ///
    /// # Errors
    /// When it cannot be built, or a program ends instead of serving; then the end of its log is in the message.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        let bin_dir = build::bin_dir().await?;
        let mut attempt = 1;
        loop {
            match Self::attempt(bin_dir, &options).await {
                Err(error) if error.is::<PortTaken>() && attempt < ATTEMPTS => attempt += 1,
                result => return result,
            }
        }
    }

    async fn attempt(bin_dir: &'static Path, options: &Options) -> anyhow::Result<Self> {
        let directory = match &options.dir {
            Some(dir) => Directory::at(dir)?,
            None => Directory::temporary()?,
        };
        let [etcd_client_port, etcd_peer_port, api_server_port] = ports::free()?;
        let layout =
            Layout { bin_dir, directory: &directory, etcd_client_port, etcd_peer_port, api_server_port, node: None };
        let [admin, controllers] = startup::write_credentials(&directory)?;
        let audit =
            options.audit.then(|| startup::write_audit_files(&directory, &options.audited_objects)).transpose()?;

        let etcd = Program::start(layout.etcd(), directory.path(), Component::Etcd)?;
        startup::until_listening(etcd_client_port, &etcd).await?;
        let flags = layout.api_server(options.audit, startup::knows_sharded_watch(bin_dir)?, &options.api_server_flags);
        let api_server = Program::start(flags, directory.path(), Component::ApiServer)?;
        let certificate = startup::until_certificate(&directory, || api_server.check()).await?;

        let cluster = json!({
            "server": format!("https://127.0.0.1:{api_server_port}"),
            "certificate-authority-data": STANDARD.encode(certificate),
        });
        directory.write(programs::CONTROLLERS_KUBECONFIG, kubeconfig::with_token(cluster.clone(), &controllers)?)?;
        let kubeconfig = directory.write("kubeconfig", kubeconfig::with_token(cluster, &admin)?)?;

        let mut programs = BTreeMap::from([(Component::Etcd, etcd), (Component::ApiServer, api_server)]);
        let optional = [
            (Component::ControllerManager, options.controller_manager, layout.controller_manager()),
            (Component::Scheduler, options.scheduler, layout.scheduler()),
        ];
        for (component, wanted, command) in optional {
            if !wanted {
                continue;
            }
            if build::are_given() && !bin_dir.join(component.program()).is_file() {
                eprintln!("testbed: {} has no {}: going on without it", bin_dir.display(), component.program());
                continue;
            }
            programs.insert(component, Program::new(command, directory.path(), component));
        }
        let access = Access::new(directory, kubeconfig, bin_dir).await?;
        let started = Self { programs, etcd_client_port, audit, access };
        started.until_ready().await?;
        // Only now: they would wait for the API server in steps of a second.
        for component in [Component::ControllerManager, Component::Scheduler] {
            if let Some(program) = started.programs.get(&component) {
                program.spawn()?;
            }
        }
        Ok(started)
    }

    /// The audit log.
    ///
    /// # Errors
    /// When it was switched off in [`Options`].
    pub fn audit(&self) -> anyhow::Result<&AuditLog> {
        self.audit.as_ref().context("this control plane was started without its audit log: set Options::audit")
    }

    /// The files of the API server's certificate, with the authority that signed it behind it, and of its key: enough to
    /// stand before it and be taken for it.
    pub fn certificate(&self) -> (PathBuf, PathBuf) {
        [programs::CERTIFICATE, programs::CERTIFICATE_KEY].map(|file| self.access.dir().join(file)).into()
    }

    /// The process id of a program, if it runs.
    pub fn pid(&self, component: Component) -> Option<u32> {
        self.programs.get(&component)?.pid()
    }

    /// Kills a program and waits until it is gone. Its data stays.
    ///
    /// # Errors
    /// When it is not part of this control plane.
    pub fn stop(&self, component: Component) -> anyhow::Result<()> {
        self.program(component)?.stop()
    }

    /// Starts a program again after [`ControlPlane::stop`], on the same port with the same data. Waits until the API is
    /// ready, unless the API server is stopped or paused.
    ///
    /// # Errors
    /// When it ends instead of serving; when it is running.
    pub async fn start_again(&self, component: Component) -> anyhow::Result<()> {
        let program = self.program(component)?;
        program.spawn()?;
        if component == Component::Etcd {
            startup::until_listening(self.etcd_client_port, program).await?;
        }
        if self.program(Component::ApiServer)?.answers() && self.program(Component::Etcd)?.answers() {
            self.until_ready().await?;
        }
        Ok(())
    }

    /// Stops a program and starts it again.
    ///
    /// # Errors
    /// As the two.
    pub async fn restart(&self, component: Component) -> anyhow::Result<()> {
        self.stop(component)?;
        self.start_again(component).await
    }

    /// Freezes a program: it keeps its connections and answers nothing.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pause(&self, component: Component) -> anyhow::Result<()> {
        self.program(component)?.pause()
    }

    /// Lets it go on after [`ControlPlane::pause`].
    ///
    /// # Errors
    /// When it does not run.
    pub fn resume(&self, component: Component) -> anyhow::Result<()> {
        self.program(component)?.resume()
    }

    /// Fails when a program has ended that was not stopped; the message has the end of its log.
    ///
    /// # Errors
    /// As said.
    pub fn check(&self) -> anyhow::Result<()> {
        self.programs.values().try_for_each(Program::check)
    }

    /// Waits until the API server says that it is ready and the namespace `default` is there.
    ///
    /// # Errors
    /// When a program ends, or after two minutes.
    pub async fn until_ready(&self) -> anyhow::Result<()> {
        startup::until_ready(self.config(), self.access.directory(), || self.check()).await
    }

    fn program(&self, component: Component) -> anyhow::Result<&Program> {
        self.programs
            .get(&component)
            .with_context(|| format!("this control plane has no {}: see Options", component.program()))
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        // All at once, and the API server with the rest: each alone would spend its last moments logging that others left.
        for program in self.programs.values() {
            program.begin_to_stop();
        }
    }
}
