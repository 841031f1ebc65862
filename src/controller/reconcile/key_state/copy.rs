//! What is remembered of a copy between two looks at it.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::controller::cache::Cache;
use crate::rules::copy::verdict::Failed;
use crate::rules::record::{ConfigMapMeta, ObjectKey, SlimArc};
use crate::rules::uid::{Uid, Version};

/// So many repairs of a copy within [`CONTESTED_WITHIN`]: somebody else keeps changing it.
const CONTESTED_AFTER: usize = 5;
const CONTESTED_WITHIN: Duration = Duration::from_secs(60);
/// A copy that was held back, and is then left alone for so long, is contested no more.
const PEACE_AFTER: Duration = Duration::from_secs(600);

/// What is remembered of a copy.
#[derive(Debug, Default)]
pub struct CopyKeyState {
    /// Its key and its metadata, as an answer to a write of ours told them.
    pub answer: Option<(ObjectKey, SlimArc<ConfigMapMeta>)>,
    /// A copy that we removed, though the watch may still show it.
    pub gone: Option<Box<(ObjectKey, Uid)>>,
    /// What our own write or check of the copy told, until the status tells it.
    pub verified: Option<Verified>,
    /// A failure that is still to be told on the object, or was told; until it is tried again.
    pub failed: Option<Box<PendingFailure>>,
    /// The key and the metadata of an immutable copy that was removed to be made anew: what others put on it must come back.
    pub carried: Option<Box<(ObjectKey, Map<String, Value>)>>,
    /// How the copy was repaired lately; mostly not at all.
    repairs: Option<Box<Repairs>>,
}

/// A request that failed.
#[derive(Clone, Debug)]
pub struct PendingFailure {
    /// What is told.
    pub failed: Failed,
    /// Whether something was known to stand at the destination, which the watch may not show yet.
    pub exists: bool,
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

/// Repairs of a copy.
#[derive(Debug, Default)]
struct Repairs {
    /// When the last ones were.
    at: VecDeque<Instant>,
    /// The generation of the object that the copy was repaired for.
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

impl CopyKeyState {
    /// Drops what the watches have shown by now, and what they have overtaken.
    pub(super) fn catch_up(&mut self, cache: &Cache) {
        let observed = cache.configmaps_rv();
        self.answer.take_if(|(_, meta)| meta.version.rv <= observed);
        // While nothing stands there, that we removed it is still worth knowing: it need not be looked for.
        self.gone.take_if(|gone| cache.configmap(&gone.0).is_some_and(|meta| meta.version.uid != gone.1));
        self.repairs.take_if(|repairs| repairs.is_over());
    }

    /// A watch shows this version: drops the answer that told the same or less. Returns the version that was remembered.
    pub(super) fn observe(&mut self, observed: Version) -> Option<Version> {
        let known = self.answer.as_ref().map(|(_, meta)| meta.version);
        self.answer.take_if(|(_, meta)| meta.version.uid == observed.uid && meta.version.rv <= observed.rv);
        known
    }

    /// Whether there is nothing in it that is worth keeping while nothing happens.
    pub(super) fn is_empty(&self) -> bool {
        self.answer.is_none()
            && self.gone.is_none()
            && self.verified.is_none()
            && self.failed.is_none()
            && self.carried.is_none()
            && self.repairs.as_ref().is_none_or(|repairs| repairs.is_over())
    }

    /// A person asks for an attempt now: what went wrong before counts no more.
    pub(super) fn forgive(&mut self) {
        (self.repairs, self.failed) = (None, None);
    }

    /// What the copy waits for after a failure may have come: it is tried again after this time at the latest.
    pub(super) fn hurry(&mut self, wait: Duration) {
        if let Some(failed) = &mut self.failed {
            failed.until = failed.until.min(Instant::now() + wait);
        }
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

    /// The object has this generation. Where something else is wanted, whoever kept changing the copy may be content now.
    pub fn observe_generation(&mut self, generation: u32) {
        self.repairs.take_if(|repairs| repairs.generation != generation);
    }

    /// For how long repairs are held back, and for whom.
    pub fn held_back(&self) -> Option<(Duration, &str)> {
        let (until, manager) = self.repairs.as_ref()?.contested.as_ref()?;
        let left = until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some((left, manager.as_str()))
    }
}
