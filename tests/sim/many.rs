//! Objects that want a copy in each of many namespaces: what people do with them, and what must hold.

use configmapsync_operator::rules::uid::Uid;
use http::Method;
use rand::Rng;
use rand::seq::IndexedRandom as _;
use serde_json::{Value, json};

use crate::laws::{annotation, mark, uid_of};
use crate::play::{SOURCES, TARGETS};
use crate::server::{Key, Object, Resource, Server};
use crate::sim::Sim;

/// The label that a selector asks for.
const LABEL: &str = "feed";

fn key(name: &str) -> Key {
    Key::new(Resource::ClusterSyncs, "", name)
}

fn pick(sim: &mut Sim, of: &[&'static str]) -> &'static str {
    of.choose(&mut sim.random).copied().unwrap_or_default()
}

/// Creates one.
pub fn create(sim: &mut Sim, number: usize) {
    let (source, map, name) = (pick(sim, &SOURCES), pick(sim, &["a", "b", "c"]), pick(sim, &["m0", "m1"]));
    let mut spec = json!({"sourceNamespace": source, "configMapName": map, "destinationName": name});
    if sim.random.random_bool(0.6) {
        spec["namespaceSelector"] = json!({"matchLabels": {LABEL: "yes"}});
    } else {
        spec["namespaces"] = json!([pick(sim, &TARGETS[..2]), pick(sim, &TARGETS[2..])]);
    }
    for (field, value, share) in [
        ("deletionPolicy", "Orphan", 0.15),
        ("sourceMissingPolicy", "Delete", 0.4),
        ("conflictPolicy", "Overwrite", 0.5),
    ] {
        if sim.random.random_bool(share) {
            spec[field] = json!(value);
        }
    }
    let key = key(&format!("all-{number}"));
    sim.server.request(Method::POST, &key.collection(), &json!({"metadata": {"name": key.name}, "spec": spec}));
}

/// Puts the label on a namespace, or takes it off.
pub fn label(sim: &mut Sim) {
    let value = if sim.random.random_bool(0.7) { json!("yes") } else { Value::Null };
    let name = pick(sim, &TARGETS);
    let patch = json!({"metadata": {"labels": {LABEL: value}}});
    sim.server.request(Method::PATCH, &format!("/api/v1/namespaces/{name}"), &patch);
}

/// Changes one, or deletes it.
pub fn change(sim: &mut Sim) {
    let all: Vec<Key> = sim.server.objects(Resource::ClusterSyncs).map(|(key, _)| key.clone()).collect();
    let Some(key) = all.choose(&mut sim.random).cloned() else { return };
    let spec = match sim.random.random_range(0..6) {
        0 => json!({"destinationName": pick(sim, &["m0", "m1"])}),
        1 => json!({"configMapName": pick(sim, &["a", "b", "c"])}),
        2 => json!({"excludeNamespaces": [pick(sim, &TARGETS)]}),
        3 => json!({"suspend": sim.random.random_bool(0.5)}),
        4 => json!({"conflictPolicy": pick(sim, &["Fail", "Overwrite"])}),
        _ => {
            sim.server.request(Method::DELETE, &key.path(), &Value::Null);
            return;
        }
    };
    sim.server.request(Method::PATCH, &key.path(), &json!({"spec": spec}));
}

/// Ends what would keep things from settling.
pub fn make_peace(sim: &mut Sim) {
    let all: Vec<Key> = sim.server.objects(Resource::ClusterSyncs).map(|(key, _)| key.clone()).collect();
    for key in all {
        sim.server.request(Method::PATCH, &key.path(), &json!({"spec": {"suspend": false}}));
    }
}

// --- the laws -----------------------------------------------------------------------------------------------------

/// The UID of the namespace that a copy's marks name, where it is one of many.
pub fn namespace_of(copy: &Value) -> Option<Uid> {
    let at = annotation(copy, "at").filter(|_| is_one_of_many(copy))?;
    Uid::parse(at.split('/').next()?)
}

/// Whether a copy's marks name an object without a namespace.
pub fn is_one_of_many(copy: &Value) -> bool {
    annotation(copy, "sync").is_some_and(|sync| sync.starts_with('/'))
}

fn text<'a>(spec: &'a Value, field: &str) -> &'a str {
    spec[field].as_str().unwrap_or_default()
}

fn selects(spec: &Value, namespace: &Object) -> bool {
    let metadata = &namespace["metadata"];
    let name = &metadata["name"];
    let excluded = spec["excludeNamespaces"].as_array().is_some_and(|all| all.contains(name));
    let meant = match spec["namespaces"].as_array() {
        Some(names) => names.contains(name),
        None => metadata["labels"][LABEL] == "yes",
    };
    meant && !excluded && metadata["deletionTimestamp"].is_null()
}

fn condition<'a>(object: &'a Value, kind: &str, field: &str) -> &'a str {
    let conditions = object["status"]["conditions"].as_array();
    let found = conditions.and_then(|all| all.iter().find(|it| it["type"] == kind));
    found.and_then(|it| it[field].as_str()).unwrap_or_default()
}

