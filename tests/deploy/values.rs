//! Values that are refused, with what is said, values that are taken, with what they do, and whole renderings.

use rstest::rstest;
use serde_json::Value;

use super::render::{chart, chart_text, deploy, helm, objects, run};

#[test]
fn helm_finds_nothing_to_warn_of() {
    run(helm().arg("lint").arg("--strict").arg(deploy("chart"))).unwrap();
}

#[rstest]
#[case("replicaCount=-1", "replicaCount")]
#[case("replicaCount=65", "maximum")]
#[case("replicaCount=two", "want null or integer")]
#[case("replicas=2", "additional properties 'replicas' not allowed")]
#[case("image.tagg=v1", "additional properties 'tagg' not allowed")]
#[case("image.pullPolicy=Sometimes", "value must be one of 'Always', 'IfNotPresent', 'Never'")]
#[case("image.digest=sha256:12", "/image/digest")]
#[case("image.tag=a b", "/image/tag")]
#[case("image.repository=Upper", "/image/repository")]
#[case("imagePullSecrets[0].nam=x", "missing property 'name'")]
#[case("fullnameOverride=Big", "/fullnameOverride")]
#[case("commonLabels.n=1", "want string")]
#[case("commonLabels.control-plane=x", "commonLabels: the label control-plane is the chart's own")]
#[case("podLabels.control-plane=x", "podLabels: the label control-plane is the chart's own")]
#[case("extraArgs[0]=write-qps=5", "/extraArgs/0")]
#[case("forbiddenNamespaces[0]=Kube-*", "/forbiddenNamespaces/0")]
#[case("extraArgs[0]=--metrics-bind-address=:9", "extraArgs: --metrics-bind-address is set by the chart")]
#[case("extraEnv[0].value=x", "missing property 'name'")]
#[case("resources.limit.cpu=1", "additional properties 'limit' not allowed")]
#[case("strategy.type=BlueGreen", "value must be one of 'RollingUpdate', 'Recreate'")]
#[case("podDisruptionBudget.minAvailable=2", "2 of 2 replicas leaves none that may go")]
#[case("podDisruptionBudget.minAvailable=1,podDisruptionBudget.maxUnavailable=1", "not both")]
#[case("podDisruptionBudget.maxUnavailable=150%", "/podDisruptionBudget/maxUnavailable")]
#[case("livenessProbe.path=/x", "additional properties 'path' not allowed")]
#[case("serviceAccount.create=false", "name the account that the operator is to use")]
#[case("rbac.aggregateToView=perhaps", "want boolean")]
#[case("authorPolicy.mode=deny", "/authorPolicy/mode")]
#[case("rbac.targetNamespaces={Team_A}", "/rbac/targetNamespaces/0")]
#[case("rbac.aggregateToEdit=true,authorPolicy.mode=Audit", "rbac.aggregateToEdit: without authorPolicy.mode=Deny")]
#[case("rbac.aggregateToAdmin=true,authorPolicy.mode=false", "rbac.aggregateToAdmin: without authorPolicy.mode=Deny")]
#[case("consent=Required", "/consent")]
#[case("crds.install=true", "additional properties 'install' not allowed")]
#[case("resourceQuota.pods=many", "/resourceQuota/pods")]
#[case("networkPolicy.egress=all", "want array")]
#[case("serviceMonitor.interval=often", "/serviceMonitor/interval")]
#[case("serviceMonitor.enabled=true,podMonitor.enabled=true", "every replica would be scraped twice")]
#[case("prometheusRule.rules=x", "additional properties 'rules' not allowed")]
#[case("grafanaDashboard.sidecarLabel=", "/grafanaDashboard/sidecarLabel")]
fn wrong_values_are_refused_with_a_sentence(#[case] set: &str, #[case] sentence: &str) {
    let refusal = chart_text(&["--set", set]).expect_err("it was taken");
    assert!(refusal.contains(sentence), "{refusal}");
}

const DEPLOYMENT: &str = "Deployment configmapsync-system/configmapsync-controller-manager";
const QUOTA: &str = "ResourceQuota configmapsync-system/configmapsync-controller-manager";
const BUDGET: &str = "PodDisruptionBudget configmapsync-system/configmapsync-controller-manager";
const SYNCS: &str = "CustomResourceDefinition /configmapsyncs.apps.kapendra.com";
const CLUSTER_SYNCS: &str = "CustomResourceDefinition /clusterconfigmapsyncs.apps.kapendra.com";
const POD: &str = "/spec/template/spec";
const CONTAINER: &str = "/spec/template/spec/containers/0";

