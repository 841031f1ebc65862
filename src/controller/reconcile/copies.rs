//! The work on one of the many copies of an object. What becomes of it is not told there, but counted with the others.

use std::time::Duration;

use tokio::time::Instant;

use crate::controller::cache::{Cache, OrphanedCopy};
use crate::controller::queue::Outcome;
use crate::controller::reconcile::key_state::KeyState;
use crate::controller::reconcile::knowledge::Knowledge;
use crate::controller::reconcile::reconciler::{MOST_STEPS, Reconciler};
use crate::controller::reconcile::snapshot::{Snapshot, expected_by_status};
use crate::rules::backoff::{SOURCE_MISSING_TWICE, TAKE_OVER};
use crate::rules::cluster::record::{ClusterSync, Expected};
use crate::rules::cluster::rollup::Failure;
use crate::rules::cluster::selection::Selected;
use crate::rules::cluster::status::says_of_source;
use crate::rules::copy::facts::{Owner, Reported};
use crate::rules::copy::guard::Act;
use crate::rules::copy::plan;
use crate::rules::copy::removal::Removal;
use crate::rules::copy::step::{CopyStep, Next, Until};
use crate::rules::copy::verdict::{Stall, Verdict};
use crate::rules::key::{CopyKey, Key};
use crate::rules::object::status;
use crate::rules::object::step::Step;
use crate::rules::reason::Reason;
use crate::rules::record::{Name, Sync};
use crate::rules::uid::Uid;

/// A namespace that is no longer selected keeps its copy for this long: a label that flaps does no harm.
const UNSELECTED: Duration = Duration::from_secs(10);

/// What comes next for one of many copies.
#[derive(Debug)]
enum Decision {
    /// This request.
    Do(CopyStep),
    /// Nothing more: so it stands with the copy.
    Settled(Verdict),
    /// No copy is wanted, and none is left.
    Nothing,
    /// Nothing until something changes, or until this time has passed.
    Rest(Option<Duration>),
}

/// What comes next, by what is known. `waited`: since when the copy has not been wanted, as far as this replica knows.
fn decide(
    cache: &Cache,
    knowledge: &Knowledge,
    object: &ClusterSync,
    namespace: &Name,
    snapshot: &Snapshot,
    waited: Duration,
) -> Decision {
    let Ok(spec) = &object.spec else { return Decision::Rest(None) };
    let facts = knowledge.facts(snapshot);
    let Some(copy) = &facts.copy else { return Decision::Rest(None) };
    if spec.suspend && !object.deleting {
        return Decision::Rest(None);
    }
    let (owner, orphan, deleting) = (Owner::of(&snapshot.sync), object.orphan(), object.deleting);
    let removal = Removal { owner, reported: Reported::default(), orphan, deleting };
    let elsewhere = facts.orphaned_copies.iter().filter(|copy| deleting || !copy.wanted_by_another);
    let has_heir =
        facts.orphaned_copies.iter().any(|copy| copy.wanted_by_another) || copy.destination.wanted_by_another;
    let mut elsewhere = elsewhere.filter_map(|copy| removal.of_orphaned(copy)).map(decision);
    if !deleting && cache.selected(spec, namespace) == Selected::Yes {
        // Whoever deletes the object must find all its copies.
        if !object.finalizer {
            return Decision::Rest(None);
        }
        return match wanted(object, plan::next(copy)) {
            // The new place first, then the old ones.
            Decision::Settled(verdict @ Verdict::InOrder { .. }) => {
                elsewhere.next().unwrap_or(Decision::Settled(verdict))
            }
            Decision::Settled(Verdict::SourceNotShared) if copy.consent.refused_twice && !orphan => {
                elsewhere.next().unwrap_or(Decision::Settled(Verdict::SourceNotShared))
            }
            other => other,
        };
    }
    let left = removal.of_wanted(&copy.destination).map(decision).into_iter().chain(elsewhere).next();
    match left {
        None => Decision::Nothing,
        // What another object wants is left for it to take over, if it can.
        Some(_) if deleting && has_heir && waited < TAKE_OVER => Decision::Rest(Some(TAKE_OVER - waited)),
        Some(next) if deleting => next,
        // An edit after which nothing is selected removes nothing.
        Some(_) if cache.count_selected(object) == 0 => Decision::Rest(None),
        Some(_) if waited < UNSELECTED => Decision::Rest(Some(UNSELECTED - waited)),
        Some(next) => next,
    }
}

