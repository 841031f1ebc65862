//! What the error of a request means: look again, wait, or tell it on the object.

use std::time::Duration;

use tokio::time::Instant;

use crate::controller::queue::Outcome;
use crate::controller::reconcile::key_state::{PendingFailure, Retries};
use crate::controller::reconcile::knowledge::Learned;
use crate::controller::reconcile::reconciler::{Reconciler, StepError, now_seconds, written_to};
use crate::controller::reconcile::snapshot::Snapshot;
use crate::environment::random;
use crate::kubernetes::error::ApiError;
use crate::rules::backoff::{self, Schedule};
use crate::rules::cluster::rollup::Failure;
use crate::rules::copy::facts::NamespaceState;
use crate::rules::copy::step::{CopyStep, DestinationStep};
use crate::rules::copy::verdict::{Failed, Verdict};
use crate::rules::object::plan;
use crate::rules::object::step::Step;
use crate::rules::reason::Reason;
use crate::rules::record::{ObjectKey, Sync};

/// So many requests in a row may stay without an answer before that counts as a failure.
const UNANSWERED: u32 = 3;

impl Reconciler<'_> {
    /// What the error of a request means. `None`: look again with what it told.
    pub(super) async fn on_error(&mut self, snapshot: &Snapshot, failed: StepError) -> Option<Outcome> {
        let StepError { error, step } = failed;
        let about_copy = written_to(snapshot, &step).is_some();
        let key = match &step {
            Step::Copy(CopyStep::Destination(step)) if step.key().is_some() => step.key().cloned(),
            _ => snapshot.sync.destination().cloned(),
        };
        let key_state = &mut self.knowledge.key_state;
        match (&error, key) {
            (ApiError::GateClosed, _) => return Some(Outcome::Retry(Duration::from_millis(500))),
            (ApiError::ObserveOnly, _) => return Some(Outcome::Rest(None)),
            (ApiError::SetApart(_, wait), _) if key_state.retries().unanswered < UNANSWERED => {
                key_state.change_retries(|retries| retries.unanswered += 1);
                return Some(Outcome::Retry(backoff::jittered(*wait, random::random())));
            }
            (ApiError::Busy(wait) | ApiError::NoRoom(wait), _) => {
                return Some(Outcome::Retry(backoff::jittered(*wait, random::random())));
            }
            (ApiError::NoNamespace(_), Some(key)) if about_copy => {
                self.knowledge.learn(Learned::Namespace(key.namespace, NamespaceState::Absent));
                return None;
            }
            (ApiError::NamespaceTerminating, Some(key)) => {
                self.knowledge.learn(Learned::Namespace(key.namespace, NamespaceState::Terminating));
                return None;
            }
            (ApiError::NotFound(_), Some(key)) if about_copy => {
                self.knowledge.learn(Learned::Copy(key, None));
                return None;
            }
            (ApiError::Conflict | ApiError::AlreadyExists, Some(key)) if about_copy => {
                let wait = self.after_conflict();
                self.knowledge.fresh.conflicts += 1;
                // How many there were in earlier looks says how long to wait, and not that this time nothing is read: what
                // the watch does not show would be run into for ever.
                if self.knowledge.fresh.conflicts > 5 {
                    return Some(Outcome::Retry(wait));
                }
                return self.read_again(snapshot, key).await;
            }
            // Most likely it is immutable: what stands there tells.
            (ApiError::Invalid(_), Some(key)) if about_copy && self.knowledge.fresh.copy(&key).is_none() => {
                return self.read_again(snapshot, key).await;
            }
            // Where only this namespace does not answer, it is a failure at once.
            (ApiError::Unavailable(_) | ApiError::NotInstalled, _) if self.apart(snapshot, &step).is_some() => {}
            (ApiError::Unavailable(_) | ApiError::Unreachable(_) | ApiError::NotInstalled, _) => {
                if let Some(soon) = self.unanswered() {
                    return Some(soon);
                }
            }
            // The sync itself changed: its event is on the way. Should it be slow, look again.
            (ApiError::Conflict | ApiError::NotFound(_), _) => {
                self.knowledge.key_state.object.answer = None;
                return Some(Outcome::Rest(Some(self.after_conflict())));
            }
            _ => {}
        }
        Some(self.fail(snapshot, &error, &step).await)
    }

    /// A request was not answered. Mostly that is an API server that comes back in a moment, so the request is tried again soon.
    /// `None`: it was tried often enough, and it is a failure.
    pub(super) fn unanswered(&mut self) -> Option<Outcome> {
        let key_state = &mut self.knowledge.key_state;
        if key_state.retries().unanswered >= UNANSWERED {
            return None;
        }
        let retries = key_state.change_retries(|retries| retries.unanswered += 1);
        let wait = Duration::from_secs(1 << retries.unanswered);
        Some(Outcome::Retry(backoff::jittered(wait, random::random())))
    }

    async fn read_again(&mut self, snapshot: &Snapshot, key: ObjectKey) -> Option<Outcome> {
        self.turn.give_back();
        match self.context.reader.copy(&key).await {
            Ok(read) => {
                self.knowledge.learn(Learned::Copy(key, read));
                None
            }
            Err(ApiError::NoRoom(wait)) => Some(Outcome::Retry(wait)),
            Err(error) => Some(self.fail(snapshot, &error, &Step::Copy(DestinationStep::ReadCopy(key).into())).await),
        }
    }

    /// Tells of a failure on the object, and says when to try again.
    async fn fail(&mut self, snapshot: &Snapshot, error: &ApiError, step: &Step) -> Outcome {
        let sync = &snapshot.sync;
        let (what, reason, kind) = describe(sync, step);
        // A role may let the operator write in some namespaces alone.
        let is_forbidden = matches!(error, ApiError::LacksRight(_)) && written_to(snapshot, step).is_some();
        let reason = if is_forbidden { Reason::DestinationForbidden } else { reason };
        let before = sync.status.retry_count;
        // What is put off was not tried: it makes no wait longer.
        let put_off = if let ApiError::SetApart(_, wait) = error { Some(*wait) } else { None };
        let count = |retries: &mut Retries| {
            retries.failures = (retries.failures.max(before) + u32::from(put_off.is_none())).max(1);
        };
        let attempt = self.knowledge.key_state.change_retries(count).failures;
        // Backoff is no measure of how fast changes reach their copies. A request that is only put off keeps its share.
        if let Some(fanout) = self.fanout.take() {
            fanout.give_up();
        }
        let is_source = matches!(step, Step::Copy(CopyStep::ReadSource { .. }));
        let wait = self.apart(snapshot, step).or(put_off).unwrap_or_else(|| backoff::after(kind, attempt));
        let wait = backoff::jittered(wait, random::random());
        let again = jiff::Timestamp::from_second((now_seconds()).into()).unwrap_or_default();
        let again = again.checked_add(wait).map(|at| format!("{at:.0}")).unwrap_or_default();
        let message = format!("cannot {what}: {error}");
        let (namespace, name) = (&*sync.key.namespace, &*sync.key.name);
        let shard = self.shard.index();
        if put_off.is_some() {
            // One line says that the namespace is set apart; a thousand syncs there need none of their own.
            tracing::debug!(namespace, name, shard, retry_in = ?wait, request = what, cause = %error, "a request is put off");
        } else {
            tracing::warn!(namespace, name, shard, attempt, retry_in = ?wait, request = what, cause = %error, "a request failed; it is tried again");
        }
        if self.is_copy {
            // A source that cannot be read is told once, by who counts the copies.
            if let Some(destination) = sync.destination().filter(|_| !is_source) {
                let namespace = destination.namespace.clone();
                let failure = Failure { namespace, reason, message, needs_person: error.is_lasting() };
                self.note_failure(sync.uid(), failure);
            }
            return Outcome::Retry(wait);
        }
        self.context.events.warning(sync, reason, message.clone());
        let message = format!("{message}; tried again at {again}");
        let about_sync = matches!(step, Step::Report(..) | Step::AddFinalizer { .. } | Step::RemoveFinalizer);
        let by_marks_only = matches!(step, Step::Copy(CopyStep::Destination(step)) if step.key().is_some_and(|key| snapshot.is_known_by_marks_only(key)));
        if about_sync || by_marks_only {
            return Outcome::Retry(wait);
        }
        // Told in its own lane: a thousand failures must not stand before the copies.
        let failed = Failed { reason, message, attempt };
        let exists = plan::destination_exists(&self.knowledge.facts(snapshot));
        let until = Instant::now() + wait;
        self.knowledge.key_state.copy.failed = Some(Box::new(PendingFailure { failed, exists, until }));
        Outcome::Status
    }

    /// Says on the object that a request failed.
    pub(super) async fn report_failure(
        &mut self,
        snapshot: &Snapshot,
        failing: &PendingFailure,
    ) -> Result<(), ApiError> {
        let sync = &snapshot.sync;
        let mut text = plan::text(&self.knowledge.facts(snapshot), &Verdict::Failed(failing.failed.clone()));
        text.destination_exists |= failing.exists;
        if text.digest() != sync.status.digest {
            let answered = self.write_status(sync, &text).await?;
            self.knowledge.learn(Learned::Object(answered));
        }
        Ok(())
    }
}

