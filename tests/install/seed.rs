//! A cluster as the former operator leaves it, made by `fixtures/seed/generate.sh`, and what has to become of it.

use std::collections::BTreeMap;
use std::process::Stdio;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde::Deserialize as _;
use serde_json::{Value, json};
use testbed::Access;
use tokio::io::AsyncWriteExt as _;

use crate::script::{command, ended, root};

/// The Deployment, of the former operator and of this one.
pub const DEPLOYMENT: &str = "configmapsync-controller-manager";
/// The definition.
pub const CRD: &str = "configmapsyncs.apps.kapendra.com";
/// The image of the former operator's Deployment.
pub const IMAGE: &str = "docker.io/kapendra007/configmapsync:v1.0.0";
/// The Deployment of its README.
pub const README: &str = "deployment-readme.yaml";
/// The Deployment of its `make deploy`, which has another selector.
pub const KUBEBUILDER: &str = "deployment-kubebuilder.yaml";

const SYSTEM: &str = "configmapsync-system";
const PREFIX: &str = "configmapsync.apps.kapendra.com/";

/// What kubectl prints, which must succeed.
pub async fn kubectl(cluster: &Access, args: &[&str], input: &str) -> String {
    let mut command = tokio::process::Command::from(cluster.kubectl());
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    assert!(output.status.success(), "kubectl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn file(name: &str) -> String {
    root().join("tests/install/fixtures/seed").join(name).to_str().unwrap().to_owned()
}

/// Applies what the former operator leaves, its Deployment with this selector.
pub async fn former(cluster: &Access, deployment: &str) {
    kubectl(cluster, &["apply", "-f", &file("crd.yaml")], "").await;
    kubectl(cluster, &["wait", "--for=condition=Established", "--timeout=60s", "crd", CRD], "").await;
    for name in ["around.yaml", deployment] {
        kubectl(cluster, &["apply", "-f", &file(name)], "").await;
    }
    let generated = async |what: &str| {
        let mut generate = command(cluster, "tests/install/fixtures/seed/generate.sh");
        generate.arg(what);
        ended(generate).await.well()
    };
    kubectl(cluster, &["create", "-f", "-"], &generated("objects").await).await;
    // By hand: kubectl applies a status only from 1.32 on.
    let syncs = ApiResource::from_gvk(&GroupVersionKind::gvk("apps.kapendra.com", "v1", "ConfigMapSync"));
    let by_kubectl = PatchParams::apply("kubectl").force();
    for document in serde_yaml_ng::Deserializer::from_str(&generated("statuses").await) {
        let sync = Value::deserialize(document).unwrap();
        let (namespace, name) =
            (sync["metadata"]["namespace"].as_str().unwrap(), sync["metadata"]["name"].as_str().unwrap());
        let syncs = Api::<DynamicObject>::namespaced_with(cluster.client().unwrap(), namespace, &syncs);
        syncs.patch_status(name, &by_kubectl, &Patch::Apply(&sync)).await.unwrap();
    }
}

/// Puts the former operator back in place of this one; syncs and copies are there.
pub async fn back(cluster: &Access, deployment: &str) {
    for name in ["crd.yaml", "around.yaml", deployment] {
        kubectl(cluster, &["apply", "--server-side", "--force-conflicts", "-f", &file(name)], "").await;
    }
}

/// The copies, by name.
pub async fn copies(cluster: &Access) -> BTreeMap<String, ConfigMap> {
    let maps = Api::<ConfigMap>::namespaced(cluster.client().unwrap(), "dst");
    let list = maps.list(&ListParams::default()).await.unwrap();
    list.into_iter().map(|map| (map.name_any(), map)).filter(|(name, _)| name != "kube-root-ca.crt").collect()
}

/// Something as JSON; null where it is not there.
pub async fn get(cluster: &Access, args: &[&str]) -> Value {
    let args = [&["get", "-o", "json", "--ignore-not-found"], args].concat();
    let text = kubectl(cluster, &args, "").await;
    if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() }
}

/// The Deployment, of the former operator or of this one.
pub async fn deployment(cluster: &Access) -> Value {
    get(cluster, &["deployment", DEPLOYMENT, "-n", SYSTEM]).await
}

/// A sync.
pub async fn sync(cluster: &Access, name: &str) -> Value {
    get(cluster, &["configmapsync", name, "-n", "syncs"]).await
}

/// A condition of a sync.
pub fn condition<'a>(sync: &'a Value, kind: &str) -> &'a Value {
    let conditions = sync["status"]["conditions"].as_array();
    conditions.and_then(|all| all.iter().find(|one| one["type"] == kind)).unwrap_or(&Value::Null)
}

/// Whether this operator has taken every sync over; what is not as it should be, if not.
pub async fn is_taken_over(cluster: &Access) -> Result<(), String> {
    for name in ["good-1", "good-2", "good-3", "stale", "adopted", "second"] {
        let sync = sync(cluster, name).await;
        if condition(&sync, "Ready")["status"] != "True" || !sync["status"]["copy"].is_object() {
            return Err(sync.to_string());
        }
    }
    // Two want one copy: the other is told.
    let first = sync(cluster, "first").await;
    let stalled = condition(&first, "Stalled")["reason"] == "DestinationConflict";
    if stalled { Ok(()) } else { Err(first.to_string()) }
}

/// No copy is lost, and none that was in order is written: the resourceVersions are the same. The one that was not now is.
#[track_caller]
pub fn assert_only_the_stale_one_was_written(before: &BTreeMap<String, ConfigMap>, after: BTreeMap<String, ConfigMap>) {
    let mut after = after;
    let stale = after.insert("stale".to_owned(), before["stale"].clone()).unwrap();
    assert_eq!(json!(stale.data), json!({ "key": "new" }));
    assert_eq!(&after, before);
}

/// After [`back`] definition, syncs and copies are what the former operator reads.
pub async fn assert_the_former_reads_it(cluster: &Access, before: &BTreeMap<String, ConfigMap>) {
    let again = copies(cluster).await;
    assert_eq!(again.len(), 7);
    assert_eq!(again["good-1"], before["good-1"]);
    let labels = again["stale"].labels();
    assert_eq!(labels.get(&format!("{PREFIX}sync-name")).map(String::as_str), Some("stale"));
    assert_eq!(labels.get(&format!("{PREFIX}sync-namespace")).map(String::as_str), Some("syncs"));
    assert_eq!(labels.get(&format!("{PREFIX}managed-by")).map(String::as_str), Some("configmapsync-controller"));
    for (name, ready) in [("good-1", "True"), ("stale", "True"), ("first", "False")] {
        let sync = sync(cluster, name).await;
        assert_eq!(sync["metadata"]["finalizers"], json!(["configmapsync.apps.kapendra.com/finalizer"]), "{sync}");
        assert_eq!(condition(&sync, "Ready")["status"], ready, "{sync}");
        assert!(sync["status"]["syncStatus"].is_string() && sync["status"]["sourceExists"] == true, "{sync}");
        assert!(sync["status"]["lastSyncTime"].is_string(), "{sync}");
    }
    let deployed = deployment(cluster).await;
    assert_eq!(deployed["spec"]["template"]["spec"]["containers"][0]["image"], IMAGE);
}
