//! What docs/trust.md has people type, typed.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::json;

use crate::harness::{Bed, Case, eventually};

/// What is not typed here, and why.
const NOT_TYPED: [(&str, &str); 1] =
    [("kubectl create -f sync.yaml --as=tenant", "tests/it/authors.rs has the refusals")];

fn commands(page: &str) -> Vec<&str> {
    let blocks = page.split("```console\n").skip(1).filter_map(|block| block.split("```").next());
    blocks.flat_map(str::lines).filter_map(|line| line.strip_prefix("$ ")).collect()
}

pub async fn typed(bed: &Bed, line: &str, dir: &Path) -> Result<String, String> {
    let bin_dir = testbed::bin_dir().await.unwrap();
    let path = format!("{}:{}", bin_dir.display(), std::env::var("PATH").unwrap());
    let output = tokio::process::Command::new("bash")
        .args(["-c", line])
        .current_dir(dir)
        .env("PATH", path)
        .env("KUBECONFIG", bed.cluster().kubeconfig())
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    if output.status.success() { Ok(String::from_utf8(output.stdout).unwrap()) } else { Err(format!("{output:?}")) }
}

#[tokio::test]
async fn the_commands_of_the_page_work_one_after_the_other() {
    let Some(bed) = Bed::own("trust-page").await else { return };
    let case = Case::on(&bed, "trust-page").await;
    let _operator = bed.holder("trust-page").await;
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/trust.md")).unwrap();
    let dir = bed.cluster().dir().join("typed");
    std::fs::create_dir(&dir).unwrap();
    let yaml = page.split("```yaml\n").nth(1).and_then(|block| block.split("```").next()).unwrap();
    std::fs::write(dir.join("company-ca.yaml"), yaml).unwrap();
    let commands = commands(&page);
    assert!(commands.len() > 10, "{commands:#?}");
    for line in commands {
        if NOT_TYPED.iter().any(|(what, _)| *what == line) {
            continue;
        }
        if line.starts_with("kubectl annotate configmap settings") {
            case.create("team-a", "settings", json!({ "data": { "k": "1" } })).await;
        }
        // What a role lets somebody do is known a moment after it is there.
        let said = eventually(format!("$ {line}"), async || match typed(&bed, line, &dir).await {
            Err(why) if !line.contains("--as=") => panic!("$ {line}: {why}"),
            answer => answer,
        });
        let said = said.await;
        if line.contains("get configmap company-ca") {
            assert!(said.contains("company-ca"), "{said}");
        }
    }
    let copy = case.get("team-a", "company-ca").await.unwrap();
    assert_eq!(json!(copy.data), json!({ "ca.crt": "certificates" }));
}
