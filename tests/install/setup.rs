//! Installing and removing.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::harness::{Bed, Case, SYSTEM, eventually, seconds};
use crate::script::{command, ended, install, root};

const CRD: &str = "configmapsyncs.apps.kapendra.com";
const DEPLOYMENT: &str = "configmapsync-controller-manager";

/// The resourceVersion of each object that is shipped, so far as it is there; the Deployment's generation, since its
/// controller writes its status.
async fn versions(bed: &Bed) -> BTreeMap<String, String> {
    let file = root().join("deploy/install.yaml");
    let args = ["get", "--ignore-not-found", "-o", "json", "-f", file.to_str().unwrap()];
    let text = bed.kubectl(&args, "").await.unwrap();
    if text.is_empty() {
        return BTreeMap::new();
    }
    let list: Value = serde_json::from_str(&text).unwrap();
    let items = list["items"].as_array().cloned().unwrap_or_else(|| vec![list]);
    let version = |item: &Value| match item["kind"].as_str().unwrap() {
        "Deployment" => item["metadata"]["generation"].to_string(),
        "PodDisruptionBudget" => item["metadata"]["generation"].to_string(),
        _ => item["metadata"]["resourceVersion"].to_string(),
    };
    items.iter().map(|item| (format!("{}/{}", item["kind"], item["metadata"]["name"]), version(item))).collect()
}

async fn replicas(bed: &Bed) -> String {
    let args = [
        "get",
        "deployment",
        DEPLOYMENT,
        "-n",
        SYSTEM,
        "-o",
        "jsonpath={.spec.replicas} {.spec.template.spec.containers[0].image}",
    ];
    bed.kubectl(&args, "").await.unwrap()
}

async fn is_there(bed: &Bed, what: &[&str]) -> bool {
    let args = [&["get", "--ignore-not-found", "-o", "name"], what].concat();
    !bed.kubectl(&args, "").await.unwrap().is_empty()
}

#[tokio::test]
async fn a_fresh_install_works_and_a_second_one_changes_nothing() {
    let Some(bed) = Bed::bare("a_fresh_install_works_and_a_second_one_changes_nothing").await else { return };
    let said = install(&bed, &["--dry-run"]).await.well();
    assert!(said.contains("Deployment/configmapsync-controller-manager: would be created"), "{said}");
    assert!(said.ends_with("Nothing was changed.\n"), "{said}");
    assert_eq!(versions(&bed).await, BTreeMap::new(), "a dry run");

    let said = install(&bed, &["--no-wait"]).await.well();
    assert_eq!(said.matches(": created\n").count(), 19, "{said}");
    assert!(said.contains("is established"), "{said}");
    let case = Case::on(&bed, "fresh").await;
    case.source(json!({ "k": "v" })).await;
    case.sync("s", json!({})).await;
    let _operator = bed.holder("fresh").await;
    case.until_copied(json!({ "k": "v" })).await;

    let before = versions(&bed).await;
    assert_eq!(before.len(), 19, "{before:?}");
    let said = install(&bed, &["--no-wait"]).await.well();
    assert_eq!(said.matches(": unchanged\n").count(), 19, "{said}");
    let said = install(&bed, &["--dry-run"]).await.well();
    assert_eq!(said.matches(": would stay as it is\n").count(), 19, "{said}");
    assert_eq!(versions(&bed).await, before);

    // As it comes through a pipe, and with what people change: the number of replicas is theirs, the image is asked for.
    bed.kubectl(&["scale", "deployment", DEPLOYMENT, "-n", SYSTEM, "--replicas=4"], "").await.unwrap();
    let dry = install(&bed, &["--dry-run", "--image", "example.com/own/configmapsync:v7"]).await.well();
    assert!(dry.contains(&format!("Deployment/{DEPLOYMENT}: would be changed")), "{dry}");
    assert_eq!(dry.matches(": would stay as it is\n").count(), 18, "{dry}");
    let mut piped = command(&bed, "bash");
    piped.args(["-c", "cat deploy/install.sh | bash -s -- --no-wait --manifests=deploy/install.yaml --image=example.com/own/configmapsync:v7"]);
    let said = ended(piped).await.well();
    assert!(
        said.contains("4 replicas (kept)") && said.contains(&format!("Deployment/{DEPLOYMENT}: changed")),
        "{said}"
    );
    assert_eq!(replicas(&bed).await, "4 example.com/own/configmapsync:v7");
}

