//! From the former operator to this one and back.

use kube::ResourceExt as _;
use serde_json::Value;

use crate::harness::{Bed, Operator, SYSTEM, eventually};
use crate::script::install;
use crate::seed::{self, CRD, DEPLOYMENT, copies, get, sync};

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
    seed::former(&bed, deployment).await;
    let before = copies(&bed).await;
    assert_eq!(before.len(), 7);
    let uid = seed::deployment(&bed).await["metadata"]["uid"].clone();

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
    assert_eq!(seed::deployment(&bed).await["metadata"]["uid"], uid);

    let said = install(&bed, &["--no-wait", "--yes"]).await;
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert!(said.out.contains("scaled to 0, its pods are gone, deleted"), "{said:#?}");
    let ours = seed::deployment(&bed).await;
    assert_ne!(ours["metadata"]["uid"], uid);
    assert_eq!(ours["spec"]["template"]["metadata"]["labels"]["control-plane"], "controller-manager");
    assert_eq!(get(&bed, &["lease", "3fe4c69f.kapendra.com", "-n", SYSTEM]).await, Value::Null);
    assert_eq!(copies(&bed).await, before, "the script itself touches no copy");

    // Ours takes over.
    let operator = bed.holder("upgrade").await;
    eventually("every sync is taken over", async || seed::is_taken_over(&bed).await).await;
    seed::assert_only_the_stale_one_was_written(&before, copies(&bed).await);
    assert!(operator.terminate().await.is_some());

    // And back.
    let said = install(&bed, &["--uninstall", "--keep-syncs"]).await.well();
    assert!(said.contains("8 ConfigMapSyncs and their copies are left as they are"), "{said}");
    seed::back(&bed, deployment).await;
    seed::assert_the_former_reads_it(&bed, &before).await;
}

#[tokio::test]
async fn from_the_former_readmes_deployment_and_back_no_copy_is_lost_or_written_in_vain() {
    there_and_back("from_the_former_readmes_deployment_and_back", seed::README).await;
}

#[tokio::test]
async fn from_the_former_make_deploy_and_back_no_copy_is_lost_or_written_in_vain() {
    there_and_back("from_the_former_make_deploy_and_back", seed::KUBEBUILDER).await;
}

/// The former README's "fresh installation": the operator's namespace goes, then the definition, which waits for the
/// finalizers that nobody takes off.
async fn hanging(bed: &Bed) {
    seed::former(bed, seed::README).await;
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
