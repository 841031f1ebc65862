//! What stands behind the queue's lock: the position of each key, what is remembered of it, and which shards are held.

use std::sync::Arc;
use std::time::Duration;

use ahash::AHashMap;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::controller::queue::fanout::Fanout;
use crate::controller::queue::job::{Cause, Job, Lane, Outcome};
use crate::controller::queue::lanes::{Lanes, room};
use crate::controller::queue::timers::Timers;
use crate::controller::reconcile::key_state::KeyState;
use crate::rules::key::Key;
use crate::rules::record::ObjectKey;
use crate::rules::shard::{SHARDS, Shard};
use crate::rules::uid::Version;
use crate::telemetry::instruments as i;

/// For how long a key waits that is to be looked at once for many causes.
pub const PACE: Duration = Duration::from_millis(100);
/// A key that failed is tried again after this time if something urgent happened to it meanwhile.
const HURRIED: Duration = Duration::from_secs(1);

/// All of it, behind one lock.
pub(super) struct Keys {
    pub(super) held: [bool; SHARDS],
    /// Keys at work, by shard.
    at_work: [usize; SHARDS],
    pub(super) items: AHashMap<Key, Item>,
    /// What the watches told of keys at work meanwhile, and whether it was urgent.
    observed: AHashMap<Key, Vec<(Version, bool)>>,
    pub(super) lanes: Lanes,
    timers: Timers,
    /// Whoever waits for a shard's work to end.
    drains: Vec<(Shard, oneshot::Sender<()>)>,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            held: [false; SHARDS],
            at_work: [0; SHARDS],
            items: AHashMap::new(),
            observed: AHashMap::new(),
            lanes: Lanes::default(),
            timers: Timers::default(),
            drains: Vec::new(),
        }
    }
}

pub(super) struct Item {
    position: Position,
    /// `None`: nothing is remembered.
    key_state: Option<Box<KeyState>>,
    fanout: Option<Arc<Fanout>>,
    since: Instant,
}

/// The position of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Position {
    /// In a lane.
    Waiting(Lane),
    /// With a task. `again`: something changed meanwhile; `urgent`: what ends a wait after a failure.
    AtWork { again: bool, urgent: bool },
    /// Until that time, or until something changes; `failed`: only something urgent ends it sooner.
    Until { when: Instant, failed: bool },
    /// Nowhere; only what is remembered of it is kept, until the watches have caught up with it.
    Idle,
}

impl Keys {
    /// Gives back the room that a burst took.
    pub(super) fn shrink(&mut self) {
        if let Some(room) = room(self.items.len(), self.items.capacity()) {
            self.items.shrink_to(room);
        }
        self.lanes.shrink();
    }

    /// True when there is one more to pop.
    pub(super) fn push(&mut self, key: Key, source: Option<ObjectKey>, cause: &Cause) -> bool {
        let item = self.items.entry(key.clone()).or_insert_with(|| Item {
            position: Position::Idle,
            key_state: None,
            fanout: None,
            since: Instant::now(),
        });
        if item.fanout.is_none() {
            item.fanout.clone_from(&cause.fanout);
        }
        match item.position {
            Position::Until { when, failed: false } if cause.paced => {
                self.timers.cancel(when, key.clone());
                self.wait(key, PACE, source, true);
                return true;
            }
            Position::Idle if cause.paced => {
                self.wait(key, PACE, source, true);
                return true;
            }
            _ => {}
        }
        let echo = item
            .key_state
            .as_mut()
            .zip(cause.observed)
            .is_some_and(|(key_state, observed)| !key_state.observe(observed));
        let forgettable = item.key_state.as_ref().is_some_and(|key_state| key_state.is_empty());
        let failed = item.key_state.as_ref().is_some_and(|key_state| key_state.copy.failed.is_some());
        match item.position {
            // It was looked at with the answer that told the same.
            Position::Waiting(Lane::Status | Lane::Ends) if echo => false,
            Position::Idle if echo && forgettable => {
                self.items.remove(&key);
                false
            }
            Position::Waiting(Lane::Data) => false,
            Position::AtWork { urgent, .. } => {
                match cause.observed {
                    // Whether it is news is seen when the task is done: its answer may be on the way.
                    Some(observed) => self.observed.entry(key).or_default().push((observed, cause.urgent)),
                    None => item.position = Position::AtWork { again: true, urgent: urgent || cause.urgent },
                }
                false
            }
            Position::Until { failed: true, .. } if !cause.urgent => false,
            // A failure is to be told first.
            Position::Waiting(Lane::Status) if failed => {
                if let Some(key_state) = item.key_state.as_mut().filter(|_| cause.urgent) {
                    key_state.hurry(HURRIED);
                }
                false
            }
            // It is looked at anew: a copy may have to be written before the status.
            Position::Waiting(Lane::Status | Lane::Ends) | Position::Until { .. } | Position::Idle => {
                if let Position::Until { when, .. } = item.position {
                    self.timers.cancel(when, key.clone());
                }
                metrics::counter!(i::WORKQUEUE_ADDS_TOTAL, "name" => "configmapsync").increment(1);
                self.enqueue(key, source);
                true
            }
        }
    }

