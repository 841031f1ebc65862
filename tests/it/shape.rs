//! `spec.keys` and `spec.metadata` of both kinds: which keys a copy has, and which labels and annotations.

use configmapsync_operator::api::ClusterConfigMapSync;
use configmapsync_operator::api::shape::is_reserved;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use testbed::AuditEvent;

use crate::harness::{Bed, Case, PREFIX, eventually, seconds, stays};
use crate::requests::{SHIPPED_LEASE, asked};

/// An object of either kind whose source is `src/cm`, and whose copy is `dst/cm`.
struct Shaping<'a> {
    case: Case<'a>,
    many: bool,
}

impl Shaping<'static> {
    async fn shared(test: &str, many: bool) -> Self {
        let test = format!("{test}-{}", if many { "many" } else { "one" });
        Self { case: Case::shared(&test).await, many }
    }
}

impl Shaping<'_> {
    fn objects(&self) -> Api<ClusterConfigMapSync> {
        Api::all(self.case.client.clone())
    }

    fn name(&self) -> String {
        self.case.name("object")
    }

    async fn create(&self, more: Value) {
        if !self.many {
            return drop(self.case.sync("s", more).await);
        }
        let mut spec =
            json!({ "sourceNamespace": self.case.src, "configMapName": "cm", "namespaces": [self.case.dst] });
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let object = serde_json::from_value(json!({ "metadata": { "name": self.name() }, "spec": spec })).unwrap();
        self.objects().create(&PostParams::default(), &object).await.unwrap();
    }

    async fn edit(&self, spec: Value) {
        let patch = json!({ "spec": spec });
        if self.many {
            self.objects().patch(&self.name(), &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
        } else {
            self.case.patch_sync("s", patch).await;
        }
    }

    /// The object as JSON, without what the server keeps for itself.
    async fn object(&self) -> Value {
        match self.many {
            true => serde_json::to_value(self.objects().get(&self.name()).await.unwrap()).unwrap(),
            false => serde_json::to_value(self.case.syncs().get("s").await.unwrap()).unwrap(),
        }
    }

    /// Waits until a condition of the newest generation has this status and reason; returns the message.
    async fn until(&self, kind: &str, status: &str, reason: &str) -> String {
        eventually(format!("{kind} is {status}, {reason}"), async || {
            let object = self.object().await;
            let told = &object["status"];
            let is_it = |it: &Value| it["type"] == kind && it["status"] == status && it["reason"] == reason;
            let found = told["conditions"].as_array().is_some_and(|all| all.iter().any(is_it));
            match found && told["observedGeneration"] == object["metadata"]["generation"] {
                true => Ok(told["message"].as_str().unwrap_or_default().to_owned()),
                false => Err(told.to_string()),
            }
        })
        .await
    }

    async fn until_ready(&self) {
        self.until("Ready", "True", if self.many { "AllCopiesInOrder" } else { "AllComponentsReady" }).await;
    }

    /// Waits until the copy is as `look` wants it, and the object says that it is in order.
    async fn until_copy(&self, what: &str, look: impl Fn(&ConfigMap) -> bool) -> ConfigMap {
        let copy = eventually(what, async || match self.case.get(&self.case.dst, "cm").await {
            Some(copy) if look(&copy) => Ok(copy),
            other => Err(format!("{other:?}")),
        })
        .await;
        self.until_ready().await;
        copy
    }

    async fn delete(&self) {
        match self.many {
            true => drop(self.objects().delete(&self.name(), &DeleteParams::default()).await.unwrap()),
            false => self.case.delete_sync("s").await,
        }
        self.case.until_gone(&self.case.dst, "cm").await;
    }
}

/// Labels or annotations that are not the operator's own.
fn others(entries: Option<&std::collections::BTreeMap<String, String>>) -> Value {
    let entries = entries.into_iter().flatten().filter(|(name, _)| !name.starts_with(PREFIX));
    entries.map(|(name, value)| (name.clone(), json!(value))).collect::<serde_json::Map<_, _>>().into()
}

fn labels(copy: &ConfigMap) -> Value {
    others(copy.metadata.labels.as_ref())
}

fn annotations(copy: &ConfigMap) -> Value {
    others(copy.metadata.annotations.as_ref())
}

fn mark(copy: &ConfigMap, name: &str) -> Option<String> {
    copy.metadata.annotations.as_ref()?.get(&format!("{PREFIX}{name}")).cloned()
}

