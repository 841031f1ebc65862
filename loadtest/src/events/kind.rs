//! What is written, so that an event comes of each write.

use std::fmt;

use configmapsync_operator::api::configmapsync::ConfigMapSync;
use configmapsync_operator::api::names::FIELD_MANAGER;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde::Serialize;
use serde_json::json;

use crate::{objects, writers};

/// Everything stands here.
pub(super) const HOME: &str = "events";

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// ConfigMaps that concern no sync.
    Foreign,
    /// Copies of syncs that another replica holds.
    Copies,
    /// Statuses of such syncs.
    Statuses,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Foreign => "ConfigMaps of nobody",
            Self::Copies => "copies of others",
            Self::Statuses => "statuses of others",
        })
    }
}

/// The objects that are written again and again.
pub(super) struct Targets {
    foreign: Vec<ConfigMap>,
    copies: Vec<ConfigMap>,
    /// Names.
    syncs: Vec<String>,
}

impl Targets {
    /// As they stand in the cluster.
    pub(super) async fn find(client: &Client) -> anyhow::Result<Self> {
        let config_maps = Api::<ConfigMap>::namespaced(client.clone(), HOME);
        let list = async |selector: &str| config_maps.list(&ListParams::default().labels(selector)).await;
        let mut foreign = list(&format!("{}={HOME}", objects::MADE_BY)).await?.items;
        let mut copies = list(&objects::copies_selector()).await?.items;
        let syncs = Api::<ConfigMapSync>::namespaced(client.clone(), HOME);
        let syncs = syncs.list(&ListParams::default()).await?.items;
        let syncs: Vec<String> = syncs.iter().map(ResourceExt::name_any).collect();
        anyhow::ensure!(!foreign.is_empty() && copies.len() == syncs.len(), "the objects are not all there");
        foreign.iter_mut().chain(&mut copies).for_each(|object| again(&mut object.metadata));
        Ok(Self { foreign, copies, syncs })
    }

    /// Writes `events` of them, one after the other and from the beginning again. `round` differs from call to call.
    pub(super) async fn write(&self, client: &Client, kind: Kind, round: usize, events: usize) -> anyhow::Result<()> {
        match kind {
            Kind::Foreign => put(client, &self.foreign, round, events).await,
            Kind::Copies => put(client, &self.copies, round, events).await,
            Kind::Statuses => {
                let api = Api::<ConfigMapSync>::namespaced(client.clone(), HOME);
                // As the operator writes it, so that managedFields stay as long as they are.
                let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
                let status = |number: usize| {
                    let (api, params, name) = (&api, &params, &self.syncs[number % self.syncs.len()]);
                    let patch = json!({"status": {"message": format!("round {round}, write {number}")}});
                    async move { Ok(api.patch_status(name, params, &Patch::Merge(&patch)).await.map(drop)?) }
                };
                writers::each(0..events, status, |_| ()).await.map(drop)
            }
        }
    }
}

async fn put(client: &Client, objects: &[ConfigMap], round: usize, events: usize) -> anyhow::Result<()> {
    let api = Api::<ConfigMap>::namespaced(client.clone(), HOME);
    let write = |number: usize| {
        let mut object = objects[number % objects.len()].clone();
        object.data.get_or_insert_default().insert("edition".to_owned(), format!("{round}/{number}"));
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let api = api.clone();
        async move {
            let name = object.metadata.name.clone().unwrap_or_default();
            Ok(api.replace(&name, &params, &object).await.map(drop)?)
        }
    };
    writers::each(0..events, write, |_| ()).await.map(drop)
}

/// So sent, it is written over any version.
fn again(metadata: &mut ObjectMeta) {
    metadata.resource_version = None;
    metadata.managed_fields = None;
}
