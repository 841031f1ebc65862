//! Every write of copies and syncs. Each carries the UID and version that it was decided for, asks the gate right
//! before it is sent, and has ended, one way or the other, before the lease could have.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use kube::client::Body;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

use crate::api::configmapsync::ConfigMapSyncStatus;
use crate::api::names::{FIELD_MANAGER, FINALIZER};
use crate::kubernetes::bulkheads::{Bulkheads, Door, Ended};
use crate::kubernetes::client::METADATA_ONLY;
use crate::kubernetes::decode::{ConfigMapObject, SyncObject};
use crate::kubernetes::exchange::{LONGEST, exchange, unreadable};
use crate::kubernetes::limiter::{Limiter, Rate, Turn};
use crate::kubernetes::refusal::Refusal;
use crate::rules::copy::content::{self, SourceContent};
use crate::rules::record::{Name, Place, Seen, Sync, Version};
use crate::rules::shard::{SHARDS, Shard};
use crate::telemetry::instruments;

/// Says whether a write may be sent now.
pub trait Gate: Send + std::marker::Sync {
    /// Whether a write for this shard that is sent now ends before another replica could have taken it over.
    fn may_write(&self, shard: Shard) -> bool;
    /// The time within which each write has to end.
    fn request_timeout(&self) -> Duration;
    /// How long after it was sent a write that was not answered has surely ended: the server counts its time from
    /// when it came, not from when it was sent.
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
    bodies: Arc<Semaphore>,
    /// Until when a write that was not answered may take effect, by shard.
    unsettled: Mutex<[Option<Instant>; SHARDS]>,
}

/// On whose behalf a write is sent.
pub struct Attempt<'a> {
    /// The shard that it is for.
    pub shard: Shard,
    /// The place that it takes while it is in flight.
    pub turn: &'a mut Turn,
    /// A person asked for it: it does not wait for a namespace that is set apart.
    pub asked: bool,
}

/// A copy that was written, by the server's answer.
#[derive(Debug)]
pub struct Written {
    /// Its metadata.
    pub seen: Seen,
    /// What admission made of what was sent, if it changed anything.
    pub changed: Option<String>,
}

/// How many bytes the bodies of copies may take that are not sent yet.
const BODIES: usize = 8 << 20;
/// Room is counted in such units.
const UNIT: usize = 1 << 10;
/// What a body has beside its content, as a rule.
const METADATA: usize = 2 << 10;

