//! The definition of ClusterConfigMapSync: what it refuses and with which sentence, what it takes, how it shows. No
//! operator runs: objects are only stored.

use configmapsync_operator::api::clusterconfigmapsync::{
    ClusterConfigMapSync, ClusterConfigMapSyncSpec, ClusterConfigMapSyncStatus, LabelOperator, LabelRequirement,
    LabelValue, NamespaceCounts, NamespaceFailure, NamespaceName, NamespaceSelector,
};
use configmapsync_operator::api::configmapsync::ObjectVersion;
use configmapsync_operator::api::policies::ConflictPolicy;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::bad_input::relaxed;
use crate::harness::{Bed, FINALIZER, eventually};
use crate::people::{sentences, table};

const CRD: &str = "clusterconfigmapsyncs.apps.kapendra.com";

fn untyped(bed: &Bed) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("apps.kapendra.com", "v1alpha1", "ClusterConfigMapSync");
    Api::all_with(bed.cluster().client().unwrap(), &ApiResource::from_gvk(&kind))
}

/// A spec that is right, with these fields changed or added; one that is `"none"` is left out.
fn spec(change: &Value) -> Value {
    let mut spec = json!({ "sourceNamespace": "platform", "configMapName": "company-ca", "namespaces": ["a"] });
    for (field, value) in change.as_object().unwrap() {
        let fields = spec.as_object_mut().unwrap();
        match value.as_str() {
            Some("none") => drop(fields.remove(field)),
            _ => drop(fields.insert(field.clone(), value.clone())),
        }
    }
    spec
}

/// As [`spec`], with a selector in place of the names.
fn selecting(selector: Value) -> Value {
    json!({ "namespaces": "none", "namespaceSelector": selector })
}

fn requirement(requirement: Value) -> Value {
    selecting(json!({ "matchExpressions": [requirement] }))
}

fn object(name: &str, spec: &Value) -> DynamicObject {
    let object = json!({
        "apiVersion": "apps.kapendra.com/v1alpha1", "kind": "ClusterConfigMapSync", "metadata": { "name": name }, "spec": spec,
    });
    serde_json::from_value(object).unwrap()
}

/// What the API server makes of it, without storing it; or the refusal.
async fn tried(bed: &Bed, object: &DynamicObject) -> Result<Value, String> {
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let made = untyped(bed).create(&dry, object).await.map_err(|error| error.to_string())?;
    Ok(serde_json::to_value(made).unwrap())
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("n-{number:060}")).collect()
}

fn labels(count: usize) -> Value {
    names(count).into_iter().map(|name| (format!("example.com/{name}"), json!("v".repeat(63)))).collect()
}

