//! What the owner of a source says in two annotations, and what becomes of it.

use configmapsync_operator::rules::cluster::selection::Labels;
use configmapsync_operator::rules::consent::{Consent, Question, Said, judge};
use configmapsync_operator::rules::record::Name;
use configmapsync_operator::rules::sharing::Sharing;
use serde_json::Value;

/// What a refusal may say at most: every replica keeps it.
const LONGEST_REASON: usize = 600;

/// `share` and `shareWith` of a source, the same of its `namespace`, and the copy's namespace `to` with its `labels`.
pub fn consent(bytes: &[u8]) {
    let Ok(input) = serde_json::from_slice::<Value>(bytes) else { return };
    let to = input["to"].as_str().unwrap_or("team-a");
    let labels = input["labels"].as_object().into_iter().flatten();
    let labels = labels.filter_map(|(key, value)| Some((Name::from(&**key), Name::from(value.as_str()?))));
    let labels = Labels::new(labels);
    let (source, namespace) = (sharing(&input), sharing(&input["namespace"]));
    let asked = |required, source| {
        judge(&Question { required, source, namespace: namespace.as_ref(), to: &to.into(), labels: &labels })
    };
    let (required, optional) = (asked(true, Said::Known(source.as_ref())), asked(false, Said::Known(source.as_ref())));

    // The word of the source itself wins, also where nobody can read it.
    let (by, said) = if source.is_some() { (&input, &source) } else { (&input["namespace"], &namespace) };
    let share = by["share"].as_str().map(str::trim);
    assert_eq!(
        (required == Consent::Refused, optional == Consent::Refused),
        (share == Some("none"), share == Some("none"))
    );
    assert!(optional == Consent::Given || optional == required);
    let given = required == Consent::Given;
    assert!(!given || matches!(said, Some(Sharing::With { .. })), "{said:?}");
    if by["shareWith"].is_string() {
        // Labels may share, too, but not where one of the two cannot be read.
        assert!(given || !shares(share, to) || !matches!(said, Some(Sharing::With { .. })), "{share:?} to {to}");
    } else {
        assert_eq!(given, shares(share, to) && !matches!(said, Some(Sharing::Unreadable(_))), "{share:?} to {to}");
    }
    // Whoever does not know what the source says gives nothing away, and takes nothing back.
    assert_eq!(asked(true, Said::Unknown), Consent::Unknown);
    assert!(matches!(asked(false, Said::Unknown), Consent::Given | Consent::Unknown));
}

fn sharing(of: &Value) -> Option<Sharing> {
    let sharing = Sharing::read(of["share"].as_str(), of["shareWith"].as_str());
    if let Some(Sharing::Unreadable(why)) = &sharing {
        assert!(why.len() <= LONGEST_REASON, "{why}");
    }
    assert_eq!(sharing.is_some(), of["share"].is_string() || of["shareWith"].is_string());
    sharing
}

/// Whether a list has this name: told in another way than the operator tells it.
fn shares(list: Option<&str>, name: &str) -> bool {
    let of = |glob: &str| matches(&glob.trim().chars().collect::<Vec<_>>(), &name.chars().collect::<Vec<_>>());
    list.is_some_and(|list| list == "all" || !list.is_empty() && list.split(',').any(of))
}

/// Fills a table of which beginnings of the glob match which beginnings of the name.
fn matches(glob: &[char], name: &[char]) -> bool {
    let mut row: Vec<bool> = (0..=name.len()).map(|at| at == 0).collect();
    for pattern in glob {
        let mut next = vec![*pattern == '*' && row.first() == Some(&true)];
        for (at, c) in name.iter().enumerate() {
            next.push(match pattern {
                '*' => row.get(at + 1) == Some(&true) || next.get(at) == Some(&true),
                '?' => row.get(at) == Some(&true),
                other => other == c && row.get(at) == Some(&true),
            });
        }
        row = next;
    }
    row.last() == Some(&true)
}
