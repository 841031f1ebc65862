//! Every write of copies and syncs. Each carries the UID and version that it was decided for, and asks the gate right before it is
//! sent. A write to a namespace that is set apart may outlive its gate: `docs/leadership.md`, "Late writes", says why that is safe.

mod send;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use parking_lot::Mutex;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::api::clusterconfigmapsync::ClusterConfigMapSyncStatus;
use crate::api::configmapsync::ConfigMapSyncStatus;
use crate::api::names::FINALIZER;
use crate::kubernetes::budget::{ByteBudget, Reservation};
use crate::kubernetes::bulkheads::{Bulkheads, Door};
use crate::kubernetes::decode::{ClusterSyncObject, ConfigMapObject, SyncObject};
use crate::kubernetes::error::ApiError;
use crate::kubernetes::exchange::unreadable;
use crate::kubernetes::limiter::{Limiter, Turn};
use crate::kubernetes::rate::Rate;
use crate::rules::cluster::record::ClusterSync;
use crate::rules::copy::content::{self, SourceContent};
use crate::rules::copy::shape::Shape;
use crate::rules::record::{ConfigMapMeta, Name, ObjectKey, Sync};
use crate::rules::shard::{SHARDS, Shard};
use crate::rules::uid::Version;

/// Says whether a write may be sent now.
pub trait Gate: Send + std::marker::Sync {
    /// Whether a write for this shard may be sent now: within the usual timeout no other replica can take the shard over.
    fn may_write(&self, shard: Shard) -> bool;
    /// The usual timeout of a write.
    fn request_timeout(&self) -> Duration;
    /// The time after sending at which an unanswered write with the usual timeout has ended. It includes a margin, because the
    /// server starts the timeout when the request arrives.
    fn surely_over(&self) -> Duration;
    /// Tells when it opens and closes, give or take a tick; `None` where it never closes.
    fn opens(&self) -> Option<watch::Receiver<bool>> {
        None
    }
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
    bulkheads: Bulkheads,
    rate: Rate,
    observe_only: bool,
    /// Room for the bodies of copies.
    bodies: ByteBudget,
    /// Until when a write that was not answered may take effect, by shard.
    unsettled: Mutex<[Option<Instant>; SHARDS]>,
}

/// On whose behalf a write is sent.
pub struct Attempt<'a> {
    /// The shard that it is for.
    pub shard: Shard,
    /// The permit that it holds while it is in flight.
    pub turn: &'a mut Turn,
    /// A person asked for it: it does not wait for a namespace that is set apart.
    pub asked: bool,
    /// Whether it may still be sent, by what is known right before it is.
    pub allowed: &'a (dyn Fn() -> bool + Send + std::marker::Sync),
}

/// A copy that was written, by the server's answer.
#[derive(Debug)]
pub struct Written {
    /// Its metadata.
    pub meta: ConfigMapMeta,
    /// What admission made of what was sent, if it changed anything.
    pub changed: Option<String>,
}

/// How many bytes the bodies of copies may take that are not sent yet.
const BODIES: usize = 8 << 20;
/// What a body has beside its content, as a rule.
const METADATA: usize = 2 << 10;

/// What became of a copy that was to be removed.
#[derive(Debug, PartialEq)]
pub enum Removed {
    /// It is gone.
    Gone,
    /// It has a deletionTimestamp; somebody's finalizer holds it.
    Held(Box<ConfigMapMeta>),
}

const CONFIGMAPS: &str = "configmaps";
const SYNCS: &str = "configmapsyncs";
const STATUS: &str = "configmapsyncs/status";
const CLUSTER_SYNCS: &str = "clusterconfigmapsyncs";
const CLUSTER_STATUS: &str = "clusterconfigmapsyncs/status";

impl Writer {
    /// A writer that asks `gate`, keeps to `rate`, tells `limiter` how the server feels and `bulkheads` which namespace does
    /// not answer.
    pub fn new(
        client: kube::Client,
        gate: Arc<dyn Gate>,
        limiter: Limiter,
        bulkheads: Bulkheads,
        rate: Rate,
        observe_only: bool,
    ) -> Self {
        let unsettled = Mutex::new([None; SHARDS]);
        let bodies = ByteBudget::new(BODIES);
        Self { inner: Arc::new(Inner { client, gate, limiter, bulkheads, rate, observe_only, bodies, unsettled }) }
    }

