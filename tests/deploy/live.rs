//! The real API server takes what is shipped; helm installs, upgrades, rolls back and removes it. There is no node here:
//! Pods do not run.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use testbed::{Cluster, Options};

use super::render::{NAMESPACE, Objects, RELEASE, chart, deploy, helm, kustomize, run};

const CRD: &str = "crd/configmapsyncs.apps.kapendra.com";
const CLUSTER_CRD: &str = "crd/clusterconfigmapsyncs.apps.kapendra.com";
const DEPLOYMENT: &str = "deployment/configmapsync-controller-manager";

struct Bed(Cluster);

impl Bed {
    /// A cluster of its own; `None`, said on standard error, where `KUBECONFIG` asks for another one to be used: whoever
    /// set it may have the operator there.
    async fn new(test: &str) -> Option<Self> {
        Self::with(test, Options::default()).await
    }

    async fn with(test: &str, options: Options) -> Option<Self> {
        if std::env::var_os("KUBECONFIG").is_some_and(|value| !value.is_empty()) {
            eprintln!("SKIPPED {test}: it needs a control plane of its own; unset KUBECONFIG to run it");
            return None;
        }
        Some(Self(Cluster::connect_or_start(options).await.unwrap()))
    }

    fn kubectl(&self, args: &[&str]) -> Result<String, String> {
        run(self.0.kubectl().args(args))
    }

    /// Applies objects, with the arguments; they pass through a file.
    fn apply(&self, objects: &[&Value], args: &[&str]) -> Result<String, String> {
        let file = self.0.dir().join("objects.yaml");
        // Documents, not a List: of a List kubectl asks its own schema, not the server. An older kubectl takes what begins with a
        // brace for JSON alone.
        let documents: Vec<String> = objects.iter().map(|object| format!("---\n{object}\n")).collect();
        std::fs::write(&file, documents.concat()).unwrap();
        self.kubectl(&[&["apply", "--validate=strict", "-f", file.to_str().unwrap()], args].concat())
    }

    fn helm(&self, args: &[&str]) -> Result<String, String> {
        let home = self.0.dir().join("helm");
        run(with_home(&mut helm(), &home)
            .arg("--kubeconfig")
            .arg(self.0.kubeconfig())
            .args(["--namespace", NAMESPACE])
            .args(args))
    }

    fn get(&self, what: &str, path: &str) -> String {
        self.kubectl(&["-n", NAMESPACE, "get", what, "-o", &format!("jsonpath={{{path}}}")]).unwrap()
    }

    /// Of an object in the namespace `default`, or in none.
    fn uid(&self, object: &str) -> String {
        self.kubectl(&["get", object, "-o", "jsonpath={.metadata.uid}"]).unwrap()
    }

    fn sync(&self, name: &str) {
        let sync = json!({
            "apiVersion": "apps.kapendra.com/v1", "kind": "ConfigMapSync",
            "metadata": { "name": name, "namespace": "default" },
            "spec": { "sourceNamespace": "default", "destinationNamespace": "kube-public", "configMapName": "c" },
        });
        self.apply(&[&sync], &[]).unwrap();
    }

    fn cluster_sync(&self, name: &str) {
        let sync = json!({
            "apiVersion": "apps.kapendra.com/v1alpha1", "kind": "ClusterConfigMapSync", "metadata": { "name": name },
            "spec": { "sourceNamespace": "default", "configMapName": "c", "namespaces": ["kube-public"] },
        });
        self.apply(&[&sync], &[]).unwrap();
    }

    fn until_established(&self) {
        self.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", CRD, CLUSTER_CRD]).unwrap();
    }
}

/// helm's own files are the test's, not the user's.
fn with_home<'a>(command: &'a mut Command, home: &Path) -> &'a mut Command {
    command.env("HELM_CACHE_HOME", home).env("HELM_CONFIG_HOME", home).env("HELM_DATA_HOME", home)
}

/// Kinds that are Prometheus Operator's: the API server here has no definition of them.
fn known_here(objects: &Objects) -> Vec<&Value> {
    objects.values().filter(|object| object["apiVersion"] != "monitoring.coreos.com/v1").collect()
}

