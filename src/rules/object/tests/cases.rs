//! The rules of the plan, one case each.

use rstest::rstest;

use crate::rules::copy::facts::{CopyState, Destination, NamespaceState, Read, Source};
use crate::rules::copy::removal::sweep;
use crate::rules::object::step::Step;
use crate::rules::object::tests::scenario::*;
use crate::rules::record::{ConfigMapMeta, InvalidSpec, Spec};
use crate::rules::testing::*;

fn unusable(orphan: bool) -> Result<Spec, InvalidSpec> {
    Err(InvalidSpec { why: "empty".into(), orphan })
}

#[rstest]
#[case::makes_the_copy_then_says_so(new(), "read source, create, finalizer, report in order, rest")]
#[case::that_leaves_its_copy_behind_takes_its_finalizer_first(
    new().but(|g| g.spec().orphan = true),
    "read source, finalizer first, create, report in order, rest"
)]
#[case::finds_its_copy_there_after_a_late_answer(
    standing(copy_of("a/s", 1, LIVE)).but(|g| { g.here().copy = Copy::Unknown; }),
    "read source, create, replace, finalizer, report in order, rest"
)]
#[case::waits_for_its_namespace(
    new().but(|g| { g.here().namespace = NamespaceState::Unknown; g.here().namespace_truth = NamespaceState::Absent; }),
    "read b, report NamespaceMissing, rest"
)]
#[case::waits_for_its_namespace_to_go(
    new().but(|g| g.here().namespace = NamespaceState::Terminating),
    "report NamespaceTerminating, rest"
)]
#[case::asks_for_a_namespace_that_the_stream_has_not_told_of(
    new().but(|g| g.here().namespace = NamespaceState::Unknown),
    "read b, read source, create, finalizer, report in order, rest"
)]
#[case::has_no_source(new().but(Scenario::source_gone), "read source, report SourceMissing, rest 300 s")]
#[case::is_suspended(new().but(|g| g.spec().suspend = true), "rest")]
#[case::copies_onto_itself(new().but(|g| g.spec().destination = object_key("a/x")), "report InvalidSpec, rest")]
#[case::makes_no_sense(
    new().but(|g| { g.sync.spec = unusable(false); g.destination = None; }),
    "report InvalidSpec, rest"
)]
#[case::wants_what_kubernetes_keeps(
    new().but(|g| { g.spec().destination = object_key("b/kube-root-ca.crt"); g.here().key = object_key("b/kube-root-ca.crt"); }),
    "report DestinationProtected, rest"
)]
#[case::is_part_of_a_ring(
    new().but(|g| g.cycle = Some(vec![object_key("a/x"), object_key("b/x"), object_key("a/x")])),
    "report SyncCycle, rest"
)]
#[case::wants_another_syncs_copy(
    standing(copy_of("n/t", 7, LIVE)).but(|g| g.rival = Some(object_key("n/t"))),
    "report DestinationConflict, rest"
)]
fn a_new_sync(#[case] mut scenario: Scenario, #[case] steps: &str) {
    assert_eq!(scenario.run(), steps);
    assert_eq!(scenario.restarted().run().split(' ').next(), Some("rest"), "a restart writes nothing");
}

#[rstest]
#[case::is_adopted(foreign(), |_: &mut Scenario| (), "read b/x, read source, adopt, finalizer, report in order, rest")]
#[case::is_left_alone_by_policy(foreign(), |g: &mut Scenario| g.spec().overwrite = false, "report DestinationExists, rest")]
#[case::is_left_alone_when_controlled(foreign(), |g: &mut Scenario| g.truth().meta.controlled = true, "report DestinationControlled, rest")]
#[case::that_is_going_is_waited_for(foreign(), |g: &mut Scenario| g.truth().meta.deleting = true, "report b/x held, rest")]
#[case::and_carries_our_marks_from_elsewhere_is_foreign(copy_of("a/s", 1, 99), |g: &mut Scenario| g.spec().overwrite = false, "report DestinationExists, rest")]
#[case::and_carries_another_syncs_marks_from_elsewhere_is_adopted(
    copy_of("n/t", 7, 99), |_: &mut Scenario| (), "read b/x, read source, ask for source, adopt, finalizer, report in order, rest")]