    /// POSTs a copy of `source` with this shape, or, with `over`, PUTs it over the version that the body names. `size`: about how many bytes
    /// the body will have.
    ///
    /// # Errors
    /// `AlreadyExists`, `NoNamespace`, `NamespaceTerminating` when it is new; `Conflict` when it is another version,
    /// `NotFound` when it is gone, `Invalid` when it is immutable; among others.
    pub async fn write_copy(
        &self,
        mut attempt: Attempt<'_>,
        key: &ObjectKey,
        (source, shape): (&SourceContent, Option<&Shape>),
        (size, body): (usize, impl FnOnce() -> Vec<u8>),
        over: Option<Version>,
    ) -> Result<Written, ApiError> {
        let body = self.body(&mut attempt, size, body).await;
        let text = match over {
            None => {
                let path = format!("/api/v1/namespaces/{}/configmaps", key.namespace);
                self.send(attempt, Method::POST, CONFIGMAPS, &path, key, body).await?
            }
            Some(_) => self.send(attempt, Method::PUT, CONFIGMAPS, &configmap_path(key), key, body).await?,
        };
        let answer: content::Content<'_> = parse(&text)?;
        let changed = source.changed_by_admission(shape, answer).map_err(unreadable)?;
        Ok(Written { meta: meta(parse(&text)?)?, changed })
    }

    /// PUTs a ConfigMap as it was read, but without our marks; the body names the UID and version that it replaces.
    ///
    /// # Errors
    /// `Conflict` when it is another version, `NotFound` when it is gone.
    pub async fn unmark_copy(
        &self,
        attempt: Attempt<'_>,
        key: &ObjectKey,
        body: Vec<u8>,
    ) -> Result<ConfigMapMeta, ApiError> {
        let text = self.send(attempt, Method::PUT, CONFIGMAPS, &configmap_path(key), key, body.into()).await?;
        meta(parse(&text)?)
    }

    /// DELETEs this version of a copy. One that is gone already is no error.
    ///
    /// # Errors
    /// `Conflict` when it is another version.
    pub async fn remove_copy(
        &self,
        attempt: Attempt<'_>,
        key: &ObjectKey,
        version: Version,
    ) -> Result<Removed, ApiError> {
        let body = json!({
            "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background",
            "preconditions": {"uid": version.uid.to_string(), "resourceVersion": version.rv.to_string()},
        });
        // Answered with a Status when it is gone, with the object when a finalizer holds it.
        match self.send(attempt, Method::DELETE, CONFIGMAPS, &configmap_path(key), key, bytes(&body)).await {
            Ok(answer) => {
                let held: Option<ConfigMapObject> = serde_json::from_str(&answer).ok();
                // A plain object in the answer is one that was removed in the same moment.
                let held = held.and_then(|object| object.record).map(|record| record.meta);
                Ok(match held.filter(|meta| meta.deleting && meta.foreign_metadata) {
                    Some(meta) => Removed::Held(Box::new(meta)),
                    None => Removed::Gone,
                })
            }
            Err(ApiError::NotFound(_) | ApiError::NoNamespace(_)) => Ok(Removed::Gone),
            Err(error) => Err(error),
        }
    }

    /// Puts our finalizer on a sync, or takes it off.
    ///
    /// # Errors
    /// `Conflict` when the sync is another version by now.
    pub async fn finalizer(&self, attempt: Attempt<'_>, sync: &Sync, present: bool) -> Result<Option<Sync>, ApiError> {
        let others = sync.rare.iter().flat_map(|rare| &rare.foreign.finalizers);
        let body = finalizers(sync.version, others, present);
        let answer = self.send(attempt, Method::PATCH, SYNCS, &sync_path(&sync.key), &sync.key, body).await;
        Ok(unless_gone::<SyncObject>(answer, present)?.and_then(|object| object.record))
    }

    /// PUTs the status of a sync. The server takes the status alone from it, and leaves spec and metadata as they are.
    ///
    /// # Errors
    /// `Conflict` when the sync is another version by now.
    pub async fn status(
        &self,
        attempt: Attempt<'_>,
        sync: &Sync,
        status: &ConfigMapSyncStatus,
    ) -> Result<Sync, ApiError> {
        let body = json!({
            "apiVersion": "apps.kapendra.com/v1", "kind": "ConfigMapSync",
            "metadata": {
                "name": &*sync.key.name, "namespace": &*sync.key.namespace,
                "uid": sync.uid().to_string(), "resourceVersion": sync.version.rv.to_string(),
            },
            "status": status,
        });
        let path = format!("{}/status", sync_path(&sync.key));
        let text = self.send(attempt, Method::PUT, STATUS, &path, &sync.key, bytes(&body)).await?;
        parse::<SyncObject>(&text)?.record.ok_or_else(|| unreadable("no uid or resourceVersion"))
    }

    /// Puts our finalizer on a ClusterConfigMapSync, or takes it off. `None`: it is gone.
    ///
    /// # Errors
    /// `Conflict` when it is another version by now.
    pub async fn cluster_finalizer(
        &self,
        attempt: Attempt<'_>,
        object: &ClusterSync,
        present: bool,
    ) -> Result<Option<ClusterSync>, ApiError> {
        let body = finalizers(object.version, &object.others.finalizers, present);
        let path = cluster_sync_path(&object.name);
        let answer = self.send(attempt, Method::PATCH, CLUSTER_SYNCS, &path, &object.key(), body).await;
        Ok(unless_gone::<ClusterSyncObject>(answer, present)?.and_then(|object| object.record))
    }