    fn enqueue(&mut self, key: Key, source: Option<ObjectKey>) {
        if let Some(item) = self.items.get_mut(&key) {
            item.position = Position::Waiting(Lane::Data);
            item.since = Instant::now();
        }
        self.lanes.push_data(key, source);
    }

    /// The next key whose turn it is.
    pub(super) fn pop(&mut self) -> Option<Job> {
        let items = &self.items;
        let waits = |key: &Key, lane| items.get(key).is_some_and(|item| item.position == Position::Waiting(lane));
        let (key, lane) = self.lanes.pop(Instant::now(), waits)?;
        self.start(key, lane)
    }

    /// Whether a key may have its turn now; lanes may hold keys that have moved on since.
    pub(super) fn is_ready(&self, now: Instant) -> bool {
        self.lanes.is_ready(now)
    }

    /// When to look again though nobody says so.
    pub(super) fn next_look(&self) -> Option<Instant> {
        [self.timers.next(), self.lanes.next_look()].into_iter().flatten().min()
    }

    /// How many keys wait in each lane, and since when the first does.
    pub(super) fn depths(&self) -> [(Lane, usize, Option<Instant>); 3] {
        let since = |key: Key| self.items.get(&key).map(|item| item.since);
        self.lanes.depths().map(|(lane, depth, first)| (lane, depth, first.and_then(since)))
    }

    fn start(&mut self, key: Key, lane: Lane) -> Option<Job> {
        let item = self.items.get_mut(&key)?;
        item.position = Position::AtWork { again: false, urgent: false };
        metrics::histogram!(i::WORKQUEUE_QUEUE_DURATION_SECONDS, "name" => "configmapsync")
            .record(item.since.elapsed().as_secs_f64());
        self.at_work[key.shard().index()] += 1;
        Some(Job {
            key,
            lane,
            key_state: item.key_state.take().map_or_else(KeyState::default, |key_state| *key_state),
            fanout: item.fanout.take(),
        })
    }