#[case::that_a_former_owner_left_is_taken_over(
    copy_of("n/t", 7, LIVE), |g: &mut Scenario| g.spec().overwrite = false, "read source, replace, finalizer, report in order, rest")]
#[case::that_a_former_owner_left_and_a_controller_took_is_left_alone(
    copy_of("n/t", 7, LIVE), |g: &mut Scenario| g.truth().meta.controlled = true, "report DestinationControlled, rest")]
#[case::that_an_earlier_sync_of_the_name_left_is_taken_over(
    copy_of("a/s", 7, LIVE), |g: &mut Scenario| g.spec().overwrite = false, "read source, replace, finalizer, report in order, rest")]
#[case::and_holds_the_right_content_is_marked_anew_if_its_marks_are_anothers(
    copy_of("a/s", 7, LIVE), |g: &mut Scenario| { g.truth().hash = [1; 32]; g.truth().meta.foreign_metadata = true; },
    "read b/x, read source, replace, finalizer, report in order, rest")]
#[case::is_a_copy_by_the_seed_in_order(seeds_copy(1), |_: &mut Scenario| (), "read b/x, read source, finalizer, report in order, rest")]
#[case::is_a_copy_by_the_seed_that_is_old(
    seeds_copy(7), |_: &mut Scenario| (), "read b/x, read source, replace, finalizer, report in order, rest")]
#[case::was_adopted_by_the_seed_and_is_in_order(
    foreign(), |g: &mut Scenario| { g.truth().meta.seed_adopted = true; g.truth().hash = [1; 32]; },
    "read b/x, read source, finalizer, report in order, rest")]
#[case::was_adopted_by_the_seed_and_is_old(
    foreign(), |g: &mut Scenario| g.truth().meta.seed_adopted = true, "read b/x, read source, adopt, finalizer, report in order, rest")]
fn what_stands_at_the_destination(#[case] read: Read, #[case] edit: fn(&mut Scenario), #[case] steps: &str) {
    let mut scenario = standing(read).but(edit);
    assert_eq!(scenario.run(), steps);
    assert_eq!(scenario.restarted().run(), "rest", "a restart writes nothing");
}

#[test]
fn a_foreign_immutable_one_is_left_alone() {
    let mut scenario = standing(foreign()).but(|g| g.truth().immutable = true);
    assert_eq!(scenario.run(), "read b/x, read source, report DestinationImmutable, rest");
    assert_eq!(scenario.run(), "rest");
}

#[rstest]
#[case::nothing(|_: &mut Scenario| (), "rest")]
#[case::the_source(|g: &mut Scenario| g.source_is(50, 2), "read source, replace, report in order, rest")]
#[case::the_source_and_foreign_labels_are_on_the_copy(
    |g: &mut Scenario| { g.touched(1); g.truth().meta.foreign_metadata = true; g.run(); g.source_is(50, 2); g.here().copy = Copy::Cached; },
    "read b/x, read source, replace, report in order, rest")]
#[case::the_sources_labels(|g: &mut Scenario| g.source_is(50, 1), "read source, replace, report in order, rest")]
#[case::the_copys_labels(|g: &mut Scenario| g.touched(1), "read b/x, read source, report in order, rest")]
#[case::the_copys_content(|g: &mut Scenario| g.touched(7), "read b/x, read source, ask for source, replace, report in order, rest")]
#[case::the_copys_marks_are_gone(
    |g: &mut Scenario| { g.touched(1); g.truth().meta.mark = None; },
    "read b/x, read source, adopt, report in order, rest")]
#[case::the_copy_is_gone(
    |g: &mut Scenario| { g.here().truth = None; g.here().copy = Copy::Unknown; },
    "read source, create, report in order, rest")]
