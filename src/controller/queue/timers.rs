//! When waits end.

use std::collections::BTreeMap;

use tokio::time::Instant;

use crate::rules::key::Key;
use crate::rules::record::ObjectKey;

/// Keys that wait for a time, each with the source whose turn it waits for then.
#[derive(Default)]
pub(super) struct Timers(BTreeMap<(Instant, Key), Option<ObjectKey>>);

impl Timers {
    pub(super) fn set(&mut self, when: Instant, key: Key, source: Option<ObjectKey>) {
        self.0.insert((when, key), source);
    }

    pub(super) fn cancel(&mut self, when: Instant, key: Key) {
        self.0.remove(&(when, key));
    }

    /// The next one whose time has come.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(Key, Option<ObjectKey>)> {
        let first = self.0.first_entry().filter(|first| first.key().0 <= now)?;
        let ((_, key), source) = first.remove_entry();
        Some((key, source))
    }

    /// When the next one ends.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.first_key_value().map(|((when, _), _)| *when)
    }
}
