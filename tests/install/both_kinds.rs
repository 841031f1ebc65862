//! Installing and removing where there are ClusterConfigMapSyncs, or where their definition is not there yet. No operator
//! runs here: what it would do, the tests do by hand.

use serde_json::{Value, json};

use crate::harness::{Bed, FINALIZER, PREFIX, SYSTEM, eventually};
use crate::script::{install, root};
use crate::seed::{self, DEPLOYMENT, get};

const CRDS: [&str; 2] = ["configmapsyncs.apps.kapendra.com", "clusterconfigmapsyncs.apps.kapendra.com"];
const BOTH: &str = "1 ConfigMapSyncs and 1 ClusterConfigMapSyncs";

/// The manifests of before the second kind, in a file.
fn with_the_first_definition_alone(bed: &Bed) -> String {
    let shipped = std::fs::read_to_string(root().join("deploy/install.yaml")).unwrap();
    let second = format!("\n  name: {}\n", CRDS[1]);
    let others: Vec<&str> = shipped.split("\n---\n").filter(|document| !document.contains(&second)).collect();
    assert_eq!(others.len(), shipped.split("\n---\n").count() - 1);
    let file = bed.cluster().dir().join("first-kind.yaml");
    std::fs::write(&file, others.join("\n---\n")).unwrap();
    file.to_str().unwrap().to_owned()
}

/// A sync of each kind and a copy of each, with all marks that an operator puts on them.
async fn objects(bed: &Bed, finalizers: &[&str]) {
    let spec = json!({ "sourceNamespace": "default", "configMapName": "cm", "destinationNamespace": "kube-public" });
    let sync = json!({
        "apiVersion": "apps.kapendra.com/v1", "kind": "ConfigMapSync", "spec": spec,
        "metadata": { "name": "one", "namespace": "default", "finalizers": finalizers },
    });
    let cluster_sync = json!({
        "apiVersion": "apps.kapendra.com/v1alpha1", "kind": "ClusterConfigMapSync",
        "metadata": { "name": "many", "finalizers": [FINALIZER] },
        "spec": { "sourceNamespace": "default", "configMapName": "cm", "namespaceSelector": {} },
    });
    let labels = [
        ("one", json!({ "managed-by": "configmapsync-controller", "sync-name": "one", "sync-namespace": "default" })),
        ("many", json!({ "managed-by": "configmapsync-controller", "cluster-sync-name": "many" })),
    ];
    let prefixed = |marks: &Value| -> Value {
        marks.as_object().unwrap().iter().map(|(key, value)| (format!("{PREFIX}{key}"), value.clone())).collect()
    };
    let annotations = json!({
        "sync": "s", "source": "s", "at": "a", "at-namespace": "kube-public", "source-hash": "h", "last-sync": "l",
    });
    let copies = labels.iter().map(|(name, labels)| {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": { "k": "v" },
            "metadata": {
                "name": name, "namespace": "kube-public",
                "labels": prefixed(labels), "annotations": prefixed(&annotations),
            },
        })
    });
    let items: Vec<Value> = copies.chain([sync, cluster_sync]).collect();
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": items });
    bed.kubectl(&["create", "-f", "-"], &list.to_string()).await.unwrap();
}

/// The marks on a copy: how many labels and annotations.
async fn marks(bed: &Bed, name: &str) -> usize {
    let copy = get(bed, &["configmap", name, "-n", "kube-public"]).await;
    assert_eq!(copy["data"], json!({ "k": "v" }));
    let count = |field: &str| copy["metadata"][field].as_object().map_or(0, serde_json::Map::len);
    count("labels") + count("annotations")
}

/// As the operator does it once the copies are gone: takes the finalizer off the ClusterConfigMapSync when that is being
/// deleted. The operator's Deployment must still be there then.
async fn let_go(bed: &Bed) {
    eventually("the ClusterConfigMapSync is being deleted, and the operator is there", async || {
        let object = get(bed, &["ccms", "many"]).await;
        let operator = get(bed, &["deployment", DEPLOYMENT, "-n", SYSTEM]).await;
        let going = object["metadata"]["deletionTimestamp"].is_string();
        if going && operator.is_object() { Ok(()) } else { Err(object.to_string()) }
    })
    .await;
    let none = r#"{"metadata":{"finalizers":null}}"#;
    bed.kubectl(&["patch", "ccms", "many", "--type=merge", "-p", none], "").await.unwrap();
}

async fn uids(bed: &Bed) -> [Value; 3] {
    let mut found = [const { Value::Null }; 3];
    for (uid, what) in found.iter_mut().zip([&["crd", CRDS[0]][..], &["crd", CRDS[1]], &["cms", "one"]]) {
        *uid = get(bed, what).await["metadata"]["uid"].clone();
    }
    found
}

