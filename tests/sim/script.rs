//! The requests that are put to both API servers.

use http::Method;
use serde_json::{Value, json};

const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";
const FINALIZER: &str = "configmapsync.apps.kapendra.com/finalizer";

/// One request.
pub struct Step {
    /// What it is for.
    pub what: &'static str,
    pub method: Method,
    pub path: String,
    pub content: &'static str,
    pub accept: Option<&'static str>,
    pub body: Value,
    /// The answer goes by this name from now on.
    pub keep: Option<&'static str>,
    /// Whether its answer is compared.
    pub compared: bool,
}

impl Step {
    fn keep(self, name: &'static str) -> Self {
        Self { keep: Some(name), ..self }
    }
    fn accept(self, accept: &'static str) -> Self {
        Self { accept: Some(accept), ..self }
    }
    fn in_passing(self) -> Self {
        Self { compared: false, ..self }
    }
}

fn step(what: &'static str, method: Method, path: String, body: Value) -> Step {
    let content = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
    Step { what, method, path, content, accept: None, body, keep: None, compared: true }
}

fn get(what: &'static str, path: &str) -> Step {
    step(what, Method::GET, path.to_owned(), Value::Null)
}
fn post(what: &'static str, path: &str, body: Value) -> Step {
    step(what, Method::POST, path.to_owned(), body)
}
fn put(what: &'static str, path: &str, body: Value) -> Step {
    step(what, Method::PUT, path.to_owned(), body)
}
fn patch(what: &'static str, path: &str, body: Value) -> Step {
    step(what, Method::PATCH, path.to_owned(), body)
}
fn delete(what: &'static str, path: &str, body: Value) -> Step {
    step(what, Method::DELETE, path.to_owned(), body)
}

fn preconditions(uid: &str, version: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background",
        "preconditions": {"uid": uid, "resourceVersion": version}})
}

const NOBODY: &str = "11111111-2222-3333-4444-555555555555";

/// The script; `base` begins the names of its namespaces.
pub fn script(base: &str) -> Vec<Step> {
    let (first, second) = (format!("{base}-a"), format!("{base}-b"));
    let mut steps = Vec::new();
    for name in [&first, &second] {
        let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        steps.push(post("a namespace", "/api/v1/namespaces", body));
    }
    steps.extend(config_maps(&first));
    steps.extend(immutable(&first));
    steps.extend(held(&first));
    steps.extend(leases(&first));
    steps.extend(syncs(&first));
    steps.extend(lists_and_watches(&first));
    steps.extend(terminating(&second, base));
    steps
}

fn config_maps(namespace: &str) -> Vec<Step> {
    let all = format!("/api/v1/namespaces/{namespace}/configmaps");
    let cm = format!("{all}/cm");
    let map = |metadata: Value, k: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"k": k}});
    let named = json!({"name": "cm"});
    vec![
        get("not there", &cm),
        get("a namespace", &format!("/api/v1/namespaces/{namespace}")),
        get("no such namespace", "/api/v1/namespaces/no-such-namespace"),
        post("no such namespace", "/api/v1/namespaces/no-such-namespace/configmaps", map(named.clone(), "1")),
        get("in no such namespace", "/api/v1/namespaces/no-such-namespace/configmaps/cm"),
        put("not there", &cm, map(named.clone(), "1")),
        put(
            "not there, with uid and version",
            &cm,
            map(json!({"name": "cm", "uid": NOBODY, "resourceVersion": "1"}), "1"),
        ),
        delete("not there", &cm, Value::Null),
        patch("not there", &cm, json!({"data": {"k": "1"}})),
        post("created", &all, map(named.clone(), "1")).keep("one"),
        post("there already", &all, map(named.clone(), "1")),
        post("with a version", &all, map(json!({"name": "other", "resourceVersion": "7"}), "1")),
        get("there", &cm),
        get("metadata only", &cm).accept(METADATA),
        put("no change", &cm, map(json!({"name": "cm", "uid": "$one.uid", "resourceVersion": "$one.rv"}), "1")),
        put("a change", &cm, map(json!({"name": "cm", "uid": "$one.uid", "resourceVersion": "$one.rv"}), "2"))
            .keep("two"),
        put("an old version", &cm, map(json!({"name": "cm", "uid": "$one.uid", "resourceVersion": "$one.rv"}), "3")),
        put("another uid", &cm, map(json!({"name": "cm", "uid": NOBODY, "resourceVersion": "$two.rv"}), "3")),
        put("without version", &cm, map(named.clone(), "3")).keep("three"),
        put(
            "metadata only",
            &cm,
            map(
                json!({"name": "cm", "uid": "$one.uid", "resourceVersion": "$three.rv",
            "labels": {"l": "1"}, "annotations": {"a": "1"}}),
                "4",
            ),
        )
        .accept(METADATA)
        .keep("four"),
        put(
            "labels go, data goes",
            &cm,
            json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "cm", "uid": "$one.uid", "resourceVersion": "$four.rv"}}),
        ),
        put("another name", &cm, map(json!({"name": "other"}), "5")),
        patch("merged", &cm, json!({"data": {"k": "6", "l": "7"}, "metadata": {"labels": {"l": "2"}}})).keep("six"),
        patch("merged, with a null", &cm, json!({"data": {"l": null}, "metadata": {"labels": null}})).keep("seven"),
        patch("an old version", &cm, json!({"metadata": {"resourceVersion": "$six.rv"}, "data": {"k": "8"}})),
        delete("an old version", &cm, preconditions("$one.uid", "$six.rv")),
        delete("another uid", &cm, preconditions(NOBODY, "$seven.rv")),
        delete("this version", &cm, preconditions("$one.uid", "$seven.rv")),
        delete("gone", &cm, preconditions("$one.uid", "$seven.rv")),
        post("created anew", &all, map(named, "1")).keep("anew"),
        put("the former one", &cm, map(json!({"name": "cm", "uid": "$one.uid", "resourceVersion": "$seven.rv"}), "9")),
        delete("metadata only", &cm, Value::Null).accept(METADATA),
    ]
}

