//! Roles let the operator write in some namespaces alone.

use serde_json::{Value, json};

use crate::harness::{ACCOUNT, Bed, Case, Many, SYSTEM, eventually, seconds};
use crate::requests::asked;

/// Leaves the operator the right to read ConfigMaps.
fn only_reads(document: &mut Value) {
    let Some(rules) = document.get_mut("rules").and_then(Value::as_array_mut) else { return };
    for rule in rules.iter_mut().filter(|rule| rule["resources"] == json!(["configmaps"])) {
        rule["verbs"].as_array_mut().unwrap().retain(|verb| ["get", "list", "watch"].contains(&verb.as_str().unwrap()));
    }
}

/// Lets it write ConfigMaps there, as the chart's `rbac.targetNamespaces` does.
async fn grant(case: &Case<'_>, namespace: &str) {
    let metadata = json!({ "name": "configmapsync-copies", "namespace": namespace });
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata,
            "rules": [{ "apiGroups": [""], "resources": ["configmaps"], "verbs": ["create", "update", "delete"] }],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata,
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "configmapsync-copies" },
            "subjects": [{ "kind": "ServiceAccount", "name": ACCOUNT, "namespace": SYSTEM }],
        },
    ]});
    case.kubectl(&["apply", "-f", "-"], &list.to_string()).await.unwrap();
    let account = format!("--as=system:serviceaccount:{SYSTEM}:{ACCOUNT}");
    eventually("the right is known", async || {
        case.kubectl(&["auth", "can-i", "delete", "configmaps", &account, "--namespace", namespace], "").await.map(drop)
    })
    .await;
}

#[tokio::test]
async fn elsewhere_a_copy_is_forbidden_and_the_others_are_served() {
    let Some(bed) = Bed::bare("elsewhere_a_copy_is_forbidden").await else { return };
    bed.install(only_reads).await;
    let many = Many::on(Case::on(&bed, "targets").await.expecting_refusals(), "targets");
    let case = &many.case;
    grant(case, &case.dst).await;
    let other = case.namespace("other").await;
    let _operator = bed.holder("targets").await;
    case.source(json!({ "k": "1" })).await;
    case.sync("within", json!({})).await;
    case.sync("outside", json!({ "destinationNamespace": other })).await;
    many.create(
        "all",
        json!({
            "namespaceSelector": null, "namespaces": [case.dst, other], "destinationName": "of-many",
        }),
    )
    .await;
    case.until_ready("within").await;
    let status = case.until("outside", "Synced", "False", "DestinationForbidden").await;
    assert!(status.message.contains("cannot create resource"), "{}", status.message);
    many.until_copy(&case.dst, "of-many", json!({ "k": "1" })).await;
    let status = many.until("all", "SomeCopiesFailed", "1/2").await;
    assert_eq!(status.failures[0].reason, "DestinationForbidden", "{status:?}");

    // It is not tried again and again.
    let mark = case.mark().unwrap();
    tokio::time::sleep(seconds(5)).await;
    let refused = asked(&bed, mark).into_iter().filter(|event| event.code == 403).count();
    assert_eq!(refused, 0);

    grant(case, &other).await;
    case.patch(&case.src, "cm", json!({ "data": { "k": "2" } })).await;
    for (namespace, name) in [(&case.dst, "cm"), (&other, "cm"), (&case.dst, "of-many"), (&other, "of-many")] {
        case.until_data(namespace, name, json!({ "k": "2" })).await;
    }
    case.until_ready("outside").await;
    case.delete_sync("outside").await;
    case.until_gone(&other, "cm").await;
}
