//! From the former operator to this one and back, with pods. What it leaves is made by `tests/install/fixtures/seed`; its own
//! program is nobody's here: its pods do nothing.

use std::time::Instant;

use testbed::image::operator;

use crate::installed::{Installed, SHIPPED, say};
use crate::script::install;
use crate::seed::{self, copies};
use crate::wait::eventually;

#[tokio::test]
async fn from_the_formers_pods_and_back_no_copy_is_lost_or_written_in_vain() {
    let test = "from_the_formers_pods_and_back_no_copy_is_lost_or_written_in_vain";
    let Some(installed) = Installed::turn(test).await else { return };
    let cluster = installed.cluster;
    install(cluster, &["--uninstall", "--yes"]).await.well();
    let image = cluster.dir().join("former.tar");
    operator::image(seed::IMAGE, &cluster.pause()).unwrap().write(&image).unwrap();
    cluster.load_image(&image).await.unwrap();
    seed::former(cluster, seed::KUBEBUILDER).await;
    installed.until_rolled_out().await;
    installed.pods.until(2).await;
    let former = installed.pods.names();
    let before = copies(cluster).await;
    assert_eq!(before.len(), 7);

    let begun = Instant::now();
    let said = install(cluster, &["--yes"]).await.well();
    let available = begun.elapsed();
    assert!(said.contains("scaled to 0, its pods are gone, deleted"), "{said}");
    assert!(said.contains("The operator is available."), "{said}");
    installed.pods.until(SHIPPED).await;
    let fates = installed.pods.fates();
    assert!(former.iter().all(|pod| !fates[pod].there), "the old pods are gone: {fates:?}");
    eventually("every sync is taken over", async || seed::is_taken_over(cluster).await).await;
    say(format_args!(
        "upgrade from the former: available after {available:.1?}, taken over after {:.1?}",
        begun.elapsed()
    ));
    seed::assert_only_the_stale_one_was_written(&before, copies(cluster).await);

    // And back: to the Deployment of its README, which has the other selector.
    let said = install(cluster, &["--uninstall", "--keep-syncs"]).await.well();
    assert!(said.contains("8 ConfigMapSyncs and their copies are left as they are"), "{said}");
    installed.pods.until(0).await;
    seed::back(cluster, seed::README).await;
    installed.until_rolled_out().await;
    seed::assert_the_former_reads_it(cluster, &before).await;

    // Here again: nothing is left to be written.
    let before = copies(cluster).await;
    install(cluster, &["--yes"]).await.well();
    installed.pods.until(SHIPPED).await;
    eventually("every sync is taken over again", async || seed::is_taken_over(cluster).await).await;
    assert_eq!(copies(cluster).await, before);
    installed.kubectl(&["-n", "syncs", "delete", "configmapsyncs", "--all", "--timeout=120s"]).await;
    installed.kubectl(&["delete", "namespace", "src", "dst", "syncs", "--timeout=120s"]).await;
    installed.end().await;
}
