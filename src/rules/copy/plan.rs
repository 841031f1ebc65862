//! What is to be done next for a sync: one pure function from what is known to one step.
//!
//! The controller looks, asks [`next`], executes the step, learns from the answer, and asks again until nothing is left to do. So
//! the rules depend on no order of events: what is known now decides.

use crate::rules::copy::facts::{CopyState, Destination, Facts, NamespaceState, Source};
use crate::rules::copy::ownership::{Claim, claim, protected, stands_where_written};
use crate::rules::copy::step::{Step, Until};
use crate::rules::record::{ConfigMapMeta, Spec, Version};
use crate::rules::status::{self, Stall, StatusContent, Verdict};
use crate::rules::uid::Uid;

/// The next step for a sync that exists.
pub fn next(facts: &Facts<'_>) -> Step {
    let sync = facts.sync;
    if sync.deleting {
        return finalize(facts);
    }
    let (spec, destination) = match (&sync.spec, &facts.destination) {
        (Ok(spec), Some(destination)) => (spec, destination),
        (Err(unusable), _) => return stall(facts, Stall::InvalidSpec(unusable.why.to_string())),
        (Ok(_), None) => return Step::Rest(Until::Change),
    };
    if spec.suspend {
        return Step::Rest(Until::Change);
    }
    if spec.source == spec.destination {
        return stall(facts, Stall::InvalidSpec("source and destination are the same ConfigMap".to_owned()));
    }
    if protected(&spec.destination) {
        return stall(facts, Stall::DestinationProtected);
    }
    if let Some(ring) = &facts.ring {
        return stall(facts, Stall::Cycle(ring.clone()));
    }
    if let Some(owner) = &facts.owner {
        return stall(facts, Stall::DestinationConflict(owner.clone()));
    }
    match facts.source {
        // The status tells of it, and of a last copy: one that is not seen any more has to be looked for.
        Source::Unknown if misses_copy(facts, destination) => Step::ReadSource { uncached: facts.recheck },
        Source::Unknown if facts.recheck || !tells(facts, &Verdict::SourceMissing) => {
            Step::ReadSource { uncached: facts.recheck }
        }
        Source::Unknown => Step::Rest(Until::SourceRecheck),
        Source::Missing => without_source(facts, spec, destination),
        Source::Observed(_) | Source::InHand { .. } => match destination.namespace {
            NamespaceState::Unknown if tells(facts, &Verdict::NamespaceMissing) => Step::Rest(Until::Change),
            NamespaceState::Unknown => Step::ReadNamespace(destination.place.namespace.clone()),
            NamespaceState::Absent => report(facts, Verdict::NamespaceMissing),
            NamespaceState::Terminating => report(facts, Verdict::NamespaceTerminating),
            NamespaceState::Live(namespace) => with_source(facts, spec, destination, namespace),
        },
    }
}

/// Whether the status tells of a copy that the stream does not show.
fn misses_copy(facts: &Facts<'_>, destination: &Destination<'_>) -> bool {
    facts.sync.status.destination_exists
        && matches!((destination.copy, destination.namespace), (CopyState::Unknown, NamespaceState::Live(_)))
}

/// The source is there, and so is the destination's namespace.
fn with_source(facts: &Facts<'_>, spec: &Spec, destination: &Destination<'_>, namespace: Uid) -> Step {
    let Some(seen) = destination.copy.seen() else {
        return match facts.source {
            Source::InHand { .. } => repair(facts, spec, Step::Create),
            _ => Step::ReadSource { uncached: false },
        };
    };
    match known(facts, seen.version) {
        Known::InOrder(verdict) | Known::Changed(verdict) => return finish(facts, verdict),
        // The status says so. It is written anew when something changes, or when a person asks.
        Known::ToldChanged if facts.sync.request().is_none() => return Step::Rest(Until::Change),
        Known::ToldChanged | Known::Nothing => {}
    }
    if seen.deleting {
        return report(facts, Verdict::CopyHeld(destination.place.clone())); // its end is seen, and then a new one is made
    }
    match claim_of(facts, seen, namespace, true) {
        Claim::Ours => update(facts, spec, destination, seen),
        // To be taken over; but what a controller has made its own meanwhile never is.
        Claim::Inherited | Claim::AnotherSyncs if !seen.controlled => update(facts, spec, destination, seen),
        Claim::Restored if !seen.controlled && !is_read(destination) => Step::ReadCopy(destination.place.clone()),
        Claim::Restored if !seen.controlled && is_as_marked(destination) => update(facts, spec, destination, seen),
        Claim::Restored | Claim::Inherited | Claim::AnotherSyncs | Claim::Foreign => {
            adopt(facts, spec, destination, seen)
        }
    }
}

fn is_read(destination: &Destination<'_>) -> bool {
    matches!(destination.copy, CopyState::Read(_))
}

