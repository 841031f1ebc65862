//! The work on one key: look, decide, carry out, learn, and again until nothing is left to do.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::controller::cache::{Leftover, World};
use crate::controller::queue::fanout::Fanout;
use crate::controller::queue::{Job, Lane, Outcome, Queue};
use crate::controller::reconcile::execute::{restores, written_to};
use crate::controller::reconcile::memo::{Failure as Failing, Memo, Trouble};
use crate::controller::reconcile::snapshot::{Local, View, leftover};
use crate::controller::reconcile::sources::Sources;
use crate::environment::random;
use crate::kubernetes::events::Events;
use crate::kubernetes::limiter::{Limiter, Turn};
use crate::kubernetes::reader::Reader;
use crate::kubernetes::refusal::Refusal;
use crate::kubernetes::writer::Writer;
use crate::rules::backoff::{self, Failure};
use crate::rules::copy::facts::Home;
use crate::rules::copy::plan::{self, Step};
use crate::rules::record::{Place, Seconds, Shared, Sync};
use crate::rules::shard::Shard;
use crate::rules::status::{self, Failed, Verdict};
use crate::rules::uid::Uid;
use crate::telemetry::instruments as i;

/// More steps than any case needs: a key that takes more is put back, so that it cannot spin.
const MOST_STEPS: usize = 24;

/// So many requests in a row may stay without an answer before that counts as a failure.
const UNANSWERED: u32 = 3;

/// What the work on a key needs.
pub struct Tools {
    /// What the streams told.
    pub world: Arc<World>,
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
pub(super) struct Work<'a> {
    pub(super) tools: &'a Tools,
    pub(super) shard: Shard,
    pub(super) turn: Turn,
    pub(super) memo: Memo,
    pub(super) local: Local,
    pub(super) fanout: Option<Arc<Fanout>>,
}

/// A request that was refused, and what it was for.
pub(super) struct Refused {
    pub(super) refusal: Refusal,
    pub(super) during: Step,
}

/// Works on a key as far as its lane allows. `turn`: the place that its writes take. Returns what is remembered of it, and
/// what is left.
pub async fn work(tools: &Tools, job: Job, turn: Turn) -> (Memo, Option<Arc<Fanout>>, Outcome) {
    let start = Instant::now();
    let Job { uid, lane, memo, fanout } = job;
    let mut work = Work { tools, shard: Shard::of(uid), turn, memo, local: Local::default(), fanout };
    work.memo.catch_up(&tools.world, uid);
    let outcome = work.run(uid, lane).await;
    let (name, result) = match outcome {
        Outcome::Rest(None) => ("rest", "success"),
        Outcome::Rest(Some(_)) => ("rest", "requeue_after"),
        Outcome::Paperwork | Outcome::Ends => ("paperwork", "requeue"),
        Outcome::Retry(_) => ("retry", "error"),
    };
    if name != "paperwork" {
        metrics::counter!(i::RECONCILE_TOTAL, "controller" => "configmapsync", "result" => result).increment(1);
        let seconds = start.elapsed().as_secs_f64();
        metrics::histogram!(i::RECONCILE_TIME_SECONDS, "controller" => "configmapsync").record(seconds);
        metrics::histogram!(i::WORKQUEUE_WORK_DURATION_SECONDS, "name" => "configmapsync").record(seconds);
    }
    if let Outcome::Rest(_) = outcome {
        work.fanout = None;
    }
    (work.memo, work.fanout, outcome)
}

