//! What an administrator does to a running operator: a new version, a node to be emptied.

use crate::installed::{DEPLOYMENT, Installed, SHIPPED, SYSTEM, say};
use crate::load::Load;
use crate::shards::until_even;

#[tokio::test]
async fn restarted_pod_by_pod_under_load_no_copy_is_missed() {
    let Some(installed) = Installed::turn("restarted_pod_by_pod_under_load_no_copy_is_missed").await else { return };
    installed.pods.until(SHIPPED).await;
    let old = installed.pods.names();
    let load = Load::begin(&installed, "restart", 100).await;
    installed.kubectl(&["-n", SYSTEM, "rollout", "restart", DEPLOYMENT]).await;
    installed.until_rolled_out().await;
    installed.pods.until(SHIPPED).await;
    assert!(installed.pods.names().iter().all(|pod| !old.contains(pod)), "all pods are new ones");
    let even = until_even(&installed, SHIPPED).await;
    say(format_args!("rolling restart: {}; even {even:.1?} after the last old pod had gone", load.end().await));
    let ended = |pod: &String| installed.pods.fates()[pod].end.as_ref().is_some_and(|(code, _, _)| *code == 0);
    assert!(old.iter().all(ended), "{:?}", installed.pods.fates());
    installed.end().await;
}

/// There is one node only: whom a drain evicts finds no other place until the node is open again. So the budget has to hold
/// the last replica there.
#[tokio::test]
async fn a_drain_leaves_a_replica_at_work() {
    let Some(installed) = Installed::turn("a_drain_leaves_a_replica_at_work").await else { return };
    installed.pods.until(SHIPPED).await;
    until_even(&installed, SHIPPED).await;
    let before = installed.pods.names();
    let load = Load::begin(&installed, "drain", 100).await;
    let drain = ["drain", "node", "--pod-selector=control-plane=controller-manager", "--timeout=20s"];
    let refused = installed.try_kubectl(&drain).await.unwrap_err();
    assert!(refused.contains("would violate the pod's disruption budget"), "{refused}");
    let fates = installed.pods.fates();
    let stayed: Vec<_> = before.iter().filter(|pod| fates[*pod].there && fates[*pod].ready).collect();
    assert_eq!(stayed.len(), SHIPPED - 1, "one was evicted, the other works on: {fates:?}");
    installed.kubectl(&["uncordon", "node"]).await;
    installed.pods.until(SHIPPED).await;
    until_even(&installed, SHIPPED).await;
    say(format_args!("drain: {}", load.end().await));
    installed.end().await;
}