#[case::the_copy_is_going_but_held(
    |g: &mut Scenario| { g.touched(1); g.truth().meta.deleting = true; },
    "report b/x held, rest")]
#[case::the_copy_again_and_again(
    |g: &mut Scenario| { g.touched(7); g.contested = Some("kubectl".to_owned()); },
    "read b/x, read source, ask for source, report Contested, rest")]
#[case::the_copy_by_someone_who_takes_our_marks_off_each_time(
    |g: &mut Scenario| { g.touched(7); g.truth().meta.mark = None; g.contested = Some("argocd".to_owned()); },
    "read b/x, read source, report Contested, rest")]
#[case::the_source_while_somebody_contests_the_copy(
    |g: &mut Scenario| { g.source_is(50, 2); g.contested = Some("kubectl".to_owned()); },
    "read source, replace, report in order, rest")]
#[case::the_source_and_the_copy_is_immutable(
    |g: &mut Scenario| { g.truth().immutable = true; g.source_is(50, 2); },
    "read source, replace, remove b/x, create, report in order, rest")]
#[case::the_policy(|g: &mut Scenario| { g.spec().orphan = true; g.sync.generation += 1; }, "report in order, rest")]
#[case::the_sources_place(
    |g: &mut Scenario| { g.spec().source = object_key("a/y"); g.sync.generation += 1; g.source_is(5, 2); },
    "read b/x, read source, ask for source, replace, report in order, rest")]
#[case::it_is_suspended(|g: &mut Scenario| { g.spec().suspend = true; g.source_is(50, 2); }, "rest")]
#[case::the_namespace_is_going(|g: &mut Scenario| { g.here().namespace = NamespaceState::Terminating; g.here().copy = Copy::Unknown; g.here().truth = None; },
    "report NamespaceTerminating, rest")]
#[case::the_namespace_is_gone(
    |g: &mut Scenario| { g.here().namespace = NamespaceState::Unknown; g.here().namespace_truth = NamespaceState::Absent; g.here().copy = Copy::Unknown; g.here().truth = None; },
    "read b, report NamespaceMissing, rest")]
fn when_something_changed(#[case] edit: fn(&mut Scenario), #[case] steps: &str) {
    assert_eq!(settled().but(edit).run(), steps);
}

#[test]
fn a_copy_went_with_its_namespace_and_the_status_says_so() {
    let mut scenario = settled().but(|g| {
        (g.here().namespace, g.here().namespace_truth) = (NamespaceState::Unknown, NamespaceState::Absent);
        (g.here().copy, g.here().truth) = (Copy::Unknown, None);
    });
    scenario.run();
    assert!(!scenario.sync.status.destination_exists);
    scenario.here().namespace = NamespaceState::Unknown;
    assert_eq!(scenario.restarted().run(), "rest");
}

fn conflict(scenario: &mut Scenario) {
    scenario.shaped(5);
    scenario.key_conflict = Some("the keys a and b of the source would both be c in the copy".to_owned());
}

fn shaped() -> Scenario {
    let mut scenario = settled();
    scenario.shaped(5);
    scenario.run();
    let mut scenario = scenario.restarted();
    assert_eq!(scenario.run(), "rest", "a restart reads nothing");
    scenario
}

fn unshaped(scenario: &mut Scenario) {
    scenario.sync.rare = None;
    scenario.edited(1);
}

/// What the spec says of keys and metadata changes what a copy is to have, though the source is as it was.
#[rstest]
#[case::says_something_of_them(settled(), |g: &mut Scenario| g.shaped(5), "read source, read b/x, replace, report in order, rest")]
#[case::says_something_else(shaped(), |g: &mut Scenario| g.shaped(6), "read source, read b/x, replace, report in order, rest")]
#[case::says_nothing_any_more(shaped(), unshaped, "read source, read b/x, replace, report in order, rest")]
#[case::says_what_makes_no_difference(shaped(), |g: &mut Scenario| g.shaped(5), "read source, read b/x, report in order, rest")]
#[case::with_a_new_source_the_copy_is_not_read(
    shaped(), |g: &mut Scenario| { g.shaped(6); g.source_is(60, 7); }, "read source, replace, report in order, rest")]
