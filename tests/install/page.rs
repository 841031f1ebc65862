//! docs/troubleshooting.md and docs/clusters.md: their commands run as they stand.

use serde_json::json;

use crate::harness::Bed;
use crate::script::{command, ended, install, root};

/// The commands in the `console` blocks of a page, with why one is not run here.
fn commands(page: &str) -> Vec<(&str, Option<&str>)> {
    let (mut found, mut inside) = (Vec::new(), false);
    for line in page.lines() {
        if let Some(kind) = line.strip_prefix("```") {
            inside = kind == "console";
        } else if let (true, Some(command)) = (inside, line.strip_prefix("$ ")) {
            let (command, why) = match command.split_once(" # not run here: ") {
                Some((command, why)) => (command, Some(why)),
                None => (command, None),
            };
            found.push((command, why));
        }
    }
    found
}

#[tokio::test]
async fn the_commands_of_the_troubleshooting_page_run_as_they_stand() {
    let Some(bed) = Bed::bare("the_commands_of_the_troubleshooting_page").await else { return };
    install(&bed, &["--no-wait"]).await.well();
    let _operator = bed.holder("page").await;
    bed.kubectl(&["create", "configmap", "my-app-config", "--from-literal=k=v"], "").await.unwrap();
    let sync = json!({
        "apiVersion": "apps.kapendra.com/v1", "kind": "ConfigMapSync", "metadata": { "name": "my-first-sync" },
        "spec": { "sourceNamespace": "default", "destinationNamespace": "kube-system", "configMapName": "my-app-config" },
    });
    bed.kubectl(&["apply", "-f", "-"], &sync.to_string()).await.unwrap();
    bed.kubectl(&["wait", "--for=condition=Ready", "--timeout=60s", "cms/my-first-sync"], "").await.unwrap();
    let page = std::fs::read_to_string(root().join("docs/troubleshooting.md")).unwrap();
    let commands = commands(&page);
    assert!(commands.len() > 20, "{commands:?}");
    type_in(&bed, commands).await;
}

async fn type_in(bed: &Bed, commands: Vec<(&str, Option<&str>)>) {
    for (line, why) in commands {
        if why.is_some_and(|why| !why.is_empty()) {
            continue;
        }
        let mut shell = command(bed, "bash");
        shell.args(["-euo", "pipefail", "-c", line]);
        println!("$ {line}\n{}", ended(shell).await.well());
    }
}

#[tokio::test]
async fn the_commands_of_the_page_of_clusters_run_as_they_stand() {
    let Some(bed) = Bed::bare("the_commands_of_the_page_of_clusters").await else { return };
    install(&bed, &["--no-wait"]).await.well();
    let page = std::fs::read_to_string(root().join("docs/clusters.md")).unwrap();
    let commands = commands(&page);
    assert_eq!(commands.len(), 3, "{commands:?}");
    type_in(&bed, commands).await;
}
