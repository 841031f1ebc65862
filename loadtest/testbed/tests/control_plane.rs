//! The test bed against itself: what every other test takes for granted.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "clippy excuses test functions, not their helpers")]

mod processes;

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use kube::api::{DeleteParams, ObjectMeta, PostParams};
use kube::{Api, Client};
use testbed::process::{self, Signal};
use testbed::{AuditEvent, Cluster, Component, ControlPlane, Options, Patience, audit};
use tokio::time::sleep;

#[tokio::test]
async fn two_stand_side_by_side_and_leave_nothing() {
    testbed::bin_dir().await.unwrap();
    let begun = Instant::now();
    let (left, right) = tokio::join!(ControlPlane::start(Options::default()), ControlPlane::start(Options::default()));
    let (left, right) = (left.unwrap(), right.unwrap());
    eprintln!("two at once were ready after {:?}", begun.elapsed());
    assert_ne!(left.dir(), right.dir());

    for (control_plane, name) in [(&left, "left"), (&right, "right")] {
        let log = control_plane.audit().unwrap();
        let mark = log.mark().unwrap();
        create(&control_plane.client().unwrap(), name).await;
        let counts = counts(&log.since(mark).unwrap());
        assert_eq!(counts.get("testbed create configmaps"), Some(&1), "{counts:?}");
    }
    let names =
        left.kubectl().args(["get", "configmaps", "--namespace", "default", "--output", "name"]).output().unwrap();
    let names = String::from_utf8(names.stdout).unwrap();
    assert!(names.contains("configmap/left") && !names.contains("right"), "{names}");

    left.restart(Component::ApiServer).await.unwrap();
    let log = left.audit().unwrap();
    let mark = log.mark().unwrap();
    let maps = Api::<ConfigMap>::namespaced(left.client().unwrap(), "default");
    maps.get("left").await.expect("the data survives a restart of the API server");
    assert_eq!(counts(&log.since(mark).unwrap()).get("testbed get configmaps"), Some(&1), "the log goes on");
    left.restart(Component::Etcd).await.unwrap();
    maps.get("left").await.expect("the data survives a restart of etcd");

    let dirs = [left.dir().to_owned(), right.dir().to_owned()];
    let pids: Vec<u32> = [&left, &right].into_iter().flat_map(pids).collect();
    assert_eq!(pids.len(), 6);
    drop(left);
    assert!(processes_naming(&dirs[0]).is_empty());
    create(&right.client().unwrap(), "after-the-other-went").await;
    drop(right);
    for dir in &dirs {
        assert!(!dir.exists(), "{} is left", dir.display());
        assert_eq!(processes_naming(dir), Vec::<u32>::new());
    }
    assert!(pids.iter().all(|pid| !is_alive(*pid)));
}

#[tokio::test]
async fn a_service_account_acts_as_itself_and_a_frozen_server_comes_back() {
    let control_plane = ControlPlane::start(Options::default()).await.unwrap();
    let client = control_plane.client().unwrap();
    let accounts = Api::<ServiceAccount>::namespaced(client.clone(), "default");
    let account = ServiceAccount { metadata: named("operator"), ..ServiceAccount::default() };
    accounts.create(&PostParams::default(), &account).await.unwrap();

    let kubeconfig = control_plane.service_account_kubeconfig("default", "operator").await.unwrap();
    let config = testbed::kubeconfig::config(&kubeconfig).await.unwrap();
    let operator = testbed::kubeconfig::test_client(config).unwrap();
    let mark = control_plane.audit().unwrap().mark().unwrap();
    let refused = Api::<ConfigMap>::namespaced(operator, "default").get("kube-root-ca.crt").await.unwrap_err();
    assert!(matches!(&refused, kube::Error::Api(status) if status.code == 403), "{refused}");
    let events = control_plane.audit().unwrap().since(mark).unwrap();
    let event = events.iter().find(|event| event.user == "system:serviceaccount:default:operator").expect("in the log");
    assert_eq!((event.code, event.verb.as_str(), event.namespace.as_str()), (403, "get", "default"));

    control_plane.pause(Component::ApiServer).unwrap();
    let answer = tokio::time::timeout(Duration::from_millis(500), client.apiserver_version()).await;
    assert!(answer.is_err(), "a frozen server answered");
    control_plane.resume(Component::ApiServer).unwrap();
    client.apiserver_version().await.unwrap();

    // The controllers work: a namespace only goes when the controller manager has emptied it.
    let namespaces = Api::<Namespace>::all(client);
    namespaces
        .create(&PostParams::default(), &Namespace { metadata: named("short-lived"), ..Namespace::default() })
        .await
        .unwrap();
    namespaces.delete("short-lived", &DeleteParams::default()).await.unwrap();
    eventually("the namespace goes", async || namespaces.get_opt("short-lived").await.unwrap().is_none()).await;
}

