//! The work on one key: look, plan, execute, learn, and again until nothing is left to do.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::controller::queue::fanout::Fanout;
use crate::controller::queue::{Job, Lane, Outcome};
use crate::controller::reconcile::fresh_reads::FreshReads;
use crate::controller::reconcile::key_state::{KeyState, Retries};
use crate::controller::reconcile::knowledge::Knowledge;
use crate::controller::reconcile::reconciler::{Context, MOST_STEPS, Reconciler, restores};
use crate::controller::reconcile::snapshot::Snapshot;
use crate::environment::random;
use crate::kubernetes::limiter::Turn;
use crate::rules::backoff;
use crate::rules::copy::step::Until;
use crate::rules::key::Key;
use crate::rules::object::step::Step;
use crate::rules::uid::Uid;
use crate::telemetry::instruments as i;

/// Works on a key as far as its lane allows. `turn`: the permit that its writes take. Returns what is remembered of it, and
/// what is left.
pub async fn work(context: &Context, job: Job, turn: Turn) -> (KeyState, Option<Arc<Fanout>>, Outcome) {
    let start = Instant::now();
    let Job { key, lane, key_state, fanout } = job;
    let uid = key.object();
    let is_copy = matches!(key, Key::Copy(_));
    let knowledge = Knowledge { key_state, fresh: FreshReads::default() };
    let mut work = Reconciler { context, shard: key.shard(), turn, knowledge, fanout, is_copy };
    work.knowledge.key_state.catch_up(&context.cache, uid);
    let outcome = match &key {
        Key::Copy(copy) => work.one_of_many(copy).await,
        Key::Object(uid) if context.cache.is_cluster_sync(*uid) => work.cluster_sync(*uid).await,
        Key::Object(uid) => work.run(*uid, lane).await,
    };
    let result = match outcome {
        Outcome::Rest(None) | Outcome::Paced(_) => Some("success"),
        Outcome::Rest(Some(_)) => Some("requeue_after"),
        // It is one reconciliation with what follows in that lane.
        Outcome::Status | Outcome::Ends => None,
        Outcome::Retry(_) => Some("error"),
    };
    if let Some(result) = result {
        metrics::counter!(i::RECONCILE_TOTAL, "controller" => "configmapsync", "result" => result).increment(1);
        let seconds = start.elapsed().as_secs_f64();
        metrics::histogram!(i::RECONCILE_TIME_SECONDS, "controller" => "configmapsync").record(seconds);
        metrics::histogram!(i::WORKQUEUE_WORK_DURATION_SECONDS, "name" => "configmapsync").record(seconds);
    }
    if let Outcome::Rest(_) = outcome {
        work.fanout = None;
    }
    (work.knowledge.key_state, work.fanout, outcome)
}

impl Reconciler<'_> {
    async fn run(&mut self, uid: Uid, lane: Lane) -> Outcome {
        if let Some(sync) = self.context.cache.sync(uid) {
            let Knowledge { key_state, fresh } = &mut self.knowledge;
            key_state.copy.observe_generation(sync.generation);
            fresh.asked = key_state.observe_request(sync.request());
            fresh.recheck |= fresh.asked;
            if let Ok(spec) = &sync.spec {
                self.tell_owner(&spec.source);
            }
        }
        for _ in 0..MOST_STEPS {
            let Some(snapshot) = self.knowledge.look(&self.context.cache, uid) else {
                return self.sweep(uid).await;
            };
            if let Some(failing) = self.knowledge.key_state.copy.failed.take() {
                let now = Instant::now();
                if lane == Lane::Status && failing.until > now {
                    let written = self.report_failure(&snapshot, &failing).await;
                    // What could not be told now is told with the next attempt.
                    self.knowledge.key_state.copy.failed = written.is_ok().then_some(failing.clone());
                    return Outcome::Retry(failing.until.saturating_duration_since(now));
                }
            }
            let step = self.knowledge.next(&snapshot);
            if let Step::Rest(until) = step {
                match self.rest(&snapshot, until) {
                    Some(outcome) => return outcome,
                    None => continue,
                }
            }
            if let (Step::Report(verdict, _), Some((left, _))) = (&step, self.knowledge.key_state.copy.held_back())
                && restores(&snapshot.sync, verdict)
            {
                return Outcome::Rest(Some(left)); // somebody keeps changing the status
            }
            if lane == Lane::Data
                && step == Step::RemoveFinalizer
                && self.knowledge.next_without_reads(&snapshot) == step
            {
                self.fanout = None;
                return Outcome::Ends;
            }
            if lane == Lane::Data
                && step.is_status_work()
                && self.knowledge.next_without_reads(&snapshot).is_status_work()
            {
                // The copy is there: who waits for the change has it.
                self.fanout = None;
                return Outcome::Status;
            }
            match self.execute(&snapshot, step).await {
                Ok(learned) => self.knowledge.learn(learned),
                Err(failed) => {
                    if let Some(outcome) = self.on_error(&snapshot, failed).await {
                        return outcome;
                    }
                }
            }
        }
        if let Some(sync) = self.context.cache.sync(uid) {
            let (namespace, name, shard) = (&*sync.key.namespace, &*sync.key.name, self.shard.index());
            tracing::warn!(namespace, name, shard, "the work on a sync took too many steps; it continues in a moment");
        }
        Outcome::Retry(self.after_conflict())
    }

    /// Nothing to do. `None`: a timer is up, look again.
    fn rest(&mut self, snapshot: &Snapshot, until: Until) -> Option<Outcome> {
        let reported = &snapshot.sync.status;
        let key_state = &mut self.knowledge.key_state;
        // Who waits for something is not in order, though the status may still say so of what was before.
        let in_order = until == Until::Change && reported.conditions[2].is_some_and(|ready| ready.is_true);
        if in_order {
            key_state.change_retries(|retries| *retries = Retries::default());
        }
        if in_order || reported.changed_by_admission {
            // The status tells it now.
            let verified = &mut key_state.copy.verified;
            verified.take_if(|it| reported.source == Some(it.source) && reported.copy == Some(it.copy));
        }
        if let Some((left, _)) = key_state.copy.held_back() {
            return Some(Outcome::Rest(Some(left)));
        }
        match until {
            Until::SourceRecheck if key_state.recheck_due() && !self.knowledge.fresh.recheck => {
                self.knowledge.fresh.recheck = true;
                None
            }
            Until::SourceRecheck => {
                let now = Instant::now();
                let next = now + backoff::jittered(backoff::SOURCE_MISSING, random::random());
                let at = key_state.retries().recheck_at.filter(|at| *at > now).unwrap_or(next);
                key_state.change_retries(|retries| retries.recheck_at = Some(at));
                Some(Outcome::Rest(Some(at - now)))
            }
            Until::SecondLook => {
                Some(Outcome::Rest(Some(backoff::jittered(backoff::SOURCE_MISSING_TWICE, random::random()))))
            }
            Until::TakeOver => {
                let since =
                    key_state.change_retries(|retries| _ = retries.sweep_since.get_or_insert_with(Instant::now));
                let waited = since.sweep_since.map_or(Duration::ZERO, |since| since.elapsed());
                Some(Outcome::Rest(Some(backoff::TAKE_OVER.saturating_sub(waited))))
            }
            Until::Change => Some(Outcome::Rest(None)),
        }
    }
}
