//! Copies whose sync is gone.

use std::time::Duration;

use tokio::time::Instant;

use crate::controller::cache::OrphanedCopy;
use crate::controller::queue::Outcome;
use crate::controller::reconcile::key_state::{KeyState, Retries};
use crate::controller::reconcile::reconciler::{MOST_STEPS, Reconciler};
use crate::kubernetes::error::ApiError;
use crate::rules::backoff::{self, Schedule};
use crate::rules::uid::Uid;

impl Reconciler<'_> {
    /// The sync is gone: what stands somewhere with its mark goes too.
    pub(super) async fn sweep(&mut self, uid: Uid) -> Outcome {
        let cache = &self.context.cache;
        self.sweep_all(uid, || cache.orphaned_copies(uid)).await
    }

    /// The object with this UID is gone: what is `left` of it goes too, once a GET has said that it is.
    pub(super) async fn sweep_all(&mut self, uid: Uid, left: impl Fn() -> Vec<OrphanedCopy>) -> Outcome {
        self.knowledge.key_state.let_go();
        for _ in 0..MOST_STEPS {
            let (cache, knowledge) = (&self.context.cache, &self.knowledge);
            let is_to_go = |copy: &OrphanedCopy| knowledge.sweep(cache, copy, uid).is_some();
            let Some(next) = left().into_iter().find(is_to_go) else {
                self.knowledge.key_state = KeyState::default();
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
                Err(ApiError::Conflict) => self.knowledge.fresh.forget_copy(&next.key),
                Err(error) => {
                    let attempt = self.knowledge.key_state.change_retries(|retries| retries.failures += 1).failures;
                    let shard = self.shard.index();
                    tracing::warn!(copy = %next.key, shard, cause = %error, "an orphaned copy could not be removed; it is tried again");
                    return Outcome::Retry(backoff::after(Schedule::Write, attempt));
                }
            }
        }
        Outcome::Retry(Duration::from_secs(1))
    }

    /// One request towards an orphaned copy's end; or how long to wait before the next.
    async fn sweep_one(&mut self, next: &OrphanedCopy, uid: Uid) -> Result<Option<Duration>, ApiError> {
        let observed = self.context.cache.configmap(&next.key);
        let Some(mark) = observed.as_ref().and_then(|meta| meta.mark.as_ref()) else { return Ok(None) };
        let begins = |retries: &mut Retries| _ = retries.sweep_since.get_or_insert_with(Instant::now);
        let since = self.knowledge.key_state.change_retries(begins).sweep_since;
        let waited = since.map_or(Duration::ZERO, |since| since.elapsed());
        if !next.deletion_observed && waited < backoff::SWEEP {
            return Ok(Some(backoff::SWEEP - waited));
        }
        self.turn.give_back();
        let reader = &self.context.reader;
        let (living, kind) = match mark.sync.is_cluster_scoped() {
            true => (reader.cluster_sync(&mark.sync.name).await?.map(|object| object.uid()), "clusterconfigmapsyncs"),
            false => (reader.sync(&mark.sync).await?.map(|sync| sync.uid()), "configmapsyncs"),
        };
        if living == Some(uid) {
            return Ok(Some(backoff::SWEEP)); // it lives: the watch will tell
        }
        // With the CRD gone or just installed, that there is no such sync says nothing.
        let youngest = if next.deletion_observed { Duration::ZERO } else { backoff::SWEEP };
        if reader.crd_age(kind).await?.is_none_or(|age| age < youngest) {
            return Ok(Some(backoff::SWEEP));
        }
        let Some(step) = self.knowledge.sweep(&self.context.cache, next, uid) else { return Ok(None) };
        let (namespace, name, shard) = (&*mark.sync.namespace, &*mark.sync.name, self.shard.index());
        tracing::info!(namespace, name, shard, copy = %next.key, "removing an orphaned copy: its sync is gone");
        let learned = self.read_or_remove(step).await?;
        self.knowledge.learn(learned);
        Ok(None)
    }
}