#[rstest]
#[case("replicaCount=0", DEPLOYMENT, "/spec/replicas", "0")]
#[case("replicaCount=null", DEPLOYMENT, "/spec/replicas", "null")]
#[case("replicaCount=null,podDisruptionBudget.minAvailable=1", BUDGET, "/spec/minAvailable", "1")]
#[case("image.tag=v9", DEPLOYMENT, &format!("{CONTAINER}/image"), r#""docker.io/kapendra007/configmapsync:v9""#)]
#[case("imagePullSecrets[0].name=x", DEPLOYMENT, &format!("{POD}/imagePullSecrets"), r#"[{"name":"x"}]"#)]
#[case("authorPolicy.mode=Audit", DEPLOYMENT, &format!("{CONTAINER}/args/2"), r#""--author-policy=Audit""#)]
#[case("authorPolicy.mode=false", DEPLOYMENT, &format!("{CONTAINER}/args/2"), r#""--author-policy=Off""#)]
#[case("consent=required", DEPLOYMENT, &format!("{CONTAINER}/args/3"), r#""--consent=required""#)]
#[case("forbiddenNamespaces={kube-*,payments}", DEPLOYMENT, &format!("{CONTAINER}/args/3"), r#""--forbidden-namespaces=kube-*,payments""#)]
#[case("extraArgs[0]=--write-qps=5", DEPLOYMENT, &format!("{CONTAINER}/args/3"), r#""--write-qps=5""#)]
#[case("extraEnv[0].name=A,extraEnv[0].value=b", DEPLOYMENT, &format!("{CONTAINER}/env/2/value"), r#""b""#)]
#[case("priorityClassName=p", DEPLOYMENT, &format!("{POD}/priorityClassName"), r#""p""#)]
#[case("priorityClassName=p", QUOTA, "/spec/scopeSelector/matchExpressions/0/values", r#"["p"]"#)]
#[case("priorityClassName=p,resourceQuota.pods=7", QUOTA, "/spec/hard/pods", r#""7""#)]
#[case("priorityClassName=p,resourceQuota.enabled=false", QUOTA, "", "null")]
#[case("resourceQuota.enabled=true", QUOTA, "", "null")]
#[case(
    "networkPolicy.enabled=true",
    "NetworkPolicy configmapsync-system/configmapsync-controller-manager",
    "/spec/egress/0/ports/0",
    r#"{"protocol":"TCP"}"#
)]
#[case("strategy.type=Recreate", DEPLOYMENT, "/spec/strategy", r#"{"type":"Recreate"}"#)]
#[case("nodeSelector.disk=ssd", DEPLOYMENT, &format!("{POD}/nodeSelector/disk"), r#""ssd""#)]
#[case("tolerations[0].operator=Exists", DEPLOYMENT, &format!("{POD}/tolerations/0/operator"), r#""Exists""#)]
#[case("commonLabels.team=a", DEPLOYMENT, "/metadata/labels/team", r#""a""#)]
#[case("commonLabels.team=a", DEPLOYMENT, "/spec/template/metadata/labels/team", r#""a""#)]
#[case("commonLabels.team=a", DEPLOYMENT, "/spec/selector/matchLabels", r#"{"control-plane":"controller-manager"}"#)]
#[case("podAnnotations.a=b", DEPLOYMENT, "/spec/template/metadata/annotations/a", r#""b""#)]
#[case("podDisruptionBudget.minAvailable=1", BUDGET, "/spec/minAvailable", "1")]
#[case("podDisruptionBudget.minAvailable=1", BUDGET, "/spec/maxUnavailable", "null")]
#[case("podDisruptionBudget.maxUnavailable=0", BUDGET, "/spec/maxUnavailable", "0")]
#[case("podDisruptionBudget.maxUnavailable=50%", BUDGET, "/spec/maxUnavailable", r#""50%""#)]
#[case("podDisruptionBudget.enabled=false", BUDGET, "", "null")]
#[case("crds.enabled=false", SYNCS, "", "null")]
#[case("crds.enabled=false", CLUSTER_SYNCS, "", "null")]
#[case("crds.keep=true", SYNCS, "/metadata/annotations", r#"{"helm.sh/resource-policy":"keep"}"#)]
#[case("crds.keep=true", CLUSTER_SYNCS, "/metadata/annotations", r#"{"helm.sh/resource-policy":"keep"}"#)]
#[case("crds.keep=false", SYNCS, "/metadata/annotations", "null")]
#[case("crds.keep=false", CLUSTER_SYNCS, "/metadata/annotations", "null")]
#[case("commonLabels.team=a", CLUSTER_SYNCS, "/metadata/labels/team", r#""a""#)]
#[case("flowSchema.enabled=false", "FlowSchema /configmapsync-leases", "", "null")]
#[case("authorPolicy.mode=Off", "ValidatingAdmissionPolicy /configmapsync-author", "", "null")]
#[case("authorPolicy.mode=false", "ValidatingAdmissionPolicyBinding /configmapsync-cluster-author", "", "null")]
#[case(
    "authorPolicy.mode=Audit",
    "ValidatingAdmissionPolicyBinding /configmapsync-author",
    "/spec/validationActions",
    r#"["Audit","Warn"]"#
)]
#[case(
    "authorPolicy.mode=Deny",
    "ValidatingAdmissionPolicyBinding /configmapsync-cluster-author",
    "/spec/validationActions",
    r#"["Deny"]"#
)]
#[case("rbac.create=false", "ClusterRole /configmapsync-controller-manager", "", "null")]
#[case(
    "rbac.targetNamespaces={team-a,team-b}",
    "ClusterRole /configmapsync-controller-manager",
    "/rules/4",
    r#"{"apiGroups":[""],"resources":["configmaps"],"verbs":["get","list","watch"]}"#
)]
#[case(
    "rbac.targetNamespaces={team-a,team-b}",
    "Role team-b/configmapsync-copies",
    "/rules/0/verbs",
    r#"["create","update","delete"]"#
)]
#[case(
    "rbac.targetNamespaces={team-a}",
    "RoleBinding team-a/configmapsync-copies",
    "/roleRef/name",
    r#""configmapsync-copies""#
)]
#[case(
    "rbac.aggregateToEdit=true",
    "ClusterRole /configmapsync-editor",
    "/metadata/labels/rbac.authorization.k8s.io~1aggregate-to-edit",
    r#""true""#
)]
#[case(
    "rbac.aggregateToView=false",
    "ClusterRole /configmapsync-viewer",
    "/metadata/labels/rbac.authorization.k8s.io~1aggregate-to-view",
    "null"
)]
#[case(
    "rbac.aggregateToView=false",
    "ClusterRole /configmapsync-cluster-viewer",
    "/metadata/labels/rbac.authorization.k8s.io~1aggregate-to-view",
    "null"
)]
#[case("rbac.create=false", "ClusterRole /configmapsync-cluster-editor", "", "null")]
#[case("serviceAccount.create=false,serviceAccount.name=mine", DEPLOYMENT, &format!("{POD}/serviceAccountName"), r#""mine""#)]
#[case(
    "serviceAccount.create=false,serviceAccount.name=mine",
    "RoleBinding configmapsync-system/configmapsync-leases",
    "/subjects/0/name",
    r#""mine""#
)]
#[case("global.anything=x", DEPLOYMENT, "/spec/replicas", "2")]
#[case(
    "podMonitor.enabled=true,podMonitor.namespace=mon",
    "PodMonitor mon/configmapsync-controller-manager",
    "/spec/namespaceSelector/matchNames",
    r#"["configmapsync-system"]"#
)]
fn values_do_what_they_say(#[case] set: &str, #[case] object: &str, #[case] path: &str, #[case] expected: &str) {
    let objects = chart(&["--set", set]);
    let found = objects.get(object).and_then(|object| object.pointer(path)).unwrap_or(&Value::Null);
    assert_eq!(found.to_string(), expected);
}

