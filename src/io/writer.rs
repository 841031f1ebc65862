//! Every write of copies and syncs. Each carries the UID and version that it was decided for, asks the gate right
//! before it is sent, and has ended, one way or the other, before the lease could have.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{Method, Request};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::client::METADATA_ONLY;
use super::decode::{ConfigMapObject, SyncObject};
use super::instruments;
use super::limiter::{Limiter, Rate};
use super::refusal::Refusal;
use crate::api::configmapsync::ConfigMapSyncStatus;
use crate::api::names::{FIELD_MANAGER, FINALIZER};
use crate::core::records::{Place, Seen, Sync, Version};
use crate::core::shard::{SHARDS, Shard};

/// Says whether a write may be sent now.
pub trait Gate: Send + std::marker::Sync {
    /// Whether a write for this shard that is sent now ends before another replica could have taken it over.
    fn may_write(&self, shard: Shard) -> bool;
    /// The time within which each write has to end.
    fn request_timeout(&self) -> Duration;
    /// How long after it was sent a write that was not answered has surely ended: the server counts its time from
    /// when it came, not from when it was sent.
    fn surely_over(&self) -> Duration;
}

/// Sends writes.
#[derive(Clone)]
pub struct Writer {
    inner: Arc<Inner>,
}

struct Inner {
    client: kube::Client,
    gate: Arc<dyn Gate>,
    limiter: Limiter,
    rate: Rate,
    observe_only: bool,
    /// Until when a write that was not answered may take effect, by shard.
    unsettled: Mutex<[Option<Instant>; SHARDS]>,
}

/// What became of a copy that was to be removed.
#[derive(Debug, PartialEq)]
pub enum Removed {
    /// It is gone.
    Gone,
    /// It has a deletionTimestamp; somebody's finalizer holds it.
    Held(Box<Seen>),
}

const CONFIGMAPS: &str = "configmaps";
const SYNCS: &str = "configmapsyncs";
const STATUS: &str = "configmapsyncs/status";

impl Writer {
    /// A writer that asks `gate`, keeps to `rate` and tells `limiter` how the server feels.
    pub fn new(client: kube::Client, gate: Arc<dyn Gate>, limiter: Limiter, rate: Rate, observe_only: bool) -> Self {
        let unsettled = Mutex::new([None; SHARDS]);
        Self { inner: Arc::new(Inner { client, gate, limiter, rate, observe_only, unsettled }) }
    }

    /// POSTs a copy.
    ///
    /// # Errors
    /// `AlreadyExists`, `NoNamespace`, `NamespaceTerminating` among others.
    pub async fn create_copy(&self, shard: Shard, place: &Place, body: Vec<u8>) -> Result<Seen, Refusal> {
        let path = format!("/api/v1/namespaces/{}/configmaps", place.namespace);
        let object: ConfigMapObject = self.send(shard, Method::POST, CONFIGMAPS, &path, place, body).await?;
        seen(object)
    }

    /// PUTs a copy; the body names the UID and version that it replaces.
    ///
    /// # Errors
    /// `Conflict` when it is another version, `NotFound` when it is gone, `Invalid` when it is immutable.
    pub async fn replace_copy(&self, shard: Shard, place: &Place, body: Vec<u8>) -> Result<Seen, Refusal> {
        let object: ConfigMapObject =
            self.send(shard, Method::PUT, CONFIGMAPS, &configmap_path(place), place, body).await?;
        seen(object)
    }

    /// DELETEs this version of a copy. One that is gone already is no error.
    ///
    /// # Errors
    /// `Conflict` when it is another version.
    pub async fn remove_copy(&self, shard: Shard, place: &Place, version: Version) -> Result<Removed, Refusal> {
        let body = json!({
            "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background",
            "preconditions": {"uid": version.uid.to_string(), "resourceVersion": version.rv.to_string()},
        });
        // Answered with a Status when it is gone, with the object when a finalizer holds it.
        match self.send::<Value>(shard, Method::DELETE, CONFIGMAPS, &configmap_path(place), place, bytes(&body)).await {
            Ok(answer) if answer["metadata"]["deletionTimestamp"].is_string() => {
                let held: ConfigMapObject =
                    serde_json::from_value(answer).map_err(|error| Refusal::Unavailable(error.to_string()))?;
                // A plain object in the answer is one that was removed in the same moment.
                let held = seen(held)?;
                Ok(if held.foreign_metadata { Removed::Held(Box::new(held)) } else { Removed::Gone })
            }
            Ok(_) | Err(Refusal::NotFound(_) | Refusal::NoNamespace(_)) => Ok(Removed::Gone),
            Err(refusal) => Err(refusal),
        }
    }

    /// Puts our finalizer on a sync, or takes it off.
    ///
    /// # Errors
    /// `Conflict` when the sync is another version by now.
    pub async fn finalizer(&self, shard: Shard, sync: &Sync, present: bool) -> Result<Option<Sync>, Refusal> {
        let others = sync.others.iter().flat_map(|others| &others.finalizers);
        let mut finalizers: Vec<&str> = others.map(String::as_str).collect();
        if present {
            finalizers.push(FINALIZER);
        }
        let body = json!({"metadata": {
            "uid": sync.uid().to_string(), "resourceVersion": sync.version.rv.to_string(), "finalizers": finalizers,
        }});
        let answer =
            self.send::<SyncObject>(shard, Method::PATCH, SYNCS, &sync_path(&sync.key), &sync.key, bytes(&body)).await;
        match answer {
            Ok(object) => Ok(object.record),
            Err(Refusal::NotFound(_)) if !present => Ok(None),
            Err(refusal) => Err(refusal),
        }
    }

