//! A small model of the API server: what this operator asks of one, and as one answers it. `compare.rs` puts the same
//! requests to a real one.
//!
//! It knows nothing of time but what it is told, nothing of networks and nothing of the operator.

mod answer;
mod path;
mod rules;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

pub use answer::Answer;
pub use path::{Key, Resource, Target};
pub use watch::{Event, Watch};

/// The moment at which every play begins, by the calendar.
const EPOCH: i64 = 1_750_000_000;
/// Where the operator's Leases are.
pub const SYSTEM: &str = "configmapsync-system";
/// The Lease that kube-leader-election judges by the wall clock.
const FLEET_LEADER: &str = "configmapsync-fleet-leader";

/// A stored object.
pub type Object = Arc<Value>;

/// The API server and its store.
pub struct Server {
    /// The time, since the play began.
    pub now: Duration,
    objects: BTreeMap<Key, Object>,
    version: u64,
    /// What happened, in the order of versions; the watches are served from it.
    log: Vec<Event>,
    /// A watch from an older version is told to list anew.
    compacted: u64,
    random: StdRng,
    /// Lists of which the next page may be asked for.
    pages: BTreeMap<String, (u64, Vec<Object>)>,
    /// A list has at most so many items a page, whatever limit was asked for.
    pub page: usize,
    /// When the fleet leader's Lease was last written.
    leader_written: Duration,
}

/// What a write did.
pub struct Effect {
    /// What was written.
    pub key: Key,
    /// What stood there before.
    pub before: Option<Object>,
    /// What stands there now.
    pub after: Option<Object>,
}

/// What a request led to.
pub enum Outcome {
    /// An answer; and what was written, if something was.
    Answered(Answer, Option<Effect>),
    /// A watch is open.
    Watching(Watch),
}

impl Server {
    /// An empty one that serves the CRD.
    pub fn new(seed: u64) -> Self {
        let mut server = Self {
            now: Duration::ZERO,
            objects: BTreeMap::new(),
            version: 100,
            log: Vec::new(),
            compacted: 0,
            random: StdRng::seed_from_u64(seed),
            pages: BTreeMap::new(),
            page: 500,
            leader_written: Duration::ZERO,
        };
        for name in ["default", SYSTEM] {
            server.request(Method::POST, "/api/v1/namespaces", &json!({"metadata": {"name": name}}));
        }
        server
    }

    /// A request of somebody who is not a replica.
    pub fn request(&mut self, method: Method, path: &str, body: &Value) -> (Answer, Option<Effect>) {
        let content = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let separator = if path.contains('?') { '&' } else { '?' };
        let uri = format!("{path}{separator}fieldManager=somebody");
        let request = Request::builder().method(method).uri(uri).header("content-type", content).body(body);
        match self.handle(&request.unwrap()) {
            Outcome::Answered(answer, effect) => (answer, effect),
            Outcome::Watching(_) => panic!("a watch on {path} is nothing to be answered at once"),
        }
    }

    /// Answers a request.
    pub fn handle(&mut self, request: &Request<Vec<u8>>) -> Outcome {
        let Some(target) = Target::parse(request.uri()) else {
            return Outcome::Answered(Answer::no_such_path(), None);
        };
        let metadata_only = request
            .headers()
            .get("accept")
            .is_some_and(|accept| accept.to_str().unwrap_or_default().contains("as=PartialObjectMetadata"));
        if target.is_watch() {
            return match self.watch(&target, metadata_only) {
                Ok(watch) => Outcome::Watching(watch),
                Err(answer) => Outcome::Answered(answer, None),
            };
        }
        let body = match request.body().as_slice() {
            [] => Value::Null,
            bytes => match serde_json::from_slice(bytes) {
                Ok(body) => body,
                Err(_) => return Outcome::Answered(Answer::bad_request("the body is no JSON"), None),
            },
        };
        let done = match (request.method(), &target.name) {
            (&Method::GET, None) => self.list(&target).map(|list| (list, None)),
            (&Method::GET, Some(_)) => self.get(&target).map(|object| (object, None)),
            (&Method::POST, None) => self.create(&target, body),
            (&Method::PUT, Some(_)) => self.update(&target, body),
            (&Method::PATCH, Some(_)) => self.patch(&target, &body),
            (&Method::DELETE, Some(_)) => self.delete(&target, &body),
            _ => Err(Answer::no_such_path()),
        };
        match done {
            Ok((answer, effect)) => {
                let answer = if metadata_only { answer.metadata_only() } else { answer };
                Outcome::Answered(answer, effect)
            }
            Err(answer) => Outcome::Answered(answer, None),
        }
    }

    fn get(&self, target: &Target) -> Result<Answer, Answer> {
        let key = target.key();
        if key.resource == Resource::Crds {
            return Ok(Answer::ok(crd()));
        }
        let object = self.objects.get(&key).ok_or_else(|| Answer::not_found(&key))?;
        let mut object = (**object).clone();
        if key.name == FLEET_LEADER {
            object["spec"]["renewTime"] = json!(self.as_the_wall_clock_has_it(&object));
        }
        Ok(Answer::ok(object))
    }

    /// The crate that elects the fleet leader knows no clock but the machine's, which does not follow the play. So the time
    /// in that Lease is moved at the door: to just now, or to long ago if in the play it has run out.
    fn as_the_wall_clock_has_it(&self, lease: &Value) -> String {
        let duration = Duration::from_secs(lease["spec"]["leaseDurationSeconds"].as_u64().unwrap_or(0));
        let ran_out = self.now.saturating_sub(self.leader_written) >= duration;
        format!("{:.6}", jiff::Timestamp::now() - if ran_out { duration * 10 } else { Duration::ZERO })
    }