fn immutable(namespace: &str) -> Vec<Step> {
    let all = format!("/api/v1/namespaces/{namespace}/configmaps");
    let cm = format!("{all}/fixed");
    let map = |k: &str, immutable: bool| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "fixed"}, "immutable": immutable, "data": {"k": k}});
    vec![
        post("immutable", &all, map("1", true)),
        put("its data", &cm, map("2", true)),
        put("no more", &cm, map("1", false)),
        put("no change", &cm, map("1", true)),
        patch("its labels", &cm, json!({"metadata": {"labels": {"l": "1"}}})),
        patch("its data", &cm, json!({"data": {"k": "2"}})),
        patch("its binary data", &cm, json!({"binaryData": {"b": "AAAA"}})),
        delete("it", &cm, Value::Null),
    ]
}

fn held(namespace: &str) -> Vec<Step> {
    let all = format!("/api/v1/namespaces/{namespace}/configmaps");
    let cm = format!("{all}/held");
    let metadata = json!({"name": "held", "finalizers": ["example.com/held"]});
    vec![
        post("held", &all, json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})).keep("held"),
        delete("it is held", &cm, preconditions("$held.uid", "$held.rv")).keep("going"),
        delete("once more", &cm, Value::Null),
        post("there still", &all, json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "held"}})),
        patch("its data", &cm, json!({"data": {"k": "v"}})),
        patch("one more finalizer", &cm, json!({"metadata": {"finalizers": ["example.com/held", "example.com/too"]}})),
        patch("let go", &cm, json!({"metadata": {"finalizers": null}})),
        get("gone", &cm),
    ]
}

fn leases(namespace: &str) -> Vec<Step> {
    let all = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases");
    let at = format!("{all}/l");
    let lease = |metadata: Value, holder: Value| {
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata,
            "spec": {"holderIdentity": holder, "leaseDurationSeconds": 10}})
    };
    let mine = |version: &str| json!({"name": "l", "uid": "$lease.uid", "resourceVersion": version});
    vec![
        get("not there", &at),
        put(
            "not there, with a uid",
            &at,
            lease(json!({"name": "l", "uid": NOBODY, "resourceVersion": "1"}), json!("a")),
        ),
        put("not there, with a version", &at, lease(json!({"name": "l", "resourceVersion": "1"}), json!("a"))),
        delete("it", &at, Value::Null),
        put("not there, with nothing", &at, lease(json!({"name": "l"}), json!("a"))),
        delete("it", &at, Value::Null),
        patch("not there", &at, json!({"spec": {"holderIdentity": "b"}})),
        post("created", &all, lease(json!({"name": "l"}), json!("a"))).keep("lease"),
        post("there already", &all, lease(json!({"name": "l"}), json!("b"))),
        put("taken", &at, lease(mine("$lease.rv"), json!("b"))).keep("taken"),
        put("an old version", &at, lease(mine("$lease.rv"), json!("c"))),
        put("without version", &at, lease(json!({"name": "l"}), json!("c"))),
        put("another uid", &at, lease(json!({"name": "l", "uid": NOBODY, "resourceVersion": "$taken.rv"}), json!("c"))),
        patch("merged", &at, json!({"spec": {"holderIdentity": null}})),
        delete("an old version", &at, preconditions("$lease.uid", "$taken.rv")),
        delete("it", &at, Value::Null),
        put("the former one", &at, lease(mine("$taken.rv"), json!("d"))),
    ]
}