/// An answer that takes longer than this is late, however slow the others are not.
const LATE_ANSWER: Duration = Duration::from_secs(1);

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
        let bodies = Arc::new(Semaphore::new(BODIES / UNIT));
        Self { inner: Arc::new(Inner { client, gate, limiter, bulkheads, rate, observe_only, bodies, unsettled }) }
    }

    /// POSTs a copy of `source`, or, with `over`, PUTs it over the version that the body names. `size`: about how many bytes
    /// the body will have.
    ///
    /// # Errors
    /// `AlreadyExists`, `NoNamespace`, `NamespaceTerminating` when it is new; `Conflict` when it is another version,
    /// `NotFound` when it is gone, `Invalid` when it is immutable; among others.
    pub async fn write_copy(
        &self,
        mut attempt: Attempt<'_>,
        place: &Place,
        source: &SourceContent,
        (size, body): (usize, impl FnOnce() -> Vec<u8>),
        over: Option<Version>,
    ) -> Result<Written, Refusal> {
        let body = self.body(&mut attempt, size, body).await;
        let text = match over {
            None => {
                let path = format!("/api/v1/namespaces/{}/configmaps", place.namespace);
                self.send(attempt, Method::POST, CONFIGMAPS, &path, place, body).await?
            }
            Some(_) => self.send(attempt, Method::PUT, CONFIGMAPS, &configmap_path(place), place, body).await?,
        };
        let answer: content::Content<'_> = parse(&text)?;
        Ok(Written { seen: seen(parse(&text)?)?, changed: source.changed_by_admission(answer).map_err(unreadable)? })
    }

    /// PUTs a ConfigMap as it was read, but without our marks; the body names the UID and version that it replaces.
    ///
    /// # Errors
    /// `Conflict` when it is another version, `NotFound` when it is gone.
    pub async fn unmark_copy(&self, attempt: Attempt<'_>, place: &Place, body: Vec<u8>) -> Result<Seen, Refusal> {
        let text = self.send(attempt, Method::PUT, CONFIGMAPS, &configmap_path(place), place, body.into()).await?;
        seen(parse(&text)?)
    }

    /// DELETEs this version of a copy. One that is gone already is no error.
    ///
    /// # Errors
    /// `Conflict` when it is another version.
    pub async fn remove_copy(&self, attempt: Attempt<'_>, place: &Place, version: Version) -> Result<Removed, Refusal> {
        let body = json!({
            "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background",
            "preconditions": {"uid": version.uid.to_string(), "resourceVersion": version.rv.to_string()},
        });
        // Answered with a Status when it is gone, with the object when a finalizer holds it.
        match self.send(attempt, Method::DELETE, CONFIGMAPS, &configmap_path(place), place, bytes(&body)).await {
            Ok(answer) => {
                let held: Option<ConfigMapObject> = serde_json::from_str(&answer).ok();
                // A plain object in the answer is one that was removed in the same moment.
                let held = held.and_then(|object| object.record).map(|(_, seen)| seen);
                Ok(match held.filter(|seen| seen.deleting && seen.foreign_metadata) {
                    Some(seen) => Removed::Held(Box::new(seen)),
                    None => Removed::Gone,
                })
            }
            Err(Refusal::NotFound(_) | Refusal::NoNamespace(_)) => Ok(Removed::Gone),
            Err(refusal) => Err(refusal),
        }
    }

    /// Puts our finalizer on a sync, or takes it off.
    ///
    /// # Errors
    /// `Conflict` when the sync is another version by now.
    pub async fn finalizer(&self, attempt: Attempt<'_>, sync: &Sync, present: bool) -> Result<Option<Sync>, Refusal> {
        let others = sync.others.iter().flat_map(|others| &others.finalizers);
        let mut finalizers: Vec<&str> = others.map(String::as_str).collect();
        if present {
            finalizers.push(FINALIZER);
        }
        let body = json!({"metadata": {
            "uid": sync.uid().to_string(), "resourceVersion": sync.version.rv.to_string(), "finalizers": finalizers,
        }});
        match self.send(attempt, Method::PATCH, SYNCS, &sync_path(&sync.key), &sync.key, bytes(&body)).await {
            Ok(text) => Ok(parse::<SyncObject>(&text)?.record),
            Err(Refusal::NotFound(_)) if !present => Ok(None),
            Err(refusal) => Err(refusal),
        }
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
    ) -> Result<Sync, Refusal> {
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

    /// Waits until no write for this shard can take effect any more that was sent before now and not answered. Only then
    /// may the shard be given away.
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
        let units = u32::try_from((size + METADATA).div_ceil(UNIT).min(BODIES / UNIT)).unwrap_or(u32::MAX);
        let room = self.inner.bodies.clone().acquire_many_owned(units).await.ok();
        Bytes::from_owner(Sized { bytes: body(), _room: room })
    }

    /// How long a write of a copy to this namespace has to wait, if it has to.
    pub fn wait(&self, namespace: &Name, method: &Method) -> Option<Duration> {
        self.inner.bulkheads.wait(&Door { namespace: namespace.clone(), resource: CONFIGMAPS, verb: verb(method) })
    }

    async fn send(
        &self,
        attempt: Attempt<'_>,
        method: Method,
        resource: &'static str,
        path: &str,
        place: &Place,
        body: Bytes,
    ) -> Result<String, Refusal> {
        let inner = &*self.inner;
        let Attempt { shard, turn, asked } = attempt;
        let verb = verb(&method);
        if inner.observe_only {
            let (namespace, name) = (&*place.namespace, &*place.name);
            tracing::info!(namespace, name, shard = shard.index(), verb, resource, "would write");
            return Err(Refusal::ObserveOnly);
        }
        turn.take().await;
        inner.rate.turn(|| !inner.gate.may_write(shard)).await;
        let door = Door { namespace: place.namespace.clone(), resource, verb };
        let mut entry =
            inner.bulkheads.enter(door, asked).map_err(|wait| Refusal::SetApart(place.namespace.to_string(), wait))?;
        let usual = inner.gate.request_timeout();
        let timeout = entry.timeout().map_or(usual, |timeout| timeout.max(usual));
        let request = request(method, path, resource, timeout, body)?;
        // The last thing before it goes out: whether it may.
        if !inner.gate.may_write(shard) {
            return Err(Refusal::GateClosed);
        }
        let _in_flight = InFlight::one();
        let sent = Instant::now();
        let patience = inner.limiter.patience().min(timeout);
        let mut answering = std::pin::pin!(exchange(&inner.client, request, LONGEST));
        let mut answer = tokio::time::timeout(patience, &mut answering).await;
        if answer.is_err() {
            // Whoever waits for a place need not wait for this one.
            entry.is_late();
            turn.is_late();
            answer = tokio::time::timeout_at(sent + timeout, &mut answering).await;
        }
        let answer = match answer {
            Ok(answer) => answer,
            Err(_) => Err(Refusal::Unavailable(format!("no answer within {timeout:?}"))),
        };
        if let Err(Refusal::Unavailable(_)) = &answer {
            inner.unsettled()[shard.index()] = Some(sent + inner.gate.surely_over());
        }
        let took = sent.elapsed();
        let ended = inner.judge(&place.namespace, sent, took, patience, &answer);
        let why = match &answer {
            Err(refusal) if ended != Ended::Late => refusal.to_string(),
            _ => format!("the answer took {took:.1?}"),
        };
        entry.end(ended, &why);
        let result = answer.as_ref().map_or_else(Refusal::category, |_| "ok");
        metrics::counter!(instruments::WRITES_TOTAL, "verb" => verb, "resource" => resource, "result" => result)
            .increment(1);
        answer
    }
}

