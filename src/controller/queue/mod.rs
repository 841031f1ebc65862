//! The queue of a replica: keys in shards that it holds, each at most once, one task per key at a time.
//!
//! There are three lanes. The first is for copies. It goes round-robin by source, so that a small source need not wait for a big
//! one. The second is for the end of a sync whose copy has gone. It comes after copies, and has one turn in eight before them. The
//! third is for finalizers and statuses. While copies wait, and for a moment after the last one was written by any replica, it gets
//! one turn every `STATUS_PACE` in the whole fleet, because the API server is the same for all. What has waited there for
//! `STATUS_PATIENCE` gets one turn in eight. All shards share one queue, because they share the replica's writers.

pub mod fanout;
mod job;
mod lanes;
mod state;
#[cfg(test)]
mod tests;
mod timers;

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::controller::queue::fanout::Fanout;
pub use crate::controller::queue::job::{Cause, Job, Lane, Outcome};
use crate::controller::queue::state::Keys;
pub use crate::controller::queue::state::PACE;
use crate::controller::reconcile::key_state::KeyState;
use crate::rules::key::Key;
use crate::rules::record::ObjectKey;
use crate::rules::shard::{SHARDS, Shard};
use crate::rules::uid::Uid;
use crate::telemetry::instruments as i;

/// The queue.
#[derive(Default)]
pub struct Queue {
    state: Mutex<Keys>,
    more: Notify,
}

impl Queue {
    /// Takes a key in, unless its shard is not held. `source`: whose turn it waits for.
    pub fn push(&self, key: Key, source: Option<ObjectKey>, cause: &Cause) {
        let mut state = self.state.lock();
        if !state.held[key.shard().index()] {
            return;
        }
        if state.push(key, source, cause) {
            drop(state);
            self.more.notify_one();
        }
    }

    /// Waits for the next key.
    pub async fn pop(&self) -> Job {
        loop {
            self.ready().await;
            if let Some(job) = self.try_pop() {
                return job;
            }
        }
    }

    /// Has the copies of an object counted soon.
    pub fn recount(&self, object: Uid) {
        self.push(Key::Object(object), None, &Cause { paced: true, ..Cause::default() });
    }

    /// The next key, if one has its turn now.
    pub fn try_pop(&self) -> Option<Job> {
        let mut state = self.state.lock();
        state.end_waits(Instant::now());
        state.pop()
    }

    /// Whether a key has its turn.
    pub fn has_turn(&self) -> bool {
        self.state.lock().is_ready(Instant::now())
    }

    /// Waits until a key has its turn.
    pub async fn ready(&self) {
        loop {
            let more = self.more.notified();
            let next_look = {
                let mut state = self.state.lock();
                let now = Instant::now();
                state.end_waits(now);
                if state.is_ready(now) {
                    return;
                }
                state.next_look()
            };
            match next_look {
                Some(when) => {
                    let _ = tokio::time::timeout_at(when, more).await;
                }
                None => more.await,
            }
        }
    }

    /// Takes a key back from the task that worked on it.
    pub fn done(
        &self,
        key: Key,
        key_state: KeyState,
        outcome: Outcome,
        source: Option<ObjectKey>,
        fanout: Option<Arc<Fanout>>,
    ) {
        let mut state = self.state.lock();
        state.done(key, key_state, outcome, source, fanout);
        drop(state);
        self.more.notify_one();
    }

    /// A key reads this source: until the answer is dropped, no other key of it is begun.
    pub fn reading(&self, source: &ObjectKey) -> Reading<'_> {
        self.state.lock().lanes.reads(source);
        Reading { queue: self, source: source.clone() }
    }

    /// The keys that wait after a failure, those that are tried again first at the front.
    pub fn waiting(&self) -> Vec<Key> {
        self.state.lock().waiting()
    }

    /// What this key waits for after a failure may have come. Whether it waited.
    pub fn end_wait(&self, key: Key, source: Option<ObjectKey>) -> bool {
        let waited = self.state.lock().end_wait(key, source);
        if waited {
            self.more.notify_one();
        }
        waited
    }

    /// Whether this shard's keys are taken in.
    pub fn holds(&self, shard: Shard) -> bool {
        self.state.lock().held[shard.index()]
    }

    /// Which shards' keys are taken in.
    pub fn held(&self) -> [bool; SHARDS] {
        self.state.lock().held
    }

    /// A shard is ours: its keys are taken in from now on.
    pub fn open(&self, shard: Shard) {
        self.state.lock().held[shard.index()] = true;
    }

    /// So many replicas share the pace of statuses.
    pub fn share_pace(&self, replicas: usize) {
        self.state.lock().lanes.share_pace(replicas);
    }

    /// A watch told of a copy that was written, by whichever replica.
    pub fn copy_written(&self) {
        self.state.lock().lanes.copy_written();
    }

    /// A shard is ours no more: what waits is dropped, and the answer comes when nothing of it is at work.
    pub fn close(&self, shard: Shard) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        self.state.lock().close(shard, sender);
        receiver
    }

    /// Sets the gauges, and gives back the room that a burst took. To be called now and then.
    pub fn measure(&self) {
        let mut state = self.state.lock();
        state.shrink();
        let depths = state.depths();
        drop(state);
        for (lane, depth, since) in depths {
            let lane = match lane {
                Lane::Data => "data",
                Lane::Ends => "ends",
                Lane::Status => "paperwork",
            };
            metrics::gauge!(i::QUEUE_DEPTH, "lane" => lane).set(depth as f64);
            metrics::gauge!(i::QUEUE_OLDEST_SECONDS, "lane" => lane)
                .set(since.map_or(0.0, |since| since.elapsed().as_secs_f64()));
        }
        let depth = depths.iter().map(|(_, depth, _)| depth).sum::<usize>();
        metrics::gauge!(i::WORKQUEUE_DEPTH, "name" => "configmapsync").set(depth as f64);
    }
}

/// A source that is being read.
pub struct Reading<'a> {
    queue: &'a Queue,
    source: ObjectKey,
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.queue.state.lock().lanes.read_ended(&self.source);
        self.queue.more.notify_one();
    }
}
