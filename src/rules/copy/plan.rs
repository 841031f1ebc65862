//! What comes next for a copy: one pure function from what is known to one answer.
//!
//! The controller looks, asks [`next`], executes the step, learns from the answer, and asks again until nothing is left to do. So
//! the rules depend on no order of events: what is known now decides.

use crate::rules::consent::Consent;
use crate::rules::copy::facts::{ConsentFacts, CopyFacts, CopyState, Destination, NamespaceState, Read, Source};
use crate::rules::copy::guard::Act;
use crate::rules::copy::ownership::{Claim, claim};
use crate::rules::copy::removal::Removal;
use crate::rules::copy::step::{CopyStep, DestinationStep, Next, Until};
use crate::rules::copy::verdict::{Stall, Verdict};
use crate::rules::record::ConfigMapMeta;
use crate::rules::uid::{Uid, Version};

/// What comes next for a copy that is wanted.
pub fn next(facts: &CopyFacts<'_>) -> Next {
    let CopyFacts { spec, destination, .. } = facts;
    if spec.source == spec.destination {
        return stalled(Stall::InvalidSpec("source and destination are the same ConfigMap".to_owned()));
    }
    // What may not even be removed is left as it is; one that goes with its source may go from a namespace that refuses others.
    if let Some(guard) = destination.guard(Act::Remove) {
        return stalled(Stall::Guarded(guard));
    }
    if let Some(cycle) = &facts.cycle {
        return stalled(Stall::Cycle(cycle.clone()));
    }
    if let Some(rival) = &facts.rival {
        return stalled(Stall::DestinationConflict(rival.clone()));
    }
    if let Some(next) = withheld(facts) {
        return next;
    }
    match facts.source {
        // The status tells of it, and of a last copy: one that is not seen any more has to be looked for.
        Source::Unknown if facts.recheck || misses_copy(facts) => {
            Next::Do(CopyStep::ReadSource { uncached: facts.recheck })
        }
        Source::Unknown => Next::Unproven(Verdict::SourceMissing, CopyStep::ReadSource { uncached: false }),
        Source::Missing => without_source(facts),
        Source::Observed(_) | Source::InHand { .. } => match (destination.guard(Act::Write), destination.namespace) {
            (Some(guard), _) => stalled(Stall::Guarded(guard)),
            (None, NamespaceState::Unknown) => {
                let read = DestinationStep::ReadNamespace(destination.key.namespace.clone()).into();
                Next::Unproven(Verdict::NamespaceMissing, read)
            }
            (None, NamespaceState::Absent) => Next::Settled(Verdict::NamespaceMissing),
            (None, NamespaceState::Terminating) => Next::Settled(Verdict::NamespaceTerminating),
            (None, NamespaceState::Live(namespace) | NamespaceState::Refusing(namespace)) => {
                with_source(facts, namespace)
            }
        },
    }
}

/// What comes next where the owner of a source that is there does not share it; `None`: that is no obstacle.
fn withheld(facts: &CopyFacts<'_>) -> Option<Next> {
    let ConsentFacts { consent, refused_twice, .. } = facts.consent;
    let in_hand = match facts.source {
        Source::Unknown | Source::Missing => return None,
        Source::Observed(_) => false,
        Source::InHand { .. } => true,
    };
    let read = Next::Do(CopyStep::ReadSource { uncached: false });
    match consent {
        Consent::Given => None,
        Consent::Unknown => Some(read),
        // As without a source: what the status tells of the copy must not tell the one from the other.
        Consent::Missing => Some(lost_copy(facts).unwrap_or(Next::Settled(Verdict::SourceNotShared))),
        Consent::Refused => Some(match (taken_back(facts), in_hand) {
            (None, _) => Next::Settled(Verdict::SourceNotShared),
            (Some(next), true) if refused_twice => next,
            (Some(_), true) => Next::Rest(Until::SecondLook),
            (Some(_), false) => read,
        }),
    }
}

/// What is to be removed of a copy whose source is shared with nobody any more.
fn taken_back(facts: &CopyFacts<'_>) -> Option<Next> {
    let CopyFacts { owner, reported, destination, spec, .. } = facts;
    let removal = Removal { owner: *owner, reported: *reported, orphan: false, deleting: false };
    removal.of_wanted(destination).filter(|_| !spec.orphan)
}

/// Whether the status tells of a copy that the watch does not show.
fn misses_copy(facts: &CopyFacts<'_>) -> bool {
    let Destination { copy, namespace, .. } = facts.destination;
    facts.reported.exists && matches!(copy, CopyState::Unknown) && namespace.uid().is_some()
}