fn wanted(object: &ClusterSync, next: Next) -> Decision {
    match next {
        // The status tells that the source is missing. Where nothing is to be removed, that need not be proven again.
        Next::Unproven(Verdict::SourceMissing, _) if says_source_is_missing(object) => Decision::Rest(None),
        next => decision(next),
    }
}

fn says_source_is_missing(object: &ClusterSync) -> bool {
    let keeps = object.spec.as_ref().is_ok_and(|spec| !spec.delete_with_source);
    // Where consent is needed, both have one reason.
    keeps && says_of_source(&object.status, &[Reason::SourceNotFound, Reason::SourceNotShared])
}

fn decision(next: Next) -> Decision {
    match next {
        Next::Do(step) | Next::Write(step) | Next::Unproven(_, step) => Decision::Do(step),
        Next::Settled(verdict) => Decision::Settled(verdict),
        Next::Rest(Until::SecondLook) => Decision::Rest(Some(SOURCE_MISSING_TWICE)),
        Next::Rest(Until::Change | Until::SourceRecheck | Until::TakeOver) => Decision::Rest(None),
    }
}

impl Reconciler<'_> {
    /// Works on one of the many copies of an object.
    pub(super) async fn one_of_many(&mut self, copy: &CopyKey) -> Outcome {
        let context = self.context;
        let cache = &context.cache;
        for _ in 0..MOST_STEPS {
            let Some(object) = cache.cluster_sync(copy.object) else { return self.sweep_one_of_many(copy).await };
            if cache.namespace(&copy.name).is_none_or(|it| it.uid != copy.namespace) {
                self.note_standing(&object, &copy.name, None);
                self.knowledge.key_state = KeyState::default();
                return Outcome::Rest(None); // it went, and all in it; should it come again, that is another key
            }
            self.knowledge.key_state.copy.observe_generation(object.generation);
            let expected = self.expected(&object);
            let Knowledge { key_state, fresh } = &self.knowledge;
            let Some(snapshot) = Snapshot::of_one_of_many(cache, key_state, fresh, &object, &copy.name, expected)
            else {
                return Outcome::Rest(None);
            };
            let waited = key_state.retries().sweep_since.map_or(Duration::ZERO, |since| since.elapsed());
            match decide(cache, &self.knowledge, &object, &copy.name, &snapshot, waited) {
                Decision::Rest(Some(wait)) => {
                    self.knowledge.key_state.change_retries(|it| _ = it.sweep_since.get_or_insert_with(Instant::now));
                    return Outcome::Rest(Some(wait));
                }
                Decision::Rest(None) => return Outcome::Rest(None),
                Decision::Nothing => {
                    self.note_standing(&object, &copy.name, None);
                    if snapshot.sync.destination().is_none_or(|key| cache.configmap(key).is_none()) {
                        self.knowledge.key_state = KeyState::default();
                    }
                    return Outcome::Rest(None);
                }
                Decision::Settled(verdict) => return self.settle(&object, &copy.name, &snapshot, &verdict, expected),
                Decision::Do(CopyStep::Create | CopyStep::Replace { .. }) if self.is_too_large(&object).is_some() => {
                    self.note_standing(&object, &copy.name, None);
                    return Outcome::Rest(None);
                }
                Decision::Do(step) => match self.execute(&snapshot, Step::Copy(step)).await {
                    Ok(learned) => self.knowledge.learn(learned),
                    Err(failed) => {
                        if let Some(outcome) = self.on_error(&snapshot, failed).await {
                            return outcome;
                        }
                    }
                },
            }
        }
        tracing::warn!(
            namespace = &*copy.name,
            shard = self.shard.index(),
            "the work on a copy took too many steps; it continues in a moment"
        );
        Outcome::Retry(self.after_conflict())
    }

    /// How many bytes the copies of an object would take together, if that is more than they may.
    pub(super) fn is_too_large(&self, object: &ClusterSync) -> Option<u64> {
        let most = self.context.max_fanout_bytes?;
        let cache = &self.context.cache;
        let size = self.context.sources.size(&object.spec.as_ref().ok()?.source)? as u64;
        let of = |namespaces: usize| size.saturating_mul(namespaces as u64);
        // To count the selected ones takes a look at each namespace: mostly, all of them together are few enough.
        if of(cache.count_namespaces()) <= most {
            return None;
        }
        Some(of(cache.count_selected(object))).filter(|all| *all > most)
    }

    /// The content that the copies of an object are to hold, where it was read already, here or by who wrote the status.
    pub(super) fn expected(&self, object: &ClusterSync) -> Option<Expected> {
        let spec = object.spec.as_ref().ok()?;
        let source = self.context.cache.source(&spec.source);
        self.context.sources.known(&spec.source, source, object).or_else(|| expected_by_status(object, source))
    }

    fn settle(
        &mut self,
        object: &ClusterSync,
        namespace: &Name,
        snapshot: &Snapshot,
        verdict: &Verdict,
        expected: Option<Expected>,
    ) -> Outcome {
        let sync = &snapshot.sync;
        let key_state = &mut self.knowledge.key_state;
        let failure = match verdict {
            Verdict::InOrder { source, copy } => {
                let content = snapshot.content(&self.knowledge.fresh).or(expected).filter(|it| it.source == *source);
                if let (Some(expected), Some(destination)) = (content, sync.destination()) {
                    // From now on the copy's own record tells it.
                    self.context.cache.note_proven(object.uid(), destination, copy.rv, expected.content);
                    key_state.copy.verified = None;
                }
                key_state.change_retries(|retries| *retries = Default::default());
                None
            }
            Verdict::SourceMissing
            | Verdict::SourceNotShared
            | Verdict::NamespaceMissing
            | Verdict::NamespaceTerminating => None,
            // It is told once, of all copies together.
            Verdict::Stalled(Stall::KeyConflict(_)) => None,
            // Who counts the copies knows it as well, unless a read told it.
            Verdict::Stalled(Stall::Guarded(_)) if self.is_guarded(sync) => None,
            other => Some(failure_of(other, snapshot, namespace)),
        };
        self.note_standing(object, namespace, failure);
        let held_back = self.knowledge.key_state.copy.held_back().map(|(left, _)| left);
        Outcome::Rest(held_back)
    }

    /// Whether every replica knows that the copy is not to be written.
    fn is_guarded(&self, sync: &Sync) -> bool {
        sync.destination().is_some_and(|at| self.context.cache.guard(Act::Write, at).is_some())
    }

    fn note_standing(&self, object: &ClusterSync, namespace: &Name, failure: Option<Failure>) {
        match failure {
            Some(failure) => self.note_failure(object.uid(), failure),
            None if self.context.cache.note_failure(object.uid(), namespace, None) => {
                self.context.queue.recount(object.uid())
            }
            None => {}
        }
    }

    /// Notes that a copy failed, for who counts them.
    pub(super) fn note_failure(&self, uid: Uid, failure: Failure) {
        let namespace = failure.namespace.clone();
        if self.context.cache.note_failure(uid, &namespace, Some(failure)) {
            self.context.queue.recount(uid);
        }
    }

    /// The object is gone: what stands in the namespace with its marks goes too.
    async fn sweep_one_of_many(&mut self, copy: &CopyKey) -> Outcome {
        let cache = &self.context.cache;
        let tombstone = cache.cluster_tombstone(copy.object);
        let left = || {
            let keys = cache.copies_in(copy.object, &copy.name).into_iter();
            let orphaned = |key| OrphanedCopy {
                key,
                wanted: true,
                deletion_observed: tombstone.is_some(),
                orphan: tombstone.unwrap_or(false),
            };
            keys.map(orphaned).collect()
        };
        self.sweep_all(copy.object, left).await
    }
}