/// What was tried, the reason it goes by, and how long such a failure waits.
fn describe(sync: &Sync, step: &Step) -> (String, Reason, Schedule) {
    let (source, destination) = match &sync.spec {
        Ok(spec) => (spec.source.to_string(), spec.destination.to_string()),
        Err(_) => (String::new(), String::new()),
    };
    let step = match step {
        Step::Copy(step) => step,
        Step::AddFinalizer { .. } | Step::RemoveFinalizer => {
            return ("write the finalizer".to_owned(), Reason::FinalizerFailed, Schedule::Api);
        }
        Step::Report(..) | Step::Rest(_) => {
            return ("write the status".to_owned(), Reason::StatusFailed, Schedule::Api);
        }
    };
    match step {
        CopyStep::ReadSource { .. } => (format!("read the source {source}"), Reason::FetchError, Schedule::Api),
        CopyStep::Create => (format!("create {destination}"), Reason::CreateFailed, Schedule::Write),
        CopyStep::Replace { .. } => (format!("update {destination}"), Reason::UpdateFailed, Schedule::Write),
        CopyStep::Destination(step) => match step {
            DestinationStep::ReadCopy(key) => (format!("read {key}"), Reason::ReadFailed, Schedule::Api),
            DestinationStep::ReadNamespace(name) => {
                (format!("read namespace {name}"), Reason::ReadFailed, Schedule::Api)
            }
            DestinationStep::Remove(key, _) => (format!("delete {key}"), Reason::DeleteFailed, Schedule::Write),
            DestinationStep::Unmark(key) => {
                (format!("take our marks off {key}"), Reason::UpdateFailed, Schedule::Write)
            }
        },
    }
}
