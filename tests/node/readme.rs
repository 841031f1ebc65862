//! What the README has people type, typed.

use serde_json::{Value, json};

use crate::installed::{Installed, SHIPPED, say};
use crate::script::{command, ended, install, root};
use crate::shards::until_even;

/// What is typed here in place of what the README says, and why; without a word in its place it is not run here.
const INSTEAD: &[(&str, Option<&str>, &str)] = &[
    ("curl -s ", Some("CONFIGMAPSYNC_SITE=file://$PWD/deploy bash <deploy/install.sh"), "no network"),
    ("deploy/install.sh --uninstall", Some("deploy/install.sh --uninstall --yes"), "nobody is here to say yes"),
    ("kind create ", None, "the README says that it is not run"),
    ("make docker-build ", None, "the README says that it is not run"),
    ("deploy/install.sh --image configmapsync:dev", None, "that image is not built"),
    ("make demo", None, "takes the machine for itself"),
    ("make test", None, "this is a part of it"),
    ("make bench", None, "takes minutes"),
    ("make docs", None, "takes minutes the first time; tests/deploy/links.rs reads the pages that it makes"),
    ("make deny", None, "`make verify` runs it"),
];

/// The lines of the README that a `$` makes commands, but for its first words, which show what is to come.
fn commands(page: &str) -> Vec<&str> {
    let (_, sections) = page.split_once("\n## ").unwrap();
    let fenced = sections.split("```console\n").skip(1).flat_map(|block| block.split("```").next().unwrap().lines());
    fenced.filter_map(|line| line.strip_prefix("$ ")).map(|line| line.split("  #").next().unwrap().trim()).collect()
}

/// The kinds of Prometheus Operator, with no rules.
fn kinds_of_prometheus_operator() -> Value {
    let kind = |kind: &str, plural: &str| {
        json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.monitoring.coreos.com")},
            "spec": {"group": "monitoring.coreos.com", "scope": "Namespaced",
                "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase()},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema":
                    {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]},
        })
    };
    json!({"apiVersion": "v1", "kind": "List", "items": [kind("ServiceMonitor", "servicemonitors"), kind("PrometheusRule", "prometheusrules")]})
}

#[tokio::test]
async fn the_commands_of_the_readme_work_one_after_the_other() {
    let Some(installed) = Installed::turn("the_commands_of_the_readme_work_one_after_the_other").await else { return };
    install(installed.cluster, &["--uninstall", "--yes"]).await.well();
    let kinds = installed.cluster.dir().join("kinds.json");
    std::fs::write(&kinds, kinds_of_prometheus_operator().to_string()).unwrap();
    installed.kubectl(&["apply", "-f", kinds.to_str().unwrap()]).await;

    let page = std::fs::read_to_string(root().join("README.md")).unwrap();
    let typed = commands(&page);
    assert!(typed.iter().all(|line| !line.is_empty()) && typed.len() > 10, "{typed:#?}");
    for line in typed {
        let (line, because) = match INSTEAD.iter().find(|(what, ..)| line.starts_with(what)) {
            None => (line, ""),
            Some((_, Some(instead), because)) => (*instead, *because),
            Some((_, None, because)) => {
                say(format_args!("README: not run: $ {line} ({because})"));
                continue;
            }
        };
        say(format_args!("README: $ {line} {because}"));
        let mut bash = command(installed.cluster, "bash");
        bash.args(["-c", line]);
        let ended = ended(bash).await;
        assert_eq!(ended.code, Some(0), "$ {line}: {ended:#?}");
        if line.contains("--replicas=4") {
            until_even(&installed, 4).await;
        }
    }
    installed.pods.until(0).await;
    installed.kubectl(&["delete", "-f", kinds.to_str().unwrap()]).await;
    install(installed.cluster, &[]).await.well();
    installed.pods.until(SHIPPED).await;
    installed.end().await;
}

#[test]
fn commands_are_found_and_nothing_else() {
    let page = "```console\n$ a\n```\n## A\n```console\n$ make x   # why\noutput\n$ b\n```\n```yaml\n$ c\n```\n";
    assert_eq!(commands(page), ["make x", "b"]);
}
