//! What some clusters have of their own: `install.sh` looks for it before it changes anything, and says what it found.

use serde::Deserialize as _;
use serde_json::{Value, json};
use testbed::{Access, Cluster, Options};

use crate::harness::{SYSTEM, eventually};
use crate::script::{Ended, command, ended, install, root};
use crate::seed::{DEPLOYMENT, get, kubectl};

/// A cluster that one test has to itself; `None`, said on standard error, where `KUBECONFIG` names another one.
async fn cluster(test: &str, flags: &[String]) -> Option<Cluster> {
    if std::env::var_os("KUBECONFIG").is_some_and(|value| !value.is_empty()) {
        eprintln!("SKIPPED {test}: it needs a control plane of its own; unset KUBECONFIG to run it");
        return None;
    }
    let options = Options { api_server_flags: flags.to_vec(), audit: false, ..Options::default() };
    Some(Cluster::connect_or_start(options).await.unwrap())
}

async fn apply(cluster: &Access, objects: &[Value]) {
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
    kubectl(cluster, &["apply", "-f", "-"], &list.to_string()).await;
}

/// What is shipped at a path in `deploy/`, changed, as YAML in a file for `--manifests`.
async fn manifests(cluster: &Access, overlay: &str, change: impl Fn(&mut Value) -> bool) -> String {
    let path = root().join("deploy").join(overlay);
    let text = kubectl(cluster, &["kustomize", path.to_str().unwrap()], "").await;
    let documents = serde_yaml_ng::Deserializer::from_str(&text).map(|document| Value::deserialize(document).unwrap());
    let kept = documents.filter_map(|mut document| change(&mut document).then_some(document));
    let kept: Vec<String> = kept.map(|document| serde_yaml_ng::to_string(&document).unwrap()).collect();
    let file = cluster.dir().join(format!("manifests-{}.yaml", fingerprint(&kept)));
    std::fs::write(&file, kept.join("---\n")).unwrap();
    file.to_str().unwrap().to_owned()
}

/// Names a file by what is in it.
fn fingerprint(content: &impl std::hash::Hash) -> u64 {
    use std::hash::{DefaultHasher, Hasher as _};
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    hasher.finish()
}

fn is_deployment(object: &Value) -> bool {
    object["kind"] == "Deployment"
}

/// Runs it, and has its standard output and what it warns of.
async fn told(cluster: &Access, args: &[&str]) -> (String, String) {
    let Ended { code, out, err } = install(cluster, args).await;
    assert_eq!(code, Some(0), "{out}\n{err}");
    (out, err)
}

#[track_caller]
fn has_line(text: &str, line: &str) {
    assert!(text.lines().any(|other| other == line), "no line {line:?} in:\n{text}");
}

async fn is_there(cluster: &Access, what: &[&str]) -> bool {
    !get(cluster, what).await.is_null()
}

/// A policy for new Pods, bound to all.
fn policy(kind: &str, name: &str, spec: Value) -> [Value; 2] {
    let mut spec = spec;
    spec["matchConstraints"] = json!({ "resourceRules": [
        { "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"] },
    ] });
    let mut binding = json!({ "policyName": name });
    if kind == "ValidatingAdmissionPolicy" {
        binding["validationActions"] = json!(["Deny"]);
    }
    let version = "admissionregistration.k8s.io/v1";
    [
        json!({ "apiVersion": version, "kind": kind, "metadata": { "name": name }, "spec": spec }),
        json!({ "apiVersion": version, "kind": format!("{kind}Binding"), "metadata": { "name": name }, "spec": binding }),
    ]
}

/// A definition of a kind about which nothing else is known.
fn definition(group: &str, kind: &str, plural: &str, scope: &str) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{plural}.{group}") },
        "spec": {
            "group": group, "scope": scope,
            "names": { "kind": kind, "plural": plural, "singular": kind.to_lowercase() },
            "versions": [{ "name": "v1", "served": true, "storage": true, "schema": { "openAPIV3Schema": {
                "type": "object", "x-kubernetes-preserve-unknown-fields": true,
            } } }],
        },
    })
}