#[case::an_immutable_copy_is_made_anew(
    shaped(), |g: &mut Scenario| { g.shaped(6); g.truth().immutable = true; },
    "read source, read b/x, remove b/x, create, report in order, rest")]
#[case::the_labels_of_an_immutable_copy_are_changed(
    shaped(), |g: &mut Scenario| { g.shaped(6); g.truth().immutable = true; g.holds_content = true; },
    "read source, read b/x, replace, report in order, rest")]
#[case::so_are_those_of_an_adopted_one(
    shaped(), |g: &mut Scenario| { g.shaped(6); g.truth().immutable = true; g.truth().meta.adopted = true; g.holds_content = true; },
    "read source, read b/x, replace, report in order, rest")]
#[case::but_not_its_content(
    shaped(), |g: &mut Scenario| { g.shaped(6); g.truth().immutable = true; g.truth().meta.adopted = true; },
    "read source, read b/x, report DestinationImmutable, rest")]
#[case::somebody_keeps_changing_it(
    shaped(), |g: &mut Scenario| { g.shaped(6); g.contested = Some("joe".to_owned()); },
    "read source, read b/x, report Contested, rest")]
#[case::two_keys_would_have_one_name(settled(), conflict, "read source, report KeyConflict, rest")]
#[case::and_nothing_stands_there(new(), conflict, "read source, report KeyConflict, rest")]
#[case::nothing_is_said_of_it_while_it_is_suspended(
    settled(), |g: &mut Scenario| { g.shaped(5); g.spec().suspend = true; }, "rest")]
fn a_spec_that(#[case] mut scenario: Scenario, #[case] edit: fn(&mut Scenario), #[case] steps: &str) {
    edit(&mut scenario);
    assert_eq!(scenario.run(), steps);
    let again = scenario.restarted().run();
    let writes = ["replace", "create", "remove", "report"].iter().any(|word| again.contains(word));
    assert!(again.ends_with("rest") && !writes, "{again}");
}

#[test]
fn keys_that_have_names_of_their_own_again_are_copied() {
    for (mut scenario, steps) in [
        (settled(), "read source, read b/x, replace, report in order, rest"),
        (new(), "read source, create, finalizer, report in order, rest"),
    ] {
        conflict(&mut scenario);
        scenario.run();
        scenario.key_conflict = None;
        scenario.shaped(6);
        assert_eq!(scenario.restarted().run(), steps);
    }
}

#[test]
fn a_touched_copy_with_labels_of_ours_is_restored() {
    let steps = shaped().but(|g| g.touched(9)).run();
    assert_eq!(steps, "read source, read b/x, ask for source, replace, report in order, rest");
}

/// A copy never goes back: what a watch or cache tells that lags is asked for again.
#[rstest]
#[case::the_copy_was_written_from_a_newer_source(|g: &mut Scenario| g.source = Source::Observed(15), "read b/x, read source, rest")]
#[case::and_the_cache_lags_too(
    |g: &mut Scenario| { g.source = Source::Observed(15); g.cached = Some((15, 7)); },
    "read b/x, read source, ask for source, rest")]
#[case::the_copy_was_compared_with_a_newer_source(
    // The content of version 60 was found on the copy that was written from 20; version 50 held something else.
    |g: &mut Scenario| {
        g.source_is(60, 1);
        g.touched(1);
        g.truth().meta.foreign_metadata = true;
        assert_eq!(g.run(), "read b/x, read source, report in order, rest");
        (g.source, g.cached, g.verified, g.here().copy) = (Source::Observed(50), Some((50, 7)), None, Copy::Cached);
    },
    "read b/x, read source, ask for source, rest")]
#[case::the_status_tells_of_a_newer_source_and_the_copy_was_touched(
    |g: &mut Scenario| {
        g.source_is(60, 1);
        g.touched(1);
        g.run();
        g.touched(7);
        (g.source, g.cached, g.verified) = (Source::Observed(50), Some((50, 8)), None);
    },
    "read b/x, read source, ask for source, replace, report in order, rest")]
