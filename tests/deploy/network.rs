//! The NetworkPolicy lets through what the operator needs, whatever port the API server has. (In force: `tests/node/network.rs`.)

use serde_json::Value;

use super::render::{Objects, chart, deploy, kustomize};

const POLICY: &str = "NetworkPolicy configmapsync-system/configmapsync-controller-manager";
const WORKLOAD: &str = "Deployment configmapsync-system/configmapsync-controller-manager";

/// Whether a policy lets a connection through, from or to anywhere.
fn lets(objects: &Objects, direction: &str, protocol: &str, number: u64) -> bool {
    let ports = &objects[WORKLOAD]["spec"]["template"]["spec"]["containers"][0]["ports"];
    let named = |name: &Value| ports.as_array().unwrap().iter().find(|port| port["name"] == *name);
    let is_it = |port: &Value| {
        let from = match &port["port"] {
            Value::Null => Some(number),
            Value::Number(from) => from.as_u64(),
            name => named(name).and_then(|port| port["containerPort"].as_u64()),
        };
        let to = port["endPort"].as_u64().or(from);
        port["protocol"].as_str().unwrap_or("TCP") == protocol
            && from.is_some_and(|from| from <= number)
            && to.is_some_and(|to| number <= to)
    };
    let lets = |rule: &Value| {
        assert!(rule["to"].is_null() && rule["from"].is_null(), "this test knows no peers: {rule}");
        rule["ports"].as_array().is_none_or(|ports| ports.iter().any(is_it))
    };
    objects[POLICY]["spec"][direction].as_array().unwrap().iter().any(lets)
}

#[tokio::test]
async fn the_network_policy_lets_out_to_an_api_server_on_any_port_and_in_for_scrapes() {
    let values = deploy("overlays/production/values.yaml");
    let sets = [kustomize("overlays/production").await, chart(&["--values", values.to_str().unwrap()])];
    for objects in sets {
        for port in [443, 6443, 8443, 16443, 31337, 65535] {
            assert!(lets(&objects, "egress", "TCP", port), "out to the API server on port {port}");
        }
        assert!(lets(&objects, "egress", "UDP", 53) && lets(&objects, "egress", "TCP", 53), "out for names");
        assert!(!lets(&objects, "egress", "UDP", 443), "and nothing else");
        assert!(lets(&objects, "ingress", "TCP", 8080), "in for scrapes");
        assert!(!lets(&objects, "ingress", "TCP", 8081), "and nothing else");
        let selected = objects[POLICY]["spec"]["podSelector"]["matchLabels"].as_object().unwrap();
        let labels = &objects[WORKLOAD]["spec"]["template"]["metadata"]["labels"];
        assert!(!selected.is_empty() && selected.iter().all(|(key, value)| labels[key] == *value), "{labels}");
    }
}
