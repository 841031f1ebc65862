//! The metadata of ConfigMaps and namespaces: marks, and what a copy is written with.

use configmapsync_operator::api::names::{
    ANNOTATION_ADOPTED, ANNOTATION_AT, ANNOTATION_AT_NAMESPACE, ANNOTATION_HASH, ANNOTATION_SOURCE, ANNOTATION_SYNC,
    PREFIX,
};
use configmapsync_operator::kubernetes::decode::{ConfigMapObject, NamespaceObject};
use configmapsync_operator::rules::copy::content::{self, Content, SourceContent, Target};
use configmapsync_operator::rules::copy::facts::Owner;
use configmapsync_operator::rules::record::{
    ConfigMapMeta, Namespace, ObjectKey, ObservedStatus, OwnerMark, Spec, Sync, Version,
};
use configmapsync_operator::rules::uid::Uid;
use serde_json::{Map, Value};

use super::served::{UID, asks_for_one, escaped, is_dns_label, is_dns_name, object, served};

/// A namespace.
pub fn namespace(bytes: &[u8]) {
    let _ = serde_json::from_slice::<NamespaceObject>(bytes);
    let Some(object) = object(bytes) else { return };
    let object = served(object);
    let decoded = |text: &str| -> (Box<str>, Namespace) {
        let object: NamespaceObject = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        object.record.unwrap_or_else(|| panic!("no record of {text}"))
    };
    let record = decoded(&object.to_string());
    assert_eq!(record, decoded(&escaped(&object)), "another spelling says the same");
    let metadata = &object["metadata"];
    assert_eq!(Some(&*record.0), metadata["name"].as_str());
    assert_eq!(Some(record.1.uid), metadata["uid"].as_str().and_then(Uid::parse));
    assert_eq!(record.1.terminating, !metadata["deletionTimestamp"].is_null());
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
    object.record.unwrap_or_else(|| panic!("no record of {text}"))
}

/// Whether something on it is not ours.
fn has_others(metadata: &Value) -> bool {
    let foreign =
        |field: &str| metadata[field].as_object().is_some_and(|all| all.keys().any(|key| !key.starts_with(PREFIX)));
    let listed = |field: &str| metadata[field].as_array().is_some_and(|all| !all.is_empty());
    foreign("labels") || foreign("annotations") || listed("ownerReferences") || listed("finalizers")
}

/// What a mark names goes into the path of a request: it asks for one sync and for nothing else.
fn a_mark_says_what_stands_there(mark: &OwnerMark, metadata: &Value) {
    let ObjectKey { namespace, name } = &mark.sync;
    assert!(is_dns_label(namespace), "{namespace:?}");
    assert!(is_dns_name(name), "{name:?}");
    asks_for_one(namespace, "configmapsyncs", name);
    let annotation = |name: &str| metadata["annotations"][name].as_str();
    match mark.uid {
        Some(uid) => {
            let written = annotation(ANNOTATION_SYNC).unwrap();
            assert_eq!(format!("{namespace}/{name}/{uid}"), written.to_ascii_lowercase());
            let rv = annotation(ANNOTATION_SOURCE).and_then(|source| source.rsplit('/').next()?.parse().ok());
            assert_eq!(mark.source_rv, rv.unwrap_or(0));
        }
        None => assert_eq!((annotation(ANNOTATION_SYNC), mark.source_rv, mark.at), (None, 0, None)),
    }
    if let Some(at) = mark.at {
        let written = annotation(ANNOTATION_AT).unwrap();
        let (uid, name) = written.split_once('/').unwrap();
        assert_eq!((Some(at), Some(name)), (Uid::parse(uid), metadata["name"].as_str()));
    }
}

fn without_our_marks_it_is_nobodys(object: &Value, seen: &ConfigMapMeta) {
    let (_, after) = decoded(&content::unmarked(object.clone()).to_string());
    let nobodys =
        ConfigMapMeta { mark: None, adopted: false, marks_name_it: false, seed_adopted: false, ..seen.clone() };
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
    for (over, standing, adopted) in [(Some(seen.version), standing, seen.adopted), (None, None, true)] {
        let target = Target {
            owner: Owner::of(&sync),
            key: place,
            namespace: at,
            over,
            adopted,
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
        let foreign_metadata = standing.is_some() && seen.foreign_metadata;
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
                marks_name_it: true,
                seed_adopted: false,
            }
        );
        assert_eq!(written["metadata"]["annotations"][ANNOTATION_AT_NAMESPACE], *place.namespace);
        for field in ["labels", "annotations"] {
            assert_eq!(
                theirs(&written["metadata"][field]),
                standing.map(|all| theirs(&all.get(field).cloned().unwrap_or_default())).unwrap_or_default()
            );
        }
        let copied: Content<'_> = serde_json::from_str(&body).unwrap();
        assert_eq!(copied.hash().as_ref(), Ok(&source.hash));
        assert_eq!(source.changed_by_admission(copied), Ok(None));
    }
}

fn theirs(entries: &Value) -> Map<String, Value> {
    let entries = entries.as_object().cloned().unwrap_or_default();
    entries.into_iter().filter(|(key, _)| !key.starts_with(PREFIX)).collect()
}

fn sync(key: ObjectKey, uid: Uid, destination: &ObjectKey) -> Sync {
    Sync {
        key,
        version: Version { uid, rv: 1 },
        generation: 1,
        created: 1,
        deleting: false,
        finalizer: true,
        others: None,
        spec: Ok(Spec {
            source: destination.clone(),
            destination: destination.clone(),
            overwrite: true,
            orphan: false,
            delete_with_source: false,
            suspend: false,
        }),
        status: ObservedStatus::default(),
    }
}