/// Waits until the API server serves a kind.
async fn until_served(cluster: &Access, plural: &str, group: &str) {
    eventually(format!("{plural} are served"), async || {
        let path = format!("/apis/{group}/v1");
        let output = cluster.kubectl().args(["get", "--raw", &path]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        if text.contains(&format!("\"{plural}\"")) { Ok(()) } else { Err(text) }
    })
    .await;
}

// --- Pods ---------------------------------------------------------------------------------------------------------

/// As on GKE, the API server takes Pods of the system's classes only where a quota lets them in.
#[tokio::test]
async fn where_priority_classes_are_limited_production_goes_in_with_its_quota_and_not_without() {
    let file = root().join("tests/deploy/limited-priority-classes.json");
    let flags = [format!("--admission-control-config-file={}", file.display())];
    let Some(cluster) = cluster("where_priority_classes_are_limited", &flags).await else { return };
    let production = manifests(&cluster, "overlays/production", |_| true).await;
    let without = manifests(&cluster, "overlays/production", |object| object["kind"] != "ResourceQuota").await;
    let words =
        ["takes no Pod like the operator's", "insufficient quota", "resource_quota.yaml", "system-cluster-critical"];
    for args in [&["--dry-run"][..], &["--no-wait"]] {
        install(&cluster, &[args, &["--manifests", &without]].concat()).await.badly(1, &words);
    }
    let unknown = manifests(&cluster, "overlays/production", |object| {
        if is_deployment(object) {
            object["spec"]["template"]["spec"]["priorityClassName"] = json!("not-there");
        }
        true
    })
    .await;
    let words = ["no PriorityClass with name not-there was found", "kubectl get priorityclasses"];
    install(&cluster, &["--no-wait", "--manifests", &unknown]).await.badly(1, &words);
    assert!(!is_there(&cluster, &["namespace", SYSTEM]).await, "nothing was changed");

    // Its quota is counted by hand: no controller does that here.
    let count = async || {
        eventually("the quota is there", async || {
            let quota = get(&cluster, &["resourcequota", DEPLOYMENT, "-n", SYSTEM]).await;
            if quota.is_object() { Ok(()) } else { Err(quota.to_string()) }
        })
        .await;
        let sum = r#"{"status":{"hard":{"pods":"1000"},"used":{"pods":"0"}}}"#;
        let args = ["patch", "quota", DEPLOYMENT, "-n", SYSTEM, "--subresource=status", "--type=merge", "-p", sum];
        kubectl(&cluster, &args, "").await;
    };
    let args = ["--no-wait", "--manifests", &production];
    let (ended, ()) = tokio::join!(install(&cluster, &args), count());
    let said = ended.well();
    let found = "this cluster takes those of the class system-cluster-critical only where a ResourceQuota lets them in";
    has_line(&said, &format!("Pods: {found}, and the manifests bring one"));
    assert!(said.find("ResourceQuota/").unwrap() < said.find("Deployment/").unwrap(), "{said}");
    eventually("three Pods are made", async || {
        let pods = get(&cluster, &["pods", "-n", SYSTEM]).await;
        if pods["items"].as_array().is_some_and(|pods| pods.len() == 3) { Ok(()) } else { Err(pods.to_string()) }
    })
    .await;
    let said = install(&cluster, &args).await.well();
    has_line(&said, "Pods: the API server takes one like the operator's");
}

/// A policy like OpenShift's restricted-v2: users of a range only, and nobody asks an administrator for that.
fn users_of_a_range() -> [Value; 2] {
    let user = "object.spec.securityContext.runAsUser";
    policy(
        "ValidatingAdmissionPolicy",
        "users-of-a-range",
        json!({
            "matchConditions": [{ "name": "no-administrator",
                "expression": "request.userInfo.username.startsWith('system:serviceaccount:')" }],
            "validations": [{
                "expression": format!("!has({user}) || {user} >= 1000680000"),
                "message": "runAsUser has to be in the range of the namespace",
            }],
        }),
    )
}

#[tokio::test]
async fn pods_that_a_policy_refuses_are_refused_before_the_deployment_is_applied() {
    let Some(cluster) = cluster("pods_that_a_policy_refuses", &[]).await else { return };
    apply(&cluster, &users_of_a_range()).await;
    apply(
        &cluster,
        &[definition("security.openshift.io", "SecurityContextConstraints", "securitycontextconstraints", "Cluster")],
    )
    .await;
    until_served(&cluster, "securitycontextconstraints", "security.openshift.io").await;
    let with_a_user = manifests(&cluster, ".", |object| {
        if is_deployment(object) {
            object["spec"]["template"]["spec"]["securityContext"]["runAsUser"] = json!(65532);
        }
        true
    })
    .await;
    let args = ["--manifests", &with_a_user, "--no-wait"];
    let refusal = "'users-of-a-range' denied request: runAsUser has to be in the range of the namespace";
    eventually("the policy is known", async || {
        let (said, warned) = told(&cluster, &["--dry-run", "--manifests", &with_a_user]).await;
        assert!(warned.contains("run as user 65532") && warned.contains("remove runAsUser"), "{warned}");
        if said.contains(refusal) { Ok(()) } else { Err(said) }
    })
    .await;

    // In a namespace that is not there the API server cannot be asked; so it is asked once it is.
    let words =
        [refusal, "takes no Pod like the operator's", "then run this again (all but the Deployment is installed)"];
    let said = install(&cluster, &args).await.badly(1, &words);
    assert!(!said.contains("Deployment/"), "{said}");
    assert!(is_there(&cluster, &["namespace", SYSTEM]).await);
    assert!(!is_there(&cluster, &["deployment", DEPLOYMENT, "-n", SYSTEM]).await);
    // Now it is there.
    install(&cluster, &args).await.badly(1, &[refusal, "run this again"]);
    assert!(!is_there(&cluster, &["deployment", DEPLOYMENT, "-n", SYSTEM]).await);

    let said = install(&cluster, &["--no-wait"]).await.well();
    has_line(&said, "Pods: the API server takes one like the operator's");
    has_line(&said, "OpenShift: it gives the Pods a user of the namespace's own; the manifests name none");
}

#[tokio::test]
async fn who_may_not_act_for_others_asks_for_itself_and_who_may_not_make_pods_is_told() {
    let Some(cluster) = cluster("who_may_not_act_for_others", &[]).await else { return };
    let verbs = ["get", "list", "watch", "create", "patch"];
    let rule = |groups: Value, resources: Value| json!({ "apiGroups": groups, "resources": resources, "verbs": verbs });
    let kinds = json!(["namespaces", "serviceaccounts", "configmaps", "services"]);
    let others = json!([
        "apps",
        "apps.kapendra.com",
        "apiextensions.k8s.io",
        "rbac.authorization.k8s.io",
        "policy",
        "admissionregistration.k8s.io",
        "flowcontrol.apiserver.k8s.io",
        "discovery.k8s.io"
    ]);
    let version = "rbac.authorization.k8s.io/v1";
    let role = |name: &str, rules: Value| {
        let metadata = json!({ "name": name });
        json!({ "apiVersion": version, "kind": "ClusterRole", "metadata": metadata, "rules": rules })
    };
    let binding = |name: &str| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": { "name": name },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name },
            "subjects": [{ "kind": "ServiceAccount", "name": "default", "namespace": "default" }],
        })
    };
    let but_pods = [rule(json!([""]), kinds), rule(others, json!(["*"]))];
    apply(
        &cluster,
        &[
            role("installer", json!(but_pods)),
            binding("installer"),
            role("pods", json!([rule(json!([""]), json!(["pods"]))])),
        ],
    )
    .await;
    let account = eventually("there is an account", async || {
        let account = cluster.service_account_kubeconfig("default", "default").await;
        account.map_err(|error| error.to_string())
    })
    .await;
    let dry = async || {
        let mut command = command(&cluster, "deploy/install.sh");
        command.arg("--dry-run").env("KUBECONFIG", &account);
        ended(command).await.well()
    };
    let said = dry().await;
    assert!(said.contains("\nPods: whether the API server takes them is not known: "), "{said}");
    assert!(said.contains("cannot create resource \"pods\""), "{said}");
    apply(&cluster, &[binding("pods")]).await;
    eventually("it may make Pods", async || {
        let said = dry().await;
        if said.contains(
            "\nPods: the API server takes one like the operator's in the namespace default; it is asked again",
        ) {
            Ok(())
        } else {
            Err(said)
        }
    })
    .await;
}