/// The source is there, and so is the destination's namespace.
fn with_source(facts: &CopyFacts<'_>, namespace: Uid) -> Next {
    let destination = &facts.destination;
    if let Some(which) = &facts.shape.key_conflict {
        return stalled(Stall::KeyConflict(which.clone()));
    }
    let Some(meta) = destination.copy.meta() else {
        return match facts.source {
            Source::InHand { .. } => repair(facts, CopyStep::Create),
            _ => Next::Do(CopyStep::ReadSource { uncached: false }),
        };
    };
    match compared(facts, meta.version) {
        Compared::Settled(verdict) => return Next::Settled(verdict),
        // The status says so. It is written anew when something changes, or when a person asks.
        Compared::ReportedChanged if !facts.asked => return Next::Rest(Until::Change),
        Compared::ReportedChanged | Compared::Nothing => {}
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
    let reached = written_from.max(known_to_be_reached(facts));
    let newer = facts.source.rv().is_some_and(|rv| rv > reached);
    // Nor is it older, where another spec made something else of this very version.
    let otherwise = facts.shape.written_otherwise && facts.source.rv() == Some(reached);
    let replace = CopyStep::Replace { over: meta.version, adopt: false };
    let CopyState::Read(read) = destination.copy else {
        let in_hand = matches!(facts.source, Source::InHand { .. });
        // Where the spec speaks of keys or metadata, the source and the marks may tell without a look that it is to be written.
        if (facts.shape.wanted || meta.shaped) && !in_hand {
            return Next::Do(CopyStep::ReadSource { uncached: false });
        }
        // With somebody else's labels on it, it is read so that theirs stay; with content of a version that is not
        // older than ours, or unknown, it is read to be compared.
        if meta.foreign_metadata || !(newer || otherwise) || written_from == 0 {
            return Next::read_copy(destination);
        }
        return match in_hand {
            true if newer => Next::Write(replace),
            true => repair(facts, replace),
            false => Next::Do(CopyStep::ReadSource { uncached: false }),
        };
    };
    let Source::InHand { version, hash, immutable, uncached } = facts.source else {
        return Next::Do(CopyStep::ReadSource { uncached: false });
    };
    if hash == read.hash && (read.immutable || !immutable) && !is_marked_wrongly(facts, read) {
        return Next::Settled(Verdict::InOrder { source: version, copy: meta.version });
    }
    // A copy never goes back: what is not newer than what stands there is written only if the source was read after the copy.
    if !(newer || otherwise || uncached) {
        return Next::Do(CopyStep::ReadSource { uncached: true });
    }
    match read.immutable {
        // Its labels and annotations can be changed.
        true if facts.shape.holds_content && immutable => repair(facts, replace),
        true if meta.adopted => stalled(Stall::DestinationImmutable),
        true => repair(facts, DestinationStep::Remove(destination.key.clone(), meta.version).into()),
        false => repair(facts, replace),
    }
}

/// The newest version of the source that the copy is known to have held, whatever its marks say: a copy that was
/// compared and found equal keeps the marks of an older version.
fn known_to_be_reached(facts: &CopyFacts<'_>) -> u64 {
    let verified = facts.verified.map(|(source, _)| source);
    verified.into_iter().chain(facts.reported.source).map(|source| source.rv).max().unwrap_or(0)
}

/// Whether the copy must be marked anew though its content is right: it carries another sync's marks, or those of a namespace that
/// is no more. The marks of the former operator may stay until the source changes. No status tells of one of many copies, so its
/// marks must name what it holds.
fn is_marked_wrongly(facts: &CopyFacts<'_>, read: &Read) -> bool {
    let Some(mark) = &read.meta.mark else { return true };
    if facts.owner.key.is_cluster_scoped() && !read.as_marked {
        return true;
    }
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
    lost_copy(facts).unwrap_or(Next::Settled(Verdict::SourceMissing))
}

/// What tells whether the copy is there that the status tells of and the watch does not show.
fn lost_copy(facts: &CopyFacts<'_>) -> Option<Next> {
    let CopyFacts { reported, destination, .. } = facts;
    let lost = matches!(destination.copy, CopyState::Unknown) && reported.exists;
    lost.then(|| Next::look_for(destination)).flatten()
}

fn stalled(stall: Stall) -> Next {
    Next::Settled(Verdict::Stalled(stall))
}

/// What is known of a copy without a look at its content.
enum Compared {
    /// It was compared with the source as it is.
    Settled(Verdict),
    /// It was written from the source as it is, admission changed it, and the status says so.
    ReportedChanged,
    /// Nothing.
    Nothing,
}

/// What is known of the copy with this version.
fn compared(facts: &CopyFacts<'_>, copy: Version) -> Compared {
    let Some(rv) = facts.source.rv() else { return Compared::Nothing };
    let of_this = |pair: &(Version, Version)| pair.0.rv == rv && pair.1 == copy;
    let reported = &facts.reported;
    match (facts.verified.filter(of_this), facts.reported_pair().filter(of_this)) {
        (Some((source, _)), _) => Compared::Settled(match facts.changed {
            Some(what) => Verdict::Changed { source, copy, what: what.to_owned() },
            None => Verdict::InOrder { source, copy },
        }),
        (None, Some(_)) if reported.changed_by_admission => Compared::ReportedChanged,
        (None, Some((source, _))) => Compared::Settled(Verdict::InOrder { source, copy }),
        (None, None) => Compared::Nothing,
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
