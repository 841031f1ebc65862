//! The lanes, and whose turn it is among them.

use std::collections::VecDeque;
use std::time::Duration;

use ahash::{AHashMap, AHashSet};
use tokio::time::Instant;

use crate::controller::queue::job::Lane;
use crate::rules::key::Key;
use crate::rules::record::ObjectKey;

/// Copies flow while one waits, and for this long after one was written, here or by another replica.
pub(super) const DATA_FLOWS: Duration = Duration::from_millis(250);
/// While copies flow, statuses start that far apart: one replica's, or in turn that of several.
pub(super) const STATUS_PACE: Duration = Duration::from_millis(100);
/// A status that has waited for this long gets one turn in so many.
pub(super) const STATUS_PATIENCE: Duration = Duration::from_secs(30);
pub(super) const STATUS_TURNS: u8 = 8;

/// Keys that wait, by lane. A key may stand in a lane though it has moved on since: only its item tells.
pub(super) struct Lanes {
    /// Sources whose turn it is, one after the other, each with its keys.
    sources: AHashMap<Option<ObjectKey>, VecDeque<Key>>,
    turns: VecDeque<Option<ObjectKey>>,
    /// Sources that are being read, and by how many keys. Their other keys would only wait for the same answer, so they
    /// have no turn meanwhile.
    reading: AHashMap<ObjectKey, usize>,
    /// Those of them that have keys and no turn.
    out_of_turn: AHashSet<ObjectKey>,
    data: usize,
    ends: VecDeque<Key>,
    statuses: VecDeque<(Instant, Key)>,
    /// When a status may start though copies flow, and how far apart.
    status_next: Instant,
    status_pace: Duration,
    /// When copies flow no more, if none waits.
    data_flows_until: Instant,
    turn: u8,
}

impl Default for Lanes {
    fn default() -> Self {
        Self {
            sources: AHashMap::new(),
            turns: VecDeque::new(),
            reading: AHashMap::new(),
            out_of_turn: AHashSet::new(),
            data: 0,
            ends: VecDeque::new(),
            statuses: VecDeque::new(),
            status_next: Instant::now(),
            status_pace: STATUS_PACE,
            data_flows_until: Instant::now(),
            turn: 0,
        }
    }
}

impl Lanes {
    /// Puts a key into the lane for data. `source`: whose turn it waits for.
    pub(super) fn push_data(&mut self, key: Key, source: Option<ObjectKey>) {
        let keys = self.sources.entry(source.clone()).or_default();
        let first = keys.is_empty();
        keys.push_back(key);
        if first && !self.leave_out(source.as_ref()) {
            self.turns.push_back(source);
        }
        self.data += 1;
    }

    pub(super) fn push_end(&mut self, key: Key) {
        self.ends.push_back(key);
    }

    pub(super) fn push_status(&mut self, key: Key) {
        self.statuses.push_back((Instant::now(), key));
    }

    /// How many keys wait in each lane, and the first of each.
    pub(super) fn depths(&self) -> [(Lane, usize, Option<Key>); 3] {
        let data = self.turns.front().and_then(|source| self.sources.get(source)).and_then(VecDeque::front).cloned();
        [
            (Lane::Data, self.data, data),
            (Lane::Ends, self.ends.len(), self.ends.front().cloned()),
            (Lane::Status, self.statuses.len(), self.statuses.front().map(|(_, key)| key.clone())),
        ]
    }

    /// So many replicas share the pace of statuses.
    pub(super) fn share_pace(&mut self, replicas: usize) {
        let replicas = u32::try_from(replicas.max(1)).unwrap_or(u32::MAX);
        self.status_pace = STATUS_PACE.saturating_mul(replicas);
    }

    /// A copy was written, here or by another replica, or a key has no copy left to write.
    pub(super) fn copy_written(&mut self) {
        self.data_flows_until = Instant::now() + DATA_FLOWS;
    }

    /// A key reads this source.
    pub(super) fn reads(&mut self, source: &ObjectKey) {
        *self.reading.entry(source.clone()).or_default() += 1;
    }

