//! What is to be done next for an object and its copy: one pure function from what is known to one step.

use crate::rules::consent::Consent;
use crate::rules::copy::facts::{ConsentFacts, CopyFacts, CopyState, NamespaceState, Owner, Reported, Source};
use crate::rules::copy::plan;
use crate::rules::copy::removal::Removal;
use crate::rules::copy::step::{CopyStep, Next, Until};
use crate::rules::copy::verdict::{Stall, Verdict};
use crate::rules::object::facts::ObjectFacts;
use crate::rules::object::status::{self, Known, StatusContent};
use crate::rules::object::step::Step;

/// The next step for an object that exists.
pub fn next(facts: &ObjectFacts<'_>) -> Step {
    let sync = facts.sync;
    if sync.deleting {
        return finalize(facts);
    }
    let (spec, copy) = match (&sync.spec, &facts.copy) {
        (Ok(spec), Some(copy)) => (spec, copy),
        (Err(invalid), _) => return report(facts, Verdict::Stalled(Stall::InvalidSpec(invalid.why.to_string()))),
        (Ok(_), None) => return Step::Rest(Until::Change),
    };
    if spec.suspend {
        return Step::Rest(Until::Change);
    }
    match plan::next(copy) {
        // Only the finalizer tells a sweep that the copy stays.
        Next::Write(_) if spec.orphan && !sync.finalizer => Step::AddFinalizer { ahead: true },
        Next::Do(step) | Next::Write(step) => Step::Copy(step),
        Next::Settled(verdict) => settled(facts, copy, verdict),
        Next::Unproven(verdict, _) if is_reported(facts, &verdict) => Step::Rest(until(&verdict)),
        Next::Unproven(_, step) => Step::Copy(step),
        Next::Rest(until) => Step::Rest(until),
    }
}

/// So it stands with the copy: what the object no longer wants goes, if nothing may still need it, and then the status is written.
fn settled(facts: &ObjectFacts<'_>, copy: &CopyFacts<'_>, verdict: Verdict) -> Step {
    let in_order = matches!(verdict, Verdict::InOrder { .. } | Verdict::Changed { .. });
    let goes_with_source = verdict == Verdict::SourceMissing && copy.spec.delete_with_source;
    let taken_back =
        verdict == Verdict::SourceNotShared && copy.consent.consent == Consent::Refused && !copy.spec.orphan;
    if (in_order || goes_with_source || taken_back)
        && let Some(step) = orphaned(facts, true).find_map(request)
    {
        let asked_twice = if taken_back { copy.consent.refused_twice } else { copy.missing_twice };
        return match copy.source {
            _ if in_order || asked_twice => step,
            Source::Observed(_) => Step::Copy(CopyStep::ReadSource { uncached: false }),
            _ => Step::Rest(Until::SecondLook),
        };
    }
    match report(facts, verdict) {
        // What only its marks call this object's copy comes last, so that it holds nothing up.
        Step::Rest(until) if in_order => orphaned(facts, false).find_map(request).unwrap_or(Step::Rest(until)),
        step => step,
    }
}

/// What comes next for each of the copies that the object no longer wants. What another sync wants is left for it to take
/// over. `wanted_before`: whether the object is known to have wanted them.
fn orphaned(facts: &ObjectFacts<'_>, wanted_before: bool) -> impl Iterator<Item = Next> {
    let removal = removal(facts);
    let copies =
        facts.orphaned_copies.iter().filter(move |copy| !copy.wanted_by_another && copy.wanted_before == wanted_before);
    copies.filter_map(move |copy| removal.of_orphaned(copy))
}

fn removal<'a>(facts: &ObjectFacts<'a>) -> Removal<'a> {
    let sync = facts.sync;
    let (owner, reported) = (Owner::of(sync), Reported::by(sync));
    Removal { owner, reported, orphan: sync.orphan(), deleting: sync.deleting }
}

fn request(next: Next) -> Option<Step> {
    match next {
        Next::Do(step) | Next::Write(step) | Next::Unproven(_, step) => Some(Step::Copy(step)),
        Next::Settled(_) | Next::Rest(_) => None,
    }
}

