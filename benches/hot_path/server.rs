//! An API server in the process, for the benchmark of the reconcile path: it answers what a fan-out asks, keeps
//! nothing, and counts. The tests use a real one.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use configmapsync_operator::rules::record::{ObjectKey, ObservedStatus, Spec, Sync};
use configmapsync_operator::rules::uid::{Uid, Version};
use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde_json::{Value, json};

/// Requests so far.
#[derive(Default)]
pub struct Counts {
    /// GETs of the source.
    pub reads: AtomicU64,
    /// POSTs and PUTs of copies.
    pub copies: AtomicU64,
    /// PATCHes of finalizers.
    pub finalizers: AtomicU64,
    /// PUTs of statuses.
    pub statuses: AtomicU64,
    /// Anything else.
    pub others: AtomicU64,
    version: AtomicU64,
}

impl Counts {
    /// Reads, copies, finalizers, statuses and others since the last call.
    pub fn take(&self) -> [u64; 5] {
        [&self.reads, &self.copies, &self.finalizers, &self.statuses, &self.others]
            .map(|count| count.swap(0, Ordering::SeqCst))
    }

    /// A newer resourceVersion than any before.
    pub fn next_version(&self) -> u64 {
        1_000 + self.version.fetch_add(1, Ordering::SeqCst)
    }
}

/// A client of such a server.
pub fn client(counts: Arc<Counts>) -> kube::Client {
    let service = tower::service_fn(move |request: Request<Body>| {
        let counts = counts.clone();
        async move { Ok::<_, Infallible>(answer(&counts, request).await) }
    });
    kube::Client::new(service, "default")
}

/// What the server allocates for as many copies: the same requests, from a client that makes them of ready bytes.
pub async fn alone(copies: u64) {
    let counts = Counts::default();
    let body = |size: usize| json!({"metadata": {"name": "cm"}, "data": {"config.yaml": "x".repeat(size)}}).to_string();
    let (copy, status) = (body(1600), body(1200));
    for _ in 0..copies {
        for (path, body) in
            [("/api/v1/namespaces/a/configmaps", &copy), ("/apis/g/v1/namespaces/a/configmapsyncs/s/status", &status)]
        {
            let request = Request::put(path).body(Body::from(body.clone().into_bytes()));
            if let Ok(request) = request {
                answer(&counts, request).await;
            }
        }
    }
}

async fn answer(counts: &Counts, request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let (path, bytes) = (parts.uri.path().to_owned(), body.collect().await.map(|body| body.to_bytes()));
    let mut object: Value = serde_json::from_slice(&bytes.unwrap_or_default()).unwrap_or(Value::Null);
    let counter = match parts.method {
        Method::GET => &counts.reads,
        Method::PATCH => &counts.finalizers,
        _ if path.ends_with("/status") => &counts.statuses,
        _ if path.contains("/configmaps") => &counts.copies,
        _ => &counts.others,
    };
    counter.fetch_add(1, Ordering::SeqCst);
    let rv = counts.next_version();
    if parts.method == Method::GET {
        object = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "cm", "namespace": "src", "uid": uid(1 << 40).to_string()},
            "data": {"config.yaml": "x".repeat(1024)},
        });
    }
    if object["metadata"]["uid"].is_null() {
        object["metadata"]["uid"] = json!(uid(rv).to_string());
    }
    if path.contains("/configmapsyncs/") {
        complete(&mut object, &path);
    }
    object["metadata"]["resourceVersion"] = json!(rv.to_string());
    Response::new(Body::from(object.to_string().into_bytes()))
}

/// A sync as the server would answer it: status and finalizer writes carry only a part of it.
fn complete(object: &mut Value, path: &str) {
    let mut parts = path.split('/').skip(5);
    let (namespace, name) = (parts.next().unwrap_or_default(), parts.nth(1).unwrap_or_default());
    object["metadata"]["namespace"] = json!(namespace);
    object["metadata"]["name"] = json!(name);
    object["metadata"]["generation"] = json!(1);
    object["metadata"]["finalizers"] = json!(["configmapsync.apps.kapendra.com/finalizer"]);
    object["spec"] = json!({"sourceNamespace": "src", "destinationNamespace": name, "configMapName": "cm"});
}

/// The UID with this number.
pub fn uid(number: u64) -> Uid {
    // Scattered, so that the keys fall into all shards.
    let scattered = u128::from(number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    let hex = format!("{scattered:032x}");
    let text = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-");
    Uid::parse(&text).unwrap_or_else(|| unreachable!("{text}"))
}

/// The source that all copy.
pub fn source() -> ObjectKey {
    ObjectKey::new("src", "cm")
}

/// A sync that copies it into a namespace of its own.
pub fn sync(number: u64) -> Sync {
    let name = format!("fan-{number}");
    Sync {
        key: ObjectKey::new("syncs", name.as_str()),
        version: Version { uid: uid(number), rv: 1 },
        generation: 1,
        created: 0,
        deleting: false,
        finalizer: true,
        rare: None,
        spec: Ok(Spec {
            source: source(),
            destination: ObjectKey::new(name, "cm"),
            overwrite: true,
            orphan: false,
            delete_with_source: false,
            suspend: false,
            require_consent: false,
        }),
        status: ObservedStatus::default(),
    }
}
