//! Opens and closes shards as leadership says.

use ahash::AHashSet;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use crate::controller::ingest::Follower;
use crate::controller::queue::Cause;
use crate::controller::reconcile::knowledge::is_at_rest;
use crate::kubernetes::writer::Writer;
use crate::leadership::{Leadership, LeadershipEvent};
use crate::rules::shard::Shard;
use crate::rules::uid::Uid;

/// Opens shards: whatever is not at rest in them is put into the queue.
pub(super) async fn open(follower: &Follower, shards: &AHashSet<Shard>) {
    shards.iter().for_each(|shard| follower.queue.open(*shard));
    for uids in follower.cache.uids().chunks(1_000) {
        let of_these = uids.iter().copied().filter(|uid: &Uid| shards.contains(&Shard::of(*uid)));
        let at_work: Vec<Uid> = of_these.filter(|uid| !is_at_rest(&follower.cache, *uid)).collect();
        follower.wake(&at_work, &Cause { urgent: true, ..Cause::default() });
        tokio::task::yield_now().await;
    }
}

/// Opens and closes shards as leadership says.
pub(super) async fn serve_leadership(
    leadership: Leadership,
    mut changes: UnboundedReceiver<LeadershipEvent>,
    follower: Follower,
    writer: Writer,
    tracker: TaskTracker,
    restored: oneshot::Sender<()>,
) {
    while let Some(change) = changes.recv().await {
        match change {
            LeadershipEvent::Opened(shards) => {
                open(&follower, &shards.into_iter().collect()).await;
            }
            LeadershipEvent::Closing(shard) => {
                let drained = follower.queue.close(shard);
                let (leadership, writer) = (leadership.clone(), writer.clone());
                tracker.spawn(async move {
                    // Nothing is sent any more. What outlives that time is late, and guarded by what it was decided for.
                    let surely_over = leadership.timing().request + leadership.timing().margin;
                    let over = async {
                        let _ = drained.await;
                        writer.settled(shard).await;
                    };
                    let _ = tokio::time::timeout(surely_over, over).await;
                    leadership.drained(shard);
                });
            }
            LeadershipEvent::Lost(shard) => drop(follower.queue.close(shard)),
            LeadershipEvent::Restored => {
                let _ = restored.send(());
                // What is known is forgotten, and this run ends.
                return std::future::pending().await;
            }
        }
    }
}