/// Runs a test with an object of each kind.
macro_rules! both_kinds {
    ($($name:ident)*) => {
        $(mod $name {
            #[tokio::test]
            async fn of_a_configmapsync() {
                super::$name(false).await;
            }
            #[tokio::test]
            async fn of_a_clusterconfigmapsync() {
                super::$name(true).await;
            }
        })*
    };
}

both_kinds! {
    keys_are_selected_and_renamed
    two_keys_with_one_name_are_not_written
    metadata_is_put_changed_and_taken_off_and_what_a_person_put_there_stays
    an_immutable_copy_that_is_made_anew_keeps_what_a_person_put_there
    labels_of_the_source_are_followed
    what_somebody_changes_is_restored
    a_copy_out_of_a_backup_is_known_again_by_what_it_has
    at_rest_nothing_is_written
}

async fn keys_are_selected_and_renamed(many: bool) {
    let it = Shaping::shared("keys", many).await;
    let case = &it.case;
    let data = json!({ "ca.crt": "c", "ca.key": "k", "old.crt": "o", "unicode": "grüße </script> \u{2028}" });
    let binary = json!({ "store.p12": "AAH/", "other": "AQ==" });
    case.create(&case.src, "cm", json!({ "data": data, "binaryData": binary })).await;
    let rename = json!([{ "from": "ca.crt", "to": "tls-ca.crt" }, { "from": "store.p12", "to": "tls.p12" }]);
    let keys = json!({ "include": ["*.crt", "store.???", "unicode"], "exclude": ["old*"], "rename": rename });
    it.create(json!({ "keys": keys })).await;
    let selected = json!({ "tls-ca.crt": "c", "unicode": data["unicode"] });
    let copy = it.until_copy("the keys that are selected", |copy| json!(copy.data) == selected).await;
    assert_eq!(json!(copy.binary_data), json!({ "tls.p12": "AAH/" }));
    assert_eq!(mark(&copy, "shaped").as_deref(), Some(""));
    let hash = mark(&copy, "source-hash").unwrap();
    assert_eq!((hash.len(), hash.strip_suffix("-shaped").is_some()), (71, true), "{hash}");
    if many {
        assert_eq!(it.object().await["status"]["contentHash"], hash);
    }
    // A key that is not selected changes nothing, one that is does.
    case.patch(&case.src, "cm", json!({ "data": { "ca.key": "k2", "ca.crt": "c2" } })).await;
    let changed = json!({ "tls-ca.crt": "c2", "unicode": data["unicode"] });
    it.until_copy("a change of a key", |copy| json!(copy.data) == changed).await;
    // Other keys of the same source.
    it.edit(json!({ "keys": { "include": ["ca.*"], "exclude": null, "rename": null } })).await;
    let copy = it.until_copy("other keys", |copy| json!(copy.data) == json!({ "ca.crt": "c2", "ca.key": "k2" })).await;
    assert_eq!(json!(copy.binary_data), json!(null));
    // And all of them, to the byte, as if nothing had ever been said of keys.
    it.edit(json!({ "keys": null })).await;
    let all = json!({ "ca.crt": "c2", "ca.key": "k2", "old.crt": "o", "unicode": data["unicode"] });
    let copy = it.until_copy("all keys", |copy| json!(copy.data) == all).await;
    assert_eq!((json!(copy.binary_data), mark(&copy, "shaped")), (binary, None));
    assert_eq!(mark(&copy, "source-hash").unwrap().len(), 64);
    it.delete().await;
}