impl Work<'_> {
    async fn run(&mut self, uid: Uid, lane: Lane) -> Outcome {
        if let Some(sync) = self.tools.world.sync(uid) {
            self.memo.hear_generation(sync.generation);
            self.local.asked = self.memo.hear_request(sync.request());
            self.local.recheck |= self.local.asked;
        }
        for _ in 0..MOST_STEPS {
            let Some(view) = View::of(&self.tools.world, &self.memo, &self.local, uid) else {
                return self.sweep(uid).await;
            };
            if let Some(failing) = self.memo.failed.take() {
                let now = Instant::now();
                if lane == Lane::Paperwork && failing.until > now {
                    let told = self.tell_failure(&view, &failing.failed).await;
                    // What could not be told now is told with the next attempt.
                    self.memo.failed = told.is_ok().then_some(failing.clone());
                    return Outcome::Retry(failing.until.saturating_duration_since(now));
                }
            }
            let step = plan::next(&view.facts(&self.memo, &self.local));
            if let Step::Rest(wait) = step {
                match self.rest(&view, wait) {
                    Some(outcome) => return outcome,
                    None => continue,
                }
            }
            if let (Step::Report(verdict, _), Some((left, _))) = (&step, self.memo.held_back())
                && restores(&view.sync, verdict)
            {
                return Outcome::Rest(Some(left)); // somebody keeps changing the status
            }
            if lane == Lane::Data && step == Step::RemoveFinalizer && self.next_by_itself(&view) == step {
                self.fanout = None;
                return Outcome::Ends;
            }
            if lane == Lane::Data && step.is_paperwork() && self.next_by_itself(&view).is_paperwork() {
                // The copy is there: who waits for the change has it.
                self.fanout = None;
                return Outcome::Paperwork;
            }
            if let Err(refused) = self.carry_out(&view, step).await
                && let Some(outcome) = self.refused(&view, refused).await
            {
                return outcome;
            }
        }
        if let Some(sync) = self.tools.world.sync(uid) {
            let (namespace, name, shard) = (&*sync.key.namespace, &*sync.key.name, self.shard.index());
            tracing::warn!(namespace, name, shard, "the work on a sync took too many steps; it goes on in a moment");
        }
        Outcome::Retry(self.after_conflict())
    }

    /// The next step without what was read just now, which does not outlast this look.
    fn next_by_itself(&self, view: &View) -> Step {
        plan::next(&view.facts(&self.memo, &Local::default()))
    }

    /// Nothing to do. `None`: a timer is up, look again.
    fn rest(&mut self, view: &View, wait: Option<Duration>) -> Option<Outcome> {
        let told = &view.sync.status;
        // Who waits for something is not in order, though the status may still say so of what was before.
        let in_order = wait.is_none() && told.conditions[2].is_some_and(|ready| ready.is_true);
        if in_order {
            self.memo.change(|trouble| *trouble = Trouble::default());
        }
        if in_order || told.changed_by_admission {
            // The status tells it now.
            self.memo.verified.take_if(|it| told.source == Some(it.source) && told.copy == Some(it.copy));
        }
        if let Some((left, _)) = self.memo.held_back() {
            return Some(Outcome::Rest(Some(left)));
        }
        match wait {
            Some(wait) if wait == backoff::SOURCE_MISSING && self.memo.recheck_due() && !self.local.recheck => {
                self.local.recheck = true;
                None
            }
            Some(wait) if wait == backoff::SOURCE_MISSING => {
                let now = Instant::now();
                let next = now + backoff::jittered(wait, random::random());
                let at = self.memo.trouble().recheck_at.filter(|at| *at > now).unwrap_or(next);
                self.memo.change(|trouble| trouble.recheck_at = Some(at));
                Some(Outcome::Rest(Some(at - now)))
            }
            Some(wait) => Some(Outcome::Rest(Some(backoff::jittered(wait, random::random())))),
            None => Some(Outcome::Rest(None)),
        }
    }

    /// What a refused request means. `None`: look again with what it told.
    async fn refused(&mut self, view: &View, refused: Refused) -> Option<Outcome> {
        let Refused { refusal, during } = refused;
        let about_copy = matches!(during, Step::Create | Step::Replace { .. } | Step::Remove(..) | Step::Unmark(_));
        let place = match &during {
            Step::Remove(place, _) | Step::Unmark(place) | Step::ReadCopy(place) => Some(place.clone()),
            _ => view.sync.destination().cloned(),
        };
        match (&refusal, place) {
            (Refusal::GateClosed, _) => return Some(Outcome::Retry(Duration::from_millis(500))),
            (Refusal::ObserveOnly, _) => return Some(Outcome::Rest(None)),
            (Refusal::SetApart(_, wait), _) if self.memo.trouble().unanswered < UNANSWERED => {
                self.memo.change(|trouble| trouble.unanswered += 1);
                return Some(Outcome::Retry(backoff::jittered(*wait, random::random())));
            }
            (Refusal::Busy(wait) | Refusal::NoRoom(wait), _) => {
                return Some(Outcome::Retry(backoff::jittered(*wait, random::random())));
            }
            (Refusal::NoNamespace(_), Some(place)) if about_copy => {
                self.local.put_namespace(&place.namespace, Home::Absent);
                return None;
            }
            (Refusal::NamespaceTerminating, Some(place)) => {
                self.local.put_namespace(&place.namespace, Home::Terminating);
                return None;
            }
            (Refusal::NotFound(_), Some(place)) if about_copy => {
                self.local.put_copy(place, None);
                return None;
            }
            (Refusal::Conflict | Refusal::AlreadyExists, Some(place)) if about_copy => {
                let wait = self.after_conflict();
                self.local.conflicts += 1;
                // How many there were in earlier looks says how long to wait, and not that this time nothing is read: what
                // the stream does not show would be run into for ever.
                if self.local.conflicts > 5 {
                    return Some(Outcome::Retry(wait));
                }
                return self.read_again(view, place).await;
            }
            // Most likely it is immutable: what stands there tells.
            (Refusal::Invalid(_), Some(place)) if about_copy && self.local.copy(&place).is_none() => {
                return self.read_again(view, place).await;
            }
            // No answer is mostly an API server that comes back in a moment; only when it does not, it is a failure.
            // Where only this namespace does not answer, it is one at once.
            (Refusal::Unavailable(_), _)
                if self.memo.trouble().unanswered < UNANSWERED && self.apart(view, &during).is_none() =>
            {
                let trouble = self.memo.change(|trouble| trouble.unanswered += 1);
                let wait = Duration::from_secs(1 << trouble.unanswered);
                return Some(Outcome::Retry(backoff::jittered(wait, random::random())));
            }
            // The sync itself changed: its event is on the way. Should it be slow, look again.
            (Refusal::Conflict | Refusal::NotFound(_), _) => {
                self.memo.sync = None;
                return Some(Outcome::Rest(Some(self.after_conflict())));
            }
            _ => {}
        }
        Some(self.fail(view, &refusal, &during).await)
    }

    /// How long a write of this step has to wait, where its namespace is set apart.
    pub(super) fn apart(&self, view: &View, during: &Step) -> Option<Duration> {
        let (place, method) = written_to(view, during)?;
        self.tools.writer.wait(&place.namespace, &method)
    }

    /// There was a conflict: how long to wait.
    fn after_conflict(&mut self) -> Duration {
        backoff::after_conflict(self.memo.change(|trouble| trouble.conflicts += 1).conflicts)
    }

    async fn read_again(&mut self, view: &View, place: Place) -> Option<Outcome> {
        self.turn.give_back();
        match self.tools.reader.copy(&place).await {
            Ok(read) => {
                self.local.put_copy(place, read);
                None
            }
            Err(Refusal::NoRoom(wait)) => Some(Outcome::Retry(wait)),
            Err(refusal) => Some(self.fail(view, &refusal, &Step::ReadCopy(place)).await),
        }
    }

    /// Tells of a failure on the object, and says when to try again.
    async fn fail(&mut self, view: &View, refusal: &Refusal, during: &Step) -> Outcome {
        let sync = &view.sync;
        let (what, reason, kind) = describe(sync, during);
        let told = sync.status.retry_count;
        let attempt = self.memo.change(|trouble| trouble.failures = trouble.failures.max(told) + 1).failures;
        // Backoff is no measure of how fast changes reach their copies. A request that is only put off keeps its share.
        if let Some(fanout) = self.fanout.take() {
            fanout.give_up();
        }
        let wait = self.apart(view, during).unwrap_or_else(|| backoff::after(kind, attempt));
        let wait = backoff::jittered(wait, random::random());
        let again = jiff::Timestamp::from_second((now_seconds()).into()).unwrap_or_default();
        let again = again.checked_add(wait).map(|at| format!("{at:.0}")).unwrap_or_default();
        let message = format!("cannot {what}: {refusal}");
        let (namespace, name) = (&*sync.key.namespace, &*sync.key.name);
        tracing::warn!(namespace, name, shard = self.shard.index(), attempt, retry_in = ?wait, request = what, cause = %refusal, "a request failed; it is tried again");
        self.tools.events.warning(sync, reason, message.clone());
        let message = format!("{message}; tried again at {again}");
        let about_sync = matches!(during, Step::Report(..) | Step::AddFinalizer { .. } | Step::RemoveFinalizer);
        let strange = matches!(during, Step::Remove(place, _) | Step::Unmark(place) | Step::ReadCopy(place) if view.is_strange(place));
        if about_sync || strange {
            return Outcome::Retry(wait);
        }
        // Told in its own lane: a thousand failures must not stand before the copies.
        let failed = Failed { reason, message, attempt };
        self.memo.failed = Some(Box::new(Failing { failed, until: Instant::now() + wait }));
        Outcome::Paperwork
    }

    /// Says on the object that a request failed.
    async fn tell_failure(&mut self, view: &View, failed: &Failed) -> Result<(), Refusal> {
        let sync = &view.sync;
        let text = plan::text(&view.facts(&self.memo, &self.local), &Verdict::Failed(failed.clone()));
        if text.digest() != sync.status.digest {
            let object = status::object(&text, sync, now_seconds());
            let tools = self.tools;
            self.memo.sync = Some(Shared::new(tools.writer.status(self.attempt(), sync, &object).await?));
        }
        Ok(())
    }

    /// The sync is gone: what stands somewhere with its mark goes too, once a GET has said that it is.
    async fn sweep(&mut self, uid: Uid) -> Outcome {
        self.memo.let_go();
        for _ in 0..MOST_STEPS {
            let Some(next) = self.tools.world.leftovers(uid).into_iter().find(|next| self.is_to_be_swept(next, uid))
            else {
                self.memo = Memo::default();
                return Outcome::Rest(None);
            };
            match self.sweep_one(&next, uid).await {
                Ok(None) => {}
                Ok(Some(wait)) => return Outcome::Rest(Some(wait)),
                Err(Refusal::GateClosed) => return Outcome::Retry(Duration::from_millis(500)),
                Err(Refusal::ObserveOnly) => return Outcome::Rest(None),
                Err(Refusal::SetApart(_, wait) | Refusal::Busy(wait) | Refusal::NoRoom(wait)) => {
                    return Outcome::Retry(wait);
                }
                Err(Refusal::Conflict) => self.local.forget_copy(&next.place),
                Err(refusal) => {
                    let attempt = self.memo.change(|trouble| trouble.failures += 1).failures;
                    let shard = self.shard.index();
                    tracing::warn!(copy = %next.place, shard, cause = %refusal, "a copy without a sync cannot be swept");
                    return Outcome::Retry(backoff::after(Failure::Write, attempt));
                }
            }
        }
        Outcome::Retry(Duration::from_secs(1))
    }

    fn is_to_be_swept(&self, next: &Leftover, uid: Uid) -> bool {
        let spot = leftover(&self.tools.world, &self.local, next, uid);
        spot.is_some_and(|(_, spot)| !matches!(plan::sweep(&spot.spot(), next.orphan), Step::Rest(_)))
    }

    /// One request towards a leftover's end; or how long to wait before the next.
    async fn sweep_one(&mut self, next: &Leftover, uid: Uid) -> Result<Option<Duration>, Refusal> {
        let Some((sync, _)) = leftover(&self.tools.world, &self.local, next, uid) else { return Ok(None) };
        let begins = |trouble: &mut Trouble| _ = trouble.sweep_since.get_or_insert_with(Instant::now);
        let waited = self.memo.change(begins).sweep_since.map_or(Duration::ZERO, |since| since.elapsed());
        if !next.saw_go && waited < backoff::SWEEP {
            return Ok(Some(backoff::SWEEP - waited));
        }
        self.turn.give_back();
        if self.tools.reader.sync(&sync).await?.is_some_and(|sync| sync.uid() == uid) {
            return Ok(Some(backoff::SWEEP)); // it lives: the stream will tell
        }
        // With the CRD gone or just installed, that there is no such sync says nothing.
        let youngest = if next.saw_go { Duration::ZERO } else { backoff::SWEEP };
        if self.tools.reader.crd_age().await?.is_none_or(|age| age < youngest) {
            return Ok(Some(backoff::SWEEP));
        }
        let spot = leftover(&self.tools.world, &self.local, next, uid);
        let step = spot.map_or(Step::Rest(None), |(_, spot)| plan::sweep(&spot.spot(), next.orphan));
        let (namespace, name, shard) = (&*sync.namespace, &*sync.name, self.shard.index());
        tracing::info!(namespace, name, shard, copy = %next.place, "sweeping a copy whose sync is gone");
        self.take_away(step).await?;
        Ok(None)
    }
}

