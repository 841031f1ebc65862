//! `deploy/install.sh` where pods really run: what it waits for, what it says when that does not come, what it leaves.

use std::time::Instant;

use crate::installed::{Installed, MANIFESTS, SHIPPED, SYSTEM, say};
use crate::script::install;
use crate::wait::eventually;
use crate::{sample, seed};

#[tokio::test]
async fn the_script_takes_everything_away_and_installs_it_anew() {
    let Some(installed) = Installed::turn("the_script_takes_everything_away_and_installs_it_anew").await else {
        return;
    };
    sample::ready(&installed).await;
    let begun = Instant::now();
    let said = install(installed.cluster, &["--uninstall", "--yes"]).await.well();
    say(format_args!("install.sh --uninstall: {:.1?}", begun.elapsed()));
    assert!(said.contains("stopped and deleted") && said.ends_with("Uninstalled.\n"), "{said}");
    assert!(sample::copy(&installed).await.is_none(), "the copy goes");
    installed.pods.until(0).await;
    let left = installed.try_kubectl(&["get", "--ignore-not-found", "-o", "name", "-f", MANIFESTS]).await;
    assert_eq!(left.as_deref(), Ok(""), "nothing of ours is left");

    let begun = Instant::now();
    let said = install(installed.cluster, &[]).await.well();
    let available = begun.elapsed();
    assert_eq!(said.matches(": created\n").count(), 19, "{said}");
    assert!(said.contains("The operator is available."), "{said}");
    assert_eq!(seed::deployment(installed.cluster).await["status"]["availableReplicas"], SHIPPED, "without waiting");
    sample::copied(&installed).await;
    say(format_args!(
        "from the start of install.sh: done after {available:.1?}, the first copy after {:.1?}",
        begun.elapsed()
    ));

    let said = install(installed.cluster, &[]).await.well();
    assert_eq!(said.matches(": unchanged\n").count(), 19, "{said}");
    sample::deleted(&installed).await;
    installed.end().await;
}

#[tokio::test]
async fn an_image_that_cannot_be_pulled_is_told_of_and_the_old_pods_work_on() {
    let test = "an_image_that_cannot_be_pulled_is_told_of_and_the_old_pods_work_on";
    let Some(installed) = Installed::turn(test).await else { return };
    installed.pods.until(SHIPPED).await;
    let old = installed.pods.names();
    let image = "--image=registry.invalid/none:v9";
    // How long a kubelet takes to find that out depends on the machine.
    let (ended, _) = eventually("the pull has failed", async || {
        let ended = install(installed.cluster, &[image, "--timeout=6s"]).await;
        if ended.err.contains("ImagePull") { Ok(ended) } else { Err(format!("{ended:?}")) }
    })
    .await;
    let words = [
        "not available after 6s",
        "pod configmapsync-controller-manager-",
        "registry.invalid/none:v9",
        "check that the image is there",
        "--image",
    ];
    let said = ended.badly(1, &words);
    assert!(!old.iter().any(|pod| said.contains(pod)), "it names one of the old pods, which are well: {said}");
    let fates = installed.pods.fates();
    assert!(old.iter().all(|pod| fates[pod].there && fates[pod].ready), "{fates:?}");
    sample::ready(&installed).await;
    sample::deleted(&installed).await;

    install(installed.cluster, &[]).await.well();
    installed.pods.until(SHIPPED).await;
    assert_eq!(installed.pods.names(), old, "the old ones never went");
    installed.end().await;
}

#[tokio::test]
async fn a_definition_that_hangs_is_ended_by_pods_that_the_script_starts() {
    let Some(installed) = Installed::turn("a_definition_that_hangs_is_ended_by_pods_that_the_script_starts").await
    else {
        return;
    };
    sample::ready(&installed).await;
    installed.scale(0).await;
    installed.pods.until(0).await;
    installed.kubectl(&["delete", "crd", seed::CRD, "--wait=false"]).await;
    let words = ["waits for 1 ConfigMapSyncs", "--finish-deletion", "--keep-copies"];
    install(installed.cluster, &[]).await.badly(1, &words);

    let begun = Instant::now();
    let said = install(installed.cluster, &["--finish-deletion", "--yes"]).await.well();
    say(format_args!("install.sh --finish-deletion: {:.1?}", begun.elapsed()));
    assert!(said.contains("The definition is gone; installing it anew"), "{said}");
    assert!(said.contains("The operator is available."), "{said}");
    assert!(sample::copy(&installed).await.is_none(), "the copy goes with its sync");
    installed.pods.until(SHIPPED).await;
    let syncs = installed.kubectl(&["get", "configmapsyncs", "--all-namespaces", "-o", "name"]).await;
    assert_eq!(syncs, "", "the definition is a new one");
    sample::deleted(&installed).await;
    assert_eq!(installed.kubectl(&["get", "namespace", SYSTEM, "-o", "jsonpath={.status.phase}"]).await, "Active");
    installed.end().await;
}