#[case::the_source_was_restored_to_an_older_version(
    |g: &mut Scenario| { g.source_is(5, 3); g.cached = Some((5, 3)); },
    "read b/x, read source, ask for source, replace, report in order, rest")]
fn a_lagging_view(#[case] edit: fn(&mut Scenario), #[case] steps: &str) {
    assert_eq!(settled().but(edit).run(), steps);
}

#[rstest]
#[case::keeps_the_copy(settled(), |_: &mut Scenario| (), "read source, report SourceMissing, rest 300 s")]
#[case::asks_twice_before_the_copy_goes(settled(), |g: &mut Scenario| g.spec().delete_with_source = true, "read source, rest 10 s")]
#[case::then_the_copy_goes(
    settled(), |g: &mut Scenario| { g.spec().delete_with_source = true; g.missing_twice = true; },
    "read source, remove b/x, report SourceMissing, rest 300 s")]
#[case::the_copy_goes_whatever_becomes_of_it_with_the_sync(
    settled(), |g: &mut Scenario| { g.spec().delete_with_source = true; g.spec().orphan = true; g.missing_twice = true; },
    "read source, remove b/x, report SourceMissing, rest 300 s")]
#[case::what_was_adopted_stays(
    adopted(), |g: &mut Scenario| { g.spec().delete_with_source = true; g.missing_twice = true; },
    "read source, read b/x, unmark b/x, report SourceMissing, rest 300 s")]
#[case::a_copy_of_which_the_stream_does_not_tell_is_asked_for(
    settled(), |g: &mut Scenario| g.here().copy = Copy::Unknown, "read source, read b/x, report SourceMissing, rest 300 s")]
#[case::a_copy_that_is_held_is_told(
    settled(), |g: &mut Scenario| { g.spec().delete_with_source = true; g.missing_twice = true; g.here().held = true; },
    "read source, remove b/x, report b/x held, rest")]
#[case::what_stands_at_a_former_place_goes_too(
    settled(), |g: &mut Scenario| { g.moved(); g.spec().delete_with_source = true; g.missing_twice = true; },
    "read source, read c/x, remove b/x, report SourceMissing, rest 300 s")]
#[case::what_stands_at_a_former_place_is_kept_too(settled(), |g: &mut Scenario| g.moved(), "read source, read c/x, report SourceMissing, rest 300 s")]
fn when_the_source_is_gone(#[case] scenario: Scenario, #[case] edit: fn(&mut Scenario), #[case] steps: &str) {
    let mut scenario = scenario.but(Scenario::source_gone).but(edit);
    assert_eq!(scenario.run(), steps);
    if steps.ends_with("300 s") {
        let mut scenario = scenario.restarted();
        assert_eq!(scenario.run(), "rest 300 s", "a restart asks for nothing");
        scenario.recheck = true;
        assert_eq!(scenario.run(), "ask for source, rest 300 s", "looking again costs one request");
    }
}

#[rstest]
#[case::the_new_copy_comes_first(settled(), |_: &mut Scenario| (), "read source, create, remove b/x, report in order, rest")]
#[case::the_old_one_stays_by_policy(
    settled(), |g: &mut Scenario| g.spec().orphan = true, "read source, create, read b/x, unmark b/x, report in order, rest")]
#[case::what_was_adopted_stays(adopted(), |_: &mut Scenario| (), "read source, create, read b/x, unmark b/x, report in order, rest")]
#[case::the_old_one_is_wanted_by_another(
    settled(), |g: &mut Scenario| g.orphaned_copies[0].wanted_by_another = true, "read source, create, report in order, rest")]
#[case::the_old_ones_namespace_is_going(
    settled(), |g: &mut Scenario| g.orphaned_copies[0].namespace = NamespaceState::Terminating, "read source, create, report in order, rest")]
