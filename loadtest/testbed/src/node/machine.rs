//! The namespaces that are a node's machine, and the programs in them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process as std_process;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::time::sleep;

use super::files;
use crate::directory::Directory;
use crate::process::{self, Child, Command};
use crate::programs::Component;

/// Ample for what takes milliseconds on an idle machine.
const WITHIN: Duration = Duration::from_secs(30);

/// What is process 1 in the namespaces.
const INIT: &str = include_str!("init.sh");

/// Namespaces of their own for network, mounts, processes, IPC and host name. Dropping this ends everything in them.
///
/// They go with this process too: `unshare` has its death signal like every child, and hands its own death on to process 1,
/// with which the kernel ends all others.
#[derive(Debug)]
pub(super) struct Machine {
    child: Child,
    /// Process 1 as the host numbers it.
    init: u32,
    directory: PathBuf,
}

impl Machine {
    /// Starts one in which no program runs as yet. `path` is where it looks for programs.
    pub(super) async fn start(
        directory: &Directory,
        path: &std::ffi::OsStr,
        programs: &[(Component, Command)],
    ) -> anyhow::Result<Self> {
        for (component, command) in programs {
            directory.write(&format!("{}.sh", component.program()), command.script())?;
            directory.write(&format!("{}.hold", component.program()), "")?;
        }
        let script = directory.write("init.sh", INIT)?;
        let command = Command::new("unshare")
            .args(["--net", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child=KILL"])
            .args(["--mount-proc", "--propagation", "private", "bash"])
            .arg(script)
            .arg(directory.path())
            .args([files::ADDRESS.to_string().as_str(), files::SERVICES])
            .args(programs.iter().map(|(component, _)| component.program()))
            .env("PATH", path)
            .env_remove("KUBECONFIG")
            .log(directory.path().join("init.log"));
        let child = process::spawn(&command)?;
        let begun = directory.path().join("begun");
        until("the node's namespaces are set up", || begun.exists(), || has_ended(&child, directory.path())).await?;
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.pid()))?;
        let init = children.trim().parse().with_context(|| format!("unshare has no child: {children:?}"))?;
        Ok(Self { child, init, directory: directory.path().to_owned() })
    }

    pub(super) fn init(&self) -> u32 {
        self.init
    }

    /// A command that runs in here, to be given a program and its arguments.
    pub(super) fn enter(&self) -> std_process::Command {
        let mut command = std_process::Command::new("nsenter");
        command.args(["--net", "--mount", "--pid", "--ipc", "--uts", "--target", &self.init.to_string(), "--"]);
        command.env_remove("KUBECONFIG");
        command
    }

    /// The process id of a program as the processes in here number it, if it runs.
    pub(super) fn pid(&self, component: Component) -> Option<u32> {
        fs::read_to_string(self.file(component, "pid")).ok()?.trim().parse().ok()
    }

    /// Starts a program that is stopped.
    pub(super) async fn run(&self, component: Component) -> anyhow::Result<()> {
        let hold = self.file(component, "hold");
        fs::remove_file(&hold).with_context(|| format!("{} is not stopped", component.program()))?;
        let what = format!("{} is started", component.program());
        until(&what, || self.pid(component).is_some(), || self.check()).await
    }

    /// Kills a program; it is gone when this returns.
    pub(super) async fn stop(&self, component: Component) -> anyhow::Result<()> {
        let pid = self.pid(component).with_context(|| format!("{} does not run", component.program()))?;
        fs::write(self.file(component, "hold"), "")?;
        let status = self.enter().args(["kill", "-KILL", &pid.to_string()]).status()?;
        if !status.success() {
            bail!("cannot kill {} ({status})", component.program());
        }
        let what = format!("{} has ended", component.program());
        until(&what, || self.pid(component).is_none(), || self.check()).await
    }

    /// Fails when a program has ended that was not stopped; the message has the end of its log.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        has_ended(&self.child, &self.directory)
    }

    fn file(&self, component: Component, suffix: &str) -> PathBuf {
        self.directory.join(format!("{}.{suffix}", component.program()))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        // Its own processes end one after the other; cgroups and directories are free only then.
        let deadline = Instant::now() + WITHIN;
        while fs::exists(format!("/proc/{}", self.init)).unwrap_or(false) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn has_ended(child: &Child, directory: &Path) -> anyhow::Result<()> {
    if let Some(status) = child.try_wait()? {
        bail!("the node's namespaces ended ({status}):\n{}", end_of(&directory.join("init.log")));
    }
    let ended = fs::read_to_string(directory.join("ended")).unwrap_or_default();
    let Some(line) = ended.lines().next() else {
        return Ok(());
    };
    let program = line.split(' ').next().unwrap_or_default();
    bail!("{line}; the end of its log:\n{}", end_of(&directory.join(format!("{program}.log"))))
}

fn end_of(log: &Path) -> String {
    let log = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}

/// Waits for a condition; `check` fails when it cannot come any more.
pub(super) async fn until(
    what: &str,
    condition: impl Fn() -> bool,
    check: impl Fn() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + WITHIN;
    while !condition() {
        check()?;
        if Instant::now() > deadline {
            bail!("not within {} s: {what}", WITHIN.as_secs());
        }
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