    /// PUTs the status of a ClusterConfigMapSync.
    ///
    /// # Errors
    /// `Conflict` when it is another version by now.
    pub async fn cluster_status(
        &self,
        attempt: Attempt<'_>,
        object: &ClusterSync,
        status: &ClusterConfigMapSyncStatus,
    ) -> Result<ClusterSync, ApiError> {
        let body = json!({
            "apiVersion": "apps.kapendra.com/v1alpha1", "kind": "ClusterConfigMapSync",
            "metadata": {
                "name": &*object.name, "uid": object.uid().to_string(), "resourceVersion": object.version.rv.to_string(),
            },
            "status": status,
        });
        let path = format!("{}/status", cluster_sync_path(&object.name));
        let text = self.send(attempt, Method::PUT, CLUSTER_STATUS, &path, &object.key(), bytes(&body)).await?;
        parse::<ClusterSyncObject>(&text)?.record.ok_or_else(|| unreadable("no uid or resourceVersion"))
    }

    /// Waits until the unanswered writes of this shard have timed out on the server, late ones left out. The shard is released only
    /// after that.
    pub async fn settled(&self, shard: Shard) {
        let until = self.inner.unsettled()[shard.index()];
        if let Some(until) = until {
            tokio::time::sleep_until(until).await;
        }
    }

    /// Tells when writes may be sent at all, give or take a tick; `None`: always.
    pub fn gate_opens(&self) -> Option<watch::Receiver<bool>> {
        self.inner.gate.opens()
    }

    /// Makes a body when its turn has come and there is room for it. The room is given back when the bytes are sent,
    /// which is long before the answer where admission takes its time.
    async fn body(&self, attempt: &mut Attempt<'_>, size: usize, body: impl FnOnce() -> Vec<u8>) -> Bytes {
        if self.inner.observe_only {
            return Bytes::new();
        }
        attempt.turn.take().await;
        let reserved = self.inner.bodies.reserve(size + METADATA).await;
        Bytes::from_owner(Body { bytes: body(), _reserved: reserved })
    }

    /// How long a write of a copy to this namespace has to wait, if it has to.
    pub fn wait(&self, namespace: &Name, method: &Method) -> Option<Duration> {
        self.inner.bulkheads.wait(&Door { namespace: namespace.clone(), resource: CONFIGMAPS, verb: verb(method) })
    }
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

/// The patch that leaves others' finalizers on this version of an object, and ours or not.
fn finalizers<'a>(version: Version, others: impl IntoIterator<Item = &'a String>, present: bool) -> Bytes {
    let ours = present.then_some(FINALIZER);
    let finalizers: Vec<&str> = others.into_iter().map(String::as_str).chain(ours).collect();
    bytes(&json!({"metadata": {
        "uid": version.uid.to_string(), "resourceVersion": version.rv.to_string(), "finalizers": finalizers,
    }}))
}

/// The object in an answer. One that is gone has no finalizer of ours, which is what was `wanted` otherwise.
fn unless_gone<T: DeserializeOwned>(answer: Result<String, ApiError>, wanted: bool) -> Result<Option<T>, ApiError> {
    match answer {
        Ok(text) => parse(&text).map(Some),
        Err(ApiError::NotFound(_)) if !wanted => Ok(None),
        Err(error) => Err(error),
    }
}

fn configmap_path(key: &ObjectKey) -> String {
    format!("/api/v1/namespaces/{}/configmaps/{}", key.namespace, key.name)
}

fn sync_path(key: &ObjectKey) -> String {
    format!("/apis/apps.kapendra.com/v1/namespaces/{}/configmapsyncs/{}", key.namespace, key.name)
}

fn cluster_sync_path(name: &str) -> String {
    format!("/apis/apps.kapendra.com/v1alpha1/clusterconfigmapsyncs/{name}")
}

fn bytes(body: &Value) -> Bytes {
    // A JSON value always serializes.
    serde_json::to_vec(body).unwrap_or_default().into()
}

/// Bytes that are sent, and the room that they take until then.
struct Body {
    bytes: Vec<u8>,
    _reserved: Reservation,
}

impl AsRef<[u8]> for Body {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

fn meta(object: ConfigMapObject) -> Result<ConfigMapMeta, ApiError> {
    object.record.map(|record| record.meta).ok_or_else(|| unreadable("no uid or resourceVersion"))
}

fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, ApiError> {
    serde_json::from_str(text).map_err(unreadable)
}