/// Whether all of them are in order, and every status is true.
pub fn in_order(server: &Server) -> Result<(), String> {
    for (key, object) in server.objects(Resource::ClusterSyncs) {
        one_in_order(server, object).map_err(|why| format!("{}: {why}; {}", key.name, object["status"]))?;
    }
    for (key, copy) in server.objects(Resource::ConfigMaps).filter(|(_, copy)| is_one_of_many(copy)) {
        let uid = mark(copy);
        let owner = server.objects(Resource::ClusterSyncs).find(|(_, object)| uid_of(object) == uid);
        if owner.is_none() && stands_where_written(server, key, copy) {
            return Err(format!("{}/{} is a copy whose sync is gone", key.namespace, key.name));
        }
    }
    Ok(())
}

fn one_in_order(server: &Server, object: &Object) -> Result<(), String> {
    if !object["metadata"]["deletionTimestamp"].is_null() {
        return Err("it is still going".to_owned());
    }
    let (spec, status) = (&object["spec"], &object["status"]);
    if spec["suspend"] == true {
        return Ok(());
    }
    if status["observedGeneration"] != object["metadata"]["generation"] {
        return Err("its status is of another generation".to_owned());
    }
    let name = text(spec, "destinationName");
    let ready = condition(object, "Ready", "status") == "True";
    let reason = condition(object, "Ready", "reason");
    let selected: Vec<String> = server
        .objects(Resource::Namespaces)
        .filter(|(_, namespace)| selects(spec, namespace))
        .map(|(key, _)| key.name.clone())
        .collect();
    let ours = |place: &Key, copy: &Value| mark(copy) == uid_of(object) && stands_where_written(server, place, copy);
    let standing: Vec<&Key> = server
        .objects(Resource::ConfigMaps)
        .filter(|(place, copy)| is_one_of_many(copy) && ours(place, copy))
        .map(|(place, _)| place)
        .collect();
    let Some(source) = server.object(&Key::map(text(spec, "sourceNamespace"), text(spec, "configMapName"))) else {
        let adopted = |place: &&&Key| server.object(place).is_some_and(|copy| annotation(copy, "adopted").is_none());
        if ready {
            return Err("it is Ready without a source".to_owned());
        }
        let left = standing.iter().filter(adopted).find(|place| selected.contains(&place.namespace));
        return match left {
            Some(place) if spec["sourceMissingPolicy"] == "Delete" => {
                Err(format!("{}/{} outlived its source", place.namespace, place.name))
            }
            _ => Ok(()),
        };
    };
    if selected.is_empty() {
        let expected = if standing.is_empty() { "NoNamespaceMatches" } else { "SelectionEmptied" };
        return if reason == expected { Ok(()) } else { Err(format!("nothing is selected, and it says {reason:?}")) };
    }
    let mut synced = 0;
    for namespace in &selected {
        let place = Key::map(namespace, name);
        match server.object(&place) {
            Some(copy) if ours(&place, copy) && copy["data"] == source["data"] => synced += 1,
            Some(copy) if ours(&place, copy) && copy["immutable"] != true => {
                return Err(format!("{namespace}/{name} holds {} and not {}", copy["data"], source["data"]));
            }
            // Who owns the place by age may have no source.
            None if is_contested(server, &place) => {}
            None => return Err(format!("{namespace}/{name} is missing")),
            // Somebody else's: the status has to say so.
            Some(_) => {}
        }
    }
    let elsewhere = standing.iter().find(|place| place.name != name || !selected.contains(&place.namespace));
    if let Some(place) = elsewhere {
        return Err(format!("{}/{} is not wanted any more", place.namespace, place.name));
    }
    let count = |field: &str| status["namespaces"][field].as_u64().unwrap_or(0) as usize;
    let told = [count("selected"), count("synced"), count("pending"), count("failed")];
    let truth = [selected.len(), synced, 0, selected.len() - synced];
    if told != truth {
        return Err(format!("its status counts {told:?}, not {truth:?}"));
    }
    if ready != (synced == selected.len()) {
        return Err(format!("{synced} of {} are in order, and Ready is {ready}", selected.len()));
    }
    Ok(())
}

/// Whether several want a place.
fn is_contested(server: &Server, place: &Key) -> bool {
    let namespace = server.object(&Key::new(Resource::Namespaces, "", &place.namespace));
    let wants = |object: &Object| {
        let spec = &object["spec"];
        text(spec, "destinationName") == place.name && namespace.is_some_and(|namespace| selects(spec, namespace))
    };
    server.objects(Resource::ClusterSyncs).filter(|(_, object)| wants(object)).count() > 1
}

fn stands_where_written(server: &Server, key: &Key, copy: &Value) -> bool {
    let namespace = server.object(&Key::new(Resource::Namespaces, "", &key.namespace));
    let uid = namespace.and_then(|namespace| namespace["metadata"]["uid"].as_str());
    uid.is_some_and(|uid| annotation(copy, "at") == Some(&format!("{uid}/{}", key.name)))
}
