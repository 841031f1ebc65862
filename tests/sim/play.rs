//! What people do: sources that change, copies that are touched, syncs that come, move and go, namespaces that are
//! deleted, Leases that are edited by hand.

use http::Method;
use rand::Rng;
use rand::seq::IndexedRandom as _;
use serde_json::{Value, json};

use crate::laws::SHARD_LEASE;
use crate::many;
use crate::server::{Key, Resource, SYSTEM};
use crate::sim::Sim;

/// Namespaces of sources.
pub const SOURCES: [&str; 2] = ["src-0", "src-1"];
/// Namespaces of copies.
pub const TARGETS: [&str; 4] = ["dst-0", "dst-1", "dst-2", "dst-3"];
const TEAMS: [&str; 2] = ["team-0", "team-1"];
/// By this annotation a ConfigMap is to stay as it is.
const PROTECT: &str = "configmapsync.apps.kapendra.com/protect";
/// By this label a namespace refuses copies.
const ACCEPT: &str = "configmapsync.apps.kapendra.com/accept";
/// Syncs in the beginning.
const SYNCS: usize = 10;

/// Who does things.
#[derive(Default)]
pub struct People {
    /// The number in the newest content of all.
    n: u64,
    syncs: usize,
    many: usize,
    carried: usize,
}

impl People {
    /// What is there before anybody runs.
    pub fn begin(&mut self, sim: &mut Sim) {
        for name in SOURCES.iter().chain(&TARGETS).chain(&TEAMS).chain(&["elsewhere"]) {
            self.namespace(sim, name);
        }
        for namespace in SOURCES {
            for name in ["a", "b", "c"] {
                self.write_source(sim, namespace, name, false);
            }
        }
        // Somebody else's, in the way: one that is controlled, one that is immutable.
        let owner = json!([{"apiVersion": "v1", "kind": "Secret", "name": "x", "controller": true,
            "uid": "11111111-1111-1111-1111-111111111111"}]);
        self.foreign(sim, "dst-0", "taken-0", json!({"metadata": {"ownerReferences": owner}, "data": {"k": "v"}}));
        self.foreign(sim, "dst-1", "taken-1", json!({"immutable": true, "data": {"k": "v"}}));
        self.foreign(sim, "elsewhere", "a", json!({"data": {"k": "v"}}));
        // And one that may be adopted.
        self.map(sim, "dst-2", "before", json!({"data": {"k": "before"}}));
        for _ in 0..SYNCS {
            self.create_sync(sim);
        }
        (0..3).for_each(|_| many::label(sim));
        self.create_many(sim);
    }

    fn create_many(&mut self, sim: &mut Sim) {
        self.many += 1;
        many::create(sim, self.many);
    }

    fn namespace(&self, sim: &mut Sim, name: &str) {
        sim.server.request(Method::POST, "/api/v1/namespaces", &json!({"metadata": {"name": name}}));
    }

    fn map(&self, sim: &mut Sim, namespace: &str, name: &str, mut body: Value) {
        body["metadata"]["name"] = json!(name);
        sim.server.request(Method::POST, &Key::map(namespace, name).collection(), &body);
    }

    fn foreign(&self, sim: &mut Sim, namespace: &str, name: &str, body: Value) {
        self.map(sim, namespace, name, body);
        self.protect(sim, &Key::map(namespace, name));
    }

    fn protect(&self, sim: &mut Sim, key: &Key) {
        if let Some(uid) = sim.server.object(key).and_then(|object| object["metadata"]["uid"].as_str()) {
            sim.laws.protected.insert(uid.to_owned());
        }
    }

    /// Creates a source, or changes it.
    fn write_source(&mut self, sim: &mut Sim, namespace: &str, name: &str, immutable: bool) {
        self.n += 1;
        let key = Key::map(namespace, name);
        let mut body = json!({"metadata": {"name": name},
            "data": {"from": format!("{namespace}/{name}"), "n": self.n.to_string()}});
        if immutable {
            body["immutable"] = json!(true);
        }
        if sim.server.request(Method::PUT, &key.path(), &body).0.code != 200 {
            sim.server.request(Method::DELETE, &key.path(), &Value::Null);
            sim.server.request(Method::POST, &key.collection(), &body);
        }
        self.protect(sim, &key);
    }

