//! What a write does, and what stands in its way.

use serde_json::{Map, Value, json};

use super::{Answer, Effect, Key, Object, Resource, Server, Target};

type Done = Result<(Answer, Option<Effect>), Answer>;

const MODIFIED: &str = "the object has been modified; please apply your changes to the latest version and try again";

impl Server {
    pub(super) fn create(&mut self, target: &Target, mut body: Value) -> Done {
        let name = body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let key = Key { name, ..target.key() };
        if key.name.is_empty() {
            return Err(Answer::invalid(&key, "metadata.name", "name or generateName is required"));
        }
        self.is_open(&key)?;
        if self.objects.contains_key(&key) {
            return Err(Answer::already_exists(&key));
        }
        if key.resource.is_ours() {
            body.as_object_mut().map(|body| body.remove("status"));
        }
        let metadata = &mut body["metadata"];
        if metadata["resourceVersion"].as_str().is_some_and(|version| !version.is_empty()) {
            return Err(Answer::with_version());
        }
        Ok(self.create_now(&key, target, body))
    }

    /// Whether something can be created in its namespace.
    fn is_open(&self, key: &Key) -> Result<(), Answer> {
        if key.namespace.is_empty() {
            return Ok(());
        }
        let namespace = Key::new(Resource::Namespaces, "", &key.namespace);
        let home = self.objects.get(&namespace).ok_or_else(|| Answer::not_found(&namespace))?;
        if home["metadata"]["deletionTimestamp"].is_null() { Ok(()) } else { Err(Answer::namespace_terminating(key)) }
    }

    fn create_now(&mut self, key: &Key, target: &Target, mut body: Value) -> (Answer, Option<Effect>) {
        let (api, kind) = key.resource.kind();
        (body["apiVersion"], body["kind"]) = (json!(api), json!(kind));
        let (uid, time) = (self.uid(), self.time());
        let metadata = &mut body["metadata"];
        metadata["name"] = json!(key.name);
        if !key.namespace.is_empty() {
            metadata["namespace"] = json!(key.namespace);
        }
        (metadata["uid"], metadata["creationTimestamp"]) = (json!(uid), json!(time));
        if key.resource.has_generation() {
            metadata["generation"] = json!(1);
        }
        metadata.as_object_mut().map(|metadata| metadata.remove("deletionTimestamp"));
        if key.resource == Resource::Namespaces {
            body["status"] = json!({"phase": "Active"});
        }
        if key.resource == Resource::ClusterSyncs {
            body["status"] = json!({"observedGeneration": -1});
        }
        if key.resource == Resource::Syncs {
            // The definition's default.
            body["status"] =
                json!({"destinationExists": false, "observedGeneration": -1, "retryCount": 0, "sourceExists": false});
        }
        managed(&mut body, target, &time);
        tidy(&mut body);
        let after = self.put(key, body, "ADDED");
        if key.resource == Resource::Namespaces {
            let root = Key::map(&key.name, "kube-root-ca.crt");
            self.request(
                http::Method::POST,
                &root.collection(),
                &json!({"metadata": {"name": root.name}, "data": {"ca.crt": "-"}}),
            );
        }
        let effect = Effect { key: key.clone(), before: None, after: Some(after.clone()) };
        (Answer::created((*after).clone()), Some(effect))
    }