    /// The answer is there for one of those who wait for it.
    pub(super) fn read_ended(&mut self, source: &ObjectKey) {
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

    /// Leaves a source out that is being read; its turn comes back with the answer. Whether it was left out.
    fn leave_out(&mut self, source: Option<&ObjectKey>) -> bool {
        let Some(source) = source.filter(|source| self.reading.contains_key(*source)) else { return false };
        self.out_of_turn.insert(source.clone());
        true
    }

    /// Gives back the room that a burst took.
    pub(super) fn shrink(&mut self) {
        if let Some(room) = room(self.ends.len(), self.ends.capacity()) {
            self.ends.shrink_to(room);
        }
        if let Some(room) = room(self.statuses.len(), self.statuses.capacity()) {
            self.statuses.shrink_to(room);
        }
    }

    /// The next key that `is_there`, and the lane that it waited in.
    pub(super) fn pop(&mut self, now: Instant, is_there: impl Fn(&Key, Lane) -> bool) -> Option<(Key, Lane)> {
        let is_there = &is_there;
        let patience_ends = self.statuses.front().is_some_and(|(since, _)| now - *since >= STATUS_PATIENCE);
        self.turn = (self.turn + 1) % STATUS_TURNS;
        if self.turn == STATUS_TURNS / 2
            && let Some(end) = self.pop_end(is_there)
        {
            return Some(end);
        }
        if self.status_next <= now || (patience_ends && self.turn == 0) {
            self.pop_status(now, is_there).or_else(|| self.pop_data(is_there)).or_else(|| self.pop_end(is_there))
        } else if patience_ends || self.data_flows_until <= now {
            self.pop_data(is_there).or_else(|| self.pop_end(is_there)).or_else(|| self.pop_status(now, is_there))
        } else {
            self.pop_data(is_there).or_else(|| self.pop_end(is_there))
        }
    }

    fn pop_end(&mut self, is_there: impl Fn(&Key, Lane) -> bool) -> Option<(Key, Lane)> {
        while let Some(key) = self.ends.pop_front() {
            if is_there(&key, Lane::Ends) {
                return Some((key, Lane::Ends));
            }
        }
        None
    }

    /// Whether a key may have its turn now.
    pub(super) fn is_ready(&self, now: Instant) -> bool {
        let since = self.statuses.front().map(|(since, _)| *since);
        let patience_ends = since.is_some_and(|since| now - since >= STATUS_PATIENCE);
        let paced = self.status_next <= now || self.data_flows_until <= now;
        !self.turns.is_empty() || !self.ends.is_empty() || (since.is_some() && (paced || patience_ends))
    }

    /// When the lane of statuses is to be looked at again though nobody says so.
    pub(super) fn next_look(&self) -> Option<Instant> {
        self.statuses.front().map(|_| self.status_next.min(self.data_flows_until))
    }

    fn pop_data(&mut self, is_there: impl Fn(&Key, Lane) -> bool) -> Option<(Key, Lane)> {
        while let Some(source) = self.turns.pop_front() {
            if self.leave_out(source.as_ref()) {
                continue;
            }
            let Some(keys) = self.sources.get_mut(&source) else { continue };
            let key = keys.pop_front();
            if keys.is_empty() {
                self.sources.remove(&source);
            } else {
                self.turns.push_back(source);
            }
            let Some(key) = key else { continue };
            self.data -= 1;
            if is_there(&key, Lane::Data) {
                return Some((key, Lane::Data));
            }
        }
        None
    }

    fn pop_status(&mut self, now: Instant, is_there: impl Fn(&Key, Lane) -> bool) -> Option<(Key, Lane)> {
        while let Some((_, key)) = self.statuses.pop_front() {
            if is_there(&key, Lane::Status) {
                self.status_next = now + self.status_pace;
                return Some((key, Lane::Status));
            }
        }
        None
    }
}

/// The room that so many need, where much more is taken.
pub(super) fn room(used: usize, capacity: usize) -> Option<usize> {
    (capacity > 4 * used.max(1 << 8)).then_some(2 * used)
}
