//! From the former operator to this one and back. What it leaves is made by `fixtures/seed/generate.sh`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use crate::harness::{Bed, Operator, PREFIX, SYSTEM, eventually};
use crate::script::{command, ended, install, root};

const DEPLOYMENT: &str = "configmapsync-controller-manager";
const CRD: &str = "configmapsyncs.apps.kapendra.com";

/// Applies what the former operator leaves, its Deployment with this selector.
async fn former(bed: &Bed, deployment: &str) {
    let seed = root().join("tests/install/fixtures/seed");
    let file = |name: &str| seed.join(name).to_str().unwrap().to_owned();
    bed.kubectl(&["apply", "-f", &file("crd.yaml")], "").await.unwrap();
    bed.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "crd", CRD], "").await.unwrap();
    for name in ["around.yaml", deployment] {
        bed.kubectl(&["apply", "-f", &file(name)], "").await.unwrap();
    }
    let generated = async |what: &str| {
        let mut generate = command(bed, "tests/install/fixtures/seed/generate.sh");
        generate.arg(what);
        ended(generate).await.well()
    };
    bed.kubectl(&["create", "-f", "-"], &generated("objects").await).await.unwrap();
    let statuses = ["apply", "--server-side", "--subresource=status", "--force-conflicts", "-f", "-"];
    bed.kubectl(&statuses, &generated("statuses").await).await.unwrap();
}

/// The copies, by name.
async fn copies(bed: &Bed) -> BTreeMap<String, ConfigMap> {
    let maps = Api::<ConfigMap>::namespaced(bed.cluster().client().unwrap(), "dst");
    let list = maps.list(&ListParams::default()).await.unwrap();
    list.into_iter().map(|map| (map.name_any(), map)).filter(|(name, _)| name != "kube-root-ca.crt").collect()
}

async fn get(bed: &Bed, args: &[&str]) -> Value {
    let args = [&["get", "-o", "json", "--ignore-not-found"], args].concat();
    let text = bed.kubectl(&args, "").await.unwrap();
    if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() }
}

async fn sync(bed: &Bed, name: &str) -> Value {
    get(bed, &["configmapsync", name, "-n", "syncs"]).await
}

fn condition<'a>(sync: &'a Value, kind: &str) -> &'a Value {
    let conditions = sync["status"]["conditions"].as_array();
    conditions.and_then(|all| all.iter().find(|one| one["type"] == kind)).unwrap_or(&Value::Null)
}

/// Starts an operator as soon as the script has made its account.
async fn operator(bed: &Bed, name: &str) -> Operator {
    eventually("the script has applied the Deployment", async || {
        let args = ["get", "deployment,clusterrolebinding", DEPLOYMENT, "-n", SYSTEM, "-o", "name"];
        bed.kubectl(&args, "").await.map(drop)
    })
    .await;
    bed.operator(name).await
}

