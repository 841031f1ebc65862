//! Installed from the shipped manifests, used, and ended.

use crate::installed::{DEPLOYMENT, Installed, SHIPPED, SYSTEM, say};
use crate::sample;
use crate::shards::until_even;
use crate::wait::eventually;

#[tokio::test]
async fn the_shipped_manifests_run_and_a_sample_is_copied() {
    let Some(installed) = Installed::turn("the_shipped_manifests_run_and_a_sample_is_copied").await else { return };
    installed.until_rolled_out().await;
    installed.pods.until(SHIPPED).await;
    let level = ["get", "namespace", SYSTEM, "-o", r"jsonpath={.metadata.labels.pod-security\.kubernetes\.io/enforce}"];
    assert_eq!(installed.kubectl(&level).await, "restricted");
    // Admission in force, not just a label: a pod that gives nothing up is refused.
    let careless = ["-n", SYSTEM, "run", "careless", "--image=localhost/pause:1"];
    let refused = installed.try_kubectl(&careless).await.unwrap_err();
    assert!(refused.contains("violates PodSecurity \"restricted"), "{refused}");
    until_even(&installed, SHIPPED).await;

    sample::ready(&installed).await;
    sample::deleted(&installed).await;

    let logs = installed.kubectl(&["-n", SYSTEM, "logs", DEPLOYMENT]).await;
    let lines = logs.lines().map(serde_json::from_str::<serde_json::Value>).collect::<Result<Vec<_>, _>>();
    assert!(lines.is_ok_and(|lines| !lines.is_empty()), "log lines are JSON: {logs}");
    installed.end().await;
}

#[tokio::test]
async fn a_deleted_pod_ends_by_itself_within_its_grace() {
    let Some(installed) = Installed::turn("a_deleted_pod_ends_by_itself_within_its_grace").await else { return };
    installed.pods.until(SHIPPED).await;
    let pod = installed.pods.names().remove(0);
    installed.kubectl(&["-n", SYSTEM, "delete", "pod", &pod, "--timeout=60s"]).await;
    let look = async || installed.pods.fates()[&pod].end.clone().ok_or("it has no end yet".to_owned());
    let ((code, reason, after), _) = eventually("the end of the pod is seen", look).await;
    say(format_args!("SIGTERM: exit code {code} ({reason}) after {after:?}"));
    assert_eq!((code, reason.as_str()), (0, "Completed"));
    // Killed at the end of its grace it would have another exit code.
    installed.pods.until(SHIPPED).await;
    until_even(&installed, SHIPPED).await;
    installed.end().await;
}