fn syncs(namespace: &str) -> Vec<Step> {
    let all = format!("/apis/apps.kapendra.com/v1/namespaces/{namespace}/configmapsyncs");
    let (at, status) = (format!("{all}/s"), format!("{all}/s/status"));
    let sync = |metadata: Value, target: &str, message: &str| {
        json!({"apiVersion": "apps.kapendra.com/v1", "kind": "ConfigMapSync", "metadata": metadata,
            "spec": {"sourceNamespace": "src", "destinationNamespace": target, "configMapName": "cm",
                "conflictPolicy": "Overwrite", "deletionPolicy": "Delete", "sourceMissingPolicy": "Keep", "suspend": false},
            "status": {"message": message, "syncStatus": "Success"}})
    };
    let named = json!({"name": "s"});
    let at_version = |version: &str| json!({"name": "s", "uid": "$sync.uid", "resourceVersion": version});
    vec![
        get("not there", &at),
        put(
            "status, not there",
            &status,
            sync(json!({"name": "s", "uid": NOBODY, "resourceVersion": "1"}), "dst", "x"),
        ),
        post("created", &all, sync(named.clone(), "dst", "a status is not taken from it")).keep("sync"),
        put("its status", &status, sync(at_version("$sync.rv"), "ignored", "told")).keep("told"),
        put("the same status", &status, sync(at_version("$told.rv"), "dst", "told")),
        put("its status, an old version", &status, sync(at_version("$sync.rv"), "dst", "late")),
        put("its status, without version", &status, sync(named.clone(), "dst", "late")),
        put(
            "its status, another uid",
            &status,
            sync(json!({"name": "s", "uid": NOBODY, "resourceVersion": "$told.rv"}), "dst", "late"),
        ),
        patch(
            "its finalizer",
            &at,
            json!({"metadata": {"uid": "$sync.uid", "resourceVersion": "$told.rv",
            "finalizers": [FINALIZER]}}),
        )
        .keep("finalizer"),
        patch(
            "its finalizer, an old version",
            &at,
            json!({"metadata": {"uid": "$sync.uid", "resourceVersion": "$told.rv",
            "finalizers": []}}),
        ),
        patch(
            "its finalizer, another uid",
            &at,
            json!({"metadata": {"uid": NOBODY, "resourceVersion": "$finalizer.rv",
            "finalizers": []}}),
        ),
        patch("its spec", &at, json!({"spec": {"destinationNamespace": "moved"}})).keep("moved"),
        patch("its status, by its own address", &at, json!({"status": {"message": "not so"}})),
        delete("it is held", &at, Value::Null).keep("going"),
        patch("one more finalizer", &at, json!({"metadata": {"finalizers": [FINALIZER, "example.com/too"]}})),
        put("its status as it goes", &status, sync(at_version("$going.rv"), "dst", "going")).keep("last"),
        patch(
            "let go",
            &at,
            json!({"metadata": {"uid": "$sync.uid", "resourceVersion": "$last.rv", "finalizers": []}}),
        ),
        get("gone", &at),
        put("the status of what is gone", &status, sync(at_version("$last.rv"), "dst", "late")),
        patch(
            "the finalizer of what is gone",
            &at,
            json!({"metadata": {"resourceVersion": "$last.rv", "finalizers": []}}),
        ),
    ]
}

fn lists_and_watches(namespace: &str) -> Vec<Step> {
    let all = format!("/api/v1/namespaces/{namespace}/configmaps");
    let chosen = "fieldSelector=metadata.name%21%3Dkube-root-ca.crt";
    let map =
        |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": "v"}});
    let mut steps: Vec<Step> = ["a", "b", "c"].into_iter().map(|name| post("one of three", &all, map(name))).collect();
    let since = format!("{all}?watch=true&timeoutSeconds=1&resourceVersion=$list.rv&{chosen}");
    steps.extend([
        get("a list", &format!("{all}?{chosen}")).keep("list"),
        get("a list of metadata", &format!("{all}?{chosen}")).accept(METADATA_LIST),
        get("a page", &format!("{all}?{chosen}&limit=2")),
        get("nonsense for a next page", &format!("{all}?{chosen}&limit=2&continue=nonsense")).in_passing(),
        get("by name", &format!("{all}?fieldSelector=metadata.name%3Db")),
        get("of a namespace that does not exist", "/api/v1/namespaces/no-such-namespace/configmaps"),
        patch("a change", &format!("{all}/a"), json!({"data": {"k": "w"}})),
        patch("no change", &format!("{all}/a"), json!({"data": {"k": "w"}})),
        delete("one goes", &format!("{all}/b"), Value::Null),
        post("one comes", &all, map("d")),
        get("what happened", &since),
        get("what happened, metadata only", &since).accept(METADATA),
        get("a version that is too old", &format!("{all}?watch=true&timeoutSeconds=1&resourceVersion=1")).in_passing(),
        get("no such kind", "/apis/apps.kapendra.com/v1/nonsense").in_passing(),
    ]);
    steps
}

fn terminating(namespace: &str, base: &str) -> Vec<Step> {
    let all = format!("/api/v1/namespaces/{namespace}/configmaps");
    let at = format!("/api/v1/namespaces/{namespace}");
    let metadata = json!({"name": "held", "finalizers": ["example.com/held"]});
    let map = |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
    vec![
        post("held", &all, json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})),
        delete("its namespace", &at, Value::Null),
        post("in a namespace that is going", &all, map("cm")),
        patch("what is in it", &format!("{all}/held"), json!({"data": {"k": "v"}})).in_passing(),
        post("there already", "/api/v1/namespaces", json!({"metadata": {"name": namespace}})),
        patch("let go", &format!("{all}/held"), json!({"metadata": {"finalizers": null}})).in_passing(),
        delete("the other one", &format!("/api/v1/namespaces/{base}-a"), Value::Null).in_passing(),
    ]
}
