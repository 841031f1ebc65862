//! Hands the keys whose turn it is to tasks.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::{Semaphore, watch};
use tokio_util::task::TaskTracker;

use crate::controller::ingest::source_of;
use crate::controller::probes::{Probes, STUCK};
use crate::controller::queue::{Outcome, Queue};
use crate::controller::reconcile::drive::work;
use crate::controller::reconcile::key_state::KeyState;
use crate::controller::reconcile::reconciler::Context;
use crate::kubernetes::limiter::Turn;
use crate::telemetry::instruments as i;

/// So many keys may be at work, those without a permit included: they wait for a read, or for a late answer.
const AT_WORK: usize = 512;
/// How often a key that waits for the gate is counted.
const HELD_BACK: Duration = Duration::from_millis(500);

/// Hands keys to workers, as many at once as the limiter allows, and none while the gate is closed.
pub(super) async fn dispatch(
    context: Arc<Context>,
    mut gate: Option<watch::Receiver<bool>>,
    tracker: TaskTracker,
    probes: Arc<Probes>,
) {
    let at_work = Arc::new(Semaphore::new(AT_WORK));
    loop {
        let ready = async {
            if let Some(gate) = &mut gate {
                until_open(gate, &context.queue).await?;
            }
            let at_work = at_work.clone().acquire_owned().await.ok()?;
            // No permit is held while there is no key: one that has begun may need the last one.
            context.queue.ready().await;
            let permit = context.limiter.acquire().await;
            Some((at_work, permit, context.queue.try_pop()))
        };
        let (at_work, permit, job) = tokio::select! {
            biased;
            Some(ready) = ready => ready,
            () = ticks(&probes) => continue,
        };
        probes.tick();
        let Some(job) = job else { continue };
        let (context, turn) = (context.clone(), Turn::new(context.limiter.clone(), permit));
        tracker.spawn(async move {
            let key = job.key.clone();
            let worked = std::panic::AssertUnwindSafe(work(&context, job, turn)).catch_unwind().await;
            let (key_state, fanout, outcome) = worked.unwrap_or_else(|_| {
                let sync = context.cache.sync(key.object());
                let (namespace, name) = sync.as_ref().map(|sync| (&*sync.key.namespace, &*sync.key.name)).unzip();
                let shard = key.shard().index();
                tracing::error!(namespace, name, shard, "the work on a sync panicked; it is tried again");
                (KeyState::default(), None, Outcome::Retry(Duration::from_secs(30)))
            });
            let source = source_of(&context.cache, &key);
            context.queue.done(key, key_state, outcome, source, fanout);
            drop(at_work);
        });
    }
}

/// Waits until the gate is open; `None`: there is no leadership any more, and nothing is to be written. A key that waits for
/// it is a write held back, counted every half second.
async fn until_open(gate: &mut watch::Receiver<bool>, queue: &Queue) -> Option<()> {
    while !*gate.borrow_and_update() {
        tokio::select! {
            biased;
            changed = gate.changed() => changed.ok()?,
            () = tokio::time::sleep(HELD_BACK) => {
                if queue.has_turn() {
                    metrics::counter!(i::GATE_CLOSED_TOTAL).increment(1);
                }
            }
        }
    }
    Some(())
}

/// Ends after a while, so that a loop that has nothing to do ticks too.
async fn ticks(probes: &Probes) {
    tokio::time::sleep(STUCK / 10).await;
    probes.tick();
}
