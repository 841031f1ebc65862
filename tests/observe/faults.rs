//! Faults, as an API server has them: what it refuses, and what it turns away.

use serde_json::{Value, json};

/// A policy under which creations and updates of what `expression` does not allow are refused.
fn policy(name: &str, group: &str, resource: &str, expression: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
            "metadata": { "name": name },
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": { "resourceRules": [{
                    "apiGroups": [group], "apiVersions": ["v1"], "resources": [resource], "operations": ["CREATE", "UPDATE"],
                }] },
                "validations": [{ "expression": expression, "message": "refused for a test", "reason": "Forbidden" }],
            },
        },
        {
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": { "name": name },
            "spec": { "policyName": name, "validationActions": ["Deny"] },
        },
    ] })
}

/// ConfigMaps of this namespace are frozen.
pub fn copies_are_refused(namespace: &str) -> Value {
    policy("copies", "", "configmaps", &format!("object.metadata.namespace != '{namespace}'"))
}

/// Leases with names that begin so cannot be written.
pub fn leases_are_refused(prefix: &str) -> Value {
    let expression = format!("!object.metadata.name.startsWith('{prefix}')");
    policy("leases", "coordination.k8s.io", "leases", &expression)
}

/// The operator's writes of ConfigMaps get no seat: each is answered with 429.
pub fn writes_are_turned_away() -> Value {
    json!({ "apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "PriorityLevelConfiguration",
            "metadata": { "name": "no-seats" },
            "spec": { "type": "Limited", "limited": {
                "nominalConcurrencyShares": 0, "lendablePercent": 0, "borrowingLimitPercent": 0,
                "limitResponse": { "type": "Reject" },
            } },
        },
        {
            "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema",
            "metadata": { "name": "no-seats" },
            "spec": {
                "matchingPrecedence": 50, "priorityLevelConfiguration": { "name": "no-seats" },
                "rules": [{
                    "subjects": [{ "kind": "ServiceAccount", "serviceAccount": {
                        "name": "configmapsync-controller-manager", "namespace": "configmapsync-system",
                    } }],
                    "resourceRules": [{
                        "apiGroups": [""], "resources": ["configmaps"], "namespaces": ["*"],
                        "verbs": ["create", "update", "patch", "delete"],
                    }],
                }],
            },
        },
    ] })
}

/// The schema of the definition, made to let everything pass.
pub fn anything_passes(document: &mut Value) {
    if document["kind"] == "CustomResourceDefinition" {
        let schema = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
        document["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = schema;
    }
}

/// A ConfigMapSync that makes no sense.
pub fn nonsense(namespace: &str) -> Value {
    json!({
        "apiVersion": "apps.kapendra.com/v1", "kind": "ConfigMapSync",
        "metadata": { "name": "nonsense", "namespace": namespace }, "spec": { "sourceNamespace": 7 },
    })
}
