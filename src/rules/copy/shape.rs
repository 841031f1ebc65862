//! What a copy has of its source, and what it has beside: which keys, under which names, and which labels and annotations.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use wildmatch::WildMatch;

use crate::api::names::ANNOTATION_SHAPED;
use crate::api::shape::{CopyMetadata, KeySelection, is_reserved};

use crate::rules::shard::fnv1a;

/// What a spec says of keys and metadata, where it says anything.
#[derive(Clone, PartialEq, Debug)]
pub struct Shape {
    include: Vec<WildMatch>,
    exclude: Vec<WildMatch>,
    rename: BTreeMap<String, String>,
    metadata: CopyMetadata,
}

/// Labels and annotations.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Notes {
    /// Labels, by name.
    pub labels: BTreeMap<String, String>,
    /// Annotations, by name.
    pub annotations: BTreeMap<String, String>,
}

impl Shape {
    /// What `spec.keys` and `spec.metadata` say; `None` where that is nothing.
    ///
    /// # Errors
    /// A label or annotation that a copy must not have, in a sentence.
    pub fn new(keys: KeySelection, metadata: CopyMetadata) -> Result<Option<Self>, String> {
        let CopyMetadata { labels, annotations, copy_labels, copy_annotations } = &metadata;
        let mut names = labels.keys().chain(annotations.keys()).chain(copy_labels).chain(copy_annotations);
        if let Some(name) = names.find(|name| is_reserved(name)) {
            return Err(format!(
                "metadata must not name {name}: it is the operator's own, or one by which another tool knows what is its own"
            ));
        }
        if keys == KeySelection::default() && metadata == CopyMetadata::default() {
            return Ok(None);
        }
        let patterns = |patterns: &[String]| patterns.iter().map(|pattern| WildMatch::new(pattern)).collect();
        let (include, exclude) = (patterns(&keys.include), patterns(&keys.exclude));
        let rename = keys.rename.into_iter().map(|rename| (rename.from, rename.to)).collect();
        Ok(Some(Self { include, exclude, rename, metadata }))
    }

    /// Whether a copy has labels or annotations as its source has them.
    pub fn follows_metadata(&self) -> bool {
        !(self.metadata.copy_labels.is_empty() && self.metadata.copy_annotations.is_empty())
    }

    /// Whether a copy has all keys of its source, by their names there.
    pub fn keeps_keys(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty() && self.rename.is_empty()
    }

    /// The name that a key of the source has in the copy; `None`: the copy has not got it.
    pub fn name_of<'a>(&'a self, key: &'a str) -> Option<&'a str> {
        let listed = |patterns: &[WildMatch]| patterns.iter().any(|pattern| pattern.matches(key));
        let selected = (self.include.is_empty() || listed(&self.include)) && !listed(&self.exclude);
        selected.then(|| self.rename.get(key).map_or(key, String::as_str))
    }

    /// These keys of a source, by the names that they have in the copy.
    ///
    /// # Errors
    /// Two keys that would have one name, in a sentence.
    pub fn keys_of<'a, V>(
        &self,
        keys: impl Iterator<Item = (Cow<'a, str>, V)>,
    ) -> Result<BTreeMap<Cow<'a, str>, V>, String> {
        let mut named = BTreeMap::new();
        for (key, value) in keys {
            let name = match self.name_of(&key) {
                None => continue,
                Some(name) if *name == *key => key.clone(),
                Some(name) => Cow::Owned(name.to_owned()),
            };
            if let Some((other, _)) = named.insert(name.clone(), (key.clone(), value)) {
                let (one, two) = if other < key { (other, key) } else { (key, other) };
                return Err(format!("the keys {one} and {two} of the source would both be {name} in the copy"));
            }
        }
        Ok(named.into_iter().map(|(name, (_, value))| (name, value)).collect())
    }

    /// The labels and annotations that a copy of a source with these has beside our marks.
    pub fn notes(&self, source: &Notes) -> Notes {
        let taken = |source: &BTreeMap<String, String>, names: &[String], own: &BTreeMap<String, String>| {
            let copied = names.iter().filter_map(|name| source.get_key_value(name));
            copied.chain(own).map(|(name, value)| (name.clone(), value.clone())).collect()
        };
        let CopyMetadata { labels, annotations, copy_labels, copy_annotations } = &self.metadata;
        Notes {
            labels: taken(&source.labels, copy_labels, labels),
            annotations: taken(&source.annotations, copy_annotations, annotations),
        }
    }

    /// About how many bytes a copy has more by it than by its source.
    pub fn size(&self) -> usize {
        let entries =
            |entries: &BTreeMap<String, String>| entries.iter().map(|(a, b)| a.len() + b.len()).sum::<usize>();
        entries(&self.rename) + 2 * (entries(&self.metadata.labels) + entries(&self.metadata.annotations))
    }
}

impl Notes {
    /// How many bytes they take.
    pub fn size(&self) -> usize {
        let of = |entries: &BTreeMap<String, String>| {
            entries.iter().map(|(name, value)| name.len() + value.len() + 2 * size_of::<String>()).sum::<usize>()
        };
        of(&self.labels) + of(&self.annotations)
    }

    /// Their names, as the annotation of a copy says them.
    pub fn names(&self) -> String {
        let labels = self.labels.keys().map(|name| format!("label:{name}"));
        labels.chain(self.annotations.keys().map(|name| format!("annotation:{name}"))).collect::<Vec<_>>().join(",")
    }

    /// Those that we wrote on a copy, by its metadata as the server sent it; `None`: its spec said nothing of keys or metadata.
    pub fn written_on(metadata: &Map<String, Value>) -> Option<Self> {
        let written = metadata.get("annotations")?[ANNOTATION_SHAPED].as_str()?;
        let of = |field: &str| {
            let entry = |name: &str| Some((name.to_owned(), metadata.get(field)?[name].as_str()?.to_owned()));
            written_names(written, field).filter_map(entry).collect()
        };
        Some(Self { labels: of("labels"), annotations: of("annotations") })
    }

    /// The hash of a content together with these: of all that we write on a copy whose spec says something of keys or metadata.
    pub fn hash_with(&self, content: &[u8; 32]) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(b"shaped");
        hash.update(content);
        for (kind, entries) in [(b'l', &self.labels), (b'a', &self.annotations)] {
            for text in entries.iter().flat_map(|(name, value)| [name, value]) {
                hash.update([kind]);
                hash.update((text.len() as u64).to_be_bytes());
                hash.update(text);
            }
        }
        hash.finalize().into()
    }
}

/// The names of labels (`field` is `labels`) or annotations that the annotation of a copy says we wrote.
pub fn written_names<'a>(written: &'a str, field: &str) -> impl Iterator<Item = &'a str> {
    let kind = if field == "labels" { "label:" } else { "annotation:" };
    written.split(',').filter_map(move |name| name.strip_prefix(kind))
}

/// A sum over names, whatever their order: it tells whether two sets of names are the same without keeping them.
pub fn name_sum<'a>(names: impl Iterator<Item = &'a str>) -> u64 {
    names.map(|name| fnv1a(name.as_bytes())).fold(0, u64::wrapping_add)
}

#[cfg(test)]
#[path = "tests/shape.rs"]
mod tests;
