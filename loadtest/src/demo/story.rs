//! The story from its beginning to its end.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use configmapsync_operator::core::shard::SHARDS;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::ListParams;

use super::many::Many;
use super::stage::{SAMPLE, Stage};
use super::takeover;
use crate::fleet::Shards;
use crate::screen::{thousands, time};
use crate::{objects, writers};

/// Tells it all. With `--keep` it ends before everything is deleted.
pub(super) async fn tell(stage: &mut Stage) -> anyhow::Result<()> {
    replicas(stage).await?;
    sample(stage).await?;
    let mut many = Many::create(stage).await?;
    many.change(stage).await?;
    takeover::happens(stage, &mut many).await?;
    if stage.arguments.keep {
        return Ok(());
    }
    everything_goes(stage, &many).await?;
    stage.screen.chapter("The end");
    stage.screen.say("All of it happened as told, on a real API server.");
    if matches!(stage.cluster, testbed::Cluster::Own(_)) {
        stage.screen.say("KEEP=1 make demo leaves it standing to play with.");
    }
    Ok(())
}

async fn replicas(stage: &mut Stage) -> anyhow::Result<()> {
    let count = usize::from(stage.arguments.replicas);
    let lease = stage.arguments.lease_duration;
    stage.screen.chapter(&format!("{count} replicas of the operator share the work"));
    stage.screen.say(&format!(
        "Every sync falls into one of {SHARDS} shards; the replica that holds a shard's Lease is the only one that writes \
         for it. A shard that nobody released is taken only after a whole lease duration ({lease} s in this demo, 10 s as \
         shipped), also at the very first start."
    ));
    let begun = Instant::now();
    stage.fleet.start(count)?;
    stage.screen.progress("waiting for /readyz of each");
    stage.fleet.until_ready(Duration::from_secs(30)).await?;
    let ready = begun.elapsed();
    let shards = all_held(stage, &[], Duration::from_secs(60)).await?;
    stage.screen.fact(&format!(
        "All ready after {}; all {SHARDS} shards held after {}. Shard by shard, by the number of its holder:",
        time(ready),
        time(begun.elapsed())
    ));
    show_shards(stage, &shards);
    Ok(())
}

/// Waits until each shard is held by a replica that runs, in a session that is not of `former`.
pub(super) async fn all_held(stage: &Stage, former: &[String], within: Duration) -> anyhow::Result<Shards> {
    let deadline = Instant::now() + within;
    loop {
        let shards = stage.fleet.shards().await?;
        if stage.fleet.all_held(&shards, former) {
            return Ok(shards);
        }
        stage.fleet.check()?;
        stage.screen.progress(&format!("{} of {SHARDS} shards held", SHARDS - shards.unheld()));
        if Instant::now() > deadline {
            bail!("after {} s the shards are held like this: {}", within.as_secs(), shards.map());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The map of shards, and how many each replica holds.
pub(super) fn show_shards(stage: &Stage, shards: &Shards) {
    stage.screen.block(&shards.map());
    let held = |replica: &crate::fleet::Replica| format!("{}: {}", replica.name(), shards.held_by(replica.name()));
    let held: Vec<String> = stage.fleet.replicas().iter().map(held).collect();
    stage.screen.block(&held.join("   "));
}

async fn sample(stage: &Stage) -> anyhow::Result<()> {
    let screen = &stage.screen;
    screen.chapter("The first sync");
    stage.show_kubectl(&format!("apply -f {SAMPLE}")).await?;
    stage.kubectl("wait --for=condition=Ready --timeout=30s configmapsync/my-first-sync -n default").await?;
    stage.show_kubectl("get configmapsync my-first-sync -n default").await?;
    let copy = "get configmap my-app-config -n kube-system -o jsonpath={.data}";
    stage.show_kubectl(copy).await?;
    let source = Api::<ConfigMap>::namespaced(stage.client.clone(), "default").get("my-app-config").await?;
    let copied = Api::<ConfigMap>::namespaced(stage.client.clone(), "kube-system").get("my-app-config").await?;
    if source.data.is_none() || copied.data != source.data {
        bail!("the copy in kube-system holds {:?}, its source {:?}", copied.data, source.data);
    }
    screen.command("kubectl get configmapsync my-first-sync -n default -o yaml");
    let yaml = stage.kubectl("get configmapsync my-first-sync -n default -o yaml").await?;
    let status = yaml.find("\nstatus:").context("my-first-sync has no status")?;
    screen.block(&yaml[status + 1..]);
    Ok(())
}

async fn everything_goes(stage: &mut Stage, many: &Many) -> anyhow::Result<()> {
    stage.screen.chapter("Everything is deleted");
    let screen = &stage.screen;
    screen.say(&format!("All {} syncs are deleted, {} at a time:", thousands(many.total()), writers::IN_FLIGHT));
    let begun = Instant::now();
    many.delete_syncs(stage).await?;
    let look = |left: usize| {
        screen.progress(&format!("{} copies left", thousands(left)));
        stage.fleet.check()
    };
    let last = many.gone(look).await?;
    screen.fact(&format!(
        "The last of {} copies went {} after the first was deleted.",
        thousands(many.total()),
        time(last.duration_since(begun))
    ));
    stage.show_kubectl(&format!("delete -f {SAMPLE}")).await?;
    nothing_is_left(stage).await?;
    screen.fact("No ConfigMapSync and no copy is left; the sources stay what they were.");
    let begun = Instant::now();
    screen.progress("SIGTERM to the replicas");
    stage.fleet.terminate().await?;
    let shards = stage.fleet.shards().await?;
    if shards.unheld() != SHARDS {
        bail!("the replicas ended on SIGTERM but did not release all shards: {}", shards.map());
    }
    stage.screen.fact(&format!(
        "After SIGTERM the replicas gave all shards back and ended with exit code 0, in {}.",
        time(begun.elapsed())
    ));
    Ok(())
}

async fn nothing_is_left(stage: &Stage) -> anyhow::Result<()> {
    let copies = Api::<ConfigMap>::all(stage.client.clone());
    let ours = ListParams::default().labels(&objects::copies_selector());
    for _ in 0..100 {
        let (syncs, copies) =
            (stage.syncs().list(&ListParams::default()).await?.items, copies.list_metadata(&ours).await?.items);
        if syncs.is_empty() && copies.is_empty() {
            return Ok(());
        }
        stage.screen.progress(&format!("{} syncs and {} copies left", syncs.len(), copies.len()));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("10 s after all syncs were deleted there are still syncs or copies: `kubectl get configmapsyncs -A`")
}
