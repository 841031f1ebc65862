//! The contents of ConfigMaps: the hash, and what admission made of a copy.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use configmapsync_operator::rules::copy::content::{Content, SourceContent};
use configmapsync_operator::rules::record::ObjectKey;
use configmapsync_operator::rules::uid::{Uid, Version};
use serde_json::{Value, json};

use super::served::{UID, escaped};

/// What a ConfigMap holds.
pub fn content(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    // serde takes a list for a struct's fields in order; the server sends none.
    let Some(b'{') = text.trim_ascii_start().bytes().next() else { return };
    let Ok(content) = serde_json::from_str::<Content<'_>>(text) else { return };
    assert!(content.len() <= text.len());
    let hash = content.hash();
    assert_eq!(hash, content.hash());
    let version = Version { uid: Uid::parse(UID).unwrap(), rv: 1 };
    let source = SourceContent::new(ObjectKey::new("a", "cm"), version, content);
    assert_eq!(source.as_ref().map(|source| source.hash).map_err(String::clone), hash);
    let held = serde_json::from_str(text).ok().and_then(|value| Held::of(&value));
    match (source, held) {
        (Ok(source), Some(held)) => {
            assert!(source.size() <= text.len() + 512, "{} bytes for {}", source.size(), text.len());
            assert_eq!(source.changed_by_admission(None, content), Ok(None), "it is what was sent");
            changes_are_seen(&source, &held);
        }
        (source, held) => assert!(source.is_err() || too_deep(text), "nonsense is told: {held:?}"),
    }
}

/// Whether `serde_json` gives up on the nesting of something that the operator does not look at.
fn too_deep(text: &str) -> bool {
    serde_json::from_str::<Value>(text).is_err()
}

/// What a ConfigMap holds, in the words of this test.
#[derive(Clone, Debug)]
struct Held {
    data: BTreeMap<String, String>,
    binary: BTreeMap<String, String>,
    immutable: bool,
}

impl Held {
    /// `None` where the server would not send it.
    fn of(value: &Value) -> Option<Self> {
        let entries = |field: &str| match value.get(field) {
            None | Some(Value::Null) => Some(BTreeMap::new()),
            Some(all) => serde_json::from_value::<BTreeMap<String, String>>(all.clone()).ok(),
        };
        let (data, binary) = (entries("data")?, entries("binaryData")?);
        let canonical = |text: &String| STANDARD.decode(text).is_ok_and(|bytes| STANDARD.encode(bytes) == *text);
        binary.values().all(canonical).then_some(())?;
        Some(Self { data, binary, immutable: value.get("immutable") == Some(&json!(true)) })
    }

    fn json(&self) -> Value {
        json!({ "immutable": self.immutable, "binaryData": self.binary, "data": self.data })
    }
}

/// Another spelling is no change; all else is one.
fn changes_are_seen(source: &SourceContent, held: &Held) {
    assert_eq!(told(source, held), None, "another spelling says the same");
    let mut other = held.clone();
    other.immutable = !held.immutable;
    let words = told(source, &other).unwrap();
    assert_eq!(words, "field immutable changed");
    // A name that is in neither.
    let new =
        (0..).map(|n| format!("new-{n}")).find(|key| !held.data.contains_key(key) && !held.binary.contains_key(key));
    let new = new.unwrap();
    for binary in [false, true] {
        let entries = |held: &Held| if binary { held.binary.clone() } else { held.data.clone() };
        let with = |entries| match binary {
            true => Held { binary: entries, ..held.clone() },
            false => Held { data: entries, ..held.clone() },
        };
        for (key, value) in entries(held).iter().take(4) {
            let mut less = entries(held);
            less.remove(key);
            differs(source, &with(less), key, "removed");
            let mut changed = entries(held);
            changed.insert(key.clone(), grown(value, binary));
            differs(source, &with(changed), key, "changed");
        }
        let mut more = entries(held);
        more.insert(new.clone(), String::new());
        differs(source, &with(more), &new, "added");
    }
}

fn grown(value: &str, binary: bool) -> String {
    match binary {
        true => STANDARD.encode([STANDARD.decode(value).unwrap(), vec![0]].concat()),
        false => format!("{value}x"),
    }
}

fn differs(source: &SourceContent, other: &Held, key: &str, how: &str) {
    assert_eq!(told(source, other), Some(format!("key {key} {how}")));
}

/// What is told of this answer. The hash has to be of the same opinion.
fn told(source: &SourceContent, answer: &Held) -> Option<String> {
    let json = answer.json();
    let mut words = None;
    for text in [json.to_string(), escaped(&json)] {
        let content: Content<'_> = serde_json::from_str(&text).unwrap();
        let told = source.changed_by_admission(None, content).unwrap();
        let other = SourceContent::new(source.key.clone(), source.version, content).unwrap();
        assert_eq!(told.is_none(), source.holds_the_same_as(&other), "{told:?}");
        words = told;
    }
    words
}
