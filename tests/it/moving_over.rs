//! What docs/moving-over.md has people type, typed over objects as the former tools leave them: each copy stays the very
//! object that it was, and carries nothing by which the former tool's clean-up would take it along.
//!
//! What the tools write and delete was read in the code of reflector 10.0.63, kubernetes-replicator 2.12.4 and projection 0.3.1.

use std::collections::BTreeMap;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};

use crate::harness::{Bed, Case, Operator, eventually, seconds};
use crate::trust::typed;

/// What is not typed here, and why.
const NOT_TYPED: [(&str, &str); 1] =
    [("kubectl --namespace=kube-system rollout status deployment/kubernetes-replicator", "no node runs its pods")];
const NAME: &str = "company-ca";

/// The commands of a part of the page: what follows each `$ `, with the lines that a backslash joins to it.
fn commands(part: &str) -> Vec<String> {
    let blocks = part.split("```console\n").skip(1).filter_map(|block| block.split("```").next());
    let mut commands: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in blocks.flat_map(str::lines).map(str::trim_start) {
        match line.strip_prefix("$ ") {
            Some(command) => commands.push(command.to_owned()),
            None if goes_on => commands.last_mut().unwrap().push_str(&format!("\n{line}")),
            None => continue,
        }
        goes_on = line.ends_with('\\');
    }
    commands
}

/// The part of the page below this heading, up to the next of its rank or of a higher one.
fn part<'a>(page: &'a str, heading: &str) -> &'a str {
    let (_, below) = page.split_once(&format!("{heading}\n")).unwrap_or_else(|| panic!("{heading} is not on the page"));
    let rank = heading.chars().take_while(|sign| *sign == '#').count();
    let ends = (1..=rank).filter_map(|rank| below.find(&format!("\n{} ", "#".repeat(rank)))).min();
    &below[..ends.unwrap_or(below.len())]
}

/// The page, a cluster with the operator, and the namespaces that the page names.
struct Stage<'a> {
    case: Case<'a>,
    _operator: Operator,
    page: String,
    dir: PathBuf,
}

impl<'a> Stage<'a> {
    async fn set(bed: &'a Bed, test: &str) -> Self {
        let case = Case::on(bed, test).await;
        for namespace in ["platform", "team-a", "team-b", "team-c"] {
            case.create_namespace(namespace).await;
        }
        let page = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/moving-over.md");
        let page = std::fs::read_to_string(page).unwrap();
        let dir = bed.cluster().dir().join("typed");
        std::fs::create_dir(&dir).unwrap();
        let files = page.split("```yaml\n").skip(1).filter_map(|block| block.split("```").next());
        for (name, yaml) in ["company-ca.yaml", "team-c.yaml"].into_iter().zip(files) {
            std::fs::write(dir.join(name), yaml).unwrap();
        }
        Self { case, _operator: bed.holder(test).await, page, dir }
    }

    /// Types the commands of a part of the page one after the other. Returns what each printed.
    async fn type_part(&self, heading: &str) -> Vec<String> {
        let mut answers = Vec::new();
        for command in commands(part(&self.page, heading)) {
            if NOT_TYPED.iter().all(|(what, _)| *what != command) {
                let answer = typed(self.case.bed, &command, &self.dir).await;
                answers.push(answer.unwrap_or_else(|why| panic!("$ {command}: {why}")));
            }
        }
        assert!(!answers.is_empty(), "{heading} has no command");
        answers
    }

    async fn apply(&self, object: Value) {
        self.case.kubectl(&["apply", "--server-side", "-f", "-"], &object.to_string()).await.unwrap();
    }

    async fn source(&self, meta: Value) -> ConfigMap {
        let body = json!({ "metadata": meta, "data": { "ca.crt": "certificates" }, "binaryData": { "der": "AAE=" } });
        self.case.create("platform", NAME, body).await
    }