/// What is wrong, and words of the refusal.
fn wrong() -> Vec<(Value, &'static [&'static str])> {
    const CHOOSE: &[&str] = &["spec", "either namespaceSelector or namespaces, and not both"];
    const NAMESPACE: &str = "a namespace's name: at most 63";
    const NAME: &str = "a ConfigMap's name: at most 253";
    const VALUES: &[&str] =
        &["matchExpressions[0]", "In and NotIn need values; Exists and DoesNotExist must have none"];
    const NULL: &[&str] = &["spec.namespaceSelector", "neither of them null, and no other field"];
    const KEY: &str = "must be a label's key";
    const VALUE: &str = "labels' values: at most 63";
    let long = |n: usize| "a".repeat(n);
    vec![
        // Which namespaces.
        (json!({ "namespaces": "none" }), CHOOSE),
        (json!({ "namespaceSelector": {} }), CHOOSE),
        (json!({ "namespaces": "none", "namespaceSelector": null }), CHOOSE),
        (json!({ "namespaces": null }), CHOOSE),
        (json!({ "namespaces": null, "namespaceSelector": null }), CHOOSE),
        (json!({ "namespaces": [] }), &["spec.namespaces", "at least 1"]),
        (selecting(json!([])), &["spec.namespaceSelector", "object"]),
        (selecting(json!("team=a")), &["spec.namespaceSelector", "object"]),
        // Their names.
        (json!({ "namespaces": ["A"] }), &["spec.namespaces", "names of namespaces: at most 63"]),
        (json!({ "namespaces": ["a", "team-*"] }), &["spec.namespaces", "names of namespaces: at most 63"]),
        (json!({ "namespaces": ["-a"] }), &["spec.namespaces", "names of namespaces: at most 63"]),
        (json!({ "namespaces": [""] }), &["spec.namespaces[0]", "at least 1"]),
        (json!({ "namespaces": [null] }), &["spec.namespaces[0]", "null"]),
        (json!({ "namespaces": [long(64)] }), &["spec.namespaces[0]", "63"]),
        (json!({ "namespaces": ["a", "a"] }), &["spec.namespaces[1]", "Duplicate"]),
        (json!({ "namespaces": names(1001) }), &["spec.namespaces", "1000"]),
        (json!({ "excludeNamespaces": ["team.*"] }), &["spec.excludeNamespaces", "* stands for any characters"]),
        (json!({ "excludeNamespaces": ["[ab]"] }), &["spec.excludeNamespaces", "* stands for any characters"]),
        (json!({ "excludeNamespaces": [""] }), &["spec.excludeNamespaces[0]", "at least 1"]),
        (json!({ "excludeNamespaces": [long(64)] }), &["spec.excludeNamespaces[0]", "63"]),
        (json!({ "excludeNamespaces": ["a", "a"] }), &["spec.excludeNamespaces[1]", "Duplicate"]),
        (json!({ "excludeNamespaces": names(101) }), &["spec.excludeNamespaces", "100"]),
        // Their labels.
        (requirement(json!({ "key": "team", "operator": "In" })), VALUES),
        (requirement(json!({ "key": "team", "operator": "In", "values": [] })), VALUES),
        (requirement(json!({ "key": "team", "operator": "In", "values": null })), VALUES),
        (requirement(json!({ "key": "team", "operator": "NotIn" })), VALUES),
        (requirement(json!({ "key": "team", "operator": "NotIn", "values": [] })), VALUES),
        (requirement(json!({ "key": "team", "operator": "Exists", "values": ["a"] })), VALUES),
        (requirement(json!({ "key": "team", "operator": "DoesNotExist", "values": ["a"] })), VALUES),
        (requirement(json!({ "key": "team", "operator": "Is", "values": ["a"] })), &["operator", "DoesNotExist"]),
        (requirement(json!({ "key": "team", "operator": "exists" })), &["operator", "DoesNotExist"]),
        (requirement(json!({ "key": "team" })), &["matchExpressions[0].operator", "Required"]),
        (requirement(json!({ "key": "team", "operator": null })), &["matchExpressions[0].operator", "Required"]),
        (requirement(json!({ "operator": "Exists" })), &["matchExpressions[0].key", "Required"]),
        (requirement(json!({ "key": "", "operator": "Exists" })), &["matchExpressions[0].key", "at least 1"]),
        (requirement(json!({ "key": "my team", "operator": "Exists" })), &["matchExpressions[0].key", KEY]),
        (requirement(json!({ "key": "a/b/c", "operator": "Exists" })), &["matchExpressions[0].key", KEY]),
        (requirement(json!({ "key": "/a", "operator": "Exists" })), &["matchExpressions[0].key", KEY]),
        (requirement(json!({ "key": "Upper.com/a", "operator": "Exists" })), &["matchExpressions[0].key", KEY]),
        (requirement(json!({ "key": long(64), "operator": "Exists" })), &["matchExpressions[0].key", KEY]),
        (requirement(json!({ "key": long(318), "operator": "Exists" })), &["matchExpressions[0].key", "317"]),
        (
            requirement(json!({ "key": "a", "operator": "In", "values": ["x y"] })),
            &["matchExpressions[0].values", VALUE],
        ),
        (
            requirement(json!({ "key": "a", "operator": "In", "values": ["-x"] })),
            &["matchExpressions[0].values", VALUE],
        ),
        (requirement(json!({ "key": "a", "operator": "In", "values": [long(64)] })), &["values[0]", "63"]),
        (requirement(json!({ "key": "a", "operator": "In", "values": [null] })), &["values[0]", "null"]),
        (requirement(json!({ "key": "a", "operator": "In", "values": [5] })), &["values[0]", "string"]),
        (requirement(json!({ "key": "a", "operator": "In", "values": names(101) })), &["values", "100"]),
        (requirement(json!(null)), &["matchExpressions[0]", "null"]),
        (
            selecting(json!({ "matchExpressions": vec![json!({ "key": "a", "operator": "Exists" }); 51] })),
            &["matchExpressions", "50"],
        ),
        (selecting(json!({ "matchLabels": labels(51) })), &["matchLabels", "50"]),
        (selecting(json!({ "matchLabels": { "team": null } })), &["matchLabels", VALUE]),
        (selecting(json!({ "matchLabels": { "team": null, "tier": "a" } })), &["matchLabels", VALUE]),
        (selecting(json!({ "matchLabels": null })), NULL),
        (selecting(json!({ "matchExpressions": null })), NULL),
        (selecting(json!({ "matchLabels": { "team": "a" }, "matchExpressions": null })), NULL),
        (selecting(json!({ "matchLabels": { "team": true } })), &["matchLabels.team", "string"]),
        (selecting(json!({ "matchLabels": { "team": long(64) } })), &["matchLabels.team", "63"]),
        (selecting(json!({ "matchLabels": { "team": "x y" } })), &["matchLabels", VALUE]),
        (selecting(json!({ "matchLabels": { "my team": "a" } })), &["matchLabels", "labels' keys"]),
        (selecting(json!({ "matchLabels": { "": "a" } })), &["matchLabels", "labels' keys"]),
        (selecting(json!({ "matchLabels": { "a/b/c": "a" } })), &["matchLabels", "labels' keys"]),
        (selecting(json!({ "matchLabels": ["team"] })), &["matchLabels", "object"]),
        // The source and the copies, as for a ConfigMapSync.
        (json!({ "sourceNamespace": "A" }), &["spec.sourceNamespace", NAMESPACE]),
        (json!({ "sourceNamespace": "a.b" }), &["spec.sourceNamespace", NAMESPACE]),
        (json!({ "sourceNamespace": long(64) }), &["spec.sourceNamespace", "63"]),
        (json!({ "sourceNamespace": "" }), &["spec.sourceNamespace"]),
        (json!({ "sourceNamespace": null }), &["spec.sourceNamespace", "Required"]),
        (json!({ "sourceNamespace": "none" }), &["spec.sourceNamespace", "Required"]),
        (json!({ "configMapName": "a/b" }), &["spec.configMapName", NAME]),
        (json!({ "configMapName": "a\n" }), &["spec.configMapName", NAME]),
        (json!({ "configMapName": long(254) }), &["spec.configMapName", "253"]),
        (json!({ "configMapName": "none" }), &["spec.configMapName", "Required"]),
        (json!({ "configMapName": "kube-root-ca.crt" }), &["spec.configMapName", "must not be kube-root-ca.crt"]),
        (json!({ "destinationName": "B" }), &["spec.destinationName", NAME]),
        (json!({ "destinationName": "" }), &["spec.destinationName"]),
        (json!({ "destinationName": long(254) }), &["spec.destinationName", "253"]),
        (json!({ "destinationName": "kube-root-ca.crt" }), &["spec.destinationName", "must not be kube-root-ca.crt"]),
        (json!({ "conflictPolicy": "Perhaps" }), &["spec.conflictPolicy", "Overwrite", "Fail"]),
        (json!({ "deletionPolicy": "Keep" }), &["spec.deletionPolicy", "Delete", "Orphan"]),
        (json!({ "sourceMissingPolicy": "Orphan" }), &["spec.sourceMissingPolicy", "Keep", "Delete"]),
        (json!({ "suspend": "yes" }), &["spec.suspend", "boolean"]),
    ]
}

