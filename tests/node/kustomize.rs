//! The kustomize overlays where pods really run.

use crate::installed::{DEPLOYMENT, Installed, SHIPPED, SYSTEM};
use crate::script::{install, root};
use crate::shards::until_even;
use crate::{sample, seed};

#[tokio::test]
async fn overlays_are_installed_one_over_the_other_and_removed() {
    let Some(installed) = Installed::turn("overlays_are_installed_one_over_the_other_and_removed").await else {
        return;
    };
    install(installed.cluster, &["--uninstall", "--yes"]).await.well();
    let overlays = root().join("deploy/overlays");
    let [small, production] = ["small", "production"].map(|name| overlays.join(name).to_str().unwrap().to_owned());

    installed.kubectl(&["apply", "-k", &small]).await;
    installed.until_rolled_out().await;
    sample::ready(&installed).await;
    until_even(&installed, 1).await;

    installed.kubectl(&["apply", "-k", &production]).await;
    installed.until_rolled_out().await;
    until_even(&installed, 3).await;
    assert!(sample::copy(&installed).await.is_some(), "the copy stays");
    let priority = ["-n", SYSTEM, "get", DEPLOYMENT, "-o", "jsonpath={.spec.template.spec.priorityClassName}"];
    assert_eq!(installed.kubectl(&priority).await, "system-cluster-critical");
    sample::deleted(&installed).await;

    installed.kubectl(&["delete", "-k", &production, "--timeout=120s"]).await;
    let left = installed.try_kubectl(&["get", "crd", seed::CRD]).await.unwrap_err();
    assert!(left.contains("NotFound"), "{left}");
    installed.pods.until(0).await;
    install(installed.cluster, &[]).await.well();
    installed.pods.until(SHIPPED).await;
    installed.end().await;
}
