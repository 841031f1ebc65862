//! One replica of the operator: a process.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use testbed::cgroups::ControlGroups;
use testbed::image::operator::ENVIRONMENT;
use testbed::process::{self, Child, Command, Signal};

use super::page::{self, Page};
use super::{Settings, install, limits};

/// After SIGTERM; the operator's own grace period is 25 s.
const GRACE: Duration = Duration::from_secs(30);
/// How many lines of a log an error shows.
const TAIL: usize = 12;

/// What a process has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Usage {
    /// Processor time since it started, in seconds; exact to a hundredth.
    pub cpu_seconds: f64,
    /// Resident memory now, in MiB.
    pub resident_mib: f64,
    /// The most resident memory so far, in MiB.
    pub peak_mib: f64,
}

/// A running replica. Dropping it kills the process.
#[derive(Debug)]
pub struct Replica {
    name: String,
    child: Child,
    probes: u16,
    metrics: u16,
    log: PathBuf,
    // After the child, which is in them: fields are dropped in this order.
    _groups: Option<ControlGroups>,
}

impl Replica {
    pub(super) fn start(
        name: &str,
        operator: &Path,
        kubeconfig: &Path,
        environment: &[(&str, OsString)],
        settings: &Settings,
    ) -> anyhow::Result<Self> {
        let (probes, metrics) = free_ports()?;
        let log = settings.logs.join(format!("{name}.log"));
        let groups = settings.limits.map(|limits| limits.impose(name)).transpose()?;
        let command = groups.as_ref().map_or_else(|| Command::new(operator), |groups| limits::within(groups, operator));
        let command = command
            .args(["--identity", name, "--lease-namespace", install::NAMESPACE, "--log-format", "text"])
            .args(["--health-probe-bind-address", &format!("127.0.0.1:{probes}")])
            .args(["--metrics-bind-address", &format!("127.0.0.1:{metrics}")])
            .args(["--lease-duration", &format!("{}s", settings.lease_duration.as_secs())])
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args(&settings.arguments)
            // The user's own settings are for the user's own operator.
            .env_remove("KUBECONFIG")
            .env_remove("POD_NAME")
            .env_remove("POD_NAMESPACE")
            .log(&log);
        let command = ENVIRONMENT.iter().fold(command, |command, (name, value)| command.env(name, value));
        let command = environment.iter().fold(command, |command, (name, value)| command.env(name, value));
        let child = process::spawn(&command)?;
        Ok(Self { name: name.to_owned(), child, probes, metrics, log, _groups: groups })
    }

    /// Its name, with which the name of its session begins.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Its log.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The port of `/healthz` and `/readyz`.
    pub fn probes(&self) -> u16 {
        self.probes
    }

    /// The port of `/metrics`.
    pub fn metrics_port(&self) -> u16 {
        self.metrics
    }

    /// Its metrics now.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn metrics(&self) -> anyhow::Result<Page> {
        let (status, body) = page::get(self.metrics, "/metrics").await.with_context(|| self.is_silent())?;
        if status != 200 {
            bail!("{} answers {status} for its metrics", self.name);
        }
        Ok(Page::parse(&body))
    }

    /// What it has used so far.
    ///
    /// # Errors
    /// When it has ended.
    pub fn usage(&self) -> anyhow::Result<Usage> {
        self.check()?;
        usage(self.pid())
    }

    pub(super) async fn until_ready(&self, deadline: Instant) -> anyhow::Result<()> {
        loop {
            self.check()?;
            let last = match page::get(self.probes, "/readyz").await {
                Ok((200, _)) => return Ok(()),
                Ok((_, body)) => body,
                Err(error) => format!("{error:#}"),
            };
            if Instant::now() >= deadline {
                bail!("{} is not ready: {}{}", self.name, last.trim(), self.tail());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(super) fn check(&self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} has ended ({status}){}", self.name, self.tail()),
        }
    }

    pub(super) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        self.child.signal(signal).with_context(|| format!("{} cannot be signalled", self.name))
    }

    pub(super) fn kill(&self) -> anyhow::Result<()> {
        self.check()?;
        self.child.kill().with_context(|| format!("{} cannot be killed", self.name))?;
        Ok(())
    }

    pub(super) async fn terminate(&self) -> anyhow::Result<()> {
        match self.child.terminate(GRACE).await? {
            Some(status) if status.success() => Ok(()),
            Some(status) => bail!("{} did not end well after SIGTERM ({status}){}", self.name, self.tail()),
            None => bail!("{} did not end within {} s after SIGTERM{}", self.name, GRACE.as_secs(), self.tail()),
        }
    }

    fn is_silent(&self) -> String {
        format!("{} does not answer; its log is {}", self.name, self.log.display())
    }

    fn tail(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = &lines[lines.len().saturating_sub(TAIL)..];
        format!("\nThe end of {}:\n{}", self.log.display(), tail.join("\n"))
    }
}

/// What a process of this machine has used so far.
///
/// # Errors
/// When it has ended.
pub fn usage(pid: u32) -> anyhow::Result<Usage> {
    /// The kernel's unit in /proc (USER_HZ), the same wherever this runs.
    const TICKS_PER_SECOND: f64 = 100.0;
    let read = |file: &str| {
        fs::read_to_string(format!("/proc/{pid}/{file}")).with_context(|| format!("process {pid} has ended"))
    };
    let stat = read("stat")?;
    // The name in parentheses may contain anything; utime and stime are the 12th and 13th field after it.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    let ticks: f64 = fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    let status = read("status")?;
    let mib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|rest| rest.trim_start_matches(':').split_whitespace().next()?.parse::<f64>().ok());
        kib.unwrap_or_default() / 1024.0
    };
    Ok(Usage { cpu_seconds: ticks / TICKS_PER_SECOND, resident_mib: mib("VmRSS"), peak_mib: mib("VmHWM") })
}

/// The ports that replicas of this process were given. Each is given once: a replica that has just been started does not listen
/// yet, and the system would give its port to the next one.
static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// Two ports that nothing listens on. Another process may take one before it is used; then the replica ends and says so.
fn free_ports() -> anyhow::Result<(u16, u16)> {
    Ok((free_port()?, free_port()?))
}

fn free_port() -> anyhow::Result<u16> {
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on 127.0.0.1")?;
        let port = listener.local_addr()?.port();
        if given.insert(port) {
            return Ok(port);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_something() {
        let usage = usage(std::process::id()).unwrap();
        assert!(usage.resident_mib > 0.5 && usage.peak_mib >= usage.resident_mib * 0.5, "{usage:?}");
    }
}
