//! What a refused request means: look again, wait, or tell it on the object.

use std::time::Duration;

use tokio::time::Instant;

use crate::controller::queue::Outcome;
use crate::controller::reconcile::key::{Reconciler, Refused, now_seconds};
use crate::controller::reconcile::key_state::Failure as Failing;
use crate::controller::reconcile::snapshot::Snapshot;
use crate::environment::random;
use crate::kubernetes::error::ApiError;
use crate::rules::backoff::{self, Failure};
use crate::rules::copy::facts::NamespaceState;
use crate::rules::copy::plan;
use crate::rules::copy::step::Step;
use crate::rules::reason::Reason;
use crate::rules::record::{ObjectKey, SlimArc, Sync};
use crate::rules::status::{self, Failed, Verdict};

/// So many requests in a row may stay without an answer before that counts as a failure.
const UNANSWERED: u32 = 3;

impl Reconciler<'_> {
    /// What a refused request means. `None`: look again with what it told.
    pub(super) async fn refused(&mut self, snapshot: &Snapshot, refused: Refused) -> Option<Outcome> {
        let Refused { refusal, during } = refused;
        let about_copy = matches!(during, Step::Create | Step::Replace { .. } | Step::Remove(..) | Step::Unmark(_));
        let place = match &during {
            Step::Remove(place, _) | Step::Unmark(place) | Step::ReadCopy(place) => Some(place.clone()),
            _ => snapshot.sync.destination().cloned(),
        };
        match (&refusal, place) {
            (ApiError::GateClosed, _) => return Some(Outcome::Retry(Duration::from_millis(500))),
            (ApiError::ObserveOnly, _) => return Some(Outcome::Rest(None)),
            (ApiError::SetApart(_, wait), _) if self.key_state.trouble().unanswered < UNANSWERED => {
                self.key_state.change(|trouble| trouble.unanswered += 1);
                return Some(Outcome::Retry(backoff::jittered(*wait, random::random())));
            }
            (ApiError::Busy(wait) | ApiError::NoRoom(wait), _) => {
                return Some(Outcome::Retry(backoff::jittered(*wait, random::random())));
            }
            (ApiError::NoNamespace(_), Some(place)) if about_copy => {
                self.fresh.put_namespace(&place.namespace, NamespaceState::Absent);
                return None;
            }
            (ApiError::NamespaceTerminating, Some(place)) => {
                self.fresh.put_namespace(&place.namespace, NamespaceState::Terminating);
                return None;
            }
            (ApiError::NotFound(_), Some(place)) if about_copy => {
                self.fresh.put_copy(place, None);
                return None;
            }
            (ApiError::Conflict | ApiError::AlreadyExists, Some(place)) if about_copy => {
                let wait = self.after_conflict();
                self.fresh.conflicts += 1;
                // How many there were in earlier looks says how long to wait, and not that this time nothing is read: what
                // the stream does not show would be run into for ever.
                if self.fresh.conflicts > 5 {
                    return Some(Outcome::Retry(wait));
                }
                return self.read_again(snapshot, place).await;
            }
            // Most likely it is immutable: what stands there tells.
            (ApiError::Invalid(_), Some(place)) if about_copy && self.fresh.copy(&place).is_none() => {
                return self.read_again(snapshot, place).await;
            }
            // No answer is mostly an API server that comes back in a moment; only when it does not, it is a failure.
            // Where only this namespace does not answer, it is one at once.
            (ApiError::Unavailable(_) | ApiError::NotInstalled, _)
                if self.key_state.trouble().unanswered < UNANSWERED && self.apart(snapshot, &during).is_none() =>
            {
                let trouble = self.key_state.change(|trouble| trouble.unanswered += 1);
                let wait = Duration::from_secs(1 << trouble.unanswered);
                return Some(Outcome::Retry(backoff::jittered(wait, random::random())));
            }
            // The sync itself changed: its event is on the way. Should it be slow, look again.
            (ApiError::Conflict | ApiError::NotFound(_), _) => {
                self.key_state.sync = None;
                return Some(Outcome::Rest(Some(self.after_conflict())));
            }
            _ => {}
        }
        Some(self.fail(snapshot, &refusal, &during).await)
    }

    async fn read_again(&mut self, snapshot: &Snapshot, place: ObjectKey) -> Option<Outcome> {
        self.turn.give_back();
        match self.context.reader.copy(&place).await {
            Ok(read) => {
                self.fresh.put_copy(place, read);
                None
            }
            Err(ApiError::NoRoom(wait)) => Some(Outcome::Retry(wait)),
            Err(refusal) => Some(self.fail(snapshot, &refusal, &Step::ReadCopy(place)).await),
        }
    }

    /// Tells of a failure on the object, and says when to try again.
    async fn fail(&mut self, snapshot: &Snapshot, refusal: &ApiError, during: &Step) -> Outcome {
        let sync = &snapshot.sync;
        let (what, reason, kind) = describe(sync, during);
        let told = sync.status.retry_count;
        let attempt = self.key_state.change(|trouble| trouble.failures = trouble.failures.max(told) + 1).failures;
        // Backoff is no measure of how fast changes reach their copies. A request that is only put off keeps its share.
        if let Some(fanout) = self.fanout.take() {
            fanout.give_up();
        }
        let wait = self.apart(snapshot, during).unwrap_or_else(|| backoff::after(kind, attempt));
        let wait = backoff::jittered(wait, random::random());
        let again = jiff::Timestamp::from_second((now_seconds()).into()).unwrap_or_default();
        let again = again.checked_add(wait).map(|at| format!("{at:.0}")).unwrap_or_default();
        let message = format!("cannot {what}: {refusal}");
        let (namespace, name) = (&*sync.key.namespace, &*sync.key.name);
        tracing::warn!(namespace, name, shard = self.shard.index(), attempt, retry_in = ?wait, request = what, cause = %refusal, "a request failed; it is tried again");
        self.context.events.warning(sync, reason, message.clone());
        let message = format!("{message}; tried again at {again}");
        let about_sync = matches!(during, Step::Report(..) | Step::AddFinalizer { .. } | Step::RemoveFinalizer);
        let strange = matches!(during, Step::Remove(place, _) | Step::Unmark(place) | Step::ReadCopy(place) if snapshot.is_strange(place));
        if about_sync || strange {
            return Outcome::Retry(wait);
        }
        // Told in its own lane: a thousand failures must not stand before the copies.
        let failed = Failed { reason, message, attempt };
        self.key_state.failed = Some(Box::new(Failing { failed, until: Instant::now() + wait }));
        Outcome::Status
    }

    /// Says on the object that a request failed.
    pub(super) async fn tell_failure(&mut self, snapshot: &Snapshot, failed: &Failed) -> Result<(), ApiError> {
        let sync = &snapshot.sync;
        let text = plan::text(&snapshot.facts(&self.key_state, &self.fresh), &Verdict::Failed(failed.clone()));
        if text.digest() != sync.status.digest {
            let object = status::object(&text, sync, now_seconds());
            let context = self.context;
            self.key_state.sync = Some(SlimArc::new(context.writer.status(self.attempt(), sync, &object).await?));
        }
        Ok(())
    }
}