/// Without a node pods never run, so this test says of each what a kubelet would say of it.
async fn pods_run(bed: &Bed) {
    let pods = Api::<Pod>::namespaced(bed.cluster().client().unwrap(), SYSTEM);
    loop {
        for pod in pods.list(&ListParams::default()).await.unwrap() {
            let status = json!({ "status": { "phase": "Running", "conditions": [
                { "type": "Ready", "status": "True", "lastTransitionTime": "2025-01-23T10:30:45Z" },
            ] } });
            let name = pod.metadata.name.unwrap();
            let _ = pods.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await;
        }
        tokio::time::sleep(seconds(1) / 5).await;
    }
}

#[tokio::test]
async fn it_waits_until_the_operator_is_available_and_says_why_it_is_not() {
    let Some(bed) = Bed::bare("it_waits_until_the_operator_is_available").await else { return };
    let words = [SYSTEM, DEPLOYMENT, "not available after 3s", "is on no node: no scheduler has looked at it"];
    install(&bed, &["--timeout=3s"]).await.badly(1, &words);
    // An image that cannot be fetched, as a kubelet tells it.
    let pods = Api::<Pod>::namespaced(bed.cluster().client().unwrap(), SYSTEM);
    for pod in pods.list(&ListParams::default()).await.unwrap() {
        let name = pod.metadata.name.unwrap();
        let node = json!({ "apiVersion": "v1", "kind": "Binding", "metadata": { "name": name, "namespace": SYSTEM }, "target": { "kind": "Node", "name": "n" } });
        let path = format!("/api/v1/namespaces/{SYSTEM}/pods/{name}/binding");
        bed.kubectl(&["create", "--raw", &path, "-f", "-"], &node.to_string()).await.unwrap();
        let status = json!({ "status": { "phase": "Pending", "containerStatuses": [{
            "name": "manager", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
            "state": { "waiting": { "reason": "ImagePullBackOff", "message": "Back-off pulling image \"i\"" } },
        }] } });
        pods.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    }
    install(&bed, &["--timeout=2s"]).await.badly(1, &["ImagePullBackOff: Back-off pulling image \"i\""]);
    let said = tokio::select! {
        ended = install(&bed, &["--timeout=60s"]) => ended.well(),
        () = pods_run(&bed) => unreachable!(),
    };
    assert!(said.contains("The operator is available."), "{said}");
}

#[tokio::test]
async fn pods_that_may_not_be_made_are_told_of() {
    let Some(bed) = Bed::bare("pods_that_may_not_be_made_are_told_of").await else { return };
    bed.kubectl(&["create", "namespace", SYSTEM], "").await.unwrap();
    bed.kubectl(&["create", "quota", "none", "--hard=pods=0", "-n", SYSTEM], "").await.unwrap();
    // There is no quota controller here: the quota's use is said by hand.
    let status = r#"{"status":{"hard":{"pods":"0"},"used":{"pods":"0"}}}"#;
    let patch = ["patch", "quota", "none", "-n", SYSTEM, "--subresource=status", "--type=merge", "-p", status];
    bed.kubectl(&patch, "").await.unwrap();
    install(&bed, &["--no-wait"]).await.badly(1, &["takes no Pod", "exceeded quota: none", "raise that quota"]);
    assert!(!is_there(&bed, &["deployment", DEPLOYMENT, "-n", SYSTEM]).await, "nothing was changed");

    // With an operator there, its own Pods may be what fills the quota: then it is told and tried.
    bed.kubectl(&["delete", "quota", "none", "-n", SYSTEM], "").await.unwrap();
    eventually("without the quota it goes", async || {
        let ended = install(&bed, &["--no-wait"]).await;
        if ended.code == Some(0) { Ok(()) } else { Err(format!("{ended:?}")) }
    })
    .await;
    let scale = async |replicas: &str| {
        bed.kubectl(&["scale", "deployment", DEPLOYMENT, "-n", SYSTEM, replicas], "").await.unwrap();
    };
    scale("--replicas=0").await;
    eventually("no pod is left", async || match is_there(&bed, &["pods", "-n", SYSTEM]).await {
        false => Ok(()),
        true => Err("some are".to_owned()),
    })
    .await;
    bed.kubectl(&["create", "quota", "none", "--hard=pods=0", "-n", SYSTEM], "").await.unwrap();
    bed.kubectl(&patch, "").await.unwrap();
    scale("--replicas=2").await;
    let words = ["no pod was made", "exceeded quota: none"];
    let said = install(&bed, &["--timeout=5s"]).await.badly(1, &words);
    assert!(
        said.contains("warning: there may be no room for new Pods of the operator: exceeded quota: none"),
        "{said}"
    );
}