// --- the network --------------------------------------------------------------------------------------------------

/// A webhook or policy of the cluster that gives every Pod its proxy.
fn proxy_for_all(no_proxy: &str) -> [Value; 2] {
    let variable = |name: &str, value: &str| {
        format!(
            "JSONPatch{{op: 'add', path: '/spec/containers/0/env/-', value: {{'name': '{name}', 'value': '{value}'}}}}"
        )
    };
    let patches = [variable("HTTPS_PROXY", "http://user:secret@proxy.example:3128"), variable("NO_PROXY", no_proxy)];
    policy(
        "MutatingAdmissionPolicy",
        "proxy-for-all",
        json!({
            "failurePolicy": "Fail", "reinvocationPolicy": "Never",
            "matchConditions": [{ "name": "variables", "expression": "has(object.spec.containers[0].env)" }],
            "mutations": [{ "patchType": "JSONPatch", "jsonPatch": { "expression": format!("[{}]", patches.join(", ")) } }],
        }),
    )
}

#[tokio::test]
async fn a_proxy_that_pods_get_and_does_not_exempt_the_api_server_is_told_of() {
    let Some(cluster) = cluster("a_proxy_that_pods_get", &[]).await else { return };
    let address = get(&cluster, &["service", "kubernetes", "-n", "default"]).await["spec"]["clusterIP"].clone();
    assert_eq!(address, "10.0.0.1");
    let (said, warned) = told(&cluster, &["--dry-run"]).await;
    assert!(!said.contains("Proxy:") && warned.is_empty(), "{said}\n{warned}");

    let warning = "warning: the Pods have HTTPS_PROXY and their NO_PROXY does not exempt the API server, so the operator \
                   will ask the proxy for it: add 10.0.0.1, or the network of Services, to NO_PROXY\n";
    let well = "Proxy: the Pods have HTTPS_PROXY, and NO_PROXY exempts the API server (10.0.0.1)";
    // Before Kubernetes 1.36 there are no policies that change Pods.
    let has_policies = cluster.version().await.unwrap() >= (1, 36);
    let variables = [
        ("", false),
        ("localhost,.svc,10.0.1.0/24,10.0.0.10", false),
        ("localhost,10.0.0.1", true),
        ("localhost, 10.0.0.0/16", true),
        ("*", true),
    ];
    for (no_proxy, exempts) in variables.into_iter().filter(|_| has_policies) {
        apply(&cluster, &proxy_for_all(no_proxy)).await;
        eventually(format!("NO_PROXY={no_proxy} is judged"), async || {
            let (said, warned) = told(&cluster, &["--dry-run"]).await;
            assert!(!format!("{said}{warned}").contains("secret"), "{said}{warned}");
            let as_it_should_be = said.lines().any(|line| line == well) == exempts && (warned == warning) != exempts;
            if as_it_should_be { Ok(()) } else { Err(format!("{said}\n{warned}")) }
        })
        .await;
    }
    if has_policies {
        let policy = ["delete", "mutatingadmissionpolicies,mutatingadmissionpolicybindings", "proxy-for-all"];
        kubectl(&cluster, &policy, "").await;
    }

    // What is set on the Deployment itself stays when it is installed again, and is looked at too.
    install(&cluster, &["--no-wait"]).await;
    let set = [
        "set",
        "env",
        "-n",
        SYSTEM,
        &format!("deployment/{DEPLOYMENT}"),
        "https_proxy=http://p:1",
        "NO_PROXY=10.0.0.0/24",
    ];
    kubectl(&cluster, &set, "").await;
    let said = install(&cluster, &["--no-wait"]).await.well();
    has_line(&said, "Proxy: the Pods have https_proxy, and NO_PROXY exempts the API server (10.0.0.1)");
}

