//! From any bytes to an object as the API server sends it, and the same object in other spellings.

use std::fmt::Write as _;

use configmapsync_operator::rules::uid::Uid;
use serde_json::{Map, Value, json};

/// A UID for what has none.
pub const UID: &str = "11111111-2222-3333-4444-555555555555";

/// What the bytes say as JSON, where they are an object. Of a key that stands twice the last counts: the server writes
/// each once.
pub fn object(bytes: &[u8]) -> Option<Map<String, Value>> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(object)) => Some(object),
        _ => None,
    }
}

/// The object with metadata as the server writes them; what others may write stays as it is.
pub fn served(mut object: Map<String, Value>) -> Value {
    let mut metadata = match object.remove("metadata") {
        Some(Value::Object(metadata)) => metadata,
        _ => Map::new(),
    };
    for (field, otherwise) in [("name", "cm"), ("namespace", "n")] {
        repair(&mut metadata, field, Value::is_string, json!(otherwise));
    }
    let is_uid = |uid: &Value| uid.as_str().and_then(Uid::parse).is_some();
    let is_version = |rv: &Value| rv.as_str().is_some_and(|rv| rv.parse::<u64>().is_ok());
    repair(&mut metadata, "uid", is_uid, json!(UID));
    repair(&mut metadata, "resourceVersion", is_version, json!("7"));
    repair(&mut metadata, "generation", Value::is_i64, json!(1));
    for field in ["labels", "annotations"] {
        if metadata.get(field).is_some_and(|it| !it.is_object() && !it.is_null()) {
            metadata.remove(field);
        }
    }
    if let Some(Value::Array(owners)) = metadata.get_mut("ownerReferences") {
        owners.retain(Value::is_object);
        for owner in owners.iter_mut().filter_map(Value::as_object_mut) {
            owner.retain(|key, value| key != "controller" || value.is_boolean());
        }
    }
    object.insert("metadata".to_owned(), Value::Object(metadata));
    Value::Object(object)
}

fn repair(object: &mut Map<String, Value>, field: &str, is_right: impl Fn(&Value) -> bool, otherwise: Value) {
    if !object.get(field).is_some_and(is_right) {
        object.insert(field.to_owned(), otherwise);
    }
}

/// The same JSON with every character of every string escaped, and with spaces: nothing can be borrowed from it.
pub fn escaped(value: &Value) -> String {
    let mut text = String::new();
    escape(value, &mut text);
    text
}

fn escape(value: &Value, to: &mut String) {
    match value {
        Value::String(text) => escape_text(text, to),
        Value::Array(items) => {
            to.push_str("[ ");
            for (at, item) in items.iter().enumerate() {
                to.push_str(if at == 0 { "" } else { " , " });
                escape(item, to);
            }
            to.push_str(" ]");
        }
        Value::Object(entries) => {
            to.push_str("{ ");
            for (at, (key, value)) in entries.iter().enumerate() {
                to.push_str(if at == 0 { "" } else { "\n, " });
                escape_text(key, to);
                to.push_str(" : ");
                escape(value, to);
            }
            to.push_str(" }");
        }
        plain => to.push_str(&plain.to_string()),
    }
}

fn escape_text(text: &str, to: &mut String) {
    to.push('"');
    for unit in text.encode_utf16() {
        let _ = write!(to, "\\u{unit:04x}");
    }
    to.push('"');
}

/// Whether it may be one segment of the path of a request: by the words of RFC 1123, and not by the code under test.
pub fn is_dns_label(text: &str) -> bool {
    const INSIDE: &str = "abcdefghijklmnopqrstuvwxyz0123456789-";
    (1..=63).contains(&text.len())
        && text.chars().all(|c| INSIDE.contains(c))
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Whether it may be the name of a ConfigMap. Kubernetes does not limit the length of one part.
pub fn is_dns_name(text: &str) -> bool {
    let part = |part: &str| {
        let last = part.len().saturating_sub(1);
        !part.is_empty()
            && part
                .chars()
                .enumerate()
                .all(|(at, c)| matches!(c, 'a'..='z' | '0'..='9') || (c == '-' && at != 0 && at != last))
    };
    text.len() <= 253 && text.split('.').all(part)
}

/// Panics unless a request to this path asks for one object of this kind, and for nothing else.
pub fn asks_for_one(namespace: &str, plural: &str, name: &str) {
    let path = format!("/api/v1/namespaces/{namespace}/{plural}/{name}");
    let uri: http::Uri = format!("{path}?timeout=10s").parse().unwrap_or_else(|error| panic!("{path:?}: {error}"));
    assert_eq!((uri.path(), uri.query()), (&*path, Some("timeout=10s")));
    let segments: Vec<&str> = uri.path().split('/').skip(1).collect();
    assert_eq!(segments, ["api", "v1", "namespaces", namespace, plural, name]);
    assert!(!segments.iter().any(|segment| ["", ".", ".."].contains(segment)), "{path:?}");
}