/// What is right, also at its limits.
fn right() -> Vec<Value> {
    let long_key = format!("{}.{}/{}", "a".repeat(63), "9".repeat(189), "Z".repeat(63));
    let requirements: Vec<Value> =
        (0..50).map(|_| json!({ "key": long_key, "operator": "In", "values": names(100) })).collect();
    vec![
        json!({}),
        selecting(json!({})),
        selecting(json!({ "matchLabels": {} })),
        selecting(json!({ "matchExpressions": [] })),
        selecting(
            json!({ "matchLabels": { "team": "a", "example.com/B_c.d": "", "kubernetes.io/metadata.name": "A-b_c.d" } }),
        ),
        selecting(json!({ "matchLabels": labels(50), "matchExpressions": requirements })),
        requirement(json!({ "key": "team", "operator": "In", "values": ["a", "", "A-b_c.d"] })),
        requirement(json!({ "key": "team", "operator": "NotIn", "values": ["a"] })),
        requirement(json!({ "key": "team", "operator": "Exists" })),
        requirement(json!({ "key": "team", "operator": "Exists", "values": [] })),
        requirement(json!({ "key": "team", "operator": "DoesNotExist", "values": null })),
        json!({ "namespaces": names(1000), "excludeNamespaces": names(100) }),
        json!({ "namespaces": ["0", "a".repeat(63), "not-there-yet", "kube-system"] }),
        json!({ "namespaceSelector": null }),
        json!({ "namespaces": null, "namespaceSelector": {} }),
        json!({ "excludeNamespaces": ["*-sandbox", "team-?", "*", "a", "-*"] }),
        json!({ "excludeNamespaces": [] }),
        json!({ "excludeNamespaces": null, "destinationName": null, "suspend": null, "conflictPolicy": null }),
        json!({ "sourceNamespace": "a".repeat(63), "configMapName": "a".repeat(253) }),
        json!({ "destinationName": format!("{}.{}", "a".repeat(63), "9".repeat(189)) }),
        json!({ "conflictPolicy": "Overwrite", "deletionPolicy": "Orphan", "sourceMissingPolicy": "Delete", "suspend": true }),
    ]
}

