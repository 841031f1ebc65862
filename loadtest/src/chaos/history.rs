//! What happened, as the API server's audit log tells it: in the order of the store, each write with who made it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::fleet::SHARD_LEASE;
use configmapsync_operator::api::names::{ANNOTATION_AT, ANNOTATION_SOURCE, ANNOTATION_SYNC, FINALIZER};
use configmapsync_operator::rules::shard::Shard;
use jiff::Timestamp;
use serde_json::Value;
use testbed::AuditEvent;

use super::{load, many};
use crate::copies::Place;
use crate::fleet::is_session_of;

/// The resources of which the audit log has to keep the objects.
pub const OBJECTS: [(&str, &str); 7] = [
    ("", "configmaps"),
    ("", "namespaces"),
    ("coordination.k8s.io", "leases"),
    ("apps.kapendra.com", "configmapsyncs"),
    ("apps.kapendra.com", "configmapsyncs/status"),
    ("apps.kapendra.com", "clusterconfigmapsyncs"),
    ("apps.kapendra.com", "clusterconfigmapsyncs/status"),
];

const AGENT: &str = "configmapsync-operator/";
const CONFLICT: u16 = 409;

/// A write that took effect, or a replica's that was refused for a conflict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When the request came in.
    pub begun: Timestamp,
    /// When it was over.
    pub over: Timestamp,
    /// The identity of the replica that made it; nothing when it was somebody else.
    pub by: Option<String>,
    /// Whether it was refused.
    pub refused: bool,
    /// What it did, or would have done.
    pub what: What,
}

/// What a write did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A replica took a shard.
    Tenure(Shard),
    /// A source has a new edition.
    Source {
        /// Its name.
        name: String,
        /// Its edition.
        edition: u64,
        /// Its resourceVersion.
        version: u64,
    },
    /// A sync came or changed, its status aside. One object's copies stand in namespaces, and each of these is as good as a
    /// sync: it has a UID by which its copy's shard is found, and lives as long as it has the label.
    Sync {
        /// Its uid.
        uid: String,
        /// The name of its source.
        source: String,
        /// How far it is.
        life: Life,
    },
    /// A status was written.
    Status {
        /// The sync's uid.
        uid: String,
        /// The version of the source that it names.
        source: u64,
        /// The version of the copy that it names; that of an object with many copies names none.
        copy: Option<u64>,
    },
    /// A copy was written.
    Copy {
        /// Where it stands.
        place: Place,
        /// The uid of its sync, or of its namespace; nothing when a hand wrote what does not concern it.
        sync: Option<String>,
        /// What it holds; nothing when it is no edition of its source.
        edition: Option<u64>,
        /// Its resourceVersion.
        version: u64,
    },
    /// A copy was deleted.
    CopyGone(Place),
}

/// How far a sync is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It has no finalizer yet.
    New,
    /// It has.
    Live,
    /// It is being deleted.
    Deleting,
    /// It is gone.
    Gone,
}

/// All writes so far.
#[derive(Debug, Default)]
pub struct History {
    events: Vec<Event>,
    /// The source of each sync, by uid: what answers a deletion does not name it.
    sources: BTreeMap<String, String>,
}

impl History {
    /// Takes in requests that came after those before, and returns all writes, in the order of the store.
    pub fn take_in(&mut self, requests: &[AuditEvent]) -> &[Event] {
        let mut news = Vec::new();
        // The answer to a deletion tells no version: such a one stands where it stands in the log.
        let mut latest = 0;
        for request in requests {
            if let Some((version, event)) = self.event(request) {
                latest = latest.max(version.unwrap_or(0));
                news.push((version.unwrap_or(latest), event));
            }
        }
        news.sort_by_key(|(version, _)| *version);
        self.events.extend(news.into_iter().map(|(_, event)| event));
        &self.events
    }

    /// How many shards were ever taken.
    pub fn shards_taken(&self) -> usize {
        let shard = |event: &Event| if let What::Tenure(shard) = event.what { Some(shard) } else { None };
        self.events.iter().filter_map(shard).collect::<BTreeSet<_>>().len()
    }

    /// What a request did, if it did anything that is of interest, and the resourceVersion that it made.
    fn event(&mut self, request: &AuditEvent) -> Option<(Option<u64>, Event)> {
        let refused = request.code == CONFLICT;
        if !request.is_write() || !(refused || (200..300).contains(&request.code)) {
            return None;
        }
        let by = identity(&request.user_agent);
        let begun = request.time;
        let over = begun + request.latency;
        if refused {
            by.as_ref()?;
            return Some((None, Event { begun, over, by, refused, what: refused_write(request)? }));
        }
        let version = number(&request.answer["metadata"]["resourceVersion"]);
        if version.is_some() && version == number(&request.sent["metadata"]["resourceVersion"]) {
            // It changed nothing.
            return None;
        }
        let what = match (request.resource.as_str(), request.subresource.as_str()) {
            ("leases", _) => tenure(request, by.as_deref()?)?,
            ("configmaps", _) if request.namespace == load::HOME => source(request, version?)?,
            ("configmaps", _) => copy(request, version)?,
            ("configmapsyncs" | "clusterconfigmapsyncs", "status") => status(request)?,
            ("configmapsyncs" | "clusterconfigmapsyncs", _) => self.sync(request)?,
            ("namespaces", _) => namespace(request)?,
            _ => return None,
        };
        Some((version, Event { begun, over, by, refused, what }))
    }

