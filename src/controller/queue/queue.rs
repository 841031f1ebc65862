//! The queue of a replica: keys of syncs in shards that it holds, each at most once, one task per key at a time.
//!
//! Three lanes. Data (copies) goes round-robin by source, so that a small source need not wait for a big one.
//! Paperwork (finalizers and statuses) goes slowly, one every [`PAPERWORK_PACE`] in the whole fleet, while copies wait and
//! for a moment after the last one was written, by whichever replica: the API server is the same for all. Paperwork that has
//! waited for [`PAPERWORK_PATIENCE`] gets one turn in [`PAPERWORK_TURNS`]. Between the two is the end of a sync whose copy has
//! gone: it is not paced, comes after copies, and has one turn in [`PAPERWORK_TURNS`] before them. One queue for all shards, since a turn is a turn of
//! the replica's writers, whichever shard it is for.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ahash::{AHashMap, AHashSet};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::controller::queue::fanout::Fanout;
use crate::controller::reconcile::memo::Memo;
use crate::rules::record::{Place, Version};
use crate::rules::shard::{SHARDS, Shard};
use crate::rules::uid::Uid;
use crate::telemetry::instruments as i;

/// Copies flow while one waits, and for this long after one was written, here or by another replica.
const DATA_FLOWS: Duration = Duration::from_millis(250);
/// While copies flow, paperwork starts that far apart: one replica's, or in turn that of several.
const PAPERWORK_PACE: Duration = Duration::from_millis(100);
/// Paperwork that has waited for this long gets one turn in so many.
const PAPERWORK_PATIENCE: Duration = Duration::from_secs(30);
const PAPERWORK_TURNS: u8 = 8;

/// What failed while something urgent happened to it is tried again after this time.
const HURRIED: Duration = Duration::from_secs(1);

/// Which lane a key waits in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lane {
    /// Copies; and whatever has not been looked at yet.
    Data,
    /// The end of a sync whose copy has gone: its finalizer.
    Ends,
    /// Finalizers and statuses.
    Paperwork,
}

/// Why a key is put into the queue.
#[derive(Clone, Debug, Default)]
pub struct Cause {
    /// The change of a source that it is part of.
    pub fanout: Option<Arc<Fanout>>,
    /// Whether it ends a wait after a failure: what the key waits for may have come. (A status that came back is no
    /// such reason.)
    pub urgent: bool,
    /// The version that a stream told, if that is why.
    pub told: Option<Version>,
}

/// What became of a key's work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Nothing is left to do until something changes, or until that time has passed.
    Rest(Option<Duration>),
    /// The copy has gone, and the finalizer is to follow.
    Ends,
    /// What is left is paperwork.
    Paperwork,
    /// It failed, or was refused: again after this time, or sooner when something changes.
    Retry(Duration),
}

/// A key, and what is remembered of it.
#[derive(Debug)]
pub struct Job {
    /// The sync's UID.
    pub uid: Uid,
    /// The lane that it waited in.
    pub lane: Lane,
    /// What is remembered of it.
    pub memo: Memo,
    /// The change of a source that it is part of.
    pub fanout: Option<Arc<Fanout>>,
}

/// The queue.
#[derive(Default)]
pub struct Queue {
    state: Mutex<State>,
    more: Notify,
}

