//! Which namespaces are selected: by labels or by name, without those that are excluded or protected.

use wildmatch::WildMatch;

use crate::api::clusterconfigmapsync::{LabelOperator, NamespaceSelector};
use crate::rules::record::Name;

/// The label that Kubernetes keeps on each namespace: its name. It is not stored.
const METADATA_NAME: &str = "kubernetes.io/metadata.name";

/// The labels of a namespace, but for the one that holds its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(Box<[(Name, Name)]>);

impl Labels {
    /// Of these keys and values.
    pub fn new(labels: impl IntoIterator<Item = (Name, Name)>) -> Self {
        Self(labels.into_iter().filter(|(key, _)| key != METADATA_NAME).collect())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &(Name, Name)> {
        self.0.iter()
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

/// Which namespaces an object's spec means.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection {
    by: By,
    excluded: Vec<WildMatch>,
}

#[derive(Clone, Debug, PartialEq)]
enum By {
    Names(Vec<Name>),
    Labels(Vec<Requirement>),
}

#[derive(Clone, Debug, PartialEq)]
struct Requirement {
    key: Box<str>,
    operator: LabelOperator,
    values: Vec<Box<str>>,
}

/// What a namespace is to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selected {
    /// It gets a copy.
    Yes,
    /// It would, but it is excluded or protected.
    Excluded,
    /// It gets none.
    No,
}

impl Selection {
    /// By name.
    pub fn by_name(names: impl IntoIterator<Item = Name>, excluded: &[&str]) -> Self {
        let mut names: Vec<Name> = names.into_iter().collect();
        names.sort_unstable();
        names.dedup();
        Self { by: By::Names(names), excluded: patterns(excluded) }
    }

    /// By labels.
    ///
    /// # Errors
    /// When an operator and its values do not fit: such a selector must select nothing, and say so.
    pub fn by_labels(selector: &NamespaceSelector, excluded: &[&str]) -> Result<Self, String> {
        let labels = selector.match_labels.iter().map(|(key, value)| Requirement {
            key: key.as_str().into(),
            operator: LabelOperator::In,
            values: vec![value.0.as_str().into()],
        });
        let expressions = selector.match_expressions.iter().map(|requirement| Requirement {
            key: requirement.key.as_str().into(),
            operator: requirement.operator,
            values: requirement.values.iter().map(|value| value.0.as_str().into()).collect(),
        });
        let requirements: Vec<Requirement> = labels.chain(expressions).collect();
        for Requirement { key, operator, values } in &requirements {
            let wants_values = matches!(operator, LabelOperator::In | LabelOperator::NotIn);
            if wants_values == values.is_empty() {
                let lack = if wants_values { "needs values" } else { "must have no values" };
                return Err(format!("namespaceSelector: {operator:?} of the label {key} {lack}"));
            }
        }
        Ok(Self { by: By::Labels(requirements), excluded: patterns(excluded) })
    }

    /// The namespaces that it names, sorted; `None` where it selects by labels.
    pub fn names(&self) -> Option<&[Name]> {
        match &self.by {
            By::Names(names) => Some(names),
            By::Labels(_) => None,
        }
    }

    /// What a namespace with this name and these labels is to it. `protected`: a selector never means it.
    pub fn of(&self, namespace: &Name, labels: &Labels, protected: bool) -> Selected {
        let (meant, protected) = match &self.by {
            By::Names(names) => (names.binary_search(namespace).is_ok(), false),
            By::Labels(requirements) => (requirements.iter().all(|it| it.holds(namespace, labels)), protected),
        };
        match meant {
            false => Selected::No,
            true if protected || self.excluded.iter().any(|pattern| pattern.matches(namespace)) => Selected::Excluded,
            true => Selected::Yes,
        }
    }
}

impl Requirement {
    fn holds(&self, namespace: &str, labels: &Labels) -> bool {
        let value = if &*self.key == METADATA_NAME { Some(namespace) } else { labels.get(&self.key) };
        let listed = |value: &str| self.values.iter().any(|other| &**other == value);
        match self.operator {
            LabelOperator::In => value.is_some_and(listed),
            LabelOperator::NotIn => !value.is_some_and(listed),
            LabelOperator::Exists => value.is_some(),
            LabelOperator::DoesNotExist => value.is_none(),
        }
    }
}

fn patterns(patterns: &[&str]) -> Vec<WildMatch> {
    patterns.iter().map(|pattern| WildMatch::new(pattern)).collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, from_value, json};

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        Labels::new(pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())))
    }

    fn expression(key: &str, operator: &str, values: &[&str]) -> Value {
        json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]})
    }

    #[rstest]
    #[case(json!({}), true)]
    #[case(json!({"matchLabels": {"team": "blue"}}), true)]
    #[case(json!({"matchLabels": {"team": "red"}}), false)]
    #[case(json!({"matchLabels": {"team": "blue", "tier": "gold"}}), false)]
    #[case(json!({"matchLabels": {"kubernetes.io/metadata.name": "one"}}), true)]
    #[case(json!({"matchLabels": {"kubernetes.io/metadata.name": "two"}}), false)]
    #[case(expression("team", "In", &["red", "blue"]), true)]
    #[case(expression("team", "In", &["red"]), false)]
    #[case(expression("tier", "In", &["gold"]), false)]
    #[case(expression("team", "NotIn", &["red"]), true)]
    #[case(expression("team", "NotIn", &["blue"]), false)]
    #[case(expression("tier", "NotIn", &["gold"]), true)]
    #[case(expression("team", "Exists", &[]), true)]
    #[case(expression("tier", "Exists", &[]), false)]
    #[case(expression("tier", "DoesNotExist", &[]), true)]
    #[case(expression("team", "DoesNotExist", &[]), false)]
    fn a_selector_means_what_kubernetes_says(#[case] selector: Value, #[case] meant: bool) {
        let selection = Selection::by_labels(&from_value(selector).unwrap(), &[]).unwrap();
        let selected = selection.of(&"one".into(), &labels(&[("team", "blue")]), false);
        assert_eq!(selected == Selected::Yes, meant);
    }

    #[rstest]
    #[case(expression("team", "In", &[]), "In of the label team needs values")]
    #[case(expression("team", "NotIn", &[]), "NotIn of the label team needs values")]
    #[case(expression("team", "Exists", &["x"]), "Exists of the label team must have no values")]
    fn a_selector_that_does_not_parse_is_an_error(#[case] selector: Value, #[case] why: &str) {
        let error = Selection::by_labels(&from_value(selector).unwrap(), &[]).unwrap_err();
        assert_eq!(error, format!("namespaceSelector: {why}"));
    }

    #[test]
    fn an_exclusion_wins_and_only_a_selector_heeds_protection() {
        let none = Labels::default();
        let all = Selection::by_labels(&NamespaceSelector::default(), &["*-sandbox", "x?"]).unwrap();
        let of = |name: &str, protected| all.of(&name.into(), &none, protected);
        assert_eq!((of("team-a", false), of("kube-system", true)), (Selected::Yes, Selected::Excluded));
        assert_eq!((of("a-sandbox", false), of("x1", false)), (Selected::Excluded, Selected::Excluded));
        assert_eq!((of("sandbox-a", false), of("x12", false)), (Selected::Yes, Selected::Yes));
        let named = Selection::by_name(["kube-system", "b", "b"].map(Name::from), &["b"]);
        let of = |name: &str| named.of(&name.into(), &none, true);
        assert_eq!((of("kube-system"), of("b"), of("c")), (Selected::Yes, Selected::Excluded, Selected::No));
        assert_eq!(named.names().map(<[Name]>::len), Some(2));
    }
}
