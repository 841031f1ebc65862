//! Whether the owner of a source shares it with the namespace of a copy: one pure function, [`judge`].

use wildmatch::WildMatch;

use crate::rules::cluster::selection::{Labels, Selected, Selection};
use crate::rules::record::Name;
use crate::rules::sharing::{Namespaces, Sharing};

/// What the owner of a source says to a copy of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Consent {
    /// The copy may have the content.
    #[default]
    Given,
    /// Nothing that lets it: what stands stays, and nothing is written.
    Missing,
    /// No: what was copied is to go.
    Refused,
    /// It is not known what stands on the source, and it matters: a GET of the source tells.
    Unknown,
}

/// What the source itself says.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Said<'a> {
    /// Neither the watch nor a GET has told.
    Unknown,
    /// This, or nothing.
    Known(Option<&'a Sharing>),
}

/// All that the answer rests on.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Whether a copy needs consent: by `spec.requireConsent`, or by `--consent=required`.
    pub required: bool,
    /// What the source says.
    pub source: Said<'a>,
    /// What its Namespace says, for sources that say nothing.
    pub namespace: Option<&'a Sharing>,
    /// The namespace of the copy.
    pub to: &'a Name,
    /// Its labels.
    pub labels: &'a Labels,
}

/// What the owner of a source says to a copy of it.
///
/// It stops this attack: a tenant who may not read `platform/secret-plans` writes a sync of it into a namespace of his own, and the
/// operator, who may read everything, fetches it for him. With `requireConsent` the answer is the owner's and not the author's,
/// so the API server lets such a sync be written. Nor does a slip open the door: what cannot be read, what is empty and what
/// is gone are [`Consent::Missing`], also where the Namespace shares with all.
pub fn judge(question: &Question<'_>) -> Consent {
    let Question { required, source, namespace, to, labels } = *question;
    let said = match source {
        Said::Known(Some(said)) => Some(said),
        Said::Known(None) => namespace,
        // Whatever the source says, nothing else than its own `none` could refuse it, and who wrote the copy has seen that.
        Said::Unknown if !required && namespace != Some(&Sharing::WithNobody) => return Consent::Given,
        Said::Unknown => return Consent::Unknown,
    };
    match said {
        Some(Sharing::WithNobody) => Consent::Refused,
        _ if !required => Consent::Given,
        Some(Sharing::With { namespaces, selector }) => {
            let selected = || {
                let selection = selector.as_ref().and_then(|selector| Selection::by_labels(selector, &[]).ok());
                selection.is_some_and(|selection| selection.of(to, labels, false) == Selected::Yes)
            };
            if lists(namespaces, to) || selected() { Consent::Given } else { Consent::Missing }
        }
        Some(Sharing::Unreadable(_)) | None => Consent::Missing,
    }
}

fn lists(namespaces: &Namespaces, name: &str) -> bool {
    match namespaces {
        Namespaces::All => true,
        Namespaces::Listed(list) => list.split(',').map(str::trim).any(|listed| match listed.contains(['*', '?']) {
            true => WildMatch::new(listed).matches(name),
            false => listed == name,
        }),
    }
}

#[cfg(test)]
#[path = "tests/consent.rs"]
mod tests;