struct State {
    held: [bool; SHARDS],
    /// Keys at work, by shard.
    at_work: [usize; SHARDS],
    items: AHashMap<Uid, Item>,
    /// What the streams told of keys at work meanwhile, and whether it was urgent.
    heard: AHashMap<Uid, Vec<(Version, bool)>>,
    /// Sources whose turn it is, one after the other, each with its keys.
    sources: AHashMap<Option<Place>, VecDeque<Uid>>,
    turns: VecDeque<Option<Place>>,
    /// Sources that are being read, and by how many keys. Their other keys would only wait for the same answer, so they
    /// have no turn meanwhile.
    reading: AHashMap<Place, usize>,
    /// Those of them that have keys and no turn.
    out_of_turn: AHashSet<Place>,
    data: usize,
    ends: VecDeque<Uid>,
    paperwork: VecDeque<(Instant, Uid)>,
    /// When paperwork may start though copies flow, and how far apart.
    paperwork_next: Instant,
    paperwork_pace: Duration,
    /// When copies flow no more, if none waits.
    data_flows_until: Instant,
    /// When waits end, and the source whose turn each key waits for then.
    waits: BTreeMap<(Instant, Uid), Option<Place>>,
    turn: u8,
    /// Whoever waits for a shard's work to end.
    drains: Vec<(Shard, tokio::sync::oneshot::Sender<()>)>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            held: [false; SHARDS],
            at_work: [0; SHARDS],
            items: AHashMap::new(),
            heard: AHashMap::new(),
            sources: AHashMap::new(),
            turns: VecDeque::new(),
            reading: AHashMap::new(),
            out_of_turn: AHashSet::new(),
            data: 0,
            ends: VecDeque::new(),
            paperwork: VecDeque::new(),
            paperwork_next: Instant::now(),
            paperwork_pace: PAPERWORK_PACE,
            data_flows_until: Instant::now(),
            waits: BTreeMap::new(),
            turn: 0,
            drains: Vec::new(),
        }
    }
}

struct Item {
    place: Where,
    /// `None`: nothing is remembered.
    memo: Option<Box<Memo>>,
    fanout: Option<Arc<Fanout>>,
    since: Instant,
}

/// Where a key is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Where {
    /// In a lane.
    Waiting(Lane),
    /// With a task. `again`: something changed meanwhile; `urgent`: what ends a wait after a failure.
    AtWork { again: bool, urgent: bool },
    /// Until that time, or until something changes; `failed`: only something urgent ends it sooner.
    Until { when: Instant, failed: bool },
    /// Nowhere; only what is remembered of it is kept, until the streams have caught up with it.
    Idle,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a key in, unless its shard is not held. `source`: whose turn it waits for.
    pub fn push(&self, uid: Uid, source: Option<Place>, cause: &Cause) {
        let mut state = self.lock();
        if !state.held[Shard::of(uid).index()] {
            return;
        }
        if state.push(uid, source, cause) {
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

    /// The next key, if one has its turn now.
    pub fn try_pop(&self) -> Option<Job> {
        let mut state = self.lock();
        state.end_waits(Instant::now());
        state.pop()
    }

    /// Whether a key has its turn.
    pub fn has_turn(&self) -> bool {
        self.lock().is_ready(Instant::now())
    }

    /// Waits until a key has its turn.
    pub async fn ready(&self) {
        loop {
            let more = self.more.notified();
            let next_look = {
                let mut state = self.lock();
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
    pub fn done(&self, uid: Uid, memo: Memo, outcome: Outcome, source: Option<Place>, fanout: Option<Arc<Fanout>>) {
        let mut state = self.lock();
        state.done(uid, memo, outcome, source, fanout);
        drop(state);
        self.more.notify_one();
    }

    /// A key reads this source: until the answer is dropped, no other key of it is begun.
    pub fn reading(&self, source: &Place) -> Reading<'_> {
        *self.lock().reading.entry(source.clone()).or_default() += 1;
        Reading { queue: self, source: source.clone() }
    }

    /// What this key waits for after a failure may have come. Whether it waited.
    pub fn end_wait(&self, uid: Uid, source: Option<Place>) -> bool {
        let mut state = self.lock();
        let Some(Where::Until { when, failed: true }) = state.items.get(&uid).map(|item| item.place) else {
            return false;
        };
        state.waits.remove(&(when, uid));
        state.enqueue(uid, source);
        drop(state);
        self.more.notify_one();
        true
    }

    /// Which shards' keys are taken in.
    pub fn held(&self) -> [bool; SHARDS] {
        self.lock().held
    }

    /// A shard is ours: its keys are taken in from now on.
    pub fn open(&self, shard: Shard) {
        self.lock().held[shard.index()] = true;
    }

    /// So many replicas share the pace of paperwork.
    pub fn share_pace(&self, replicas: usize) {
        let replicas = u32::try_from(replicas.max(1)).unwrap_or(u32::MAX);
        self.lock().paperwork_pace = PAPERWORK_PACE.saturating_mul(replicas);
    }

    /// A stream told of a copy that was written, by whichever replica.
    pub fn copy_written(&self) {
        self.lock().data_flows_until = Instant::now() + DATA_FLOWS;
    }

    /// A shard is ours no more: what waits is dropped, and the answer comes when nothing of it is at work.
    pub fn close(&self, shard: Shard) -> tokio::sync::oneshot::Receiver<()> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let mut state = self.lock();
        state.held[shard.index()] = false;
        let drop_all = |fanout: &Option<Arc<Fanout>>| fanout.iter().for_each(|fanout| fanout.give_up());
        let State { items, waits, .. } = &mut *state;
        items.retain(|uid, item| {
            let stays = Shard::of(*uid) != shard || matches!(item.place, Where::AtWork { .. });
            if !stays {
                drop_all(&item.fanout);
            }
            if let Where::Until { when, .. } = item.place
                && !stays
            {
                waits.remove(&(when, *uid));
            }
            stays
        });
        state.drains.push((shard, sender));
        state.drained(shard);
        receiver
    }

    /// Sets the gauges, and gives back the room that a burst took. To be called now and then.
    pub fn measure(&self) {
        let mut state = self.lock();
        state.shrink();
        let oldest = |since: Option<Instant>| since.map_or(0.0, |since| since.elapsed().as_secs_f64());
        let first = state.turns.front().and_then(|source| state.sources.get(source)).and_then(VecDeque::front);
        let first = first.and_then(|uid| state.items.get(uid)).map(|item| item.since);
        let paperwork = state.paperwork.front().map(|(since, _)| *since);
        let end = state.ends.front().and_then(|uid| state.items.get(uid)).map(|item| item.since);
        let lanes = [
            ("data", state.data, first),
            ("ends", state.ends.len(), end),
            ("paperwork", state.paperwork.len(), paperwork),
        ];
        for (lane, depth, since) in lanes {
            metrics::gauge!(i::QUEUE_DEPTH, "lane" => lane).set(depth as f64);
            metrics::gauge!(i::QUEUE_OLDEST_SECONDS, "lane" => lane).set(oldest(since));
        }
        metrics::gauge!(i::WORKQUEUE_DEPTH, "name" => "configmapsync")
            .set((state.data + state.ends.len() + state.paperwork.len()) as f64);
    }
}

/// A source that is being read.
pub struct Reading<'a> {
    queue: &'a Queue,
    source: Place,
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.queue.lock().is_read(&self.source);
        self.queue.more.notify_one();
    }
}

