//! Executing one step. The answer is returned as what was learned; the loop takes it in.

use serde_json::{Map, Value};

use crate::controller::reconcile::key_state::Verified;
use crate::controller::reconcile::knowledge::{Knowledge, Learned};
use crate::controller::reconcile::reconciler::{Reconciler, StepError, now_seconds, restores, written_to};
use crate::controller::reconcile::snapshot::Snapshot;
use crate::controller::reconcile::sources::Found;
use crate::kubernetes::error::ApiError;
use crate::kubernetes::writer::{Attempt, Removed, Written};
use crate::rules::copy::content::{self, SourceContent, Target};
use crate::rules::copy::facts::{NamespaceState, Owner};
use crate::rules::copy::step::CopyStep;
use crate::rules::copy::verdict::Verdict;
use crate::rules::object::status::{self, StatusContent};
use crate::rules::object::step::Step;
use crate::rules::reason::Reason;
use crate::rules::record::{ConfigMapMeta, ObjectKey, SlimArc, Sync, Version};

impl Reconciler<'_> {
    /// Sends the request that a step asks for.
    pub(super) async fn execute(&mut self, snapshot: &Snapshot, step: Step) -> Result<Learned, StepError> {
        if let Some(error) = self.set_apart_error(snapshot, &step) {
            return Err(StepError { error, step });
        }
        let learned = match &step {
            Step::Copy(CopyStep::ReadSource { uncached }) => self.read_source(snapshot, *uncached).await,
            Step::Copy(CopyStep::Create) => self.write_copy(snapshot, None, false).await,
            Step::Copy(CopyStep::Replace { over, adopt }) => self.write_copy(snapshot, Some(*over), *adopt).await,
            Step::Copy(other) => self.read_or_remove(other.clone()).await,
            Step::AddFinalizer { .. } => self.finalizer(snapshot, true).await,
            Step::RemoveFinalizer => self.finalizer(snapshot, false).await,
            Step::Report(verdict, text) => self.report(&snapshot.sync, verdict, text).await,
            Step::Rest(_) => Err(ApiError::Unavailable("there is nothing to do".to_owned())),
        };
        learned.map_err(|error| StepError { error, step })
    }

    /// Whether a step would write to a namespace that is set apart: then nothing need be made ready for it.
    fn set_apart_error(&self, snapshot: &Snapshot, step: &Step) -> Option<ApiError> {
        let (key, _) = written_to(snapshot, step)?;
        let wait = self.apart(snapshot, step).filter(|_| !self.knowledge.fresh.asked)?;
        Some(ApiError::SetApart(key.namespace.to_string(), wait))
    }

    async fn read_source(&mut self, snapshot: &Snapshot, uncached: bool) -> Result<Learned, ApiError> {
        let Ok(spec) = &snapshot.sync.spec else {
            return Err(ApiError::Invalid("the spec names no source".to_owned()));
        };
        let wanted = self.knowledge.wanted(snapshot, uncached);
        self.knowledge.fresh.source = None;
        let sources = &self.context.sources;
        let (found, sent) = match sources.cached(&spec.source, wanted) {
            Some(hit) => hit,
            None => {
                self.turn.give_back();
                let _reading = self.context.queue.reading(&spec.source);
                sources.get(&spec.source, wanted).await?
            }
        };
        let (generation, reported) = (snapshot.sync.generation, &snapshot.sync.status);
        let compared = reported.source.zip(reported.copy).filter(|_| !reported.changed_by_admission);
        let verified = match (&found, compared) {
            // The source was changed, but not in what is copied.
            (Found::Content(content), Some((source, copy)))
                if sources.held_the_same(&spec.source, source.rv, content) =>
            {
                Some(Verified { source: content.version, copy, generation, changed: None })
            }
            _ => None,
        };
        Ok(Learned::Source(found, sent, verified))
    }

    async fn write_copy(
        &mut self,
        snapshot: &Snapshot,
        over: Option<Version>,
        adopt: bool,
    ) -> Result<Learned, ApiError> {
        let sync = &snapshot.sync;
        let Knowledge { memory, fresh } = &self.knowledge;
        let (Some(key), Some((Found::Content(source), _))) = (sync.destination(), &fresh.source) else {
            return Err(ApiError::Unavailable("the source is not in hand".to_owned()));
        };
        let source = source.clone();
        let destination = self.knowledge.facts(snapshot).copy.map(|copy| copy.destination);
        let Some((NamespaceState::Live(namespace), standing)) =
            destination.map(|destination| (destination.namespace, destination.copy))
        else {
            return Err(ApiError::NoNamespace(key.namespace.to_string()));
        };
        let adopted = adopt || standing.meta().is_some_and(|meta| over.is_some() && meta.adopted);
        let read = fresh.copy(key).and_then(Option::as_ref);
        let carried = memory.copy.carried.as_ref().filter(|carried| carried.0 == *key).map(|carried| &carried.1);
        let metadata = read.map(|read| &read.metadata).or(carried);
        let size = source.size() + read.map_or(0, |read| read.size);
        let key = key.clone();
        let was_ours = read.is_some_and(|read| read.read.meta.mark.is_some());
        let manager = read.and_then(|read| read.last_manager()).map(str::to_owned);
        let context = self.context;
        let written = {
            let owner = Owner::of(sync);
            let body = || body(&source, owner, &key, namespace, over, adopted, metadata);
            let attempt = Attempt { shard: self.shard, turn: &mut self.turn, asked: fresh.asked };
            context.writer.write_copy(attempt, &key, &source, (size, body), over).await?
        };
        let Written { meta, changed } = written;
        let changed = changed.or_else(|| lost_marks(&meta, sync));
        self.tell_written(sync, &key, &source, changed.as_deref());
        let reported = &sync.status;
        // What the status tells of was there, and was written from this very source or a newer one.
        let reported_there = sync.is_observed() && reported.destination_exists;
        let was_there = if over.is_some() { was_ours } else { reported_there };
        if was_there && reported.source.is_some_and(|source_then| source_then.rv >= source.version.rv) {
            self.knowledge.memory.copy.repaired(manager.as_deref(), sync.generation);
            let (how, who) = (if over.is_some() { "changed" } else { "deleted" }, or_somebody(manager.as_deref()));
            self.tell(sync, Reason::Repaired, format!("{key} was {how} by {who}; restored"));
        } else if adopt {
            let note =
                format!("the content of {key}, which stood there before, was replaced by that of {}", source.key);
            self.context.events.warning(sync, Reason::Adopted, note);
        } else {
            let reason = if over.is_none() { Reason::Created } else { Reason::Updated };
            self.tell(sync, reason, format!("{key} written from {}", source.key));
        }
        let (source, generation) = (source.version, sync.generation);
        let verified = Verified { source, copy: meta.version, generation, changed: changed.map(Into::into) };
        Ok(Learned::Written(key, meta, verified))
    }

    /// Tells of a write of the copy in the log and in the metrics of the fan-out.
    fn tell_written(&mut self, sync: &Sync, key: &ObjectKey, source: &SourceContent, changed: Option<&str>) {
        let (namespace, name, shard) = (&*sync.key.namespace, &*sync.key.name, self.shard.index());
        tracing::debug!(namespace, name, shard, copy = %key, source_version = source.version.rv, "copy written");
        if let Some(fanout) = self.fanout.take() {
            fanout.reached_copy();
        }
        if let Some(what) = changed {
            tracing::warn!(namespace, name, shard, copy = %key, cause = what, "admission changed a copy; it is left as it is");
        }
    }

    /// Reads a namespace or what stands at a destination; removes a copy, or takes our marks off it.
    pub(super) async fn read_or_remove(&mut self, step: CopyStep) -> Result<Learned, ApiError> {
        let context = self.context;
        match step {
            CopyStep::Remove(key, version) => match context.writer.remove_copy(self.attempt(), &key, version).await? {
                Removed::Gone => Ok(Learned::Removed(key, version.uid)),
                Removed::Held(meta) => Ok(Learned::Held(key, *meta)),
            },
            CopyStep::Unmark(key) => {
                let Some(mut read) = self.knowledge.fresh.take_copy(&key) else {
                    return Err(ApiError::Conflict); // it is read again
                };
                self.turn.give_back();
                let object = context.reader.whole_copy(&key, read.read.meta.version).await?;
                let body = serde_json::to_vec(&content::unmarked(object)).unwrap_or_default();
                read.read.meta = context.writer.unmark_copy(self.attempt(), &key, body).await?;
                Ok(Learned::Unmarked(key, read))
            }
            CopyStep::ReadCopy(key) => {
                self.turn.give_back(); // a key that waits for a read holds no permit
                let read = context.reader.copy(&key).await?;
                Ok(Learned::Copy(key, read))
            }
            CopyStep::ReadNamespace(name) => {
                self.turn.give_back();
                let read = context.reader.namespace(&name).await?;
                Ok(Learned::Namespace(name, read.map_or(NamespaceState::Absent, NamespaceState::from)))
            }
            CopyStep::ReadSource { .. } | CopyStep::Create | CopyStep::Replace { .. } => {
                Err(ApiError::Unavailable("a copy without a sync is not written".to_owned()))
            }
        }
    }

    async fn finalizer(&mut self, snapshot: &Snapshot, present: bool) -> Result<Learned, ApiError> {
        let context = self.context;
        let answered = context.writer.finalizer(self.attempt(), &snapshot.sync, present).await?;
        let gone = || Sync { finalizer: false, ..(*snapshot.sync).clone() };
        Ok(Learned::Object(SlimArc::new(answered.unwrap_or_else(gone))))
    }

    async fn report(&mut self, sync: &Sync, verdict: &Verdict, text: &StatusContent<'_>) -> Result<Learned, ApiError> {
        let answered = self.write_status(sync, text).await?;
        let memory = &mut self.knowledge.memory;
        memory.change_retries(|retries| retries.conflicts = 0);
        if restores(sync, verdict) {
            memory.copy.repaired(None, sync.generation);
        }
        let (namespace, name, shard) = (&*sync.key.namespace, &*sync.key.name, self.shard.index());
        match verdict {
            Verdict::InOrder { .. } => {
                memory.change_retries(|retries| retries.failures = 0);
                tracing::debug!(namespace, name, shard, "in order");
            }
            other => {
                let reason = match other {
                    Verdict::Failed(failed) => failed.reason,
                    other => other.reason(),
                };
                let cause = &*text.message;
                tracing::info!(namespace, name, shard, reason = reason.as_str(), cause, "not in order");
                self.context.events.warning(sync, reason, text.message.clone().into_owned());
            }
        }
        Ok(Learned::Object(answered))
    }

    /// PUTs the status. Returns the sync as it is then.
    pub(super) async fn write_status(
        &mut self,
        sync: &Sync,
        text: &StatusContent<'_>,
    ) -> Result<SlimArc<Sync>, ApiError> {
        let object = status::object(text, sync, now_seconds());
        let context = self.context;
        Ok(SlimArc::new(context.writer.status(self.attempt(), sync, &object).await?))
    }

    fn tell(&self, sync: &Sync, reason: Reason, note: String) {
        self.context.events.normal(sync, reason, note);
    }
}

/// What admission made of our marks.
fn lost_marks(meta: &ConfigMapMeta, sync: &Sync) -> Option<String> {
    use crate::api::names::{ANNOTATION_AT, ANNOTATION_SYNC};
    match meta.mark.as_ref().filter(|mark| mark.uid == Some(sync.uid())) {
        None => Some(format!("annotation {ANNOTATION_SYNC} removed")),
        Some(mark) if mark.at.is_none() => Some(format!("annotation {ANNOTATION_AT} removed")),
        Some(_) => None,
    }
}

fn or_somebody(manager: Option<&str>) -> &str {
    manager.unwrap_or("somebody")
}

fn body(
    source: &SourceContent,
    owner: Owner<'_>,
    key: &ObjectKey,
    namespace: crate::rules::uid::Uid,
    over: Option<Version>,
    adopted: bool,
    standing: Option<&Map<String, Value>>,
) -> Vec<u8> {
    let now = jiff::Timestamp::from_second(now_seconds().into()).unwrap_or_default().to_string();
    content::copy(source, &Target { owner, key, namespace, over, adopted, standing, now: &now })
}
