use proptest::prelude::*;
use rstest::rstest;

use super::*;

fn is_unreadable(share: Option<&str>, share_with: Option<&str>) -> bool {
    matches!(Sharing::read(share, share_with), Some(Sharing::Unreadable(_)))
}

#[rstest]
#[case::empty("")]
#[case::blank("  ")]
#[case::a_comma(",")]
#[case::an_empty_place("team-a,,team-b")]
#[case::a_comma_at_the_end("team-a,")]
#[case::capitals("All")]
#[case::a_word_of_others("true")]
#[case::words_among_names("all,team-a")]
#[case::words_among_names("team-a,none")]
#[case::a_regular_expression("team-[ab]")]
#[case::another_separator("team-a;team-b")]
#[case::quotes("\"all\"")]
fn a_list_that_nobody_can_read_is_none(#[case] share: &str) {
    // `true` is a name of a namespace, and so it is read as one: it shares with that one alone.
    let named = share == "true";
    assert_eq!(is_unreadable(Some(share), None), !named, "{share}");
    assert_eq!(is_unreadable(Some(share), Some("team=blue")), !named, "and a selector beside it does not mend it");
}

#[rstest]
#[case("")]
#[case(" ")]
#[case("team=blue,")]
#[case("team in ()x")]
#[case("team in (a")]
#[case("team in a)")]
#[case("team on (a)")]
#[case("a>1")]
#[case("=blue")]
#[case("!")]
#[case("a=b=c")]
#[case("team=b!ue")]
fn a_selector_that_nobody_can_read_is_none(#[case] share_with: &str) {
    assert!(is_unreadable(None, Some(share_with)), "{share_with}");
    assert!(is_unreadable(Some("all"), Some(share_with)), "{share_with}");
}

#[test]
fn none_is_none_whatever_stands_beside_it() {
    assert_eq!(Sharing::read(Some("none"), Some("team=blue")), Some(Sharing::WithNobody));
    assert_eq!(Sharing::read(Some(" none "), Some("(")), Some(Sharing::WithNobody));
    assert_eq!(Sharing::read(None, None), None);
}

#[test]
fn what_is_very_long_is_not_kept() {
    let names = vec!["team-a"; 1000].join(",");
    assert!(is_unreadable(Some(&names), None));
    assert!(is_unreadable(None, Some(&names)));
}

proptest! {
    #[test]
    fn whatever_stands_there_is_read(share: Option<String>, share_with: Option<String>) {
        Sharing::read(share.as_deref(), share_with.as_deref());
    }

    #[test]
    fn what_looks_like_a_selector_is_read(share_with in "[!=a-z(), \u{e4}]{0,24}") {
        let read = Sharing::read(None, Some(&share_with));
        if let Some(Sharing::With { selector: Some(selector), .. }) = read {
            prop_assert!(!selector.match_expressions.is_empty(), "it would mean all: {share_with:?}");
        }
    }
}
