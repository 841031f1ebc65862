//! What is to be done next for a sync: one pure function from what is known to one step.
//!
//! The run layer observes, asks [`next`], carries the step out, learns from the answer, and asks again until there
//! is nothing left to do. So there is no order of events that the rules depend on: whatever is known now decides.

use crate::rules::copy::facts::{Facts, Home, Source, Spot, Standing};
use crate::rules::copy::ownership::{Claim, claim, protected, stands_where_written};
use crate::rules::copy::step::{Step, Until};
use crate::rules::record::{Seen, Spec, Version};
use crate::rules::status::{self, Stall, Text, Verdict};
use crate::rules::uid::Uid;

/// The next step for a sync that exists.
pub fn next(facts: &Facts<'_>) -> Step {
    let sync = facts.sync;
    if sync.deleting {
        return retire(facts);
    }
    let (spec, spot) = match (&sync.spec, &facts.destination) {
        (Ok(spec), Some(spot)) => (spec, spot),
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
        Source::Unknown if misses_copy(facts, spot) => Step::ReadSource { last_word: facts.recheck },
        Source::Unknown if facts.recheck || !tells(facts, &Verdict::SourceMissing) => {
            Step::ReadSource { last_word: facts.recheck }
        }
        Source::Unknown => Step::Rest(Until::SourceRecheck),
        Source::Missing => without_source(facts, spec, spot),
        Source::Seen(_) | Source::InHand { .. } => match spot.namespace {
            Home::Unknown if tells(facts, &Verdict::NamespaceMissing) => Step::Rest(Until::Change),
            Home::Unknown => Step::ReadNamespace(spot.place.namespace.clone()),
            Home::Absent => report(facts, Verdict::NamespaceMissing),
            Home::Terminating => report(facts, Verdict::NamespaceTerminating),
            Home::Live(namespace) => with_source(facts, spec, spot, namespace),
        },
    }
}

/// Whether the status tells of a copy that the stream does not show.
fn misses_copy(facts: &Facts<'_>, spot: &Spot<'_>) -> bool {
    facts.sync.status.destination_exists && matches!((spot.copy, spot.namespace), (Standing::Unknown, Home::Live(_)))
}

/// The source is there, and so is the destination's namespace.
fn with_source(facts: &Facts<'_>, spec: &Spec, spot: &Spot<'_>, namespace: Uid) -> Step {
    let Some(seen) = spot.copy.seen() else {
        return match facts.source {
            Source::InHand { .. } => repair(facts, spec, Step::Create),
            _ => Step::ReadSource { last_word: false },
        };
    };
    match known(facts, seen.version) {
        Known::InOrder(verdict) | Known::Changed(verdict) => return wind_up(facts, verdict),
        // The status says so. It is written anew when something changes, or when a person asks.
        Known::ToldChanged if facts.sync.request().is_none() => return Step::Rest(Until::Change),
        Known::ToldChanged | Known::Nothing => {}
    }
    if seen.deleting {
        return report(facts, Verdict::CopyHeld(spot.place.clone())); // its end is seen, and then a new one is made
    }
    match claim_of(facts, seen, namespace, true) {
        Claim::Ours => renew(facts, spec, spot, seen),
        // To be taken over; but what a controller has made its own meanwhile never is.
        Claim::Inherited | Claim::AnotherSyncs if !seen.controlled => renew(facts, spec, spot, seen),
        Claim::Restored if !seen.controlled && !is_read(spot) => Step::ReadCopy(spot.place.clone()),
        Claim::Restored if !seen.controlled && is_as_marked(spot) => renew(facts, spec, spot, seen),
        Claim::Restored | Claim::Inherited | Claim::AnotherSyncs | Claim::Foreign => adopt(facts, spec, spot, seen),
    }
}

fn is_read(spot: &Spot<'_>) -> bool {
    matches!(spot.copy, Standing::Read(_))
}

/// Whether the content was read and is that of which the mark has the hash.
fn is_as_marked(spot: &Spot<'_>) -> bool {
    matches!(spot.copy, Standing::Read(read) if read.as_marked)
}