#[test]
fn extra_objects_may_be_text_or_yaml_and_use_templates() {
    let values = r#"extraObjects=[
      {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "in-{{ .Release.Namespace }}"}},
      "{apiVersion: v1, kind: ConfigMap, metadata: {name: of-{{ .Release.Name }}}}"]"#;
    let objects = chart(&["--set-json", values]);
    assert!(objects.contains_key("ConfigMap /in-configmapsync-system"), "{:?}", objects.keys());
    assert!(objects.contains_key("ConfigMap /of-configmapsync"), "{:?}", objects.keys());
}

/// Everything but the definitions, which are crds/'s.
#[rstest]
#[case("default", &[])]
#[case("everything", &["--set", "networkPolicy.enabled=true,serviceMonitor.enabled=true,commonLabels.team=a"])]
#[case("other_names", &["--set", "fullnameOverride=cms,nameOverride=cms", "--namespace", "ops"])]
fn rendered(#[case] name: &str, #[case] args: &[&str]) {
    let mut objects = objects(&chart_text(args).unwrap());
    for definition in [SYNCS, CLUSTER_SYNCS] {
        objects.remove(definition).unwrap();
    }
    insta::assert_snapshot!(name, serde_yaml_ng::to_string(&objects).unwrap());
}

/// A value that the schema lacks could not be set; one that only the schema has would do nothing.
#[test]
fn values_and_schema_name_the_same() {
    fn compare(path: &str, values: &Value, schema: &Value, root: &Value) {
        let schema = match schema["$ref"].as_str() {
            Some(reference) => root.pointer(&reference[1..]).unwrap(),
            None => schema,
        };
        // Maps whose keys are the user's, and what Kubernetes defines, are not told key by key.
        let (Some(values), Some(properties)) = (values.as_object(), schema["properties"].as_object()) else { return };
        assert_eq!(schema["additionalProperties"], Value::Bool(false), "{path}");
        for (key, value) in values {
            let inner = properties.get(key).unwrap_or_else(|| panic!("the schema lacks {path}.{key}"));
            compare(&format!("{path}.{key}"), value, inner, root);
        }
        let ours = !["resources", "affinity", "livenessProbe", "readinessProbe"].iter().any(|k| path.ends_with(k));
        for key in properties.keys().filter(|key| ours && *key != "global") {
            assert!(values.contains_key(key), "values.yaml lacks {path}.{key}");
        }
    }
    let read = |path: &str| std::fs::read_to_string(deploy(path)).unwrap();
    let values: Value = serde_yaml_ng::from_str(&read("chart/values.yaml")).unwrap();
    let schema: Value = serde_json::from_str(&read("chart/values.schema.json")).unwrap();
    compare("", &values, &schema, &schema);
}
