//! What somebody guards stays as it is, step by step, and nothing waits for it.

use rstest::rstest;

use crate::rules::copy::facts::{CopyState, Destination, NamespaceState};
use crate::rules::copy::removal::sweep;
use crate::rules::object::tests::scenario::*;
use crate::rules::testing::*;

fn refusing(scenario: &mut Scenario) {
    scenario.here().namespace = NamespaceState::Refusing(uid(LIVE));
}

fn accepting(scenario: &mut Scenario) {
    scenario.here().namespace = NamespaceState::Live(uid(LIVE));
}

fn protect(scenario: &mut Scenario) {
    scenario.touched(7);
    scenario.truth().meta.protected = true;
}

fn unprotect(scenario: &mut Scenario) {
    scenario.touched(7);
    scenario.truth().meta.protected = false;
}

fn forbid(scenario: &mut Scenario) {
    scenario.here().forbidden = true;
}

/// In a namespace that refuses, whose source was deleted for good.
fn without_source(scenario: &mut Scenario) {
    scenario.spec().delete_with_source = true;
    scenario.missing_twice = true;
    scenario.source_gone();
}

#[rstest]
#[case::a_namespace_refuses(new().but(refusing), "report DestinationRefuses, rest")]
#[case::a_namespace_refuses_a_copy_that_stands(settled().but(refusing), "report DestinationRefuses, rest")]
#[case::a_namespace_refuses_and_the_source_changed(
    settled().but(|g| { refusing(g); g.source_is(21, 2); }), "report DestinationRefuses, rest")]
#[case::a_foreign_one_is_protected(standing(foreign()).but(protect), "report DestinationProtected, rest")]
#[case::a_copy_is_protected(settled().but(protect), "report DestinationProtected, rest")]
#[case::an_adopted_one_is_protected(adopted().but(protect), "report DestinationProtected, rest")]
#[case::the_seeds_copy_is_protected(standing(seeds_copy(2)).but(protect), "report DestinationProtected, rest")]
#[case::a_copy_of_a_dead_sync_is_protected(
    standing(copy_of("a/s", 9, LIVE)).but(protect), "report DestinationProtected, rest")]
#[case::protection_came_after_the_last_look(
    standing(foreign()).but(|g| { protect(g); g.here().copy = Copy::Unknown; }),
    "read source, create, report DestinationProtected, rest")]
#[case::a_flag_forbids_the_namespace(new().but(forbid), "report DestinationForbidden, rest")]
#[case::a_flag_forbids_one_that_does_not_exist(
    new().but(|g| { forbid(g); g.here().namespace = NamespaceState::Absent; }), "report DestinationForbidden, rest")]
#[case::a_flag_forbids_a_copy_that_stands(settled().but(forbid), "report DestinationForbidden, rest")]
#[case::the_source_of_a_forbidden_one_is_gone(
    settled().but(|g| { forbid(g); without_source(g); }), "report DestinationForbidden, rest")]
#[case::the_source_of_a_protected_one_is_gone(
    settled().but(|g| { protect(g); without_source(g); }), "report DestinationProtected, rest")]
fn it_is_said_and_nothing_is_written(#[case] mut scenario: Scenario, #[case] steps: &str) {
    let before = scenario.here().truth.clone();
    assert_eq!(scenario.run(), steps);
    let after = scenario.here().truth.clone();
    assert_eq!(before.map(|it| (it.meta, it.hash)), after.map(|it| (it.meta, it.hash)));
    assert_eq!(scenario.restarted().run(), "rest", "a restart asks and says nothing");
}

#[rstest]
#[case::a_namespace_accepts_again(new().but(refusing), accepting, "read source, create, finalizer, report in order, rest")]
#[case::a_namespace_accepts_what_stands_there(
    settled().but(refusing), accepting, "report in order, rest")]
#[case::a_foreign_one_is_let_go(
    standing(foreign()).but(protect), unprotect, "read b/x, read source, adopt, finalizer, report in order, rest")]
fn the_copy_comes_at_once_when(#[case] mut scenario: Scenario, #[case] then: fn(&mut Scenario), #[case] steps: &str) {
    scenario.run();
    then(&mut scenario);
    assert_eq!(scenario.run(), steps);
}

#[rstest]
#[case::its_namespace_refuses(settled().but(refusing), "remove b/x, release")]
#[case::what_it_adopted_stands_where_nothing_is_wanted(adopted().but(refusing), "read b/x, unmark b/x, release")]
#[case::its_namespace_is_forbidden(settled().but(forbid), "release")]
#[case::its_copy_is_protected(settled().but(protect), "release")]
#[case::what_it_adopted_is_protected(adopted().but(protect), "release")]
#[case::a_protected_copy_outlives_it(
    settled().but(|g| { protect(g); g.spec().orphan = true; }), "read b/x, unmark b/x, release")]
#[case::a_copy_in_a_forbidden_namespace_outlives_it(
    settled().but(|g| { forbid(g); g.spec().orphan = true; }), "read b/x, unmark b/x, release")]
fn a_sync_goes_though(#[case] mut scenario: Scenario, #[case] steps: &str) {
    scenario.deleted();
    assert_eq!(scenario.run(), steps);
}

#[rstest]
#[case::refusing(refusing, "read source, create, report in order, remove b/x, rest")]
#[case::forbidden(forbid, "read source, create, report in order, rest")]
#[case::protected(protect, "read source, create, report in order, rest")]
fn what_a_sync_left_elsewhere(#[case] guard: fn(&mut Scenario), #[case] steps: &str) {
    let mut scenario = settled().but(guard);
    scenario.moved();
    let taken = scenario.run();
    let sorted = |steps: &str| {
        let mut steps: Vec<String> = steps.split(", ").map(str::to_owned).collect();
        steps.sort();
        steps
    };
    assert_eq!(sorted(&taken), sorted(steps), "{taken}");
}

#[test]
fn a_copy_that_goes_with_its_source_may_go_from_a_namespace_that_refuses() {
    let mut scenario = settled().but(|g| {
        refusing(g);
        without_source(g);
    });
    assert_eq!(scenario.run(), "read source, remove b/x, report SourceMissing, rest 300 s");
}

#[rstest]
#[case::nobody(NamespaceState::Live(uid(LIVE)), false, false, true)]
#[case::a_namespace(NamespaceState::Refusing(uid(LIVE)), false, false, true)]
#[case::a_flag(NamespaceState::Live(uid(LIVE)), false, true, false)]
#[case::a_person(NamespaceState::Live(uid(LIVE)), true, false, false)]
fn whose_sync_is_gone_is_swept_unless(
    #[case] namespace: NamespaceState,
    #[case] protected: bool,
    #[case] forbidden: bool,
    #[case] swept: bool,
) {
    let (at, mut read) = (object_key("b/x"), copy_of("a/gone", 9, LIVE));
    read.meta.protected = protected;
    let copy = CopyState::Cached(&read.meta);
    let destination =
        Destination { key: &at, namespace, copy, wanted_by_another: false, wanted_before: true, forbidden };
    assert_eq!(sweep(&destination, false).is_some(), swept);
    assert!(sweep(&destination, true).is_some(), "our marks come off one that is to stay");
}
