//! Events that are not this replica's own: from the bytes of a watch to a record, through the real streams. The time is
//! for one event.

use std::convert::Infallible;
use std::pin::pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use configmapsync_operator::kubernetes::client::{Clients, Server};
use configmapsync_operator::kubernetes::watch;
use criterion::{Criterion, Throughput};
use futures::{Stream, StreamExt as _};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use kube::client::Body;
use kube::runtime::watcher::{Event, Result};
use serde_json::{Value, json};
use tower::util::BoxCloneSyncService;

use super::{reconcile, server};

/// Events that a watch tells without a pause.
const EVENTS: u64 = 1_000;

/// Each kind of event.
pub fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("an event of a watch");
    let [sync, copy, foreign] = [sync(), copy(), foreign()].map(lines);
    for (name, lines, of_syncs) in
        [("status of a sync", sync, true), ("copy", copy, false), ("ConfigMap of nobody", foreign, false)]
    {
        let runtime = reconcile::runtime();
        let bytes: usize = lines.iter().map(Bytes::len).sum();
        group.throughput(Throughput::Bytes(bytes as u64 / EVENTS));
        group.bench_function(name, |b| {
            b.iter_custom(|times| {
                let clients = runtime.block_on(async { clients(lines.clone()) });
                let rounds = times.div_ceil(EVENTS);
                let took: Duration = (0..rounds)
                    .map(|_| match of_syncs {
                        true => runtime.block_on(listen(watch::syncs(&clients))),
                        false => runtime.block_on(listen(watch::configmaps(&clients))),
                    })
                    .sum();
                took.mul_f64(times as f64 / (rounds * EVENTS) as f64)
            });
        });
    }
    group.finish();
}

async fn listen<K>(events: impl Stream<Item = Result<Event<K>>>) -> Duration {
    let (mut events, mut begun, mut heard) = (pin!(events), Instant::now(), 0);
    while heard < EVENTS {
        match events.next().await {
            Some(Ok(Event::InitDone)) => begun = Instant::now(),
            Some(Ok(Event::Apply(_))) => heard += 1,
            _ => {}
        }
    }
    begun.elapsed()
}

/// Those of a server that lists nothing, and tells these lines to whoever watches.
fn clients(lines: Vec<Bytes>) -> Clients {
    let service = tower::service_fn(move |request: Request<Body>| {
        let watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
        let body = if watch {
            let told = futures::stream::iter(lines.clone()).map(|line| Ok(Frame::data(line)));
            StreamBody::new(told.chain(futures::stream::pending())).boxed_unsync()
        } else {
            let list = json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": "1"}, "items": []});
            Full::from(list.to_string()).map_err(|never: Infallible| match never {}).boxed_unsync()
        };
        async move { Ok(Response::new(body)) }
    });
    Clients::new(&Server::Within(BoxCloneSyncService::new(service)), "bench")
        .unwrap_or_else(|error| panic!("no clients: {error}"))
}

fn lines(object: Value) -> Vec<Bytes> {
    let event = |number: u64| {
        let mut object = object.clone();
        object["metadata"]["uid"] = json!(server::uid(number).to_string());
        object["metadata"]["resourceVersion"] = json!((1_000 + number).to_string());
        // In this order, as the API server writes it.
        Bytes::from(format!("{{\"type\":\"MODIFIED\",\"object\":{object}}}\n"))
    };
    (0..EVENTS).map(event).collect()
}

fn managed(fields: &[(&str, Value)]) -> Value {
    let entry = |(subresource, fields): &(&str, Value)| {
        json!({"manager": "configmapsync-controller", "operation": "Update", "apiVersion": "v1",
            "time": "2026-11-26T10:00:00Z", "subresource": subresource, "fieldsType": "FieldsV1", "fieldsV1": fields})
    };
    fields.iter().map(entry).collect()
}