    /// A controller of the former tool, whose pod stays pending.
    async fn controller(&self, name: &str) {
        let labels = json!({ "app.kubernetes.io/name": name });
        self.apply(json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": name, "namespace": "kube-system" },
            "spec": { "replicas": 1, "selector": { "matchLabels": labels }, "template": {
                "metadata": { "labels": labels }, "spec": { "containers": [{ "name": "it", "image": "it" }] },
            } },
        }))
        .await;
        let selector = format!("--selector=app.kubernetes.io/name={name}");
        eventually(format!("the pod of {name} is there"), async || {
            let pods =
                self.case.kubectl(&["--namespace=kube-system", "get", "pods", &selector, "--output=name"], "").await?;
            if pods.is_empty() { Err("none".to_owned()) } else { Ok(()) }
        })
        .await;
    }

    async fn copy(&self, namespace: &str) -> ConfigMap {
        self.case.get(namespace, NAME).await.unwrap_or_else(|| panic!("the copy in {namespace} is gone"))
    }

    /// The copies are those that were there before, with what the source holds, and none of their marks is the former tool's.
    async fn assert_taken_over(&self, before: &[ConfigMap], tool: &str) {
        let source = self.copy("platform").await;
        for former in before {
            let copy = self.copy(former.metadata.namespace.as_deref().unwrap()).await;
            assert_eq!(copy.metadata.uid, former.metadata.uid, "it is another object");
            assert_eq!((&copy.data, &copy.binary_data), (&source.data, &source.binary_data));
            let marks = [&copy.metadata.labels, &copy.metadata.annotations].into_iter().flatten().flatten();
            let theirs: Vec<_> = marks.filter(|(name, _)| name.starts_with(tool)).collect();
            assert_eq!(theirs, [], "{:?}", copy.metadata);
            assert_eq!(copy.metadata.owner_references, None);
        }
        let told = self.case.kubectl(&["get", "clusterconfigmapsync", NAME, "--output=jsonpath={.status.copies}"], "");
        assert_eq!(told.await.unwrap(), format!("{0}/{0}", before.len()));
    }

    /// Waits until the object says of each of its namespaces that it fails for this reason.
    async fn until_failures(&self, reason: &str, count: usize) {
        let reasons = "--output=jsonpath={.status.failures[*].reason}";
        eventually(format!("{count} copies fail: {reason}"), async || {
            let told = self.case.kubectl(&["get", "clusterconfigmapsync", NAME, reasons], "").await?;
            if told.split(' ').filter(|told| *told == reason).count() == count { Ok(()) } else { Err(told) }
        })
        .await;
    }

    /// Deletes the object, the copies and the source, for another part of the page.
    async fn clear(&self) {
        let name = format!("clusterconfigmapsync/{NAME}");
        self.case.kubectl(&["delete", &name, "--timeout=60s"], "").await.unwrap();
        for namespace in ["platform", "team-a", "team-b"] {
            self.case.delete(namespace, NAME).await;
            self.case.kubectl(&["label", "namespace", namespace, "company-ca-"], "").await.unwrap();
        }
    }
}

fn annotations(map: &ConfigMap) -> BTreeMap<String, String> {
    map.metadata.annotations.clone().unwrap_or_default()
}

/// Would reflector, when it starts, delete this copy of `platform/company-ca`? It made it, and the source does not allow it.
fn reflector_deletes(copy: &ConfigMap, source: &ConfigMap) -> bool {
    let of =
        |map: &ConfigMap, name: &str| annotations(map).get(&format!("reflector.v1.k8s.emberstack.com/{name}")).cloned();
    let says = |map: &ConfigMap, name: &str| of(map, name).is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let allowed = says(source, "reflection-allowed") && says(source, "reflection-auto-enabled");
    says(copy, "auto-reflects") && of(copy, "reflects").as_deref() == Some("platform/company-ca") && !allowed
}