#[case::the_old_ones_namespace_is_not_known(
    settled(), |g: &mut Scenario| g.orphaned_copies[0].namespace = NamespaceState::Unknown, "read source, create, read b, remove b/x, report in order, rest")]
#[case::the_old_one_is_held(
    settled(), |g: &mut Scenario| g.orphaned_copies[0].held = true, "read source, create, remove b/x, report in order, rest")]
#[case::the_old_one_stays_until_there_is_a_new_one(
    settled(), |g: &mut Scenario| *g.here() = Found { copy: Copy::Cached, truth: Some(foreign()), ..found("c/x", None) },
    "read c/x, read source, adopt, remove b/x, report in order, rest")]
#[case::the_old_one_stays_while_the_new_place_is_taken(
    settled(), |g: &mut Scenario| { *g.here() = found("c/x", Some(foreign())); g.spec().overwrite = false; },
    "report DestinationExists, rest")]
#[case::a_duplicate_elsewhere_with_our_marks_is_left_alone(
    settled(), |g: &mut Scenario| g.orphaned_copies.push(found("d/x", Some(copy_of("a/s", 1, LIVE + 9)))),
    "read source, create, remove b/x, report in order, rest")]
fn when_it_moves(#[case] scenario: Scenario, #[case] edit: fn(&mut Scenario), #[case] steps: &str) {
    assert_eq!(scenario.but(Scenario::moved).but(edit).run(), steps);
}

#[rstest]
#[case::its_copy_goes_first(settled(), |_: &mut Scenario| (), "remove b/x, release")]
#[case::its_copy_stays_by_policy(settled(), |g: &mut Scenario| g.spec().orphan = true, "read b/x, unmark b/x, release")]
#[case::what_was_adopted_stays(adopted(), |_: &mut Scenario| (), "read b/x, unmark b/x, release")]
#[case::what_was_adopted_stays_though_somebody_deletes_it(
    adopted(), |g: &mut Scenario| { g.truth().meta.deleting = true; g.here().held = true; }, "read b/x, unmark b/x, release")]
#[case::a_copy_of_which_the_stream_does_not_tell_is_asked_for(
    settled(), |g: &mut Scenario| g.here().copy = Copy::Unknown, "read b/x, remove b/x, release")]
#[case::also_one_of_which_the_status_did_not_tell_yet(
    new(), |g: &mut Scenario| { *g.here() = Found { copy: Copy::Unknown, ..found("b/x", Some(copy_of("a/s", 1, LIVE))) }; g.sync.finalizer = true; },
    "read b/x, remove b/x, release")]
#[case::there_is_no_copy(settled(), |g: &mut Scenario| { g.here().truth = None; g.here().copy = Copy::Unknown; }, "read b/x, release")]
#[case::its_copy_is_held(settled(), |g: &mut Scenario| g.here().held = true, "remove b/x, report b/x held, rest")]
#[case::its_namespace_is_going(settled(), |g: &mut Scenario| g.here().namespace = NamespaceState::Terminating, "release")]
#[case::its_namespace_is_gone(
    settled(), |g: &mut Scenario| { g.here().namespace = NamespaceState::Unknown; g.here().namespace_truth = NamespaceState::Absent; g.here().copy = Copy::Unknown; }, "read b, release")]
#[case::its_namespace_is_another_now(
    settled(), |g: &mut Scenario| g.here().namespace = NamespaceState::Live(uid(LIVE + 1)), "read b/x, release")]
#[case::what_stands_there_is_not_its(
    standing(foreign()), |g: &mut Scenario| g.sync.finalizer = true, "read b/x, release")]
#[case::another_took_its_copy_over(
    standing(copy_of("n/t", 7, LIVE)), |g: &mut Scenario| g.sync.finalizer = true, "read b/x, release")]
