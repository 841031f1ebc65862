//! The content of a ConfigMap, and the bytes of a copy.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use crate::api::names;
use crate::rules::copy::facts::{Hash, Owner};
use crate::rules::record::{ObjectKey, Version};
use crate::rules::uid::Uid;

/// What a ConfigMap holds, as the server wrote it: `data` and `binaryData` are passed on to the byte. It borrows from the
/// text of the answer.
#[derive(Clone, Copy, Debug, Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub struct Content<'a> {
    /// `data`, an object of strings.
    #[serde(borrow)]
    pub data: Option<&'a RawValue>,
    /// `binaryData`, an object of base64 strings.
    #[serde(borrow)]
    pub binary_data: Option<&'a RawValue>,
    /// `immutable`.
    pub immutable: Option<bool>,
}

type Entries<'a> = BTreeMap<Cow<'a, str>, Cow<'a, str>>;

impl<'a> Content<'a> {
    /// SHA-256 over sorted, length-prefixed keys and values, with data and binaryData told apart. Two ConfigMaps have
    /// the same hash when they hold the same, whatever the order of their keys or whether an empty `data` is written.
    ///
    /// # Errors
    /// When `data` or `binaryData` is not what the API server sends.
    pub fn hash(&self) -> Result<Hash, String> {
        let mut hash = Sha256::new();
        let mut field = |kind: u8, bytes: &[u8]| {
            hash.update([kind]);
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        for (key, value) in entries(self.data)? {
            field(b'd', key.as_bytes());
            field(b'=', value.as_bytes());
        }
        for (key, value) in entries(self.binary_data)? {
            field(b'b', key.as_bytes());
            field(b'=', &STANDARD.decode(value.as_bytes()).map_err(|error| format!("binaryData {key:?}: {error}"))?);
        }
        Ok(hash.finalize().into())
    }

    /// How many bytes it takes.
    pub fn len(&self) -> usize {
        let length = |field: Option<&RawValue>| field.map_or(0, |raw| raw.get().len());
        length(self.data) + length(self.binary_data)
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn entries(raw: Option<&RawValue>) -> Result<Entries<'_>, String> {
    parse(raw.map(RawValue::get))
}

fn parse(text: Option<&str>) -> Result<Entries<'_>, String> {
    match text {
        Some(text) => serde_json::from_str::<Option<Wrapped<'_>>>(text)
            .map(|entries| entries.map(|wrapped| wrapped.0).unwrap_or_default())
            .map_err(|error| error.to_string()),
        None => Ok(Entries::new()),
    }
}

/// Borrows strings from the text where it can.
#[derive(Deserialize)]
struct Wrapped<'a>(#[serde(borrow)] Entries<'a>);

/// The hash as the annotation shows it.
pub fn hexadecimal(hash: &Hash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A source at one version: its content, once, and its hash, made once however many copies there are.
#[derive(Debug)]
pub struct SourceContent {
    /// Its namespace and name.
    pub key: ObjectKey,
    /// The version that the GET returned.
    pub version: Version,
    /// The hash of what it holds.
    pub hash: Hash,
    /// Whether it is immutable: then its copy is to be.
    pub immutable: bool,
    /// The end of a copy's JSON: `data`, `binaryData` and `immutable`.
    tail: Box<str>,
    data: Range<usize>,
    binary_data: Range<usize>,
}

impl SourceContent {
    /// Hashes it, and writes the part of a copy that is the same for all.
    ///
    /// # Errors
    /// When `data` or `binaryData` is not what the API server sends.
    pub fn new(key: ObjectKey, version: Version, content: Content<'_>) -> Result<Self, String> {
        let hash = content.hash()?;
        let mut tail = String::with_capacity(content.len() + 64);
        let mut put = |name: &str, field: Option<&RawValue>| {
            let Some(raw) = field else { return 0..0 };
            tail.extend([",\"", name, "\":"]);
            let begin = tail.len();
            tail.push_str(raw.get());
            begin..tail.len()
        };
        let (data, binary_data) = (put("data", content.data), put("binaryData", content.binary_data));
        if let Some(immutable) = content.immutable {
            tail.extend([",\"immutable\":", if immutable { "true" } else { "false" }]);
        }
        tail.push('}');
        let immutable = content.immutable == Some(true);
        Ok(Self { key, version, hash, immutable, tail: tail.into(), data, binary_data })
    }

    /// Whether a copy of the one is a copy of the other.
    pub fn holds_the_same_as(&self, other: &Self) -> bool {
        self.hash == other.hash && self.immutable == other.immutable
    }

    /// How many bytes it takes in memory.
    pub fn size(&self) -> usize {
        self.tail.len() + size_of::<Self>()
    }

    /// What admission made of a copy that was sent with this content, by the server's answer; `None`: nothing.
    ///
    /// # Errors
    /// When the answer is not what the API server sends.
    pub fn changed_by_admission(&self, answer: Content<'_>) -> Result<Option<String>, String> {
        let mut changes = Vec::new();
        for (sent, got) in [(&self.data, answer.data), (&self.binary_data, answer.binary_data)] {
            let sent = self.tail.get(sent.clone()).unwrap_or_default();
            // The server writes the same map the same way.
            if got.map_or("", RawValue::get) != sent {
                compare(&parse((!sent.is_empty()).then_some(sent))?, &entries(got)?, &mut changes);
            }
        }
        if (answer.immutable == Some(true)) != self.immutable {
            changes.push("field immutable changed".to_owned());
        }
        Ok(summary(&changes))
    }
}

/// Notes which keys are not the same.
fn compare(sent: &Entries<'_>, got: &Entries<'_>, changes: &mut Vec<String>) {
    for (key, value) in sent {
        match got.get(key) {
            None => changes.push(format!("key {key} removed")),
            Some(other) if other != value => changes.push(format!("key {key} changed")),
            Some(_) => {}
        }
    }
    changes.extend(got.keys().filter(|key| !sent.contains_key(*key)).map(|key| format!("key {key} added")));
}

/// The first few changes in one line.
fn summary(changes: &[String]) -> Option<String> {
    const SHOWN: usize = 3;
    let shown = changes.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match changes.len() {
        0 => None,
        all if all > SHOWN => Some(format!("{shown} and {} more", all - SHOWN)),
        _ => Some(shown),
    }
}

/// Where and over what a copy is written.
#[derive(Debug)]
pub struct Target<'a> {
    /// Whose copy it is.
    pub owner: Owner<'a>,
    /// Its namespace and name.
    pub key: &'a ObjectKey,
    /// UID of that namespace.
    pub namespace: Uid,
    /// What is written over; `None` to create.
    pub over: Option<Version>,
    /// Whether it stood there before us.
    pub adopted: bool,
    /// The metadata of what stands there, where somebody else has put something on it.
    pub standing: Option<&'a Map<String, Value>>,
    /// Now, RFC 3339.
    pub now: &'a str,
}