/// Whether the content was read and is that of which the mark has the hash.
fn is_as_marked(destination: &Destination<'_>) -> bool {
    matches!(destination.copy, CopyState::Read(read) if read.as_marked)
}

/// What stands at the destination is a copy, of this sync or left there by one that no longer wants the place.
fn update(facts: &Facts<'_>, spec: &Spec, destination: &Destination<'_>, seen: &ConfigMapMeta) -> Step {
    let written_from = seen.mark.as_ref().map_or(0, |mark| mark.source_rv);
    let newer = facts.source.rv().is_some_and(|rv| rv > written_from.max(known_to_be_reached(facts)));
    let CopyState::Read(read) = destination.copy else {
        // With somebody else's labels on it, it is read so that theirs stay; with content of a version that is not
        // older than ours, or unknown, it is read to be compared.
        if seen.foreign_metadata || !newer || written_from == 0 {
            return Step::ReadCopy(destination.place.clone());
        }
        return match facts.source {
            Source::InHand { .. } => write(facts, spec, Step::Replace { over: seen.version, adopt: false }),
            _ => Step::ReadSource { uncached: false },
        };
    };
    let Source::InHand { version, hash, immutable, uncached } = facts.source else {
        return Step::ReadSource { uncached: false };
    };
    if hash == read.hash && (read.immutable || !immutable) && !marks_are_anothers(facts, destination, seen) {
        return finish(facts, Verdict::InOrder { source: version, copy: seen.version });
    }
    // A copy never goes back: what is not newer than what stands there is written only if it is the last word.
    if !newer && !uncached {
        return Step::ReadSource { uncached: true };
    }
    match read.immutable {
        true if seen.adopted => stall(facts, Stall::DestinationImmutable),
        true => repair(facts, spec, Step::Remove(destination.place.clone(), seen.version)),
        false => repair(facts, spec, Step::Replace { over: seen.version, adopt: false }),
    }
}

/// The newest version of the source that the copy is known to have held, whatever its marks say: a copy that was
/// compared and found equal keeps the marks of an older version.
fn known_to_be_reached(facts: &Facts<'_>) -> u64 {
    let verified = facts.verified.map(|(source, _)| source);
    verified.into_iter().chain(facts.sync.status.source).map(|source| source.rv).max().unwrap_or(0)
}

/// Whether the copy must be marked anew though its content is right: it carries another sync's marks, or those of a namespace that
/// is no more. The marks of the former operator may stay until the source changes.
fn marks_are_anothers(facts: &Facts<'_>, destination: &Destination<'_>, seen: &ConfigMapMeta) -> bool {
    let Some(mark) = &seen.mark else { return true };
    match mark.uid {
        // One of ours that lost a mark; the seed's have no place.
        None => mark.at.is_some(),
        Some(uid) => {
            uid != facts.sync.uid()
                || matches!(destination.namespace, NamespaceState::Live(home) if mark.at != Some(home))
        }
    }
}

/// What stands at the destination is nobody's copy.
fn adopt(facts: &Facts<'_>, spec: &Spec, destination: &Destination<'_>, seen: &ConfigMapMeta) -> Step {
    if seen.controlled {
        return stall(facts, Stall::DestinationControlled);
    }
    if !spec.overwrite {
        return stall(facts, Stall::DestinationExists);
    }
    let CopyState::Read(read) = destination.copy else { return Step::ReadCopy(destination.place.clone()) };
    let Source::InHand { version, hash, uncached, .. } = facts.source else {
        return Step::ReadSource { uncached: false };
    };
    if seen.seed_adopted && hash == read.hash {
        return finish(facts, Verdict::InOrder { source: version, copy: seen.version });
    }
    if read.immutable {
        return stall(facts, Stall::DestinationImmutable);
    }
    // A copy of ours looks foreign while the stream still shows the namespace that stood here before; it must not go back.
    if seen.mark.as_ref().is_some_and(|mark| mark.uid.is_some()) && !uncached {
        return Step::ReadSource { uncached: true };
    }
    repair(facts, spec, Step::Replace { over: seen.version, adopt: true })
}

/// A write of the copy for another reason than that the source changed: not while somebody contests it.
fn repair(facts: &Facts<'_>, spec: &Spec, step: Step) -> Step {
    match &facts.contested {
        Some(manager) => stall(facts, Stall::Contested(manager.clone())),
        None => write(facts, spec, step),
    }
}

/// A write of the copy; with `Orphan` the finalizer goes first, since only it tells a sweep that the copy stays.
fn write(facts: &Facts<'_>, spec: &Spec, step: Step) -> Step {
    if spec.orphan && !facts.sync.finalizer { Step::AddFinalizer { ahead: true } } else { step }
}

