//! The Helm chart where pods really run.

use std::time::Instant;

use serde_json::json;

use crate::installed::{Installed, SHIPPED, SYSTEM, say};
use crate::render::{self, RELEASE, deploy};
use crate::script::install;
use crate::{sample, seed};

async fn helm(installed: &Installed, args: &[&str]) -> String {
    let home = installed.cluster.dir().join("helm");
    let mut command = render::helm();
    command.arg("--kubeconfig").arg(installed.cluster.kubeconfig()).args(["--namespace", SYSTEM]).args(args);
    // Its own files are the test's, not the user's.
    command.env("HELM_CACHE_HOME", &home).env("HELM_CONFIG_HOME", &home).env("HELM_DATA_HOME", &home);
    tokio::task::spawn_blocking(move || render::run(&mut command)).await.unwrap().unwrap()
}

/// `helm upgrade --wait` with these values.
async fn upgrade(installed: &Installed, values: &str) {
    let chart = deploy("chart");
    helm(installed, &["upgrade", RELEASE, chart.to_str().unwrap(), "--wait", "--timeout=4m", "--set", values]).await;
}

#[tokio::test]
async fn a_release_is_scaled_upgraded_and_removed_and_syncs_and_copies_stay() {
    let test = "a_release_is_scaled_upgraded_and_removed_and_syncs_and_copies_stay";
    let Some(installed) = Installed::turn(test).await else { return };
    let replicas = async || seed::deployment(installed.cluster).await["spec"]["replicas"].clone();
    install(installed.cluster, &["--uninstall", "--yes"]).await.well();

    let begun = Instant::now();
    let chart = deploy("chart");
    let args = ["install", RELEASE, chart.to_str().unwrap(), "--create-namespace", "--wait", "--timeout=4m"];
    helm(&installed, &args).await;
    let available = begun.elapsed();
    sample::ready(&installed).await;
    say(format_args!("helm install --wait: {available:.1?}, the first copy after {:.1?}", begun.elapsed()));
    installed.pods.until(SHIPPED).await;

    // A number that the values give is the chart's: an upgrade brings it back.
    installed.scale(4).await;
    installed.pods.until(4).await;
    upgrade(&installed, "flowSchema.enabled=false").await;
    assert_eq!(replicas().await, SHIPPED);
    // Without one it is whoever scales. The release that drops it leaves what Kubernetes takes for granted.
    upgrade(&installed, "replicaCount=null").await;
    assert_eq!(replicas().await, 1);
    installed.scale(3).await;
    installed.pods.until(3).await;
    // The user and the group that OpenShift gives the Pods of a namespace.
    let user = "podSecurityContext.runAsUser=1000680000,podSecurityContext.runAsGroup=0";
    upgrade(&installed, &format!("replicaCount=null,flowSchema.enabled=false,{user}")).await;
    assert_eq!(replicas().await, 3);
    installed.pods.until(3).await;
    let path = "jsonpath={.items[*].spec.securityContext.runAsUser}";
    let users = installed.try_kubectl(&["-n", SYSTEM, "get", "pods", "-o", path]).await.unwrap();
    assert!(users.contains("1000680000"), "{users}");

    let before = sample::copy(&installed).await;
    helm(&installed, &["uninstall", RELEASE, "--wait", "--timeout=4m"]).await;
    installed.pods.until(0).await;
    assert!(before.is_some() && sample::copy(&installed).await == before, "the copy stays as it was");
    let sync = seed::get(installed.cluster, &["configmapsync", "my-first-sync", "-n", "default"]).await;
    assert_eq!(sync["metadata"]["finalizers"], json!(["configmapsync.apps.kapendra.com/finalizer"]), "{sync}");

    let said = install(installed.cluster, &[]).await.well();
    assert!(said.contains("ConfigMapSyncs: 1\n") && said.contains("The operator is available."), "{said}");
    assert_eq!(sample::copy(&installed).await, before, "nor is it written when an operator is back");
    sample::deleted(&installed).await;
    installed.end().await;
}
