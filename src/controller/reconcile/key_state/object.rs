//! What is remembered of an object between two looks at it.

use crate::controller::cache::Cache;
use crate::rules::cluster::record::ClusterSync;
use crate::rules::record::{SlimArc, Sync};
use crate::rules::uid::{Uid, Version};

/// What is remembered of an object.
#[derive(Debug, Default)]
pub struct ObjectKeyState {
    /// The object, as an answer to a write of ours told it.
    pub answer: Option<SlimArc<Sync>>,
    /// The same of one that wants many copies.
    pub cluster_answer: Option<SlimArc<ClusterSync>>,
    /// The request for an attempt now that was heard last.
    heard_request: Option<Box<str>>,
}

impl ObjectKeyState {
    /// Drops what the watch has shown by now, and what it has overtaken.
    pub(super) fn catch_up(&mut self, cache: &Cache, uid: Uid) {
        let observed = cache.sync(uid);
        self.answer.take_if(|answer| observed.as_ref().is_none_or(|sync| is_observed(answer, sync.version)));
        self.cluster_answer
            .take_if(|answer| cache.cluster_sync(uid).is_none_or(|observed| observed.version.rv >= answer.version.rv));
    }

    /// A watch shows this version: drops the answer that told the same or less. Returns the version that was remembered.
    pub(super) fn observe(&mut self, observed: Version) -> Option<Version> {
        let known = self.answer.as_ref().map(|answer| answer.version);
        self.answer.take_if(|answer| answer.version.uid == observed.uid && is_observed(answer, observed));
        known
    }

    /// Whether there is nothing in it that is worth keeping while nothing happens.
    pub(super) fn is_empty(&self) -> bool {
        self.answer.is_none() && self.cluster_answer.is_none()
    }

    /// Notes whether a person asks for an attempt now. Returns whether he asks for the first time.
    pub(super) fn observe_request(&mut self, request: Option<&str>) -> bool {
        let news = request.is_some() && self.heard_request.as_deref() != request;
        if request.is_none() || news {
            self.heard_request = request.map(Into::into);
        }
        news
    }
}

/// Whether a watch that has shown this version of a sync has shown what the answer told. The answer that took the last
/// finalizer off a sync has the version from before it: only the end of the sync tells that.
fn is_observed(answer: &Sync, observed: Version) -> bool {
    let ends = answer.deleting && !answer.finalizer;
    observed.rv > answer.version.rv || (observed.rv == answer.version.rv && !ends)
}
