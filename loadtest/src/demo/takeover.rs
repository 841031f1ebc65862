//! A replica dies without a word, and the others take over.

use std::time::{Duration, Instant};

use anyhow::bail;
use configmapsync_operator::rules::shard::SHARDS;

use super::many::Many;
use super::stage::Stage;
use crate::screen::{thousands, time};

/// How often the timeline has a line.
const LINE: Duration = Duration::from_secs(1);

/// Tells it.
pub(super) async fn happens(stage: &mut Stage, many: &mut Many) -> anyhow::Result<()> {
    let victim = stage.crew.victim()?;
    stage.screen.chapter("A replica is killed, and the source changes at that moment");
    let before = stage.crew.shards().await?;
    stage.show_shards(&before);
    let former: Vec<String> =
        before.sessions().into_iter().filter(|session| session.starts_with(&format!("{victim}-"))).collect();

    stage.crew.kill(&victim).await?;
    let killed = Instant::now();
    many.write_next(stage).await?;
    stage.screen.say(&format!(
        "SIGKILL to {victim}{}; a moment later the source changes. Shard by shard, x for those of the dead, and how many of {} \
         copies have the change:",
        if stage.crew.pods().is_some() { ", which its kubelet starts again" } else { "" },
        thousands(many.total())
    ));
    let taken = watch(stage, many, &former, killed).await?;
    let last = many.arrive(stage).await?;
    stage.screen.fact(&format!(
        "All {SHARDS} shards are held by the living {} after the kill, and the last copy had the change {} after it.",
        time(taken),
        time(last.duration_since(killed))
    ));
    let sent = many.write_next(stage).await?;
    let last = many.arrive(stage).await?;
    stage.screen.fact(&format!(
        "One more change, with {} replicas: in the last copy after {}.",
        stage.crew.names().len(),
        time(last.duration_since(sent))
    ));
    stage.show_shards(&stage.crew.shards().await?);
    Ok(())
}

/// Shows how shards move and copies arrive; returns how long after the kill all shards were held again.
async fn watch(stage: &Stage, many: &Many, former: &[String], killed: Instant) -> anyhow::Result<Duration> {
    let within = stage.lease_duration * 3 + Duration::from_secs(30);
    let (mut shown, mut next_line) = (String::new(), Instant::now());
    loop {
        let shards = stage.crew.shards().await?;
        let held = shards.all_held_by(&stage.crew.names(), former);
        let (seconds, copies) = (killed.elapsed().as_secs_f64(), many.arrived());
        let line = format!("{} {:>5}", stage.crew.map(&shards, former), thousands(copies));
        if (held || Instant::now() >= next_line) && line != shown {
            stage.screen.block(&format!("{seconds:>4.1}s {line}"));
            shown = line;
            next_line = Instant::now() + LINE;
        }
        if held {
            return Ok(killed.elapsed());
        }
        stage.crew.check()?;
        if killed.elapsed() > within {
            bail!(
                "{} s after the kill the shards are held like this: {}",
                within.as_secs(),
                stage.crew.map(&shards, former)
            );
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