#[tokio::test]
async fn the_api_server_takes_every_rendering_with_strict_validation() {
    let Some(bed) = Bed::new("the_api_server_takes_every_rendering_with_strict_validation").await else { return };
    bed.kubectl(&["create", "namespace", NAMESPACE]).unwrap();
    let dry = ["--dry-run=server"];
    let everything = "networkPolicy.enabled=true,serviceMonitor.enabled=true,podDisruptionBudget.minAvailable=50%,\
                      strategy.type=Recreate,grafanaDashboard.enabled=true,commonLabels.team=a,image.tag=v9,\
                      rbac.aggregateToEdit=true,rbac.aggregateToAdmin=true,extraArgs[0]=--write-qps=5";
    let production = deploy("overlays/production/values.yaml");
    let sets = [
        ("chart", chart(&[])),
        ("chart with much", chart(&["--set", everything])),
        ("chart for production", chart(&["--values", production.to_str().unwrap()])),
        ("kustomize", kustomize(".").await),
        ("production", kustomize("overlays/production").await),
        ("small", kustomize("overlays/small").await),
        ("monitoring", kustomize("overlays/monitoring").await),
    ];
    for (name, objects) in &sets {
        bed.apply(&known_here(objects), &dry).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    // That this can fail.
    let mut typo = sets[0].1.clone();
    typo.values_mut().find(|object| object["kind"] == "Deployment").unwrap()["spec"]["replica"] = json!(2);
    let refusal = bed.apply(&known_here(&typo), &dry).unwrap_err();
    assert!(refusal.contains("unknown field \"spec.replica\""), "{refusal}");
}

/// As on GKE: Pods of the system's classes are admitted only where a quota lets them in.
#[tokio::test]
async fn production_runs_where_priority_classes_are_limited() {
    let test = "production_runs_where_priority_classes_are_limited";
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/deploy/limited-priority-classes.json");
    let flag = format!("--admission-control-config-file={}", file.display());
    let options = Options { api_server_flags: vec![flag], ..Options::default() };
    let Some(bed) = Bed::with(test, options).await else { return };
    let mut objects = kustomize("overlays/production").await;
    let quota = objects.remove("ResourceQuota configmapsync-system/configmapsync-controller-manager").unwrap();
    bed.kubectl(&["create", "namespace", NAMESPACE]).unwrap();
    bed.apply(&known_here(&objects), &[]).unwrap();
    let denied = || bed.get("events", ".items[?(@.reason==\"FailedCreate\")].message");
    until("Pods are refused", || denied().contains("insufficient quota to match these scopes"), denied).await;
    bed.apply(&[&quota], &[]).unwrap();
    // There is no controller of quotas here: its first sum is written by hand.
    let sum = json!({ "status": { "hard": quota["spec"]["hard"], "used": { "pods": "0" } } }).to_string();
    let object = "resourcequota/configmapsync-controller-manager";
    let place = ["-n", NAMESPACE, "patch", object, "--subresource=status", "--type=merge", "-p", &sum];
    bed.kubectl(&place).unwrap();
    let pods = || bed.get("pods", ".items[*].spec.priorityClassName");
    until("three Pods are admitted", || pods() == ["system-cluster-critical"; 3].join(" "), pods).await;
}

/// Waits as long as it may take a controller that waits longer after each refusal.
async fn until(what: &str, holds: impl Fn() -> bool, found: impl Fn() -> String) {
    for _ in 0..600 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    panic!("{what}: {}", found());
}

#[tokio::test]
async fn helm_installs_upgrades_rolls_back_and_removes_and_syncs_stay() {
    let Some(bed) = Bed::new("helm_installs_upgrades_rolls_back_and_removes_and_syncs_stay").await else { return };
    let path = deploy("chart");
    let path = path.to_str().unwrap();

    let notes = bed.helm(&["install", RELEASE, path, "--create-namespace"]).unwrap();
    assert!(notes.contains("rollout status deployment/configmapsync-controller-manager"), "{notes}");
    bed.until_established();
    assert_eq!(bed.get(DEPLOYMENT, ".spec.replicas"), "2");
    bed.sync("kept");
    bed.cluster_sync("kept");
    let uids = || ["cms/kept", "ccms/kept"].map(|object| bed.uid(object));
    let before = uids();

    bed.helm(&["upgrade", RELEASE, path, "--set", "replicaCount=5,networkPolicy.enabled=true,image.tag=v9"]).unwrap();
    assert_eq!(bed.get(DEPLOYMENT, ".spec.replicas"), "5");
    assert!(bed.get(DEPLOYMENT, ".spec.template.spec.containers[0].image").ends_with(":v9"));
    assert_eq!(bed.get("networkpolicies", ".items[*].metadata.name"), "configmapsync-controller-manager");

    let refusal = bed.helm(&["upgrade", RELEASE, path, "--set", "replicaCount=many"]).unwrap_err();
    assert!(refusal.contains("/replicaCount"), "{refusal}");
    assert_eq!(bed.get(DEPLOYMENT, ".spec.replicas"), "5");

    bed.helm(&["rollback", RELEASE, "1"]).unwrap();
    assert_eq!(bed.get(DEPLOYMENT, ".spec.replicas"), "2");
    assert_eq!(bed.get("networkpolicies", ".items[*].metadata.name"), "");

    bed.helm(&["uninstall", RELEASE]).unwrap();
    let left = bed.kubectl(&["-n", NAMESPACE, "get", "deployments,pdb,roles,sa", "-o", "name"]).unwrap();
    assert_eq!(left.trim(), "serviceaccount/default");
    let roles = bed.kubectl(&["get", "clusterroles,clusterrolebindings,flowschemas,validatingadmissionpolicies,validatingadmissionpolicybindings", "-o", "name"]).unwrap();
    assert!(!roles.contains("configmapsync"), "{roles}");
    assert_eq!(uids(), before);

    // Again, over the definitions that were kept.
    bed.helm(&["install", RELEASE, path]).unwrap();
    assert_eq!(uids(), before);

    // As the chart's README and its notes say it.
    let command = "delete configmapsyncs,clusterconfigmapsyncs --all --all-namespaces";
    assert!(notes.contains(&format!("kubectl {command}")), "{notes}");
    bed.kubectl(&command.split(' ').collect::<Vec<_>>()).unwrap();
    assert_eq!(bed.kubectl(&["get", "kapendra", "--all-namespaces", "-o", "name"]).unwrap(), "");
}

/// A chart's `crds/` folder would not do that: fields of a new version would be pruned.
#[tokio::test]
async fn an_upgrade_brings_the_new_definition_and_one_without_it_leaves_it() {
    let Some(bed) = Bed::new("an_upgrade_brings_the_new_definition_and_one_without_it_leaves_it").await else { return };
    let old = deploy("chart");
    let new = bed.0.dir().join("chart");
    run(Command::new("cp").arg("-r").arg(&old).arg(&new)).unwrap();
    let definition = new.join("files/crds/configmapsyncs.apps.kapendra.com.yaml");
    let changed = std::fs::read_to_string(&definition).unwrap().replace("    - cms\n", "    - cms\n    - newer\n");
    std::fs::write(&definition, changed).unwrap();
    let [old, new] = [&old, &new].map(|path| path.to_str().unwrap());
    let short_names = || bed.get(CRD, ".spec.names.shortNames[*]");

    bed.helm(&["install", RELEASE, old, "--create-namespace"]).unwrap();
    assert_eq!(short_names(), "cms");
    bed.helm(&["upgrade", RELEASE, new]).unwrap();
    assert_eq!(short_names(), "cms newer");
    bed.helm(&["rollback", RELEASE, "1"]).unwrap();
    assert_eq!(short_names(), "cms");
    bed.helm(&["upgrade", RELEASE, new, "--set", "crds.enabled=false"]).unwrap();
    assert_eq!(short_names(), "cms");
}

/// A release of before the second kind.
#[tokio::test]
async fn an_upgrade_brings_the_definition_of_the_second_kind_and_a_rollback_leaves_it() {
    let test = "an_upgrade_brings_the_definition_of_the_second_kind_and_a_rollback_leaves_it";
    let Some(bed) = Bed::new(test).await else { return };
    let new = deploy("chart");
    let old = bed.0.dir().join("chart");
    run(Command::new("cp").arg("-r").arg(&new).arg(&old)).unwrap();
    std::fs::remove_file(old.join("files/crds/clusterconfigmapsyncs.apps.kapendra.com.yaml")).unwrap();
    let [old, new] = [&old, &new].map(|path| path.to_str().unwrap());

    bed.helm(&["install", RELEASE, old, "--create-namespace"]).unwrap();
    bed.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", CRD]).unwrap();
    assert!(bed.kubectl(&["get", CLUSTER_CRD]).unwrap_err().contains("NotFound"));
    bed.sync("kept");
    let uid = bed.uid("cms/kept");
    bed.helm(&["upgrade", RELEASE, new]).unwrap();
    bed.until_established();
    bed.cluster_sync("kept");
    bed.helm(&["rollback", RELEASE, "1"]).unwrap();
    bed.kubectl(&["get", "ccms/kept"]).unwrap();
    assert_eq!(bed.uid("cms/kept"), uid);
}

#[tokio::test]
async fn the_api_server_takes_every_sample_with_strict_validation() {
    let Some(bed) = Bed::new("the_api_server_takes_every_sample_with_strict_validation").await else { return };
    bed.kubectl(&["apply", "-f", deploy("../crds").to_str().unwrap()]).unwrap();
    bed.until_established();
    bed.kubectl(&["apply", "--validate=strict", "-f", deploy("samples").to_str().unwrap()]).unwrap();
    // In the order of their numbers each stands on its own, but for the namespaces.
    let kinds = bed.kubectl(&["get", "kapendra", "--all-namespaces", "-o", "name"]).unwrap();
    assert_eq!(kinds.lines().filter(|name| name.starts_with("clusterconfigmapsync.")).count(), 2, "{kinds}");
    assert!(kinds.lines().count() > 10, "{kinds}");
    let selected = bed.kubectl(&["get", "namespaces", "-l", "samples.kapendra.com/company-ca", "-o", "name"]).unwrap();
    assert_eq!(selected.lines().count(), 2, "{selected}");
}

/// By the API server's own word: what the roles of a namespace reach, and what one of the whole cluster does.
#[tokio::test]
async fn a_tenant_may_write_syncs_of_its_namespace_where_bound_and_never_one_of_the_cluster() {
    let Some(bed) = Bed::new("a_tenant_may_write_syncs_of_its_namespace_where_bound").await else { return };
    bed.kubectl(&["apply", "--server-side", "-f", deploy("install.yaml").to_str().unwrap()]).unwrap();
    bed.until_established();
    for (who, role, binding) in [
        ("tenant", "admin", "rolebinding"),
        ("tenant", "configmapsync-editor", "rolebinding"),
        ("editor", "edit", "clusterrolebinding"),
        ("viewer", "view", "clusterrolebinding"),
        ("owner", "configmapsync-cluster-editor", "clusterrolebinding"),
    ] {
        let (role, user) = (format!("--clusterrole={role}"), format!("--user={who}"));
        let name = format!("{who}-{}", role.trim_start_matches("--clusterrole="));
        bed.kubectl(&["create", binding, &name, &role, &user]).unwrap();
    }
    let may = |who: &str, verb: &str, what: &str| {
        let user = format!("--as={who}");
        // Asked without that, kubectl asks for `default` even where the kind is in no namespace.
        let place = if what == "configmapsyncs" { "--namespace=default" } else { "--all-namespaces" };
        bed.kubectl(&["auth", "can-i", verb, &format!("{what}.apps.kapendra.com"), &user, place]).is_ok()
    };
    // Roles are put together by a controller, a moment later.
    let mut rounds = 0..100;
    while !may("viewer", "list", "clusterconfigmapsyncs") {
        assert!(rounds.next().is_some(), "the viewer may not see them");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(may("tenant", "create", "configmapsyncs"));
    assert!(may("owner", "create", "clusterconfigmapsyncs") && may("owner", "get", "clusterconfigmapsyncs"));
    for verb in ["get", "list", "create", "patch", "delete"] {
        assert!(!may("tenant", verb, "clusterconfigmapsyncs"), "{verb}");
    }
    for (who, verb) in [("editor", "create"), ("editor", "patch"), ("editor", "delete"), ("viewer", "update")] {
        assert!(!may(who, verb, "clusterconfigmapsyncs"), "{who} {verb}");
    }
    assert!(!may("owner", "create", "configmapsyncs"));
}

#[tokio::test]
async fn helm_takes_over_what_kubectl_installed() {
    let Some(bed) = Bed::new("helm_takes_over_what_kubectl_installed").await else { return };
    bed.kubectl(&["apply", "--server-side", "-f", deploy("install.yaml").to_str().unwrap()]).unwrap();
    bed.until_established();
    bed.sync("kept");
    let deployment = bed.get(DEPLOYMENT, ".metadata.uid");
    let path = deploy("chart");
    let path = path.to_str().unwrap();

    let refusal = bed.helm(&["install", RELEASE, path]).unwrap_err();
    assert!(refusal.contains("invalid ownership metadata"), "{refusal}");
    bed.helm(&["install", RELEASE, path, "--take-ownership"]).unwrap();
    assert_eq!(bed.get(DEPLOYMENT, ".metadata.uid"), deployment, "it was replaced");
    bed.kubectl(&["get", "cms", "kept"]).unwrap();
}
