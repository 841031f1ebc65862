//! What goes on beside the work: the pace among replicas, care for the heartbeat, namespaces that answer again, and
//! destinations that changed hands.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::controller::cache::Cache;
use crate::controller::ingest::{Follower, source_of};
use crate::controller::queue::{Cause, Queue};
use crate::kubernetes::bulkheads::{Bulkheads, Wake};
use crate::kubernetes::limiter::Limiter;
use crate::leadership::{Fleet, Timing};
use crate::rules::key::Key;
use crate::rules::record::Name;

/// How often rivals are told of a destination that many want, and that has another owner.
const CHANGED_HANDS: Duration = Duration::from_secs(10);
/// How often doors that nobody uses are forgotten.
const TIDY: Duration = Duration::from_secs(30);

/// The API server is the same for all replicas: the more they are, the fewer statuses each writes while copies flow.
pub(super) async fn share_the_pace(mut fleet: watch::Receiver<Fleet>, queue: Arc<Queue>) {
    while fleet.changed().await.is_ok() {
        queue.share_pace(fleet.borrow_and_update().sessions);
    }
}

/// A heartbeat that takes a good part of its period is starved by our own writes: half as many, then.
pub(super) async fn spare_the_heartbeat(mut latency: watch::Receiver<Duration>, timing: Timing, limiter: Limiter) {
    while latency.changed().await.is_ok() {
        let took = *latency.borrow_and_update();
        if took > timing.period / 4 {
            limiter.halve();
        } else {
            let now = Instant::now();
            limiter.heartbeat(now.checked_sub(took).unwrap_or(now));
        }
    }
}

/// A namespace answers again: who waited for it tries now.
pub(super) async fn wake_who_waits(
    mut woken: UnboundedReceiver<Wake>,
    bulkheads: Bulkheads,
    cache: Arc<Cache>,
    queue: Arc<Queue>,
) {
    loop {
        let wake = tokio::time::timeout(TIDY, woken.recv()).await;
        bulkheads.tidy();
        let wake = match wake {
            Ok(Some(wake)) => wake,
            Ok(None) => return,
            Err(_) => continue,
        };
        let (namespace, all) = match &wake {
            Wake::All(namespace) => (namespace, true),
            Wake::One(namespace) => (namespace, false),
        };
        for key in queue.waiting().into_iter().filter(|key| writes_to(&cache, key, namespace)) {
            let source = source_of(&cache, &key);
            if queue.end_wait(key, source) && !all {
                break;
            }
        }
    }
}

/// Whether the work on a key writes to this namespace: a copy, or what is said on the object.
fn writes_to(cache: &Cache, key: &Key, namespace: &Name) -> bool {
    match key {
        Key::Copy(copy) => copy.name == *namespace,
        Key::Object(object) => cache.sync(*object).is_some_and(|sync| {
            sync.key.namespace == *namespace || sync.destination().is_some_and(|key| key.namespace == *namespace)
        }),
    }
}

/// A destination that many want has another owner: who wants it looks again.
pub(super) async fn wake_rivals(follower: Follower) {
    loop {
        tokio::time::sleep(CHANGED_HANDS).await;
        follower.wake(&follower.cache.changed_hands(), &Cause { urgent: true, ..Cause::default() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::queue::Outcome;
    use crate::rules::shard::Shard;
    use crate::rules::testing::{sync, uid};

    /// A status waits at the door of the sync's own namespace, a copy at that of its destination.
    #[tokio::test(start_paused = true)]
    async fn a_namespace_that_answers_wakes_who_writes_to_it() {
        for (namespace, wakes) in [("syncs", true), ("target", true), ("source", false)] {
            let (cache, queue) = (Arc::<Cache>::default(), Arc::<Queue>::default());
            cache.sync_applied(sync("syncs/s", 1, "source/x", "target/x"), &mut Vec::new());
            queue.open(Shard::of(uid(1)));
            queue.push(Key::Object(uid(1)), None, &Cause::default());
            let job = queue.pop().await;
            queue.done(job.key, job.key_state, Outcome::Retry(Duration::from_secs(10)), None, None);
            let (sender, woken) = tokio::sync::mpsc::unbounded_channel();
            let bulkheads = Bulkheads::new(sender.clone());
            sender.send(Wake::All(namespace.into())).unwrap();
            let waking = wake_who_waits(woken, bulkheads, cache, queue.clone());
            let _ = tokio::time::timeout(Duration::from_millis(1), waking).await;
            assert_eq!(queue.has_turn(), wakes, "{namespace}");
        }
    }
}
