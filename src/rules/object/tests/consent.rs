//! What becomes of a copy by what the source's owner says: tables of cases.

use rstest::rstest;

use super::scenario::*;
use crate::rules::consent::Consent;
use crate::rules::copy::facts::{ConsentFacts, NamespaceState, Source};

fn says(consent: Consent, required: bool) -> ConsentFacts {
    ConsentFacts { required, consent, ..ConsentFacts::default() }
}

fn missing(scenario: &mut Scenario) {
    scenario.consent = says(Consent::Missing, true);
}

fn refused(scenario: &mut Scenario) {
    scenario.consent = says(Consent::Refused, false);
}

fn refused_twice(scenario: &mut Scenario) {
    scenario.consent = ConsentFacts { refused_twice: true, ..says(Consent::Refused, false) };
}

#[rstest]
// Without consent: nothing comes, and what stands stays.
#[case::nothing_comes(new().but(missing), "report SourceNotShared, rest")]
#[case::the_copy_stays(settled().but(missing), "report SourceNotShared, rest")]
#[case::new_content_does_not_come(settled().but(missing).but(|s| s.source = Source::Observed(21)), "report SourceNotShared, rest")]
#[case::what_somebody_took_is_not_restored(settled().but(missing).but(|s| (s.here().truth, s.here().copy) = (None, Copy::Absent)), "report SourceNotShared, rest")]
#[case::though_the_source_is_in_hand(new().but(missing).but(|s| s.source = in_hand()), "report SourceNotShared, rest")]
// Refused: what we wrote goes, after two looks.
#[case::the_first_look(settled().but(refused), "read source, rest 10 s")]
#[case::the_second_look(settled().but(refused_twice), "read source, remove b/x, report SourceNotShared, rest")]
#[case::nothing_to_take_back(new().but(refused), "report SourceNotShared, rest")]
#[case::what_outlives_its_sync_stays(settled().but(refused_twice).but(|s| s.spec().orphan = true), "report SourceNotShared, rest")]
#[case::what_was_there_before_stays(adopted().but(refused_twice), "read source, read b/x, unmark b/x, report SourceNotShared, rest")]
#[case::what_is_not_ours_stays(standing(foreign()).but(refused_twice), "report SourceNotShared, rest")]
// Where it is needed, no source has the same words.
#[case::no_source(new().but(|s| { s.consent = says(Consent::Missing, true); gone(s); }), "read source, report SourceNotShared, rest 300 s")]
#[case::no_source_where_it_is_not_needed(new().but(gone), "read source, report SourceMissing, rest 300 s")]
fn what_the_owner_says_is_done(#[case] mut scenario: Scenario, #[case] steps: &str) {
    assert_eq!(scenario.run(), steps);
}

#[test]
fn what_is_not_known_is_asked() {
    let unknown = new().but(|s| s.consent = says(Consent::Unknown, true));
    assert_eq!(words(&unknown.next()), "read source");
    let at_rest = settled().but(|s| s.consent = says(Consent::Unknown, true));
    assert_eq!(words(&at_rest.next()), "read source");
}

fn gone(scenario: &mut Scenario) {
    (scenario.source, scenario.source_truth) = (Source::Unknown, None);
}

fn in_hand() -> Source {
    let version = crate::rules::testing::version(2, 20);
    Source::InHand { version, hash: [1; 32], immutable: false, uncached: false }
}

/// Whatever else is wrong, the status says the same of a source that is not shared and of one that is not there.
#[test]
fn a_status_tells_nobody_what_exists_elsewhere() {
    let edits: [fn(&mut Scenario); 5] = [
        |_| {},
        |s| {
            s.here().namespace = NamespaceState::Unknown;
            s.here().namespace_truth = NamespaceState::Absent;
        },
        |s| s.rival = Some(crate::rules::testing::object_key("a/t")),
        |s| s.key_conflict = Some("two keys".to_owned()),
        |s| *s.here() = found("b/x", Some(foreign())),
    ];
    for (at, edit) in edits.into_iter().enumerate() {
        let told = |mut scenario: Scenario| {
            edit(&mut scenario);
            scenario.run();
            let status = scenario.sync.status;
            assert!(!status.source_exists && status.source.is_none(), "{at}");
            status.digest
        };
        assert_eq!(told(new().but(missing)), told(new().but(missing).but(gone)), "{at}");
    }
}
