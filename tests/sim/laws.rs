//! What must hold, whatever happens: at each write, once things have settled, and at rest.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use configmapsync_operator::rules::shard::{SHARDS, Shard};
use configmapsync_operator::rules::uid::Uid;
use http::Method;
use serde_json::Value;

use crate::many;
use crate::replica::Replica;
use crate::server::{Effect, Key, Object, Resource, Server};
use crate::wire::Sent;

/// What our labels and annotations begin with.
const PREFIX: &str = "configmapsync.apps.kapendra.com/";
/// The names of shards' Leases begin so.
pub const SHARD_LEASE: &str = "configmapsync-shard-";

/// UIDs of objects that are somebody else's.
pub type Protected = BTreeSet<String>;

/// The laws, and what they have seen.
#[derive(Default)]
pub struct Laws {
    /// Requests keep to what the protocol assumes: then no write of a former holder takes effect, but for one of a copy
    /// that it sent while it held the shard, and that admission kept.
    pub assumptions_hold: bool,
    /// What was broken.
    pub broken: Vec<String>,
    /// Writes of former holders that took effect.
    pub stale: usize,
    /// Writes that took effect.
    pub writes: usize,
    /// Objects that no replica may write, by UID.
    pub protected: Protected,
    /// Who took a shard, and when; the last one is last.
    leadership: BTreeMap<usize, Vec<(String, Duration)>>,
}

impl Laws {
    /// A replica's write took effect; `kept`: after admission kept it.
    pub fn wrote(&mut self, server: &Server, now: Duration, sent: &Sent, kept: bool, effect: &Effect) {
        match effect.key.resource {
            Resource::Leases => self.lease(now, effect),
            Resource::ConfigMaps => {
                self.copy(now, sent, effect);
                self.one_writer(server, now, sent, kept, effect);
            }
            Resource::Syncs | Resource::ClusterSyncs => {
                if sent.request.method() == Method::DELETE {
                    self.breach(now, sent, "a sync was deleted by a replica");
                }
                self.one_writer(server, now, sent, false, effect);
            }
            Resource::Events => {}
            Resource::Namespaces | Resource::Crds => self.breach(now, sent, "that is not ours to write"),
        }
    }

    fn lease(&mut self, now: Duration, effect: &Effect) {
        let Some(shard) = effect.key.name.strip_prefix(SHARD_LEASE).and_then(|shard| shard.parse().ok()) else {
            return;
        };
        let Some(after) = &effect.after else { return };
        if let Some(holder) = replica_of(&after["spec"]["holderIdentity"]) {
            self.leadership.entry(shard).or_default().push((holder.to_owned(), now));
        }
    }

    fn one_writer(&mut self, server: &Server, now: Duration, sent: &Sent, kept: bool, effect: &Effect) {
        let Some(shard) = shard_of(effect) else {
            self.breach(now, sent, "a write that belongs to no sync");
            return;
        };
        self.writes += 1;
        let who = format!("r{}", sent.replica);
        if self.may_write(server, effect, shard, &who, now) {
            return;
        }
        self.stale += 1;
        let sent_in_time = kept && self.may_write(server, effect, shard, &who, sent.at);
        if self.assumptions_hold && !sent_in_time {
            let tenure = self.leadership.get(&shard).and_then(|leadership| leadership.last()).cloned();
            self.breach(now, sent, &format!("{} of shard {shard} is held by {tenure:?}", effect.key.name));
        }
    }

    /// Whether this replica held the shard then; or what it deletes is what another sync left, and it held that of a sync
    /// which wants its place.
    fn may_write(&self, server: &Server, effect: &Effect, shard: usize, who: &str, then: Duration) -> bool {
        let held = |shard| self.holder_at(shard, then) == Some(who);
        let wants = |sync: &Object| effect.after.is_none() && destination(sync) == effect.key;
        let mut wanting =
            server.objects(Resource::Syncs).filter(|(_, sync)| wants(sync)).filter_map(|(_, sync)| uid_of(sync));
        held(shard) || wanting.any(|uid| held(Shard::of(uid).index()))
    }

