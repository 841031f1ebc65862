//! The metadata of ConfigMaps and namespaces: marks, and what a copy is written with.

use configmapsync_operator::api::names::{
    ANNOTATION_ADOPTED, ANNOTATION_AT, ANNOTATION_AT_NAMESPACE, ANNOTATION_HASH, ANNOTATION_SHAPED, ANNOTATION_SOURCE,
    ANNOTATION_SYNC, PREFIX,
};
use configmapsync_operator::kubernetes::decode::{ConfigMapObject, NamespaceObject, NamespaceRecord};
use configmapsync_operator::rules::copy::content::{self, Content, SourceContent, Target, hash_text};
use configmapsync_operator::rules::copy::facts::Owner;
use configmapsync_operator::rules::copy::shape::{Notes, Shape};
use configmapsync_operator::rules::record::{ConfigMapMeta, ObjectKey, ObservedStatus, OwnerMark, Spec, Sync};
use configmapsync_operator::rules::uid::{Uid, Version};
use serde_json::{Map, Value, json};

use super::served::{UID, asks_for_one, escaped, is_dns_label, is_dns_name, object, served};

/// A namespace.
pub fn namespace(bytes: &[u8]) {
    let _ = serde_json::from_slice::<NamespaceObject>(bytes);
    let Some(object) = object(bytes) else { return };
    let object = served(object);
    let decoded = |text: &str| -> NamespaceRecord {
        let object: NamespaceObject = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        object.record.unwrap_or_else(|| panic!("no record of {text}"))
    };
    let record = decoded(&object.to_string());
    assert_eq!(record, decoded(&escaped(&object)), "another spelling says the same");
    let metadata = &object["metadata"];
    assert_eq!(Some(&*record.name), metadata["name"].as_str());
    assert_eq!(Some(record.namespace.uid), metadata["uid"].as_str().and_then(Uid::parse));
    assert_eq!(record.namespace.terminating, !metadata["deletionTimestamp"].is_null());
}

/// A ConfigMap's metadata, and, where it has contents, a copy that is written over it.
pub fn config_map(bytes: &[u8]) {
    let _ = serde_json::from_slice::<ConfigMapObject>(bytes);
    let Some(object) = object(bytes) else { return };
    let object = served(object);
    let text = object.to_string();
    let (place, seen) = decoded(&text);
    assert_eq!((place.clone(), seen.clone()), decoded(&escaped(&object)), "another spelling says the same");
    let metadata = &object["metadata"];
    assert_eq!(
        (Some(&*place.name), Some(&*place.namespace)),
        (metadata["name"].as_str(), metadata["namespace"].as_str())
    );
    assert_eq!(Some(seen.version.uid), metadata["uid"].as_str().and_then(Uid::parse));
    assert_eq!(seen.deleting, !metadata["deletionTimestamp"].is_null());
    assert_eq!(seen.foreign_metadata, has_others(metadata));
    assert_eq!(seen.adopted, metadata["annotations"][ANNOTATION_ADOPTED].is_string());
    let marked = seen.mark.as_ref().map_or(0, |mark| mark.sync.namespace.len() + mark.sync.name.len());
    assert!(marked <= text.len() && place.namespace.len() + place.name.len() <= text.len());
    if let Some(mark) = &seen.mark {
        a_mark_says_what_stands_there(mark, metadata);
    }
    assert!(!seen.seed_adopted || (seen.mark.is_none() && metadata["annotations"][ANNOTATION_HASH].is_string()));
    without_our_marks_it_is_nobodys(&object, &seen);
    a_copy_is_known_again(&object, &place, &seen);
}

fn decoded(text: &str) -> (ObjectKey, ConfigMapMeta) {
    let object: ConfigMapObject = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let record = object.record.unwrap_or_else(|| panic!("no record of {text}"));
    let many = record.meta.mark.as_ref().is_some_and(|mark| mark.sync.is_cluster_scoped());
    assert_eq!(record.content.is_some(), many);
    (record.key, record.meta)
}

