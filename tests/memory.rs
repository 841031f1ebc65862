//! What a replica's memory costs for each sync of the cluster, and for each copy of an object that wants many: the records that
//! it keeps, counted by the allocator.

#![allow(clippy::unwrap_used, reason = "clippy excuses test functions, not their helpers")]

use configmapsync_operator::api::names;
use configmapsync_operator::controller::cache::{Cache, Told};
use configmapsync_operator::kubernetes::decode::{ConfigMapObject, SyncObject};
use configmapsync_operator::rules::record::{Namespace, ObjectKey};
use configmapsync_operator::rules::uid::Uid;
use serde_json::{Value, json};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

const SYNCS: u64 = 50_000;
/// A hundred copies of each source, twenty in each namespace.
const SOURCES: u64 = SYNCS / 100;
const NAMESPACES: u64 = SYNCS / 20;

/// Bytes of a copy of an object that wants many.
const MOST_A_COPY: u64 = 230;
/// Objects that want a copy in each namespace.
const OBJECTS: u64 = SYNCS / NAMESPACES;

/// Bytes in use since `region` began, for each of so many.
fn bytes_each(region: &Region<'_, std::alloc::System>) -> u64 {
    let stats = region.change();
    (stats.bytes_allocated as u64 - stats.bytes_deallocated as u64) / SYNCS
}

fn uid(kind: u64, number: u64) -> String {
    // Scattered, as UIDs are.
    let scattered = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("{:08x}-{:04x}-4{kind:03x}-8000-{number:012x}", scattered >> 32, (scattered >> 16) & 0xffff)
}

fn namespace(number: u64) -> String {
    format!("team-{:05}", number % NAMESPACES)
}

/// The number of a sync's source: another one for each sync of a namespace.
fn source(number: u64) -> u64 {
    (number / NAMESPACES * (SOURCES / 20) + number % (SOURCES / 20)) % SOURCES
}

fn name(number: u64) -> String {
    format!("settings-{:06}", source(number))
}

/// A sync in order, as the API server tells it.
fn sync(number: u64) -> Value {
    let condition = |kind: &str| {
        json!({"type": kind, "status": "True", "reason": "SyncSucceeded", "message": "ConfigMap synced successfully",
            "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 1})
    };
    json!({
        "metadata": {"namespace": "platform", "name": format!("sync-{number:06}"), "uid": uid(1, number),
            "resourceVersion": (1_000_000 + number).to_string(), "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z",
            "finalizers": [names::FINALIZER]},
        "spec": {"sourceNamespace": "platform", "configMapName": name(number), "destinationNamespace": namespace(number)},
        "status": {"syncStatus": "Success", "message": "ConfigMap synced successfully", "sourceExists": true,
            "destinationExists": true, "retryCount": 0, "observedGeneration": 1, "lastSyncTime": "2026-01-01T00:00:00Z",
            "source": {"uid": uid(3, source(number)), "resourceVersion": "1000"},
            "copy": {"uid": uid(2, number), "resourceVersion": (1_000_000 + number).to_string()},
            "conditions": [condition("Synced"), condition("SourceAvailable"), condition("Ready")]},
    })
}

/// Its copy.
fn copy(number: u64) -> Value {
    let written_by = format!("platform/sync-{number:06}/{}", uid(1, number));
    let from = format!("platform/{}/{}/1000", name(number), uid(3, source(number)));
    let at = format!("{}/{}", uid(4, number % NAMESPACES), name(number));
    json!({
        "metadata": {"namespace": namespace(number), "name": name(number), "uid": uid(2, number),
            "resourceVersion": (1_000_000 + number).to_string(),
            "labels": {names::LABEL_MANAGED_BY: names::MANAGED_BY},
            "annotations": {names::ANNOTATION_SYNC: written_by, names::ANNOTATION_SOURCE: from, names::ANNOTATION_AT: at}},
    })
}

fn with_namespaces(cache: &Cache) {
    let mut others = Vec::new();
    for number in 0..NAMESPACES {
        let uid = Uid::parse(&uid(4, number)).unwrap();
        cache.namespace_applied(&namespace(number), Namespace { uid, terminating: false, refuses: false }, &mut others);
    }
}

/// One of the copies of an object that wants many.
fn one_of_many(number: u64) -> Value {
    let (object, place) = (number % OBJECTS, number / OBJECTS);
    let mut copy = copy(number);
    let metadata = &mut copy["metadata"];
    (metadata["namespace"], metadata["name"]) = (namespace(place).into(), format!("object-{object}").into());
    metadata["annotations"] = json!({
        names::ANNOTATION_SYNC: format!("/object-{object}/{}", uid(5, object)),
        names::ANNOTATION_SOURCE: format!("platform/object-{object}/{}/1000", uid(3, object)),
        names::ANNOTATION_AT: format!("{}/object-{object}", uid(4, place)),
        names::ANNOTATION_HASH: "0123456789abcdef".repeat(4),
    });
    copy
}

#[test]
fn a_sync_costs_half_a_kilobyte() {
    syncs_with_copies();
    copies_of_objects();
}

fn copies_of_objects() {
    let cache = Cache::default();
    let (mut sources, mut others) = (Vec::new(), Vec::new());
    with_namespaces(&cache);
    let region = Region::new(ALLOCATOR);
    for number in 0..SYNCS {
        let object: ConfigMapObject = serde_json::from_str(&one_of_many(number).to_string()).unwrap();
        let record = object.record.unwrap();
        assert!(record.content.is_some(), "the marks are read");
        cache.configmap_applied(record, Told::Listed, &mut sources, &mut others);
        others.clear();
    }
    (sources, others) = Default::default();
    let bytes = bytes_each(&region);
    println!("{bytes} bytes a copy of an object that wants many, {} and {}", sources.len(), others.len());
    let object = Uid::parse(&uid(5, 1)).unwrap();
    assert_eq!(cache.count_standing(object) as u64, NAMESPACES);
    assert!(bytes <= MOST_A_COPY, "{bytes} bytes a copy of an object that wants many");
}

fn syncs_with_copies() {
    let cache = Cache::default();
    let (mut sources, mut others) = (Vec::new(), Vec::new());
    let region = Region::new(ALLOCATOR);
    with_namespaces(&cache);
    for number in 0..SYNCS {
        let object: SyncObject = serde_json::from_str(&sync(number).to_string()).unwrap();
        cache.sync_applied(object.record.unwrap(), &mut others);
        others.clear();
    }
    println!("{} bytes a sync, without its copy", bytes_each(&region));
    for number in 0..SYNCS {
        let object: ConfigMapObject = serde_json::from_str(&copy(number).to_string()).unwrap();
        let record = object.record.unwrap();
        assert!(record.meta.mark.is_some(), "the marks are read");
        cache.configmap_applied(record, Told::Listed, &mut sources, &mut others);
        others.clear();
    }
    (sources, others) = Default::default();
    let bytes = bytes_each(&region);
    println!("{bytes} bytes a sync and its copy, {} and {}", sources.len(), others.len());
    assert_eq!(cache.len() as u64, SYNCS);
    assert!(cache.owner(&ObjectKey::new(namespace(7), name(7))).is_some());
    assert!(bytes <= 520, "{bytes} bytes a sync and its copy");
}