#[tokio::test]
async fn a_cluster_with_the_first_definition_alone_gets_the_second() {
    let Some(bed) = Bed::bare("a_cluster_with_the_first_definition_alone").await else { return };
    let before_the_second = with_the_first_definition_alone(&bed);
    let old = ["--no-wait", "--manifests", &before_the_second];
    let said = install(&bed, &old).await.well();
    assert!(said.contains(&format!("The definition {} is established.", CRDS[0])), "{said}");
    assert!(!said.contains(CRDS[1]), "{said}");
    // Such a one can be removed by this script.
    let said = install(&bed, &["--uninstall", "--yes"]).await.well();
    assert!(said.contains(&format!("{} is not installed.\n", CRDS[1])), "{said}");
    assert!(said.contains(&format!("{}: deleted", CRDS[0])) && said.contains("Uninstalled."), "{said}");

    // And upgraded.
    install(&bed, &old).await.well();
    let sync = json!({
        "apiVersion": "apps.kapendra.com/v1", "kind": "ConfigMapSync", "metadata": { "name": "one" },
        "spec": { "sourceNamespace": "default", "configMapName": "cm", "destinationNamespace": "kube-public" },
    });
    bed.kubectl(&["create", "-f", "-"], &sync.to_string()).await.unwrap();
    let before = uids(&bed).await;
    let dry = install(&bed, &["--dry-run"]).await.well();
    assert!(dry.contains(&format!("CustomResourceDefinition/{}: would be created", CRDS[1])), "{dry}");
    assert!(dry.contains(&format!("CustomResourceDefinition/{}: would stay as it is", CRDS[0])), "{dry}");
    let said = install(&bed, &["--no-wait"]).await.well();
    assert_eq!(said.matches(": created\n").count(), 1, "{said}");
    for crd in CRDS {
        assert!(said.contains(&format!("The definition {crd} is established.")), "{said}");
    }
    let after = uids(&bed).await;
    assert_eq!((&after[0], &after[2]), (&before[0], &before[2]));
    assert!(before[1].is_null() && after[1].is_string());
}

#[tokio::test]
async fn uninstall_waits_for_both_kinds_before_the_operator_goes() {
    let Some(bed) = Bed::bare("uninstall_waits_for_both_kinds").await else { return };
    install(&bed, &["--no-wait"]).await.well();
    objects(&bed, &[]).await;
    let said = install(&bed, &["--no-wait"]).await.well();
    assert!(said.contains("\nClusterConfigMapSyncs: 1\n") && said.contains("\nConfigMapSyncs: 1\n"), "{said}");

    install(&bed, &["--uninstall"]).await.badly(3, &[&format!("{BOTH} are deleted with their copies"), "--yes"]);
    let said = install(&bed, &["--uninstall", "--dry-run"]).await.well();
    assert!(
        said.contains(&format!("Would delete {BOTH}, then their definitions ({}, {})", CRDS[0], CRDS[1])),
        "{said}"
    );

    // Nobody lets the second go.
    let words = ["1 ClusterConfigMapSyncs (above) still wait", "only a running operator", "--keep-copies"];
    let said = install(&bed, &["--uninstall", "--yes", "--timeout=3s"]).await.badly(1, &words);
    assert!(
        said.contains("\n  ClusterConfigMapSync many\n") || said.starts_with("  ClusterConfigMapSync many\n"),
        "{said}"
    );
    assert!(seed::deployment(&bed).await.is_object(), "the operator stays until they are gone");
    assert!(uids(&bed).await[..2].iter().all(Value::is_string), "and so do the definitions");

    let (ended, ()) = tokio::join!(install(&bed, &["--uninstall", "--yes", "--timeout=60s"]), let_go(&bed));
    let said = ended.well();
    assert!(said.ends_with("Uninstalled.\n"), "{said}");
    let at = |words: &str| said.find(words).unwrap_or_else(|| panic!("no {words:?} in {said}"));
    for crd in CRDS {
        assert!(
            at(&format!("{crd}: deleted")) < at(&format!("Deployment/{DEPLOYMENT}: stopped and deleted")),
            "{said}"
        );
    }
    assert_eq!(uids(&bed).await, [const { Value::Null }; 3]);
}