impl Inner {
    /// What an answer says of the server and of the namespace.
    fn judge(
        &self,
        namespace: &str,
        sent: Instant,
        took: Duration,
        patience: Duration,
        answer: &Result<String, Refusal>,
    ) -> Ended {
        let late = took > patience.max(LATE_ANSWER);
        let confined = late && self.limiter.server_answers_since(sent);
        match answer {
            Err(Refusal::Busy(_) | Refusal::Unavailable(_)) if !self.limiter.failed(namespace, sent) => {
                return Ended::NotItsFault;
            }
            Err(Refusal::Busy(wait)) => return Ended::Throttled(*wait),
            Err(Refusal::Unavailable(_)) => return Ended::Unanswered,
            Ok(_) if !confined => self.limiter.answered(namespace, took),
            _ => {}
        }
        match (late, confined) {
            (false, _) => Ended::InTime,
            (true, true) => Ended::Late,
            (true, false) => Ended::NotItsFault,
        }
    }

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
    body: Bytes,
) -> Result<Request<Body>, Refusal> {
    let is_delete = method == Method::DELETE;
    let manager = if is_delete { String::new() } else { format!("&fieldManager={FIELD_MANAGER}") };
    let uri = format!("{path}?timeout={}ms{manager}", timeout.as_millis());
    let content = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
    let mut request = Request::builder().method(method).uri(uri).header(http::header::CONTENT_TYPE, content);
    // What was removed is no longer of interest; what was written is compared with what was sent.
    if resource == CONFIGMAPS && is_delete {
        request = request.header(http::header::ACCEPT, METADATA_ONLY);
    }
    request.body(body.into()).map_err(|error| Refusal::Unavailable(error.to_string()))
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

fn bytes(body: &Value) -> Bytes {
    // A JSON value always serializes.
    serde_json::to_vec(body).unwrap_or_default().into()
}

/// Bytes that are sent, and the room that they take until then.
struct Sized {
    bytes: Vec<u8>,
    _room: Option<OwnedSemaphorePermit>,
}

impl AsRef<[u8]> for Sized {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

fn seen(object: ConfigMapObject) -> Result<Seen, Refusal> {
    object.record.map(|(_, seen)| seen).ok_or_else(|| unreadable("no uid or resourceVersion"))
}

fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Refusal> {
    serde_json::from_str(text).map_err(unreadable)
}
