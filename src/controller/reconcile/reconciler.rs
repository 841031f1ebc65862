//! One key at work: what it has at hand, and what is known about it.

use std::sync::Arc;
use std::time::Duration;

use http::Method;

use crate::controller::cache::Cache;
use crate::controller::queue::Queue;
use crate::controller::queue::fanout::Fanout;
use crate::controller::reconcile::knowledge::Knowledge;
use crate::controller::reconcile::snapshot::Snapshot;
use crate::controller::reconcile::sources::Sources;
use crate::kubernetes::error::ApiError;
use crate::kubernetes::events::Events;
use crate::kubernetes::limiter::{Limiter, Turn};
use crate::kubernetes::reader::Reader;
use crate::kubernetes::writer::{Attempt, Writer};
use crate::rules::backoff;
use crate::rules::copy::step::{CopyStep, DestinationStep};
use crate::rules::copy::verdict::Verdict;
use crate::rules::object::step::Step;
use crate::rules::record::{ObjectKey, Seconds, Sync};
use crate::rules::shard::Shard;

/// More steps than any case needs: a key that takes more is put back, so that it cannot spin.
pub(super) const MOST_STEPS: usize = 24;

/// What the work on a key needs.
pub struct Context {
    /// What the watches told.
    pub cache: Arc<Cache>,
    /// Contents of sources.
    pub sources: Sources,
    /// GETs.
    pub reader: Reader,
    /// Writes.
    pub writer: Writer,
    /// Where keys wait.
    pub queue: Arc<Queue>,
    /// How many writes may be in flight.
    pub limiter: Limiter,
    /// Events for people.
    pub events: Events,
    /// The most bytes that the copies of one object may take together.
    pub max_fanout_bytes: Option<u64>,
}

/// One key at work.
pub(super) struct Reconciler<'a> {
    pub(super) context: &'a Context,
    pub(super) shard: Shard,
    pub(super) turn: Turn,
    pub(super) knowledge: Knowledge,
    pub(super) fanout: Option<Arc<Fanout>>,
    /// Whether it is one of the many copies of an object: then what becomes of it is told on the object, with the others.
    pub(super) is_copy: bool,
}

/// A step that failed.
pub(super) struct StepError {
    pub(super) error: ApiError,
    pub(super) step: Step,
}

impl Reconciler<'_> {
    /// What a write is sent with.
    pub(super) fn attempt(&mut self) -> Attempt<'_> {
        Attempt { shard: self.shard, turn: &mut self.turn, asked: self.knowledge.fresh.asked, allowed: &|| true }
    }

    /// What the removal of a copy is sent with: not when somebody has come to protect it.
    pub(super) fn removal<'t>(&'t mut self, allowed: &'t (dyn Fn() -> bool + Send + std::marker::Sync)) -> Attempt<'t> {
        Attempt { allowed, ..self.attempt() }
    }

    /// How long a write of this step has to wait, where its namespace is set apart.
    pub(super) fn apart(&self, snapshot: &Snapshot, step: &Step) -> Option<Duration> {
        let (key, method) = written_to(snapshot, step)?;
        self.context.writer.wait(&key.namespace, &method)
    }

    /// There was a conflict: how long to wait.
    pub(super) fn after_conflict(&mut self) -> Duration {
        backoff::after_conflict(self.knowledge.key_state.change_retries(|retries| retries.conflicts += 1).conflicts)
    }
}

/// Where a step writes a copy, and how.
pub(super) fn written_to<'a>(snapshot: &'a Snapshot, step: &'a Step) -> Option<(&'a ObjectKey, Method)> {
    let Step::Copy(step) = step else { return None };
    match step {
        CopyStep::Create => Some((snapshot.sync.destination()?, Method::POST)),
        CopyStep::Replace { .. } => Some((snapshot.sync.destination()?, Method::PUT)),
        CopyStep::Destination(DestinationStep::Unmark(key)) => Some((key, Method::PUT)),
        CopyStep::Destination(DestinationStep::Remove(key, _)) => Some((key, Method::DELETE)),
        CopyStep::ReadSource { .. } | CopyStep::Destination(_) => None,
    }
}

/// Whether the status told of these very versions already, so that somebody else must have changed the rest of it.
pub(super) fn restores(sync: &Sync, verdict: &Verdict) -> bool {
    let reported = &sync.status;
    matches!(verdict, Verdict::InOrder { source, copy } if reported.source == Some(*source) && reported.copy == Some(*copy))
        && sync.is_observed()
        && reported.retry_count == 0
}

/// Now, in seconds since 1970. For people only: nothing is decided by it.
pub(super) fn now_seconds() -> Seconds {
    crate::environment::clock::wall().as_second().try_into().unwrap_or(Seconds::MAX)
}