#[tokio::test]
async fn a_cluster_spec_that_makes_no_sense_is_refused_with_a_sentence_and_what_makes_sense_is_taken() {
    let Some(bed) = Bed::own("a_cluster_spec_that_makes_no_sense").await else { return };
    let mut amiss = Vec::new();
    for (change, words) in wrong() {
        match tried(&bed, &object("wrong", &spec(&change))).await {
            Ok(taken) => amiss.push(format!("{change} was taken, as {}", taken["spec"])),
            Err(said) => {
                let missing: Vec<_> = words.iter().filter(|word| !said.contains(*word)).collect();
                if !missing.is_empty() {
                    amiss.push(format!("{change}: no word of {missing:?} in\n  {said}"));
                }
            }
        }
    }
    for change in right() {
        if let Err(said) = tried(&bed, &object("right", &spec(&change))).await {
            amiss.push(format!("{change} was refused: {said}"));
        }
    }
    let without_spec: DynamicObject = {
        let mut object = object("none", &json!(null));
        object.data.as_object_mut().unwrap().remove("spec");
        object
    };
    for (object, word) in [
        (without_spec, "spec is missing: it names the source and the namespaces"),
        (object("null", &json!(null)), "spec is missing: it names the source and the namespaces"),
        (object("empty", &json!({})), "spec.sourceNamespace"),
    ] {
        let said = tried(&bed, &object).await.unwrap_err();
        if !said.contains(word) {
            amiss.push(format!("{:?}: no word of {word:?} in {said}", object.data));
        }
    }
    assert!(amiss.is_empty(), "{} cases:\n{}", amiss.len(), amiss.join("\n"));
}