/// What is known of a copy without a look at its content.
enum Known {
    /// It holds what the source holds.
    InOrder(Verdict),
    /// It was written from the source as it is, and admission changed it.
    Changed(Verdict),
    /// The same, and the status says so.
    ToldChanged,
    /// Nothing.
    Nothing,
}

/// What is known of the copy with this version.
fn known(facts: &Facts<'_>, copy: Version) -> Known {
    let Some(rv) = facts.source.rv() else { return Known::Nothing };
    let of_this = |pair: &(Version, Version)| pair.0.rv == rv && pair.1 == copy;
    let told = &facts.sync.status;
    match (facts.verified.filter(of_this), told.source.zip(told.copy).filter(of_this)) {
        (Some((source, _)), _) => match facts.changed {
            Some(what) => Known::Changed(Verdict::Changed { source, copy, what: what.to_owned() }),
            None => Known::InOrder(Verdict::InOrder { source, copy }),
        },
        (None, Some(_)) if told.changed_by_admission => Known::ToldChanged,
        (None, Some((source, _))) => Known::InOrder(Verdict::InOrder { source, copy }),
        (None, None) => Known::Nothing,
    }
}

/// As [`claim`]. Admission may have taken our marks off: then the status tells that the copy is ours.
fn claim_of(facts: &Facts<'_>, seen: &ConfigMapMeta, namespace: Uid, wants: bool) -> Claim {
    let told = &facts.sync.status;
    let ours = told.changed_by_admission && told.copy.is_some_and(|copy| copy.uid == seen.version.uid);
    match claim(seen, facts.sync, namespace, wants) {
        Claim::Foreign if wants && ours && seen.mark.is_none() => Claim::Ours,
        claim => claim,
    }
}

/// The copy is in order: clear what stands at former destinations, then say so.
fn finish(facts: &Facts<'_>, verdict: Verdict) -> Step {
    if let Some(step) = clean_up_orphaned(facts, true).find(Step::is_about_copies) {
        return step;
    }
    match report(facts, verdict) {
        // What only its marks call this sync's copy comes last, so that it holds nothing up.
        Step::Rest(until) => clean_up_orphaned(facts, false).find(Step::is_about_copies).unwrap_or(Step::Rest(until)),
        step => step,
    }
}

/// What is still to be done so that nothing of this sync's stands at former destinations. What another sync wants is
/// left for it to take over. `known`: whether the sync is known to have wanted the place.
fn clean_up_orphaned(facts: &Facts<'_>, known: bool) -> impl Iterator<Item = Step> {
    let orphan = facts.sync.orphan();
    let orphaned_copies = facts
        .orphaned_copies
        .iter()
        .filter(move |destination| !destination.wanted_by_another && destination.known == known);
    orphaned_copies.filter_map(move |destination| clean_up(facts, destination, orphan, false))
}

/// There is no source.
fn without_source(facts: &Facts<'_>, spec: &Spec, destination: &Destination<'_>) -> Step {
    if spec.delete_with_source
        && let Some(step) = clean_up(facts, destination, false, true)
            .or_else(|| clean_up_orphaned(facts, true).find(Step::is_about_copies))
    {
        return if facts.missing_twice { step } else { Step::Rest(Until::SecondLook) };
    }
    if matches!(destination.copy, CopyState::Unknown) && facts.sync.status.destination_exists {
        match destination.namespace {
            NamespaceState::Live(_) => return Step::ReadCopy(destination.place.clone()),
            NamespaceState::Unknown => return Step::ReadNamespace(destination.place.namespace.clone()),
            NamespaceState::Absent | NamespaceState::Terminating => {}
        }
    }
    report(facts, Verdict::SourceMissing)
}

/// The sync is being deleted: its copies go first, then its finalizer. What only its marks call its copy is swept
/// afterwards, by whoever sees the sync go.
fn finalize(facts: &Facts<'_>) -> Step {
    if !facts.sync.finalizer {
        return Step::Rest(Until::Change);
    }
    let orphan = facts.sync.orphan();
    let here = facts.destination.iter().filter_map(|destination| clean_up(facts, destination, orphan, true));
    let mut steps: Vec<Step> = here.chain(clean_up_orphaned(facts, true)).collect();
    // One that is held does not keep the others waiting.
    let at = steps.iter().position(Step::is_about_copies).unwrap_or(0);
    if steps.is_empty() { Step::RemoveFinalizer } else { steps.swap_remove(at) }
}

