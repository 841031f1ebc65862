//! All that is known about a key beside the cache: what is remembered of it, and what was read for it just now.

use tokio::time::Instant;

use crate::controller::cache::{Cache, OrphanedCopy};
use crate::controller::reconcile::fresh_reads::FreshReads;
use crate::controller::reconcile::key_state::{KeyState, Verified};
use crate::controller::reconcile::snapshot::{self, Snapshot};
use crate::controller::reconcile::sources::{Found, Wanted};
use crate::kubernetes::reader::CopyRead;
use crate::rules::consent::Consent;
use crate::rules::copy::facts::NamespaceState;
use crate::rules::copy::step::{DestinationStep, Until};
use crate::rules::object::facts::ObjectFacts;
use crate::rules::object::plan;
use crate::rules::object::step::Step;
use crate::rules::record::{ConfigMapMeta, Name, ObjectKey, SlimArc, Sync};
use crate::rules::uid::Uid;

/// What is known about a key beside the cache.
#[derive(Default)]
pub struct Knowledge {
    /// What is remembered from one look to the next.
    pub key_state: KeyState,
    /// What was read in this look.
    pub fresh: FreshReads,
}

/// What the answer to a request told.
pub(super) enum Learned {
    /// The source, by a GET that was sent then; and the copy that holds its content, if that is known without a look.
    /// Last, what the source's owner says to the copy.
    Source(Found, Instant, Option<Verified>, Consent),
    /// How it is with a namespace.
    Namespace(Name, NamespaceState),
    /// What stands at a destination: `None` for nothing.
    Copy(ObjectKey, Option<CopyRead>),
    /// The copy was written, and is this now.
    Written(ObjectKey, ConfigMapMeta, Verified),
    /// The copy was removed.
    Removed(ObjectKey, Uid),
    /// The copy is being deleted, and a finalizer of somebody else's holds it.
    Held(ObjectKey, ConfigMapMeta),
    /// Our marks were taken off; this stands there now.
    Unmarked(ObjectKey, CopyRead),
    /// The object is this now.
    Object(SlimArc<Sync>),
}

impl Knowledge {
    /// What is known beside what `cache` holds; `None` when the object is gone.
    pub(super) fn look(&self, cache: &Cache, uid: Uid) -> Option<Snapshot> {
        Snapshot::of(cache, &self.key_state, &self.fresh, uid)
    }

    /// The facts for the next decision.
    pub(super) fn facts<'a>(&'a self, snapshot: &'a Snapshot) -> ObjectFacts<'a> {
        snapshot.facts(&self.key_state, &self.fresh)
    }

    /// The next step.
    pub(super) fn next(&self, snapshot: &Snapshot) -> Step {
        plan::next(&self.facts(snapshot))
    }

    /// The next step without what was read in this look, which does not outlast it.
    pub(super) fn next_without_reads(&self, snapshot: &Snapshot) -> Step {
        plan::next(&snapshot.facts(&self.key_state, &FreshReads::default()))
    }

    /// Which answer about the source will do. `uncached`: one to a GET that is sent from now on.
    pub(super) fn wanted(&self, snapshot: &Snapshot, uncached: bool) -> Wanted {
        snapshot.wanted(&self.key_state, &self.fresh, uncached)
    }

    /// The next step for a copy whose sync, with this UID, is gone. `None`: it is left alone, or nothing stands there any more.
    pub(super) fn sweep(&self, cache: &Cache, orphaned: &OrphanedCopy, uid: Uid) -> Option<DestinationStep> {
        snapshot::sweep(cache, &self.key_state.copy, &self.fresh, orphaned, uid)
    }

    /// Takes in what an answer told. Counters, and what a conflict made stale, change where an error is handled (`failure.rs`,
    /// `sweep.rs`).
    pub(super) fn learn(&mut self, learned: Learned) {
        let Self { key_state, fresh } = self;
        match learned {
            Learned::Source(found, sent, verified, consent) => {
                key_state.change_retries(|retries| {
                    match found {
                        Found::Missing => _ = retries.missing_since.get_or_insert(sent),
                        Found::Content(_) => retries.missing_since = None,
                    }
                    match consent {
                        Consent::Refused => _ = retries.refused_since.get_or_insert(sent),
                        _ => retries.refused_since = None,
                    }
                });
                if verified.is_some() {
                    key_state.copy.verified = verified;
                }
                fresh.source = Some((found, sent));
            }
            Learned::Namespace(name, state) => fresh.put_namespace(&name, state),
            Learned::Copy(key, read) => fresh.put_copy(key, read),
            Learned::Written(key, meta, verified) => {
                key_state.copy.verified = Some(verified);
                key_state.copy.gone = None;
                key_state.copy.carried = None;
                key_state.change_retries(|retries| retries.conflicts = 0);
                fresh.forget_copy(&key);
                key_state.copy.answer = Some((key, SlimArc::new(meta)));
            }
            Learned::Removed(key, uid) => {
                let read = fresh.copy(&key).and_then(Option::as_ref);
                key_state.copy.carried = read.map(|read| Box::new((key.clone(), read.metadata.clone())));
                key_state.copy.answer.take_if(|(at, _)| *at == key);
                key_state.copy.gone = Some(Box::new((key.clone(), uid)));
                fresh.put_copy(key, None);
            }
            Learned::Held(key, meta) => {
                fresh.forget_copy(&key);
                key_state.copy.answer = Some((key, SlimArc::new(meta)));
            }
            Learned::Unmarked(key, read) => {
                key_state.copy.answer = Some((key.clone(), SlimArc::new(read.read.meta.clone())));
                fresh.put_copy(key, Some(read));
            }
            Learned::Object(sync) => key_state.object.answer = Some(sync),
        }
    }
}

/// Whether there is nothing to do for a sync, by what the watches told alone: most keys of a shard that was just taken
/// over need no more than this look.
pub fn is_at_rest(cache: &Cache, uid: Uid) -> bool {
    let knowledge = Knowledge::default();
    let snapshot = knowledge.look(cache, uid);
    snapshot.is_some_and(|snapshot| knowledge.next(&snapshot) == Step::Rest(Until::Change))
}
