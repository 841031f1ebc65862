//! Reading a spec: whatever an object holds, the answer is a spec that makes sense or a sentence that says what is
//! wrong. Objects stored by the seed's operator, by hand or by a later version come here too.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::api::dns;
use crate::api::names::KUBE_ROOT_CA;
use crate::api::policies::{ConflictPolicy, DeletionPolicy, SourceMissingPolicy};
use crate::rules::copy::shape::Shape;
use crate::rules::lenient::{Field, Shaped};
use crate::rules::record::{InvalidSpec, ObjectKey, Spec};

/// `.spec` as it stands there.
#[derive(Deserialize, Debug, Default)]
#[serde(default, rename_all = "camelCase")]
pub struct RawSpec<'a> {
    #[serde(borrow)]
    source_namespace: Field<'a>,
    #[serde(borrow)]
    destination_namespace: Field<'a>,
    #[serde(borrow)]
    config_map_name: Field<'a>,
    #[serde(borrow)]
    destination_name: Field<'a>,
    #[serde(borrow)]
    conflict_policy: Field<'a>,
    #[serde(borrow)]
    deletion_policy: Field<'a>,
    #[serde(borrow)]
    source_missing_policy: Field<'a>,
    #[serde(borrow)]
    require_consent: Field<'a>,
    #[serde(borrow)]
    suspend: Field<'a>,
    keys: Value,
    metadata: Value,
}

/// Reads `.spec`, and what it says of keys and metadata, if it says anything. One that is no object is an empty one.
///
/// # Errors
/// What is wrong with it, and whether the copy is to stay all the same.
pub fn read(spec: Shaped<RawSpec<'_>>) -> Result<(Spec, Option<Shape>), InvalidSpec> {
    let mut spec = spec.object().ok().flatten().unwrap_or_default();
    let (keys, metadata) = (spec.keys.take(), spec.metadata.take());
    sensible(&spec).and_then(|sensible| Ok((sensible, shape(keys, metadata)?))).map_err(|why| {
        let deletes = text(&spec.deletion_policy, "deletionPolicy").map(policy) == Ok(DeletionPolicy::Delete);
        InvalidSpec::new(why, !deletes)
    })
}

fn sensible(spec: &RawSpec<'_>) -> Result<Spec, String> {
    let source_namespace =
        name(&spec.source_namespace, "sourceNamespace", true)?.ok_or("sourceNamespace is missing")?;
    let destination_namespace = name(&spec.destination_namespace, "destinationNamespace", true)?;
    let destination_namespace = destination_namespace.ok_or("destinationNamespace is missing")?;
    let source_name = name(&spec.config_map_name, "configMapName", false)?.ok_or("configMapName is missing")?;
    if source_name == KUBE_ROOT_CA {
        return Err(format!("configMapName must not be {KUBE_ROOT_CA}: Kubernetes keeps that one in each namespace"));
    }
    let destination_name = name(&spec.destination_name, "destinationName", false)?.unwrap_or(source_name);
    // What nobody can read must not open what was to be closed.
    let require_consent = spec.require_consent.bool().map_err(|_| "requireConsent must be true or false")?;
    let suspend = spec.suspend.bool().map_err(|_| "suspend must be true or false")?;
    let overwrite = match policy(text(&spec.conflict_policy, "conflictPolicy")?) {
        ConflictPolicy::Overwrite => true,
        ConflictPolicy::Fail => false,
        ConflictPolicy::Unknown(word) => return Err(unknown("conflictPolicy", &word, ConflictPolicy::WORDS)),
    };
    let orphan = match policy(text(&spec.deletion_policy, "deletionPolicy")?) {
        DeletionPolicy::Delete => false,
        DeletionPolicy::Orphan => true,
        DeletionPolicy::Unknown(word) => return Err(unknown("deletionPolicy", &word, DeletionPolicy::WORDS)),
    };
    let delete_with_source = match policy(text(&spec.source_missing_policy, "sourceMissingPolicy")?) {
        SourceMissingPolicy::Keep => false,
        SourceMissingPolicy::Delete => true,
        SourceMissingPolicy::Unknown(word) => {
            return Err(unknown("sourceMissingPolicy", &word, SourceMissingPolicy::WORDS));
        }
    };
    Ok(Spec {
        source: ObjectKey::new(source_namespace, source_name),
        destination: ObjectKey::new(destination_namespace, destination_name),
        overwrite,
        orphan,
        delete_with_source,
        require_consent,
        suspend,
    })
}

/// What `keys` and `metadata` of a spec say, if they say anything.
///
/// # Errors
/// What is wrong with them, in a sentence that names the field.
pub fn shape(keys: Value, metadata: Value) -> Result<Option<Shape>, String> {
    Shape::new(typed(keys, "keys")?, typed(metadata, "metadata")?)
}

fn typed<T: Default + DeserializeOwned>(value: Value, field: &str) -> Result<T, String> {
    match value {
        Value::Null => Ok(T::default()),
        // serde takes a list for a struct's fields in order.
        Value::Object(_) => serde_json::from_value(value).map_err(|error| format!("{field}: {error}")),
        _ => Err(format!("{field} must be an object")),
    }
}

fn text<'a>(value: &'a Field<'_>, field: &str) -> Result<Option<&'a str>, String> {
    match value {
        Field::Absent => Ok(None),
        Field::Text(text) => Ok(Some(&**text).filter(|text| !text.is_empty())),
        _ => Err(format!("{field} must be a string")),
    }
}