    pub(super) fn done(
        &mut self,
        key: Key,
        mut key_state: KeyState,
        outcome: Outcome,
        source: Option<ObjectKey>,
        fanout: Option<Arc<Fanout>>,
    ) {
        let shard = key.shard();
        self.at_work[shard.index()] -= 1;
        let Some(item) = self.items.get_mut(&key) else { return };
        let (mut again, mut urgent) = match item.position {
            Position::AtWork { again, urgent } => (again, urgent),
            _ => (false, false),
        };
        for (observed, its_urgent) in self.observed.remove(&key).unwrap_or_default() {
            if key_state.observe(observed) {
                (again, urgent) = (true, urgent || its_urgent);
            }
        }
        let failed = key_state.copy.failed.is_some();
        if again && urgent {
            key_state.hurry(HURRIED);
        }
        if matches!(outcome, Outcome::Status | Outcome::Ends) && !failed {
            self.lanes.copy_written();
        }
        if !self.held[shard.index()] {
            fanout.iter().chain(&item.fanout).for_each(|fanout| fanout.give_up());
            self.items.remove(&key);
            self.drained(shard);
            return;
        }
        let forgettable = key_state.is_empty();
        item.key_state = Some(Box::new(key_state));
        item.fanout = fanout.or(item.fanout.take());
        match outcome {
            Outcome::Paced(_) if again && !urgent => self.wait(key, PACE, source, true),
            _ if again && !matches!(outcome, Outcome::Retry(_)) && !failed => self.enqueue(key, source),
            Outcome::Rest(None) | Outcome::Paced(None) if forgettable => {
                self.items.remove(&key);
            }
            Outcome::Rest(None) | Outcome::Paced(None) => item.position = Position::Idle,
            Outcome::Rest(Some(wait)) | Outcome::Paced(Some(wait)) => self.wait(key, wait, source, false),
            Outcome::Ends => {
                item.position = Position::Waiting(Lane::Ends);
                item.since = Instant::now();
                self.lanes.push_end(key);
            }
            Outcome::Status => {
                item.position = Position::Waiting(Lane::Status);
                item.since = Instant::now();
                self.lanes.push_status(key);
            }
            Outcome::Retry(wait) => {
                metrics::counter!(i::WORKQUEUE_RETRIES_TOTAL, "name" => "configmapsync").increment(1);
                self.wait(key, if urgent { wait.min(HURRIED) } else { wait }, source, true);
            }
        }
    }

    fn wait(&mut self, key: Key, wait: Duration, source: Option<ObjectKey>, failed: bool) {
        let when = Instant::now() + wait;
        if let Some(item) = self.items.get_mut(&key) {
            item.position = Position::Until { when, failed };
            self.timers.set(when, key, source);
        }
    }

    /// Takes in those whose wait is over.
    pub(super) fn end_waits(&mut self, now: Instant) {
        while let Some((key, source)) = self.timers.pop(now) {
            let waits = |item: &Item| matches!(item.position, Position::Until { when, .. } if when <= now);
            if self.items.get(&key).is_some_and(waits) {
                self.enqueue(key, source);
            }
        }
    }

    /// The keys that wait after a failure, those that are tried again first at the front.
    pub(super) fn waiting(&self) -> Vec<Key> {
        let waits = |(key, item): (&Key, &Item)| match item.position {
            Position::Until { when, failed: true } => Some((when, key.clone())),
            _ => None,
        };
        let mut waiting: Vec<(Instant, Key)> = self.items.iter().filter_map(waits).collect();
        waiting.sort_unstable();
        waiting.into_iter().map(|(_, key)| key).collect()
    }

    /// What this key waits for after a failure may have come. Whether it waited.
    pub(super) fn end_wait(&mut self, key: Key, source: Option<ObjectKey>) -> bool {
        let Some(Position::Until { when, failed: true }) = self.items.get(&key).map(|item| item.position) else {
            return false;
        };
        self.timers.cancel(when, key.clone());
        self.enqueue(key, source);
        true
    }

    /// A shard is not held any more: drops what waits. `sender` is told when nothing of it is at work.
    pub(super) fn close(&mut self, shard: Shard, sender: oneshot::Sender<()>) {
        self.held[shard.index()] = false;
        let Self { items, timers, .. } = self;
        items.retain(|key, item| {
            if key.shard() != shard || matches!(item.position, Position::AtWork { .. }) {
                return true;
            }
            item.fanout.iter().for_each(|fanout| fanout.give_up());
            if let Position::Until { when, .. } = item.position {
                timers.cancel(when, key.clone());
            }
            false
        });
        self.drains.push((shard, sender));
        self.drained(shard);
    }

    fn drained(&mut self, shard: Shard) {
        if self.at_work[shard.index()] > 0 {
            return;
        }
        let (done, waiting) = std::mem::take(&mut self.drains).into_iter().partition(|(other, _)| *other == shard);
        self.drains = waiting;
        for (_, sender) in done {
            let _ = sender.send(());
        }
    }
}
