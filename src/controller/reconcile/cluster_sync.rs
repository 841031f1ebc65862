//! The work on an object that wants many copies: its finalizer, and its status, for which the copies are counted.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

use crate::controller::cache::SourceVersion;
use crate::controller::queue::{Cause, Outcome};
use crate::controller::reconcile::counting::{roll_up, shared_with_none, without_source};
use crate::controller::reconcile::reconciler::{MOST_STEPS, Reconciler, now_seconds};
use crate::controller::reconcile::snapshot::{RECHECK_SHARED, expected_by_status};
use crate::controller::reconcile::sources::{Found, Wanted};
use crate::environment::random;
use crate::kubernetes::error::ApiError;
use crate::rules::backoff::{self, Schedule};
use crate::rules::cluster::record::{ClusterSpec, ClusterSync, Expected};
use crate::rules::cluster::rollup::Standing;
use crate::rules::cluster::status::{self, number};
use crate::rules::consent::Consent;
use crate::rules::copy::content::hash_text;
use crate::rules::object::status::{CONDITIONS, namespace_changed};
use crate::rules::reason::Reason;
use crate::rules::record::{ObjectKey, SlimArc};
use crate::rules::uid::Uid;

/// What the copies of an object are to hold.
enum Holding {
    /// This; and its hash, as it stands on them.
    Content(Expected, String),
    /// Nothing: two keys of the source would have one name; which, in a sentence.
    KeyConflict(String),
    /// There is no source.
    Nothing,
}

/// Copies that are still to be written are told in the status after this time, and then this often.
const PENDING_TOLD: Duration = Duration::from_secs(5);
/// A status that tells of nothing pending follows another such one after this time at the earliest.
const SETTLED_TOLD: Duration = Duration::from_secs(1);
/// After a count the next one waits for so long a namespace: about twenty times what counting takes. By a clock it would be
/// another in every run.
const COUNT_PACE: Duration = Duration::from_micros(10);