/// What was tried, the reason it goes by, and how long such a failure waits.
fn describe(sync: &Sync, during: &Step) -> (String, &'static str, Failure) {
    let (source, destination) = match &sync.spec {
        Ok(spec) => (spec.source.to_string(), spec.destination.to_string()),
        Err(_) => (String::new(), String::new()),
    };
    match during {
        Step::ReadSource { .. } => (format!("read the source {source}"), "FetchError", Failure::Api),
        Step::ReadCopy(place) => (format!("read {place}"), "ReadFailed", Failure::Api),
        Step::ReadNamespace(name) => (format!("read namespace {name}"), "ReadFailed", Failure::Api),
        Step::Create => (format!("create {destination}"), "CreateFailed", Failure::Write),
        Step::Replace { .. } => (format!("update {destination}"), "UpdateFailed", Failure::Write),
        Step::Remove(place, _) => (format!("delete {place}"), "DeleteFailed", Failure::Write),
        Step::Unmark(place) => (format!("take our marks off {place}"), "UpdateFailed", Failure::Write),
        Step::AddFinalizer { .. } | Step::RemoveFinalizer => {
            ("write the finalizer".to_owned(), "FinalizerFailed", Failure::Api)
        }
        Step::Report(..) | Step::Rest(_) => ("write the status".to_owned(), "StatusFailed", Failure::Api),
    }
}

/// Now, in seconds since 1970. For people only: nothing is decided by it.
pub(super) fn now_seconds() -> Seconds {
    crate::environment::clock::wall().as_second().try_into().unwrap_or(Seconds::MAX)
}