    fn copy(&mut self, now: Duration, sent: &Sent, effect: &Effect) {
        if effect.after.as_ref().is_some_and(|after| after["data"]["shared"] == "no" && mark(after).is_some()) {
            self.breach(now, sent, "content that its owner does not share was written");
        }
        let Some(before) = &effect.before else { return };
        let ours = mark(before).is_some();
        if is_in(&self.protected, before) {
            self.breach(now, sent, "somebody else's object was written");
        }
        // Our marks come off a copy that outlives its object.
        let lets_go = |after: &Object| mark(after).is_none() && after["data"] == before["data"];
        if annotation(before, "protect").is_some() && !effect.after.as_ref().is_some_and(lets_go) {
            self.breach(now, sent, "what its owner protects was written");
        }
        if sent.request.method() == Method::DELETE {
            if annotation(before, "sync").is_none() || annotation(before, "adopted").is_some() {
                self.breach(now, sent, "what we did not make was deleted");
            }
            return;
        }
        let Some(after) = &effect.after else { return };
        // What carries no mark of ours is adopted, whatever it holds.
        if ours
            && before["data"]["from"] == after["data"]["from"]
            && let (Some(older), Some(newer)) = (number(before), number(after))
            && newer < older
        {
            self.breach(now, sent, &format!("a copy went back from {older} to {newer}"));
        }
    }

    /// The replica that took a shard last.
    pub fn holder(&self, shard: usize) -> Option<&str> {
        self.holder_at(shard, Duration::MAX)
    }

    /// The replica that had taken a shard last by then.
    fn holder_at(&self, shard: usize, then: Duration) -> Option<&str> {
        let leadership = self.leadership.get(&shard)?;
        leadership.iter().rev().find(|(_, since)| *since <= then).map(|(holder, _)| holder.as_str())
    }

    fn breach(&mut self, now: Duration, sent: &Sent, what: &str) {
        let request = &sent.request;
        let (method, path) = (request.method(), request.uri().path());
        self.broken.push(format!(
            "at {:.3} s: {what}: r{} sent {method} {path} at {:.3} s",
            now.as_secs_f64(),
            sent.replica,
            sent.at.as_secs_f64()
        ));
    }
}

fn is_in(protected: &Protected, object: &Value) -> bool {
    object["metadata"]["uid"].as_str().is_some_and(|uid| protected.contains(uid))
}

/// The replica of a session.
pub fn replica_of(session: &Value) -> Option<&str> {
    session.as_str()?.split('-').next().filter(|name| !name.is_empty())
}

/// The shard that a write was for: that of the object, and for one of many copies that of its namespace.
fn shard_of(effect: &Effect) -> Option<usize> {
    let marked = [&effect.after, &effect.before].into_iter().flatten().find(|object| mark(object).is_some());
    let namespace = marked.and_then(|copy| many::namespace_of(copy));
    namespace.or_else(|| sync_of(effect)).map(|uid| Shard::of(uid).index())
}

/// The sync that a write was for.
fn sync_of(effect: &Effect) -> Option<Uid> {
    let either = [&effect.after, &effect.before];
    let mut objects = either.into_iter().flatten();
    match effect.key.resource {
        Resource::Syncs | Resource::ClusterSyncs => Uid::parse(objects.next()?["metadata"]["uid"].as_str()?),
        _ => objects.find_map(|object| mark(object)),
    }
}

/// One of our annotations.
pub fn annotation<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object["metadata"]["annotations"][format!("{PREFIX}{name}")].as_str()
}

/// The sync on a copy's mark.
pub fn mark(object: &Value) -> Option<Uid> {
    Uid::parse(annotation(object, "sync")?.rsplit('/').next()?)
}

fn number(object: &Object) -> Option<u64> {
    object["data"]["n"].as_str()?.parse().ok()
}

// --- once things have settled ------------------------------------------------------------------------------------

/// Whether all is as it should be; else one thing that is not.
pub fn settled(server: &Server, replicas: &BTreeMap<usize, Replica>, protected: &Protected) -> Result<(), String> {
    shards_are_even(server, replicas)?;
    in_order_everywhere(server, protected)
}