fn sync() -> Value {
    let of_conditions = ["Ready", "SourceAvailable", "Synced"].map(|kind| {
        let fields = json!({".": {}, "f:lastTransitionTime": {}, "f:message": {}, "f:observedGeneration": {},
            "f:reason": {}, "f:status": {}, "f:type": {}});
        (format!("k:{{\"type\":\"{kind}\"}}"), fields)
    });
    let of_conditions: serde_json::Map<String, Value> = of_conditions.into_iter().collect();
    let version = json!({".": {}, "f:resourceVersion": {}, "f:uid": {}});
    let condition = |kind: &str, reason: &str, message: &str| {
        json!({"type": kind, "status": "True", "reason": reason, "message": message, "observedGeneration": 1,
            "lastTransitionTime": "2026-11-26T10:00:00Z"})
    };
    json!({
        "apiVersion": "apps.kapendra.com/v1", "kind": "ConfigMapSync",
        "metadata": {
            "name": "copy-0001", "namespace": "events", "generation": 1, "creationTimestamp": "2026-11-26T10:00:00Z",
            "finalizers": ["configmapsync.apps.kapendra.com/finalizer"],
            "managedFields": managed(&[
                ("", json!({"f:spec": {".": {}, "f:configMapName": {}, "f:conflictPolicy": {}, "f:deletionPolicy": {},
                    "f:destinationName": {}, "f:destinationNamespace": {}, "f:sourceMissingPolicy": {},
                    "f:sourceNamespace": {}, "f:suspend": {}}})),
                ("", json!({"f:metadata": {"f:finalizers":
                    {".": {}, "v:\"configmapsync.apps.kapendra.com/finalizer\"": {}}}})),
                ("status", json!({"f:status": {".": {}, "f:conditions": of_conditions, "f:copy": version,
                    "f:destinationExists": {}, "f:lastSyncTime": {}, "f:message": {}, "f:observedGeneration": {},
                    "f:retryCount": {}, "f:source": version, "f:sourceExists": {}, "f:syncStatus": {}}})),
            ]),
        },
        "spec": {"configMapName": "source", "conflictPolicy": "Overwrite", "deletionPolicy": "Delete",
            "destinationName": "copy-0001", "destinationNamespace": "events", "sourceMissingPolicy": "Keep",
            "sourceNamespace": "events", "suspend": false},
        "status": {
            "conditions": [
                condition("Synced", "SyncSucceeded", "ConfigMap synced successfully"),
                condition("SourceAvailable", "SourceFound", "Source ConfigMap exists and accessible"),
                condition("Ready", "AllComponentsReady", "All sync components are functioning properly"),
            ],
            "copy": {"resourceVersion": "123456", "uid": server::uid(1 << 41).to_string()},
            "source": {"resourceVersion": "123450", "uid": server::uid(1 << 42).to_string()},
            "sourceExists": true, "destinationExists": true, "lastSyncTime": "2026-11-26T10:00:00Z",
            "message": "ConfigMap synced successfully", "observedGeneration": 1, "retryCount": 0, "syncStatus": "Success",
        },
    })
}

fn copy() -> Value {
    let (prefix, uid) = ("configmapsync.apps.kapendra.com", server::uid(1 << 43));
    let named = |names: &[&str], value: &dyn Fn(&str) -> Value| -> Value {
        names.iter().map(|name| (format!("{prefix}/{name}"), value(name))).collect::<serde_json::Map<_, _>>().into()
    };
    let (labels, annotations) =
        (["managed-by", "sync-name", "sync-namespace"], ["at", "last-sync", "source", "source-hash", "sync"]);
    let fields = |names: &[&str]| -> Value {
        let fields = names.iter().map(|name| (format!("f:{prefix}/{name}"), json!({})));
        fields.chain([(".".to_owned(), json!({}))]).collect::<serde_json::Map<_, _>>().into()
    };
    let label = |name: &str| match name {
        "managed-by" => json!("configmapsync-controller"),
        "sync-name" => json!("copy-0001"),
        _ => json!("events"),
    };
    let annotation = |name: &str| match name {
        "at" => json!(format!("{uid}/copy-0001")),
        "last-sync" => json!("2026-11-26T10:00:00Z"),
        "source" => json!(format!("events/source/{uid}/123450")),
        "source-hash" => json!("0".repeat(64)),
        _ => json!(format!("events/copy-0001/{uid}")),
    };
    json!({
        "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
        "metadata": {
            "name": "copy-0001", "namespace": "events", "creationTimestamp": "2026-11-26T10:00:00Z",
            "labels": named(&labels, &label), "annotations": named(&annotations, &annotation),
            "managedFields": managed(&[("", json!({
                "f:data": {".": {}, "f:edition": {}, "f:settings": {}},
                "f:metadata": {"f:annotations": fields(&annotations), "f:labels": fields(&labels)},
            }))]),
        },
    })
}

fn foreign() -> Value {
    json!({
        "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
        "metadata": {
            "name": "foreign-0001", "namespace": "events", "creationTimestamp": "2026-11-26T10:00:00Z",
            "labels": {"app.kubernetes.io/part-of": "events"},
            "managedFields": managed(&[("", json!({
                "f:data": {".": {}, "f:edition": {}, "f:settings": {}},
                "f:metadata": {"f:labels": {".": {}, "f:app.kubernetes.io/part-of": {}}},
            }))]),
        },
    })
}