#[tokio::test]
async fn someone_elses_cluster_can_be_used_but_not_broken() {
    let owner = ControlPlane::start(Options { audit: false, ..Options::default() }).await.unwrap();
    assert!(owner.audit().is_err(), "it was switched off");
    let kubeconfig = kube::config::Kubeconfig::read_from(owner.kubeconfig()).unwrap();
    let cluster = Cluster::connect(kubeconfig).await.unwrap();

    create(&cluster.client().unwrap(), "through-connect").await;
    let get = cluster.kubectl().args(["get", "configmap", "through-connect"]).output().unwrap();
    assert!(get.status.success(), "{}", String::from_utf8_lossy(&get.stderr));
    eventually("the controllers make the account", async || {
        cluster.service_account_kubeconfig("default", "default").await.is_ok()
    })
    .await;
    let account = cluster.service_account_kubeconfig("default", "default").await.unwrap();
    let config = testbed::kubeconfig::config(&account).await.unwrap();
    testbed::kubeconfig::test_client(config).unwrap().apiserver_version().await.unwrap();
    for refused in [cluster.control_plane().map(|_| ()), cluster.audit().map(|_| ())] {
        assert!(refused.unwrap_err().to_string().contains("unset KUBECONFIG"));
    }
    let dir = cluster.dir().to_owned();
    drop(cluster);
    assert!(!dir.exists());
}

#[tokio::test]
async fn a_killed_parent_leaves_nothing() {
    testbed::bin_dir().await.unwrap();
    // Should this test fail before it kills it, its standard input closes.
    let mut parent = Command::new(env!("CARGO_BIN_EXE_testbed"))
        .args(["up", "--until-stdin-closes"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(parent.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let dir = PathBuf::from(line.trim()).parent().unwrap().to_owned();
    // The command line of one that has just been started is empty for a moment, while its program takes over.
    eventually("etcd, API server and controller manager run", async || processes_naming(&dir).len() == 3).await;
    parent.kill().unwrap();
    parent.wait().unwrap();
    eventually("nothing is left", async || processes_naming(&dir).is_empty() && !dir.exists()).await;
}

#[tokio::test]
async fn an_interrupted_or_abandoned_one_leaves_nothing() {
    testbed::bin_dir().await.unwrap();
    let parent = std::env::temp_dir().join(format!("testbed-dir-{}", std::process::id()));
    let log = parent.with_extension("log");
    let up = process::Command::new(env!("CARGO_BIN_EXE_testbed")).args(["up", "--no-audit", "--dir"]).arg(&parent);
    // Should its janitor remove what is gone already, it takes long enough to be seen doing so.
    let slow = parent.with_extension("bin");
    fs::create_dir_all(&slow).unwrap();
    fs::write(slow.join("rm"), "#!/bin/sh\nsleep 2\nexec /bin/rm \"$@\"\n").unwrap();
    fs::set_permissions(slow.join("rm"), Permissions::from_mode(0o755)).unwrap();
    let up = up.env("PATH", format!("{}:{}", slow.display(), std::env::var("PATH").unwrap())).log(&log);
    let child = process::spawn(&up).unwrap();
    eventually("it is up", async || fs::read_to_string(&log).is_ok_and(|text| text.contains("ready after"))).await;
    let status = child.terminate(Duration::from_secs(10)).await.unwrap().expect("it ends by itself");
    assert!(status.success(), "{status}");
    sleep(Duration::from_millis(300)).await;
    assert_eq!(processes_naming(&parent), Vec::<u32>::new());
    assert!(!parent.exists());
    fs::remove_file(&log).unwrap();
    fs::remove_dir_all(&slow).unwrap();

    let mut child = Command::new(env!("CARGO_BIN_EXE_testbed"))
        .args(["up", "--until-stdin-closes"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

#[tokio::test]
async fn a_child_obeys_signals() {
    let child = process::spawn(&process::Command::new("sleep").arg("1000")).unwrap();
    assert!(is_alive(child.pid()) && child.try_wait().unwrap().is_none());
    child.signal(Signal::Stop).unwrap();
    assert_eq!(state(child.pid()), Some('T'));
    child.signal(Signal::Stop).expect("harmless when it stands");
    child.signal(Signal::Cont).unwrap();
    child.signal(Signal::Term).unwrap();
    assert!(!child.wait().await.unwrap().success());
    child.signal(Signal::Kill).expect("harmless when it has ended");

    let missing = process::spawn(&process::Command::new("/nonexistent/program")).unwrap_err();
    assert!(missing.to_string().contains("/nonexistent/program"), "{missing:#}");
}

fn named(name: &str) -> ObjectMeta {
    ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() }
}

async fn create(client: &Client, name: &str) {
    let map = ConfigMap { metadata: named(name), ..ConfigMap::default() };
    Api::namespaced(client.clone(), "default").create(&PostParams::default(), &map).await.unwrap();
}

fn counts(events: &[AuditEvent]) -> BTreeMap<String, usize> {
    audit::count(events).into_iter().map(|(kind, count)| (kind.to_string(), count)).collect()
}

fn pids(control_plane: &ControlPlane) -> Vec<u32> {
    [Component::Etcd, Component::ApiServer, Component::ControllerManager]
        .into_iter()
        .filter_map(|component| control_plane.pid(component))
        .collect()
}

/// The processes whose command line names a file in this directory. The program itself was told the directory too, where
/// it was given one: it is not what is looked for.
fn processes_naming(dir: &Path) -> Vec<u32> {
    let itself = |words: &[u8]| words.windows(4).any(|word| word == b"\0up\0");
    processes::naming(dir).into_iter().filter(|(_, words)| !itself(words)).map(|(pid, _)| pid).collect()
}

/// A zombie is not alive: it has ended, and waits for whoever is to collect it.
fn is_alive(pid: u32) -> bool {
    state(pid).is_some_and(|state| state != 'Z')
}

fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(") ").next()?.chars().next()
}

async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let mut patience = Patience::new(what, Duration::from_secs(120));
    while !condition().await {
        patience.look("not so".to_owned()).unwrap_or_else(|why| panic!("{why}"));
        sleep(Duration::from_millis(50)).await;
    }
}
