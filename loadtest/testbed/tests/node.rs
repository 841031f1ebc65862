//! The node against itself: what the tests of the installed operator take for granted.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "clippy excuses test functions, not their helpers")]

mod processes;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use testbed::{Component, NodeCluster, NodeOptions, Patience};
use tokio::time::sleep;

/// Says why the test is skipped where no node can stand.
fn skipped(test: &str) -> bool {
    let missing = NodeCluster::missing();
    if let Some(reason) = &missing {
        // Not by eprintln, which the test runner would keep to itself.
        std::io::stderr().write_all(format!("SKIPPED {test}: {reason}\n").as_bytes()).unwrap();
    }
    missing.is_some()
}

#[tokio::test]
async fn two_nodes_stand_side_by_side_and_leave_nothing() {
    if skipped("two_nodes_stand_side_by_side_and_leave_nothing") {
        return;
    }
    let before = host();
    let begun = Instant::now();
    let start = || NodeCluster::start(NodeOptions::default());
    let (left, right) = tokio::join!(start(), start());
    let (left, right) = (left.unwrap(), right.unwrap());
    eprintln!("two at once were ready after {:?}", begun.elapsed());
    assert_ne!(left.port(), right.port());
    assert_eq!(host().network, before.network, "the host's network is as it was");
    assert_eq!(host().settings, before.settings, "the host's settings are as they were");

    // A pod of each: sandbox, network, cgroups and the API server through its Service.
    for cluster in [&left, &right] {
        let pod = r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pause", "namespace": "default"},
            "spec": {"containers": [{"name": "pause", "image": "localhost/pause:1",
                "resources": {"limits": {"memory": "16Mi"}}}]}}"#;
        fs::write(cluster.dir().join("pod.json"), pod).unwrap();
        kubectl(cluster, &["apply", "-f", cluster.dir().join("pod.json").to_str().unwrap()]);
        kubectl(cluster, &["wait", "--for=condition=Ready", "pod/pause", "--timeout=60s"]);
    }
    let address = kubectl(&left, &["get", "pod", "pause", "-o", "jsonpath={.status.podIP}"]);
    assert!(address.starts_with("10.244.0."), "{address}");

    left.stop(Component::Kubelet).await.unwrap();
    left.start_again(Component::Kubelet).await.unwrap();
    left.stop(Component::ApiServer).await.unwrap();
    left.start_again(Component::ApiServer).await.unwrap();
    eventually("the API server serves again", async || left.client().unwrap().apiserver_version().await.is_ok()).await;
    left.until_ready().await.unwrap();
    assert_eq!(
        kubectl(&left, &["get", "pod", "pause", "-o", "jsonpath={.status.containerStatuses[0].restartCount}"]),
        "0"
    );

    let dirs = [left.dir().to_owned(), right.dir().to_owned()];
    let ports = [left.port(), right.port()];
    let begun = Instant::now();
    drop(left);
    eprintln!("one was down after {:?}", begun.elapsed());
    assert!(is_refused(ports[0]));
    kubectl(&right, &["get", "pod", "pause"]);
    drop(right);
    assert!(is_refused(ports[1]));
    for dir in &dirs {
        assert!(!dir.exists(), "{} is left", dir.display());
        assert_eq!(processes_naming(dir), Vec::<u32>::new());
    }
    assert_eq!(cgroups(std::process::id()), Vec::<PathBuf>::new());
    assert_eq!(host().mounts, before.mounts);
}

#[tokio::test]
async fn a_killed_parent_leaves_no_node() {
    if skipped("a_killed_parent_leaves_no_node") {
        return;
    }
    let mut parent =
        Command::new(env!("CARGO_BIN_EXE_testbed")).args(["cluster", "--bare"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(parent.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let dir = PathBuf::from(line.trim()).parent().unwrap().to_owned();
    assert!(processes_naming(&dir).len() >= 7, "its programs run");
    assert!(!cgroups(parent.id()).is_empty());
    parent.kill().unwrap();
    parent.wait().unwrap();
    eventually("nothing is left", async || {
        processes_naming(&dir).is_empty() && !dir.exists() && cgroups(parent.id()).is_empty()
    })
    .await;
}

/// What of the host a node might touch.
struct Host {
    network: String,
    settings: Vec<String>,
    mounts: usize,
}

fn host() -> Host {
    let ip = |args: &[&str]| {
        let output = Command::new("ip").args(args).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let settings =
        ["vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "net/ipv4/ip_forward"];
    Host {
        network: ip(&["-o", "-4", "address"]) + &ip(&["route", "show", "table", "all", "type", "unicast"]),
        settings: settings.map(|name| fs::read_to_string(format!("/proc/sys/{name}")).unwrap()).to_vec(),
        mounts: fs::read_to_string("/proc/self/mounts")
            .unwrap()
            .lines()
            .filter(|line| line.contains("testbed-"))
            .count(),
    }
}

fn kubectl(cluster: &NodeCluster, args: &[&str]) -> String {
    let output = cluster.kubectl().args(args).output().unwrap();
    assert!(output.status.success(), "kubectl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn is_refused(port: u16) -> bool {
    let answer = std::net::TcpStream::connect(("127.0.0.1", port));
    answer.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
}

/// The cgroups of the nodes that this process started.
fn cgroups(process: u32) -> Vec<PathBuf> {
    let hierarchies = fs::read_dir("/sys/fs/cgroup").unwrap().map(|entry| entry.unwrap().path());
    let within = hierarchies.filter_map(|path| fs::read_dir(path).ok()).flatten().map(|entry| entry.unwrap().path());
    let prefix = format!("testbed-{process}-");
    within.filter(|path| path.file_name().unwrap().to_str().is_some_and(|name| name.starts_with(&prefix))).collect()
}

fn processes_naming(dir: &Path) -> Vec<u32> {
    processes::naming(dir).into_iter().map(|(pid, _)| pid).collect()
}

async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let mut patience = Patience::new(what, Duration::from_secs(120));
    while !condition().await {
        patience.look("not so".to_owned()).unwrap_or_else(|why| panic!("{why}"));
        sleep(Duration::from_millis(50)).await;
    }
}
