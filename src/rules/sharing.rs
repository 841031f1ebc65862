//! What the owner of a source says of sharing it, in two annotations on the ConfigMap or on its Namespace.

use crate::api::clusterconfigmapsync::{LabelOperator, LabelRequirement, LabelValue, NamespaceSelector};
use crate::api::dns;
use crate::api::names::{ANNOTATION_SHARE, ANNOTATION_SHARE_WITH};

/// More bytes of an annotation are not read: every replica keeps what owners say.
const LONGEST: usize = 4096;

/// So many characters of what cannot be read are shown.
const SHOWN: usize = 40;

/// What an owner says.
#[derive(Clone, PartialEq, Debug)]
pub enum Sharing {
    /// `share: none`: with nobody, and what was copied is to go.
    WithNobody,
    /// With these namespaces.
    With {
        /// `share: all`, or a comma list of namespaces and globs.
        namespaces: Namespaces,
        /// `share-with`: namespaces that have these labels, too.
        selector: Option<Box<NamespaceSelector>>,
    },
    /// Something that nobody can read; what is wrong with it, in a sentence. It shares with nobody, and takes nothing back.
    Unreadable(Box<str>),
}

/// Namespaces by name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Namespaces {
    /// All.
    All,
    /// Names and globs, with commas between them; none where it is empty.
    Listed(Box<str>),
}

impl Sharing {
    /// Reads both annotations. `None`: neither is there.
    pub fn read(share: Option<&str>, share_with: Option<&str>) -> Option<Self> {
        if share.is_none() && share_with.is_none() {
            return None;
        }
        let namespaces = match share.map(namespaces).transpose() {
            Ok(Some(None)) => return Some(Self::WithNobody),
            Ok(Some(Some(namespaces))) => namespaces,
            Ok(None) => Namespaces::Listed("".into()),
            Err(why) => return Some(Self::Unreadable(format!("the annotation {ANNOTATION_SHARE} {why}").into())),
        };
        match share_with.map(selector).transpose() {
            Ok(selector) => Some(Self::With { namespaces, selector: selector.map(Box::new) }),
            Err(why) => Some(Self::Unreadable(format!("the annotation {ANNOTATION_SHARE_WITH} {why}").into())),
        }
    }
}

/// `None`: with nobody.
fn namespaces(text: &str) -> Result<Option<Namespaces>, &'static str> {
    const NEITHER: &str = "is neither all nor none nor a list of namespaces: lower-case letters, digits and '-', * for any \
                           characters and ? for one, with commas between them";
    let is_name = |name: &str| {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-*?".contains(c);
        // Among others these words would be names of namespaces, and somebody may have meant something else.
        (1..=63).contains(&name.len()) && name.chars().all(allowed) && !["all", "none"].contains(&name)
    };
    match text.trim() {
        long if long.len() > LONGEST => Err("is longer than 4096 bytes; share-with takes labels of namespaces"),
        "all" => Ok(Some(Namespaces::All)),
        "none" => Ok(None),
        list if list.split(',').map(str::trim).all(is_name) => Ok(Some(Namespaces::Listed(list.into()))),
        _ => Err(NEITHER),
    }
}

/// A label selector as kubectl takes it: `team=blue,tier in (gold,silver),!legacy`.
fn selector(text: &str) -> Result<NamespaceSelector, String> {
    if text.len() > LONGEST {
        return Err("is longer than 4096 bytes".to_owned());
    }
    if text.trim().is_empty() {
        return Err("is empty: it would mean all namespaces; say share: all for that".to_owned());
    }
    let parts = parts(text).ok_or("has brackets that do not match")?;
    let match_expressions = parts
        .map(|part| {
            requirement(part.trim()).ok_or_else(|| format!("has {:?}, which is no requirement on a label", shown(part)))
        })
        .collect::<Result<_, _>>()?;
    Ok(NamespaceSelector { match_expressions, ..NamespaceSelector::default() })
}

/// What stands between commas that are in no brackets.
fn parts(text: &str) -> Option<impl Iterator<Item = &str>> {
    let (mut inside, mut begin, mut parts) = (false, 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '(' | ')' if inside == (c == '(') => return None,
            '(' | ')' => inside = !inside,
            ',' if !inside => {
                parts.push(text.get(begin..at)?);
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text.get(begin..)?);
    (!inside).then(|| parts.into_iter())
}

/// The beginning of what somebody wrote.
fn shown(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}

fn requirement(text: &str) -> Option<LabelRequirement> {
    let of = |key: &str, operator, values: Vec<&str>| {
        let values: Vec<LabelValue> = values.into_iter().map(|value| LabelValue(value.trim().to_owned())).collect();
        let key = key.trim().to_owned();
        (is_key(&key) && values.iter().all(|value| is_value(&value.0))).then_some(LabelRequirement {
            key,
            operator,
            values,
        })
    };
    if let Some(key) = text.strip_prefix('!') {
        return of(key, LabelOperator::DoesNotExist, Vec::new());
    }
    if let Some(list) = text.strip_suffix(')') {
        let (head, list) = list.split_once('(')?;
        let (key, word) = head.trim().rsplit_once(char::is_whitespace)?;
        let operator = match word {
            "in" => LabelOperator::In,
            "notin" => LabelOperator::NotIn,
            _ => return None,
        };
        return of(key, operator, list.split(',').collect());
    }
    if let Some((key, value)) = text.split_once("!=") {
        return of(key, LabelOperator::NotIn, vec![value]);
    }
    if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return of(key, LabelOperator::In, vec![value]);
    }
    of(text, LabelOperator::Exists, Vec::new())
}

fn is_key(key: &str) -> bool {
    let (prefix, name) = key.rsplit_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    prefix.is_none_or(dns::is_subdomain) && !name.is_empty() && is_value(name)
}

fn is_value(value: &str) -> bool {
    let ends_well = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let ends = [value.chars().next(), value.chars().next_back()];
    value.len() <= 63 && value.chars().all(allowed) && ends.into_iter().all(ends_well)
}

#[cfg(test)]
#[path = "tests/sharing.rs"]
mod tests;
