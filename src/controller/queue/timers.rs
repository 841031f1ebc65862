//! When waits end.

use std::collections::BTreeMap;

use tokio::time::Instant;

use crate::rules::record::ObjectKey;
use crate::rules::uid::Uid;

/// Keys that wait for a time, each with the source whose turn it waits for then.
#[derive(Default)]
pub(super) struct Timers(BTreeMap<(Instant, Uid), Option<ObjectKey>>);

impl Timers {
    pub(super) fn set(&mut self, when: Instant, uid: Uid, source: Option<ObjectKey>) {
        self.0.insert((when, uid), source);
    }

    pub(super) fn cancel(&mut self, when: Instant, uid: Uid) {
        self.0.remove(&(when, uid));
    }

    /// The next one whose time has come.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(Uid, Option<ObjectKey>)> {
        let first = self.0.first_entry().filter(|first| first.key().0 <= now)?;
        let ((_, uid), source) = first.remove_entry();
        Some((uid, source))
    }

    /// When the next one ends.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.first_key_value().map(|((when, _), _)| *when)
    }
}
