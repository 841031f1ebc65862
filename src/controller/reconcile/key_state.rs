//! What a replica remembers of a key between two looks at it: its own answers, until the streams have told the same,
//! and how often it failed. All of it may be lost at any moment, at the price of a read.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::controller::cache::Cache;
use crate::rules::record::{ConfigMapMeta, ObjectKey, SlimArc, Sync, Version};
use crate::rules::status::Failed;
use crate::rules::uid::Uid;

/// So many repairs of a copy within [`CONTESTED_WITHIN`]: somebody else keeps changing it.
const CONTESTED_AFTER: usize = 5;
const CONTESTED_WITHIN: Duration = Duration::from_secs(60);
/// A copy that was held back, and is then left alone for so long, is contested no more.
const PEACE_AFTER: Duration = Duration::from_secs(600);

/// What is remembered of a key.
#[derive(Debug, Default)]
pub struct KeyState {
    /// The sync, as an answer to a write of ours told it.
    pub sync: Option<SlimArc<Sync>>,
    /// The copy, as an answer to a write of ours told it, and where it stands.
    pub copy: Option<(ObjectKey, SlimArc<ConfigMapMeta>)>,
    /// A copy that we removed, and where it stood, though the stream may still show it.
    pub gone: Option<Box<(ObjectKey, Uid)>>,
    /// What our own write or check of the copy told, until the status tells it.
    pub verified: Option<Verified>,
    /// A failure that is still to be told on the object, or was told; until it is tried again.
    pub failed: Option<Box<Failure>>,
    /// The metadata of an immutable copy that was removed to be made anew, and where it stood: what others put on it
    /// must come back.
    pub carried: Option<Box<(ObjectKey, Map<String, Value>)>>,
    /// The request for an attempt now that was heard last.
    heard_request: Option<Box<str>>,
    /// What went wrong lately; mostly nothing.
    trouble: Option<Box<Retries>>,
    /// How the copy was repaired lately; mostly not at all.
    repairs: Option<Box<Repairs>>,
}

/// A request that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What is told.
    pub failed: Failed,
    /// When it is tried again.
    pub until: Instant,
}

/// This copy holds the content of this source.
#[derive(Clone, Debug)]
pub struct Verified {
    /// The source.
    pub source: Version,
    /// The copy.
    pub copy: Version,
    /// The generation of the spec that names the source: another one may name another.
    pub generation: u32,
    /// What admission made of it, if it changed anything: then it does not hold that content.
    pub changed: Option<Box<str>>,
}

/// What went wrong with a key.
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
    /// When a missing source is to be asked for again.
    pub recheck_at: Option<Instant>,
    /// Since when a copy without a sync has been waiting to be swept.
    pub sweep_since: Option<Instant>,
}

/// Repairs of a copy.
#[derive(Debug, Default)]
struct Repairs {
    /// When the last ones were.
    at: VecDeque<Instant>,
    /// The generation of the sync that the copy was repaired for.
    generation: u32,
    /// How often they had to be held back.
    held_back: u32,
    /// Until when they were held back last, and for whom.
    contested: Option<(Instant, String)>,
}

impl Repairs {
    /// Whether nothing of it counts any more.
    fn is_over(&self) -> bool {
        let long_ago = |at: &Instant| at.elapsed() >= PEACE_AFTER;
        let peace = self.contested.as_ref().is_none_or(|(until, _)| long_ago(until));
        peace && self.at.iter().all(|at| at.elapsed() >= CONTESTED_WITHIN)
    }
}

impl KeyState {
    /// Drops what the streams have told by now, and what they have overtaken.
    pub fn catch_up(&mut self, cache: &Cache, uid: Uid) {
        let told = cache.sync(uid);
        self.sync.take_if(|sync| told.as_ref().is_none_or(|told| is_told(sync, told.version)));
        let told = cache.configmaps_rv();
        self.copy.take_if(|(_, seen)| seen.version.rv <= told);
        // While nothing stands there, that we removed it is still worth knowing: it need not be looked for.
        self.gone.take_if(|gone| cache.configmap(&gone.0).is_some_and(|seen| seen.version.uid != gone.1));
        self.repairs.take_if(|repairs| repairs.is_over());
    }

    /// A stream tells this version: drops the answer that told the same or less. Returns whether it is news, and not what
    /// an answer to a write of ours told before, or has overtaken.
    pub fn hear(&mut self, told: Version) -> bool {
        let known = [self.sync.as_ref().map(|sync| sync.version), self.copy.as_ref().map(|(_, seen)| seen.version)];
        self.sync.take_if(|sync| sync.version.uid == told.uid && is_told(sync, told));
        self.copy.take_if(|(_, seen)| seen.version.uid == told.uid && seen.version.rv <= told.rv);
        !known.iter().flatten().any(|known| known.uid == told.uid && known.rv >= told.rv)
    }

    /// The sync is gone: nothing that was known of it counts any more.
    pub fn let_go(&mut self) {
        let Retries { sweep_since, failures, .. } = self.trouble();
        *self = Self::default();
        self.change(|trouble| *trouble = Retries { sweep_since, failures, ..Retries::default() });
    }

    /// What went wrong lately.
    pub fn trouble(&self) -> Retries {
        self.trouble.as_deref().copied().unwrap_or_default()
    }