/// The body of a POST or PUT of a copy. Labels, annotations, owner references and finalizers of others stay.
pub fn copy(source: &SourceContent, target: &Target<'_>) -> Vec<u8> {
    let mut metadata = kept_metadata(target.standing);
    metadata.insert("name".into(), json!(&*target.key.name));
    metadata.insert("namespace".into(), json!(&*target.key.namespace));
    if let Some(over) = target.over {
        metadata.insert("uid".into(), json!(over.uid.to_string()));
        metadata.insert("resourceVersion".into(), json!(over.rv.to_string()));
    }
    let owner = target.owner;
    let labels = object(&mut metadata, "labels");
    labels.insert(names::LABEL_SYNC_NAME.into(), json!(label_value(&owner.key.name)));
    labels.insert(names::LABEL_SYNC_NAMESPACE.into(), json!(label_value(&owner.key.namespace)));
    labels.insert(names::LABEL_MANAGED_BY.into(), json!(names::MANAGED_BY));
    let annotations = object(&mut metadata, "annotations");
    let Version { uid, rv } = source.version;
    annotations.insert(names::ANNOTATION_HASH.into(), json!(hexadecimal(&source.hash)));
    annotations.insert(names::ANNOTATION_LAST_SYNC.into(), json!(target.now));
    annotations.insert(names::ANNOTATION_SYNC.into(), json!(format!("{}/{}", owner.key, owner.uid)));
    annotations.insert(names::ANNOTATION_SOURCE.into(), json!(format!("{}/{uid}/{rv}", source.key)));
    annotations.insert(names::ANNOTATION_AT.into(), json!(format!("{}/{}", target.namespace, target.key.name)));
    annotations.insert(names::ANNOTATION_AT_NAMESPACE.into(), json!(&*target.key.namespace));
    if target.adopted {
        annotations.insert(names::ANNOTATION_ADOPTED.into(), json!("true"));
    }
    let mut body = br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":"#.to_vec();
    // Maps with string keys always serialize.
    body.extend(serde_json::to_vec(&metadata).unwrap_or_default());
    body.extend_from_slice(source.tail.as_bytes());
    body
}

/// What others have put on an object. What the server fills in itself is left out, and so are our own marks.
fn kept_metadata(standing: Option<&Map<String, Value>>) -> Map<String, Value> {
    let mut kept = Map::new();
    let Some(standing) = standing else { return kept };
    for field in ["ownerReferences", "finalizers"] {
        if let Some(value) = standing.get(field) {
            kept.insert(field.into(), value.clone());
        }
    }
    for field in ["labels", "annotations"] {
        if let Some(Value::Object(entries)) = standing.get(field) {
            let foreign =
                entries.iter().filter(|(key, _)| !is_ours(key)).map(|(key, value)| (key.clone(), value.clone()));
            kept.insert(field.into(), Value::Object(foreign.collect()));
        }
    }
    kept
}

/// Whether a label or annotation is one of those that we write.
pub fn is_ours(key: &str) -> bool {
    key.starts_with(names::PREFIX)
}

/// `object` (a ConfigMap as the server sent it) without our marks, as the body of a PUT over that very version.
pub fn unmarked(mut object: Value) -> Value {
    if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
        for field in ["labels", "annotations"] {
            if let Some(Value::Object(entries)) = metadata.get_mut(field) {
                entries.retain(|key, _| !is_ours(key));
            }
        }
        metadata.remove("managedFields");
    }
    object
}

fn object<'a>(map: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    let entry = map.entry(key).or_insert_with(|| Value::Object(Map::new()));
    if !entry.is_object() {
        *entry = Value::Object(Map::new());
    }
    match entry {
        Value::Object(object) => object,
        _ => unreachable!("made an object just above"),
    }
}

/// A name as a label value: at most 63 characters that end alphanumeric. A longer name is cut and ends in a hash of
/// the whole, so that two long names do not look the same.
pub fn label_value(name: &str) -> Cow<'_, str> {
    if name.len() <= 63 {
        return Cow::Borrowed(name);
    }
    let cut = name[..46].trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
    Cow::Owned(format!("{cut}-{:016x}", crate::rules::shard::fnv1a(name.as_bytes())))
}

#[cfg(test)]
#[path = "tests/content.rs"]
mod tests;
