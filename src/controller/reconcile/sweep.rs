//! Copies whose sync is gone.

use std::time::Duration;

use tokio::time::Instant;

use crate::controller::cache::OrphanedCopy;
use crate::controller::queue::Outcome;
use crate::controller::reconcile::key::{MOST_STEPS, Reconciler};
use crate::controller::reconcile::key_state::{KeyState, Retries};
use crate::controller::reconcile::snapshot::orphaned_copy;
use crate::kubernetes::error::ApiError;
use crate::rules::backoff::{self, Failure};
use crate::rules::copy::plan;
use crate::rules::copy::step::{Step, Until};
use crate::rules::uid::Uid;

impl Reconciler<'_> {
    /// The sync is gone: what stands somewhere with its mark goes too, once a GET has said that it is.
    pub(super) async fn sweep(&mut self, uid: Uid) -> Outcome {
        self.key_state.let_go();
        for _ in 0..MOST_STEPS {
            let Some(next) =
                self.context.cache.orphaned_copies(uid).into_iter().find(|next| self.is_to_be_swept(next, uid))
            else {
                self.key_state = KeyState::default();
                return Outcome::Rest(None);
            };
            match self.sweep_one(&next, uid).await {
                Ok(None) => {}
                Ok(Some(wait)) => return Outcome::Rest(Some(wait)),
                Err(ApiError::GateClosed) => return Outcome::Retry(Duration::from_millis(500)),
                Err(ApiError::ObserveOnly) => return Outcome::Rest(None),
                Err(ApiError::SetApart(_, wait) | ApiError::Busy(wait) | ApiError::NoRoom(wait)) => {
                    return Outcome::Retry(wait);
                }
                Err(ApiError::Conflict) => self.fresh.forget_copy(&next.place),
                Err(refusal) => {
                    let attempt = self.key_state.change(|trouble| trouble.failures += 1).failures;
                    let shard = self.shard.index();
                    tracing::warn!(copy = %next.place, shard, cause = %refusal, "an orphaned copy could not be removed; it is tried again");
                    return Outcome::Retry(backoff::after(Failure::Write, attempt));
                }
            }
        }
        Outcome::Retry(Duration::from_secs(1))
    }

    fn is_to_be_swept(&self, next: &OrphanedCopy, uid: Uid) -> bool {
        let destination = orphaned_copy(&self.context.cache, &self.fresh, next, uid);
        destination.is_some_and(|(_, destination)| {
            !matches!(plan::sweep(&destination.destination(), next.orphan), Step::Rest(_))
        })
    }

    /// One request towards an orphaned copy's end; or how long to wait before the next.
    async fn sweep_one(&mut self, next: &OrphanedCopy, uid: Uid) -> Result<Option<Duration>, ApiError> {
        let Some((sync, _)) = orphaned_copy(&self.context.cache, &self.fresh, next, uid) else { return Ok(None) };
        let begins = |trouble: &mut Retries| _ = trouble.sweep_since.get_or_insert_with(Instant::now);
        let waited = self.key_state.change(begins).sweep_since.map_or(Duration::ZERO, |since| since.elapsed());
        if !next.deletion_observed && waited < backoff::SWEEP {
            return Ok(Some(backoff::SWEEP - waited));
        }
        self.turn.give_back();
        if self.context.reader.sync(&sync).await?.is_some_and(|sync| sync.uid() == uid) {
            return Ok(Some(backoff::SWEEP)); // it lives: the stream will tell
        }
        // With the CRD gone or just installed, that there is no such sync says nothing.
        let youngest = if next.deletion_observed { Duration::ZERO } else { backoff::SWEEP };
        if self.context.reader.crd_age().await?.is_none_or(|age| age < youngest) {
            return Ok(Some(backoff::SWEEP));
        }
        let destination = orphaned_copy(&self.context.cache, &self.fresh, next, uid);
        let step = destination
            .map_or(Step::Rest(Until::Change), |(_, destination)| plan::sweep(&destination.destination(), next.orphan));
        let (namespace, name, shard) = (&*sync.namespace, &*sync.name, self.shard.index());
        tracing::info!(namespace, name, shard, copy = %next.place, "removing an orphaned copy: its sync is gone");
        self.remove(step).await?;
        Ok(None)
    }
}