#[tokio::test]
async fn copies_of_reflector_are_taken_over() {
    let Some(bed) = Bed::own("from-reflector").await else { return };
    let stage = Stage::set(&bed, "from-reflector").await;
    stage.controller("reflector").await;
    let source = stage
        .source(json!({ "annotations": {
            "reflector.v1.k8s.emberstack.com/reflection-allowed": "true",
            "reflector.v1.k8s.emberstack.com/reflection-allowed-namespaces": "team-.*",
            "reflector.v1.k8s.emberstack.com/reflection-auto-enabled": "true",
            "reflector.v1.k8s.emberstack.com/reflection-auto-namespaces": "team-[ab]",
        } }))
        .await;
    let mut before = Vec::new();
    for namespace in ["team-a", "team-b"] {
        let marks = json!({
            "reflector.v1.k8s.emberstack.com/auto-reflects": "True",
            "reflector.v1.k8s.emberstack.com/reflects": "platform/company-ca",
            "reflector.v1.k8s.emberstack.com/reflected-version": source.metadata.resource_version,
            "reflector.v1.k8s.emberstack.com/reflected-at": "2026-08-04T21:27:29.1234567+00:00",
        });
        let body =
            json!({ "metadata": { "annotations": marks }, "data": source.data, "binaryData": source.binary_data });
        before.push(stage.case.create(namespace, NAME, body).await);
    }
    let bare = ConfigMap::default();
    assert!(before.iter().all(|copy| !reflector_deletes(copy, &source) && reflector_deletes(copy, &bare)));

    let answers = stage.type_part("## From reflector").await;
    let rows = |answer: &str| -> Vec<String> {
        answer.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    };
    let reflects = ["platform <none>", "team-a platform/company-ca", "team-b platform/company-ca"];
    assert_eq!(rows(&answers[0]), reflects);
    assert_eq!(rows(&answers[answers.len() - 2]), ["platform <none>", "team-a <none>", "team-b <none>"]);

    stage.assert_taken_over(&before, "reflector").await;
    let source = stage.copy("platform").await;
    assert_eq!(annotations(&source), BTreeMap::new());
    for former in &before {
        let copy = stage.copy(former.metadata.namespace.as_deref().unwrap()).await;
        assert!(!reflector_deletes(&copy, &source) && !reflector_deletes(&copy, &bare));
    }
    // What the page says of the time afterwards.
    stage.type_part("## Afterwards").await;
    stage.assert_taken_over(&before, "reflector").await;
    stage.case.kubectl(&["delete", "clusterconfigmapsync", NAME, "--timeout=60s"], "").await.unwrap();
    for namespace in ["team-a", "team-b"] {
        stage.case.until_gone(namespace, NAME).await;
    }
}

/// Would the replicator, when it sees that `source` is deleted, delete its pushed copy?
fn replicator_deletes(copy: &ConfigMap, source: &ConfigMap) -> bool {
    let pushed = ["replicate-to", "replicate-to-matching"]
        .iter()
        .any(|name| annotations(source).contains_key(&format!("replicator.v1.mittwald.de/{name}")));
    let mut keys: Vec<&str> = copy.data.iter().flat_map(|data| data.keys().map(String::as_str)).collect();
    keys.extend(copy.binary_data.iter().flat_map(|data| data.keys().map(String::as_str)));
    keys.sort_unstable();
    let written = annotations(copy).get("replicator.v1.mittwald.de/replicated-keys").cloned().unwrap_or_default();
    pushed && keys.join(",") == written
}

/// A copy as the replicator leaves it, with `more` in its metadata.
async fn replica(stage: &Stage<'_>, namespace: &str, source: &ConfigMap, more: Value) -> ConfigMap {
    let mut meta = json!({ "annotations": {
        "replicator.v1.mittwald.de/replicated-at": "2026-07-07T09:49:26Z",
        "replicator.v1.mittwald.de/replicated-from-version": source.metadata.resource_version,
        "replicator.v1.mittwald.de/replicated-keys": "ca.crt,der",
    } });
    for (field, value) in more.as_object().unwrap() {
        match (&mut meta[field], value) {
            (Value::Object(there), Value::Object(more)) => there.extend(more.clone()),
            (place, value) => *place = value.clone(),
        }
    }
    let body = json!({ "metadata": meta, "data": source.data, "binaryData": source.binary_data });
    stage.case.create(namespace, NAME, body).await
}