    fn create_sync(&mut self, sim: &mut Sim) {
        let mut pick = |of: &[&str]| of.choose(&mut sim.random).copied().unwrap_or_default().to_owned();
        let (namespace, source) = (pick(&TEAMS), pick(&SOURCES));
        let (map, target) = (pick(&["a", "b", "c"]), pick(&TARGETS));
        let place = pick(&["p0", "p1", "p2", "p3", "p4", "p5", "before", "taken-0", "taken-1"]);
        self.syncs += 1;
        let mut spec = json!({"sourceNamespace": source, "configMapName": map, "destinationNamespace": target,
            "destinationName": place});
        for (field, value, share) in [
            ("deletionPolicy", "Orphan", 0.15),
            ("sourceMissingPolicy", "Delete", 0.4),
            ("conflictPolicy", "Fail", 0.15),
        ] {
            if sim.random.random_bool(share) {
                spec[field] = json!(value);
            }
        }
        let key = Key::sync(&namespace, &format!("s{}", self.syncs));
        sim.server.request(Method::POST, &key.collection(), &json!({"metadata": {"name": key.name}, "spec": spec}));
    }

    fn any(&self, sim: &mut Sim, resource: Resource, fits: impl Fn(&Key, &Value) -> bool) -> Option<(Key, Value)> {
        let all: Vec<(Key, Value)> = sim
            .server
            .objects(resource)
            .filter(|(key, object)| fits(key, object))
            .map(|(key, object)| (key.clone(), (**object).clone()))
            .collect();
        all.choose(&mut sim.random).cloned()
    }

    fn any_copy(&self, sim: &mut Sim) -> Option<(Key, Value)> {
        let protected = sim.laws.protected.clone();
        let theirs = |map: &Value| map["metadata"]["uid"].as_str().is_some_and(|uid| protected.contains(uid));
        self.any(sim, Resource::ConfigMaps, |key, map| {
            TARGETS.contains(&&*key.namespace) && key.name != "kube-root-ca.crt" && !theirs(map)
        })
    }