#[tokio::test]
async fn copies_of_both_kinds_are_kept_and_the_operator_alone_goes() {
    let Some(bed) = Bed::bare("copies_of_both_kinds_are_kept").await else { return };
    install(&bed, &["--no-wait"]).await.well();
    objects(&bed, &[FINALIZER]).await;
    let said = install(&bed, &["--uninstall", "--keep-syncs"]).await.well();
    assert!(said.contains(&format!("{BOTH} and their copies are left as they are")), "{said}");
    assert_eq!((marks(&bed, "one").await, marks(&bed, "many").await), (9, 8));
    let said = install(&bed, &["--uninstall", "--keep-copies", "--yes"]).await.well();
    assert!(said.contains("2 copies are ordinary ConfigMaps now"), "{said}");
    assert!(said.contains(&format!("{BOTH} are released")), "{said}");
    assert_eq!((marks(&bed, "one").await, marks(&bed, "many").await), (0, 0));
    assert_eq!(uids(&bed).await, [const { Value::Null }; 3]);
}

#[tokio::test]
async fn a_definition_of_the_second_kind_that_hangs_is_ended_and_the_first_kind_stays_as_it_is() {
    let Some(bed) = Bed::bare("a_definition_of_the_second_kind_that_hangs").await else { return };
    install(&bed, &["--no-wait"]).await.well();
    objects(&bed, &[FINALIZER]).await;
    let before = uids(&bed).await;
    let until_it_goes = async |crd: &str| {
        bed.kubectl(&["delete", "crd", crd, "--wait=false"], "").await.unwrap();
        eventually("it is being deleted", async || {
            let objects = get(&bed, &[crd, "--all-namespaces"]).await;
            let first = &objects["items"][0]["metadata"]["deletionTimestamp"];
            if first.is_string() { Ok(()) } else { Err(objects.to_string()) }
        })
        .await;
    };
    until_it_goes(CRDS[1]).await;
    let refusal = format!("the definition {} is being deleted and waits for 1 ClusterConfigMapSyncs (above)", CRDS[1]);
    install(&bed, &["--no-wait"]).await.badly(1, &[&refusal, "--finish-deletion", "--keep-copies"]);

    // Its copies stay; what is the first kind's is the operator's as before.
    let said = install(&bed, &["--keep-copies", "--yes", "--no-wait"]).await.well();
    assert!(said.contains("1 copies are ordinary") && said.contains("1 ClusterConfigMapSyncs are released"), "{said}");
    assert!(said.contains("The definition is gone; installing it anew"), "{said}");
    assert_eq!((marks(&bed, "one").await, marks(&bed, "many").await), (9, 0));
    let after = uids(&bed).await;
    assert_eq!((&after[0], &after[2]), (&before[0], &before[2]));
    assert_ne!(after[1], before[1]);
    let one = get(&bed, &["cms", "one"]).await;
    assert_eq!(one["metadata"]["finalizers"], json!([FINALIZER]));

    // By an operator, which the script starts.
    bed.kubectl(&["delete", "configmaps", "one", "many", "-n", "kube-public"], "").await.unwrap();
    bed.kubectl(&["patch", "cms", "one", "--type=merge", "-p", r#"{"metadata":{"finalizers":null}}"#], "")
        .await
        .unwrap();
    bed.kubectl(&["delete", "cms", "one"], "").await.unwrap();
    objects(&bed, &[FINALIZER]).await;
    let before = uids(&bed).await;
    until_it_goes(CRDS[1]).await;
    let args = ["--finish-deletion", "--yes", "--timeout=60s", "--no-wait"];
    let (ended, ()) = tokio::join!(install(&bed, &args), let_go(&bed));
    let said = ended.well();
    assert!(said.contains("The definition is gone; installing it anew"), "{said}");
    let after = uids(&bed).await;
    assert_eq!((&after[0], &after[2]), (&before[0], &before[2]));
    assert_ne!(after[1], before[1]);

    // Both.
    let many = json!({
        "apiVersion": "apps.kapendra.com/v1alpha1", "kind": "ClusterConfigMapSync",
        "metadata": { "name": "many", "finalizers": [FINALIZER] },
        "spec": { "sourceNamespace": "default", "configMapName": "cm", "namespaces": ["kube-public"] },
    });
    bed.kubectl(&["create", "-f", "-"], &many.to_string()).await.unwrap();
    for crd in CRDS {
        until_it_goes(crd).await;
    }
    let refusal = format!("the definitions {} and {} are being deleted and wait for {BOTH} (above)", CRDS[0], CRDS[1]);
    install(&bed, &["--no-wait"]).await.badly(1, &[&refusal]);
    let said = install(&bed, &["--keep-copies", "--yes", "--no-wait"]).await.well();
    assert!(said.contains("The definitions are gone; installing them anew"), "{said}");
    assert!(uids(&bed).await[..2].iter().all(Value::is_string));
}
