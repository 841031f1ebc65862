//! Executing one step. The answer is returned as what was learned; the loop takes it in.

use crate::api::names::ANNOTATION_PROTECT;
use crate::controller::reconcile::key_state::Verified;
use crate::controller::reconcile::knowledge::{Knowledge, Learned};
use crate::controller::reconcile::reconciler::{Reconciler, StepError, now_seconds, restores, written_to};
use crate::controller::reconcile::snapshot::Snapshot;
use crate::controller::reconcile::sources::Found;
use crate::kubernetes::error::ApiError;
use crate::kubernetes::writer::{Attempt, Removed, Written};
use crate::rules::copy::content::{self, SourceContent, Target};
use crate::rules::copy::facts::{Destination, NamespaceState, Owner};
use crate::rules::copy::guard::Act;
use crate::rules::copy::shape::Shape;
use crate::rules::copy::step::{CopyStep, DestinationStep};
use crate::rules::copy::verdict::Verdict;
use crate::rules::object::status::{self, StatusContent};
use crate::rules::object::step::Step;
use crate::rules::reason::Reason;
use crate::rules::record::{ConfigMapMeta, ObjectKey, SlimArc, Sync};
use crate::rules::uid::Version;

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
            Step::Copy(CopyStep::Destination(step)) => self.read_or_remove(step.clone()).await,
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
        let (sync, generation) = (&snapshot.sync, snapshot.sync.generation);
        // Where a copy has labels of its source, a change of those alone is one of the copy.
        let follows = sync.shape().is_some_and(Shape::follows_metadata);
        let compared = self.knowledge.facts(snapshot).copy.and_then(|copy| copy.reported_pair());
        let compared = compared.filter(|_| !(sync.status.changed_by_admission || follows));
        let verified = match (&found, compared) {
            // The source was changed, but not in what is copied.
            (Found::Content(content), Some((source, copy)))
                if sources.held_the_same(&spec.source, source.rv, content) =>
            {
                Some(Verified { source: content.version, copy, generation, changed: None })
            }
            _ => None,
        };
        let consent = self.hear(spec, &found);
        Ok(Learned::Source(found, sent, verified, consent))
    }

    async fn write_copy(
        &mut self,
        snapshot: &Snapshot,
        over: Option<Version>,
        adopt: bool,
    ) -> Result<Learned, ApiError> {
        let sync = &snapshot.sync;
        let Knowledge { key_state, fresh } = &self.knowledge;
        let (Some(key), Some((Found::Content(source), _))) = (sync.destination(), &fresh.source) else {
            return Err(ApiError::Unavailable("the source is not in hand".to_owned()));
        };
        let source = source.clone();
        // Nothing that an owner does not share is written, whatever was planned.
        if !self.may_write(sync, &source) {
            return Err(ApiError::Conflict); // all is looked at again
        }
        let facts = self.knowledge.facts(snapshot).copy;
        let Some((Destination { namespace: NamespaceState::Live(namespace), copy: standing, .. }, shape_facts)) =
            facts.map(|facts| (facts.destination, facts.shape))
        else {
            return Err(ApiError::NoNamespace(key.namespace.to_string()));
        };
        let shape = match sync.shape() {
            None => None,
            Some(shape) => Some((shape, source.shaped_for(sync).map_err(ApiError::Invalid)?.hash)),
        };
        let adopted = adopt || standing.meta().is_some_and(|meta| over.is_some() && meta.adopted);
        let read = fresh.copy(key).and_then(Option::as_ref);
        let carried = key_state.copy.carried.as_ref().filter(|carried| carried.0 == *key).map(|carried| &carried.1);
        let metadata = read.map(|read| &read.metadata).or(carried);
        let size = source.size() + read.map_or(0, |read| read.size) + sync.shape().map_or(0, Shape::size);
        let key = key.clone();
        let was_ours = read.is_some_and(|read| read.read.meta.mark.is_some());
        let manager = read.and_then(|read| read.last_manager()).map(str::to_owned);
        // One of many copies is not told of in a status: its marks say what it was written from.
        let marked = read.and_then(|read| read.read.meta.mark.as_ref()).filter(|_| self.is_copy);
        let rewritten = marked.is_some_and(|mark| mark.source_rv >= source.version.rv && mark.uid == Some(sync.uid()))
            || self.is_copy && over.is_none() && self.context.cache.takes_deleted(sync.uid(), &key);
        let context = self.context;
        if let Some(over) = over.filter(|_| adopt) {
            // Whoever owns it may not see the object that is to blame.
            let by = sync.key.owner_name();
            let note =
                format!("{by} replaces its content by that of {}; {ANNOTATION_PROTECT} would keep it", source.key);
            context.events.on_configmap(&key, over.uid, Reason::Adopting, note);
        }
        let written = {
            let owner = Owner::of(sync);
            let now = jiff::Timestamp::from_second(now_seconds().into()).unwrap_or_default().to_string();
            let (key, standing, now) = (&key, metadata, &*now);
            let target = Target { owner, key, namespace, over, adopted, shape, standing, now };
            let body = || content::copy(&source, &target);
            let allowed = || context.cache.guard(Act::Write, key).is_none();
            let attempt = Attempt { shard: self.shard, turn: &mut self.turn, asked: fresh.asked, allowed: &allowed };
            context.writer.write_copy(attempt, key, (&source, sync.shape()), (size, body), over).await?
        };
        let Written { meta, changed } = written;
        let changed = changed.or_else(|| lost_marks(&meta, sync));
        self.tell_written(sync, &key, &source, changed.as_deref());
        let reported = &sync.status;
        // What the status tells of was there, and was written from this very source or a newer one.
        let reported_there = sync.is_observed() && reported.destination_exists;
        let was_there = if over.is_some() { was_ours } else { reported_there };
        let touched =
            rewritten || was_there && reported.source.is_some_and(|source_then| source_then.rv >= source.version.rv);
        // Written with something else for another spec, or by somebody who changed the mark that says with what: whoever does so
        // again and again is held back.
        if touched || shape_facts.written_otherwise {
            self.knowledge.key_state.copy.repaired(manager.as_deref(), sync.generation);
        }
        if touched && !shape_facts.written_otherwise {
            let (how, who) = (if over.is_some() { "changed" } else { "deleted" }, or_somebody(manager.as_deref()));
            self.tell(sync, Reason::Repaired, format!("{key} was {how} by {who}; restored"));
        } else if adopt {
            let note =
                format!("the content of {key}, which stood there before, was replaced by that of {}", source.key);
            match self.is_copy {
                true => self.context.events.on_configmap(&key, meta.version.uid, Reason::Adopted, note),
                false => self.context.events.warning(sync, Reason::Adopted, note),
            }
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
    pub(super) async fn read_or_remove(&mut self, step: DestinationStep) -> Result<Learned, ApiError> {
        let context = self.context;
        match step {
            DestinationStep::Remove(key, version) => {
                let allowed = || context.cache.guard(Act::Remove, &key).is_none();
                match context.writer.remove_copy(self.removal(&allowed), &key, version).await? {
                    Removed::Gone => Ok(Learned::Removed(key, version.uid)),
                    Removed::Held(meta) => Ok(Learned::Held(key, *meta)),
                }
            }
            DestinationStep::Unmark(key) => {
                let Some(mut read) = self.knowledge.fresh.take_copy(&key) else {
                    return Err(ApiError::Conflict); // it is read again
                };
                self.turn.give_back();
                let object = context.reader.whole_copy(&key, read.read.meta.version).await?;
                let body = serde_json::to_vec(&content::unmarked(object)).unwrap_or_default();
                read.read.meta = context.writer.unmark_copy(self.attempt(), &key, body).await?;
                Ok(Learned::Unmarked(key, read))
            }
            DestinationStep::ReadCopy(key) => {
                self.turn.give_back(); // a key that waits for a read holds no permit
                let read = context.reader.copy(&key).await?;
                Ok(Learned::Copy(key, read))
            }
            DestinationStep::ReadNamespace(name) => {
                self.turn.give_back();
                let read = context.reader.namespace(&name).await?;
                Ok(Learned::Namespace(name, read.map_or(NamespaceState::Absent, NamespaceState::from)))
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
        let key_state = &mut self.knowledge.key_state;
        key_state.change_retries(|retries| retries.conflicts = 0);
        if restores(sync, verdict) {
            key_state.copy.repaired(None, sync.generation);
        }
        self.tell_of_namespace(sync, text);
        let key_state = &mut self.knowledge.key_state;
        let (namespace, name, shard) = (&*sync.key.namespace, &*sync.key.name, self.shard.index());
        match verdict {
            Verdict::InOrder { .. } => {
                key_state.change_retries(|retries| retries.failures = 0);
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

    /// An Event on the object, unless it wants many copies: those are told of together.
    fn tell(&self, sync: &Sync, reason: Reason, note: String) {
        if !self.is_copy {
            self.context.events.normal(sync, reason, note);
        }
    }
}

/// What admission made of our marks.
fn lost_marks(meta: &ConfigMapMeta, sync: &Sync) -> Option<String> {
    use crate::api::names::{ANNOTATION_AT, ANNOTATION_SHAPED, ANNOTATION_SYNC};
    match meta.mark.as_ref().filter(|mark| mark.uid == Some(sync.uid())) {
        None => Some(format!("annotation {ANNOTATION_SYNC} removed")),
        Some(mark) if mark.at.is_none() => Some(format!("annotation {ANNOTATION_AT} removed")),
        Some(_) if sync.shape().is_some() && !meta.shaped => Some(format!("annotation {ANNOTATION_SHAPED} removed")),
        Some(_) => None,
    }
}

fn or_somebody(manager: Option<&str>) -> &str {
    manager.unwrap_or("somebody")
}