/// What is told of a copy that is not in order.
pub(super) fn failure_of(verdict: &Verdict, snapshot: &Snapshot, namespace: &Name) -> Failure {
    Failure {
        namespace: namespace.clone(),
        reason: verdict.reason(),
        message: status::text(verdict, &snapshot.sync, status::Known::of(true, true)).message.into_owned(),
        needs_person: matches!(verdict, Verdict::Stalled(_) | Verdict::Changed { .. } | Verdict::CopyHeld(_)),
    }
}

/// Whether there is nothing to do for one of many copies, by what the watches told alone.
pub fn is_copy_at_rest(cache: &Cache, key: &Key) -> bool {
    let Key::Copy(copy) = key else { return false };
    let Some(object) = cache.cluster_sync(copy.object) else { return false };
    let Ok(spec) = &object.spec else { return true };
    let expected = expected_by_status(&object, cache.source(&spec.source));
    let knowledge = Knowledge::default();
    let Knowledge { key_state, fresh } = &knowledge;
    let Some(snapshot) = Snapshot::of_one_of_many(cache, key_state, fresh, &object, &copy.name, expected) else {
        return true;
    };
    let decided = decide(cache, &knowledge, &object, &copy.name, &snapshot, Duration::ZERO);
    matches!(
        decided,
        Decision::Settled(Verdict::InOrder { .. } | Verdict::SourceNotShared | Verdict::Stalled(Stall::Guarded(_)))
            | Decision::Rest(None)
            | Decision::Nothing
    )
}
