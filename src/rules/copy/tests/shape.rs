//! Tests of `shape.rs`.

use proptest::prelude::*;
use rstest::rstest;
use serde_json::json;

use super::*;

fn keys(keys: Value) -> Shape {
    let metadata = CopyMetadata { copy_labels: vec!["team".to_owned()], ..CopyMetadata::default() };
    Shape::new(serde_json::from_value(keys).unwrap(), metadata).unwrap().unwrap()
}

fn metadata(metadata: Value) -> Shape {
    Shape::new(KeySelection::default(), serde_json::from_value(metadata).unwrap()).unwrap().unwrap()
}

fn notes(labels: Value, annotations: Value) -> Notes {
    Notes { labels: serde_json::from_value(labels).unwrap(), annotations: serde_json::from_value(annotations).unwrap() }
}

fn names(shape: &Shape, of: &[&str]) -> Result<Vec<String>, String> {
    let keys = shape.keys_of(of.iter().map(|key| (Cow::Borrowed(*key), *key)))?;
    Ok(keys
        .into_iter()
        .map(|(name, key)| if name == key { name.into_owned() } else { format!("{key} as {name}") })
        .collect())
}

#[rstest]
#[case(json!({}), &["a.crt", "a.key", "b.crt", "tls"])]
#[case(json!({"include": ["*.crt"]}), &["a.crt", "b.crt"])]
#[case(json!({"include": ["?.crt", "tls"], "exclude": ["b*"]}), &["a.crt", "tls"])]
#[case(json!({"exclude": ["*"]}), &[])]
#[case(json!({"exclude": ["*.key"]}), &["a.crt", "b.crt", "tls"])]
#[case(json!({"include": ["a.crt"], "rename": [{"from": "a.crt", "to": "z"}]}), &["a.crt as z"])]
#[case(json!({"exclude": ["a.crt"], "rename": [{"from": "a.crt", "to": "z"}]}), &["a.key", "b.crt", "tls"])]
#[case(json!({"include": ["z"], "rename": [{"from": "a.crt", "to": "z"}]}), &[])]
#[case(json!({"rename": [{"from": "a.crt", "to": "b.crt"}, {"from": "b.crt", "to": "a.crt"}]}), &["b.crt as a.crt", "a.key", "a.crt as b.crt", "tls"])]
#[case(json!({"rename": [{"from": "gone", "to": "tls"}]}), &["a.crt", "a.key", "b.crt", "tls"])]
fn keys_are_selected_by_their_names_in_the_source_and_then_renamed(#[case] spec: Value, #[case] expected: &[&str]) {
    assert_eq!(names(&keys(spec), &["a.crt", "a.key", "b.crt", "tls"]).unwrap(), expected);
}

#[rstest]
#[case(json!({"rename": [{"from": "a", "to": "b"}]}), "the keys a and b of the source would both be b in the copy")]
#[case(json!({"rename": [{"from": "a", "to": "z"}, {"from": "b", "to": "z"}]}), "the keys a and b of the source would both be z in the copy")]
fn two_keys_with_one_name_are_told(#[case] spec: Value, #[case] expected: &str) {
    for order in [["a", "b", "c"], ["b", "a", "c"]] {
        assert_eq!(names(&keys(spec.clone()), &order).unwrap_err(), expected);
    }
    assert!(names(&keys(spec), &["a", "c"]).is_ok(), "one of them is not there");
}

#[test]
fn what_is_set_wins_over_what_is_copied_and_what_the_source_has_not_is_not_there() {
    let shape = metadata(
        json!({"labels": {"team": "red"}, "copyLabels": ["team", "tier", "none"], "copyAnnotations": ["note"]}),
    );
    let source = notes(json!({"team": "blue", "tier": "1", "app": "x"}), json!({"note": "n", "other": "o"}));
    let wanted = notes(json!({"team": "red", "tier": "1"}), json!({"note": "n"}));
    assert_eq!(shape.notes(&source), wanted);
    assert_eq!(wanted.names(), "label:team,label:tier,annotation:note");
    assert_eq!(shape.notes(&Notes::default()), notes(json!({"team": "red"}), json!({})));
    assert!(shape.follows_metadata() && shape.keeps_keys());
}

#[test]
fn what_we_wrote_is_known_again_on_the_copy() {
    let wrote = notes(json!({"team": "blue"}), json!({"note": "n"}));
    let on = |labels: Value, annotations: Value| {
        let mut annotations = annotations;
        annotations[ANNOTATION_SHAPED] = json!(wrote.names());
        Notes::written_on(json!({"labels": labels, "annotations": annotations}).as_object().unwrap()).unwrap()
    };
    assert_eq!(on(json!({"team": "blue", "app": "x"}), json!({"note": "n", "other": "o"})), wrote);
    assert_ne!(on(json!({"team": "red"}), json!({"note": "n"})), wrote, "somebody changed it");
    assert_ne!(on(json!(null), json!({"note": "n"})), wrote, "somebody took it off");
    assert_eq!(Notes::written_on(json!({"annotations": {"note": "n"}}).as_object().unwrap()), None);
    assert_eq!(Notes::written_on(&Map::new()), None);
}

#[test]
fn the_hash_tells_apart_all_that_is_written() {
    let all = [
        (notes(json!({}), json!({})), 1),
        (notes(json!({}), json!({})), 2),
        (notes(json!({"a": "b"}), json!({})), 1),
        (notes(json!({}), json!({"a": "b"})), 1),
        (notes(json!({"ab": ""}), json!({})), 1),
        (notes(json!({"a": "b", "c": "d"}), json!({})), 1),
        (notes(json!({"a": "b"}), json!({"c": "d"})), 1),
    ];
    let hashes = all.iter().map(|(notes, content)| notes.hash_with(&[*content; 32]));
    let mut hashes: Vec<[u8; 32]> = hashes.chain([[1; 32]]).collect();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), all.len() + 1, "with nothing written it is not the content's own either");
}

proptest! {
    /// Whatever is selected and renamed: a key of the copy is one of the source, with its value, and none that is selected is missing.
    #[test]
    fn nothing_is_made_up_and_nothing_gets_lost(
        source in prop::collection::btree_set("[a-d]{1,2}", 0..8),
        include in prop::collection::vec("[a-d*?]{1,2}", 0..3),
        exclude in prop::collection::vec("[a-d*?]{1,2}", 0..2),
        rename in prop::collection::btree_map("[a-d]{1,2}", "[a-d]{1,2}", 0..4),
    ) {
        let rename: Vec<Value> = rename.iter().map(|(from, to)| json!({"from": from, "to": to})).collect();
        let shape = keys(json!({"include": include, "exclude": exclude, "rename": rename}));
        let named: Vec<&str> = source.iter().filter_map(|key| shape.name_of(key)).collect();
        let mut distinct = named.clone();
        distinct.sort_unstable();
        distinct.dedup();
        match shape.keys_of(source.iter().map(|key| (Cow::Borrowed(key.as_str()), key))) {
            Ok(copy) => {
                prop_assert_eq!(copy.len(), named.len());
                for (name, key) in copy {
                    prop_assert_eq!(shape.name_of(key), Some(&*name));
                }
            }
            Err(_) => prop_assert!(distinct.len() < named.len()),
        }
    }

    #[test]
    fn a_sum_of_names_does_not_depend_on_their_order(mut names: Vec<String>) {
        let sum = name_sum(names.iter().map(String::as_str));
        names.reverse();
        prop_assert_eq!(name_sum(names.iter().map(String::as_str)), sum);
        names.push("one more".to_owned());
        prop_assert_ne!(name_sum(names.iter().map(String::as_str)), sum);
    }
}
