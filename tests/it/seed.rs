//! What the seed's README promises, and what its operator leaves behind.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use testbed::Cluster;

use crate::harness::{Bed, Case, FINALIZER, PREFIX, eventually, seconds};

const QUICK_START: &str = "
apiVersion: apps.kapendra.com/v1
kind: ConfigMapSync
metadata:
  name: my-first-sync
  namespace: default
spec:
  sourceNamespace: default
  destinationNamespace: kube-system  
  configMapName: my-app-config
";
const BASIC: &str = "
apiVersion: apps.kapendra.com/v1
kind: ConfigMapSync
metadata:
  name: my-config-sync
  namespace: default
spec:
  sourceNamespace: source-ns
  destinationNamespace: target-ns  
  configMapName: my-config
";
const COMPLETE: &str = r#"
# First, create the source ConfigMap
apiVersion: v1
kind: ConfigMap
metadata:
  name: app-config
  namespace: production
data:
  database.url: "postgres://prod-db:5432/myapp"
  app.name: "MyApp"
  config.yaml: |
    port: 8080
    debug: false

---
# Create the ConfigMapSync to replicate it
apiVersion: apps.kapendra.com/v1
kind: ConfigMapSync
metadata:
  name: app-config-sync
  namespace: default
spec:
  sourceNamespace: production
  destinationNamespace: staging
  configMapName: app-config
"#;
const SEVERAL: &str = "
apiVersion: apps.kapendra.com/v1
kind: ConfigMapSync
metadata:
  name: app-config-sync
spec:
  sourceNamespace: production
  destinationNamespace: staging
  configMapName: app-config
---
apiVersion: apps.kapendra.com/v1
kind: ConfigMapSync  
metadata:
  name: db-config-sync
spec:
  sourceNamespace: production
  destinationNamespace: staging
  configMapName: database-config
";

/// The README's example, word by word but for the time.
fn the_readmes_status() -> Value {
    json!({
        "conditions": [
            { "type": "Synced", "status": "True", "reason": "SyncSucceeded",
              "message": "ConfigMap synced successfully" },
            { "type": "SourceAvailable", "status": "True", "reason": "SourceFound",
              "message": "Source ConfigMap exists and accessible" },
            { "type": "Ready", "status": "True", "reason": "AllComponentsReady",
              "message": "All sync components are functioning properly" },
        ],
        "syncStatus": "Success",
        "message": "ConfigMap synced successfully",
        "sourceExists": true,
        "destinationExists": true,
        "retryCount": 0,
    })
}