impl State {
    /// The answer is there for one of those who wait for it.
    fn is_read(&mut self, source: &Place) {
        let Some(readers) = self.reading.get_mut(source) else { return };
        *readers -= 1;
        if *readers > 0 {
            return;
        }
        self.reading.remove(source);
        if let Some(source) = self.out_of_turn.take(source) {
            self.turns.push_back(Some(source));
        }
    }

    /// Whether this source has no turn now, which comes back with the answer that is waited for.
    fn sits_out(&mut self, source: Option<&Place>) -> bool {
        let Some(source) = source.filter(|source| self.reading.contains_key(*source)) else { return false };
        self.out_of_turn.insert(source.clone());
        true
    }

    fn shrink(&mut self) {
        let room = |used: usize, capacity: usize| (capacity > 4 * used.max(1 << 8)).then_some(2 * used);
        if let Some(room) = room(self.items.len(), self.items.capacity()) {
            self.items.shrink_to(room);
        }
        if let Some(room) = room(self.ends.len(), self.ends.capacity()) {
            self.ends.shrink_to(room);
        }
        if let Some(room) = room(self.paperwork.len(), self.paperwork.capacity()) {
            self.paperwork.shrink_to(room);
        }
    }

    /// True when there is one more to pop.
    fn push(&mut self, uid: Uid, source: Option<Place>, cause: &Cause) -> bool {
        let item = self.items.entry(uid).or_insert_with(|| Item {
            place: Where::Idle,
            memo: None,
            fanout: None,
            since: Instant::now(),
        });
        if item.fanout.is_none() {
            item.fanout.clone_from(&cause.fanout);
        }
        let echo = item.memo.as_mut().zip(cause.told).is_some_and(|(memo, told)| !memo.hear(told));
        let forgettable = item.memo.as_ref().is_some_and(|memo| memo.is_empty());
        let failed = item.memo.as_ref().is_some_and(|memo| memo.failed.is_some());
        match item.place {
            // It was looked at with the answer that told the same.
            Where::Waiting(Lane::Paperwork | Lane::Ends) if echo => false,
            Where::Idle if echo && forgettable => {
                self.items.remove(&uid);
                false
            }
            Where::Waiting(Lane::Data) => false,
            Where::AtWork { urgent, .. } => {
                match cause.told {
                    // Whether it is news is seen when the task is done: its answer may be on the way.
                    Some(told) => self.heard.entry(uid).or_default().push((told, cause.urgent)),
                    None => item.place = Where::AtWork { again: true, urgent: urgent || cause.urgent },
                }
                false
            }
            Where::Until { failed: true, .. } if !cause.urgent => false,
            // A failure is to be told first.
            Where::Waiting(Lane::Paperwork) if failed => {
                if let Some(memo) = item.memo.as_mut().filter(|_| cause.urgent) {
                    memo.hurry(HURRIED);
                }
                false
            }
            // It is looked at anew: a copy may have to be written before the paperwork.
            Where::Waiting(Lane::Paperwork | Lane::Ends) | Where::Until { .. } | Where::Idle => {
                if let Where::Until { when, .. } = item.place {
                    self.waits.remove(&(when, uid));
                }
                metrics::counter!(i::WORKQUEUE_ADDS_TOTAL, "name" => "configmapsync").increment(1);
                self.enqueue(uid, source);
                true
            }
        }
    }

