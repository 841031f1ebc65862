//! Opens and closes shards as leadership says.

use ahash::AHashSet;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use crate::controller::ingest::Follower;
use crate::controller::leadership::{Leadership, LeadershipEvent};
use crate::controller::queue::Cause;
use crate::controller::reconcile::copies::is_copy_at_rest;
use crate::controller::reconcile::knowledge::is_at_rest;
use crate::controller::verification::Verification;
use crate::kubernetes::leases::notes::Notes;
use crate::kubernetes::writer::Writer;
use crate::rules::key::Key;
use crate::rules::shard::Shard;
use crate::rules::uid::Uid;

/// Opens shards: whatever is not at rest in them is put into the queue, but for copies that `verification` is to read before.
pub(super) async fn open(
    follower: &Follower,
    shards: &AHashSet<Shard>,
    notes: Option<&Notes>,
    verification: &Verification,
) {
    if let Some(notes) = notes {
        // Of all shards: who takes one over after a crash knows what has happened since.
        follower.cache.prove_by_digests(|shard| notes.left(shard));
    }
    shards.iter().for_each(|shard| follower.queue.open(*shard));
    for uids in follower.cache.uids().chunks(1_000) {
        let of_these = uids.iter().copied().filter(|uid: &Uid| shards.contains(&Shard::of(*uid)));
        let at_work: Vec<Uid> = of_these.filter(|uid| !is_at_rest(&follower.cache, *uid)).collect();
        follower.wake(&at_work, &Cause { urgent: true, ..Cause::default() });
        tokio::task::yield_now().await;
    }
    for uid in follower.cache.cluster_uids() {
        let mut at_work: Vec<Key> = Vec::new();
        for keys in follower.cache.copy_keys(uid).chunks(1_000) {
            let of_these = keys.iter().filter(|key| shards.contains(&key.shard()));
            at_work.extend(of_these.filter(|key| !is_copy_at_rest(&follower.cache, key)).cloned());
            tokio::task::yield_now().await;
        }
        verification.take(&follower.cache, uid, &mut at_work);
        for keys in at_work.chunks(1_000) {
            follower.wake_copies(keys, &Cause { urgent: true, ..Cause::default() });
            tokio::task::yield_now().await;
        }
        follower.queue.push(Key::Object(uid), None, &Cause { urgent: true, ..Cause::default() });
    }
}

/// Opens and closes shards as leadership says.
pub(super) async fn serve_leadership(
    leadership: Leadership,
    mut changes: UnboundedReceiver<LeadershipEvent>,
    follower: Follower,
    writer: Writer,
    verification: Verification,
    tracker: TaskTracker,
    restored: oneshot::Sender<()>,
) {
    while let Some(change) = changes.recv().await {
        match change {
            LeadershipEvent::Opened(shards) => {
                let shards = shards.into_iter().collect();
                open(&follower, &shards, Some(leadership.notes()), &verification).await;
            }
            LeadershipEvent::Closing(shard) => {
                let drained = follower.queue.close(shard);
                let (leadership, writer, cache) = (leadership.clone(), writer.clone(), follower.cache.clone());
                tracker.spawn(async move {
                    // Nothing is sent any more. What outlives that time is late, and guarded by what it was decided for.
                    let surely_over = leadership.timing().request + leadership.timing().margin;
                    let over = async {
                        let _ = drained.await;
                        writer.settled(shard).await;
                    };
                    let in_time = tokio::time::timeout(surely_over, over).await.is_ok();
                    leadership.notes().leave(shard, cache.digest(shard).filter(|_| in_time));
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