/// An installed bed with an operator at work and two syncs: `s`, whose copy goes with it, and `kept` with Orphan.
async fn at_work<'a>(bed: &'a Bed, test: &str) -> (Case<'a>, crate::harness::Operator) {
    install(bed, &["--no-wait"]).await.well();
    let case = Case::on(bed, test).await.expecting_refusals();
    case.source(json!({ "k": "v" })).await;
    case.sync("s", json!({})).await;
    case.sync("kept", json!({ "destinationName": "kept", "deletionPolicy": "Orphan" })).await;
    let operator = bed.holder(test).await;
    case.until_ready("s").await;
    case.until_ready("kept").await;
    (case, operator)
}

#[tokio::test]
async fn uninstall_takes_syncs_first_and_copies_go_as_their_policies_say() {
    let Some(bed) = Bed::bare("uninstall_takes_syncs_first").await else { return };
    let (case, _operator) = at_work(&bed, "uninstall").await;
    let before = versions(&bed).await;
    install(&bed, &["--uninstall"]).await.badly(3, &["2 ConfigMapSyncs are deleted", "--yes"]);
    let said = install(&bed, &["--uninstall", "--dry-run"]).await.well();
    assert!(said.contains("Would delete 2 ConfigMapSyncs"), "{said}");
    assert_eq!(versions(&bed).await, before, "neither changed anything");

    let said = install(&bed, &["--uninstall", "--yes"]).await.well();
    assert!(said.contains("Uninstalled."), "{said}");
    assert!(case.get(&case.dst, "cm").await.is_none(), "the copy goes");
    let kept = case.get(&case.dst, "kept").await.expect("with Orphan it stays");
    assert_eq!(kept.metadata.labels.unwrap_or_default().len(), 0);
    assert_eq!(versions(&bed).await, BTreeMap::new(), "{said}");
    // Once more: nothing is there, and that is fine.
    let said = install(&bed, &["--uninstall", "--yes"]).await.well();
    assert!(said.contains("is not installed"), "{said}");
}

#[tokio::test]
async fn uninstall_can_keep_syncs_or_copies_or_the_operator() {
    let Some(bed) = Bed::bare("uninstall_can_keep_syncs_or_copies").await else { return };
    let (case, operator) = at_work(&bed, "keep").await;
    let copy = case.copy().await;
    assert!(operator.terminate().await.is_some());
    let said = install(&bed, &["--uninstall", "--keep-syncs"]).await.well();
    assert!(said.contains("2 ConfigMapSyncs and their copies are left as they are"), "{said}");
    assert_eq!(case.copy().await, copy);
    assert!(is_there(&bed, &["crd", CRD]).await && !is_there(&bed, &["namespace", SYSTEM]).await);

    // Without an operator nobody cleans up: it says so and how to go on, and copies can be kept instead.
    install(&bed, &["--uninstall", "--yes", "--timeout=3s"])
        .await
        .badly(1, &["2 ConfigMapSyncs", "only a running operator", "--keep-copies"]);
    let said = install(&bed, &["--uninstall", "--keep-copies", "--yes"]).await.well();
    assert!(said.contains("2 copies are ordinary ConfigMaps now"), "{said}");
    let copy = case.copy().await;
    assert!(copy.metadata.labels.is_none() && copy.metadata.annotations.is_none(), "{copy:?}");
    assert_eq!(json!(copy.data), json!({ "k": "v" }));
    assert!(!is_there(&bed, &["crd", CRD]).await);

    // The definition alone, as `make uninstall` does it.
    let (case, _operator) = at_work(&bed, "keep-operator").await;
    let mut make = command(&bed, "make");
    make.args(["uninstall", "TIMEOUT=60s"]);
    ended(make).await.well();
    assert!(case.get(&case.dst, "cm").await.is_none());
    assert!(!is_there(&bed, &["crd", CRD]).await && is_there(&bed, &["deployment", DEPLOYMENT, "-n", SYSTEM]).await);
    let mut make = command(&bed, "make");
    make.args(["undeploy"]);
    ended(make).await.well();
    assert!(!is_there(&bed, &["namespace", SYSTEM]).await);
}