#[tokio::test]
async fn a_network_policy_that_does_not_let_out_to_the_api_servers_port_is_told_of() {
    let Some(cluster) = cluster("a_network_policy_that_does_not_let_out", &[]).await else { return };
    let production = manifests(&cluster, "overlays/production", |_| true).await;
    let narrow = manifests(&cluster, "overlays/production", |object| {
        if object["kind"] == "NetworkPolicy" {
            object["spec"]["egress"] = json!([{ "ports": [{ "port": 443 }, { "port": 6443, "protocol": "TCP" }] }]);
        }
        true
    })
    .await;
    let labels = json!({ "kubernetes.io/service-name": "kubernetes" });
    for (port, usual) in [(6443, true), (8443, false), (31337, false)] {
        apply(&cluster, &[json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": { "name": "kubernetes", "namespace": "default", "labels": labels },
            "endpoints": [{ "addresses": ["192.0.2.1"] }], "ports": [{ "name": "https", "port": port, "protocol": "TCP" }],
        })])
        .await;
        let well =
            format!("Network: the API server listens on port {port}, to which the NetworkPolicy lets the operator out");
        let (said, warned) = told(&cluster, &["--dry-run", "--manifests", &production]).await;
        has_line(&said, &well);
        assert_eq!(warned, "");
        let (said, warned) = told(&cluster, &["--dry-run", "--manifests", &narrow]).await;
        if usual {
            has_line(&said, &well);
        } else {
            assert!(warned.contains(&format!("does not let the operator out to port {port}")), "{said}\n{warned}");
        }
    }
    let (said, warned) = told(&cluster, &["--dry-run"]).await;
    assert!(!said.contains("Network:") && warned.is_empty(), "without a policy there is nothing to say: {said}");
}

