//! One object, many namespaces: selection, a label that changes, and the count of the copies.

use std::hint::black_box;

use configmapsync_operator::controller::cache::{Cache, Told};
use configmapsync_operator::controller::reconcile::counting::roll_up;
use configmapsync_operator::kubernetes::decode::{ClusterSyncObject, ConfigMapRecord};
use configmapsync_operator::rules::cluster::record::{ClusterSync, CopyRecord, Expected};
use configmapsync_operator::rules::cluster::selection::Labels;
use configmapsync_operator::rules::record::{ConfigMapMeta, Namespace, ObjectKey, OwnerMark};
use configmapsync_operator::rules::uid::Version;
use criterion::{BenchmarkId, Criterion, Throughput};
use serde_json::json;

use super::server;

const OBJECTS: u64 = 100;

fn object(number: u64) -> Option<ClusterSync> {
    let object = json!({
        "metadata": {"name": format!("o{number}"), "uid": server::uid(number).to_string(), "resourceVersion": "5"},
        "spec": {
            "sourceNamespace": "platform", "configMapName": format!("cm{number}"),
            "namespaceSelector": {"matchLabels": {"tier": "tenant"}, "matchExpressions": [
                {"key": "team", "operator": "NotIn", "values": ["red", "green"]},
            ]},
        },
    });
    serde_json::from_value::<ClusterSyncObject>(object).ok()?.record
}

/// A cache with so many namespaces, all of which every object selects.
fn cache(namespaces: u64) -> Cache {
    let cache = Cache::default();
    for number in 0..namespaces {
        let name = format!("team-{number}");
        let labels = [("tier", "tenant"), ("team", "blue"), ("zone", "a")];
        cache.namespace_labelled(&name, &Labels::new(labels.map(|(key, value)| (key.into(), value.into()))));
        let namespace = Namespace { uid: server::uid((1 << 40) + number), terminating: false, refuses: false };
        cache.namespace_applied(&name, namespace, &mut Vec::new());
    }
    for object in (0..OBJECTS).filter_map(object) {
        cache.cluster_sync_applied(object, &mut Vec::new());
    }
    cache
}

fn copy(number: u64, object: &ClusterSync) -> ConfigMapRecord {
    let version = Version { uid: server::uid((1 << 44) + number), rv: 100 + number };
    let at = Some(server::uid((1 << 40) + number));
    let mark = OwnerMark { sync: object.key(), uid: Some(object.uid()), source_rv: 50, at };
    let key = ObjectKey::new(format!("team-{number}"), "cm0");
    let meta = ConfigMapMeta { mark: Some(mark), ..super::seen(&key, version).meta };
    ConfigMapRecord { key, meta, content: Some(CopyRecord { content: 7, written: 1, rv: version.rv, proven: false }) }
}

pub fn many(c: &mut Criterion) {
    let mut group = c.benchmark_group("many");
    for namespaces in [1_000u64, 10_000] {
        let cache = cache(namespaces);
        let Some(object) = object(0) else { return };
        let Ok(spec) = &object.spec else { return };
        for number in 0..namespaces {
            cache.configmap_applied(copy(number, &object), Told::Listed, &mut Vec::new(), &mut Vec::new());
        }
        group.throughput(Throughput::Elements(namespaces));
        group.bench_function(BenchmarkId::new("an object selects", namespaces), |b| {
            b.iter(|| {
                let mut selected = 0;
                cache.each_selected(&object, |_, _| selected += 1);
                assert_eq!(selected, namespaces);
            });
        });
        group.bench_function(BenchmarkId::new("its copies are counted", namespaces), |b| {
            let expected = Expected { source: Version { uid: server::uid(1), rv: 50 }, content: 7 };
            b.iter(|| assert_eq!(roll_up(&cache, &object, spec, Some(expected)).synced as u64, namespaces));
        });
        group.throughput(Throughput::Elements(OBJECTS));
        group.bench_function(BenchmarkId::new("a namespace is labelled: 100 objects", namespaces), |b| {
            b.iter(|| assert_eq!(cache.copy_keys_in(black_box("team-7")).len() as u64, OBJECTS));
        });
    }
    group.finish();
}