/// Whether copies and syncs are as they should be.
pub fn in_order_everywhere(server: &Server, protected: &Protected) -> Result<(), String> {
    let mut wanting: BTreeMap<Key, Vec<&Object>> = BTreeMap::new();
    for (key, sync) in server.objects(Resource::Syncs) {
        if is_going(sync) {
            return Err(format!("{}/{} is still going", key.namespace, key.name));
        }
        if sync["spec"]["suspend"] != true {
            wanting.entry(destination(sync)).or_default().push(sync);
        }
    }
    for (place, syncs) in &wanting {
        contested(server, place, syncs, protected)?;
    }
    many::in_order(server)?;
    for (key, map) in server.objects(Resource::ConfigMaps).filter(|(_, map)| !many::is_one_of_many(map)) {
        // What another sync wants is left for it to take over, when it can.
        if !wanting.contains_key(key) {
            no_orphan(server, key, map)?;
        }
    }
    Ok(())
}

fn contested(server: &Server, place: &Key, syncs: &[&Object], protected: &Protected) -> Result<(), String> {
    let standing = server.object(place);
    let owner =
        standing.and_then(|copy| mark(copy)).and_then(|uid| syncs.iter().find(|sync| uid_of(sync) == Some(uid)));
    for sync in syncs {
        let is_owner =
            syncs.len() == 1 || owner.is_some_and(|owner| owner["metadata"]["uid"] == sync["metadata"]["uid"]);
        let told = |why: String| format!("{} -> {}/{}: {why}", name(sync), place.namespace, place.name);
        if is_owner {
            in_order(server, place, sync, protected).map_err(told)?;
        } else if owner.is_some() && condition(sync, "Stalled") != Some("True") {
            return Err(told("the place is another sync's, and it does not say so".to_owned()));
        }
    }
    if syncs.len() > 1 && owner.is_none() {
        let sources = syncs.iter().filter(|sync| server.object(&source(sync)).is_some()).count();
        let fails = syncs.iter().any(|sync| sync["spec"]["conflictPolicy"] == "Fail");
        let may_wait = standing.is_some_and(|standing| fails || standing["immutable"] == true);
        if !may_wait
            && sources == syncs.len()
            && home(server, place).is_some()
            && !standing.is_some_and(|it| is_in(protected, it))
        {
            return Err(format!("{}/{} is wanted by {} and held by none", place.namespace, place.name, syncs.len()));
        }
    }
    Ok(())
}

fn in_order(server: &Server, place: &Key, sync: &Object, protected: &Protected) -> Result<(), String> {
    let status = &sync["status"];
    if status["observedGeneration"] != sync["metadata"]["generation"] {
        return Err(format!("its status is of generation {}", status["observedGeneration"]));
    }
    let ready = condition(sync, "Ready") == Some("True");
    let standing = server.object(place);
    if standing.is_some_and(|it| is_in(protected, it)) {
        return if ready { Err("it is Ready with somebody else's object".to_owned()) } else { Ok(()) };
    }
    let Some(source) = server.object(&source(sync)) else {
        let follows = sync["spec"]["sourceMissingPolicy"] == "Delete";
        return match standing {
            _ if ready => Err("it is Ready without a source".to_owned()),
            Some(copy)
                if follows
                    && mark(copy) == uid_of(sync)
                    && annotation(copy, "adopted").is_none()
                    && stands_where_written(server, place, copy) =>
            {
                Err("the copy outlived its source".to_owned())
            }
            _ => Ok(()),
        };
    };
    if home(server, place).is_none() {
        return if ready { Err("it is Ready without a namespace".to_owned()) } else { Ok(()) };
    }
    let copy = standing.ok_or_else(|| format!("there is no copy; status {status}"))?;
    let adopted =
        mark(copy).is_none() || annotation(copy, "adopted").is_some() || !stands_where_written(server, place, copy);
    let left_alone = copy["immutable"] == true || sync["spec"]["conflictPolicy"] == "Fail";
    if left_alone && adopted && condition(sync, "Stalled") == Some("True") {
        return Ok(()); // somebody took our marks off
    }
    for field in ["data", "binaryData"] {
        if copy[field] != source[field] {
            return Err(format!("{field} is {} and not {}; {}", copy[field], source[field], status["message"]));
        }
    }
    if !ready {
        return Err(format!("it is not Ready: {status}"));
    }
    for (told, object) in [("copy", copy), ("source", source)] {
        for (field, of) in [("uid", "uid"), ("resourceVersion", "resourceVersion")] {
            if status[told][field] != object["metadata"][of] {
                return Err(format!("its status tells of {told} {}, not {}", status[told], object["metadata"][of]));
            }
        }
    }
    Ok(())
}

