//! The story from its beginning to its end.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use configmapsync_operator::rules::shard::SHARDS;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::ListParams;

use super::many::Many;
use super::one::{self, One};
use super::pods::scale;
use super::stage::{SAMPLE, Stage};
use super::takeover;
use crate::fleet::Shards;
use crate::screen::{thousands, time};
use crate::{objects, writers};

/// A lease of a replica that died before has to end first.
const HELD_WITHIN: Duration = Duration::from_secs(90);

/// Tells it all. With `--keep` it ends before everything is deleted.
pub(super) async fn tell(stage: &mut Stage) -> anyhow::Result<()> {
    replicas(stage).await?;
    sample(stage).await?;
    let mut many = Many::create(stage).await?;
    many.change(stage).await?;
    more_replicas(stage).await?;
    takeover::happens(stage, &mut many).await?;
    let one = one::happens(stage).await?;
    if stage.arguments.keep {
        return Ok(());
    }
    everything_goes(stage, &many, &one).await?;
    stage.screen.chapter("The end");
    stage.screen.say("All of it happened as told, on a real API server.");
    if !matches!(stage.cluster, testbed::Cluster::Given(_)) {
        stage.screen.say("KEEP=1 make demo leaves it standing to play with.");
    }
    Ok(())
}

async fn replicas(stage: &mut Stage) -> anyhow::Result<()> {
    let count = usize::from(stage.arguments.replicas);
    let lease = stage.lease_duration.as_secs();
    stage.screen.chapter(&format!("{count} replicas of the operator share the work"));
    let told = if stage.crew.pods().is_some() { "" } else { " in this demo, 10 s as shipped" };
    stage.screen.say(&format!(
        "Every sync falls into one of {SHARDS} shards; the replica that holds a shard's Lease is the only one that writes \
         for it. A shard that nobody released is taken only after a whole lease duration ({lease} s{told}), also at the \
         very first start."
    ));
    let (ready, held) = run(stage, count).await?;
    stage.screen.fact(&format!(
        "All ready after {}; all {SHARDS} shards held after {}. Shard by shard, by the number of its holder:",
        time(ready),
        time(held)
    ));
    stage.show_shards(&stage.crew.shards().await?);
    Ok(())
}

/// Runs so many replicas; how long it took until they were ready, and until they shared the shards evenly.
async fn run(stage: &mut Stage, count: usize) -> anyhow::Result<(Duration, Duration)> {
    if stage.crew.pods().is_some() {
        stage.screen.command(&scale(count));
    }
    let begun = Instant::now();
    stage.screen.progress("waiting until each is ready");
    stage.crew.run(count).await?;
    let ready = begun.elapsed();
    let names = stage.crew.names();
    until(stage, "evenly", |shards| shards.are_even(&names)).await?;
    Ok((ready, begun.elapsed()))
}

async fn more_replicas(stage: &mut Stage) -> anyhow::Result<()> {
    let count = stage.crew.names().len() + 2;
    stage.screen.chapter(&format!("{count} replicas: two more, and shards move"));
    stage.show_shards(&stage.crew.shards().await?);
    let (ready, even) = run(stage, count).await?;
    stage.screen.fact(&format!(
        "All ready after {}; all {SHARDS} shards shared evenly after {}:",
        time(ready),
        time(even)
    ));
    stage.show_shards(&stage.crew.shards().await?);
    Ok(())
}

/// Waits until the shards are held as they should be.
async fn until(stage: &Stage, how: &str, are_so: impl Fn(&Shards) -> bool) -> anyhow::Result<()> {
    let deadline = Instant::now() + HELD_WITHIN;
    loop {
        let shards = stage.crew.shards().await?;
        if are_so(&shards) {
            return Ok(());
        }
        stage.crew.check()?;
        stage.screen.progress(&format!("{} of {SHARDS} shards held", SHARDS - shards.unheld()));
        if Instant::now() > deadline {
            let map = stage.crew.map(&shards, &[]);
            bail!("after {} s the shards are not held {how}, but like this: {map}", HELD_WITHIN.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
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

async fn everything_goes(stage: &mut Stage, many: &Many, one: &One) -> anyhow::Result<()> {
    stage.screen.chapter("Everything is deleted");
    one.goes(stage).await?;
    let screen = &stage.screen;
    screen.say(&format!("All {} syncs are deleted, {} at a time:", thousands(many.total()), writers::IN_FLIGHT));
    let begun = Instant::now();
    many.delete_syncs(stage).await?;
    let look = |left: usize| {
        screen.progress(&format!("{} copies left", thousands(left)));
        stage.crew.check()
    };
    let last = many.gone(look).await?;
    screen.fact(&format!(
        "The last of {} copies went {} after the first was deleted.",
        thousands(many.total()),
        time(last.duration_since(begun))
    ));
    stage.show_kubectl(&format!("delete -f {SAMPLE}")).await?;
    nothing_is_left(stage).await?;
    screen.fact("No sync of either kind and no copy is left; the sources stay what they were.");
    let begun = Instant::now();
    if stage.crew.pods().is_some() {
        screen.command(&scale(0));
    }
    screen.progress("SIGTERM to the replicas");
    stage.crew.terminate().await?;
    let shards = stage.crew.shards().await?;
    if shards.unheld() != SHARDS {
        bail!("the replicas ended on SIGTERM but did not release all shards: {}", stage.crew.map(&shards, &[]));
    }
    stage
        .screen
        .fact(&format!("After SIGTERM the replicas gave all shards back and ended, in {}.", time(begun.elapsed())));
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