#[tokio::test]
async fn the_readmes_objects_apply_as_they_stand_and_end_in_its_status() {
    let (bed, _) = Bed::shared().await;
    if matches!(bed.cluster(), Cluster::Given(_)) {
        eprintln!(
            "SKIPPED the_readmes_objects_apply_as_they_stand_and_end_in_its_status: it writes into default and kube-system"
        );
        return;
    }
    for namespace in ["source-ns", "target-ns", "production", "staging"] {
        bed.kubectl(&["create", "namespace", namespace], "").await.unwrap();
    }
    let literal = "--from-literal=database.url=postgres://localhost:5432/myapp";
    bed.kubectl(&["create", "configmap", "my-app-config", literal], "").await.unwrap();
    for yaml in [QUICK_START, BASIC, COMPLETE, SEVERAL] {
        bed.kubectl(&["apply", "-f", "-"], yaml).await.unwrap();
    }
    until_status(bed, "my-first-sync", the_readmes_status()).await;
    until_status(bed, "app-config-sync", the_readmes_status()).await;
    let data = async |namespace: &str, name: &str| {
        let maps = Api::<ConfigMap>::namespaced(bed.cluster().client().unwrap(), namespace);
        json!(maps.get(name).await.unwrap().data)
    };
    assert_eq!(
        data("kube-system", "my-app-config").await,
        json!({ "database.url": "postgres://localhost:5432/myapp" })
    );
    let app = json!({
        "database.url": "postgres://prod-db:5432/myapp", "app.name": "MyApp", "config.yaml": "port: 8080\ndebug: false\n",
    });
    assert_eq!(data("staging", "app-config").await, app);

    // These two have no source in the README.
    for (sync, source) in [("my-config-sync", "source-ns/my-config"), ("db-config-sync", "production/database-config")]
    {
        let why = format!("source ConfigMap {source} does not exist; it is synced as soon as it is created");
        let missing = json!({
            "conditions": [
                { "type": "Synced", "status": "False", "reason": "SourceNotFound", "message": why },
                { "type": "SourceAvailable", "status": "False", "reason": "SourceNotFound", "message": why },
                { "type": "Ready", "status": "False", "reason": "NotReady", "message": why },
            ],
            "syncStatus": "Failed", "message": why, "sourceExists": false, "destinationExists": false, "retryCount": 0,
        });
        until_status(bed, sync, missing).await;
        let (namespace, name) = source.split_once('/').unwrap();
        let from = ["create", "configmap", name, "--namespace", namespace, "--from-literal=key=value"];
        bed.kubectl(&from, "").await.unwrap();
        until_status(bed, sync, the_readmes_status()).await;
    }
    bed.kubectl(&["wait", "--for=condition=Ready", "--timeout=30s", "configmapsyncs", "--all"], "").await.unwrap();

    // Its way to uninstall: the copies go with the syncs.
    bed.kubectl(&["delete", "configmapsyncs", "--all", "--timeout=30s"], "").await.unwrap();
    for (namespace, name) in [("kube-system", "my-app-config"), ("staging", "app-config"), ("target-ns", "my-config")] {
        let maps = Api::<ConfigMap>::namespaced(bed.cluster().client().unwrap(), namespace);
        assert!(maps.get_opt(name).await.unwrap().is_none(), "{namespace}/{name} is left");
    }
}

/// Waits until what a person sees of the status, times and versions left out, is just this.
async fn until_status(bed: &Bed, sync: &str, expected: Value) {
    eventually(format!("{sync} ends in the status {expected}"), async || {
        let text = bed.kubectl(&["get", "configmapsync", sync, "--output=json"], "").await?;
        let object: Value = serde_json::from_str(&text).unwrap();
        let mut status = object["status"].clone();
        let Some(fields) = status.as_object_mut() else { return Err("no status".to_owned()) };
        let succeeded = fields["syncStatus"] == "Success";
        for added in ["observedGeneration", "source", "copy", "sourceNamespaceUid"] {
            fields.remove(added);
        }
        let synced_at = fields.remove("lastSyncTime");
        for condition in fields["conditions"].as_array_mut().unwrap() {
            let condition = condition.as_object_mut().unwrap();
            condition.remove("lastTransitionTime").unwrap();
            condition.remove("observedGeneration");
        }
        let has_time = synced_at.is_some_and(|time| time.as_str().is_some_and(|time| time.ends_with('Z')));
        if status == expected && (has_time || !succeeded) { Ok(()) } else { Err(object.to_string()) }
    })
    .await;
}

/// A sync as the seed's operator leaves it: its finalizer, its status, nothing of ours.
async fn sync_of_the_seed(case: &Case<'_>, name: &str, spec: Value) {
    let mut status = the_readmes_status();
    status["lastSyncTime"] = json!("2025-01-23T10:30:45Z");
    for condition in status["conditions"].as_array_mut().unwrap() {
        condition["lastTransitionTime"] = json!("2025-01-23T10:30:45Z");
    }
    let sync = json!({ "metadata": { "name": name, "finalizers": [FINALIZER] }, "spec": spec });
    let sync = serde_json::from_value(sync).unwrap();
    case.syncs().create(&PostParams::default(), &sync).await.unwrap();
    let status = json!({ "status": status });
    case.syncs().patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
}