async fn there_and_back(test: &str, deployment: &str) {
    let Some(bed) = Bed::bare(test).await else { return };
    former(&bed, deployment).await;
    let before = copies(&bed).await;
    assert_eq!(before.len(), 7);
    let uid = get(&bed, &["deployment", DEPLOYMENT, "-n", SYSTEM]).await["metadata"]["uid"].clone();

    // It says what will change before it does, and does nothing while nobody says yes.
    let ended = install(&bed, &["--no-wait"]).await;
    assert!(ended.out.contains("ConfigMapSyncs: 8\n"), "{ended:#?}");
    let counts =
        "Copies: 5 in order, 1 to be overwritten with what their source holds now, 0 to be made, 1 without a source";
    assert!(ended.out.contains(counts) && ended.out.contains("\n  dst/stale\n"), "{ended:#?}");
    assert!(ended.err.contains("dst/shared: syncs/first and syncs/second"), "{ended:#?}");
    ended.badly(3, &["1 copies will be overwritten", "--yes"]);
    let said = install(&bed, &["--dry-run"]).await;
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert!(said.out.contains("Would scale Deployment/configmapsync-controller-manager to 0"), "{said:#?}");
    assert!(said.out.contains("Deployment/configmapsync-controller-manager: would be replaced"), "{said:#?}");
    assert_eq!(get(&bed, &["deployment", DEPLOYMENT, "-n", SYSTEM]).await["metadata"]["uid"], uid);

    let said = install(&bed, &["--no-wait", "--yes"]).await;
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert!(said.out.contains("scaled to 0, its pods are gone, deleted"), "{said:#?}");
    let ours = get(&bed, &["deployment", DEPLOYMENT, "-n", SYSTEM]).await;
    assert_ne!(ours["metadata"]["uid"], uid);
    assert_eq!(ours["spec"]["template"]["metadata"]["labels"]["control-plane"], "controller-manager");
    assert_eq!(get(&bed, &["lease", "3fe4c69f.kapendra.com", "-n", SYSTEM]).await, Value::Null);
    assert_eq!(copies(&bed).await, before, "the script itself touches no copy");

    // Ours takes over.
    let operator = bed.holder("upgrade").await;
    for name in ["good-1", "good-2", "good-3", "stale", "adopted", "second"] {
        eventually(format!("{name} is taken over"), async || {
            let sync = sync(&bed, name).await;
            let done = condition(&sync, "Ready")["status"] == "True" && sync["status"]["copy"].is_object();
            if done { Ok(()) } else { Err(sync.to_string()) }
        })
        .await;
    }
    eventually("the other of two is told", async || {
        let first = sync(&bed, "first").await;
        let stalled = condition(&first, "Stalled")["reason"] == "DestinationConflict";
        if stalled { Ok(()) } else { Err(first.to_string()) }
    })
    .await;
    let mut after = copies(&bed).await;
    let stale = after.insert("stale".to_owned(), before["stale"].clone()).unwrap();
    assert_eq!(json!(stale.data), json!({ "key": "new" }));
    assert_eq!(after, before, "no copy is lost, none that is in order is written: resourceVersions are the same");
    assert!(operator.terminate().await.is_some());

    // And back: the definition, syncs and copies as the former operator reads them.
    let said = install(&bed, &["--uninstall", "--keep-syncs"]).await.well();
    assert!(said.contains("8 ConfigMapSyncs and their copies are left as they are"), "{said}");
    let seed = root().join("tests/install/fixtures/seed");
    for name in ["crd.yaml", "around.yaml", deployment] {
        let args =
            ["apply", "--server-side", "--force-conflicts", "-f", seed.join(name).to_str().unwrap()].map(str::to_owned);
        bed.kubectl(&args.each_ref().map(String::as_str), "").await.unwrap();
    }
    let again = copies(&bed).await;
    assert_eq!(again.len(), 7);
    assert_eq!(again["good-1"], before["good-1"]);
    let labels = again["stale"].labels();
    assert_eq!(labels.get(&format!("{PREFIX}sync-name")).map(String::as_str), Some("stale"));
    assert_eq!(labels.get(&format!("{PREFIX}sync-namespace")).map(String::as_str), Some("syncs"));
    assert_eq!(labels.get(&format!("{PREFIX}managed-by")).map(String::as_str), Some("configmapsync-controller"));
    for (name, ready) in [("good-1", "True"), ("stale", "True"), ("first", "False")] {
        let sync = sync(&bed, name).await;
        assert_eq!(sync["metadata"]["finalizers"], json!(["configmapsync.apps.kapendra.com/finalizer"]), "{sync}");
        assert_eq!(condition(&sync, "Ready")["status"], ready, "{sync}");
        assert!(sync["status"]["syncStatus"].is_string() && sync["status"]["sourceExists"] == true, "{sync}");
        assert!(sync["status"]["lastSyncTime"].is_string(), "{sync}");
    }
    let deployed = get(&bed, &["deployment", DEPLOYMENT, "-n", SYSTEM]).await;
    assert_eq!(
        deployed["spec"]["template"]["spec"]["containers"][0]["image"],
        "docker.io/kapendra007/configmapsync:v1.0.0"
    );
}

