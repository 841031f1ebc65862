//! What was measured has to be true: every copy is read back and compared with what its source was given.

use std::collections::HashMap;

use anyhow::{Context as _, bail};
use configmapsync_operator::api::clusterconfigmapsync::ClusterConfigMapSync;
use configmapsync_operator::api::configmapsync::ConfigMapSync;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ListParams;
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

use super::bench::Bench;
use super::set::{HOME, Set};
use crate::objects;

/// How many objects one answer holds: a few megabytes.
const PAGE: u32 = 1000;

/// Fails unless every copy of the set holds its source to the byte, and every sync is Ready and names the versions that
/// source and copy have; or the one object is, and tells of all copies. `sources`: edition and version of each.
pub(super) async fn all_in_order(bench: &Bench, set: &Set, sources: &[(u64, u64)]) -> anyhow::Result<()> {
    bench.screen.progress("reading everything back");
    let copies = copies(&bench.client).await?;
    for wanted in &set.copies {
        let (namespace, name) = &wanted.place;
        let (edition, _) = sources[wanted.source];
        let copy = copies.get(&(namespace.clone(), name.clone()));
        let copy = copy.with_context(|| format!("{namespace}/{name} is not there"))?;
        if copy.data.as_ref() != Some(&set.content(wanted.source, edition)) {
            bail!("{namespace}/{name} does not hold what its source holds");
        }
    }
    if set.one_object {
        return object_tells(bench, set, sources[0].1).await;
    }
    let syncs = Api::<ConfigMapSync>::namespaced(bench.client.clone(), HOME);
    let syncs: HashMap<String, ConfigMapSync> =
        list(&syncs, "").await?.into_iter().map(|sync| (sync.name_any(), sync)).collect();
    for wanted in &set.copies {
        let (_, version) = sources[wanted.source];
        let sync = syncs.get(&wanted.name).with_context(|| format!("the sync {} is not there", wanted.name))?;
        let status = sync.status.as_ref().with_context(|| format!("the sync {} has no status", wanted.name))?;
        let told = |told: &Option<configmapsync_operator::api::configmapsync::ObjectVersion>| {
            told.as_ref().map(|told| told.resource_version.clone()).unwrap_or_default()
        };
        let (source, copied) = (told(&status.source), told(&status.copy));
        let is = copies[&wanted.place].resource_version().unwrap_or_default();
        if !objects::is_ready(sync) || source != version.to_string() || copied != is {
            bail!(
                "the sync {} is not in order: Ready {}, source {source} (it is {version}), copy {copied} (it is {is})",
                wanted.name,
                objects::is_ready(sync)
            );
        }
    }
    Ok(())
}

async fn object_tells(bench: &Bench, set: &Set, version: u64) -> anyhow::Result<()> {
    let object = set.object().name_any();
    let told = objects::told(&Api::<ClusterConfigMapSync>::all(bench.client.clone()).get(&object).await?);
    let all = format!("{0}/{0}", set.copies.len());
    match &told {
        Some(told) if told.ready && told.version == version && told.copies == all => Ok(()),
        other => bail!("the object {object} says {other:?}, and {all} copies of version {version} are there"),
    }
}

/// Fails if a sync, the object or a copy of the set is left.
pub(super) async fn all_gone(bench: &Bench, set: &Set) -> anyhow::Result<()> {
    let object = set.object().name_any();
    if Api::<ClusterConfigMapSync>::all(bench.client.clone()).get_metadata_opt(&object).await?.is_some() {
        bail!("the object {object} is still there");
    }
    let syncs = list(&Api::<ConfigMapSync>::namespaced(bench.client.clone(), HOME), "").await?;
    let copies = copies(&bench.client).await?;
    for wanted in &set.copies {
        if let Some(left) = syncs.iter().find(|sync| sync.name_any() == wanted.name) {
            bail!("the sync {} is still there", left.name_any());
        }
        if copies.contains_key(&wanted.place) {
            bail!("the copy {}/{} is still there", wanted.place.0, wanted.place.1);
        }
    }
    Ok(())
}

async fn copies(client: &Client) -> anyhow::Result<HashMap<(String, String), ConfigMap>> {
    let copies = list(&Api::<ConfigMap>::all(client.clone()), &objects::copies_selector()).await?;
    Ok(copies.into_iter().map(|copy| ((copy.namespace().unwrap_or_default(), copy.name_any()), copy)).collect())
}

/// All of them, in pages.
async fn list<K>(api: &Api<K>, labels: &str) -> anyhow::Result<Vec<K>>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug,
{
    let mut all = Vec::new();
    let mut parameters = ListParams::default().labels(labels).limit(PAGE);
    loop {
        let page = api.list(&parameters).await.context("the objects cannot be listed")?;
        all.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters = parameters.continue_token(&token),
            None => return Ok(all),
        }
    }
}
