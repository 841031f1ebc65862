//! Tests of `content.rs`.

use super::*;
use crate::rules::testing::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn content(text: &str) -> Content<'_> {
    serde_json::from_str(text).unwrap()
}

fn hash(value: Value) -> Hash {
    content(&value.to_string()).hash().unwrap()
}

#[test]
fn what_admission_changed_is_named_by_its_keys() {
    let sent = json!({"data": {"a": "1", "b": "2"}, "binaryData": {"c": "AA=="}});
    let source = SourceContent::new(object_key("src/cm"), version(2, 20), content(&sent.to_string())).unwrap();
    let changed = |answer: Value| source.changed_by_admission(content(&answer.to_string())).unwrap();
    assert_eq!(changed(sent.clone()), None);
    let reordered = r#"{"data": {"b":"2" , "a":"\u0031"}, "binaryData": {"c":"AA=="}}"#;
    assert_eq!(source.changed_by_admission(content(reordered)).unwrap(), None, "only what it holds counts");
    for (answer, words) in [
        (json!({"data": {"a": "1", "b": "2", "injected": "x"}, "binaryData": {"c": "AA=="}}), "key injected added"),
        (json!({"data": {"a": "1", "b": "3"}, "binaryData": {"c": "AA=="}}), "key b changed"),
        (json!({"data": {"a": "1"}, "binaryData": {"c": "AA=="}}), "key b removed"),
        (json!({}), "key a removed, key b removed, key c removed"),
        (json!({"data": {"d": "1", "e": "1"}}), "key a removed, key b removed, key d added and 2 more"),
        (
            json!({"data": {"a": "1", "b": "2"}, "binaryData": {"c": "AA=="}, "immutable": true}),
            "field immutable changed",
        ),
    ] {
        assert_eq!(changed(answer).as_deref(), Some(words));
    }
}

#[test]
fn the_hash_tells_contents_apart_and_nothing_else() {
    let base = hash(json!({"data": {"a": "1", "b": "2"}}));
    let text = r#"{"data":{"b":"2","a":"\u0031"},"binaryData":{},"metadata":{"name":"x"}}"#;
    assert_eq!(content(text).hash().unwrap(), base, "order and escapes do not count");
    for other in [
        json!({"data": {"a": "1"}}),
        json!({"data": {"a": "12", "b": ""}}),
        json!({"data": {"a1": "", "b": "2"}}),
        json!({"binaryData": {"a": "MQ==", "b": "Mg=="}}),
        json!({"data": {"a": "1"}, "binaryData": {"b": "Mg=="}}),
        json!({}),
    ] {
        assert_ne!(hash(other.clone()), base, "{other}");
    }
    assert_eq!(hash(json!({})), hash(json!({"data": null, "binaryData": {}})));
    assert!(content(r#"{"binaryData": {"a": "!"}}"#).hash().unwrap_err().contains("\"a\""));
}

proptest! {
    #[test]
    fn equal_hashes_mean_equal_contents(a: BTreeMap<String, String>, b: BTreeMap<String, String>) {
        prop_assert_eq!(hash(json!({"data": &a})) == hash(json!({"data": &b})), a == b);
    }

    #[test]
    fn label_values_are_valid(name in "[a-z0-9]([-a-z0-9]{0,60}[a-z0-9])?([.][a-z0-9]([-a-z0-9]{0,60}[a-z0-9])?){0,3}") {
        let value = label_value(&name);
        prop_assert!(value.len() <= 63);
        prop_assert!(value.ends_with(|c: char| c.is_ascii_alphanumeric()));
        prop_assert!(value.starts_with(|c: char| c.is_ascii_alphanumeric()));
    }
}

#[test]
fn a_copy_holds_the_source_our_marks_and_what_others_put_on_it() {
    let source = SourceContent::new(
        object_key("src/cm"),
        version(2, 20),
        content(r#"{"data": {"k":"v"}, "binaryData": {"b":"AA=="}, "immutable": true}"#),
    )
    .unwrap();
    let sync = sync("apps/s", 1, "src/cm", "dst/cm");
    let standing = json!({
        "labels": {"team": "blue", "configmapsync.apps.kapendra.com/sync-name": "old"},
        "annotations": {"configmapsync.apps.kapendra.com/adopted": "true"},
        "ownerReferences": [{"uid": "u"}], "managedFields": [], "generation": 3,
    });
    let target = Target {
        owner: Owner::of(&sync),
        key: &object_key("dst/cm"),
        namespace: uid(100),
        over: Some(version(3, 30)),
        adopted: false,
        standing: standing.as_object(),
        now: "2025-01-23T10:30:45Z",
    };
    let body: Value = serde_json::from_slice(&copy(&source, &target)).unwrap();
    insta::assert_snapshot!(serde_yaml_ng::to_string(&body).unwrap());
    insta::assert_snapshot!(serde_yaml_ng::to_string(&unmarked(body)).unwrap());
}