async fn two_keys_with_one_name_are_not_written(many: bool) {
    let it = Shaping::shared("conflict", many).await;
    let case = &it.case;
    case.source(json!({ "ca.crt": "1", "tls-ca.crt": "2" })).await;
    it.create(json!({ "keys": { "rename": [{ "from": "ca.crt", "to": "tls-ca.crt" }] } })).await;
    let message = it.until("Stalled", "True", "KeyConflict").await;
    assert_eq!(
        message,
        "the keys ca.crt and tls-ca.crt of the source would both be tls-ca.crt in the copy; nothing is written until spec.keys \
         selects one of them, or gives one another name"
    );
    it.until("Ready", "False", if many { "KeyConflict" } else { "NotReady" }).await;
    stays("it is told once", seconds(2), async || it.object().await).await;
    assert!(case.get(&case.dst, "cm").await.is_none());
    // Mended in the source.
    case.patch(&case.src, "cm", json!({ "data": { "tls-ca.crt": null } })).await;
    let copy = it.until_copy("one of them", |copy| json!(copy.data) == json!({ "tls-ca.crt": "1" })).await;
    // It comes back: the copy stays as it is, also when somebody writes the status of the source anew.
    case.patch(&case.src, "cm", json!({ "data": { "tls-ca.crt": "3" } })).await;
    it.until("Stalled", "True", "KeyConflict").await;
    assert_eq!(case.copy().await, copy);
    case.stays(&case.dst, "cm", seconds(1)).await;
    // Mended in the spec; then broken there, with a source that is as it was.
    it.edit(json!({ "keys": { "exclude": ["tls-ca.crt"] } })).await;
    let copy = it.until_copy("the spec selects one", |copy| json!(copy.data) == json!({ "tls-ca.crt": "1" })).await;
    it.edit(json!({ "keys": { "exclude": null } })).await;
    it.until("Stalled", "True", "KeyConflict").await;
    stays("the conflict is told", seconds(2), async || it.object().await).await;
    assert_eq!(case.copy().await.data, copy.data);
    it.edit(json!({ "keys": { "rename": [{ "from": "ca.crt", "to": "another" }] } })).await;
    it.until_copy("another name", |copy| json!(copy.data) == json!({ "another": "1", "tls-ca.crt": "3" })).await;
    it.delete().await;
}

async fn metadata_is_put_changed_and_taken_off_and_what_a_person_put_there_stays(many: bool) {
    let it = Shaping::shared("metadata", many).await;
    let case = &it.case;
    case.source(json!({ "k": "1" })).await;
    it.create(json!({ "metadata": { "labels": { "team": "blue", "tier": "1" }, "annotations": { "example.com/note": "n" } } }))
        .await;
    let copy = it.until_copy("the labels", |copy| labels(copy) == json!({ "team": "blue", "tier": "1" })).await;
    assert_eq!(annotations(&copy), json!({ "example.com/note": "n" }));
    assert_eq!(mark(&copy, "shaped").as_deref(), Some("label:team,label:tier,annotation:example.com/note"));
    // A person adds to it.
    let theirs = json!({ "metadata": { "labels": { "app": "x" }, "annotations": { "theirs": "y" } } });
    case.patch(&case.dst, "cm", theirs).await;
    it.until_ready().await;
    // A value changes, one goes, one comes.
    it.edit(json!({ "metadata": { "labels": { "team": "red", "tier": null, "env": "prod" }, "annotations": null } }))
        .await;
    let wanted = json!({ "team": "red", "env": "prod", "app": "x" });
    let copy = it.until_copy("other labels", |copy| labels(copy) == wanted).await;
    assert_eq!(annotations(&copy), json!({ "theirs": "y" }));
    // A change of the source leaves all of them.
    case.patch(&case.src, "cm", json!({ "data": { "k": "2" } })).await;
    let copy = it.until_copy("a change of the source", |copy| json!(copy.data) == json!({ "k": "2" })).await;
    assert_eq!((labels(&copy), annotations(&copy)), (wanted, json!({ "theirs": "y" })));
    // Nothing is said any more: ours go.
    it.edit(json!({ "metadata": null })).await;
    let copy = it.until_copy("theirs alone", |copy| labels(copy) == json!({ "app": "x" })).await;
    assert_eq!((annotations(&copy), mark(&copy, "shaped")), (json!({ "theirs": "y" }), None));
    it.delete().await;
}

async fn an_immutable_copy_that_is_made_anew_keeps_what_a_person_put_there(many: bool) {
    let it = Shaping::shared("immutable", many).await;
    let case = &it.case;
    case.create(&case.src, "cm", json!({ "data": { "a": "1", "b": "2" }, "immutable": true })).await;
    it.create(json!({ "keys": { "include": ["a"] }, "metadata": { "labels": { "team": "blue" } } })).await;
    let first = it.until_copy("the copy", |copy| json!(copy.data) == json!({ "a": "1" })).await;
    assert_eq!(first.immutable, Some(true));
    case.patch(&case.dst, "cm", json!({ "metadata": { "labels": { "app": "x" } } })).await;
    // Labels of an immutable ConfigMap can be changed: it stays the same one.
    it.edit(json!({ "metadata": { "labels": { "team": "red" } } })).await;
    let copy = it.until_copy("another label", |copy| labels(copy) == json!({ "team": "red", "app": "x" })).await;
    assert_eq!(copy.metadata.uid, first.metadata.uid);
    // Its keys cannot.
    it.edit(json!({ "keys": { "include": ["b"] }, "metadata": { "labels": { "team": null, "tier": "1" } } })).await;
    let copy = it.until_copy("another key", |copy| json!(copy.data) == json!({ "b": "2" })).await;
    assert_ne!(copy.metadata.uid, first.metadata.uid);
    assert_eq!((labels(&copy), copy.immutable), (json!({ "tier": "1", "app": "x" }), Some(true)));
    it.delete().await;
}

