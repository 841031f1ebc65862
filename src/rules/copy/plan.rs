//! What comes next for a copy: one pure function from what is known to one answer.
//!
//! The controller looks, asks [`next`], executes the step, learns from the answer, and asks again until nothing is left to do. So
//! the rules depend on no order of events: what is known now decides.

use crate::rules::copy::facts::{CopyFacts, CopyState, Destination, NamespaceState, Source};
use crate::rules::copy::ownership::{Claim, claim, protected};
use crate::rules::copy::removal::Removal;
use crate::rules::copy::step::{CopyStep, Next, Until};
use crate::rules::copy::verdict::{Stall, Verdict};
use crate::rules::record::{ConfigMapMeta, Version};
use crate::rules::uid::Uid;

/// What comes next for a copy that is wanted.
pub fn next(facts: &CopyFacts<'_>) -> Next {
    let CopyFacts { spec, destination, .. } = facts;
    if spec.source == spec.destination {
        return stalled(Stall::InvalidSpec("source and destination are the same ConfigMap".to_owned()));
    }
    if protected(&spec.destination) {
        return stalled(Stall::DestinationProtected);
    }
    if let Some(cycle) = &facts.cycle {
        return stalled(Stall::Cycle(cycle.clone()));
    }
    if let Some(rival) = &facts.rival {
        return stalled(Stall::DestinationConflict(rival.clone()));
    }
    match facts.source {
        // The status tells of it, and of a last copy: one that is not seen any more has to be looked for.
        Source::Unknown if facts.recheck || misses_copy(facts) => {
            Next::Do(CopyStep::ReadSource { uncached: facts.recheck })
        }
        Source::Unknown => Next::Unproven(Verdict::SourceMissing, CopyStep::ReadSource { uncached: false }),
        Source::Missing => without_source(facts),
        Source::Observed(_) | Source::InHand { .. } => match destination.namespace {
            NamespaceState::Unknown => {
                let read = CopyStep::ReadNamespace(destination.key.namespace.clone());
                Next::Unproven(Verdict::NamespaceMissing, read)
            }
            NamespaceState::Absent => Next::Settled(Verdict::NamespaceMissing),
            NamespaceState::Terminating => Next::Settled(Verdict::NamespaceTerminating),
            NamespaceState::Live(namespace) => with_source(facts, namespace),
        },
    }
}

/// Whether the status tells of a copy that the watch does not show.
fn misses_copy(facts: &CopyFacts<'_>) -> bool {
    let Destination { copy, namespace, .. } = facts.destination;
    facts.reported.exists && matches!((copy, namespace), (CopyState::Unknown, NamespaceState::Live(_)))
}

/// The source is there, and so is the destination's namespace.
fn with_source(facts: &CopyFacts<'_>, namespace: Uid) -> Next {
    let destination = &facts.destination;
    let Some(meta) = destination.copy.meta() else {
        return match facts.source {
            Source::InHand { .. } => repair(facts, CopyStep::Create),
            _ => Next::Do(CopyStep::ReadSource { uncached: false }),
        };
    };
    match known(facts, meta.version) {
        Known::Settled(verdict) => return Next::Settled(verdict),
        // The status says so. It is written anew when something changes, or when a person asks.
        Known::ReportedChanged if !facts.asked => return Next::Rest(Until::Change),
        Known::ReportedChanged | Known::Nothing => {}
    }
    if meta.deleting {
        // Its end is seen, and then a new one is made.
        return Next::Settled(Verdict::CopyHeld(destination.key.clone()));
    }
    match claim_of(facts, meta, namespace) {
        Claim::Ours => update(facts, meta),
        // To be taken over; but what a controller has made its own meanwhile never is.
        Claim::Inherited | Claim::AnotherSyncs if !meta.controlled => update(facts, meta),
        Claim::Restored if !meta.controlled && !destination.is_read() => Next::read_copy(destination),
        Claim::Restored if !meta.controlled && destination.is_as_marked() => update(facts, meta),
        Claim::Restored | Claim::Inherited | Claim::AnotherSyncs | Claim::Foreign => adopt(facts, meta),
    }
}

/// What stands at the destination is a copy, of this owner or left there by one that no longer wants it.
fn update(facts: &CopyFacts<'_>, meta: &ConfigMapMeta) -> Next {
    let destination = &facts.destination;
    let written_from = meta.mark.as_ref().map_or(0, |mark| mark.source_rv);
    let newer = facts.source.rv().is_some_and(|rv| rv > written_from.max(known_to_be_reached(facts)));
    let CopyState::Read(read) = destination.copy else {
        // With somebody else's labels on it, it is read so that theirs stay; with content of a version that is not
        // older than ours, or unknown, it is read to be compared.
        if meta.foreign_metadata || !newer || written_from == 0 {
            return Next::read_copy(destination);
        }
        return match facts.source {
            Source::InHand { .. } => Next::Write(CopyStep::Replace { over: meta.version, adopt: false }),
            _ => Next::Do(CopyStep::ReadSource { uncached: false }),
        };
    };
    let Source::InHand { version, hash, immutable, uncached } = facts.source else {
        return Next::Do(CopyStep::ReadSource { uncached: false });
    };
    if hash == read.hash && (read.immutable || !immutable) && !marks_are_anothers(facts, meta) {
        return Next::Settled(Verdict::InOrder { source: version, copy: meta.version });
    }
    // A copy never goes back: what is not newer than what stands there is written only if the source was read after the copy.
    if !newer && !uncached {
        return Next::Do(CopyStep::ReadSource { uncached: true });
    }
    match read.immutable {
        true if meta.adopted => stalled(Stall::DestinationImmutable),
        true => repair(facts, CopyStep::Remove(destination.key.clone(), meta.version)),
        false => repair(facts, CopyStep::Replace { over: meta.version, adopt: false }),
    }
}

