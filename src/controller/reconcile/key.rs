//! One key at work: what it has at hand, what is remembered of it, and what was read for it.

use std::sync::Arc;
use std::time::Duration;

use http::Method;

use crate::controller::cache::Cache;
use crate::controller::queue::Queue;
use crate::controller::queue::fanout::Fanout;
use crate::controller::reconcile::key_state::KeyState;
use crate::controller::reconcile::snapshot::{FreshReads, Snapshot};
use crate::controller::reconcile::sources::Sources;
use crate::kubernetes::error::ApiError;
use crate::kubernetes::events::Events;
use crate::kubernetes::limiter::{Limiter, Turn};
use crate::kubernetes::reader::Reader;
use crate::kubernetes::writer::{Attempt, Writer};
use crate::rules::backoff;
use crate::rules::copy::step::Step;
use crate::rules::record::{ObjectKey, Seconds, Sync};
use crate::rules::shard::Shard;
use crate::rules::status::Verdict;

/// More steps than any case needs: a key that takes more is put back, so that it cannot spin.
pub(super) const MOST_STEPS: usize = 24;

/// What the work on a key needs.
pub struct Context {
    /// What the streams told.
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
}

/// One key at work.
pub(super) struct Reconciler<'a> {
    pub(super) context: &'a Context,
    pub(super) shard: Shard,
    pub(super) turn: Turn,
    pub(super) key_state: KeyState,
    pub(super) fresh: FreshReads,
    pub(super) fanout: Option<Arc<Fanout>>,
}

/// A request that was refused, and what it was for.
pub(super) struct Refused {
    pub(super) refusal: ApiError,
    pub(super) during: Step,
}

impl Reconciler<'_> {
    /// What a write is sent with.
    pub(super) fn attempt(&mut self) -> Attempt<'_> {
        Attempt { shard: self.shard, turn: &mut self.turn, asked: self.fresh.asked }
    }

    /// How long a write of this step has to wait, where its namespace is set apart.
    pub(super) fn apart(&self, snapshot: &Snapshot, during: &Step) -> Option<Duration> {
        let (place, method) = written_to(snapshot, during)?;
        self.context.writer.wait(&place.namespace, &method)
    }

    /// There was a conflict: how long to wait.
    pub(super) fn after_conflict(&mut self) -> Duration {
        backoff::after_conflict(self.key_state.change(|trouble| trouble.conflicts += 1).conflicts)
    }
}

/// Where a step writes a copy, and how.
pub(super) fn written_to<'a>(snapshot: &'a Snapshot, step: &'a Step) -> Option<(&'a ObjectKey, Method)> {
    match step {
        Step::Create => Some((snapshot.sync.destination()?, Method::POST)),
        Step::Replace { .. } => Some((snapshot.sync.destination()?, Method::PUT)),
        Step::Unmark(place) => Some((place, Method::PUT)),
        Step::Remove(place, _) => Some((place, Method::DELETE)),
        _ => None,
    }
}

/// Whether the status told of these very versions already, so that somebody else must have changed the rest of it.
pub(super) fn restores(sync: &Sync, verdict: &Verdict) -> bool {
    let told = &sync.status;
    matches!(verdict, Verdict::InOrder { source, copy } if told.source == Some(*source) && told.copy == Some(*copy))
        && sync.is_observed()
        && told.retry_count == 0
}

/// Now, in seconds since 1970. For people only: nothing is decided by it.
pub(super) fn now_seconds() -> Seconds {
    crate::environment::clock::wall().as_second().try_into().unwrap_or(Seconds::MAX)
}
