//! Somebody who has nothing to do with it all, and asks the API server for a ConfigMap now and then: what it waits is what
//! a load costs others. It has an account of its own, since the administrator is never made to wait.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};
use serde_json::json;
use testbed::Cluster;
use tokio::task::JoinHandle;

use super::set::HOME;

/// How often it asks.
const EVERY: Duration = Duration::from_millis(25);
const NAME: &str = "bystander";

/// It asks until it is dropped.
pub(super) struct Bystander {
    asked: Arc<Mutex<Vec<(Instant, Duration)>>>,
    task: JoinHandle<()>,
}

impl Bystander {
    /// Makes its account and its ConfigMap, and has it ask. The namespace of sources has to be there.
    pub(super) async fn start(cluster: &Cluster, admin: &Client) -> anyhow::Result<Self> {
        let account = json!({"metadata": {"name": NAME, "namespace": HOME}});
        let binding = json!({
            "metadata": {"name": NAME, "namespace": HOME},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
            "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": HOME}],
        });
        let config_map = json!({"metadata": {"name": NAME, "namespace": HOME}});
        Api::<ConfigMap>::namespaced(admin.clone(), HOME)
            .create(&PostParams::default(), &serde_json::from_value(config_map)?)
            .await?;
        let (account, binding) = (serde_json::from_value(account)?, serde_json::from_value(binding)?);
        Api::<ServiceAccount>::namespaced(admin.clone(), HOME).create(&PostParams::default(), &account).await?;
        Api::<RoleBinding>::namespaced(admin.clone(), HOME).create(&PostParams::default(), &binding).await?;
        let kubeconfig = Kubeconfig::read_from(cluster.service_account_kubeconfig(HOME, NAME).await?)?;
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        let api = Api::<ConfigMap>::namespaced(Client::try_from(config)?, HOME);
        let deadline = Instant::now() + Duration::from_secs(30);
        while let Err(error) = api.get_metadata(NAME).await {
            if Instant::now() > deadline {
                return Err(error).context("a bystander cannot read what it is there for");
            }
            tokio::time::sleep(EVERY).await;
        }
        let asked = Arc::<Mutex<Vec<_>>>::default();
        let task = tokio::spawn({
            let asked = asked.clone();
            async move {
                loop {
                    let begun = Instant::now();
                    if api.get_metadata(NAME).await.is_ok() {
                        asked.lock().unwrap_or_else(PoisonError::into_inner).push((begun, begun.elapsed()));
                    }
                    tokio::time::sleep(EVERY).await;
                }
            }
        });
        Ok(Self { asked, task })
    }

    /// How long its requests took that were sent in this time.
    pub(super) fn waited(&self, from: Instant, until: Instant) -> Vec<Duration> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.iter().filter(|(sent, _)| (from..=until).contains(sent)).map(|(_, took)| *took).collect()
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        self.task.abort();
    }
}