/// Whether something on it is not ours.
fn has_others(metadata: &Value) -> bool {
    let foreign = |field: &str| {
        let all = metadata[field].as_object();
        let mut foreign: Vec<&str> = all.into_iter().flat_map(Map::keys).map(String::as_str).collect();
        foreign.retain(|key| !key.starts_with(PREFIX));
        match wrote(metadata, field) {
            None => !foreign.is_empty(),
            Some(mut wrote) => {
                foreign.sort_unstable();
                wrote.sort_unstable();
                foreign != wrote
            }
        }
    };
    let listed = |field: &str| metadata[field].as_array().is_some_and(|all| !all.is_empty());
    foreign("labels") || foreign("annotations") || listed("ownerReferences") || listed("finalizers")
}

/// The labels or annotations that our annotation says we wrote.
fn wrote<'a>(metadata: &'a Value, field: &str) -> Option<Vec<&'a str>> {
    let kind = if field == "labels" { "label:" } else { "annotation:" };
    let written = metadata["annotations"][ANNOTATION_SHAPED].as_str()?;
    Some(written.split(',').filter_map(|name| name.strip_prefix(kind)).collect())
}

/// What a mark names goes into the path of a request: it asks for one sync and for nothing else.
fn a_mark_says_what_stands_there(mark: &OwnerMark, metadata: &Value) {
    let ObjectKey { namespace, name } = &mark.sync;
    assert!(mark.sync.is_cluster_scoped() || is_dns_label(namespace), "{namespace:?}");
    assert!(is_dns_name(name), "{name:?}");
    if !mark.sync.is_cluster_scoped() {
        asks_for_one(namespace, "configmapsyncs", name);
    }
    let annotation = |name: &str| metadata["annotations"][name].as_str();
    match mark.uid {
        Some(uid) => {
            let written = annotation(ANNOTATION_SYNC).unwrap();
            assert_eq!(format!("{namespace}/{name}/{uid}"), written.to_ascii_lowercase());
            let rv = annotation(ANNOTATION_SOURCE).and_then(|source| source.rsplit('/').next()?.parse().ok());
            assert_eq!(mark.source_rv, rv.unwrap_or(0));
        }
        // The former operator's; or one of ours that lost an annotation, and may have the place that it was written to.
        None => assert_eq!((annotation(ANNOTATION_SYNC), mark.source_rv), (None, 0)),
    }
    if let Some(at) = mark.at {
        let written = annotation(ANNOTATION_AT).unwrap();
        let (uid, name) = written.split_once('/').unwrap();
        assert_eq!((Some(at), Some(name)), (Uid::parse(uid), metadata["name"].as_str()));
    }
}

fn without_our_marks_it_is_nobodys(object: &Value, seen: &ConfigMapMeta) {
    let unmarked = content::unmarked(object.clone());
    let (_, after) = decoded(&unmarked.to_string());
    // What the spec had us write stays, and is nobody's.
    let foreign_metadata = has_others(&unmarked["metadata"]);
    let nobodys = ConfigMapMeta {
        mark: None,
        adopted: false,
        shaped: false,
        marks_name_it: false,
        seed_adopted: false,
        foreign_metadata,
        ..seen.clone()
    };
    assert_eq!(after, nobodys);
}