#[tokio::test]
async fn from_the_former_readmes_deployment_and_back_no_copy_is_lost_or_written_in_vain() {
    there_and_back("from_the_former_readmes_deployment_and_back", "deployment-readme.yaml").await;
}

#[tokio::test]
async fn from_the_former_make_deploy_and_back_no_copy_is_lost_or_written_in_vain() {
    there_and_back("from_the_former_make_deploy_and_back", "deployment-kubebuilder.yaml").await;
}

/// The former README's "fresh installation": the operator's namespace goes, then the definition, which waits for the
/// finalizers that nobody takes off.
async fn hanging(bed: &Bed) {
    former(bed, "deployment-readme.yaml").await;
    bed.kubectl(&["delete", "namespace", SYSTEM, "--ignore-not-found", "--timeout=60s"], "").await.unwrap();
    bed.kubectl(&["delete", "crd", CRD, "--wait=false"], "").await.unwrap();
    eventually("the syncs are being deleted", async || {
        let sync = sync(bed, "good-1").await;
        if sync["metadata"]["deletionTimestamp"].is_string() { Ok(()) } else { Err(sync.to_string()) }
    })
    .await;
    let before = copies(bed).await;
    let words = [CRD, "waits for 8 ConfigMapSyncs", "--finish-deletion", "--keep-copies"];
    let said = install(bed, &["--no-wait"]).await.badly(1, &words);
    assert!(said.contains("syncs/good-1"), "{said}");
    for way in ["--finish-deletion", "--keep-copies"] {
        install(bed, &["--no-wait", way]).await.badly(3, &["8 ConfigMapSyncs go", "--yes"]);
    }
    assert_eq!(copies(bed).await, before);
}

#[tokio::test]
async fn a_definition_that_hangs_in_its_deletion_is_ended_with_the_copies() {
    let Some(bed) = Bed::bare("a_definition_that_hangs_is_ended").await else { return };
    hanging(&bed).await;
    // Nobody is there to end it, as long as no pod runs.
    let words = [CRD, "still waits for 8 ConfigMapSyncs", "is on no node", "--keep-copies"];
    install(&bed, &["--finish-deletion", "--yes", "--timeout=4s"]).await.badly(1, &words);
    let args = ["--finish-deletion", "--yes", "--timeout=90s", "--no-wait"];
    let (ended, _operator) = tokio::join!(install(&bed, &args), operator(&bed, "finish"));
    let said = ended.well();
    assert!(said.contains("The definition is gone; installing it anew"), "{said}");
    assert!(said.contains("is established"), "{said}");
    let left: Vec<String> = copies(&bed).await.into_keys().collect();
    assert_eq!(left, ["adopted"], "copies go, what stood there before stays");
    assert_eq!(get(&bed, &["configmapsyncs", "-A"]).await, Value::Null);
}

#[tokio::test]
async fn a_definition_that_hangs_in_its_deletion_is_released_and_copies_stay() {
    let Some(bed) = Bed::bare("a_definition_that_hangs_is_released").await else { return };
    hanging(&bed).await;
    let before = copies(&bed).await;
    let said = install(&bed, &["--keep-copies", "--yes", "--no-wait"]).await.well();
    assert!(said.contains("8 ConfigMapSyncs are released") && said.contains("is established"), "{said}");
    let after = copies(&bed).await;
    for (name, copy) in &before {
        assert_eq!(after[name].data, copy.data, "{name}");
        assert_eq!(after[name].labels().len(), 0, "{name}");
    }
    assert_eq!(get(&bed, &["configmapsyncs", "-A"]).await, Value::Null);
    // No operator takes them for its own later.
    let operator = bed.holder("later").await;
    tokio::time::sleep(crate::harness::seconds(3)).await;
    assert_eq!(copies(&bed).await, after);
    assert!(operator.is_running());
}
