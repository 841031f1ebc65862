//! Networks that let out less than all: the shipped NetworkPolicy, whatever port the API server has, and a proxy.
//!
//! The node has no engine for NetworkPolicies. The kernel's packet filter stands in for one: a test turns the policy into rules
//! for the addresses of Pods, of which this cluster has the operator's alone. As with an engine, what comes from the node
//! itself, such as a kubelet's probes, passes.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::installed::{DEPLOYMENT, Installed, SYSTEM, say};
use crate::render::{Objects, kustomize};
use crate::sample;
use crate::script::install;
use crate::wait::eventually;

/// The node's address, where the API server listens on port 6443.
const NODE: &str = "10.99.0.2";
/// A port that no list of usual ones has; what goes there goes to the API server.
const ANOTHER: &str = "31337";

const POLICY: &str = "NetworkPolicy configmapsync-system/configmapsync-controller-manager";
const WORKLOAD: &str = "Deployment configmapsync-system/configmapsync-controller-manager";

/// The rules for one direction of a policy: what it names passes, and nothing else.
fn rules(objects: &Objects, direction: &str) -> String {
    let mut text = String::new();
    for rule in objects[POLICY]["spec"][direction].as_array().unwrap() {
        assert_eq!(rule.as_object().unwrap().keys().collect::<Vec<_>>(), ["ports"], "peers are not turned into rules");
        for port in rule["ports"].as_array().unwrap() {
            let protocol = port["protocol"].as_str().unwrap_or("TCP").to_lowercase();
            let number = match &port["port"] {
                Value::Null => "1-65535".to_owned(),
                Value::String(name) => {
                    let ports = &objects[WORKLOAD]["spec"]["template"]["spec"]["containers"][0]["ports"];
                    let named = ports.as_array().unwrap().iter().find(|port| port["name"] == *name);
                    named.unwrap()["containerPort"].to_string()
                }
                number => number.to_string(),
            };
            text.push_str(&format!("    {protocol} dport {number} return\n"));
        }
    }
    text
}

/// Hands rules to the node's packet filter.
fn filter(installed: &Installed, text: &str) {
    let mut nft = installed.cluster.enter();
    let mut nft = nft.args(["nft", "-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    nft.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(nft.wait().unwrap().success(), "{text}");
}

/// No policy at all.
const NONE: &str = "table ip shipped\ndelete table ip shipped\n";

/// Puts a policy in force, before Services' addresses become others; and gives the API server another port.
fn enforce(installed: &Installed, objects: &Objects) {
    let text = format!(
        "{NONE}table ip shipped {{
  chain egress {{\n{out}    counter drop\n  }}
  chain ingress {{\n{into}    counter drop\n  }}
  chain arrive {{
    type filter hook prerouting priority -150; policy accept;
    ct state established,related accept
    ip saddr 10.244.0.0/24 jump egress
    ip daddr 10.244.0.0/24 jump ingress
  }}
  chain another {{
    type nat hook prerouting priority -110; policy accept;
    ip daddr {NODE} tcp dport {ANOTHER} dnat to {NODE}:6443
  }}
}}\n",
        out = rules(objects, "egress"),
        into = rules(objects, "ingress"),
    );
    filter(installed, &text);
}