    pub(super) fn update(&mut self, target: &Target, body: Value) -> Done {
        let key = target.key();
        let metadata = &body["metadata"];
        if metadata["name"].as_str().is_some_and(|name| name != key.name) {
            return Err(Answer::bad_request("the name of the object does not match the name on the URL"));
        }
        let (uid, version) = (text(&metadata["uid"]), text(&metadata["resourceVersion"]));
        let Some(before) = self.objects.get(&key).cloned() else {
            if key.resource != Resource::Leases {
                return Err(Answer::not_found(&key));
            }
            self.is_open(&key)?;
            if uid.is_some() {
                return Err(Answer::conflict(&key, "Precondition failed: UID in precondition, none in object meta"));
            }
            let mut body = body;
            body["metadata"].as_object_mut().map(|metadata| metadata.remove("resourceVersion"));
            return Ok(self.create_now(&key, target, body));
        };
        if uid.is_some_and(|uid| before["metadata"]["uid"] != uid) {
            return Err(Answer::conflict(&key, "Precondition failed: UID in precondition, another in object meta"));
        }
        match version {
            Some(version) if before["metadata"]["resourceVersion"] != version => {
                return Err(Answer::conflict(&key, MODIFIED));
            }
            None if key.resource == Resource::Leases || key.resource.is_ours() => {
                return Err(Answer::without_version(&key));
            }
            _ => {}
        }
        let after = if target.status { with_status(&before, &body) } else { replaced(&key, &before, body) };
        self.replace(&key, target, before, after)
    }

    pub(super) fn patch(&mut self, target: &Target, patch: &Value) -> Done {
        let key = target.key();
        let before = self.objects.get(&key).cloned().ok_or_else(|| Answer::not_found(&key))?;
        let mut merged = (*before).clone();
        merge(&mut merged, patch);
        if merged["metadata"]["resourceVersion"] != before["metadata"]["resourceVersion"] {
            return Err(Answer::conflict(&key, MODIFIED));
        }
        if merged["metadata"]["uid"] != before["metadata"]["uid"] {
            return Err(Answer::invalid(&key, "metadata.uid", "field is immutable"));
        }
        let after = if target.status { with_status(&before, &merged) } else { replaced(&key, &before, merged) };
        self.replace(&key, target, before, after)
    }

    fn replace(&mut self, key: &Key, target: &Target, before: Object, mut after: Value) -> Done {
        allowed(key, &before, &after)?;
        if key.resource.has_generation() && after["spec"] != before["spec"] {
            after["metadata"]["generation"] = json!(before["metadata"]["generation"].as_i64().unwrap_or(0) + 1);
        }
        tidy(&mut after);
        if same_but_for_managers(&before, &after) {
            return Ok((Answer::ok((*before).clone()), None));
        }
        let time = self.time();
        managed(&mut after, target, &time);
        let ends = !before["metadata"]["deletionTimestamp"].is_null() && !has_finalizers(&after);
        if ends {
            // The answer is the object without its last finalizer, under the version that it had.
            after["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
            self.remove(key);
            return Ok((Answer::ok(after), Some(Effect { key: key.clone(), before: Some(before), after: None })));
        }
        let after = self.put(key, after, "MODIFIED");
        let answer = Answer::ok((*after).clone());
        Ok((answer, Some(Effect { key: key.clone(), before: Some(before), after: Some(after) })))
    }

    pub(super) fn delete(&mut self, target: &Target, options: &Value) -> Done {
        let key = target.key();
        let before = self.objects.get(&key).cloned().ok_or_else(|| Answer::not_found(&key))?;
        let wanted = &options["preconditions"];
        for field in ["uid", "resourceVersion"] {
            if wanted[field].as_str().is_some_and(|value| before["metadata"][field] != value) {
                return Err(Answer::precondition_failed(&key, field));
            }
        }
        let after = self.delete_now(&key);
        let answer = match &after {
            Some(held) => (**held).clone(),
            None => {
                let (group, plural) = key.resource.group();
                let mut details = json!({"name": key.name, "kind": plural, "uid": before["metadata"]["uid"]});
                if !group.is_empty() {
                    details["group"] = json!(group);
                }
                json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
            }
        };
        Ok((Answer::ok(answer), Some(Effect { key, before: Some(before), after })))
    }

    /// Deletes; what is held by a finalizer, or is a namespace, is marked and returned.
    pub(super) fn delete_now(&mut self, key: &Key) -> Option<Object> {
        let before = self.objects.get(key).cloned()?;
        if !before["metadata"]["deletionTimestamp"].is_null() {
            return Some(before);
        }
        if !has_finalizers(&before) && key.resource != Resource::Namespaces {
            self.remove(key);
            return None;
        }
        let mut held = (*before).clone();
        held["metadata"]["deletionTimestamp"] = json!(self.time());
        if key.resource == Resource::Namespaces {
            held["status"]["phase"] = json!("Terminating");
        } else {
            held["metadata"]["deletionGracePeriodSeconds"] = json!(0);
        }
        if key.resource.has_generation() {
            held["metadata"]["generation"] = json!(held["metadata"]["generation"].as_i64().unwrap_or(0) + 1);
        }
        Some(self.put(key, held, "MODIFIED"))
    }
}

fn text(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| !text.is_empty())
}

