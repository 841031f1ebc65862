//! What a replica remembers of a key between two looks at it: its own answers, until the watches have shown the same,
//! and how often it failed. All of it may be lost at any moment, at the price of a read.

mod copy;
mod object;

use std::time::Duration;

use tokio::time::Instant;

use crate::controller::cache::Cache;
pub use crate::controller::reconcile::key_state::copy::{CopyKeyState, PendingFailure, Verified};
pub use crate::controller::reconcile::key_state::object::ObjectKeyState;
use crate::rules::backoff::TAKE_OVER;
use crate::rules::uid::{Uid, Version};

/// What is remembered of a key.
#[derive(Debug, Default)]
pub struct KeyState {
    /// What is remembered of the object.
    pub object: ObjectKeyState,
    /// What is remembered of its copy.
    pub copy: CopyKeyState,
    /// What went wrong lately; mostly nothing.
    retries: Option<Box<Retries>>,
}

/// Counters and times that decide when a key is tried again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retries {
    /// How many requests failed in a row.
    pub failures: u32,
    /// How many requests in a row were not answered.
    pub unanswered: u32,
    /// How many conflicts there were in a row.
    pub conflicts: u32,
    /// Since when the source has been missing, by a GET.
    pub missing_since: Option<Instant>,
    /// Since when the source's owner has refused the copy, by a GET. A restart or a hand-over forgets it: then it is asked twice again.
    pub refused_since: Option<Instant>,
    /// When a missing source is to be asked for again.
    pub recheck_at: Option<Instant>,
    /// Since when a copy that nobody wants has been waiting to be removed.
    pub sweep_since: Option<Instant>,
    /// Since when copies of the object have been waiting to be written.
    pub pending_since: Option<Instant>,
    /// When the status was last written, or the first removal was seen that it does not tell of.
    pub told: Option<Instant>,
    /// When they may be counted again.
    pub next_count: Option<Instant>,
}

/// For how long it is remembered that the status of an object with many copies was written.
const TOLD: Duration = Duration::from_secs(5);

impl KeyState {
    /// Drops what the watches have shown by now, and what they have overtaken.
    pub fn catch_up(&mut self, cache: &Cache, uid: Uid) {
        self.object.catch_up(cache, uid);
        self.copy.catch_up(cache);
    }

    /// A watch shows this version: drops the answer that told the same or less. Returns whether it is news, and not what
    /// an answer to a write of ours told before, or has overtaken.
    pub fn observe(&mut self, observed: Version) -> bool {
        let known = [self.object.observe(observed), self.copy.observe(observed)];
        !known.iter().flatten().any(|known| known.uid == observed.uid && known.rv >= observed.rv)
    }

    /// The object is gone: nothing that was known of it counts any more.
    pub fn let_go(&mut self) {
        let Retries { sweep_since, failures, .. } = self.retries();
        *self = Self::default();
        self.change_retries(|retries| *retries = Retries { sweep_since, failures, ..Retries::default() });
    }

    /// What went wrong lately.
    pub fn retries(&self) -> Retries {
        self.retries.as_deref().copied().unwrap_or_default()
    }

    /// Changes what went wrong lately. Returns it.
    pub fn change_retries(&mut self, change: impl FnOnce(&mut Retries)) -> Retries {
        let mut retries = self.retries();
        change(&mut retries);
        self.retries = (retries != Retries::default()).then(|| Box::new(retries));
        retries
    }

    /// Whether there is nothing in it that is worth keeping while nothing happens.
    pub fn is_empty(&self) -> bool {
        let retries = self.retries();
        self.object.is_empty()
            && self.copy.is_empty()
            && retries.failures == 0
            && retries.missing_since.is_none()
            && retries.refused_since.is_none()
            && retries.sweep_since.is_none()
            && retries.told.is_none_or(|told| told.elapsed() > TOLD)
    }

    /// Whether a person asks for an attempt now. A request that is heard for the first time ends every wait: what went
    /// wrong before counts no more.
    pub fn observe_request(&mut self, request: Option<&str>) -> bool {
        if self.object.observe_request(request) {
            self.retries = None;
            self.copy.forgive();
        }
        request.is_some()
    }

    /// What the key waits for after a failure may have come: it is tried again after this time at the latest.
    pub fn hurry(&mut self, wait: Duration) {
        self.copy.hurry(wait);
    }

    /// Whether another object has had time to take over a copy that is given up.
    pub fn take_over_waited(&self) -> bool {
        self.retries().sweep_since.is_some_and(|since| since.elapsed() >= TAKE_OVER)
    }

    /// Whether it is time to ask for a missing source again.
    pub fn recheck_due(&self) -> bool {
        self.retries().recheck_at.is_some_and(|at| at <= Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::record::{SlimArc, Sync};
    use crate::rules::testing::{meta, object_key, sync, version};

    fn remembering(deleting: bool, finalizer: bool) -> KeyState {
        let answer = Sync { deleting, finalizer, version: version(1, 30), ..sync("a/x", 1, "a/s", "b/c") };
        let mut key_state = KeyState::default();
        key_state.object.answer = Some(SlimArc::new(answer));
        key_state
    }

    #[test]
    fn an_answer_is_forgotten_when_a_watch_shows_the_same_or_more() {
        for (observed, news, left) in [(29, false, true), (30, false, false), (31, true, false)] {
            let mut key_state = remembering(false, true);
            assert_eq!(
                (key_state.observe(version(1, observed)), key_state.object.answer.is_some()),
                (news, left),
                "{observed}"
            );
            let mut key_state = KeyState::default();
            key_state.copy.answer = Some((object_key("b/c"), SlimArc::new(meta(7, 30))));
            assert_eq!(
                (key_state.observe(version(7, observed)), key_state.copy.answer.is_some()),
                (news, left),
                "{observed}"
            );
            let mut key_state = remembering(false, true);
            assert!(
                key_state.observe(version(2, observed)) && key_state.object.answer.is_some(),
                "somebody else's version"
            );
        }
    }

    #[test]
    fn that_the_last_finalizer_went_is_told_by_the_end_of_the_sync_alone() {
        let mut key_state = remembering(true, false);
        assert!(!key_state.observe(version(1, 30)), "it is as it was before the answer");
        assert!(key_state.object.answer.is_some(), "the finalizer would come back");
        assert!(key_state.observe(version(1, 31)), "another finalizer went");
        assert!(key_state.object.answer.is_none());
        let cache = Cache::default();
        let mut key_state = remembering(true, false);
        let uid = key_state.object.answer.as_ref().unwrap().uid();
        key_state.catch_up(&cache, uid);
        assert!(key_state.object.answer.is_none(), "the sync has gone");
    }
}
