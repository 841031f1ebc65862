//! Carrying out one step, and learning from the answer.

use serde_json::{Map, Value};

use crate::controller::reconcile::key::{Refused, Work, now_seconds, restores, written_to};
use crate::controller::reconcile::memo::Verified;
use crate::controller::reconcile::snapshot::View;
use crate::controller::reconcile::sources::Found;
use crate::kubernetes::error::Refusal;
use crate::kubernetes::writer::{Attempt, Removed, Written};
use crate::rules::copy::content::{self, SourceContent, Target};
use crate::rules::copy::facts::Home;
use crate::rules::copy::step::Step;
use crate::rules::reason::Reason;
use crate::rules::record::{Place, Seen, Shared, Sync, Version};
use crate::rules::status::{self, Text, Verdict};

impl Work<'_> {
    /// Sends the request that a step asks for.
    pub(super) async fn carry_out(&mut self, view: &View, step: Step) -> Result<(), Refused> {
        if let Some(refusal) = self.is_set_apart(view, &step) {
            return Err(Refused { refusal, during: step });
        }
        if matches!(step, Step::ReadNamespace(_) | Step::ReadCopy(_)) {
            self.turn.give_back(); // whoever waits for a read holds no place
        }
        let done = match &step {
            Step::ReadSource { last_word } => self.read_source(view, *last_word).await,
            Step::ReadNamespace(name) => match self.tools.reader.namespace(name).await {
                Ok(namespace) => {
                    let home = match namespace {
                        None => Home::Absent,
                        Some(namespace) if namespace.terminating => Home::Terminating,
                        Some(namespace) => Home::Live(namespace.uid),
                    };
                    self.local.put_namespace(name, home);
                    Ok(())
                }
                Err(refusal) => Err(refusal),
            },
            Step::ReadCopy(place) => match self.tools.reader.copy(place).await {
                Ok(read) => {
                    self.local.put_copy(place.clone(), read);
                    Ok(())
                }
                Err(refusal) => Err(refusal),
            },
            Step::Create => self.write_copy(view, None, false).await,
            Step::Replace { over, adopt } => self.write_copy(view, Some(*over), *adopt).await,
            Step::Remove(..) | Step::Unmark(_) => self.take_away(step.clone()).await,
            Step::AddFinalizer { .. } => self.finalizer(view, true).await,
            Step::RemoveFinalizer => self.finalizer(view, false).await,
            Step::Report(verdict, text) => self.report(&view.sync, verdict, text).await,
            Step::Rest(_) => Ok(()),
        };
        done.map_err(|refusal| Refused { refusal, during: step })
    }

    /// Whether a step would write to a namespace that is set apart: then nothing need be made ready for it.
    fn is_set_apart(&self, view: &View, step: &Step) -> Option<Refusal> {
        let (place, _) = written_to(view, step)?;
        let wait = self.apart(view, step).filter(|_| !self.local.asked)?;
        Some(Refusal::SetApart(place.namespace.to_string(), wait))
    }

    async fn read_source(&mut self, view: &View, last_word: bool) -> Result<(), Refusal> {
        let Ok(spec) = &view.sync.spec else { return Ok(()) };
        let wanted = view.wanted(&self.memo, &self.local, last_word);
        self.local.source = None;
        let (found, sent) = match self.tools.sources.cached(&spec.source, wanted) {
            Some(hit) => hit,
            None => {
                self.turn.give_back();
                let _reading = self.tools.queue.reading(&spec.source);
                self.tools.sources.get(&spec.source, wanted).await?
            }
        };
        match &found {
            Found::Missing => {
                self.memo.change(|trouble| _ = trouble.missing_since.get_or_insert(sent));
            }
            Found::Content(content) => {
                self.memo.change(|trouble| trouble.missing_since = None);
                let told = view.sync.status.source.zip(view.sync.status.copy);
                if let Some((source, copy)) = told
                    && self.tools.sources.held_the_same(&spec.source, source.rv, content)
                {
                    let generation = view.sync.generation;
                    let source = content.version;
                    if !view.sync.status.changed_by_admission {
                        self.memo.verified = Some(Verified { source, copy, generation, changed: None });
                    }
                }
            }
        }
        self.local.source = Some((found, sent));
        Ok(())
    }

    async fn write_copy(&mut self, view: &View, over: Option<Version>, adopt: bool) -> Result<(), Refusal> {
        let sync = &view.sync;
        let (Some(place), Some((Found::Content(source), _))) = (sync.destination(), &self.local.source) else {
            return Err(Refusal::Unavailable("the source is not in hand".to_owned()));
        };
        let source = source.clone();
        let facts = view.facts(&self.memo, &self.local);
        let Some((Home::Live(namespace), standing)) = facts.destination.map(|spot| (spot.namespace, spot.copy)) else {
            return Err(Refusal::NoNamespace(place.namespace.to_string()));
        };
        let adopted = adopt || standing.seen().is_some_and(|seen| over.is_some() && seen.adopted);
        let read = self.local.copy(place).and_then(Option::as_ref);
        let carried = self.memo.carried.as_ref().filter(|carried| carried.0 == *place).map(|carried| &carried.1);
        let metadata = read.map(|read| &read.metadata).or(carried);
        let size = source.size() + read.map_or(0, |read| read.size);
        let place = place.clone();
        let was_ours = read.is_some_and(|read| read.read.seen.mark.is_some());
        let manager = read.and_then(|read| read.last_manager()).map(str::to_owned);
        let tools = self.tools;
        let written = {
            let body = || body(&source, sync, &place, namespace, over, adopted, metadata);
            let attempt = Attempt { shard: self.shard, turn: &mut self.turn, asked: self.local.asked };
            tools.writer.write_copy(attempt, &place, &source, (size, body), over).await?
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
            self.memo.repaired(manager.as_deref(), sync.generation);
            let (how, who) = (if over.is_some() { "changed" } else { "deleted" }, or_somebody(manager.as_deref()));
            self.tell(sync, Reason::Repaired, format!("{place} was {how} by {who}; restored"));
        } else if adopt {
            let note =
                format!("the content of {place}, which stood there before, was replaced by that of {}", source.place);
            self.tools.events.warning(sync, Reason::Adopted, note);
        } else {
            let reason = if over.is_none() { Reason::Created } else { Reason::Updated };
            self.tell(sync, reason, format!("{place} written from {}", source.place));
        }
        Ok(())
    }

    /// Learns from the answer to a write of the copy. Returns what admission changed.
    fn wrote(&mut self, sync: &Sync, place: &Place, source: &SourceContent, written: Written) -> Option<String> {
        let Written { seen, changed } = written;
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
        self.memo.verified = Some(Verified { source: source.version, copy: seen.version, generation, changed: what });
        self.memo.gone = None;
        self.memo.change(|trouble| trouble.conflicts = 0);
        self.memo.copy = Some((place.clone(), Shared::new(seen)));
        self.local.forget_copy(place);
        self.memo.carried = None;
        changed
    }

    /// Removes a copy, or takes our marks off it.
    pub(super) async fn take_away(&mut self, step: Step) -> Result<(), Refusal> {
        let tools = self.tools;
        match step {
            Step::Remove(place, version) => match tools.writer.remove_copy(self.attempt(), &place, version).await? {
                Removed::Gone => {
                    let read = self.local.copy(&place).and_then(Option::as_ref);
                    self.memo.carried = read.map(|read| Box::new((place.clone(), read.metadata.clone())));
                    self.memo.copy.take_if(|(at, _)| *at == place);
                    self.memo.gone = Some(Box::new((place.clone(), version.uid)));
                    self.local.put_copy(place, None);
                }
                Removed::Held(seen) => {
                    self.local.forget_copy(&place);
                    self.memo.copy = Some((place, Shared::new(*seen)));
                }
            },
            Step::Unmark(place) => {
                let Some(mut read) = self.local.take_copy(&place) else { return Ok(()) };
                self.turn.give_back();
                let object = tools.reader.whole_copy(&place, read.read.seen.version).await?;
                let body = serde_json::to_vec(&content::unmarked(object)).unwrap_or_default();
                read.read.seen = tools.writer.unmark_copy(self.attempt(), &place, body).await?;
                self.memo.copy = Some((place.clone(), Shared::new(read.read.seen.clone())));
                self.local.put_copy(place, Some(read));
            }
            Step::ReadCopy(place) => {
                self.turn.give_back();
                let read = tools.reader.copy(&place).await?;
                self.local.put_copy(place, read);
            }
            _ => {}
        }
        Ok(())
    }

    async fn finalizer(&mut self, view: &View, present: bool) -> Result<(), Refusal> {
        let tools = self.tools;
        let answered = tools.writer.finalizer(self.attempt(), &view.sync, present).await?;
        self.memo.sync = match answered {
            Some(sync) => Some(Shared::new(sync)),
            None => Some(Shared::new(Sync { finalizer: false, ..(*view.sync).clone() })),
        };
        Ok(())
    }

    async fn report(&mut self, sync: &Sync, verdict: &Verdict, text: &Text<'_>) -> Result<(), Refusal> {
        let object = status::object(text, sync, now_seconds());
        let tools = self.tools;
        let answered = tools.writer.status(self.attempt(), sync, &object).await?;
        self.memo.sync = Some(Shared::new(answered));
        self.memo.change(|trouble| trouble.conflicts = 0);
        if restores(sync, verdict) {
            self.memo.repaired(None, sync.generation);
        }
        let (namespace, name, shard) = (&*sync.key.namespace, &*sync.key.name, self.shard.index());
        match verdict {
            Verdict::InOrder { .. } => {
                self.memo.change(|trouble| trouble.failures = 0);
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
                self.tools.events.warning(sync, reason, text.message.clone().into_owned());
            }
        }
        Ok(())
    }

    fn tell(&self, sync: &Sync, reason: Reason, note: String) {
        self.tools.events.normal(sync, reason, note);
    }
}

/// What admission made of our marks.
fn lost_marks(seen: &Seen, sync: &Sync) -> Option<String> {
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
    place: &Place,
    namespace: crate::rules::uid::Uid,
    over: Option<Version>,
    adopted: bool,
    standing: Option<&Map<String, Value>>,
) -> Vec<u8> {
    let now = jiff::Timestamp::from_second(now_seconds().into()).unwrap_or_default().to_string();
    content::copy(source, &Target { sync, place, namespace, over, adopted, standing, now: &now })
}