/// The newest version of the source that the copy is known to have held, whatever its marks say: a copy that was
/// compared and found equal keeps the marks of an older version.
fn known_to_be_reached(facts: &CopyFacts<'_>) -> u64 {
    let verified = facts.verified.map(|(source, _)| source);
    verified.into_iter().chain(facts.reported.source).map(|source| source.rv).max().unwrap_or(0)
}

/// Whether the copy must be marked anew though its content is right: it carries another sync's marks, or those of a namespace that
/// is no more. The marks of the former operator may stay until the source changes.
fn marks_are_anothers(facts: &CopyFacts<'_>, meta: &ConfigMapMeta) -> bool {
    let Some(mark) = &meta.mark else { return true };
    match mark.uid {
        // One of ours that lost a mark; the seed's do not name a namespace.
        None => mark.at.is_some(),
        Some(uid) => {
            uid != facts.owner.uid
                || matches!(facts.destination.namespace, NamespaceState::Live(namespace) if mark.at != Some(namespace))
        }
    }
}

/// What stands at the destination is nobody's copy.
fn adopt(facts: &CopyFacts<'_>, meta: &ConfigMapMeta) -> Next {
    let destination = &facts.destination;
    if meta.controlled {
        return stalled(Stall::DestinationControlled);
    }
    if !facts.spec.overwrite {
        return stalled(Stall::DestinationExists);
    }
    let CopyState::Read(read) = destination.copy else {
        return Next::read_copy(destination);
    };
    let Source::InHand { version, hash, uncached, .. } = facts.source else {
        return Next::Do(CopyStep::ReadSource { uncached: false });
    };
    if meta.seed_adopted && hash == read.hash {
        return Next::Settled(Verdict::InOrder { source: version, copy: meta.version });
    }
    if read.immutable {
        return stalled(Stall::DestinationImmutable);
    }
    // A copy of ours looks foreign while the watch still shows the namespace that stood here before; it must not go back.
    if meta.mark.as_ref().is_some_and(|mark| mark.uid.is_some()) && !uncached {
        return Next::Do(CopyStep::ReadSource { uncached: true });
    }
    repair(facts, CopyStep::Replace { over: meta.version, adopt: true })
}

/// A write of the copy for another reason than that the source changed: not while somebody contests it.
fn repair(facts: &CopyFacts<'_>, step: CopyStep) -> Next {
    match &facts.contested {
        Some(manager) => stalled(Stall::Contested(manager.clone())),
        None => Next::Write(step),
    }
}

/// There is no source.
fn without_source(facts: &CopyFacts<'_>) -> Next {
    let CopyFacts { owner, reported, destination, .. } = facts;
    if facts.spec.delete_with_source {
        let removal = Removal { owner: *owner, reported: *reported, orphan: false, deleting: false };
        if let Some(next) = removal.of_wanted(destination) {
            return if facts.missing_twice { next } else { Next::Rest(Until::SecondLook) };
        }
    }
    if matches!(destination.copy, CopyState::Unknown)
        && reported.exists
        && let Some(next) = Next::look_for(destination)
    {
        return next;
    }
    Next::Settled(Verdict::SourceMissing)
}

fn stalled(stall: Stall) -> Next {
    Next::Settled(Verdict::Stalled(stall))
}

/// What is known of a copy without a look at its content.
enum Known {
    /// It was compared with the source as it is.
    Settled(Verdict),
    /// It was written from the source as it is, admission changed it, and the status says so.
    ReportedChanged,
    /// Nothing.
    Nothing,
}

/// What is known of the copy with this version.
fn known(facts: &CopyFacts<'_>, copy: Version) -> Known {
    let Some(rv) = facts.source.rv() else { return Known::Nothing };
    let of_this = |pair: &(Version, Version)| pair.0.rv == rv && pair.1 == copy;
    let reported = &facts.reported;
    match (facts.verified.filter(of_this), reported.source.zip(reported.copy).filter(of_this)) {
        (Some((source, _)), _) => Known::Settled(match facts.changed {
            Some(what) => Verdict::Changed { source, copy, what: what.to_owned() },
            None => Verdict::InOrder { source, copy },
        }),
        (None, Some(_)) if reported.changed_by_admission => Known::ReportedChanged,
        (None, Some((source, _))) => Known::Settled(Verdict::InOrder { source, copy }),
        (None, None) => Known::Nothing,
    }
}

/// As [`claim`], for the destination that is wanted. Admission may have taken our marks off: then the status tells that the
/// copy is ours.
fn claim_of(facts: &CopyFacts<'_>, meta: &ConfigMapMeta, namespace: Uid) -> Claim {
    match claim(meta, facts.owner, namespace, true) {
        Claim::Foreign if facts.reported.names_unmarked(meta) => Claim::Ours,
        claim => claim,
    }
}