    /// Changes what went wrong lately. Returns it.
    pub fn change(&mut self, change: impl FnOnce(&mut Retries)) -> Retries {
        let mut trouble = self.trouble();
        change(&mut trouble);
        self.trouble = (trouble != Retries::default()).then(|| Box::new(trouble));
        trouble
    }

    /// Whether there is nothing in it that is worth keeping while nothing happens.
    pub fn is_empty(&self) -> bool {
        let trouble = self.trouble();
        self.sync.is_none()
            && self.copy.is_none()
            && self.gone.is_none()
            && self.verified.is_none()
            && self.failed.is_none()
            && self.carried.is_none()
            && trouble.failures == 0
            && self.repairs.as_ref().is_none_or(|repairs| repairs.is_over())
            && trouble.missing_since.is_none()
            && trouble.sweep_since.is_none()
    }

    /// A copy was repaired. When that happens too often, repairs are held back for a while, longer each time.
    pub fn repaired(&mut self, manager: Option<&str>, generation: u32) {
        let now = Instant::now();
        self.repairs.take_if(|repairs| repairs.is_over());
        let repairs = self.repairs.get_or_insert_default();
        repairs.generation = generation;
        repairs.at.retain(|at| at.elapsed() < CONTESTED_WITHIN);
        repairs.at.push_back(now);
        // Whoever changed it again after a hold is at it still.
        if repairs.held_back > 0 || repairs.at.len() >= CONTESTED_AFTER {
            let wait = crate::rules::backoff::contested(repairs.held_back);
            repairs.held_back += 1;
            repairs.at.clear();
            repairs.contested = Some((now + wait, manager.unwrap_or("somebody").to_owned()));
        }
    }

    /// Whether a person asks for an attempt now. A request that is heard for the first time ends every wait: what went
    /// wrong before counts no more.
    pub fn hear_request(&mut self, request: Option<&str>) -> bool {
        let Some(request) = request else {
            self.heard_request = None;
            return false;
        };
        if self.heard_request.as_deref() != Some(request) {
            self.heard_request = Some(request.into());
            (self.trouble, self.repairs, self.failed) = (None, None, None);
        }
        true
    }

    /// What the key waits for after a failure may have come: it is tried again after this time at the latest.
    pub fn hurry(&mut self, wait: Duration) {
        if let Some(failed) = &mut self.failed {
            failed.until = failed.until.min(Instant::now() + wait);
        }
    }

    /// The sync has this generation. Where something else is wanted, whoever kept changing the copy may be content now.
    pub fn hear_generation(&mut self, generation: u32) {
        self.repairs.take_if(|repairs| repairs.generation != generation);
    }

    /// Whether it is time to ask for a missing source again.
    pub fn recheck_due(&self) -> bool {
        self.trouble().recheck_at.is_some_and(|at| at <= Instant::now())
    }

    /// For how long repairs are held back, and for whom.
    pub fn held_back(&self) -> Option<(Duration, &str)> {
        let (until, manager) = self.repairs.as_ref()?.contested.as_ref()?;
        let left = until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some((left, manager.as_str()))
    }
}

/// Whether a stream that has told this version of a sync has told what the answer did. The answer that took the last
/// finalizer off a sync has the version from before it: only the end of the sync tells that.
fn is_told(answer: &Sync, told: Version) -> bool {
    let ends = answer.deleting && !answer.finalizer;
    told.rv > answer.version.rv || (told.rv == answer.version.rv && !ends)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::{place, seen, sync, version};

    fn remembering(deleting: bool, finalizer: bool) -> KeyState {
        let answer = Sync { deleting, finalizer, version: version(1, 30), ..sync("a/x", 1, "a/s", "b/c") };
        KeyState { sync: Some(SlimArc::new(answer)), ..KeyState::default() }
    }

    #[test]
    fn an_answer_is_forgotten_when_a_stream_tells_the_same_or_more() {
        for (told, news, left) in [(29, false, true), (30, false, false), (31, true, false)] {
            let mut key_state = remembering(false, true);
            assert_eq!((key_state.hear(version(1, told)), key_state.sync.is_some()), (news, left), "{told}");
            let mut key_state =
                KeyState { copy: Some((place("b/c"), SlimArc::new(seen(7, 30)))), ..KeyState::default() };
            assert_eq!((key_state.hear(version(7, told)), key_state.copy.is_some()), (news, left), "{told}");
            let mut key_state = remembering(false, true);
            assert!(key_state.hear(version(2, told)) && key_state.sync.is_some(), "somebody else's version");
        }
    }

    #[test]
    fn that_the_last_finalizer_went_is_told_by_the_end_of_the_sync_alone() {
        let mut key_state = remembering(true, false);
        assert!(!key_state.hear(version(1, 30)), "it is as it was before the answer");
        assert!(key_state.sync.is_some(), "the finalizer would come back");
        assert!(key_state.hear(version(1, 31)), "another finalizer went");
        assert!(key_state.sync.is_none());
        let cache = Cache::default();
        let mut key_state = remembering(true, false);
        key_state.catch_up(&cache, key_state.sync.as_ref().unwrap().uid());
        assert!(key_state.sync.is_none(), "the sync has gone");
    }
}