fn name<'a>(value: &'a Field<'_>, field: &str, label: bool) -> Result<Option<&'a str>, String> {
    let Some(value) = text(value, field)? else { return Ok(None) };
    let valid = match label {
        true => dns::is_label(value),
        false => dns::is_subdomain(value),
    };
    if valid { Ok(Some(value)) } else { Err(format!("{field} {value:?} is not a valid name")) }
}

fn policy<'a, P: Default + From<&'a str>>(text: Option<&'a str>) -> P {
    text.map(P::from).unwrap_or_default()
}

fn unknown(field: &str, word: &str, [default, other]: [&str; 2]) -> String {
    format!("{field} {word:?} is neither {default} nor {other}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn read(spec: Value) -> Result<Spec, InvalidSpec> {
        super::read(serde_json::from_str(&spec.to_string()).unwrap()).map(|(spec, _)| spec)
    }

    fn shape(mut fields: Value) -> Result<Option<Shape>, String> {
        for field in ["sourceNamespace", "destinationNamespace", "configMapName"] {
            fields[field] = json!(field.to_lowercase());
        }
        let read = super::read(serde_json::from_str(&fields.to_string()).unwrap());
        read.map(|(_, shape)| shape).map_err(|invalid| invalid.why.into_string())
    }

    #[rstest]
    #[case(json!({}), false)]
    #[case(json!({"keys": null, "metadata": null}), false)]
    #[case(json!({"keys": {}, "metadata": {}}), false)]
    #[case(json!({"keys": {"include": []}, "metadata": {"labels": {}}}), false)]
    #[case(json!({"keys": {"include": ["*.crt"]}}), true)]
    #[case(json!({"keys": {"rename": [{"from": "a", "to": "b"}]}}), true)]
    #[case(json!({"metadata": {"copyLabels": ["team"]}}), true)]
    fn keys_and_metadata_are_read_where_they_say_something(#[case] fields: Value, #[case] something: bool) {
        assert_eq!(shape(fields).unwrap().is_some(), something);
    }

    #[rstest]
    #[case(json!({"keys": [1]}), "keys must be an object")]
    #[case(json!({"keys": {"include": "a"}}), "keys: invalid type: string \"a\"")]
    #[case(json!({"keys": {"inclde": ["a"]}}), "keys: unknown field `inclde`")]
    #[case(json!({"keys": {"rename": [{"from": "a"}]}}), "keys: missing field `to`")]
    #[case(json!({"metadata": "x"}), "metadata must be an object")]
    #[case(json!({"metadata": {"labels": {"a": 1}}}), "metadata: invalid type: integer `1`")]
    #[case(json!({"metadata": {"labels": {"app.kubernetes.io/instance": "x"}}}), "metadata must not name app.kubernetes.io/instance")]
    #[case(json!({"metadata": {"copyAnnotations": ["configmapsync.apps.kapendra.com/sync"]}}), "metadata must not name configmapsync.apps.kapendra.com/sync")]
    fn nonsense_in_keys_and_metadata_is_named(#[case] fields: Value, #[case] expected: &str) {
        let why = shape(fields).unwrap_err();
        assert!(why.starts_with(expected), "{why}");
    }

    #[test]
    fn the_seeds_three_fields_are_enough() {
        let spec = read(json!({"sourceNamespace": "a", "destinationNamespace": "b", "configMapName": "c.d"})).unwrap();
        assert_eq!((spec.source.to_string(), spec.destination.to_string()), ("a/c.d".into(), "b/c.d".into()));
        assert!(spec.overwrite && !spec.orphan && !spec.delete_with_source && !spec.suspend);
    }

    #[rstest]
    #[case(json!(null), "sourceNamespace is missing")]
    #[case(json!([1]), "sourceNamespace is missing")]
    #[case(json!({"sourceNamespace": 5}), "sourceNamespace must be a string")]
    #[case(json!({"sourceNamespace": "A"}), "sourceNamespace \"A\" is not a valid name")]
    #[case(json!({"sourceNamespace": "a", "destinationNamespace": "a.b"}), "destinationNamespace \"a.b\" is not a valid name")]
    #[case(json!({"sourceNamespace": "a", "destinationNamespace": "b"}), "configMapName is missing")]
    #[case(json!({"sourceNamespace": "a", "destinationNamespace": "b", "configMapName": "-c"}), "configMapName \"-c\" is not a valid name")]
    #[case(json!({"sourceNamespace": "a", "destinationNamespace": "b", "configMapName": "kube-root-ca.crt"}), "configMapName must not be kube-root-ca.crt: Kubernetes keeps that one in each namespace")]
    #[case(json!({"sourceNamespace": "a", "destinationNamespace": "b", "configMapName": "c", "suspend": "no"}), "suspend must be true or false")]
    #[case(json!({"sourceNamespace": "a", "destinationNamespace": "b", "configMapName": "c", "deletionPolicy": "Retain"}), "deletionPolicy \"Retain\" is neither Delete nor Orphan")]
    fn nonsense_is_named(#[case] spec: Value, #[case] expected: &str) {
        assert_eq!(&*read(spec).unwrap_err().why, expected);
    }

    #[rstest]
    #[case(json!({}), false)]
    #[case(json!({"deletionPolicy": "Delete"}), false)]
    #[case(json!({"deletionPolicy": "Orphan"}), true)]
    #[case(json!({"deletionPolicy": "Retain"}), true)]
    #[case(json!({"deletionPolicy": 5}), true)]
    fn what_makes_no_sense_otherwise_still_says_whether_the_copy_stays(#[case] spec: Value, #[case] stays: bool) {
        assert_eq!(read(spec).unwrap_err().orphan, stays);
    }
}
