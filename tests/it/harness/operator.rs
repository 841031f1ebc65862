//! The operator as a process, run with its own account and never as administrator.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use testbed::process::{self, Child, Command, Signal};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::wait::{eventually, seconds};

/// Shards are taken only after a whole duration, so a short one makes a quick start; but on cores that are busy
/// compiling, a shorter one is lost now and then, and what that costs is not what most tests are about.
const LEASE: &str = "--lease-duration=4s";

/// The operator of this project.
const PROGRAM: &str = env!("CARGO_BIN_EXE_configmapsync-operator");

/// A running operator. Dropping it kills it.
pub struct Operator {
    child: Child,
    log: PathBuf,
    address: String,
}

impl Operator {
    /// Starts one and waits until it is ready, which needs no shards.
    pub async fn start(kubeconfig: &Path, dir: &Path, name: &str, flags: &[&str]) -> Self {
        let operator = Self::launch(kubeconfig, dir, name, flags).await;
        eventually(format!("operator {name} is ready"), async || operator.get("/readyz").await).await;
        operator
    }

    /// Starts one and waits only until it listens.
    pub async fn launch(kubeconfig: &Path, dir: &Path, name: &str, flags: &[&str]) -> Self {
        Self::launch_with(kubeconfig, dir, name, flags, &[]).await
    }

    /// As [`Operator::launch`], with these variables in its environment.
    pub async fn launch_with(
        kubeconfig: &Path,
        dir: &Path,
        name: &str,
        flags: &[&str],
        variables: &[(&str, &str)],
    ) -> Self {
        Self::launch_program(PROGRAM, kubeconfig, dir, name, flags, variables).await
    }

    /// As [`Operator::launch_with`], of another program.
    pub async fn launch_program(
        program: &str,
        kubeconfig: &Path,
        dir: &Path,
        name: &str,
        flags: &[&str],
        variables: &[(&str, &str)],
    ) -> Self {
        let log = dir.join(format!("operator-{name}.log"));
        let said_before = fs::read_to_string(&log).unwrap_or_default().len();
        // One listener for probes and metrics, on a port that the kernel gives and the log tells.
        let mut command = Command::new(program).env_remove("KUBECONFIG").env_remove("RUST_LOG");
        for (variable, value) in variables {
            command = command.env(variable, value);
        }
        let command = command
            .args(["--health-probe-bind-address=127.0.0.1:0", "--metrics-bind-address=127.0.0.1:0", LEASE])
            .args(["--log-level=info,configmapsync_operator=debug", "--identity", name, "--kubeconfig"])
            .arg(kubeconfig)
            .args(flags)
            .log(&log);
        let child = process::spawn(&command).unwrap();
        let address = eventually(format!("operator {name} listens"), async || {
            assert!(child.try_wait().unwrap().is_none(), "operator {name} ended: {}", tail(&log, &[]));
            let said = fs::read_to_string(&log).unwrap_or_default();
            let line = said[said_before..].lines().find(|line| line.contains(r#""message":"listening""#));
            let line = line.ok_or_else(|| format!("its log: {said}"))?;
            let line: serde_json::Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
            Ok(line["address"].as_str().ok_or("no address in the log")?.to_owned())
        })
        .await;
        Self { child, log, address }
    }

    /// A page of its HTTP server; an answer other than 200 is an error.
    pub async fn get(&self, path: &str) -> Result<String, String> {
        let answer = async {
            let mut stream = TcpStream::connect(&self.address).await?;
            let request = format!("GET {path} HTTP/1.1\r\nHost: operator\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            io::Result::Ok(answer)
        };
        let answer = answer.await.map_err(|error| error.to_string())?;
        match answer.split_once("\r\n\r\n") {
            Some((head, body)) if head.starts_with("HTTP/1.1 200") => Ok(body.to_owned()),
            _ => Err(answer),
        }
    }

    /// The sum of a metric's samples of which the labels contain all these texts.
    pub async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let page = self.get("/metrics").await.unwrap();
        let samples =
            page.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
        samples
            .filter(|line| labels.iter().all(|label| line.contains(label)))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// The lines of its log that contain all these texts.
    pub fn said(&self, words: &[&str]) -> Vec<String> {
        let said = fs::read_to_string(&self.log).unwrap_or_default();
        said.lines().filter(|line| words.iter().all(|word| line.contains(word))).map(str::to_owned).collect()
    }

    /// Waits for a line of its log that has all these words.
    pub async fn until_said(&self, words: &[&str]) {
        eventually(format!("the log says {words:?}"), async || match self.said(words).first() {
            Some(_) => Ok(()),
            None => Err(format!("{:?}", self.said(&["WARN"]))),
        })
        .await;
    }

    /// Whether it still is the process that was started.
    pub fn is_running(&self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// The most memory that it ever held at once, in bytes.
    pub fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.pid())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
    }

    /// SIGSTOP, or SIGCONT.
    pub fn signal(&self, signal: Signal) {
        self.child.signal(signal).unwrap();
    }

    /// SIGKILL.
    pub fn kill(self) {
        self.child.kill().unwrap();
    }

    /// SIGTERM; `None` means that it did not end in time.
    pub async fn terminate(self) -> Option<ExitStatus> {
        self.child.terminate(seconds(30)).await.unwrap()
    }

    /// Waits until it has ended.
    pub async fn end(&self) -> ExitStatus {
        eventually("the operator ends", async || self.child.try_wait().unwrap().ok_or_else(|| "it runs".to_owned()))
            .await
    }

    /// Where its log is.
    pub fn log(&self) -> &Path {
        &self.log
    }
}

/// The end of a log: the lines that contain one of these words, or, where there are none, all of the end.
pub fn tail(log: &Path, words: &[&str]) -> String {
    let said = fs::read_to_string(log).unwrap_or_default();
    let concerned: Vec<&str> =
        said.lines().filter(|line| words.is_empty() || words.iter().any(|word| line.contains(word))).collect();
    concerned[concerned.len().saturating_sub(40)..].join("\n")
}