    fn enqueue(&mut self, uid: Uid, source: Option<Place>) {
        if let Some(item) = self.items.get_mut(&uid) {
            item.place = Where::Waiting(Lane::Data);
            item.since = Instant::now();
        }
        let keys = self.sources.entry(source.clone()).or_default();
        let first = keys.is_empty();
        keys.push_back(uid);
        if first && !self.sits_out(source.as_ref()) {
            self.turns.push_back(source);
        }
        self.data += 1;
    }

    fn pop(&mut self) -> Option<Job> {
        let now = Instant::now();
        let patience_ends = self.paperwork.front().is_some_and(|(since, _)| now - *since >= PAPERWORK_PATIENCE);
        self.turn = (self.turn + 1) % PAPERWORK_TURNS;
        if self.turn == PAPERWORK_TURNS / 2
            && let Some(job) = self.pop_end()
        {
            return Some(job);
        }
        if self.paperwork_next <= now || (patience_ends && self.turn == 0) {
            self.pop_paperwork(now).or_else(|| self.pop_data()).or_else(|| self.pop_end())
        } else if patience_ends || self.data_flows_until <= now {
            self.pop_data().or_else(|| self.pop_end()).or_else(|| self.pop_paperwork(now))
        } else {
            self.pop_data().or_else(|| self.pop_end())
        }
    }

    fn pop_end(&mut self) -> Option<Job> {
        while let Some(uid) = self.ends.pop_front() {
            if let Some(job) = self.start(uid, Lane::Ends) {
                return Some(job);
            }
        }
        None
    }

    /// Whether a key may have its turn now; lanes may hold keys that have moved on since.
    fn is_ready(&self, now: Instant) -> bool {
        let since = self.paperwork.front().map(|(since, _)| *since);
        let patience_ends = since.is_some_and(|since| now - since >= PAPERWORK_PATIENCE);
        let paced = self.paperwork_next <= now || self.data_flows_until <= now;
        !self.turns.is_empty() || !self.ends.is_empty() || (since.is_some() && (paced || patience_ends))
    }

    /// When to look again though nobody says so.
    fn next_look(&self) -> Option<Instant> {
        let wait = self.waits.first_key_value().map(|((when, _), _)| *when);
        let paced = self.paperwork.front().map(|_| self.paperwork_next.min(self.data_flows_until));
        [wait, paced].into_iter().flatten().min()
    }

