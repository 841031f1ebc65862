//! A real Prometheus for a test.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;

use serde_json::{Value, json};
use testbed::process::{self, Child, Command};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::eventually;
use crate::shipped::{RULES, path, read};

/// As the Service of the operator is called, which gives its name to the job.
pub const JOB: &str = "configmapsync-controller-manager-metrics";

/// Where prometheus and promtool are; `None`, said on standard error, where they cannot be had.
pub fn programs(test: &str) -> Option<PathBuf> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let script = path("tests/observe/prometheus.sh");
    let output =
        std::process::Command::new(script).arg(path("target/prometheus")).stdin(Stdio::null()).output().unwrap();
    if !output.status.success() {
        eprintln!("SKIPPED {test}: {}", String::from_utf8_lossy(&output.stderr).trim());
        return None;
    }
    Some(PathBuf::from(String::from_utf8(output.stdout).unwrap().trim()))
}

/// A series of an answer: its values by time.
#[derive(Clone, Debug)]
pub struct Series {
    pub values: Vec<(f64, f64)>,
}

/// A running Prometheus. Dropping it kills it.
pub struct Prometheus {
    _child: Child,
    dir: PathBuf,
    port: u16,
    targets: Mutex<BTreeMap<String, String>>,
}

impl Prometheus {
    /// Scrapes and evaluates each second. The rules are the shipped ones but for `for`, which is a second.
    pub async fn start(programs: &Path, parent: &Path) -> Self {
        let dir = parent.join("prometheus");
        fs::create_dir_all(&dir).unwrap();
        let short: String = read(RULES)
            .lines()
            .map(|line| if line.trim_start().starts_with("for: ") { "    for: 1s" } else { line })
            .map(|line| format!("{line}\n"))
            .collect();
        fs::write(dir.join("rules.yaml"), short).unwrap();
        let config = json!({
            "global": { "scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s" },
            "rule_files": [dir.join("rules.yaml")],
            "scrape_configs": [{ "job_name": JOB, "file_sd_configs": [{ "files": [dir.join("targets.json")] }] }],
        });
        fs::write(dir.join("prometheus.yml"), config.to_string()).unwrap();
        fs::write(dir.join("targets.json"), "[]").unwrap();
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let command = Command::new(programs.join("prometheus"))
            .args(["--config.file".as_ref(), dir.join("prometheus.yml").as_os_str()])
            .args(["--storage.tsdb.path".as_ref(), dir.join("data").as_os_str()])
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .log(dir.join("prometheus.log"));
        let child = process::spawn(&command).unwrap();
        let prometheus = Self { _child: child, dir, port, targets: Mutex::default() };
        eventually("Prometheus is ready", async || prometheus.get("/-/ready").await.map(drop)).await;
        prometheus
    }

    /// Scrapes `address` as the instance of this name from now on. A process that starts again is the same instance, as
    /// a container that starts again in its pod is.
    pub fn scrape(&self, instance: &str, address: &str) {
        let mut targets = self.targets.lock().unwrap();
        targets.insert(instance.to_owned(), address.to_owned());
        let list: Vec<Value> = targets
            .iter()
            .map(|(instance, address)| json!({ "targets": [address], "labels": { "instance": instance } }))
            .collect();
        fs::write(self.dir.join("targets.json.new"), json!(list).to_string()).unwrap();
        fs::rename(self.dir.join("targets.json.new"), self.dir.join("targets.json")).unwrap();
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    async fn get(&self, page: &str) -> Result<String, String> {
        let answer = async {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
            stream.write_all(format!("GET {page} HTTP/1.0\r\nHost: prometheus\r\n\r\n").as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            std::io::Result::Ok(answer)
        };
        let answer = answer.await.map_err(|error| error.to_string())?;
        match answer.split_once("\r\n\r\n") {
            Some((head, body)) if head.split(' ').nth(1) == Some("200") => Ok(body.to_owned()),
            _ => Err(answer),
        }
    }

    /// A query at each second from one time to another, with Grafana's variables as Grafana would put them in.
    pub async fn range(&self, expr: &str, from: f64, to: f64, step: f64) -> Vec<Series> {
        let expr = expr.replace("$__rate_interval", "5s").replace("$job", JOB).replace("$instance", ".*");
        let page = format!("/api/v1/query_range?query={}&start={from}&end={to}&step={step}", encoded(&expr));
        let answer = self.get(&page).await.unwrap_or_else(|error| panic!("{expr}: {error}"));
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let number = |value: &Value| value.as_f64().or_else(|| value.as_str()?.parse().ok()).unwrap();
        let series = |one: &Value| Series {
            values: one["values"].as_array().unwrap().iter().map(|v| (number(&v[0]), number(&v[1]))).collect(),
        };
        answer["data"]["result"].as_array().unwrap().iter().map(series).collect()
    }

    /// The alerts that fire now, by name.
    pub async fn firing(&self) -> Vec<String> {
        self.alerts("firing").await
    }

    /// Those in this state.
    pub async fn alerts(&self, state: &str) -> Vec<String> {
        let answer: Value = serde_json::from_str(&self.get("/api/v1/alerts").await.unwrap()).unwrap();
        let alerts = answer["data"]["alerts"].as_array().unwrap().iter().filter(|alert| alert["state"] == state);
        alerts.map(|alert| alert["labels"]["alertname"].as_str().unwrap().to_owned()).collect()
    }
}

fn encoded(text: &str) -> String {
    text.bytes()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

/// Seconds since 1970.
pub fn now() -> f64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64()
}
