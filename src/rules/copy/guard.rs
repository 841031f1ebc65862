//! What nobody's sync may touch, whatever its policies say: one question, which every path that writes or removes a copy asks.
//!
//! **The attack.** Whoever may create a sync has the operator write where he may not: over a ConfigMap that a team or Kubernetes needs as
//! it is, or into a namespace whose owner wants nothing from outside. Who is harmed cannot edit the sync. So he says no where he
//! has rights: on his ConfigMap, on his namespace, or in the flags of the operator.

use wildmatch::WildMatch;

use crate::api::names::{ANNOTATION_PROTECT, KUBE_ROOT_CA, LABEL_ACCEPT};
use crate::rules::copy::facts::{Destination, NamespaceState};
use crate::rules::record::{ConfigMapMeta, ObjectKey};

/// What is to be done to what stands at a destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Act {
    /// A copy is created there, or written over what stands there.
    Write,
    /// A copy of ours is removed. That our marks come off one that outlives its object, nobody stops: it would be swept later.
    Remove,
}

/// Who says no.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Guard {
    /// Kubernetes itself keeps this ConfigMap.
    Kubernetes,
    /// `--forbidden-namespaces` names the namespace: the operator does not touch it.
    Forbidden,
    /// The ConfigMap has the annotation `protect`: it stays as it is.
    Protected,
    /// The namespace has the label `accept: "false"`: nothing is written there. What is ours may go.
    Refused,
}

impl Guard {
    /// Whether a copy of ours may not even be removed.
    pub fn stops_removal(self) -> bool {
        self != Self::Refused
    }

    /// Why nothing is written there, and what to do about it.
    pub fn message(self, at: Option<&ObjectKey>) -> String {
        let (namespace, at) = (at.map_or("", |at| &*at.namespace), at.map(ObjectKey::to_string).unwrap_or_default());
        match self {
            Self::Kubernetes => format!("{at} is kept by Kubernetes itself; set spec.destinationName"),
            Self::Forbidden => format!(
                "the operator does not touch namespace {namespace}: its flag --forbidden-namespaces names it; name another namespace"
            ),
            Self::Protected => format!(
                "{at} has the annotation {ANNOTATION_PROTECT} and stays as it is; take the annotation off, or set spec.destinationName"
            ),
            Self::Refused => format!(
                "namespace {namespace} refuses copies by its label {LABEL_ACCEPT}; one that stands there stays as it is: take the \
                 label off, or name another namespace"
            ),
        }
    }
}

/// Who says no to this, if anybody does. `standing`: what stands there, as far as it is known. `forbidden`: a flag of the operator names
/// the namespace.
pub fn guard(
    act: Act,
    at: &ObjectKey,
    namespace: NamespaceState,
    standing: Option<&ConfigMapMeta>,
    forbidden: bool,
) -> Option<Guard> {
    let guard = match namespace {
        _ if &*at.name == KUBE_ROOT_CA => Guard::Kubernetes,
        _ if forbidden => Guard::Forbidden,
        _ if standing.is_some_and(|meta| meta.protected) => Guard::Protected,
        NamespaceState::Refusing(_) => Guard::Refused,
        _ => return None,
    };
    (act == Act::Write || guard.stops_removal()).then_some(guard)
}

impl Destination<'_> {
    /// Who says no to this, if anybody does.
    pub fn guard(&self, act: Act) -> Option<Guard> {
        guard(act, self.key, self.namespace, self.copy.meta(), self.forbidden)
    }
}

/// Whether a namespace refuses copies by the value of its label `accept`. A value that nobody knows refuses: whoever puts it there
/// means something.
pub fn refuses(accept: Option<&str>) -> bool {
    accept.is_some_and(|value| value != "true")
}

/// Whether a ConfigMap is protected by the value of its annotation `protect`. A value that nobody knows protects.
pub fn protects(protect: Option<&str>) -> bool {
    protect.is_some_and(|value| value != "false")
}

/// The namespaces that `--forbidden-namespaces` names: `*` stands for any characters, `?` for one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Forbidden(Box<[WildMatch]>);

impl Forbidden {
    /// Those that one of these patterns means.
    pub fn new(patterns: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        Self(patterns.into_iter().map(|pattern| WildMatch::new(pattern.as_ref())).collect())
    }

    /// Whether a namespace is one of them.
    pub fn names(&self, namespace: &str) -> bool {
        self.0.iter().any(|pattern| pattern.matches(namespace))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::rules::testing::*;

    const LIVE: fn() -> NamespaceState = || NamespaceState::Live(uid(100));
    const REFUSING: fn() -> NamespaceState = || NamespaceState::Refusing(uid(100));

    #[rstest]
    #[case::nobody("b/x", LIVE, Some(false), false, [None, None])]
    #[case::nothing_stands_there("b/x", LIVE, None, false, [None, None])]
    #[case::nothing_is_known("b/x", || NamespaceState::Unknown, None, false, [None, None])]
    #[case::kept_by_kubernetes("b/kube-root-ca.crt", LIVE, None, false, [Some(Guard::Kubernetes); 2])]
    #[case::a_forbidden_namespace("b/x", LIVE, Some(false), true, [Some(Guard::Forbidden); 2])]
    #[case::one_that_does_not_exist("b/x", || NamespaceState::Absent, None, true, [Some(Guard::Forbidden); 2])]
    #[case::a_protected_configmap("b/x", LIVE, Some(true), false, [Some(Guard::Protected); 2])]
    #[case::a_namespace_that_refuses("b/x", REFUSING, None, false, [Some(Guard::Refused), None])]
    #[case::a_copy_in_one("b/x", REFUSING, Some(false), false, [Some(Guard::Refused), None])]
    #[case::protected_in_one("b/x", REFUSING, Some(true), false, [Some(Guard::Protected); 2])]
    fn who_says_no(
        #[case] at: &str,
        #[case] namespace: fn() -> NamespaceState,
        #[case] protected: Option<bool>,
        #[case] forbidden: bool,
        #[case] to_write_and_to_remove: [Option<Guard>; 2],
    ) {
        let standing = protected.map(|protected| ConfigMapMeta { protected, ..meta(3, 30) });
        let asked =
            [Act::Write, Act::Remove].map(|act| guard(act, &object_key(at), namespace(), standing.as_ref(), forbidden));
        assert_eq!(asked, to_write_and_to_remove);
    }

    #[rstest]
    #[case(None, false, false)]
    #[case(Some("true"), false, true)]
    #[case(Some("false"), true, false)]
    #[case(Some(""), true, true)]
    #[case(Some("False"), true, true)]
    #[case(Some("yes"), true, true)]
    fn a_value_that_nobody_knows_guards(#[case] value: Option<&str>, #[case] refused: bool, #[case] protected: bool) {
        assert_eq!((refuses(value), protects(value)), (refused, protected));
    }

    #[test]
    fn forbidden_namespaces_are_named_by_patterns() {
        let forbidden = Forbidden::new(["kube-*", "prod-?", "payments"]);
        for (namespace, named) in
            [("kube-system", true), ("prod-1", true), ("prod-10", false), ("payments", true), ("my-payments", false)]
        {
            assert_eq!(forbidden.names(namespace), named, "{namespace}");
        }
        assert!(!Forbidden::default().names("anything"));
    }
}