#[tokio::test]
async fn a_namespace_that_holds_what_is_not_ours_is_kept() {
    let Some(bed) = Bed::bare("a_namespace_that_holds_what_is_not_ours_is_kept").await else { return };
    install(&bed, &["--no-wait"]).await.well();
    bed.kubectl(&["create", "configmap", "mine", "-n", SYSTEM], "").await.unwrap();
    let said = install(&bed, &["--uninstall"]).await.well();
    assert!(said.contains("kept, since it holds what is not ours") && said.contains("ConfigMap/mine"), "{said}");
    assert!(is_there(&bed, &["configmap", "mine", "-n", SYSTEM]).await);
    assert!(!is_there(&bed, &["deployment,serviceaccount", DEPLOYMENT, "-n", SYSTEM]).await);
}

#[tokio::test]
async fn what_stands_in_the_way_is_one_sentence_and_changes_nothing() {
    let Some(bed) = Bed::bare("what_stands_in_the_way_is_one_sentence").await else { return };
    // Wrong usage.
    for (args, word) in [
        (vec!["--no-such"], "--no-such"),
        (vec!["--image"], "--image needs a value"),
        (vec!["--timeout=soon"], "--timeout"),
        (vec!["--namespace=A_b"], "--namespace"),
        (vec!["--keep-syncs"], "--uninstall"),
        (vec!["--finish-deletion", "--keep-copies"], "choose one"),
    ] {
        install(&bed, &args).await.badly(2, &[word, "--help"]);
    }
    let help = install(&bed, &["--help"]).await.well();
    assert!(help.lines().all(|line| line.len() <= 80) && help.contains("--finish-deletion"), "{help}");

    let mut without = command(&bed, "deploy/install.sh");
    without.env("KUBECTL", "kubectl-that-is-not-there");
    ended(without).await.badly(1, &["kubectl-that-is-not-there is not found", "KUBECTL"]);

    let nowhere = bed.cluster().dir().join("nowhere.kubeconfig");
    let text = std::fs::read_to_string(bed.cluster().kubeconfig()).unwrap();
    let mut config: Value = serde_yaml_ng::from_str(&text).unwrap();
    config["clusters"][0]["cluster"]["server"] = json!("https://127.0.0.1:1");
    std::fs::write(&nowhere, config.to_string()).unwrap();
    let mut unreachable = command(&bed, "deploy/install.sh");
    unreachable.env("KUBECONFIG", &nowhere);
    ended(unreachable).await.badly(1, &["no cluster answers", "https://127.0.0.1:1", "--context or KUBECONFIG"]);
    install(&bed, &["--context=other"]).await.badly(1, &["context other", "--context or KUBECONFIG"]);
    install(&bed, &["--manifests=/nonexistent.yaml"]).await.badly(1, &["/nonexistent.yaml", "--manifests"]);

    let weak = eventually("there is a weak user", async || {
        let weak = bed.cluster().service_account_kubeconfig("default", "default").await;
        weak.map_err(|error| error.to_string())
    })
    .await;
    for args in [&["--no-wait"][..], &["--uninstall", "--yes"], &["--dry-run"]] {
        let mut command = command(&bed, "deploy/install.sh");
        command.args(args).env("KUBECONFIG", &weak);
        let said = ended(command).await.badly(1, &["your account may not", "deployment.apps", "cluster-admin"]);
        assert!(said.contains("customresourcedefinition.apiextensions.k8s.io"), "{said}");
    }

    // Another operator, of another namespace.
    bed.kubectl(&["create", "namespace", "other"], "").await.unwrap();
    let other = ["create", "deployment", "syncer", "-n", "other", "--image=example.com/configmapsync:v1"];
    bed.kubectl(&other, "").await.unwrap();
    install(&bed, &["--no-wait"])
        .await
        .badly(1, &["other/syncer", "two would write", "kubectl delete deployment syncer -n other"]);
    bed.kubectl(&["delete", "namespace", "other"], "").await.unwrap();
    assert_eq!(versions(&bed).await, BTreeMap::new(), "none of these changed anything");

    // One that Helm installed.
    install(&bed, &["--no-wait"]).await.well();
    let label = ["label", "deployment", DEPLOYMENT, "-n", SYSTEM, "app.kubernetes.io/managed-by=Helm", "--overwrite"];
    bed.kubectl(&label, "").await.unwrap();
    for args in [&["--no-wait"][..], &["--uninstall"]] {
        install(&bed, args).await.badly(1, &[DEPLOYMENT, "belongs to a Helm release", "with helm"]);
    }

    // A namespace that is going and does not get there.
    let namespaces = Api::<Namespace>::all(bed.cluster().client().unwrap());
    bed.kubectl(&["create", "configmap", "held", "-n", SYSTEM], "").await.unwrap();
    let held = r#"{"metadata":{"finalizers":["example.com/held"]}}"#;
    bed.kubectl(&["patch", "configmap", "held", "-n", SYSTEM, "--type=merge", "-p", held], "").await.unwrap();
    namespaces.delete(SYSTEM, &kube::api::DeleteParams::default()).await.unwrap();
    install(&bed, &["--no-wait"]).await.badly(1, &[SYSTEM, "is being deleted", "kubectl get namespace"]);
    let free = r#"{"metadata":{"finalizers":null}}"#;
    bed.kubectl(&["patch", "configmap", "held", "-n", SYSTEM, "--type=merge", "-p", free], "").await.unwrap();
}