async fn labels_of_the_source_are_followed(many: bool) {
    let it = Shaping::shared("follow", many).await;
    let case = &it.case;
    let metadata = json!({
        "labels": { "grafana_dashboard": "1", "not-asked-for": "x" }, "annotations": { "example.com/match": "true" },
    });
    case.create(&case.src, "cm", json!({ "metadata": metadata, "data": { "k": "1" } })).await;
    let copied = json!({ "copyLabels": ["grafana_dashboard", "team"], "copyAnnotations": ["example.com/match"] });
    it.create(json!({ "metadata": copied })).await;
    let copy = it.until_copy("its label", |copy| labels(copy) == json!({ "grafana_dashboard": "1" })).await;
    assert_eq!(annotations(&copy), json!({ "example.com/match": "true" }));
    let change =
        json!({ "labels": { "grafana_dashboard": "2", "team": "blue" }, "annotations": { "example.com/match": null } });
    case.patch(&case.src, "cm", json!({ "metadata": change })).await;
    let wanted = json!({ "grafana_dashboard": "2", "team": "blue" });
    let copy = it.until_copy("its new labels", |copy| labels(copy) == wanted).await;
    assert_eq!(annotations(&copy), json!({}));
    // What the spec sets wins.
    it.edit(json!({ "metadata": { "labels": { "team": "red" } } })).await;
    it.until_copy("the spec's label", |copy| labels(copy)["team"] == "red").await;
    case.patch(&case.src, "cm", json!({ "metadata": { "labels": null } })).await;
    it.until_copy("the spec's alone", |copy| labels(copy) == json!({ "team": "red" })).await;
    it.delete().await;
}

async fn what_somebody_changes_is_restored(many: bool) {
    let it = Shaping::shared("restored", many).await;
    let case = &it.case;
    case.source(json!({ "a": "1", "b": "2" })).await;
    it.create(json!({ "keys": { "exclude": ["b"] }, "metadata": { "labels": { "team": "blue" } } })).await;
    let ours = |copy: &ConfigMap| {
        let hash = mark(copy, "source-hash").is_some_and(|hash| hash.ends_with("-shaped"));
        json!(copy.data) == json!({ "a": "1" }) && labels(copy)["team"] == "blue" && hash
    };
    it.until_copy("the copy", ours).await;
    for change in [
        json!({ "metadata": { "labels": { "team": "red" } } }),
        json!({ "metadata": { "labels": { "team": null } } }),
        json!({ "data": { "b": "2" } }),
        json!({ "metadata": { "annotations": { (format!("{PREFIX}shaped")): null } } }),
    ] {
        case.patch(&case.dst, "cm", change).await;
        let copy = it.until_copy("it is restored", |copy| ours(copy) && mark(copy, "shaped").is_some()).await;
        assert_eq!(mark(&copy, "shaped").as_deref(), Some("label:team"));
    }
    it.delete().await;
}

/// The namespace went, and came back with what stood in it.
async fn a_copy_out_of_a_backup_is_known_again_by_what_it_has(many: bool) {
    let it = Shaping::shared("backup", many).await;
    let case = &it.case;
    case.source(json!({ "a": "1", "b": "2" })).await;
    let shape =
        json!({ "keys": { "include": ["a"] }, "metadata": { "labels": { "team": "blue" } }, "conflictPolicy": "Fail" });
    it.create(shape).await;
    let copy = it.until_copy("the copy", |copy| labels(copy)["team"] == "blue").await;
    for touched in [false, true] {
        it.edit(json!({ "suspend": true })).await;
        case.delete_namespace(&case.dst).await;
        case.create_namespace(&case.dst).await;
        let (labels_then, annotations_then) = (&copy.metadata.labels, &copy.metadata.annotations);
        let mut backup =
            json!({ "metadata": { "labels": labels_then, "annotations": annotations_then }, "data": copy.data });
        if touched {
            backup["metadata"]["labels"]["team"] = json!("red");
        }
        case.create(&case.dst, "cm", backup).await;
        it.edit(json!({ "suspend": false })).await;
        if !touched {
            it.until_copy("it is ours again", |now| mark(now, "at") != mark(&copy, "at")).await;
        } else if many {
            it.until("Ready", "False", "SomeCopiesFailed").await;
        } else {
            it.until("Stalled", "True", "DestinationExists").await;
        }
    }
    case.delete(&case.dst, "cm").await;
    it.until_copy("it is made anew", |copy| labels(copy)["team"] == "blue").await;
    it.delete().await;
}

