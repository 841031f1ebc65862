//! The copies of an object, counted by what the watches told.

use crate::controller::cache::{Cache, SourceVersion};
use crate::controller::reconcile::consent::Withheld;
use crate::controller::reconcile::copies::failure_of;
use crate::controller::reconcile::fresh_reads::FreshReads;
use crate::controller::reconcile::key_state::KeyState;
use crate::controller::reconcile::knowledge::Knowledge;
use crate::controller::reconcile::snapshot::Snapshot;
use crate::rules::cluster::record::{ClusterSpec, ClusterSync, Expected};
use crate::rules::cluster::rollup::{Failure, Rollup, Standing};
use crate::rules::copy::guard::{Act, Guard};
use crate::rules::copy::plan;
use crate::rules::copy::step::Next;
use crate::rules::copy::verdict::Verdict;
use crate::rules::record::Name;

/// How it stands with an object whose source is shared with none of the namespaces that it selects; or, where consent is needed,
/// that has no source. Then nothing is told of what the source holds, or whether there is one.
pub(super) fn shared_with_none(cache: &Cache, object: &ClusterSync, spec: &ClusterSpec) -> Option<Standing> {
    let withheld = Withheld::new(cache, spec);
    if withheld.is_from_nobody() {
        return None;
    }
    let no_source = withheld.required && cache.source(&spec.source) == SourceVersion::Gone;
    (no_source || is_from_all(&withheld, cache, object))
        .then(|| not_shared(cache, object, withheld.required, roll_up(cache, object, spec, None)))
}

/// Whether it is withheld from each namespace that the object selects, and there are some.
fn is_from_all(withheld: &Withheld<'_>, cache: &Cache, object: &ClusterSync) -> bool {
    let (mut selected, mut from) = (0, 0);
    cache.each_selected(object, |namespace, _| {
        selected += 1;
        from += usize::from(withheld.is_from(namespace));
    });
    selected > 0 && from == selected
}

/// How it stands with an object that has no source.
pub(super) fn without_source(cache: &Cache, object: &ClusterSync, spec: &ClusterSpec, rollup: Rollup) -> Standing {
    match Withheld::new(cache, spec).required {
        true => not_shared(cache, object, true, rollup),
        false => Standing::SourceMissing(rollup),
    }
}

fn not_shared(cache: &Cache, object: &ClusterSync, required: bool, rollup: Rollup) -> Standing {
    Standing::NotShared { required, standing: cache.count_standing(object.uid()), rollup }
}

/// Counts the copies of an object by what the watches told. `expected`: the content that they are to hold; `None`: there is no source.
pub fn roll_up(cache: &Cache, object: &ClusterSync, spec: &ClusterSpec, expected: Option<Expected>) -> Rollup {
    let uid = object.uid();
    let mut rollup = Rollup::default();
    let mut stands = 0;
    let mut open: Vec<Name> = Vec::new();
    let withheld = Withheld::new(cache, spec);
    rollup.excluded = cache.each_selected(object, |namespace, namespace_uid| {
        let key = spec.copy_of(namespace);
        let record = cache.copy_record(uid, &key);
        let guard = cache.guard(Act::Write, &key);
        let may_go = || cache.is_standing(&key) && !guard.is_some_and(Guard::stops_removal);
        stands += usize::from(record.is_some() && may_go());
        if let Some(failure) = withheld.from(namespace) {
            return rollup.note_not_shared(failure);
        }
        // It follows from what everybody knows, and so its holder does not note it.
        let guarded = guard.is_some() && expected.is_some();
        let holds_it = match (record, expected) {
            (Some(record), Some(expected)) => record.content == expected.content,
            (record, None) => record.is_some(),
            (None, _) => false,
        };
        let in_place = || {
            let meta = cache.configmap(&key);
            meta.is_some_and(|meta| {
                !meta.deleting && meta.mark.as_ref().is_some_and(|mark| mark.at == Some(namespace_uid))
            })
        };
        match cache.failure(uid, namespace) {
            Some(failure) => rollup.failures.push(failure),
            None if holds_it && !guarded && in_place() => rollup.synced += 1,
            None => open.push(namespace.clone()),
        }
    });
    for namespace in open {
        match stall_of(cache, object, &namespace, expected) {
            Some(failure) => rollup.failures.push(failure),
            None => rollup.pending += 1,
        }
    }
    let elsewhere = cache.more_failures(uid).min(rollup.pending);
    rollup.more_failures += elsewhere;
    rollup.pending -= elsewhere;
    rollup.failures.sort_unstable_by(|a, b| a.namespace.cmp(&b.namespace));
    rollup.removing = cache.count_standing(uid).saturating_sub(stands);
    rollup
}

/// Why a copy cannot be written, where that follows from what every replica knows.
fn stall_of(cache: &Cache, object: &ClusterSync, namespace: &Name, expected: Option<Expected>) -> Option<Failure> {
    let (key_state, fresh) = (KeyState::default(), FreshReads::default());
    let snapshot = Snapshot::of_one_of_many(cache, &key_state, &fresh, object, namespace, expected)?;
    let knowledge = Knowledge { key_state, fresh };
    let facts = knowledge.facts(&snapshot);
    match plan::next(facts.copy.as_ref()?) {
        Next::Settled(verdict @ Verdict::Stalled(_)) => Some(failure_of(&verdict, &snapshot, namespace)),
        _ => None,
    }
}