    fn sync(&mut self, request: &AuditEvent) -> Option<What> {
        let answer = &request.answer;
        if answer["kind"] == "Status" {
            let uid = answer["details"]["uid"].as_str()?.to_owned();
            return Some(What::Sync { source: self.sources.get(&uid)?.clone(), uid, life: Life::Gone });
        }
        let uid = answer["metadata"]["uid"].as_str()?.to_owned();
        let source = answer["spec"]["configMapName"].as_str()?.to_owned();
        self.sources.insert(uid.clone(), source.clone());
        let held = answer["metadata"]["finalizers"].as_array().is_some_and(|all| all.contains(&FINALIZER.into()));
        let life = match (answer["metadata"]["deletionTimestamp"].is_string(), held) {
            (true, true) => Life::Deleting,
            (true, false) => Life::Gone,
            (false, true) => Life::Live,
            (false, false) => Life::New,
        };
        Some(What::Sync { uid, source, life })
    }
}

/// How much there was to check.
impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenures = self.events.iter().filter(|event| matches!(event.what, What::Tenure(_))).count();
        let writes = self.events.iter().filter(|event| event.by.is_some() && !event.refused).count() - tenures;
        let refused = self.events.iter().filter(|event| event.refused).count();
        write!(f, "{writes} writes of replicas under {tenures} tenures checked, and {refused} that were refused")
    }
}

/// The identity in the operator's user agent, `configmapsync-operator/VERSION (IDENTITY)`.
fn identity(agent: &str) -> Option<String> {
    let (_, identity) = agent.strip_prefix(AGENT)?.split_once('(')?;
    Some(identity.strip_suffix(')')?.to_owned())
}

fn number(value: &Value) -> Option<u64> {
    value.as_str()?.parse().ok()
}

/// Only a swap that the holder made itself begins a tenure.
fn tenure(request: &AuditEvent, by: &str) -> Option<What> {
    let shard = request.answer["metadata"]["name"].as_str()?.strip_prefix(SHARD_LEASE)?.parse().ok()?;
    let holder = request.sent["spec"]["holderIdentity"].as_str()?;
    is_session_of(holder, by).then_some(What::Tenure(Shard::new(shard)?))
}

fn source(request: &AuditEvent, version: u64) -> Option<What> {
    let name = request.answer["metadata"]["name"].as_str()?.to_owned();
    let edition = load::edition(&name, &data(&request.sent))?;
    Some(What::Source { name, edition, version })
}

fn namespace(request: &AuditEvent) -> Option<What> {
    let metadata = &request.answer["metadata"];
    let life = if many::is_selected(metadata["name"].as_str()?, metadata)? { Life::Live } else { Life::Gone };
    Some(What::Sync { uid: metadata["uid"].as_str()?.to_owned(), source: many::MANY.to_owned(), life })
}

fn copy(request: &AuditEvent, version: Option<u64>) -> Option<What> {
    let name = |value: &Value| value["metadata"]["name"].as_str().map(str::to_owned);
    let name = Some(request.name.clone()).filter(|name| !name.is_empty()).or_else(|| name(&request.sent))?;
    let place = (request.namespace.clone(), name);
    if request.verb == "delete" {
        return Some(What::CopyGone(place));
    }
    let annotations = &request.sent["metadata"]["annotations"];
    let sync = match annotations[ANNOTATION_SYNC].as_str() {
        Some(mark) if mark.starts_with('/') => annotations[ANNOTATION_AT].as_str().and_then(|at| at.split('/').next()),
        mark => mark.and_then(|mark| mark.rsplit('/').next()),
    };
    let sync = sync.map(str::to_owned);
    let source = annotations[ANNOTATION_SOURCE].as_str().and_then(|mark| mark.split('/').nth(1));
    let edition = source.and_then(|source| load::edition(source, &data(&request.sent)));
    Some(What::Copy { place, sync, edition, version: version? })
}

fn status(request: &AuditEvent) -> Option<What> {
    let uid = request.answer["metadata"]["uid"].as_str()?.to_owned();
    let status = &request.sent["status"];
    let named = |what: &str| number(&status[what]["resourceVersion"]).unwrap_or(0);
    let copy = (request.resource == "configmapsyncs").then(|| named("copy"));
    Some(What::Status { uid, source: named("source"), copy })
}

/// Only whom it concerns: the answer tells of no version, and often of no object.
fn refused_write(request: &AuditEvent) -> Option<What> {
    if request.resource == "configmaps" {
        return copy(request, Some(0));
    }
    let uid = request.sent["metadata"]["uid"].as_str()?.to_owned();
    let is_status = matches!(request.resource.as_str(), "configmapsyncs" | "clusterconfigmapsyncs");
    is_status.then_some(What::Status { uid, source: 0, copy: None })
}

fn data(object: &Value) -> BTreeMap<String, String> {
    let data = object["data"].as_object().into_iter().flatten();
    data.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
