//! Carrying out one step, and learning from the answer.

use serde_json::{Map, Value};

use crate::controller::reconcile::key::{Reconciler, Refused, now_seconds, restores, written_to};
use crate::controller::reconcile::key_state::Verified;
use crate::controller::reconcile::snapshot::Snapshot;
use crate::controller::reconcile::sources::Found;
use crate::kubernetes::error::ApiError;
use crate::kubernetes::writer::{Attempt, Removed, Written};
use crate::rules::copy::content::{self, SourceContent, Target};
use crate::rules::copy::facts::NamespaceState;
use crate::rules::copy::step::Step;
use crate::rules::reason::Reason;
use crate::rules::record::{ConfigMapMeta, ObjectKey, SlimArc, Sync, Version};
use crate::rules::status::{self, StatusContent, Verdict};

impl Reconciler<'_> {
    /// Sends the request that a step asks for.
    pub(super) async fn carry_out(&mut self, snapshot: &Snapshot, step: Step) -> Result<(), Refused> {
        if let Some(refusal) = self.set_apart_error(snapshot, &step) {
            return Err(Refused { refusal, during: step });
        }
        if matches!(step, Step::ReadNamespace(_) | Step::ReadCopy(_)) {
            self.turn.give_back(); // whoever waits for a read holds no place
        }
        let done = match &step {
            Step::ReadSource { uncached } => self.read_source(snapshot, *uncached).await,
            Step::ReadNamespace(name) => match self.context.reader.namespace(name).await {
                Ok(namespace) => {
                    let home = match namespace {
                        None => NamespaceState::Absent,
                        Some(namespace) if namespace.terminating => NamespaceState::Terminating,
                        Some(namespace) => NamespaceState::Live(namespace.uid),
                    };
                    self.fresh.put_namespace(name, home);
                    Ok(())
                }
                Err(refusal) => Err(refusal),
            },
            Step::ReadCopy(place) => match self.context.reader.copy(place).await {
                Ok(read) => {
                    self.fresh.put_copy(place.clone(), read);
                    Ok(())
                }
                Err(refusal) => Err(refusal),
            },
            Step::Create => self.write_copy(snapshot, None, false).await,
            Step::Replace { over, adopt } => self.write_copy(snapshot, Some(*over), *adopt).await,
            Step::Remove(..) | Step::Unmark(_) => self.remove(step.clone()).await,
            Step::AddFinalizer { .. } => self.finalizer(snapshot, true).await,
            Step::RemoveFinalizer => self.finalizer(snapshot, false).await,
            Step::Report(verdict, text) => self.report(&snapshot.sync, verdict, text).await,
            Step::Rest(_) => Ok(()),
        };
        done.map_err(|refusal| Refused { refusal, during: step })
    }

    /// Whether a step would write to a namespace that is set apart: then nothing need be made ready for it.
    fn set_apart_error(&self, snapshot: &Snapshot, step: &Step) -> Option<ApiError> {
        let (place, _) = written_to(snapshot, step)?;
        let wait = self.apart(snapshot, step).filter(|_| !self.fresh.asked)?;
        Some(ApiError::SetApart(place.namespace.to_string(), wait))
    }

    async fn read_source(&mut self, snapshot: &Snapshot, uncached: bool) -> Result<(), ApiError> {
        let Ok(spec) = &snapshot.sync.spec else { return Ok(()) };
        let wanted = snapshot.wanted(&self.key_state, &self.fresh, uncached);
        self.fresh.source = None;
        let (found, sent) = match self.context.sources.cached(&spec.source, wanted) {
            Some(hit) => hit,
            None => {
                self.turn.give_back();
                let _reading = self.context.queue.reading(&spec.source);
                self.context.sources.get(&spec.source, wanted).await?
            }
        };
        match &found {
            Found::Missing => {
                self.key_state.change(|trouble| _ = trouble.missing_since.get_or_insert(sent));
            }
            Found::Content(content) => {
                self.key_state.change(|trouble| trouble.missing_since = None);
                let told = snapshot.sync.status.source.zip(snapshot.sync.status.copy);
                if let Some((source, copy)) = told
                    && self.context.sources.held_the_same(&spec.source, source.rv, content)
                {
                    let generation = snapshot.sync.generation;
                    let source = content.version;
                    if !snapshot.sync.status.changed_by_admission {
                        self.key_state.verified = Some(Verified { source, copy, generation, changed: None });
                    }
                }
            }
        }
        self.fresh.source = Some((found, sent));
        Ok(())
    }

    async fn write_copy(&mut self, snapshot: &Snapshot, over: Option<Version>, adopt: bool) -> Result<(), ApiError> {
        let sync = &snapshot.sync;
        let (Some(place), Some((Found::Content(source), _))) = (sync.destination(), &self.fresh.source) else {
            return Err(ApiError::Unavailable("the source is not in hand".to_owned()));
        };
        let source = source.clone();
        let facts = snapshot.facts(&self.key_state, &self.fresh);
        let Some((NamespaceState::Live(namespace), standing)) =
            facts.destination.map(|destination| (destination.namespace, destination.copy))
        else {
            return Err(ApiError::NoNamespace(place.namespace.to_string()));
        };
        let adopted = adopt || standing.seen().is_some_and(|seen| over.is_some() && seen.adopted);
        let read = self.fresh.copy(place).and_then(Option::as_ref);
        let carried = self.key_state.carried.as_ref().filter(|carried| carried.0 == *place).map(|carried| &carried.1);
        let metadata = read.map(|read| &read.metadata).or(carried);
        let size = source.size() + read.map_or(0, |read| read.size);
        let place = place.clone();
        let was_ours = read.is_some_and(|read| read.read.seen.mark.is_some());
        let manager = read.and_then(|read| read.last_manager()).map(str::to_owned);
        let context = self.context;
        let written = {
            let body = || body(&source, sync, &place, namespace, over, adopted, metadata);
            let attempt = Attempt { shard: self.shard, turn: &mut self.turn, asked: self.fresh.asked };
            context.writer.write_copy(attempt, &place, &source, (size, body), over).await?
        };
        let changed = self.wrote(sync, &place, &source, written);
        if let Some(what) = changed {
            let (namespace, name, shard) = (&*sync.key.namespace, &*sync.key.name, self.shard.index());
            tracing::warn!(namespace, name, shard, copy = %place, cause = what, "admission changed a copy; it is left as it is");
        }
        let told = &sync.status;
        // What the status tells of was there, and was written from this very source or a newer one.
        let told_of = sync.is_observed() && told.destination_exists;
        let was_there = if over.is_some() { was_ours } else { told_of };
        if was_there && told.source.is_some_and(|told| told.rv >= source.version.rv) {
            self.key_state.repaired(manager.as_deref(), sync.generation);
            let (how, who) = (if over.is_some() { "changed" } else { "deleted" }, or_somebody(manager.as_deref()));
            self.tell(sync, Reason::Repaired, format!("{place} was {how} by {who}; restored"));
        } else if adopt {
            let note =
                format!("the content of {place}, which stood there before, was replaced by that of {}", source.place);
            self.context.events.warning(sync, Reason::Adopted, note);
        } else {
            let reason = if over.is_none() { Reason::Created } else { Reason::Updated };
            self.tell(sync, reason, format!("{place} written from {}", source.place));
        }
        Ok(())
    }

    /// Learns from the answer to a write of the copy. Returns what admission changed.
    fn wrote(&mut self, sync: &Sync, place: &ObjectKey, source: &SourceContent, written: Written) -> Option<String> {
        let Written { meta: seen, changed } = written;
        let changed = changed.or_else(|| lost_marks(&seen, sync));
        tracing::debug!(
            namespace = &*sync.key.namespace,
            name = &*sync.key.name,
            shard = self.shard.index(),
            copy = %place,
            source_version = source.version.rv,
            "copy written"
        );
        if let Some(fanout) = self.fanout.take() {
            fanout.reached_copy();
        }
        let generation = sync.generation;
        let what = changed.as_deref().map(Into::into);
        self.key_state.verified =
            Some(Verified { source: source.version, copy: seen.version, generation, changed: what });
        self.key_state.gone = None;
        self.key_state.change(|trouble| trouble.conflicts = 0);
        self.key_state.copy = Some((place.clone(), SlimArc::new(seen)));
        self.fresh.forget_copy(place);
        self.key_state.carried = None;
        changed
    }

    /// Removes a copy, or takes our marks off it.
    pub(super) async fn remove(&mut self, step: Step) -> Result<(), ApiError> {
        let context = self.context;
        match step {
            Step::Remove(place, version) => match context.writer.remove_copy(self.attempt(), &place, version).await? {
                Removed::Gone => {
                    let read = self.fresh.copy(&place).and_then(Option::as_ref);
                    self.key_state.carried = read.map(|read| Box::new((place.clone(), read.metadata.clone())));
                    self.key_state.copy.take_if(|(at, _)| *at == place);
                    self.key_state.gone = Some(Box::new((place.clone(), version.uid)));
                    self.fresh.put_copy(place, None);
                }
                Removed::Held(seen) => {
                    self.fresh.forget_copy(&place);
                    self.key_state.copy = Some((place, SlimArc::new(*seen)));
                }
            },
            Step::Unmark(place) => {
                let Some(mut read) = self.fresh.take_copy(&place) else { return Ok(()) };
                self.turn.give_back();
                let object = context.reader.whole_copy(&place, read.read.seen.version).await?;
                let body = serde_json::to_vec(&content::unmarked(object)).unwrap_or_default();
                read.read.seen = context.writer.unmark_copy(self.attempt(), &place, body).await?;
                self.key_state.copy = Some((place.clone(), SlimArc::new(read.read.seen.clone())));
                self.fresh.put_copy(place, Some(read));
            }
            Step::ReadCopy(place) => {
                self.turn.give_back();
                let read = context.reader.copy(&place).await?;
                self.fresh.put_copy(place, read);
            }
            _ => {}
        }
        Ok(())
    }

    async fn finalizer(&mut self, snapshot: &Snapshot, present: bool) -> Result<(), ApiError> {
        let context = self.context;
        let answered = context.writer.finalizer(self.attempt(), &snapshot.sync, present).await?;
        self.key_state.sync = match answered {
            Some(sync) => Some(SlimArc::new(sync)),
            None => Some(SlimArc::new(Sync { finalizer: false, ..(*snapshot.sync).clone() })),
        };
        Ok(())
    }

    async fn report(&mut self, sync: &Sync, verdict: &Verdict, text: &StatusContent<'_>) -> Result<(), ApiError> {
        let object = status::object(text, sync, now_seconds());
        let context = self.context;
        let answered = context.writer.status(self.attempt(), sync, &object).await?;
        self.key_state.sync = Some(SlimArc::new(answered));
        self.key_state.change(|trouble| trouble.conflicts = 0);
        if restores(sync, verdict) {
            self.key_state.repaired(None, sync.generation);
        }
        let (namespace, name, shard) = (&*sync.key.namespace, &*sync.key.name, self.shard.index());
        match verdict {
            Verdict::InOrder { .. } => {
                self.key_state.change(|trouble| trouble.failures = 0);
                tracing::debug!(namespace, name, shard, "in order");
            }
            other => {
                let reason = match other {
                    Verdict::Failed(failed) => failed.reason,
                    other => other.reason(),
                };
                tracing::info!(
                    namespace,
                    name,
                    shard,
                    reason = reason.as_str(),
                    cause = &*text.message,
                    "not in order"
                );
                self.context.events.warning(sync, reason, text.message.clone().into_owned());
            }
        }
        Ok(())
    }

    fn tell(&self, sync: &Sync, reason: Reason, note: String) {
        self.context.events.normal(sync, reason, note);
    }
}

/// What admission made of our marks.
fn lost_marks(seen: &ConfigMapMeta, sync: &Sync) -> Option<String> {
    use crate::api::names::{ANNOTATION_AT, ANNOTATION_SYNC};
    match seen.mark.as_ref().filter(|mark| mark.uid == Some(sync.uid())) {
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
    sync: &Sync,
    place: &ObjectKey,
    namespace: crate::rules::uid::Uid,
    over: Option<Version>,
    adopted: bool,
    standing: Option<&Map<String, Value>>,
) -> Vec<u8> {
    let now = jiff::Timestamp::from_second(now_seconds().into()).unwrap_or_default().to_string();
    content::copy(source, &Target { sync, place, namespace, over, adopted, standing, now: &now })
}
