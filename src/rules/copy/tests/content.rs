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
    let changed = |answer: Value| source.changed_by_admission(None, content(&answer.to_string())).unwrap();
    assert_eq!(changed(sent.clone()), None);
    let reordered = r#"{"data": {"b":"2" , "a":"\u0031"}, "binaryData": {"c":"AA=="}}"#;
    assert_eq!(source.changed_by_admission(None, content(reordered)).unwrap(), None, "only what it holds counts");
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
        shape: None,
        standing: standing.as_object(),
        now: "2025-01-23T10:30:45Z",
    };
    let body: Value = serde_json::from_slice(&copy(&source, &target)).unwrap();
    insta::assert_snapshot!(serde_yaml_ng::to_string(&body).unwrap());
    insta::assert_snapshot!(serde_yaml_ng::to_string(&unmarked(body)).unwrap());
}

fn shape(keys: Value, metadata: Value) -> Shape {
    let (keys, metadata) = (serde_json::from_value(keys).unwrap(), serde_json::from_value(metadata).unwrap());
    Shape::new(keys, metadata).unwrap().unwrap()
}

fn source(held: &Value, labels: Value) -> SourceContent {
    let source = SourceContent::new(object_key("src/cm"), version(2, 20), content(&held.to_string()));
    source.unwrap().with_notes(Notes { labels: serde_json::from_value(labels).unwrap(), ..Notes::default() })
}

#[test]
fn a_shaped_copy_holds_what_was_selected_and_takes_off_what_we_wrote_before() {
    let held = json!({"data": {"ca.crt": "c", "ca.key": "k"}, "binaryData": {"store": "AA==", "other": "AQ=="}, "immutable": true});
    let source = source(&held, json!({"team": "red", "tier": "1", "app": "x"}));
    let shape = shape(
        json!({"include": ["ca.*", "store"], "exclude": ["*.key"], "rename": [{"from": "store", "to": "tls.p12"}]}),
        json!({"labels": {"grafana_dashboard": "1"}, "annotations": {"owner": "me"}, "copyLabels": ["tier", "none"]}),
    );
    let (hash, content_hash) = source.hashes(&shape).unwrap();
    let sync = sync("apps/s", 1, "src/cm", "dst/cm");
    let standing = json!({
        "labels": {"theirs": "blue", "ours-before": "x", "tier": "0"},
        "annotations": {"theirs": "y", "ours-before": "z", names::ANNOTATION_SHAPED: "label:ours-before,label:tier,annotation:ours-before"},
    });
    let target = Target {
        owner: Owner::of(&sync),
        key: &object_key("dst/cm"),
        namespace: uid(100),
        over: Some(version(3, 30)),
        adopted: false,
        shape: Some((&shape, hash)),
        standing: standing.as_object(),
        now: "2025-01-23T10:30:45Z",
    };
    let text = String::from_utf8(copy(&source, &target)).unwrap();
    let body: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(content(&text).hash().unwrap(), content_hash);
    let notes = Notes::written_on(body["metadata"].as_object().unwrap()).unwrap();
    assert_eq!(notes.hash_with(&content_hash), hash, "it is known again by what it has");
    let told = |answer: &Value| source.changed_by_admission(Some(&shape), content(&answer.to_string())).unwrap();
    assert_eq!(told(&body), None);
    let mut changed = body.clone();
    changed["binaryData"]["tls.p12"] = json!("Ag==");
    changed["data"]["ca.key"] = json!("k");
    assert_eq!(told(&changed).as_deref(), Some("key ca.key added, key tls.p12 changed"));
    insta::assert_snapshot!(serde_yaml_ng::to_string(&body).unwrap());
}

#[test]
fn what_the_spec_says_of_keys_and_metadata_is_in_the_hash_and_what_it_leaves_out_is_not() {
    let data = json!({"data": {"a": "1", "b": "2"}});
    let hash = |content: &Value, labels: Value, keys: Value, metadata: Value| {
        source(content, labels).hashes(&shape(keys, metadata)).unwrap().0
    };
    let (only_a, no_metadata) = (json!({"include": ["a"]}), json!({}));
    let base = hash(&data, json!({}), only_a.clone(), no_metadata.clone());
    assert_eq!(
        hash(&json!({"data": {"a": "1", "b": "3"}}), json!({"x": "y"}), only_a.clone(), no_metadata.clone()),
        base
    );
    for other in [
        hash(&json!({"data": {"a": "2", "b": "2"}}), json!({}), only_a.clone(), no_metadata.clone()),
        hash(&data, json!({}), json!({"include": ["b"]}), no_metadata.clone()),
        hash(&data, json!({}), json!({"include": ["a"], "rename": [{"from": "a", "to": "c"}]}), no_metadata),
        hash(&data, json!({}), only_a.clone(), json!({"labels": {"x": "y"}})),
        hash(&data, json!({"x": "y"}), only_a, json!({"copyLabels": ["x"]})),
    ] {
        assert_ne!(other, base);
    }
    let everything = shape(json!({}), json!({"copyLabels": ["x"]}));
    let source = source(&data, json!({}));
    let (hash, content) = source.hashes(&everything).unwrap();
    assert_eq!(content, source.hash);
    assert_ne!(hash, content, "a copy for such a spec is never taken for one without");
    assert!(is_shaped(&hash_text(&hash, true)) && !is_shaped(&hash_text(&hash, false)));
}

#[test]
fn two_keys_with_one_name_make_no_copy() {
    let source = source(&json!({"data": {"a": "1"}, "binaryData": {"b": "AA=="}}), json!({}));
    let why = source.hashes(&shape(json!({"rename": [{"from": "a", "to": "b"}]}), json!({}))).unwrap_err();
    assert_eq!(why, "the keys a and b of the source would both be b in the copy");
}
