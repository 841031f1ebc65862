//! Tests of what the cache knows of objects that want many copies.

use serde_json::{Value, json};

use crate::controller::cache::{Cache, Change, Told};
use crate::kubernetes::decode::{ClusterSyncObject, ConfigMapRecord};
use crate::rules::cluster::record::{ClusterSync, CopyRecord};
use crate::rules::cluster::selection::Labels;
use crate::rules::key::Key;
use crate::rules::record::{ConfigMapMeta, Namespace};
use crate::rules::testing::{mark, meta, object_key, sync, uid};

fn object(number: u64, rv: u64, spec: Value) -> ClusterSync {
    let mut fields = json!({"sourceNamespace": "src", "configMapName": "x"});
    fields.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let object = json!({"spec": fields, "metadata": {"name": format!("o{number}"), "uid": uid(number).to_string(),
        "resourceVersion": rv.to_string()}});
    serde_json::from_value::<ClusterSyncObject>(object).unwrap().record.unwrap()
}

fn cache(namespaces: &[(&str, &[(&str, &str)])]) -> Cache {
    let cache = Cache::default();
    for (number, (name, labels)) in namespaces.iter().enumerate() {
        let labels = Labels::new(labels.iter().map(|(key, value)| ((*key).into(), (*value).into())));
        cache.namespace_labelled(name, &labels);
        let namespace = Namespace { uid: uid(100 + number as u64), terminating: false, refuses: false };
        cache.namespace_applied(name, namespace, &mut Vec::new());
    }
    cache
}

fn copy(cache: &Cache, at: &str, rv: u64, content: u64, written: u32, told: Told) {
    let meta = ConfigMapMeta { mark: Some(mark("/o1", Some(1), Some(100))), ..meta(50, rv) };
    let record = CopyRecord { content, written, rv, proven: false };
    let record = ConfigMapRecord { key: object_key(at), meta, content: Some(record) };
    cache.configmap_applied(record, told, &mut Vec::new(), &mut Vec::new());
}

fn names(keys: &[Key]) -> Vec<String> {
    let name = |key: &Key| match key {
        Key::Copy(copy) => copy.name.to_string(),
        Key::Object(_) => "object".to_owned(),
    };
    keys.iter().map(name).collect()
}

#[test]
fn an_object_selects_by_labels_without_what_is_protected_or_goes() {
    let cache = cache(&[("a", &[("t", "1")]), ("b", &[]), ("kube-system", &[("t", "1")]), ("src", &[("t", "1")])]);
    let all = object(1, 10, json!({"namespaceSelector": {"matchLabels": {"t": "1"}}}));
    assert_eq!(cache.cluster_sync_applied(all.clone(), &mut Vec::new()), Change::Wanted);
    assert_eq!(names(&cache.copy_keys(uid(1))), ["a"], "neither the protected one nor the source's own");
    assert_eq!((cache.count_selected(&all), cache.each_selected(&all, |_, _| ())), (1, 1));
    assert!(cache.namespace_labelled("b", &Labels::new([("t".into(), "1".into())])));
    assert_eq!(names(&cache.copy_keys_in("b")), ["b"]);
    assert_eq!(cache.count_selected(&all), 2);
    cache.namespace_applied("a", Namespace { uid: uid(100), terminating: true, refuses: false }, &mut Vec::new());
    assert_eq!(names(&cache.copy_keys(uid(1))), ["b"]);
    assert_eq!(cache.count_selected(&all), 1);
    cache.namespace_deleted("b", &mut Vec::new());
    assert_eq!(names(&cache.affected_copies()), ["b"], "who counts has to count anew");
    assert_eq!(cache.count_selected(&all), 0);
}

#[test]
fn a_touch_is_told_from_a_write_of_the_holder() {
    let cache = cache(&[("a", &[])]);
    let key = object_key("a/x");
    let proven = || cache.copy_record(uid(1), &key).unwrap().proven;
    copy(&cache, "a/x", 20, 7, 1, Told::Listed);
    assert!(!proven(), "a list has no history");
    copy(&cache, "a/x", 21, 8, 2, Told::ChangedElsewhere);
    assert!(proven(), "its holder wrote it");
    copy(&cache, "a/x", 22, 8, 2, Told::ChangedElsewhere);
    assert!(!proven(), "somebody touched it");
    cache.note_proven(uid(1), &key, 22, 8);
    assert!(proven(), "it was compared");
    copy(&cache, "a/x", 23, 9, 3, Told::ChangedHere);
    assert!(!proven(), "a holder knows its own writes: this was none");
    cache.note_proven(uid(1), &key, 24, 9);
    copy(&cache, "a/x", 24, 9, 3, Told::ChangedHere);
    assert!(proven(), "the answer came before the event");
    cache.note_proven(uid(1), &key, 23, 8);
    assert_eq!(cache.copy_record(uid(1), &key).unwrap().rv, 24, "an old answer changes nothing");
}

#[test]
fn a_copy_that_went_while_nobody_watched_is_looked_for() {
    let cache = cache(&[("a", &[]), ("b", &[])]);
    cache.cluster_sync_applied(object(1, 10, json!({"namespaces": ["a", "b"]})), &mut Vec::new());
    copy(&cache, "a/x", 20, 7, 1, Told::ChangedHere);
    cache.note_proven(uid(1), &object_key("b/x"), 21, 7); // only our own answer told of it
    assert_eq!(cache.count_standing(uid(1)), 2);
    cache.configmaps_listed(&Default::default(), &mut Vec::new(), &mut Vec::new());
    let mut gone = names(&cache.affected_copies());
    gone.sort_unstable();
    assert_eq!((gone, cache.count_standing(uid(1))), (vec!["a".to_owned(), "b".to_owned()], 0));
    assert!(cache.takes_deleted(uid(1), &object_key("a/x")));
    assert!(!cache.takes_deleted(uid(1), &object_key("a/x")), "it is asked once");
}

#[test]
fn both_kinds_meet_at_a_place() {
    let cache = cache(&[("a", &[])]);
    cache.sync_applied(sync("n/s", 2, "src/x", "a/x"), &mut Vec::new());
    let mut affected = Vec::new();
    cache.cluster_sync_applied(object(1, 10, json!({"namespaces": ["a"]})), &mut affected);
    assert_eq!(affected, [uid(2)], "the sync has a rival");
    let key = object_key("a/x");
    assert!(cache.wanted_by_another(&key, uid(1)) && cache.wanted_by_another(&key, uid(2)));
    copy(&cache, "a/x", 20, 7, 1, Told::ChangedHere);
    assert_eq!(cache.owner(&key).map(|owner| owner.uid()), Some(uid(1)), "the mark decides");
    let mut keys = Vec::new();
    cache.copy_keys_at(&key, &mut keys);
    assert_eq!(names(&keys), ["a"]);
    // One that goes lets go.
    let mut going = object(1, 11, json!({"namespaces": ["a"]}));
    going.deleting = true;
    affected.clear();
    cache.cluster_sync_applied(going.clone(), &mut affected);
    assert_eq!((affected, cache.owner(&key).map(|owner| owner.uid())), (vec![uid(2)], Some(uid(2))));
    cache.cluster_sync_deleted(&going, &mut Vec::new());
    assert!(cache.is_cluster_sync(uid(1)), "its copy still stands");
    cache.configmap_deleted(&key, 30, &mut Vec::new(), &mut Vec::new());
    assert!(!cache.is_cluster_sync(uid(1)));
}