#[tokio::test]
async fn copies_of_kubernetes_replicator_are_taken_over() {
    let Some(bed) = Bed::own("from-replicator").await else { return };
    let stage = Stage::set(&bed, "from-replicator").await;
    stage.controller("kubernetes-replicator").await;

    // Pushed ones.
    let labels = json!({ "app.kubernetes.io/instance": "trust", "team": "blue" });
    let meta = json!({ "labels": labels, "annotations": { "replicator.v1.mittwald.de/replicate-to": "team-[ab]" } });
    let source = stage.source(meta).await;
    let mut before = Vec::new();
    for namespace in ["team-a", "team-b"] {
        before.push(replica(&stage, namespace, &source, json!({ "labels": labels })).await);
    }
    assert!(before.iter().all(|copy| replicator_deletes(copy, &source)));
    stage.type_part("### Copies that it pushed").await;
    stage.assert_taken_over(&before, "replicator").await;
    let now = stage.copy("team-a").await;
    let labels = now.metadata.labels.clone().unwrap();
    assert_eq!(
        (labels.get("team").map(String::as_str), labels.get("app.kubernetes.io/instance")),
        (Some("blue"), None)
    );
    assert!(!replicator_deletes(&now, &source), "whatever the source says");
    assert!(!replicator_deletes(&before[0], &stage.copy("platform").await), "whatever the copy carries");
    // Nor does it go with the source here.
    stage.case.delete("platform", NAME).await;
    stage.case.stays("team-a", NAME, seconds(1)).await;
    stage.source(json!({})).await;
    stage.clear().await;

    // Pulled ones, one of which has a key of its own.
    let source = stage
        .source(json!({ "annotations": {
            "replicator.v1.mittwald.de/replication-allowed": "true",
            "replicator.v1.mittwald.de/replication-allowed-namespaces": "team-.*",
        } }))
        .await;
    let from = json!({ "annotations": { "replicator.v1.mittwald.de/replicate-from": "platform/company-ca" } });
    let mut before = Vec::new();
    for namespace in ["team-a", "team-b"] {
        before.push(replica(&stage, namespace, &source, from.clone()).await);
    }
    stage.case.patch("team-b", NAME, json!({ "data": { "own": "x" } })).await;
    stage.type_part("### Copies that ask for their content").await;
    stage.assert_taken_over(&before, "replicator").await;
    assert_eq!(annotations(&stage.copy("platform").await), BTreeMap::new());
    stage.clear().await;

    // Pushed ones that have the owner of their source, a controller.
    let owner = stage.case.kubectl(&["get", "namespace", "platform", "--output=jsonpath={.metadata.uid}"], "");
    let owner = json!([{
        "apiVersion": "v1", "kind": "Namespace", "name": "platform", "uid": owner.await.unwrap(), "controller": true,
    }]);
    let source = stage
        .source(json!({ "ownerReferences": owner, "annotations": {
            "replicator.v1.mittwald.de/replicate-to": "team-[ab]",
            "replicator.v1.mittwald.de/keep-owner-references": "true",
        } }))
        .await;
    let mut before = Vec::new();
    for namespace in ["team-a", "team-b"] {
        before.push(replica(&stage, namespace, &source, json!({ "ownerReferences": owner })).await);
    }
    let beginning = commands(part(&stage.page, "### Copies that it pushed"));
    for command in beginning.iter().take_while(|command| !command.starts_with("kubectl wait")) {
        typed(&bed, command, &stage.dir).await.unwrap();
    }
    stage.until_failures("DestinationControlled", 2).await;
    let untouched = stage.copy("team-a").await;
    assert_eq!(untouched.metadata.resource_version, before[0].metadata.resource_version);
    stage.type_part("### Copies with an owner").await;
    for command in beginning.iter().skip_while(|command| !command.starts_with("kubectl wait")) {
        typed(&bed, command, &stage.dir).await.unwrap();
    }
    stage.assert_taken_over(&before, "replicator").await;
}

/// A definition in the group of projection that takes any spec.
fn definition(kind: &str, scope: &str) -> Value {
    let singular = kind.to_lowercase();
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{singular}s.projection.sh") },
        "spec": {
            "group": "projection.sh", "scope": scope,
            "names": { "kind": kind, "singular": singular, "plural": format!("{singular}s") },
            "versions": [{ "name": "v1", "served": true, "storage": true, "schema": { "openAPIV3Schema": {
                "type": "object", "x-kubernetes-preserve-unknown-fields": true,
            } } }],
        },
    })
}

/// Waits until an object of projection is being deleted, and then does what projection does: deletes the copies that carry
/// its marks, and lets go of it. `args` name the object for kubectl; `annotation` is what its annotation on a copy says.
async fn projection_finalizes(case: &Case<'_>, args: &[&str], mark: &str, annotation: &str) {
    let object = eventually(format!("{args:?} is being deleted"), async || {
        let told = case.kubectl(&[&["get", "--output=json"], args].concat(), "").await?;
        let object: Value = serde_json::from_str(&told).unwrap();
        if object["metadata"]["deletionTimestamp"].is_string() { Ok(object) } else { Err("it stands".to_owned()) }
    });
    let uid = object.await["metadata"]["uid"].as_str().unwrap().to_owned();
    for namespace in ["team-a", "team-b", "team-c"] {
        let Some(copy) = case.get(namespace, NAME).await else { continue };
        let labelled =
            copy.metadata.labels.iter().flatten().any(|(name, value)| *name == format!("{mark}-uid") && *value == uid);
        if labelled && annotations(&copy).get(mark).is_some_and(|owner| owner == annotation) {
            case.delete(namespace, NAME).await;
        }
    }
    let free = r#"--patch={"metadata":{"finalizers":null}}"#;
    case.kubectl(&[&["patch", "--type=merge", free], args].concat(), "").await.unwrap();
}