/// Whether a copy's mark names this very place. One that somebody carried here does not, nor one that was created while
/// its namespace was made anew.
fn stands_where_written(server: &Server, key: &Key, copy: &Value) -> bool {
    let home = home(server, key).and_then(|home| home["metadata"]["uid"].as_str());
    home.is_some_and(|home| annotation(copy, "at") == Some(&format!("{home}/{}", key.name)))
}

fn no_orphan(server: &Server, key: &Key, map: &Object) -> Result<(), String> {
    let Some(uid) = mark(map).filter(|_| stands_where_written(server, key, map)) else { return Ok(()) };
    let owner = server.objects(Resource::Syncs).find(|(_, sync)| uid_of(sync) == Some(uid));
    match owner {
        None => Err(format!("{}/{} is a copy whose sync is gone", key.namespace, key.name)),
        // A move begins with the new copy: where that cannot be, the old one stays.
        Some((_, sync)) if condition(sync, "Ready") == Some("True") && destination(sync) != *key => {
            Err(format!("{}/{} stands where its sync {} wants nothing", key.namespace, key.name, name(sync)))
        }
        Some(_) => Ok(()),
    }
}

fn shards_are_even(server: &Server, replicas: &BTreeMap<usize, Replica>) -> Result<(), String> {
    let mut held: BTreeMap<String, usize> =
        replicas.values().filter(|it| it.takes_part()).map(|it| (it.name.clone(), 0)).collect();
    for (key, lease) in server.objects(Resource::Leases) {
        if key.name.starts_with(SHARD_LEASE)
            && let Some(holder) = replica_of(&lease["spec"]["holderIdentity"])
        {
            let Some(held) = held.get_mut(holder) else {
                return Err(format!("{} is held by {holder}, which does not run", key.name));
            };
            *held += 1;
        }
    }
    let (all, most) = (held.values().sum::<usize>(), held.values().max().copied().unwrap_or(0));
    if all != SHARDS || most - held.values().min().copied().unwrap_or(0) > 1 {
        return Err(format!("the shards are held so: {held:?}"));
    }
    Ok(())
}

fn home<'a>(server: &'a Server, place: &Key) -> Option<&'a Object> {
    server.object(&Key::new(Resource::Namespaces, "", &place.namespace)).filter(|home| !is_going(home))
}

fn is_going(object: &Value) -> bool {
    !object["metadata"]["deletionTimestamp"].is_null()
}

/// Its UID.
pub fn uid_of(object: &Value) -> Option<Uid> {
    Uid::parse(object["metadata"]["uid"].as_str()?)
}

fn name(sync: &Value) -> String {
    let part = |field: &str| sync["metadata"][field].as_str().unwrap_or_default().to_owned();
    format!("{}/{}", part("namespace"), part("name"))
}

/// Where a sync's source stands.
pub fn source(sync: &Value) -> Key {
    let spec = &sync["spec"];
    let text = |field: &str| spec[field].as_str().unwrap_or_default();
    Key::map(text("sourceNamespace"), text("configMapName"))
}

/// Where its copy is to stand.
pub fn destination(sync: &Value) -> Key {
    let spec = &sync["spec"];
    let text = |field: &str| spec[field].as_str().unwrap_or_default();
    Key::map(text("destinationNamespace"), spec["destinationName"].as_str().unwrap_or(text("configMapName")))
}

fn condition<'a>(sync: &'a Value, kind: &str) -> Option<&'a str> {
    let conditions = sync["status"]["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == kind)?["status"].as_str()
}