#[case::its_copy_is_the_seeds(standing(seeds_copy(1)), |g: &mut Scenario| g.sync.finalizer = true, "remove b/x, release")]
#[case::it_is_suspended(settled(), |g: &mut Scenario| g.spec().suspend = true, "remove b/x, release")]
#[case::its_source_is_gone(settled(), Scenario::source_gone, "remove b/x, release")]
#[case::its_spec_makes_no_sense_now(
    settled(), |g: &mut Scenario| { g.sync.spec = unusable(false); let was = g.destination.take(); g.orphaned_copies.extend(was); },
    "remove b/x, release")]
#[case::its_spec_makes_no_sense_but_for_orphan(
    settled(), |g: &mut Scenario| { g.sync.spec = unusable(true); let was = g.destination.take(); g.orphaned_copies.extend(was); },
    "read b/x, unmark b/x, release")]
#[case::it_had_just_moved(settled(), Scenario::moved, "read c/x, remove b/x, release")]
#[case::its_former_copy_is_wanted_by_another(
    settled(), |g: &mut Scenario| { g.moved(); g.orphaned_copies[0].wanted_by_another = true; }, "read c/x, release")]
#[case::its_former_copys_namespace_is_not_known(
    settled(), |g: &mut Scenario| { g.moved(); g.orphaned_copies[0].namespace = NamespaceState::Unknown; }, "read c/x, read b, remove b/x, release")]
#[case::it_never_had_our_finalizer(new(), |_: &mut Scenario| (), "rest")]
fn when_it_is_deleted(#[case] scenario: Scenario, #[case] edit: fn(&mut Scenario), #[case] steps: &str) {
    assert_eq!(scenario.but(Scenario::deleted).but(edit).run(), steps);
}

#[rstest]
#[case::goes(copy_of("a/gone", 9, LIVE), false, |_: &mut ConfigMapMeta, _: &mut Destination<'_>| (), "remove b/x")]
#[case::is_read_before_our_marks_come_off(copy_of("a/gone", 9, LIVE), true, |_: &mut ConfigMapMeta, _: &mut Destination<'_>| (), "read b/x")]
#[case::stays_when_it_was_adopted(copy_of("a/gone", 9, LIVE), false, |meta: &mut ConfigMapMeta, _: &mut Destination<'_>| meta.adopted = true, "read b/x")]
#[case::stays_when_it_stands_elsewhere(copy_of("a/gone", 9, 99), false, |_: &mut ConfigMapMeta, _: &mut Destination<'_>| (), "rest")]
#[case::stays_when_another_wants_the_place(copy_of("a/gone", 9, LIVE), false, |_: &mut ConfigMapMeta, destination: &mut Destination<'_>| destination.wanted_by_another = true, "rest")]
#[case::is_left_when_it_is_going(copy_of("a/gone", 9, LIVE), false, |meta: &mut ConfigMapMeta, _: &mut Destination<'_>| meta.deleting = true, "rest")]
#[case::is_left_when_its_namespace_is_going(copy_of("a/gone", 9, LIVE), false, |_: &mut ConfigMapMeta, destination: &mut Destination<'_>| destination.namespace = NamespaceState::Terminating, "rest")]
#[case::is_never_one_of_the_seeds(seeds_copy(1), false, |_: &mut ConfigMapMeta, _: &mut Destination<'_>| (), "rest")]
#[case::is_never_a_foreign_one(foreign(), false, |_: &mut ConfigMapMeta, _: &mut Destination<'_>| (), "rest")]
fn a_copy_whose_sync_is_gone(
    #[case] mut read: Read,
    #[case] orphan: bool,
    #[case] edit: fn(&mut ConfigMapMeta, &mut Destination<'_>),
    #[case] step: &str,
) {
    let at = object_key("b/x");
    let mut destination = Destination {
        key: &at,
        namespace: NamespaceState::Live(uid(LIVE)),
        copy: CopyState::Unknown,
        wanted_by_another: false,
        wanted_before: true,
        forbidden: false,
    };
    edit(&mut read.meta, &mut destination);
    destination.copy = CopyState::Cached(&read.meta);
    let next = sweep(&destination, orphan);
    assert_eq!(next.map_or("rest".to_owned(), |next| words(&Step::Copy(next.into()))), step);
}