    /// PUTs the status of a sync. The server takes the status alone from it, and leaves spec and metadata as they are.
    ///
    /// # Errors
    /// `Conflict` when the sync is another version by now.
    pub async fn status(&self, shard: Shard, sync: &Sync, status: &ConfigMapSyncStatus) -> Result<Sync, Refusal> {
        let body = json!({
            "apiVersion": "apps.kapendra.com/v1", "kind": "ConfigMapSync",
            "metadata": {
                "name": &*sync.key.name, "namespace": &*sync.key.namespace,
                "uid": sync.uid().to_string(), "resourceVersion": sync.version.rv.to_string(),
            },
            "status": status,
        });
        let path = format!("{}/status", sync_path(&sync.key));
        let object: SyncObject = self.send(shard, Method::PUT, STATUS, &path, &sync.key, bytes(&body)).await?;
        object.record.ok_or_else(unreadable)
    }

    /// Waits until no write for this shard can take effect any more that was sent before now and not answered. Only then
    /// may the shard be given away.
    pub async fn settled(&self, shard: Shard) {
        let until = self.inner.unsettled()[shard.index()];
        if let Some(until) = until {
            tokio::time::sleep_until(until).await;
        }
    }

    async fn send<T: DeserializeOwned>(
        &self,
        shard: Shard,
        method: Method,
        resource: &'static str,
        path: &str,
        place: &Place,
        body: Vec<u8>,
    ) -> Result<T, Refusal> {
        let inner = &*self.inner;
        let verb = verb(&method);
        if inner.observe_only {
            let (namespace, name) = (&*place.namespace, &*place.name);
            tracing::info!(namespace, name, shard = shard.index(), verb, resource, "would write");
            return Err(Refusal::ObserveOnly);
        }
        inner.rate.turn().await;
        let timeout = inner.gate.request_timeout();
        let request = request(method, path, resource, timeout, body)?;
        // The last thing before it goes out: whether it may.
        if !inner.gate.may_write(shard) {
            metrics::counter!(instruments::GATE_CLOSED_TOTAL).increment(1);
            return Err(Refusal::GateClosed);
        }
        let _in_flight = InFlight::one();
        let sent = Instant::now();
        let answer = match tokio::time::timeout(timeout, inner.client.request::<T>(request)).await {
            Ok(answer) => answer.map_err(Refusal::from),
            Err(_) => Err(Refusal::Unavailable(format!("no answer within {timeout:?}"))),
        };
        if let Err(Refusal::Unavailable(_)) = &answer {
            inner.unsettled()[shard.index()] = Some(sent + inner.gate.surely_over());
        }
        match &answer {
            Ok(_) => inner.limiter.answered(sent.elapsed()),
            Err(Refusal::Busy(_) | Refusal::Unavailable(_)) => inner.limiter.halve(),
            Err(_) => {}
        }
        let result = answer.as_ref().map_or_else(Refusal::category, |_| "ok");
        metrics::counter!(instruments::WRITES_TOTAL, "verb" => verb, "resource" => resource, "result" => result)
            .increment(1);
        answer
    }
}

impl Inner {
    fn unsettled(&self) -> MutexGuard<'_, [Option<Instant>; SHARDS]> {
        // Nothing can panic while it is held.
        self.unsettled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One more on the gauge of writes in flight, until it is dropped.
struct InFlight;

impl InFlight {
    fn one() -> Self {
        metrics::gauge!(instruments::WRITERS_IN_FLIGHT).increment(1);
        Self
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        metrics::gauge!(instruments::WRITERS_IN_FLIGHT).decrement(1);
    }
}

fn request(
    method: Method,
    path: &str,
    resource: &'static str,
    timeout: Duration,
    body: Vec<u8>,
) -> Result<Request<Vec<u8>>, Refusal> {
    let manager = if method == Method::DELETE { String::new() } else { format!("&fieldManager={FIELD_MANAGER}") };
    let uri = format!("{path}?timeout={}ms{manager}", timeout.as_millis());
    let content = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
    let mut request = Request::builder().method(method).uri(uri).header(http::header::CONTENT_TYPE, content);
    if resource == CONFIGMAPS {
        request = request.header(http::header::ACCEPT, METADATA_ONLY);
    }
    request.body(body).map_err(|error| Refusal::Unavailable(error.to_string()))
}

fn verb(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "other",
    }
}

fn configmap_path(place: &Place) -> String {
    format!("/api/v1/namespaces/{}/configmaps/{}", place.namespace, place.name)
}

fn sync_path(key: &Place) -> String {
    format!("/apis/apps.kapendra.com/v1/namespaces/{}/configmapsyncs/{}", key.namespace, key.name)
}

fn bytes(body: &Value) -> Vec<u8> {
    // A JSON value always serializes.
    serde_json::to_vec(body).unwrap_or_default()
}

fn seen(object: ConfigMapObject) -> Result<Seen, Refusal> {
    object.record.map(|(_, seen)| seen).ok_or_else(unreadable)
}

fn unreadable() -> Refusal {
    Refusal::Unavailable("the answer has no uid or resourceVersion".to_owned())
}