/// What stands at the destination is a copy, of this sync or left there by one that no longer wants the place.
fn renew(facts: &Facts<'_>, spec: &Spec, spot: &Spot<'_>, seen: &Seen) -> Step {
    let written_from = seen.mark.as_ref().map_or(0, |mark| mark.source_rv);
    let newer = facts.source.rv().is_some_and(|rv| rv > written_from.max(known_to_be_reached(facts)));
    let Standing::Read(read) = spot.copy else {
        // With somebody else's labels on it, it is read so that theirs stay; with content of a version that is not
        // older than ours, or unknown, it is read to be compared.
        if seen.foreign_metadata || !newer || written_from == 0 {
            return Step::ReadCopy(spot.place.clone());
        }
        return match facts.source {
            Source::InHand { .. } => write(facts, spec, Step::Replace { over: seen.version, adopt: false }),
            _ => Step::ReadSource { last_word: false },
        };
    };
    let Source::InHand { version, hash, immutable, last_word } = facts.source else {
        return Step::ReadSource { last_word: false };
    };
    if hash == read.hash && (read.immutable || !immutable) && !marks_are_anothers(facts, spot, seen) {
        return wind_up(facts, Verdict::InOrder { source: version, copy: seen.version });
    }
    // A copy never goes back: what is not newer than what stands there is written only if it is the last word.
    if !newer && !last_word {
        return Step::ReadSource { last_word: true };
    }
    match read.immutable {
        true if seen.adopted => stall(facts, Stall::DestinationImmutable),
        true => repair(facts, spec, Step::Remove(spot.place.clone(), seen.version)),
        false => repair(facts, spec, Step::Replace { over: seen.version, adopt: false }),
    }
}

/// The newest version of the source that the copy is known to have held, whatever its marks say: a copy that was
/// compared and found equal keeps the marks of an older version.
fn known_to_be_reached(facts: &Facts<'_>) -> u64 {
    let verified = facts.verified.map(|(source, _)| source);
    verified.into_iter().chain(facts.sync.status.source).map(|source| source.rv).max().unwrap_or(0)
}

/// Whether the copy must be marked anew though its content is right: it carries another sync's marks, or those of a
/// namespace that is no more. (The seed's
/// marks may stay until the source changes.)
fn marks_are_anothers(facts: &Facts<'_>, spot: &Spot<'_>, seen: &Seen) -> bool {
    let Some(mark) = &seen.mark else { return true };
    match mark.uid {
        // One of ours that lost a mark; the seed's have no place.
        None => mark.at.is_some(),
        Some(uid) => uid != facts.sync.uid() || matches!(spot.namespace, Home::Live(home) if mark.at != Some(home)),
    }
}