#[tokio::test]
async fn copies_of_projection_are_taken_over() {
    const CLUSTER_MARK: &str = "projection.sh/owned-by-cluster-projection";
    const MARK: &str = "projection.sh/owned-by-projection";
    let Some(bed) = Bed::own("from-projection").await else { return };
    let stage = Stage::set(&bed, "from-projection").await;
    for (kind, scope) in [("ClusterProjection", "Cluster"), ("Projection", "Namespaced")] {
        stage.apply(definition(kind, scope)).await;
    }
    let crds = ["crd/clusterprojections.projection.sh", "crd/projections.projection.sh"];
    let established = [&["wait", "--for=condition=Established", "--timeout=60s"], &crds[..]].concat();
    stage.case.kubectl(&established, "").await.unwrap();
    let spec = json!({ "source": { "kind": "ConfigMap", "namespace": "platform", "name": NAME } });
    let mut cluster = json!({
        "apiVersion": "projection.sh/v1", "kind": "ClusterProjection", "spec": spec,
        "metadata": { "name": NAME, "finalizers": ["projection.sh/cluster-finalizer"] },
    });
    cluster["spec"]["destination"]["namespaces"] = json!(["team-a", "team-b"]);
    let single = json!({
        "apiVersion": "projection.sh/v1", "kind": "Projection", "spec": spec,
        "metadata": { "name": NAME, "namespace": "team-c", "finalizers": ["projection.sh/finalizer"] },
    });
    stage.apply(cluster).await;
    stage.apply(single).await;
    let (many, one) = (["clusterprojection", NAME], ["projection", NAME, "--namespace=team-c"]);
    let source = stage
        .source(json!({ "labels": { "team": "blue" }, "annotations": { "projection.sh/projectable": "true" } }))
        .await;
    let mut before = Vec::new();
    for (namespace, object, mark, owner) in [
        ("team-a", &many[..], CLUSTER_MARK, NAME),
        ("team-b", &many[..], CLUSTER_MARK, NAME),
        ("team-c", &one[..], MARK, "team-c/company-ca"),
    ] {
        let uid = [&["get", "--output=jsonpath={.metadata.uid}"], object].concat();
        let uid = stage.case.kubectl(&uid, "").await.unwrap();
        let meta = json!({
            "labels": { "team": "blue", (format!("{mark}-uid")): uid },
            "annotations": { "projection.sh/projectable": "true", (mark): owner },
        });
        let body = json!({ "metadata": meta, "data": source.data, "binaryData": source.binary_data });
        before.push(stage.case.create(namespace, NAME, body).await);
    }
    let single = before.pop().unwrap();

    tokio::join!(
        stage.type_part("### From a ClusterProjection"),
        projection_finalizes(&stage.case, &many, CLUSTER_MARK, NAME),
    );
    stage.assert_taken_over(&before, "projection.sh/").await;
    // The Projection's copy would go with it.
    assert_eq!(annotations(&stage.copy("platform").await).len(), 1, "the source still consents");

    tokio::join!(
        stage.type_part("### From a Projection"),
        projection_finalizes(&stage.case, &one, MARK, "team-c/company-ca"),
    );
    let copy = stage.copy("team-c").await;
    assert_eq!((&copy.metadata.uid, &copy.data), (&single.metadata.uid, &source.data));
    let marks: Vec<String> = annotations(&copy).into_keys().chain(copy.metadata.labels.unwrap().into_keys()).collect();
    assert!(marks.iter().all(|name| !name.starts_with("projection.sh/")), "{marks:?}");
    stage.type_part("### The source").await;
    assert_eq!(annotations(&stage.copy("platform").await), BTreeMap::new());
    stage.clear().await;

    // An immutable one is refused until it is gone.
    let fixed = json!({ "data": { "ca.crt": "certificates" }, "immutable": true });
    stage.case.create("platform", NAME, fixed.clone()).await;
    let former = stage.case.create("team-a", NAME, fixed.clone()).await;
    typed(&bed, "kubectl label namespace team-a company-ca=yes && kubectl apply -f company-ca.yaml", &stage.dir)
        .await
        .unwrap();
    stage.until_failures("DestinationImmutable", 1).await;
    assert_eq!(stage.copy("team-a").await, former);
    stage.type_part("### Immutable copies").await;
    let copy = stage.copy("team-a").await;
    assert_ne!(copy.metadata.uid, former.metadata.uid);
    assert_eq!((json!(copy.data), copy.immutable), (fixed["data"].clone(), Some(true)));
}