/// It must not become `{}`, which means all namespaces.
#[tokio::test]
async fn a_misspelt_selector_never_selects_everything() {
    let Some(bed) = Bed::own("a_misspelt_selector_never_selects_everything").await else { return };
    for selector in [
        json!({ "matchlabels": { "team": "a" } }),
        json!({ "matchLabel": { "team": "a" } }),
        json!({ "team": "a" }),
        json!({ "matchExpression": [{ "key": "team", "operator": "Exists" }] }),
        json!({ "matchLabels": { "team": "a" }, "matchExpression": [{ "key": "tier", "operator": "Exists" }] }),
        json!({ "any": [{ "matchLabels": { "team": "a" } }] }),
    ] {
        let object = object("misspelt", &spec(&selecting(selector.clone())));
        // As kubectl sends it, and as helm and most programs do.
        let text = serde_json::to_string(&object).unwrap();
        for validate in ["--validate=strict", "--validate=ignore"] {
            let args = ["apply", "--dry-run=server", "-f", "-", validate];
            // Older API servers name the value's type too.
            let said =
                bed.kubectl(&args, &text).await.unwrap_err().replace(r#"Invalid value: "object": "#, "Invalid value: ");
            let sentence =
                "spec.namespaceSelector: Invalid value: namespaceSelector takes matchLabels and matchExpressions";
            assert!(said.contains(sentence), "{selector}: {said}");
        }
    }
}

#[tokio::test]
async fn what_is_not_said_is_filled_in_and_types_and_schema_agree() {
    let Some(bed) = Bed::own("what_is_not_said_is_filled_in").await else { return };
    let made = tried(&bed, &object("default", &spec(&json!({})))).await.unwrap();
    assert_eq!(
        made["spec"],
        json!({
            "sourceNamespace": "platform", "configMapName": "company-ca", "namespaces": ["a"],
            "conflictPolicy": "Fail", "deletionPolicy": "Delete", "sourceMissingPolicy": "Keep",
        })
    );
    // Without it, tools that go by kstatus would take a new object for done.
    assert_eq!(made["status"], json!({ "observedGeneration": -1 }));

    // Nothing that the types can say is lost in the store.
    let label = |value: &str| LabelValue(value.to_owned());
    let selector = NamespaceSelector {
        match_labels: [("team".to_owned(), label("a")), ("example.com/x".to_owned(), label(""))].into(),
        match_expressions: vec![
            LabelRequirement { key: "tier".to_owned(), operator: LabelOperator::NotIn, values: vec![label("b")] },
            LabelRequirement { key: "old".to_owned(), operator: LabelOperator::DoesNotExist, values: Vec::new() },
        ],
    };
    let full = ClusterConfigMapSyncSpec {
        source_namespace: "platform".to_owned(),
        config_map_name: "company-ca".to_owned(),
        namespace_selector: Some(selector),
        exclude_namespaces: vec![NamespaceName("*-sandbox".to_owned())],
        destination_name: Some("ca".to_owned()),
        conflict_policy: Some(ConflictPolicy::Overwrite),
        deletion_policy: "Orphan".into(),
        source_missing_policy: "Delete".into(),
        suspend: true,
        ..ClusterConfigMapSyncSpec::default()
    };
    let everything = ClusterConfigMapSyncSpec {
        namespace_selector: Some(NamespaceSelector::default()),
        conflict_policy: Some(ConflictPolicy::Fail),
        source_namespace: "platform".to_owned(),
        config_map_name: "company-ca".to_owned(),
        ..ClusterConfigMapSyncSpec::default()
    };
    let objects = Api::<ClusterConfigMapSync>::all(bed.cluster().client().unwrap());
    for (name, spec) in [("full", &full), ("everything", &everything)] {
        let object = ClusterConfigMapSync::new(name, spec.clone());
        assert_eq!(objects.create(&PostParams::default(), &object).await.unwrap().spec, *spec);
    }
    let status = status();
    let mut object = objects.get("full").await.unwrap();
    object.status = Some(status.clone());
    assert_eq!(objects.replace_status("full", &PostParams::default(), &object).await.unwrap().status, Some(status));
}

/// A status with all that it can hold.
fn status() -> ClusterConfigMapSyncStatus {
    let time = || serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
    let conditions = json!([{
        "type": "Ready", "status": "False", "reason": "SomeCopiesFailed", "message": "see failures",
        "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 1,
    }]);
    ClusterConfigMapSyncStatus {
        observed_generation: Some(1),
        sync_status: "Failed".to_owned(),
        message: "997 of 1,000 copies hold version 48213".to_owned(),
        last_sync_time: Some(time()),
        source: Some(ObjectVersion { uid: "u".to_owned(), resource_version: "48213".to_owned() }),
        content_hash: "h".to_owned(),
        source_namespace_uid: "u".to_owned(),
        copies: "997/1000".to_owned(),
        namespaces: Some(NamespaceCounts {
            selected: 1000,
            synced: 997,
            pending: 0,
            failed: 3,
            excluded: 4,
            removing: 5,
        }),
        failures: vec![NamespaceFailure {
            namespace: "billing".to_owned(),
            reason: "Forbidden".to_owned(),
            message: "exceeded quota".to_owned(),
            since: Some(time()),
        }],
        last_handled_request: Some("now".to_owned()),
        conditions: serde_json::from_value(conditions).unwrap(),
    }
}

#[tokio::test]
async fn kubectl_shows_columns_and_explains_every_field_of_the_cluster_kind() {
    let Some(bed) = Bed::own("kubectl_shows_columns_of_the_cluster_kind").await else { return };
    let objects = Api::<ClusterConfigMapSync>::all(bed.cluster().client().unwrap());
    for name in ["company-ca", "fresh"] {
        let change = json!({ "destinationName": "ca", "suspend": name == "fresh" });
        untyped(&bed).create(&PostParams::default(), &object(name, &spec(&change))).await.unwrap();
    }
    let status = Patch::Merge(json!({ "status": status() }));
    objects.patch_status("company-ca", &PatchParams::default(), &status).await.unwrap();
    let get = async |args: &[&str]| table(&bed.kubectl(&[&["get"], args].concat(), "").await.unwrap());
    insta::assert_snapshot!("get", get(&["ccms"]).await);
    insta::assert_snapshot!("get_wide", get(&["ccms", "-o", "wide"]).await);
    for name in ["clusterconfigmapsync", "clusterconfigmapsyncs", CRD] {
        assert_eq!(get(&[name]).await, get(&["ccms"]).await, "{name}");
    }
    let all = bed.kubectl(&["get", "kapendra", "--all-namespaces", "--output=name"], "").await.unwrap();
    let name = |name: &str| format!("clusterconfigmapsync.apps.kapendra.com/{name}\n");
    assert_eq!(all, name("company-ca") + &name("fresh"), "the category");

    let text = bed.kubectl(&["get", "crd", CRD, "-o", "json"], "").await.unwrap();
    let crd: Value = serde_json::from_str(&text).unwrap();
    let conditions = crd["status"]["conditions"].as_array().unwrap();
    // NonStructuralSchema, or names that are not accepted, would be told here.
    let told: Vec<_> = conditions.iter().map(|condition| (&condition["type"], &condition["status"])).collect();
    assert_eq!(json!(told), json!([["NamesAccepted", "True"], ["Established", "True"]]));
    let mut found = Vec::new();
    sentences("", &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"], &mut found);
    let generic = [".apiVersion", ".kind", ".metadata"];
    assert!(found.len() > 40, "{found:?}");
    for (path, sentence) in found.iter().filter(|(path, _)| !generic.contains(&path.as_str())) {
        assert!(sentence.len() > 8 && sentence.ends_with('.'), "{path}: {sentence:?} is no sentence");
    }
    let explained =
        eventually("kubectl knows the kind", async || bed.kubectl(&["explain", "ccms.spec"], "").await).await;
    insta::assert_snapshot!("explain", explained.lines().map(str::trim_end).collect::<Vec<_>>().join("\n"));
}

/// Under a definition that lets everything pass, or an older one, objects came in that this one would refuse.
#[tokio::test]
async fn an_old_cluster_object_that_makes_no_sense_can_lose_its_finalizer_and_go() {
    let Some(bed) = Bed::bare("an_old_cluster_object_can_lose_its_finalizer").await else { return };
    bed.install(relaxed).await;
    let old = [
        ("without-spec", None),
        ("empty-spec", Some(json!({}))),
        ("null-selector", Some(spec(&selecting(Value::Null)))),
        ("neither", Some(spec(&json!({ "namespaces": "none" })))),
        ("both", Some(spec(&json!({ "namespaceSelector": {} })))),
        ("names", Some(spec(&json!({ "sourceNamespace": "Upper", "configMapName": "a/b", "namespaces": ["A"] })))),
        ("values", Some(spec(&requirement(json!({ "key": "my team", "operator": "In" }))))),
        ("labels", Some(spec(&selecting(json!({ "matchLabels": { "my team": "x y" } }))))),
        ("policy", Some(spec(&json!({ "conflictPolicy": "Perhaps" })))),
        ("twice", Some(spec(&json!({ "namespaces": ["a", "a"] })))),
    ];
    let objects = untyped(&bed);
    let create = async |name: &str, spec: &Option<Value>| {
        let mut object = object(name, spec.as_ref().unwrap_or(&Value::Null));
        object.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
        if spec.is_none() {
            object.data.as_object_mut().unwrap().remove("spec");
        }
        objects.create(&PostParams::default(), &object).await
    };
    for (name, spec) in &old {
        create(name, spec).await.unwrap();
    }
    bed.install(|_| {}).await;
    eventually("the definition is the real one", async || {
        let dry = tried(&bed, &object("dry", &json!({}))).await;
        dry.err().map(drop).ok_or_else(|| "it takes everything".to_owned())
    })
    .await;
    for (name, _) in &old {
        objects.delete(name, &kube::api::DeleteParams::default()).await.unwrap();
        let none = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
        objects.patch(name, &PatchParams::default(), &none).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(objects.get_opt(name).await.unwrap().is_none(), "{name} is still there");
    }
    // One that has a spec cannot lose that.
    objects.create(&PostParams::default(), &object("good", &spec(&json!({})))).await.unwrap();
    let none = Patch::Merge(json!({ "spec": null }));
    let said = objects.patch("good", &PatchParams::default(), &none).await.unwrap_err().to_string();
    assert!(said.contains("spec is missing"), "{said}");
}