/// What stands at the destination is nobody's copy.
fn adopt(facts: &Facts<'_>, spec: &Spec, spot: &Spot<'_>, seen: &Seen) -> Step {
    if seen.controlled {
        return stall(facts, Stall::DestinationControlled);
    }
    if !spec.overwrite {
        return stall(facts, Stall::DestinationExists);
    }
    let Standing::Read(read) = spot.copy else { return Step::ReadCopy(spot.place.clone()) };
    let Source::InHand { version, hash, last_word, .. } = facts.source else {
        return Step::ReadSource { last_word: false };
    };
    if seen.seed_adopted && hash == read.hash {
        return wind_up(facts, Verdict::InOrder { source: version, copy: seen.version });
    }
    if read.immutable {
        return stall(facts, Stall::DestinationImmutable);
    }
    // A copy of ours looks foreign while the stream still shows the namespace that stood here before; it must not go back.
    if seen.mark.as_ref().is_some_and(|mark| mark.uid.is_some()) && !last_word {
        return Step::ReadSource { last_word: true };
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
fn claim_of(facts: &Facts<'_>, seen: &Seen, namespace: Uid, wants: bool) -> Claim {
    let told = &facts.sync.status;
    let ours = told.changed_by_admission && told.copy.is_some_and(|copy| copy.uid == seen.version.uid);
    match claim(seen, facts.sync, namespace, wants) {
        Claim::Foreign if wants && ours && seen.mark.is_none() => Claim::Ours,
        claim => claim,
    }
}

/// The copy is in order: clear what stands at former destinations, then say so.
fn wind_up(facts: &Facts<'_>, verdict: Verdict) -> Step {
    if let Some(step) = clear_leftovers(facts, true).find(Step::is_about_copies) {
        return step;
    }
    match report(facts, verdict) {
        // What only its marks call this sync's copy comes last, so that it holds nothing up.
        Step::Rest(until) => clear_leftovers(facts, false).find(Step::is_about_copies).unwrap_or(Step::Rest(until)),
        step => step,
    }
}

/// What is still to be done so that nothing of this sync's stands at former destinations. What another sync wants is
/// left for it to take over. `known`: whether the sync is known to have wanted the place.
fn clear_leftovers(facts: &Facts<'_>, known: bool) -> impl Iterator<Item = Step> {
    let orphan = facts.sync.orphan();
    let leftovers = facts.leftovers.iter().filter(move |spot| !spot.wanted_by_another && spot.known == known);
    leftovers.filter_map(move |spot| clear(facts, spot, orphan, false))
}

/// There is no source.
fn without_source(facts: &Facts<'_>, spec: &Spec, spot: &Spot<'_>) -> Step {
    if spec.follow_source
        && let Some(step) =
            clear(facts, spot, false, true).or_else(|| clear_leftovers(facts, true).find(Step::is_about_copies))
    {
        return if facts.missing_twice { step } else { Step::Rest(Until::SecondLook) };
    }
    if matches!(spot.copy, Standing::Unknown) && facts.sync.status.destination_exists {
        match spot.namespace {
            Home::Live(_) => return Step::ReadCopy(spot.place.clone()),
            Home::Unknown => return Step::ReadNamespace(spot.place.namespace.clone()),
            Home::Absent | Home::Terminating => {}
        }
    }
    report(facts, Verdict::SourceMissing)
}

/// The sync is being deleted: its copies go first, then its finalizer. What only its marks call its copy is swept
/// afterwards, by whoever sees the sync go.
fn retire(facts: &Facts<'_>) -> Step {
    if !facts.sync.finalizer {
        return Step::Rest(Until::Change);
    }
    let orphan = facts.sync.orphan();
    let destination = facts.destination.iter().filter_map(|spot| clear(facts, spot, orphan, true));
    let mut steps: Vec<Step> = destination.chain(clear_leftovers(facts, true)).collect();
    // One that is held does not keep the others waiting.
    let at = steps.iter().position(Step::is_about_copies).unwrap_or(0);
    if steps.is_empty() { Step::RemoveFinalizer } else { steps.swap_remove(at) }
}

/// What is still to be done so that nothing of this sync's stands at `spot`. `wants`: it is the spec's destination.
fn clear(facts: &Facts<'_>, spot: &Spot<'_>, orphan: bool, wants: bool) -> Option<Step> {
    let seen = match spot.copy {
        Standing::Absent => return None,
        // Nothing is called missing on the word of a stream alone, if there is reason to think that it was there: the
        // status says so, or, since a status may lag behind, our finalizer is on a sync that goes.
        Standing::Unknown if wants && (facts.sync.deleting || facts.sync.status.destination_exists) => {
            return match spot.namespace {
                Home::Unknown => Some(Step::ReadNamespace(spot.place.namespace.clone())),
                Home::Absent | Home::Terminating => None,
                Home::Live(_) => Some(Step::ReadCopy(spot.place.clone())),
            };
        }
        Standing::Unknown => return None,
        Standing::Seen(seen) => seen,
        Standing::Read(read) => &read.seen,
    };
    let namespace = match spot.namespace {
        Home::Unknown => return Some(Step::ReadNamespace(spot.place.namespace.clone())),
        Home::Absent | Home::Terminating => return None, // all in it goes by itself
        Home::Live(namespace) => namespace,
    };
    match claim_of(facts, seen, namespace, wants) {
        Claim::Ours | Claim::Inherited => {}
        Claim::Restored if !is_read(spot) => return Some(Step::ReadCopy(spot.place.clone())),
        Claim::Restored if is_as_marked(spot) => {}
        // Its annotations are ours to take off, its content is not.
        Claim::Foreign if wants && seen.seed_adopted => return Some(take_away(spot, seen, true)),
        Claim::Restored | Claim::AnotherSyncs | Claim::Foreign => {
            // A stream that lags may show what stood there before the copy was made.
            let unread = matches!(spot.copy, Standing::Seen(_));
            return (wants && facts.sync.deleting && unread).then(|| Step::ReadCopy(spot.place.clone()));
        }
    }
    if seen.deleting && !(orphan || seen.adopted) {
        return Some(report(facts, Verdict::CopyHeld(spot.place.clone())));
    }
    Some(take_away(spot, seen, orphan))
}

/// What was there before us stays, without our marks; what we made goes.
fn take_away(spot: &Spot<'_>, seen: &Seen, orphan: bool) -> Step {
    match spot.copy {
        _ if !(orphan || seen.adopted) => Step::Remove(spot.place.clone(), seen.version),
        Standing::Read(_) => Step::Unmark(spot.place.clone()),
        _ => Step::ReadCopy(spot.place.clone()),
    }
}

/// The next step for a copy whose sync is gone, or no longer wants this place and cannot say so: by a GET of the
/// sync, which the caller made.
pub fn sweep(spot: &Spot<'_>, orphan: bool) -> Step {
    match (spot.copy.seen(), spot.namespace) {
        (Some(seen), Home::Live(namespace))
            if !spot.wanted_by_another
                && !seen.deleting
                && seen.mark.as_ref().is_some_and(|mark| stands_where_written(mark, namespace)) =>
        {
            take_away(spot, seen, orphan)
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
pub fn text(facts: &Facts<'_>, verdict: &Verdict) -> Text<'static> {
    let told = &facts.sync.status;
    let source_exists = match facts.source {
        Source::Unknown => told.source_exists,
        Source::Missing => false,
        Source::Seen(_) | Source::InHand { .. } => true,
    };
    let destination_exists = match facts.destination.as_ref().map(|spot| (spot.copy, spot.namespace)) {
        Some((_, Home::Absent) | (Standing::Absent, _)) => false,
        Some((Standing::Seen(_) | Standing::Read(_), _)) => true,
        Some((Standing::Unknown, _)) | None => told.destination_exists,
    };
    status::text(verdict, facts.sync, source_exists, destination_exists)
}