/// The object is being deleted: its copies go first, then its finalizer. What only its marks call its copy is swept
/// afterwards, by whoever sees the object go.
fn finalize(facts: &ObjectFacts<'_>) -> Step {
    if !facts.sync.finalizer {
        return Step::Rest(Until::Change);
    }
    let wanted = facts.copy.iter().filter_map(|copy| removal(facts).of_wanted(&copy.destination));
    let mut left: Vec<Next> = wanted.chain(orphaned(facts, true)).collect();
    // One that is held does not keep the others waiting.
    let at = left.iter().position(|next| matches!(next, Next::Do(_))).unwrap_or(0);
    if left.is_empty() {
        return Step::RemoveFinalizer;
    }
    // What another object wants is left for it to take over, if it can.
    let heir = facts.copy.as_ref().is_some_and(|copy| copy.destination.wanted_by_another);
    if heir && !facts.take_over_waited {
        return Step::Rest(Until::TakeOver);
    }
    match left.swap_remove(at) {
        Next::Settled(verdict) => report(facts, verdict),
        next => request(next).unwrap_or(Step::Rest(Until::Change)),
    }
}

/// Says so on the object, if it does not say so already. A finalizer is put on it once there is a copy to clear.
fn report(facts: &ObjectFacts<'_>, verdict: Verdict) -> Step {
    if matches!(verdict, Verdict::InOrder { .. }) && !facts.sync.finalizer {
        return Step::AddFinalizer { ahead: false };
    }
    let text = text(facts, &verdict);
    let until = until(&verdict);
    let verdict = as_told(facts, &verdict);
    match text.digest() == facts.sync.status.digest {
        true => Step::Rest(until),
        false => Step::Report(verdict, Box::new(text)),
    }
}

/// As it is told: where consent is needed, nobody learns whether there is no source or whether it is not shared.
fn as_told(facts: &ObjectFacts<'_>, verdict: &Verdict) -> Verdict {
    let required = facts.copy.as_ref().is_some_and(|copy| copy.consent.required);
    match verdict {
        Verdict::SourceMissing if required => Verdict::SourceNotShared,
        verdict => verdict.clone(),
    }
}

/// What ends the rest of an object whose status says this.
fn until(verdict: &Verdict) -> Until {
    if *verdict == Verdict::SourceMissing { Until::SourceRecheck } else { Until::Change }
}

/// Whether the object's status says just that already: then it needs no new proof.
fn is_reported(facts: &ObjectFacts<'_>, verdict: &Verdict) -> bool {
    text(facts, verdict).digest() == facts.sync.status.digest
}

/// Whether something stands at the destination, by what is known, and else by what was reported before.
pub fn destination_exists(facts: &ObjectFacts<'_>) -> bool {
    let destination = facts.copy.as_ref().map(|copy| (copy.destination.copy, copy.destination.namespace));
    match destination {
        Some((_, NamespaceState::Absent) | (CopyState::Absent, _)) => false,
        Some((CopyState::Cached(_) | CopyState::Read(_), _)) => true,
        Some((CopyState::Unknown, _)) | None => facts.sync.status.destination_exists,
    }
}

/// The status that a verdict makes, by what is known, and else by what was reported before.
pub fn text(facts: &ObjectFacts<'_>, verdict: &Verdict) -> StatusContent<'static> {
    let reported = &facts.sync.status;
    let verdict = &as_told(facts, verdict);
    let consent = facts.copy.as_ref().map(|copy| copy.consent).unwrap_or_default();
    let source_exists = match facts.copy.as_ref().map(|copy| copy.source) {
        _ if !consent.may_tell() => false,
        Some(Source::Missing) => false,
        Some(Source::Observed(_) | Source::InHand { .. }) => true,
        Some(Source::Unknown) | None => reported.source_exists,
    };
    let destination_exists = destination_exists(facts);
    let ConsentFacts { required, source_namespace, .. } = consent;
    status::text(verdict, facts.sync, Known { source_exists, destination_exists, required, source_namespace })
}