async fn at_rest_nothing_is_written(many: bool) {
    let it = Shaping::shared("rest", many).await;
    let case = &it.case;
    case.create(
        &case.src,
        "cm",
        json!({ "metadata": { "labels": { "team": "blue" } }, "data": { "a": "1", "b": "2" } }),
    )
    .await;
    let plain = case.create(&case.src, "plain", json!({ "data": { "k": "v" } })).await;
    case.sync("plain", json!({ "configMapName": "plain" })).await;
    case.until_ready("plain").await;
    let beside = case.get(&case.dst, "plain").await.unwrap();
    it.create(json!({ "keys": { "include": ["a"] }, "metadata": { "copyLabels": ["team"] } })).await;
    it.until_copy("the copy", |copy| labels(copy) == json!({ "team": "blue" })).await;
    tokio::time::sleep(seconds(1)).await;
    let mark = case.mark();
    stays("the object", seconds(2), async || it.object().await).await;
    if let Some(mark) = mark {
        assert_eq!(case.requests(mark), Default::default());
        let mark = case.mark().unwrap();
        it.edit(json!({ "keys": { "include": ["b"] } })).await;
        it.until_copy("another key", |copy| json!(copy.data) == json!({ "b": "2" })).await;
        tokio::time::sleep(seconds(1)).await;
        let written = case.requests(mark);
        assert_eq!(written.get("update configmaps"), Some(&1), "{written:?}");
        assert_eq!(written.get("get configmaps"), (!many).then_some(&1), "{written:?}");
    }
    assert_eq!(case.get(&case.dst, "plain").await.unwrap(), beside);
    assert_eq!(case.get(&case.src, "plain").await.unwrap(), plain);
    it.delete().await;
}

#[tokio::test]
async fn a_restart_writes_nothing() {
    let Some(bed) = Bed::own("shape_restart").await else { return };
    let operator = bed.operator_with("shape-1", &[SHIPPED_LEASE]).await;
    bed.until_all_shards_are_held().await;
    let shape = json!({ "keys": { "include": ["a"] }, "metadata": { "labels": { "team": "blue" } } });
    let mut all = Vec::new();
    for many in [false, true] {
        let case = Case::on(&bed, if many { "again-many" } else { "again-one" }).await;
        let it = Shaping { case, many };
        it.case.source(json!({ "a": "1", "b": "2" })).await;
        it.create(shape.clone()).await;
        it.until_copy("the copy", |copy| labels(copy) == json!({ "team": "blue" })).await;
        all.push(it);
    }
    tokio::time::sleep(seconds(1)).await;
    operator.terminate().await;
    let mark = all[0].case.mark().unwrap();
    let _operator = bed.operator_with("shape-2", &[SHIPPED_LEASE]).await;
    bed.until_all_shards_are_held().await;
    tokio::time::sleep(seconds(2)).await;
    let requests = asked(&bed, mark);
    let written: Vec<_> = requests.iter().filter(|it| it.is_write() && it.resource != "leases").collect();
    assert!(written.is_empty(), "{written:?}");
    // One of many copies is compared once by who has just started, whatever its spec says of keys.
    let read = |event: &&AuditEvent| event.verb == "get" && event.namespace.starts_with(&all[0].case.name(""));
    assert_eq!(requests.iter().filter(read).count(), 0);
}