    /// Does one thing.
    pub fn act(&mut self, sim: &mut Sim) {
        let pick = |sim: &mut Sim, of: &[&'static str]| of.choose(&mut sim.random).copied().unwrap_or_default();
        match sim.random.random_range(0..100) {
            0..3 => self.create_many(sim),
            3..7 => many::change(sim),
            7..11 => many::label(sim),
            11..35 => {
                let (namespace, name) = (pick(sim, &SOURCES), pick(sim, &["a", "b", "c"]));
                let immutable = sim.random.random_bool(0.08);
                self.write_source(sim, namespace, name, immutable);
            }
            35..40 => {
                let (namespace, name) = (pick(sim, &SOURCES), pick(sim, &["a", "b", "c"]));
                sim.server.request(Method::DELETE, &Key::map(namespace, name).path(), &Value::Null);
            }
            40..48 => self.create_sync(sim),
            48..54 => {
                if let Some((key, _)) = self.any(sim, Resource::Syncs, |_, _| true) {
                    sim.server.request(Method::DELETE, &key.path(), &Value::Null);
                }
            }
            54..62 => self.change_sync(sim),
            62..76 => self.touch_copy(sim),
            76 => self.accept(sim, json!("false")),
            77..79 => {
                let name = pick(sim, &TARGETS);
                sim.server.request(Method::DELETE, &format!("/api/v1/namespaces/{name}"), &Value::Null);
            }
            79 => self.accept(sim, Value::Null),
            80..84 => TARGETS.iter().for_each(|name| self.namespace(sim, name)),
            84..88 => self.carry_a_copy(sim),
            88..92 => self.touch_sync(sim),
            _ => self.edit_leases(sim),
        }
    }

    /// The owner of a namespace wants no copies there, or wants them again.
    fn accept(&self, sim: &mut Sim, value: Value) {
        let name = TARGETS.choose(&mut sim.random).copied().unwrap_or_default();
        let label = json!({"metadata": {"labels": {ACCEPT: value}}});
        sim.server.request(Method::PATCH, &format!("/api/v1/namespaces/{name}"), &label);
    }

    fn change_sync(&mut self, sim: &mut Sim) {
        let Some((key, _)) = self.any(sim, Resource::Syncs, |_, _| true) else { return };
        let choose = |sim: &mut Sim, of: &[&'static str]| of.choose(&mut sim.random).copied().unwrap_or_default();
        let spec = match sim.random.random_range(0..4) {
            0 => json!({"destinationNamespace": choose(sim, &TARGETS)}),
            1 => json!({"destinationName": choose(sim, &["p0", "p1", "p2", "before"])}),
            2 => json!({"configMapName": choose(sim, &["a", "b", "c"])}),
            _ => json!({"suspend": sim.random.random_bool(0.5)}),
        };
        sim.server.request(Method::PATCH, &key.path(), &json!({"spec": spec}));
    }

    fn touch_copy(&mut self, sim: &mut Sim) {
        let Some((key, copy)) = self.any_copy(sim) else { return };
        let patch = match sim.random.random_range(0..9) {
            0 | 1 => {
                sim.server.request(Method::DELETE, &key.path(), &Value::Null);
                return;
            }
            2 | 3 => json!({"data": {"k": "tampered", "n": null}}),
            4 => json!({"metadata": {"labels": {"team": "blue"}, "annotations": {"note": "theirs"}}}),
            5 => json!({"metadata": {"finalizers": ["example.com/held"]}}),
            6 => json!({"metadata": {"annotations": {PROTECT: "true"}}}),
            7 => json!({"metadata": {"annotations": {PROTECT: null}}}),
            _ if copy["metadata"]["annotations"].is_object() => {
                json!({"metadata": {"annotations": null, "labels": null}})
            }
            _ => return,
        };
        sim.server.request(Method::PATCH, &key.path(), &patch);
    }

    /// Somebody copies a copy, marks and all, to where it does not belong.
    fn carry_a_copy(&mut self, sim: &mut Sim) {
        let Some((_, mut copy)) = self.any_copy(sim) else { return };
        self.carried += 1;
        let name = format!("carried-{}", self.carried);
        let metadata = json!({"name": name, "labels": copy["metadata"]["labels"],
            "annotations": copy["metadata"]["annotations"]});
        copy["metadata"] = metadata;
        self.foreign(sim, "elsewhere", &name, copy);
    }

    fn touch_sync(&mut self, sim: &mut Sim) {
        let Some((key, _)) = self.any(sim, Resource::Syncs, |_, _| true) else { return };
        if sim.random.random_bool(0.5) {
            sim.server.request(Method::PATCH, &key.path(), &json!({"metadata": {"labels": {"touched": "yes"}}}));
        } else {
            let status = json!({"status": {"message": "nonsense", "syncStatus": "Failed"}});
            sim.server.request(Method::PATCH, &format!("{}/status", key.path()), &status);
        }
    }

    fn edit_leases(&mut self, sim: &mut Sim) {
        let shard = |key: &Key, _: &Value| key.name.starts_with(SHARD_LEASE);
        let session = |key: &Key, _: &Value| key.name.starts_with("configmapsync-session-");
        let edit = sim.random.random_range(0..8);
        let chosen = match edit {
            0..6 => self.any(sim, Resource::Leases, shard),
            _ => self.any(sim, Resource::Leases, session),
        };
        let Some((key, _)) = chosen else { return };
        match edit {
            0 | 1 | 6 => drop(sim.server.request(Method::DELETE, &key.path(), &Value::Null)),
            2 => {
                let cleared = json!({"spec": {"holderIdentity": null}});
                sim.server.request(Method::PATCH, &key.path(), &cleared);
            }
            3 => {
                let renamed = json!({"spec": {"holderIdentity": "joe"}});
                sim.server.request(Method::PATCH, &key.path(), &renamed);
            }
            4 => drop(sim.server.request(Method::PATCH, &key.path(), &json!({"metadata": {"labels": null}}))),
            5 if sim.random.random_bool(0.2) => {
                let all: Vec<String> = sim.server.objects(Resource::Leases).map(|(key, _)| key.path()).collect();
                all.iter().for_each(|path| drop(sim.server.request(Method::DELETE, path, &Value::Null)));
            }
            7 => {
                let short = json!({"spec": {"leaseDurationSeconds": 1, "renewTime": "9999-12-31T23:59:59.999999Z"}});
                sim.server.request(Method::PATCH, &key.path(), &short);
            }
            _ => {}
        }
        debug_assert_eq!(key.namespace, SYSTEM);
    }

    /// Lets go of what would keep things from settling.
    pub fn make_peace(&mut self, sim: &mut Sim) {
        TARGETS.iter().for_each(|name| self.namespace(sim, name));
        let all =
            |sim: &Sim, resource| -> Vec<Key> { sim.server.objects(resource).map(|(key, _)| key.clone()).collect() };
        for key in all(sim, Resource::ConfigMaps) {
            sim.server.request(Method::PATCH, &key.path(), &json!({"metadata": {"finalizers": null}}));
            let guard = json!({"metadata": {"annotations": {PROTECT: null}}});
            sim.server.request(Method::PATCH, &key.path(), &guard);
        }
        for name in TARGETS {
            let guard = json!({"metadata": {"labels": {ACCEPT: null}}});
            sim.server.request(Method::PATCH, &format!("/api/v1/namespaces/{name}"), &guard);
        }
        for key in all(sim, Resource::Syncs) {
            sim.server.request(Method::PATCH, &key.path(), &json!({"spec": {"suspend": false}}));
        }
        many::make_peace(sim);
    }
}