/// How many packets from Pods were dropped.
fn dropped(installed: &Installed) -> u64 {
    let output = installed.cluster.enter().args(["nft", "list", "chain", "ip", "shipped", "egress"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split("counter packets ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap()
}

/// A machine beside the node, with a network of its own, that reaches Pods through the node.
fn stranger(installed: &Installed) {
    let script = "ip netns add stranger
ip link add stranger type veth peer name eth0 netns stranger
ip address add 10.97.0.1/24 dev stranger
ip link set stranger up
ip -n stranger address add 10.97.0.2/24 dev eth0
ip -n stranger link set eth0 up
ip -n stranger route add default via 10.97.0.1";
    assert!(installed.cluster.enter().args(["bash", "-euc", script]).status().unwrap().success());
}

/// Whether that machine can connect to a Pod's port.
fn connects(installed: &Installed, address: &str, port: u16) -> bool {
    let connect = format!("exec 3<>/dev/tcp/{address}/{port}");
    let mut command = installed.cluster.enter();
    command.args(["nsenter", "--net=/run/netns/stranger", "timeout", "3", "bash", "-c", &connect]);
    command.stderr(Stdio::null()).status().unwrap().success()
}

/// Sets variables of the operator, or takes them off (`NAME-`).
async fn set(installed: &Installed, variables: &[&str]) {
    installed.kubectl(&[&["-n", SYSTEM, "set", "env", DEPLOYMENT], variables].concat()).await;
}

async fn until_said(installed: &Installed, words: &str) -> String {
    let (line, _) = eventually(&format!("a Pod says {words:?}"), async || {
        let logs = ["-n", SYSTEM, "logs", "-l", "control-plane=controller-manager", "--tail=-1"];
        let logs = installed.try_kubectl(&logs).await?;
        let line = logs.lines().rfind(|line| line.contains(words)).map(str::to_owned);
        line.ok_or(logs)
    })
    .await;
    line
}

#[tokio::test]
async fn the_network_policy_lets_the_operator_work_whatever_the_port_of_the_api_server() {
    let test = "the_network_policy_lets_the_operator_work_whatever_the_port_of_the_api_server";
    let Some(installed) = Installed::turn(test).await else { return };
    let shipped = kustomize("overlays/production").await;
    let mut narrow = shipped.clone();
    narrow.get_mut(POLICY).unwrap()["spec"]["egress"] = json!([{ "ports": [{ "port": 443 }, { "port": 6443 }] }]);
    installed.scale(1).await;
    installed.pods.until(1).await;

    // A policy of usual ports would keep it from the API server: that is what these rules do.
    enforce(&installed, &narrow);
    let (host, port) = (format!("KUBERNETES_SERVICE_HOST={NODE}"), format!("KUBERNETES_SERVICE_PORT={ANOTHER}"));
    set(&installed, &[&host, &port]).await;
    until_said(&installed, "the API server does not answer").await;
    assert!(dropped(&installed) > 0);

    // The shipped one does not: the same Pod goes on.
    enforce(&installed, &shipped);
    installed.until_rolled_out().await;
    sample::ready(&installed).await;
    assert_eq!(dropped(&installed), 0);
    sample::deleted(&installed).await;
    // As in most clusters: by the Service, on port 443.
    set(&installed, &["KUBERNETES_SERVICE_HOST-", "KUBERNETES_SERVICE_PORT-"]).await;
    installed.until_rolled_out().await;
    installed.pods.until(1).await;
    sample::ready(&installed).await;
    assert_eq!(dropped(&installed), 0);

    // In come scrapes, and nobody but the kubelet asks for health.
    stranger(&installed);
    let address = ["-n", SYSTEM, "get", "pods", "-o", "jsonpath={.items[0].status.podIP}"];
    let address = installed.kubectl(&address).await;
    assert!(connects(&installed, &address, 8080), "scrapes come in");
    assert!(!connects(&installed, &address, 8081), "nothing else does");
    filter(&installed, NONE);
    assert!(connects(&installed, &address, 8081), "without the policy it would");
    assert!(installed.cluster.enter().args(["ip", "link", "delete", "stranger"]).status().unwrap().success());
    sample::deleted(&installed).await;
    installed.end().await;
}

#[tokio::test]
async fn a_pod_with_a_proxy_reaches_the_api_server_where_no_proxy_has_its_address() {
    let test = "a_pod_with_a_proxy_reaches_the_api_server_where_no_proxy_has_its_address";
    let Some(installed) = Installed::turn(test).await else { return };
    installed.scale(1).await;
    installed.pods.until(1).await;
    // Nothing listens there.
    let proxy = format!("HTTPS_PROXY=http://{NODE}:9");
    set(&installed, &[&proxy, "NO_PROXY=localhost,.svc"]).await;
    let line = until_said(&installed, "the API server is reached through a proxy").await;
    assert!(line.contains(NODE), "{line}");
    let line = until_said(&installed, "the API server does not answer").await;
    say(format_args!("with a proxy that does not answer a Pod says: {line}"));
    let ended = install(installed.cluster, &["--dry-run"]).await;
    assert!(ended.err.contains("the Pods have HTTPS_PROXY and their NO_PROXY does not exempt"), "{ended:?}");

    // The network of Services, as clusters that give Pods a proxy have it.
    set(&installed, &["NO_PROXY=localhost,.svc,10.0.0.0/24"]).await;
    installed.until_rolled_out().await;
    installed.pods.until(1).await;
    sample::ready(&installed).await;
    let said = install(installed.cluster, &["--dry-run"]).await.well();
    assert!(
        said.contains("\nProxy: the Pods have HTTPS_PROXY, and NO_PROXY exempts the API server (10.0.0.1)\n"),
        "{said}"
    );
    sample::deleted(&installed).await;
    set(&installed, &["HTTPS_PROXY-", "NO_PROXY-"]).await;
    installed.until_rolled_out().await;
    installed.end().await;
}