/// What the API server says to a spec with this change.
async fn tried(case: &Case<'_>, many: bool, change: &Value) -> Result<(), String> {
    let (kind, version, mut spec) = match many {
        true => (
            "ClusterConfigMapSync",
            "v1alpha1",
            json!({ "sourceNamespace": "a", "configMapName": "cm", "namespaces": ["b"] }),
        ),
        false => ("ConfigMapSync", "v1", case.spec(json!({}))),
    };
    spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("apps.kapendra.com", version, kind));
    let objects: Api<DynamicObject> = match many {
        true => Api::all_with(case.client.clone(), &resource),
        false => Api::namespaced_with(case.client.clone(), &case.syncs, &resource),
    };
    let object = json!({
        "apiVersion": resource.api_version, "kind": kind, "metadata": { "name": case.name("tried") }, "spec": spec,
    });
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let made = objects.create(&dry, &serde_json::from_value(object).unwrap()).await;
    made.map(drop).map_err(|error| error.to_string())
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_a_sentence_that_names_the_field() {
    let case = Case::shared("shape-refused").await;
    let long: String = "a".repeat(254);
    let keys = |keys: Value| json!({ "keys": keys });
    let metadata = |metadata: Value| json!({ "metadata": metadata });
    let mut wrong = vec![
        (
            keys(json!({ "inclde": ["a"] })),
            "keys takes include, exclude and rename, none of them null, and no other field",
        ),
        (
            keys(json!({ "include": null })),
            "keys takes include, exclude and rename, none of them null, and no other field",
        ),
        (keys(json!({ "include": ["a/b"] })), "include must hold names of keys"),
        (keys(json!({ "include": [""] })), "spec.keys.include[0]"),
        (keys(json!({ "exclude": ["[a-z]"] })), "exclude must hold names of keys"),
        (keys(json!({ "exclude": [long] })), "spec.keys.exclude[0]"),
        (keys(json!({ "include": vec!["a"; 33] })), "spec.keys.include"),
        (keys(json!({ "rename": [{ "from": "a" }] })), "spec.keys.rename[0].to"),
        (keys(json!({ "rename": [{ "from": "*", "to": "a" }] })), "from must be the name of a key"),
        (keys(json!({ "rename": [{ "from": "a", "to": ".." }] })), "to must be the name of a key"),
        (
            keys(json!({ "rename": [{ "from": "a", "to": "b" }, { "from": "a", "to": "c" }] })),
            "rename must name each key of the source once",
        ),
        (keys(json!([])), "spec.keys"),
        (metadata(json!({ "labels": { "a b": "c" } })), "labels must have labels' keys"),
        (metadata(json!({ "labels": { "a": "b c" } })), "labels must have labels' values"),
        (metadata(json!({ "labels": { "a": 1 } })), "spec.metadata.labels"),
        (metadata(json!({ "annotations": { "/a": "b" } })), "annotations must have annotations' keys"),
        (metadata(json!({ "copyLabels": ["a/b/c"] })), "copyLabels must hold labels' keys"),
        (metadata(json!({ "copyAnnotations": ["-"] })), "copyAnnotations must hold annotations' keys"),
    ];
    let reserved = [
        "configmapsync.apps.kapendra.com/sync",
        "argocd.argoproj.io/tracking-id",
        "kustomize.toolkit.fluxcd.io/name",
        "helm.toolkit.fluxcd.io/name",
        "meta.helm.sh/release-name",
        "helm.sh/chart",
        "applyset.kubernetes.io/part-of",
        "kubectl.kubernetes.io/last-applied-configuration",
        "app.kubernetes.io/instance",
        "app.kubernetes.io/managed-by",
        "example.com/managed-by",
    ];
    for name in reserved {
        assert!(is_reserved(name));
        wrong.extend([
            (
                metadata(json!({ "labels": { (name): "x" } })),
                "labels must not be the operator's own, nor those by which Argo CD",
            ),
            (
                metadata(json!({ "annotations": { (name): "x" } })),
                "annotations must not be the operator's own, nor those by which",
            ),
            (
                metadata(json!({ "copyLabels": ["a", name] })),
                "copyLabels must not name the operator's own, nor those by which",
            ),
            (
                metadata(json!({ "copyAnnotations": [name] })),
                "copyAnnotations must not name the operator's own, nor those by",
            ),
        ]);
    }
    for many in [false, true] {
        for (change, sentence) in &wrong {
            let said = tried(&case, many, change).await.expect_err(&change.to_string());
            assert!(said.contains(sentence), "{change}: no word of {sentence:?} in\n{said}");
        }
        for right in [
            keys(json!({})),
            keys(
                json!({ "include": ["*", "?.crt", "a-b_c.D"], "exclude": [], "rename": [{ "from": ".a", "to": "A" }] }),
            ),
            metadata(
                json!({ "labels": { "team": "", "app.kubernetes.io/name": "x" }, "annotations": { "a": "any\ntext" } }),
            ),
            metadata(
                json!({ "copyLabels": ["grafana_dashboard"], "copyAnnotations": ["reloader.stakater.com/match"] }),
            ),
        ] {
            tried(&case, many, &right).await.unwrap_or_else(|said| panic!("{right}: {said}"));
        }
    }
}