/// What is still to be done so that nothing of this sync's stands at `destination`. `wants`: it is the spec's destination.
fn clean_up(facts: &Facts<'_>, destination: &Destination<'_>, orphan: bool, wants: bool) -> Option<Step> {
    let seen = match destination.copy {
        CopyState::Absent => return None,
        // Nothing is called missing on the word of a stream alone, if there is reason to think that it was there: the
        // status says so, or, since a status may lag behind, our finalizer is on a sync that goes.
        CopyState::Unknown if wants && (facts.sync.deleting || facts.sync.status.destination_exists) => {
            return match destination.namespace {
                NamespaceState::Unknown => Some(Step::ReadNamespace(destination.place.namespace.clone())),
                NamespaceState::Absent | NamespaceState::Terminating => None,
                NamespaceState::Live(_) => Some(Step::ReadCopy(destination.place.clone())),
            };
        }
        CopyState::Unknown => return None,
        CopyState::Cached(seen) => seen,
        CopyState::Read(read) => &read.seen,
    };
    let namespace = match destination.namespace {
        NamespaceState::Unknown => return Some(Step::ReadNamespace(destination.place.namespace.clone())),
        NamespaceState::Absent | NamespaceState::Terminating => return None, // all in it goes by itself
        NamespaceState::Live(namespace) => namespace,
    };
    match claim_of(facts, seen, namespace, wants) {
        Claim::Ours | Claim::Inherited => {}
        Claim::Restored if !is_read(destination) => return Some(Step::ReadCopy(destination.place.clone())),
        Claim::Restored if is_as_marked(destination) => {}
        // Its annotations are ours to take off, its content is not.
        Claim::Foreign if wants && seen.seed_adopted => return Some(remove(destination, seen, true)),
        Claim::Restored | Claim::AnotherSyncs | Claim::Foreign => {
            // A stream that lags may show what stood there before the copy was made.
            let unread = matches!(destination.copy, CopyState::Cached(_));
            return (wants && facts.sync.deleting && unread).then(|| Step::ReadCopy(destination.place.clone()));
        }
    }
    if seen.deleting && !(orphan || seen.adopted) {
        return Some(report(facts, Verdict::CopyHeld(destination.place.clone())));
    }
    Some(remove(destination, seen, orphan))
}

/// What was there before us stays, without our marks; what we made goes.
fn remove(destination: &Destination<'_>, seen: &ConfigMapMeta, orphan: bool) -> Step {
    match destination.copy {
        _ if !(orphan || seen.adopted) => Step::Remove(destination.place.clone(), seen.version),
        CopyState::Read(_) => Step::Unmark(destination.place.clone()),
        _ => Step::ReadCopy(destination.place.clone()),
    }
}

/// The next step for a copy whose sync is gone, or no longer wants this place and cannot say so: by a GET of the
/// sync, which the caller made.
pub fn sweep(destination: &Destination<'_>, orphan: bool) -> Step {
    match (destination.copy.seen(), destination.namespace) {
        (Some(seen), NamespaceState::Live(namespace))
            if !destination.wanted_by_another
                && !seen.deleting
                && seen.mark.as_ref().is_some_and(|mark| stands_where_written(mark, namespace)) =>
        {
            remove(destination, seen, orphan)
        }
        _ => Step::Rest(Until::Change),
    }
}

fn stall(facts: &Facts<'_>, stall: Stall) -> Step {
    report(facts, Verdict::Stalled(stall))
}

/// Says so on the sync, if it does not say so already. A finalizer is put on it once there is a copy to clear.
fn report(facts: &Facts<'_>, verdict: Verdict) -> Step {
    let text = text(facts, &verdict);
    let in_order = matches!(verdict, Verdict::InOrder { .. });
    if in_order && !facts.sync.finalizer {
        Step::AddFinalizer { ahead: false }
    } else if text.digest() != facts.sync.status.digest {
        Step::Report(verdict, Box::new(text))
    } else if verdict == Verdict::SourceMissing {
        Step::Rest(Until::SourceRecheck)
    } else {
        Step::Rest(Until::Change)
    }
}

/// Whether the sync's status says just that already: then it needs no new proof.
fn tells(facts: &Facts<'_>, verdict: &Verdict) -> bool {
    text(facts, verdict).digest() == facts.sync.status.digest
}

/// The status that a verdict makes, by what is known, and else by what was told before.
pub fn text(facts: &Facts<'_>, verdict: &Verdict) -> StatusContent<'static> {
    let told = &facts.sync.status;
    let source_exists = match facts.source {
        Source::Unknown => told.source_exists,
        Source::Missing => false,
        Source::Observed(_) | Source::InHand { .. } => true,
    };
    let destination_exists =
        match facts.destination.as_ref().map(|destination| (destination.copy, destination.namespace)) {
            Some((_, NamespaceState::Absent) | (CopyState::Absent, _)) => false,
            Some((CopyState::Cached(_) | CopyState::Read(_), _)) => true,
            Some((CopyState::Unknown, _)) | None => told.destination_exists,
        };
    status::text(verdict, facts.sync, source_exists, destination_exists)
}