    fn list(&mut self, target: &Target) -> Result<Answer, Answer> {
        let (version, mut items) = match target.query("continue") {
            Some(token) => self.pages.remove(&token).ok_or_else(Answer::expired)?,
            None => {
                let all = self.objects.iter().filter(|(key, _)| target.selects(key)).map(|(_, object)| object.clone());
                (self.version, all.collect())
            }
        };
        let limit = target.query("limit").and_then(|limit| limit.parse().ok()).filter(|limit| *limit > 0);
        let mut metadata = json!({"resourceVersion": version.to_string()});
        let limit = limit.map(|limit: usize| limit.min(self.page));
        if let Some(limit) = limit.filter(|limit| *limit < items.len()) {
            let rest = items.split_off(limit);
            let token = format!("{version}-{}", self.random.random::<u64>());
            metadata["continue"] = json!(token);
            metadata["remainingItemCount"] = json!(rest.len());
            self.pages.insert(token, (version, rest));
        }
        let (api, kind) = target.resource.kind();
        let items = items.iter().map(|object| {
            let mut item = (**object).clone();
            // Items of the kinds that are built in do not say what they are.
            if let Some(item) = item.as_object_mut().filter(|_| !target.resource.is_ours()) {
                item.remove("kind");
                item.remove("apiVersion");
            }
            item
        });
        let items: Vec<Value> = items.collect();
        Ok(Answer::ok(json!({"apiVersion": api, "kind": format!("{kind}List"), "metadata": metadata, "items": items})))
    }

    fn watch(&mut self, target: &Target, metadata_only: bool) -> Result<Watch, Answer> {
        let from = target.query("resourceVersion").unwrap_or_default();
        let from: u64 = from.parse().map_err(|_| Answer::bad_request("a watch without a version is not modelled"))?;
        let seconds = target.query("timeoutSeconds").and_then(|seconds| seconds.parse().ok()).unwrap_or(290);
        let mut watch = Watch::new(target.clone(), metadata_only, self.now + Duration::from_secs(seconds), from);
        if from < self.compacted {
            watch.expire();
        } else {
            let next = self.log.partition_point(|event| event.version <= from);
            self.log[next..].iter().for_each(|event| watch.offer(event));
        }
        Ok(watch)
    }

    // --- for the play and its laws ---------------------------------------------------------------------------------

    /// An object.
    pub fn object(&self, key: &Key) -> Option<&Object> {
        self.objects.get(key)
    }

    /// All objects of a kind, in the order of their names.
    pub fn objects(&self, resource: Resource) -> impl Iterator<Item = (&Key, &Object)> {
        self.objects.iter().filter(move |(key, _)| key.resource == resource)
    }

    /// What happened since this version.
    pub fn since(&self, version: u64) -> &[Event] {
        &self.log[self.log.partition_point(|event| event.version <= version)..]
    }

    /// Forgets what happened: watches that are opened from an earlier version have to list anew.
    pub fn compact(&mut self) {
        self.compacted = self.version;
        self.log.clear();
        self.pages.clear();
    }

    /// The namespace controller: empties namespaces that are being deleted, then lets them go.
    pub fn empty_namespaces(&mut self) {
        let terminating = |object: &Value| !object["metadata"]["deletionTimestamp"].is_null();
        let doomed: BTreeSet<String> = self
            .objects(Resource::Namespaces)
            .filter(|(_, object)| terminating(object))
            .map(|(key, _)| key.name.clone())
            .collect();
        for namespace in doomed {
            let inside: Vec<Key> = self.objects.keys().filter(|key| key.namespace == namespace).cloned().collect();
            for key in &inside {
                if !terminating(&self.objects[key]) {
                    self.delete_now(key);
                }
            }
            if !self.objects.keys().any(|key| key.namespace == namespace) {
                self.remove(&Key::new(Resource::Namespaces, "", &namespace));
            }
        }
    }

    /// The time by the calendar.
    pub fn wall(&self) -> jiff::Timestamp {
        jiff::Timestamp::from_second(EPOCH).unwrap() + jiff::SignedDuration::try_from(self.now).unwrap()
    }

    fn time(&self) -> String {
        jiff::Timestamp::from_second(self.wall().as_second()).unwrap().to_string()
    }

    fn uid(&mut self) -> String {
        let hex = format!("{:032x}", self.random.random::<u128>());
        [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
    }

    fn put(&mut self, key: &Key, mut object: Value, kind: &'static str) -> Object {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let object = Arc::new(object);
        if kind != "DELETED" {
            self.objects.insert(key.clone(), object.clone());
        }
        self.log.push(Event::new(self.version, kind, key.clone(), object.clone()));
        if key.name == FLEET_LEADER {
            self.leader_written = self.now;
        }
        object
    }

    fn remove(&mut self, key: &Key) -> Option<Object> {
        let gone = self.objects.remove(key)?;
        self.put(key, (*gone).clone(), "DELETED");
        Some(gone)
    }
}

fn crd() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "configmapsyncs.apps.kapendra.com", "uid": "00000000-0000-0000-0000-00000000c4d0",
            "resourceVersion": "1", "creationTimestamp": "2025-01-01T00:00:00Z"},
        "spec": {"group": "apps.kapendra.com", "scope": "Namespaced",
            "names": {"plural": "configmapsyncs", "kind": "ConfigMapSync"}, "versions": []},
    })
}
