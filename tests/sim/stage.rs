//! A small stage for a scene that is written out: one source, one sync, one copy, and replicas.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::laws;
use crate::server::{Answer, Key};
use crate::sim::Sim;

/// A stage without anybody on it: namespaces `src`, `dst`, `syncs`.
pub fn stage() -> Sim {
    crate::sim::log();
    let mut sim = Sim::new(1);
    for name in ["src", "dst", "syncs"] {
        put(&mut sim, Method::POST, "/api/v1/namespaces", json!({"metadata": {"name": name}}));
    }
    sim
}

/// A request of somebody, which must be granted.
pub fn put(sim: &mut Sim, method: Method, path: &str, body: Value) -> Answer {
    let (answer, _) = sim.server.request(method, path, &body);
    assert!(answer.code < 300, "{path}: {}", answer.body);
    answer
}

/// Creates `src/<name>` with this number in it, or writes it anew.
pub fn source(sim: &mut Sim, name: &str, n: u64) {
    let key = Key::map("src", name);
    let body = json!({"metadata": {"name": name}, "data": {"from": name, "n": n.to_string()}});
    let (method, path) =
        if sim.server.object(&key).is_some() { (Method::PUT, key.path()) } else { (Method::POST, key.collection()) };
    put(sim, method, &path, body);
}

/// Creates a sync of `src/cm` into `dst/cm`, with these fields changed or added.
pub fn sync(sim: &mut Sim, name: &str, more: Value) {
    let mut spec = json!({"sourceNamespace": "src", "configMapName": "cm", "destinationNamespace": "dst"});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let path = Key::sync("syncs", name).collection();
    put(sim, Method::POST, &path, json!({"metadata": {"name": name}, "spec": spec}));
}

/// Merges into an object.
pub fn patch(sim: &mut Sim, key: &Key, body: Value) {
    put(sim, Method::PATCH, &key.path(), body);
}

/// Deletes an object.
pub fn delete(sim: &mut Sim, key: &Key) {
    put(sim, Method::DELETE, &key.path(), Value::Null);
}

/// Whether all is as it should be.
pub fn settled(sim: &Sim) -> Result<(), String> {
    sim.fine()?;
    laws::settled(&sim.server, &sim.replicas, &sim.laws.protected)
}

/// Waits until all is as it should be.
#[track_caller]
pub fn until_settled(sim: &mut Sim, within: Duration) -> Duration {
    let mut why = String::new();
    let took = sim.run_until(within, |sim| settled(sim).map_err(|not| why = not).is_ok());
    took.unwrap_or_else(|| panic!("not settled after {within:?}: {why}"))
}

/// The places `<namespace><number>/<name>`.
pub fn places(namespace: &str, name: &str, count: usize) -> Vec<Key> {
    (0..count).map(|number| Key::map(&format!("{namespace}{number}"), name)).collect()
}

/// Creates a sync of `src/<map>` for each of these places, and its namespace where there is none.
pub fn fan_out(sim: &mut Sim, map: &str, places: &[Key]) {
    for Key { namespace, name, .. } in places {
        let body = json!({"metadata": {"name": namespace}});
        sim.server.request(Method::POST, "/api/v1/namespaces", &body);
        let spec = json!({"configMapName": map, "destinationNamespace": namespace, "destinationName": name});
        sync(sim, &format!("{namespace}.{name}"), spec);
    }
}

/// The sync that [`fan_out`] made for a place.
pub fn sync_for(place: &Key) -> Key {
    Key::sync("syncs", &format!("{}.{}", place.namespace, place.name))
}

/// How many of these places hold this number.
pub fn with_number(sim: &Sim, places: &[Key], n: u64) -> usize {
    let n = n.to_string();
    places.iter().filter(|place| sim.server.object(place).is_some_and(|copy| copy["data"]["n"] == n.as_str())).count()
}