    fn pop_data(&mut self) -> Option<Job> {
        while let Some(source) = self.turns.pop_front() {
            if self.sits_out(source.as_ref()) {
                continue;
            }
            let Some(keys) = self.sources.get_mut(&source) else { continue };
            let key = keys.pop_front();
            if keys.is_empty() {
                self.sources.remove(&source);
            } else {
                self.turns.push_back(source);
            }
            let Some(uid) = key else { continue };
            self.data -= 1;
            if let Some(job) = self.start(uid, Lane::Data) {
                return Some(job);
            }
        }
        None
    }

    fn pop_paperwork(&mut self, now: Instant) -> Option<Job> {
        while let Some((_, uid)) = self.paperwork.pop_front() {
            if let Some(job) = self.start(uid, Lane::Paperwork) {
                self.paperwork_next = now + self.paperwork_pace;
                return Some(job);
            }
        }
        None
    }

    /// Lanes may hold keys that have moved on since; only the item tells.
    fn start(&mut self, uid: Uid, lane: Lane) -> Option<Job> {
        let item = self.items.get_mut(&uid).filter(|item| item.place == Where::Waiting(lane))?;
        item.place = Where::AtWork { again: false, urgent: false };
        metrics::histogram!(i::WORKQUEUE_QUEUE_DURATION_SECONDS, "name" => "configmapsync")
            .record(item.since.elapsed().as_secs_f64());
        self.at_work[Shard::of(uid).index()] += 1;
        Some(Job {
            uid,
            lane,
            memo: item.memo.take().map_or_else(Memo::default, |memo| *memo),
            fanout: item.fanout.take(),
        })
    }

    fn done(&mut self, uid: Uid, mut memo: Memo, outcome: Outcome, source: Option<Place>, fanout: Option<Arc<Fanout>>) {
        let shard = Shard::of(uid);
        self.at_work[shard.index()] -= 1;
        let Some(item) = self.items.get_mut(&uid) else { return };
        let (mut again, mut urgent) = match item.place {
            Where::AtWork { again, urgent } => (again, urgent),
            _ => (false, false),
        };
        for (told, its_urgent) in self.heard.remove(&uid).unwrap_or_default() {
            if memo.hear(told) {
                (again, urgent) = (true, urgent || its_urgent);
            }
        }
        let failed = memo.failed.is_some();
        if again && urgent {
            memo.hurry(HURRIED);
        }
        if matches!(outcome, Outcome::Paperwork | Outcome::Ends) && !failed {
            self.data_flows_until = Instant::now() + DATA_FLOWS;
        }
        if !self.held[shard.index()] {
            fanout.iter().chain(&item.fanout).for_each(|fanout| fanout.give_up());
            self.items.remove(&uid);
            self.drained(shard);
            return;
        }
        let forgettable = memo.is_empty();
        item.memo = Some(Box::new(memo));
        item.fanout = fanout.or(item.fanout.take());
        match outcome {
            _ if again && !matches!(outcome, Outcome::Retry(_)) && !failed => self.enqueue(uid, source),
            Outcome::Rest(None) if forgettable => {
                self.items.remove(&uid);
            }
            Outcome::Rest(None) => item.place = Where::Idle,
            Outcome::Rest(Some(wait)) => self.wait(uid, wait, source, false),
            Outcome::Ends => {
                item.place = Where::Waiting(Lane::Ends);
                item.since = Instant::now();
                self.ends.push_back(uid);
            }
            Outcome::Paperwork => {
                item.place = Where::Waiting(Lane::Paperwork);
                item.since = Instant::now();
                self.paperwork.push_back((Instant::now(), uid));
            }
            Outcome::Retry(wait) => {
                metrics::counter!(i::WORKQUEUE_RETRIES_TOTAL, "name" => "configmapsync").increment(1);
                self.wait(uid, if urgent { wait.min(HURRIED) } else { wait }, source, true);
            }
        }
    }