/// The metadata of a copy that the seed's operator made, or of a ConfigMap that it took over.
fn marks_of_the_seed(case: &Case<'_>, sync: &str, created: bool) -> Value {
    let annotations = json!({
        (format!("{PREFIX}source-hash")): "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        (format!("{PREFIX}last-sync")): "2025-01-23T10:30:45Z",
    });
    let labels = json!({
        (format!("{PREFIX}sync-name")): sync,
        (format!("{PREFIX}sync-namespace")): case.syncs,
        (format!("{PREFIX}managed-by")): "configmapsync-controller",
    });
    if created {
        json!({ "labels": labels, "annotations": annotations })
    } else {
        json!({ "annotations": annotations })
    }
}

#[tokio::test]
async fn what_the_seeds_operator_left_is_taken_over_and_rewritten_only_where_it_is_not_in_order() {
    let test = "what_the_seeds_operator_left_is_taken_over_and_rewritten_only_where_it_is_not_in_order";
    let Some(bed) = Bed::own(test).await else { return };
    let case = Case::on(&bed, "seed").await;
    let right = json!({ "k": "v" });
    for (name, created, data) in [("good", true, "v"), ("stale", true, "old"), ("adopted", false, "v")] {
        case.create(&case.src, name, json!({ "data": right })).await;
        sync_of_the_seed(&case, name, case.spec(json!({ "configMapName": name }))).await;
        let copy = json!({ "metadata": marks_of_the_seed(&case, name, created), "data": { "k": data } });
        case.create(&case.dst, name, copy).await;
    }
    // Two syncs for one place, of which the copy's labels name the second.
    case.create(&case.src, "shared", json!({ "data": right })).await;
    for name in ["first", "second"] {
        sync_of_the_seed(&case, name, case.spec(json!({ "configMapName": "shared" }))).await;
    }
    case.create(&case.dst, "shared", json!({ "metadata": marks_of_the_seed(&case, "second", true), "data": right }))
        .await;
    let before = [case.get(&case.dst, "good").await, case.get(&case.dst, "adopted").await];

    let mark = case.mark().unwrap();
    let operator = bed.holder("upgrade").await;
    case.until_data(&case.dst, "stale", right.clone()).await;
    for sync in ["good", "stale", "adopted", "second"] {
        let status = case.until_ready(sync).await;
        assert!(status.source.is_some() && status.copy.is_some(), "{sync}: {status:?}");
        let since = &status.conditions[0].last_transition_time.0;
        assert_eq!(since.to_string(), "2025-01-23T10:30:45Z", "{sync}: it was True all the time");
    }
    case.until_stalled("first", "DestinationConflict").await;
    assert_eq!([case.get(&case.dst, "good").await, case.get(&case.dst, "adopted").await], before, "left as they were");
    let requests = case.requests(mark);
    assert_eq!(requests.get("update configmaps"), Some(&1), "only the stale one is written: {requests:?}");
    assert_eq!(requests.get("update configmapsyncs/status"), Some(&5), "each says once how it is: {requests:?}");

    // From now on they are like any other.
    for name in ["good", "adopted"] {
        case.patch(&case.src, name, json!({ "data": { "k": "new" } })).await;
        case.until_data(&case.dst, name, json!({ "k": "new" })).await;
        case.until_ready(name).await;
    }
    for name in ["good", "adopted", "stale"] {
        case.delete_sync(name).await;
        case.until_sync_gone(name).await;
    }
    for name in ["good", "stale"] {
        assert!(case.get(&case.dst, name).await.is_none(), "the copy {name} goes with its sync");
    }
    let kept = case.get(&case.dst, "adopted").await.expect("what stood there before the seed's operator stays");
    assert_eq!(json!(kept.data), json!({ "k": "new" }));
    assert!(operator.terminate().await.is_some());

    // And a restart finds everything in order.
    let mark = case.mark().unwrap();
    let _operator = bed.holder("again").await;
    tokio::time::sleep(seconds(2)).await;
    let requests = case.requests(mark);
    assert!(requests.is_empty(), "{requests:?}");
}