impl Reconciler<'_> {
    /// Works on an object that wants many copies.
    pub(super) async fn cluster_sync(&mut self, uid: Uid) -> Outcome {
        for _ in 0..MOST_STEPS {
            let Some(observed) = self.context.cache.cluster_sync(uid) else { return Outcome::Rest(None) };
            let object = match &self.knowledge.key_state.object.cluster_answer {
                Some(answered) if answered.version.rv >= observed.version.rv => answered.clone(),
                _ => observed,
            };
            self.knowledge.fresh.asked = self.knowledge.key_state.observe_request(object.request());
            let worked = match &object.spec {
                _ if object.deleting => self.finalize(&object).await,
                Err(invalid) => self.report_standing(&object, &Standing::InvalidSpec(invalid.why.to_string())).await,
                Ok(spec) if spec.suspend => Ok(Some(Outcome::Rest(None))),
                Ok(_) if !object.finalizer => self.put_finalizer(&object, true).await,
                Ok(spec) => self.count(&object, spec).await,
            };
            match worked {
                Ok(Some(outcome)) => return outcome,
                Ok(None) => {}
                Err(error) => return self.on_cluster_error(&object, &error),
            }
        }
        Outcome::Retry(self.after_conflict())
    }

    fn on_cluster_error(&mut self, object: &ClusterSync, error: &ApiError) -> Outcome {
        match error {
            ApiError::GateClosed => Outcome::Retry(Duration::from_millis(500)),
            ApiError::ObserveOnly => Outcome::Rest(None),
            ApiError::SetApart(_, wait) | ApiError::Busy(wait) | ApiError::NoRoom(wait) => {
                Outcome::Retry(backoff::jittered(*wait, random::random()))
            }
            // The object itself changed: its event is on the way. Should it be slow, look again.
            ApiError::Conflict | ApiError::NotFound(_) => {
                self.knowledge.key_state.object.cluster_answer = None;
                Outcome::Paced(Some(self.after_conflict()))
            }
            error => {
                if matches!(error, ApiError::Unavailable(_) | ApiError::Unreachable(_))
                    && let Some(soon) = self.unanswered()
                {
                    return soon;
                }
                let key_state = &mut self.knowledge.key_state;
                let attempt = key_state.change_retries(|retries| retries.failures += 1).failures;
                let wait = backoff::jittered(backoff::after(Schedule::Api, attempt), random::random());
                let (name, shard) = (&*object.name, self.shard.index());
                tracing::warn!(name, shard, attempt, retry_in = ?wait, cause = %error, "a request for a ClusterConfigMapSync failed; it is tried again");
                Outcome::Retry(wait)
            }
        }
    }

    async fn put_finalizer(&mut self, object: &ClusterSync, present: bool) -> Result<Option<Outcome>, ApiError> {
        let context = self.context;
        let answered = context.writer.cluster_finalizer(self.attempt(), object, present).await?;
        self.knowledge.key_state.object.cluster_answer = answered.map(SlimArc::new);
        // Who writes the copies sees it by the watch.
        Ok(if present { None } else { Some(Outcome::Rest(None)) })
    }

    /// The object is being deleted: its finalizer goes when no copy of it stands any more.
    async fn finalize(&mut self, object: &ClusterSync) -> Result<Option<Outcome>, ApiError> {
        if !object.finalizer {
            return Ok(Some(Outcome::Rest(None)));
        }
        let cache = &self.context.cache;
        let uid = object.uid();
        // Those that outlive it have to lose our marks first, whoever guards them.
        let left = if object.orphan() { cache.standing_copies(uid) } else { cache.removable_copies(uid) };
        if left.is_empty() {
            // One that the watch does not show yet would be swept, should its holder start anew before it hears of it.
            return match object.orphan() && self.has_copies(object).await? {
                true => Ok(Some(Outcome::Paced(Some(self.after_conflict())))),
                false => self.put_finalizer(object, false).await,
            };
        }
        let is_held = |key: &&ObjectKey| {
            cache.failure(uid, &key.namespace).is_some_and(|failure| failure.reason == Reason::CopyHeld)
        };
        let held = left.iter().find(is_held).map(ObjectKey::to_string);
        self.report_unsettled(object, &Standing::Deleting { removing: left.len(), held }).await
    }

    /// Whether the API server has a copy of the object, in a namespace that is not being deleted.
    async fn has_copies(&mut self, object: &ClusterSync) -> Result<bool, ApiError> {
        self.turn.give_back();
        let context = self.context;
        let mut pages = context.reader.copies(&object.name);
        while let Some(page) = pages.next().await? {
            let mut ours = page.iter().filter(|copy| copy.mark.one_of_many() == Some(object.uid()));
            if ours.any(|copy| context.cache.may_stand(&copy.key.namespace, &copy.mark)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Counts the copies, and says how many are in order.
    async fn count(&mut self, object: &ClusterSync, spec: &ClusterSpec) -> Result<Option<Outcome>, ApiError> {
        let begun = Instant::now();
        let too_soon = self.knowledge.key_state.retries().next_count.filter(|next| *next > begun);
        if let Some(next) = too_soon.filter(|_| is_observed(object)) {
            return Ok(Some(Outcome::Paced(Some(next - begun))));
        }
        let namespaces = u32::try_from(self.context.cache.count_namespaces()).unwrap_or(u32::MAX);
        let next = begun + COUNT_PACE.saturating_mul(namespaces);
        self.knowledge.key_state.change_retries(|retries| retries.next_count = Some(next));
        let source = self.context.cache.source(&spec.source);
        self.tell_owner(&spec.source);
        if self.context.cache.consent(spec.require_consent, &spec.source, None, &spec.source.namespace).consent
            == Consent::Unknown
        {
            self.read_expected(object, spec, source).await?; // it keeps what the owner says
        }
        if let Some(standing) = shared_with_none(&self.context.cache, object, spec) {
            return self.report_standing(object, &standing).await;
        }
        let holding = match expected_by_status(object, source) {
            Some(expected) => Holding::Content(expected, object.status.content_hash.clone()),
            None => self.read_expected(object, spec, source).await?,
        };
        let expected = match holding {
            Holding::Content(expected, hash) => Some((expected, hash)),
            Holding::KeyConflict(which) => return self.report_standing(object, &Standing::KeyConflict(which)).await,
            Holding::Nothing => None,
        };
        let rollup = roll_up(&self.context.cache, object, spec, expected.as_ref().map(|(expected, _)| *expected));
        let Some((expected, content_hash)) = expected else {
            let standing = without_source(&self.context.cache, object, spec, rollup);
            let told = self.report_standing(object, &standing).await?;
            let again = backoff::jittered(backoff::SOURCE_MISSING, random::random());
            return Ok(told.map(|outcome| match outcome {
                Outcome::Paced(Some(sooner)) => Outcome::Paced(Some(sooner.min(again))),
                _ => Outcome::Paced(Some(again)),
            }));
        };
        if rollup.pending > 0 && self.context.sources.size(&spec.source).is_none() {
            self.read_expected(object, spec, source).await?;
        }
        if let Some(bytes) = self.is_too_large(object).filter(|_| rollup.pending > 0) {
            return self.report_standing(object, &Standing::TooLarge { bytes, rollup }).await;
        }
        let standing = self.context.cache.count_standing(object.uid());
        if rollup.selected() == 0 && standing > 0 {
            return self.report_standing(object, &Standing::SelectionEmptied(standing)).await;
        }
        let settled = rollup.is_settled();
        let standing = Standing::Counted {
            source: expected.source,
            content_hash,
            source_namespace: self.context.cache.namespace(&spec.source.namespace).map(|namespace| namespace.uid),
            rollup,
        };
        match settled {
            true => self.report_standing(object, &standing).await,
            false => self.report_unsettled(object, &standing).await,
        }
    }

    /// What the copies are to hold, by a read.
    async fn read_expected(
        &mut self,
        object: &ClusterSync,
        spec: &ClusterSpec,
        source: SourceVersion,
    ) -> Result<Holding, ApiError> {
        let now = Instant::now();
        let sent_since = match source {
            SourceVersion::Version(_) => None,
            _ => Some(now.checked_sub(RECHECK_SHARED).unwrap_or(now)),
        };
        let wanted = Wanted { observed: source, sent_since };
        let sources = &self.context.sources;
        let found = match sources.cached(&spec.source, wanted) {
            Some((found, _)) => found,
            None => {
                self.turn.give_back();
                sources.get(&spec.source, wanted).await?.0
            }
        };
        let Found::Content(content) = found else { return Ok(Holding::Nothing) };
        self.context.cache.note_sharing(&spec.source, content.version.rv, content.sharing.clone());
        if !matches!(source, SourceVersion::Version(_)) {
            // The watch does not show it: nobody but us knows.
            for key in self.context.cache.copy_keys(object.uid()) {
                self.context.queue.push(key, Some(spec.source.clone()), &Cause { urgent: true, ..Cause::default() });
            }
        }
        Ok(match content.expected_by(object) {
            Ok((expected, hash)) => Holding::Content(expected, hash_text(&hash, spec.shape.is_some())),
            Err(which) => Holding::KeyConflict(which),
        })
    }

    /// Says how it stands while copies are still to be written or removed: not at once, and not often.
    async fn report_unsettled(
        &mut self,
        object: &ClusterSync,
        standing: &Standing,
    ) -> Result<Option<Outcome>, ApiError> {
        let now = Instant::now();
        // How long copies have been pending is counted apart from removals, which may take as long as they like.
        let writes = matches!(standing, Standing::Counted { rollup, .. } if rollup.pending > 0);
        let retries = self.knowledge.key_state.change_retries(|it| {
            it.pending_since = writes.then(|| it.pending_since.unwrap_or(now));
            if !writes {
                it.told.get_or_insert(now);
            }
        });
        let since = [retries.pending_since, retries.told].into_iter().flatten().max().unwrap_or(now);
        let left = PENDING_TOLD.saturating_sub(now - since);
        if !left.is_zero() {
            return Ok(Some(Outcome::Paced(Some(left))));
        }
        self.write_standing(object, standing).await
    }

    /// Says how it stands, now that nothing is left to do.
    async fn report_standing(
        &mut self,
        object: &ClusterSync,
        standing: &Standing,
    ) -> Result<Option<Outcome>, ApiError> {
        let retries = self.knowledge.key_state.retries();
        let told_unsettled = object.status.namespaces.is_some_and(|it| it.pending + it.removing > 0);
        let pace = match self.goes_on(object, standing) {
            true => PENDING_TOLD,
            // Statuses of what is left to do are rare already, so the last word need not wait for the one before it.
            false if told_unsettled && matches!(standing, Standing::Counted { .. }) => Duration::ZERO,
            false => SETTLED_TOLD,
        };
        let too_soon = retries.told.map(|told| pace.saturating_sub(told.elapsed())).filter(|left| !left.is_zero());
        if let Some(left) = too_soon.filter(|_| is_observed(object)) {
            return Ok(Some(Outcome::Paced(Some(left))));
        }
        let took = retries.pending_since.map(|since| since.elapsed());
        let before = object.status.source.clone();
        let told = self.write_standing(object, standing).await?;
        self.knowledge.key_state.change_retries(|it| it.pending_since = None);
        if let Standing::Counted { source, rollup, .. } = standing
            && rollup.failed() == 0
            && rollup.synced > 0
            && before.is_none_or(|before| before.resource_version != source.rv.to_string())
        {
            let took = took.map(|took| format!(", {:.1} s after the change was seen", took.as_secs_f64()));
            let note =
                format!("{} copies hold version {}{}", number(rollup.synced), source.rv, took.unwrap_or_default());
            self.context.events.on_cluster_sync(object, Reason::RolledOut, note, false);
        }
        Ok(told)
    }

    /// Whether the status says already why copies are being removed, and some still stand.
    fn goes_on(&self, object: &ClusterSync, standing: &Standing) -> bool {
        let reason = match standing {
            Standing::NotShared { .. } => Reason::SourceNotShared,
            Standing::SourceMissing(_) => Reason::SourceNotFound,
            _ => return false,
        };
        status::says_of_source(&object.status, &[reason]) && self.context.cache.count_standing(object.uid()) > 0
    }

    /// PUTs the status, if it says something new.
    async fn write_standing(&mut self, object: &ClusterSync, standing: &Standing) -> Result<Option<Outcome>, ApiError> {
        let now = Timestamp::from_second(now_seconds().into()).unwrap_or_default();
        let status = status::status(object, standing, now);
        if status == object.status {
            return Ok(Some(Outcome::Paced(None)));
        }
        let context = self.context;
        let answered = context.writer.cluster_status(self.attempt(), object, &status).await?;
        self.knowledge.key_state.object.cluster_answer = Some(SlimArc::new(answered));
        self.knowledge.key_state.change_retries(|it| {
            (it.failures, it.unanswered, it.conflicts, it.told) = (0, 0, 0, Some(Instant::now()));
        });
        self.tell_people(object, &status);
        Ok(Some(Outcome::Paced(None)))
    }

    /// Events for what the status says for the first time.
    fn tell_people(&self, object: &ClusterSync, status: &crate::api::clusterconfigmapsync::ClusterConfigMapSyncStatus) {
        let (name, shard) = (&*object.name, self.shard.index());
        let (was, is) = (&object.status.source_namespace_uid, &status.source_namespace_uid);
        if let Ok(spec) = &object.spec
            && !was.is_empty()
            && was != is
            && is_observed(object)
        {
            let note = namespace_changed(&spec.source.namespace);
            tracing::warn!(name, shard, cause = note, "the namespace of a source was made again");
            self.context.events.on_cluster_sync(object, Reason::SourceNamespaceChanged, note, true);
        }
        let ready = status.conditions.iter().find(|it| it.type_ == CONDITIONS[2]);
        let before = object.status.conditions.iter().find(|it| it.type_ == CONDITIONS[2]);
        let Some(ready) = ready.filter(|ready| before.is_none_or(|before| before.reason != ready.reason)) else {
            return;
        };
        let cause = &*ready.message;
        let told = [
            Reason::InvalidSpec,
            Reason::KeyConflict,
            Reason::SourceNotFound,
            Reason::SourceNotShared,
            Reason::SelectionEmptied,
            Reason::NoNamespaceMatches,
            Reason::TooLarge,
        ];
        match told.into_iter().find(|reason| reason.as_str() == ready.reason) {
            Some(reason) => {
                tracing::info!(name, shard, reason = reason.as_str(), cause, "not in order");
                self.context.events.on_cluster_sync(object, reason, ready.message.clone(), true);
            }
            None if ready.reason == Reason::SomeCopiesFailed.as_str() => {
                tracing::info!(name, shard, reason = &*ready.reason, cause, "not in order");
                let first =
                    status.failures.first().map(|failure| format!(": {}: {}", failure.namespace, failure.message));
                let note = format!("{}{}", ready.message, first.unwrap_or_default());
                self.context.events.on_cluster_sync(object, Reason::CopiesFailed, note, true);
            }
            None => tracing::debug!(name, shard, reason = &*ready.reason, cause, "status written"),
        }
    }
}

/// Whether the status speaks of the spec as it is.
fn is_observed(object: &ClusterSync) -> bool {
    object.status.observed_generation == Some(object.generation.into())
}
