//! The shipped sample: a source, a sync and its copy.

use serde_json::Value;

use crate::installed::Installed;
use crate::wait::eventually;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/samples/01-quick-start.yaml");
const NAMESPACES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/samples/00-namespaces.yaml");

/// Applies it, and waits until its copy is there.
pub async fn copied(installed: &Installed) {
    installed.kubectl(&["apply", "-f", NAMESPACES, "-f", FILE]).await;
    let look = async || match copy(installed).await {
        Some(copy) if copy["data"]["database.url"] == "postgres://localhost:5432/myapp" => Ok(()),
        other => Err(format!("{other:?}")),
    };
    eventually("the sample is copied", look).await;
}

/// As [`copied`], and its status says so.
pub async fn ready(installed: &Installed) {
    copied(installed).await;
    installed.kubectl(&["wait", "--for=condition=Ready", "cms/my-first-sync", "--timeout=120s"]).await;
}

/// The copy, if it is there.
pub async fn copy(installed: &Installed) -> Option<Value> {
    let get = ["-n", "kube-system", "get", "configmap", "my-app-config", "--ignore-not-found", "-o", "json"];
    let copy = installed.kubectl(&get).await;
    (!copy.is_empty()).then(|| serde_json::from_str(&copy).unwrap())
}

/// Deletes it, and waits until the copy has gone with its sync.
pub async fn deleted(installed: &Installed) {
    installed.kubectl(&["delete", "--ignore-not-found", "--timeout=120s", "-f", FILE]).await;
    eventually("the copy goes with its sync", async || match copy(installed).await {
        None => Ok(()),
        Some(copy) => Err(copy.to_string()),
    })
    .await;
}
