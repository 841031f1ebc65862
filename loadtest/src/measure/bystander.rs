//! Somebody who has nothing to do with it all, and reads a ConfigMap now and then, and writes it: what it waits is what a load
//! costs others. It has an account of its own, since the administrator is never made to wait.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};
use serde_json::json;
use testbed::Cluster;
use testbed::audit::AuditEvent;
use tokio::task::JoinHandle;

use super::set::HOME;

/// How often it asks.
const EVERY: Duration = Duration::from_millis(25);
/// One of so many requests is a write.
const WRITES: u64 = 4;
const NAME: &str = "bystander";

type Waited = Arc<Mutex<Vec<(Instant, Duration)>>>;

/// It asks until it is dropped.
pub(super) struct Bystander {
    read: Waited,
    wrote: Waited,
    task: JoinHandle<()>,
}

impl Bystander {
    /// Makes its account and its ConfigMap, and has it ask. The namespace of sources has to be there.
    pub(super) async fn start(cluster: &Cluster, admin: &Client) -> anyhow::Result<Self> {
        let account = json!({"metadata": {"name": NAME, "namespace": HOME}});
        let binding = json!({
            "metadata": {"name": NAME, "namespace": HOME},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
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
        let (read, wrote) = (Waited::default(), Waited::default());
        let task = tokio::spawn({
            let (read, wrote) = (read.clone(), wrote.clone());
            async move {
                for number in 0u64.. {
                    let begun = Instant::now();
                    let (answered, waited) = if number.is_multiple_of(WRITES) {
                        let change = Patch::Merge(json!({"data": {"number": number.to_string()}}));
                        (api.patch(NAME, &PatchParams::default(), &change).await.is_ok(), &wrote)
                    } else {
                        (api.get_metadata(NAME).await.is_ok(), &read)
                    };
                    if answered {
                        waited.lock().unwrap_or_else(PoisonError::into_inner).push((begun, begun.elapsed()));
                    }
                    tokio::time::sleep(EVERY).await;
                }
            }
        });
        Ok(Self { read, wrote, task })
    }

    /// How long its reads and its writes took that were sent in this time.
    pub(super) fn waited(&self, from: Instant, until: Instant) -> [Vec<Duration>; 2] {
        [&self.read, &self.wrote].map(|all| {
            let all = all.lock().unwrap_or_else(PoisonError::into_inner);
            all.iter().filter(|(sent, _)| (from..=until).contains(sent)).map(|(_, took)| *took).collect()
        })
    }
}

/// Whether a request is the bystander's.
pub(super) fn is_his(event: &AuditEvent) -> bool {
    event.user.rsplit(':').next() == Some(NAME)
}

impl Drop for Bystander {
    fn drop(&mut self) {
        self.task.abort();
    }
}