#[tokio::test]
async fn it_installs_into_another_namespace() {
    let Some(bed) = Bed::bare("it_installs_into_another_namespace").await else { return };
    install(&bed, &["--no-wait", "--namespace=tools"]).await.well();
    assert!(is_there(&bed, &["deployment", DEPLOYMENT, "-n", "tools"]).await);
    assert!(!is_there(&bed, &["namespace", SYSTEM]).await);
    let who = [
        "auth",
        "can-i",
        "list",
        "configmaps",
        "-A",
        "--as=system:serviceaccount:tools:configmapsync-controller-manager",
    ];
    assert_eq!(bed.kubectl(&who, "").await.unwrap().trim(), "yes");
    // A second one beside it is refused.
    install(&bed, &["--no-wait"]).await.badly(1, &["tools/configmapsync-controller-manager", "--namespace tools"]);
}

#[tokio::test]
async fn deploy_prod_builds_pushes_and_deploys_the_image_that_it_is_told() {
    let Some(bed) = Bed::bare("deploy_prod_builds_pushes_and_deploys").await else { return };
    // The container engine, which is not what is tested, writes down what it is asked.
    let engine = bed.cluster().dir().join("engine");
    let asked = bed.cluster().dir().join("asked");
    std::fs::write(&engine, format!("#!/bin/sh\necho \"$@\" >> {}\n", asked.display())).unwrap();
    std::fs::set_permissions(&engine, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let run = async |args: &[&str]| {
        let mut command = command(&bed, "deploy/deploy-prod.sh");
        command.env("CONTAINER_TOOL", &engine).args(args);
        ended(command).await
    };
    let said = run(&["example.com/team", "v1.2.3", "--no-wait"]).await.well();
    assert!(said.contains("image example.com/team/configmapsync:v1.2.3"), "{said}");
    let asked = std::fs::read_to_string(&asked).unwrap();
    assert_eq!(
        asked,
        "build --build-arg SOURCE_DATE_EPOCH=0 --tag example.com/team/configmapsync:v1.2.3 .\npush example.com/team/configmapsync:v1.2.3\n"
    );
    assert_eq!(replicas(&bed).await, "2 example.com/team/configmapsync:v1.2.3");
    std::fs::write(&engine, "#!/bin/sh\n[ \"$1\" = build ]\n").unwrap();
    run(&["example.com/team", "v1.2.4"])
        .await
        .badly(1, &["configmapsync:v1.2.4 could not be pushed", "login example.com"]);
    assert_eq!(replicas(&bed).await, "2 example.com/team/configmapsync:v1.2.3");
}