    fn wait(&mut self, uid: Uid, wait: Duration, source: Option<Place>, failed: bool) {
        let when = Instant::now() + wait;
        if let Some(item) = self.items.get_mut(&uid) {
            item.place = Where::Until { when, failed };
            self.waits.insert((when, uid), source);
        }
    }

    fn end_waits(&mut self, now: Instant) {
        while let Some(first) = self.waits.first_entry()
            && first.key().0 <= now
        {
            let ((when, uid), source) = first.remove_entry();
            let due = |item: &&mut Item| matches!(item.place, Where::Until { when: until, .. } if until == when);
            if self.items.get_mut(&uid).filter(due).is_some() {
                self.enqueue(uid, source);
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::record::{Seen, Shared};
    use crate::rules::testing::{place, seen, uid, version};

    fn open_queue() -> Queue {
        let queue = Queue::default();
        Shard::all().for_each(|shard| queue.open(shard));
        queue
    }

    impl Memo {
        fn of_copy(place: Place, seen: Shared<Seen>) -> Self {
            let mut memo = Self::default();
            memo.copy = Some((place, seen));
            memo
        }
    }

    impl Queue {
        /// Keys in the lane for data, and keys in all.
        fn counts(&self) -> (usize, usize) {
            let state = self.lock();
            (state.data, state.items.len())
        }
    }

    fn push(queue: &Queue, number: u64, source: &str) {
        queue.push(uid(number), Some(place(source)), &Cause { urgent: true, ..Cause::default() });
    }

    /// The next key, if there is one now.
    async fn pop(queue: &Queue) -> Option<Job> {
        tokio::time::timeout(Duration::from_millis(1), queue.pop()).await.ok()
    }

    fn done(queue: &Queue, job: Job, outcome: Outcome) {
        queue.done(job.uid, job.memo, outcome, None, None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_an_answer_told_is_no_news_when_a_stream_tells_it() {
        let queue = open_queue();
        let told =
            |rv| queue.push(uid(1), Some(place("a/x")), &Cause { told: Some(version(7, rv)), ..Cause::default() });
        for (outcome, left) in [(Outcome::Paperwork, 1), (Outcome::Rest(None), 0)] {
            let written = |rv| Memo::of_copy(place("b/x"), Shared::new(seen(7, rv)));
            push(&queue, 1, "a/x");
            let job = pop(&queue).await.unwrap();
            queue.done(job.uid, written(30), outcome, None, None);
            told(30);
            assert_eq!(queue.counts(), (0, left), "it is not looked at again");
            told(31);
            let job = pop(&queue).await.expect("somebody else has written");
            assert!(job.memo.is_empty());
            [29, 30].into_iter().for_each(told);
            queue.done(job.uid, written(30), Outcome::Rest(None), None, None);
            assert_eq!(queue.counts(), (0, 0), "it came before the answer");
            push(&queue, 1, "a/x");
            let job = pop(&queue).await.unwrap();
            [30, 31].into_iter().for_each(told);
            queue.done(job.uid, written(30), Outcome::Rest(None), None, None);
            assert_eq!(queue.counts(), (1, 1), "somebody else has written");
            let job = pop(&queue).await.unwrap();
            queue.done(job.uid, job.memo, Outcome::Rest(None), None, None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_waits_once_and_works_alone_and_a_change_meanwhile_runs_it_again() {
        let queue = open_queue();
        push(&queue, 1, "a/x");
        push(&queue, 1, "a/x");
        let job = pop(&queue).await.unwrap();
        push(&queue, 1, "a/x");
        assert!(pop(&queue).await.is_none(), "it is at work");
        done(&queue, job, Outcome::Rest(None));
        let job = pop(&queue).await.unwrap();
        done(&queue, job, Outcome::Rest(None));
        assert!(pop(&queue).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_small_source_does_not_wait_for_a_big_one() {
        let queue = open_queue();
        (0..100).for_each(|number| push(&queue, number, "big/x"));
        push(&queue, 100, "small/x");
        pop(&queue).await.unwrap();
        assert_eq!(pop(&queue).await.unwrap().uid, uid(100));
    }

    /// So many keys of which the copy was just written.
    async fn with_paperwork(keys: u64) -> Queue {
        let queue = open_queue();
        (0..keys).for_each(|number| push(&queue, number, "a/x"));
        let mut jobs = Vec::new();
        for _ in 0..keys {
            jobs.push(queue.pop().await);
        }
        jobs.into_iter().for_each(|job| done(&queue, job, Outcome::Paperwork));
        queue
    }

    #[tokio::test(start_paused = true)]
    async fn while_copies_wait_paperwork_is_paced_and_gets_more_when_it_has_waited_long() {
        let queue = with_paperwork(50).await;
        (100..400).for_each(|number| push(&queue, number, "a/x"));
        let paperwork = async |turns: usize| {
            let mut count = 0;
            for _ in 0..turns {
                count += usize::from(queue.pop().await.lane == Lane::Paperwork);
            }
            count
        };
        assert_eq!(paperwork(16).await, 1);
        tokio::time::advance(PAPERWORK_PACE).await;
        assert_eq!(paperwork(16).await, 1);
        queue.share_pace(3);
        tokio::time::advance(PAPERWORK_PACE).await;
        assert_eq!(paperwork(16).await, 1);
        tokio::time::advance(PAPERWORK_PACE * 2).await;
        assert_eq!(paperwork(16).await, 0, "the others do some meanwhile");
        tokio::time::advance(PAPERWORK_PACE).await;
        assert_eq!(paperwork(16).await, 1);
        tokio::time::advance(PAPERWORK_PATIENCE).await;
        let many = paperwork(64).await;
        assert!((8..=9).contains(&many), "one turn in eight: {many}");
        assert_eq!(paperwork(300 + 50 - 144).await, 46 - many, "alone, it gets every turn");
    }

    #[tokio::test(start_paused = true)]
    async fn right_after_a_copy_paperwork_is_paced_and_soon_all_of_it_is_at_work() {
        let queue = with_paperwork(12).await;
        let start = Instant::now();
        for at in 0..12 {
            queue.pop().await;
            assert_eq!(start.elapsed(), (PAPERWORK_PACE * at).min(DATA_FLOWS), "number {at}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn paperwork_is_paced_while_another_replica_writes_copies() {
        let queue = with_paperwork(12).await;
        let start = Instant::now();
        for at in 0..6 {
            queue.pop().await;
            assert_eq!(start.elapsed(), PAPERWORK_PACE * at, "number {at}");
            queue.copy_written();
        }
        for at in 6..12 {
            queue.pop().await;
            assert_eq!(start.elapsed(), (PAPERWORK_PACE * at).min(PAPERWORK_PACE * 5 + DATA_FLOWS), "number {at}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_after_a_failure_is_ended_by_what_is_urgent_alone() {
        let queue = open_queue();
        push(&queue, 1, "a/x");
        let job = pop(&queue).await.unwrap();
        done(&queue, job, Outcome::Retry(Duration::from_secs(60)));
        queue.push(uid(1), None, &Cause::default());
        assert!(pop(&queue).await.is_none(), "its own status came back");
        push(&queue, 1, "a/x");
        let job = pop(&queue).await.unwrap();
        done(&queue, job, Outcome::Retry(Duration::from_secs(60)));
        let start = Instant::now();
        queue.pop().await;
        assert_eq!(start.elapsed(), Duration::from_secs(60));
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_shard_drops_what_waits_and_tells_when_its_work_has_ended() {
        let queue = open_queue();
        let shard = Shard::of(uid(1));
        let other = (2..).find(|number| Shard::of(uid(*number)) != shard).unwrap();
        push(&queue, 1, "a/x");
        let job = pop(&queue).await.unwrap();
        push(&queue, other, "a/x");
        let mut drained = queue.close(shard);
        assert!(drained.try_recv().is_err(), "one is at work");
        push(&queue, 1, "a/x");
        done(&queue, job, Outcome::Paperwork);
        assert!(drained.await.is_ok());
        assert_eq!(pop(&queue).await.map(|job| job.uid), Some(uid(other)));
        push(&queue, 1, "a/x");
        assert!(pop(&queue).await.is_none(), "it is not held");
        assert!(queue.close(shard).await.is_ok(), "nothing is at work");
    }
}