fn has_finalizers(object: &Value) -> bool {
    object["metadata"]["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty())
}

/// `body` in the place of `before`: the server's own fields stay, and so does the status of what has one apart.
fn replaced(key: &Key, before: &Value, mut body: Value) -> Value {
    let (api, kind) = key.resource.kind();
    (body["apiVersion"], body["kind"]) = (json!(api), json!(kind));
    for field in ["name", "namespace", "uid", "creationTimestamp", "generation", "deletionTimestamp"] {
        body["metadata"][field] = before["metadata"][field].clone();
    }
    body["metadata"]["deletionGracePeriodSeconds"] = before["metadata"]["deletionGracePeriodSeconds"].clone();
    body["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
    body["metadata"]["managedFields"] = before["metadata"]["managedFields"].clone();
    if matches!(key.resource, Resource::Syncs | Resource::Namespaces) {
        body["status"] = before["status"].clone();
    }
    body
}

fn with_status(before: &Value, body: &Value) -> Value {
    let mut after = before.clone();
    after["status"] = body["status"].clone();
    // What the schema has defaults for.
    if let Some(status) = after["status"].as_object_mut() {
        for (field, value) in
            [("retryCount", json!(0)), ("sourceExists", json!(false)), ("destinationExists", json!(false))]
        {
            status.entry(field).or_insert(value);
        }
    }
    after
}

fn allowed(key: &Key, before: &Value, after: &Value) -> Result<(), Answer> {
    if key.resource == Resource::ConfigMaps && before["immutable"] == true {
        for field in ["data", "binaryData"] {
            if before[field] != after[field] {
                return Err(Answer::invalid(key, field, "field is immutable when `immutable` is set"));
            }
        }
        if after["immutable"] != true {
            return Err(Answer::invalid(key, "immutable", "field is immutable when `immutable` is set"));
        }
    }
    if !before["metadata"]["deletionTimestamp"].is_null() {
        let list = |object: &Value| object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
        let had = list(before);
        if list(after).iter().any(|finalizer| !had.contains(finalizer)) {
            let why = "no new finalizers can be added if the object is being deleted";
            return Err(Answer::invalid(key, "metadata.finalizers", why));
        }
    }
    Ok(())
}

fn same_but_for_managers(before: &Value, after: &Value) -> bool {
    let stripped = |object: &Value| {
        let mut object = object.clone();
        object["metadata"]["managedFields"] = Value::Null;
        object
    };
    stripped(before) == stripped(after)
}

/// Notes who wrote last. (The real server notes which fields, too.)
fn managed(object: &mut Value, target: &Target, time: &str) {
    let manager = target.query("fieldManager").unwrap_or_else(|| "unknown".to_owned());
    let (api, _) = target.resource.kind();
    let mut entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    entries.retain(|entry| entry["manager"] != manager.as_str());
    entries.push(json!({"manager": manager, "operation": "Update", "apiVersion": api, "time": time}));
    object["metadata"]["managedFields"] = json!(entries);
}

/// Fields that say nothing are not there.
fn tidy(object: &mut Value) {
    fn empty(value: &Value) -> bool {
        value.is_null() || value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.retain(|_, value| !empty(value));
    }
    if let Some(object) = object.as_object_mut() {
        object.retain(|name, value| name == "spec" || !empty(value));
    }
}

/// RFC 7386.
fn merge(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let Some(target) = target.as_object_mut() else { return };
    for (name, value) in patch {
        if value.is_null() {
            target.remove(name);
        } else {
            merge(target.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}