/// What was tried, the reason it goes by, and how long such a failure waits.
fn describe(sync: &Sync, during: &Step) -> (String, Reason, Failure) {
    let (source, destination) = match &sync.spec {
        Ok(spec) => (spec.source.to_string(), spec.destination.to_string()),
        Err(_) => (String::new(), String::new()),
    };
    match during {
        Step::ReadSource { .. } => (format!("read the source {source}"), Reason::FetchError, Failure::Api),
        Step::ReadCopy(place) => (format!("read {place}"), Reason::ReadFailed, Failure::Api),
        Step::ReadNamespace(name) => (format!("read namespace {name}"), Reason::ReadFailed, Failure::Api),
        Step::Create => (format!("create {destination}"), Reason::CreateFailed, Failure::Write),
        Step::Replace { .. } => (format!("update {destination}"), Reason::UpdateFailed, Failure::Write),
        Step::Remove(place, _) => (format!("delete {place}"), Reason::DeleteFailed, Failure::Write),
        Step::Unmark(place) => (format!("take our marks off {place}"), Reason::UpdateFailed, Failure::Write),
        Step::AddFinalizer { .. } | Step::RemoveFinalizer => {
            ("write the finalizer".to_owned(), Reason::FinalizerFailed, Failure::Api)
        }
        Step::Report(..) | Step::Rest(_) => ("write the status".to_owned(), Reason::StatusFailed, Failure::Api),
    }
}
