use proptest::prelude::*;
use rstest::rstest;

use super::*;

/// `-`: no annotation; `?`: it is not known what stands there; else `share`, and after `|` `share-with`.
fn sharing(text: &str) -> Option<Sharing> {
    let (share, share_with) = text.split_once('|').map_or((text, None), |(share, with)| (share, Some(with)));
    Sharing::read(Some(share).filter(|share| *share != "-"), share_with)
}

fn asked(required: bool, source: &str, namespace: &str) -> Consent {
    let labels = Labels::new([("team".into(), "blue".into()), ("tier".into(), "gold".into())]);
    let (said, namespace) = (sharing(source), sharing(namespace));
    let source = if source == "?" { Said::Unknown } else { Said::Known(said.as_ref()) };
    judge(&Question { required, source, namespace: namespace.as_ref(), to: &"team-a".into(), labels: &labels })
}

/// What the owner says on the source and on its Namespace, and the answers: where consent is needed, and where it is not.
#[rstest]
#[case::nothing_is_said("-", "-", Consent::Missing, Consent::Given)]
#[case::to_all("all", "-", Consent::Given, Consent::Given)]
#[case::to_nobody("none", "-", Consent::Refused, Consent::Refused)]
#[case::by_name("team-b,team-a", "-", Consent::Given, Consent::Given)]
#[case::with_spaces("team-b, team-a", "-", Consent::Given, Consent::Given)]
#[case::by_a_glob("team-*", "-", Consent::Given, Consent::Given)]
#[case::by_a_glob("team-?", "-", Consent::Given, Consent::Given)]
#[case::to_others("team-b,dev-*", "-", Consent::Missing, Consent::Given)]
#[case::a_name_is_no_beginning("team", "-", Consent::Missing, Consent::Given)]
#[case::a_name_is_no_end("a", "-", Consent::Missing, Consent::Given)]
#[case::empty_is_not_all("", "-", Consent::Missing, Consent::Given)]
#[case::a_slip("nnone;", "-", Consent::Missing, Consent::Given)]
#[case::by_label("-|team=blue", "-", Consent::Given, Consent::Given)]
#[case::by_labels("-|team in (blue,red),tier,!old", "-", Consent::Given, Consent::Given)]
#[case::by_another_label("-|team=red", "-", Consent::Missing, Consent::Given)]
#[case::not_by_label("-|team!=blue", "-", Consent::Missing, Consent::Given)]
#[case::one_label_of_two("-|team=blue,tier notin (gold)", "-", Consent::Missing, Consent::Given)]
#[case::an_empty_selector("-|", "-", Consent::Missing, Consent::Given)]
#[case::the_list_or_the_labels("team-b|team=blue", "-", Consent::Given, Consent::Given)]
#[case::the_list_or_the_labels("team-a|team=red", "-", Consent::Given, Consent::Given)]
#[case::nobody_and_labels("none|team=blue", "-", Consent::Refused, Consent::Refused)]
#[case::a_slip_beside_a_list("team-a|(", "-", Consent::Missing, Consent::Given)]
#[case::the_namespace_shares("-", "all", Consent::Given, Consent::Given)]
#[case::the_namespace_refuses("-", "none", Consent::Refused, Consent::Refused)]
#[case::the_objects_wins("all", "none", Consent::Given, Consent::Given)]
#[case::the_objects_wins("none", "all", Consent::Refused, Consent::Refused)]
#[case::the_objects_wins("team-b", "all", Consent::Missing, Consent::Given)]
#[case::a_slip_on_the_object_is_not_mended_by_the_namespace("no", "all", Consent::Missing, Consent::Given)]
#[case::a_slip_on_the_object_is_not_mended_by_the_namespace("", "all", Consent::Missing, Consent::Given)]
#[case::a_slip_on_the_object_takes_nothing_back("", "none", Consent::Missing, Consent::Given)]
#[case::not_known("?", "all", Consent::Unknown, Consent::Given)]
#[case::not_known("?", "-", Consent::Unknown, Consent::Given)]
#[case::not_known_and_it_matters("?", "none", Consent::Unknown, Consent::Unknown)]
fn the_owner_decides(
    #[case] source: &str,
    #[case] namespace: &str,
    #[case] required: Consent,
    #[case] optional: Consent,
) {
    assert_eq!(asked(true, source, namespace), required, "where consent is needed");
    assert_eq!(asked(false, source, namespace), optional, "where it is not");
}

proptest! {
    /// To ask for consent never opens what is closed without; and where it is asked for, silence and noise are no consent.
    #[test]
    fn to_require_consent_takes_away_and_never_gives(source in "(-|all|none|team-[ab]|[a-z*?, ]{0,9})(\\|[a-z=!, ]{0,9})?", namespace in "-|all|none|team-b") {
        prop_assume!(source != "?");
        let (required, optional) = (asked(true, &source, &namespace), asked(false, &source, &namespace));
        prop_assert!(optional != Consent::Missing);
        prop_assert!(required == optional || required == Consent::Missing);
        if required == Consent::Given {
            let names = ["all", "team-a"].iter().any(|word| source.contains(word) || namespace.contains(word));
            prop_assert!(names || source.contains(['*', '?', '|']), "{source:?} {namespace:?}");
        }
    }
}