// --- Prometheus Operator ------------------------------------------------------------------------------------------

const MONITORING: &str = "monitoring.coreos.com";

fn prometheus(spec: Value) -> Value {
    json!({
        "apiVersion": "monitoring.coreos.com/v1", "kind": "Prometheus",
        "metadata": { "name": "main", "namespace": "kube-public" }, "spec": spec,
    })
}

/// As kube-prometheus-stack makes it, whose release has this name.
fn of_release(name: &str) -> Value {
    let labels = json!({ "matchLabels": { "release": name } });
    prometheus(json!({
        "serviceMonitorSelector": labels, "serviceMonitorNamespaceSelector": {}, "ruleSelector": labels,
        "ruleNamespaceSelector": {}, "podMonitorSelector": labels, "podMonitorNamespaceSelector": {},
    }))
}

#[tokio::test]
async fn a_prometheus_that_does_not_select_our_monitors_is_told_of_with_the_way_out() {
    let Some(cluster) = cluster("a_prometheus_that_does_not_select_our_monitors", &[]).await else { return };
    let with_monitors = cluster.dir().join("with-monitors.yaml");
    let shipped = std::fs::read_to_string(root().join("deploy/install.yaml")).unwrap();
    let overlay = root().join("deploy/overlays/monitoring");
    let overlay = overlay.to_str().unwrap();
    let monitors = kubectl(&cluster, &["kustomize", overlay], "").await;
    std::fs::write(&with_monitors, format!("{shipped}\n---\n{monitors}")).unwrap();
    let with_monitors = ["--dry-run", "--manifests", with_monitors.to_str().unwrap()];
    let words = ["monitors for Prometheus Operator, which this cluster does not have", "install it first"];
    install(&cluster, &with_monitors).await.badly(1, &words);
    assert!(!install(&cluster, &["--dry-run"]).await.well().contains("Prometheus"));

    let kinds =
        [("ServiceMonitor", "servicemonitors"), ("PodMonitor", "podmonitors"), ("PrometheusRule", "prometheusrules")];
    let kinds = kinds.map(|(kind, plural)| definition(MONITORING, kind, plural, "Namespaced"));
    apply(&cluster, &kinds).await;
    until_served(&cluster, "podmonitors", MONITORING).await;
    // The kinds alone, as for another collector of metrics.
    assert!(!install(&cluster, &["--dry-run"]).await.well().contains("Prometheus"));
    apply(&cluster, &[definition(MONITORING, "Prometheus", "prometheuses", "Namespaced")]).await;
    until_served(&cluster, "prometheuses", MONITORING).await;

    // Nothing of ours is there yet.
    let later =
        "Prometheus Operator: it is here and scrapes no operator of ours; afterwards: kubectl apply -k deploy/overlays";
    let line = async |line: &str| {
        let (said, warned) = told(&cluster, &["--dry-run"]).await;
        has_line(&said, line);
        assert_eq!(warned, "");
    };
    line(&format!("{later}/monitoring")).await;
    apply(&cluster, &[of_release("kube-prometheus-stack")]).await;
    line(&format!("{later}/kube-prometheus-stack")).await;
    apply(&cluster, &[of_release("mine")]).await;
    let label = format!("kubectl label servicemonitor,prometheusrule {DEPLOYMENT} -n {SYSTEM} release=mine");
    line(&format!("{later}/monitoring; Prometheus kube-public/main selects by release=mine ({label})")).await;

    // Ours come, as it is told, and are selected once it is done.
    let warning = |kind: &str, why: &str| {
        format!("warning: no Prometheus selects the operator's {kind} {SYSTEM}/{DEPLOYMENT}: {why}\n")
    };
    let by = |kind: &str| {
        warning(
            kind,
            &format!(
                "Prometheus kube-public/main selects by release=mine (kubectl label {kind} {DEPLOYMENT} -n {SYSTEM} release=mine)"
            ),
        )
    };
    let (_, warned) = told(&cluster, &with_monitors).await;
    assert_eq!(warned, by("PrometheusRule") + &by("ServiceMonitor"));
    install(&cluster, &["--no-wait"]).await.well();
    kubectl(&cluster, &["apply", "-k", overlay], "").await;
    let (said, warned) = told(&cluster, &["--dry-run"]).await;
    assert!(!said.contains("Prometheus Operator"), "{said}");
    assert_eq!(warned, by("PrometheusRule") + &by("ServiceMonitor"));
    kubectl(&cluster, &label.split(' ').skip(1).collect::<Vec<_>>(), "").await;
    let silent = async || {
        let (said, warned) = told(&cluster, &["--dry-run"]).await;
        assert!(!said.contains("Prometheus") && warned.is_empty(), "{said}\n{warned}");
    };
    silent().await;

    // The other ways of selecting.
    let change = async |spec: Value| {
        let spec = json!({ "spec": spec }).to_string();
        let patch = ["patch", "prometheuses", "main", "-n", "kube-public", "--type=merge", "-p", &spec];
        kubectl(&cluster, &patch, "").await;
        told(&cluster, &["--dry-run"]).await.1
    };
    let any = json!({ "matchLabels": null });
    assert_eq!(change(json!({ "serviceMonitorSelector": any, "ruleSelector": any })).await, "");
    let warned = change(json!({ "ruleSelector": null })).await;
    assert!(
        warned.contains("PrometheusRule") && warned.contains("selects none of its kind (give its selector"),
        "{warned}"
    );
    let warned = change(json!({ "ruleSelector": {}, "serviceMonitorNamespaceSelector": null })).await;
    assert!(warned.contains("ServiceMonitor") && warned.contains("looks into its own namespace alone"), "{warned}");
    let team = json!({ "serviceMonitorNamespaceSelector": { "matchLabels": { "team": "a" } } });
    let command = format!("kubectl label namespace {SYSTEM} team=a");
    assert!(change(team).await.contains(&format!("looks into namespaces with team=a ({command})")));
    kubectl(&cluster, &command.split(' ').skip(1).collect::<Vec<_>>(), "").await;
    silent().await;
    // What this script does not work out it does not complain of.
    let expression = json!({ "matchExpressions": [{ "key": "x", "operator": "Exists" }] });
    assert_eq!(change(json!({ "serviceMonitorSelector": expression })).await, "");
    // One that selects is enough.
    let mut other = of_release("nobody");
    other["metadata"]["name"] = json!("another");
    apply(&cluster, &[other]).await;
    assert_eq!(change(json!({ "serviceMonitorSelector": { "matchExpressions": null } })).await, "");
}
