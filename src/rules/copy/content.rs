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
use crate::rules::copy::shape::{Notes, Shape, written_names};
use crate::rules::record::{ObjectKey, SlimArc};
use crate::rules::sharing::Sharing;
use crate::rules::uid::{Uid, Version};

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
        hash_of(&entries(self.data)?, &entries(self.binary_data)?)
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

fn hash_of(data: &Entries<'_>, binary_data: &Entries<'_>) -> Result<Hash, String> {
    let mut hash = Sha256::new();
    let mut field = |kind: u8, bytes: &[u8]| {
        hash.update([kind]);
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    for (key, value) in data {
        field(b'd', key.as_bytes());
        field(b'=', value.as_bytes());
    }
    for (key, value) in binary_data {
        field(b'b', key.as_bytes());
        field(b'=', &STANDARD.decode(value.as_bytes()).map_err(|error| format!("binaryData {key:?}: {error}"))?);
    }
    Ok(hash.finalize().into())
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

/// A hash in hexadecimal.
pub fn hexadecimal(hash: &Hash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a hash of more than a content ends with: what a spec without keys and metadata wants never looks like it.
const SHAPED: &str = "-shaped";

/// The hash as the annotation of a copy shows it, and the status of a ClusterConfigMapSync. `shaped`: the spec says something of
/// keys or metadata.
pub fn hash_text(hash: &Hash, shaped: bool) -> String {
    hexadecimal(hash) + if shaped { SHAPED } else { "" }
}

/// Whether a hash that is written like this is that of a copy whose spec says something of keys or metadata.
pub fn is_shaped(hash_text: &str) -> bool {
    hash_text.ends_with(SHAPED)
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
    /// Its labels and annotations that a copy may have too.
    notes: Notes,
    /// What its owner says of sharing it, by the answer that told the content.
    pub sharing: Option<SlimArc<Sharing>>,
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
        let (notes, sharing) = (Notes::default(), None);
        Ok(Self { key, version, hash, immutable, notes, sharing, tail: tail.into(), data, binary_data })
    }

    /// The same with these labels and annotations.
    #[must_use]
    pub fn with_notes(self, notes: Notes) -> Self {
        Self { notes, ..self }
    }

    /// The hash of what we write on a copy with this shape, and that of its content alone.
    ///
    /// # Errors
    /// Two keys that would have one name, in a sentence.
    pub fn hashes(&self, shape: &Shape) -> Result<(Hash, Hash), String> {
        let content = match shape.keeps_keys() {
            true => self.hash,
            false => self.shaped(shape).and_then(|(data, binary_data)| hash_of(&data, &binary_data))?,
        };
        Ok((shape.notes(&self.notes).hash_with(&content), content))
    }

    /// `data` and `binaryData` of a copy with this shape.
    fn shaped(&self, shape: &Shape) -> Result<(Entries<'_>, Entries<'_>), String> {
        let of = |range: &Range<usize>, binary: bool| {
            let entries = parse(self.tail.get(range.clone()).filter(|text| !text.is_empty()))?;
            Ok::<_, String>(entries.into_iter().map(move |(key, value)| (key, (value, binary))))
        };
        // The server takes no key that is in both.
        let keys = shape.keys_of(of(&self.data, false)?.chain(of(&self.binary_data, true)?))?;
        let (binary_data, data): (Vec<_>, Vec<_>) = keys.into_iter().partition(|(_, (_, binary))| *binary);
        let entries = |all: Vec<(_, (_, bool))>| all.into_iter().map(|(key, (value, _))| (key, value)).collect();
        Ok((entries(data), entries(binary_data)))
    }

    /// Writes the end of a copy's JSON.
    fn put_tail(&self, shape: Option<&Shape>, body: &mut Vec<u8>) {
        // Two keys with one name: it is not written.
        let Some(Ok((data, binary_data))) = shape.filter(|it| !it.keeps_keys()).map(|shape| self.shaped(shape)) else {
            return body.extend_from_slice(self.tail.as_bytes());
        };
        for (name, entries) in [("data", data), ("binaryData", binary_data)] {
            if !entries.is_empty() {
                body.extend_from_slice(format!(",\"{name}\":").as_bytes());
                // Maps with string keys always serialize.
                body.extend(serde_json::to_vec(&entries).unwrap_or_default());
            }
        }
        if self.immutable {
            body.extend_from_slice(b",\"immutable\":true");
        }
        body.push(b'}');
    }

    /// Whether a copy of the one is a copy of the other.
    pub fn holds_the_same_as(&self, other: &Self) -> bool {
        self.hash == other.hash && self.immutable == other.immutable
    }

    /// How many bytes it takes in memory.
    pub fn size(&self) -> usize {
        self.tail.len() + self.notes.size() + size_of::<Self>()
    }

    /// What admission made of a copy that was sent with this content and this shape, by the server's answer; `None`: nothing.
    ///
    /// # Errors
    /// When the answer is not what the API server sends.
    pub fn changed_by_admission(&self, shape: Option<&Shape>, answer: Content<'_>) -> Result<Option<String>, String> {
        let mut changes = Vec::new();
        if let Some(shape) = shape.filter(|shape| !shape.keeps_keys()) {
            let (data, binary_data) = self.shaped(shape)?;
            compare(&data, &entries(answer.data)?, &mut changes);
            compare(&binary_data, &entries(answer.binary_data)?, &mut changes);
        } else {
            for (sent, got) in [(&self.data, answer.data), (&self.binary_data, answer.binary_data)] {
                let sent = self.tail.get(sent.clone()).unwrap_or_default();
                // The server writes the same map the same way.
                if got.map_or("", RawValue::get) != sent {
                    compare(&parse((!sent.is_empty()).then_some(sent))?, &entries(got)?, &mut changes);
                }
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
    /// What the spec says of keys and metadata, if it says anything, and the hash of what that makes of the source.
    pub shape: Option<(&'a Shape, Hash)>,
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
    let notes = target.shape.map(|(shape, _)| shape.notes(&source.notes));
    let put = |entries: &mut Map<String, Value>, notes: &BTreeMap<String, String>| {
        entries.extend(notes.iter().map(|(name, value)| (name.clone(), json!(value))));
    };
    let labels = object(&mut metadata, "labels");
    notes.iter().for_each(|notes| put(labels, &notes.labels));
    if owner.key.is_cluster_scoped() {
        labels.insert(names::LABEL_CLUSTER_SYNC_NAME.into(), json!(label_value(&owner.key.name)));
    } else {
        labels.insert(names::LABEL_SYNC_NAME.into(), json!(label_value(&owner.key.name)));
        labels.insert(names::LABEL_SYNC_NAMESPACE.into(), json!(label_value(&owner.key.namespace)));
    }
    labels.insert(names::LABEL_MANAGED_BY.into(), json!(names::MANAGED_BY));
    let annotations = object(&mut metadata, "annotations");
    let Version { uid, rv } = source.version;
    if let Some(notes) = &notes {
        put(annotations, &notes.annotations);
        annotations.insert(names::ANNOTATION_SHAPED.into(), json!(notes.names()));
    }
    let hash = target.shape.map_or(source.hash, |(_, hash)| hash);
    annotations.insert(names::ANNOTATION_HASH.into(), json!(hash_text(&hash, notes.is_some())));
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
    source.put_tail(target.shape.map(|(shape, _)| shape), &mut body);
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
    let written = standing.get("annotations").and_then(|all| all[names::ANNOTATION_SHAPED].as_str());
    for field in ["labels", "annotations"] {
        if let Some(Value::Object(entries)) = standing.get(field) {
            let ours: Vec<&str> = written.into_iter().flat_map(|written| written_names(written, field)).collect();
            let foreign = entries.iter().filter(|(key, _)| !is_ours(key) && !ours.contains(&key.as_str()));
            let foreign = foreign.map(|(key, value)| (key.clone(), value.clone()));
            kept.insert(field.into(), Value::Object(foreign.collect()));
        }
    }
    kept
}

/// Whether a label or annotation is one of those that we write. Those by which people tell us something stay.
pub fn is_ours(key: &str) -> bool {
    key.starts_with(names::PREFIX) && !names::WRITTEN_BY_PEOPLE.contains(&key)
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