/// A copy that is written over it is decoded as what was written, and what others put on it stays.
fn a_copy_is_known_again(object: &Value, place: &ObjectKey, seen: &ConfigMapMeta) {
    let text = object.to_string();
    let Ok(content) = serde_json::from_str::<Content<'_>>(&text) else { return };
    let (key, uid, source_rv, at) = match &seen.mark {
        Some(mark) => (mark.sync.clone(), mark.uid, mark.source_rv, mark.at),
        None => (ObjectKey::new("a", "s"), None, seen.version.rv, None),
    };
    let (uid, at) = (uid.or(Uid::parse(UID)).unwrap(), at.unwrap_or(seen.version.uid));
    let source = ObjectKey::new("a", &*place.name);
    let Ok(source) = SourceContent::new(source, Version { uid, rv: source_rv }, content) else { return };
    let sync = sync(key, uid, place);
    let standing = object["metadata"].as_object();
    let shape = shape();
    let Ok((hash, _)) = source.hashes(&shape) else { return };
    for (over, standing, adopted, shape) in [
        (Some(seen.version), standing, seen.adopted, None),
        (None, None, true, None),
        (Some(seen.version), standing, seen.adopted, Some((&shape, hash))),
    ] {
        let target = Target {
            owner: Owner::of(&sync),
            key: place,
            namespace: at,
            over,
            adopted,
            shape,
            standing,
            now: "2026-01-01T00:00:00Z",
        };
        let body = String::from_utf8(content::copy(&source, &target)).unwrap();
        assert!(body.len() <= 2 * text.len() + 2048, "{} bytes are written for {}", body.len(), text.len());
        // What the server fills in where it is new.
        let mut written: Value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"));
        written["metadata"]["uid"] = seen.version.uid.to_string().into();
        written["metadata"]["resourceVersion"] = seen.version.rv.to_string().into();
        let (at_place, after) = decoded(&written.to_string());
        let mark = OwnerMark { sync: sync.key.clone(), uid: Some(uid), source_rv, at: Some(at) };
        let left = |field: &str| theirs(&object["metadata"], field);
        let others = !left("labels").is_empty() || !left("annotations").is_empty();
        let listed = |field: &str| object["metadata"][field].as_array().is_some_and(|all| !all.is_empty());
        let foreign_metadata = standing.is_some() && (others || listed("ownerReferences") || listed("finalizers"));
        assert_eq!(at_place, *place);
        assert_eq!(
            after,
            ConfigMapMeta {
                version: seen.version,
                mark: Some(mark),
                adopted,
                foreign_metadata,
                controlled: standing.is_some() && seen.controlled,
                deleting: false,
                protected: standing.is_some() && seen.protected,
                shaped: shape.is_some(),
                marks_name_it: true,
                seed_adopted: false,
                sharing: None,
            }
        );
        assert_eq!(written["metadata"]["annotations"][ANNOTATION_AT_NAMESPACE], *place.namespace);
        for field in ["labels", "annotations"] {
            let before = if standing.is_some() { left(field) } else { Map::new() };
            assert_eq!(theirs(&written["metadata"], field), before);
        }
        let copied: Content<'_> = serde_json::from_str(&body).unwrap();
        let held = copied.hash().unwrap();
        let notes = Notes::written_on(written["metadata"].as_object().unwrap());
        assert_eq!(notes.is_some(), shape.is_some());
        let (known, wanted) =
            (notes.map_or(held, |notes| notes.hash_with(&held)), shape.map_or(source.hash, |it| it.1));
        assert_eq!(known, wanted);
        assert_eq!(written["metadata"]["annotations"][ANNOTATION_HASH], hash_text(&wanted, shape.is_some()));
        assert_eq!(source.changed_by_admission(shape.map(|it| it.0), copied), Ok(None));
    }
}

/// A spec that says something of keys and metadata.
fn shape() -> Shape {
    let keys = json!({"exclude": ["k"], "rename": [{"from": "data", "to": "renamed-by-the-test"}]});
    let metadata = json!({"labels": {"by-the-test": "x"}, "annotations": {"by-the-test": "y"}, "copyLabels": ["none"]});
    let (keys, metadata) = (serde_json::from_value(keys).unwrap(), serde_json::from_value(metadata).unwrap());
    Shape::new(keys, metadata).unwrap().unwrap()
}

/// What somebody else put there.
fn theirs(metadata: &Value, field: &str) -> Map<String, Value> {
    let entries = metadata[field].as_object().cloned().unwrap_or_default();
    let wrote = wrote(metadata, field).unwrap_or_default();
    entries.into_iter().filter(|(key, _)| !key.starts_with(PREFIX) && !wrote.contains(&key.as_str())).collect()
}

fn sync(key: ObjectKey, uid: Uid, destination: &ObjectKey) -> Sync {
    Sync {
        key,
        version: Version { uid, rv: 1 },
        generation: 1,
        created: 1,
        deleting: false,
        finalizer: true,
        rare: None,
        spec: Ok(Spec {
            source: destination.clone(),
            destination: destination.clone(),
            overwrite: true,
            orphan: false,
            delete_with_source: false,
            require_consent: false,
            suspend: false,
        }),
        status: ObservedStatus::default(),
    }
}
