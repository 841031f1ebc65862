//! Whether all is as it should be: every copy, every status, every shard.

use std::collections::{BTreeMap, BTreeSet};

use configmapsync_operator::api::clusterconfigmapsync::ClusterConfigMapSync;
use configmapsync_operator::api::configmapsync::{ConfigMapSync, ObjectVersion};
use configmapsync_operator::api::names::ANNOTATION_SYNC;
use configmapsync_operator::rules::shard::SHARDS;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::ListParams;
use kube::{Api, Client, Resource as _, ResourceExt as _};

use super::{load, many};
use crate::copies::Place;
use crate::fleet::{NAMESPACE, SESSION_LEASE, SHARD_LEASE, is_session_of};
use crate::objects;

const PHASE: &str = "configmapsync.apps.kapendra.com/phase";

/// What is not as it should be; nothing when all is. `replicas` are the names of the processes that run.
///
/// # Errors
/// When something cannot be listed.
pub async fn missing(client: &Client, replicas: &[String]) -> anyhow::Result<Vec<String>> {
    let leases = leases(client).await?;
    let syncs = Api::<ConfigMapSync>::namespaced(client.clone(), load::HOME).list(&ListParams::default()).await?.items;
    let sources = Api::<ConfigMap>::namespaced(client.clone(), load::HOME).list(&ListParams::default()).await?.items;
    let ours = ListParams::default().labels(&objects::copies_selector());
    let copies = Api::<ConfigMap>::all(client.clone()).list(&ours).await?.items;
    let namespaces = Api::<Namespace>::all(client.clone()).list(&ListParams::default()).await?.items;
    let object = Api::<ClusterConfigMapSync>::all(client.clone()).get(many::MANY).await?;
    let copies: BTreeMap<Place, &ConfigMap> =
        copies.iter().map(|copy| ((copy.namespace().unwrap_or_default(), copy.name_any()), copy)).collect();
    let source = sources.iter().find(|source| source.name_any() == many::MANY);
    let mut missing = shards(&leases, replicas);
    let (of_many, mut wanted) = many::missing(&object, &namespaces, source, &copies);
    missing.extend(of_many);
    missing.extend(of_syncs(&syncs, &sources, &copies, &mut wanted));
    let orphans = copies.keys().filter(|place| !wanted.contains(*place));
    missing.extend(orphans.map(|(namespace, name)| format!("{namespace}/{name} is a copy that nobody wants")));
    Ok(missing)
}

/// The fleet's Leases.
///
/// # Errors
/// When they cannot be listed.
pub async fn leases(client: &Client) -> anyhow::Result<Vec<Lease>> {
    Ok(Api::<Lease>::namespaced(client.clone(), NAMESPACE).list(&ListParams::default()).await?.items)
}

/// The holder of each shard that has one.
pub fn holders(leases: &[Lease]) -> BTreeMap<usize, String> {
    let shard = |lease: &Lease| lease.metadata.name.as_deref()?.strip_prefix(SHARD_LEASE)?.parse().ok();
    leases.iter().filter_map(|lease| Some((shard(lease)?, holder(lease)?))).collect()
}

fn holder(lease: &Lease) -> Option<String> {
    lease.spec.as_ref()?.holder_identity.clone().filter(|holder| !holder.is_empty())
}

fn shards(leases: &[Lease], replicas: &[String]) -> Vec<String> {
    let live: BTreeSet<&str> = leases
        .iter()
        .filter(|lease| lease.annotations().get(PHASE).is_some_and(|phase| phase == "live"))
        .filter_map(|lease| lease.metadata.name.as_deref()?.strip_prefix(SESSION_LEASE))
        .filter(|session| replicas.iter().any(|replica| is_session_of(session, replica)))
        .collect();
    let holders = holders(leases);
    let held = |shard: &usize| holders.get(shard).is_some_and(|holder| live.contains(holder.as_str()));
    let unheld = (0..SHARDS).filter(|shard| !held(shard)).map(|shard| format!("shard {shard} has no live holder"));
    let uneven = replicas.iter().filter_map(|replica| {
        let count = holders.values().filter(|holder| is_session_of(holder, replica)).count();
        let (least, most) = (SHARDS / replicas.len(), SHARDS.div_ceil(replicas.len()));
        (!(least..=most).contains(&count)).then(|| format!("{replica} holds {count} shards, not {least} to {most}"))
    });
    unheld.chain(uneven).collect()
}

/// What is not as it should be. Adds the places of copies to `wanted`.
fn of_syncs(
    syncs: &[ConfigMapSync],
    sources: &[ConfigMap],
    copies: &BTreeMap<Place, &ConfigMap>,
    wanted: &mut BTreeSet<Place>,
) -> Vec<String> {
    let sources: BTreeMap<String, &ConfigMap> = sources.iter().map(|source| (source.name_any(), source)).collect();
    let mut missing = Vec::new();
    for sync in syncs {
        let place = (sync.spec.destination_namespace.clone(), sync.name_any());
        let copy = copies.get(&place).copied();
        let source = sources.get(&sync.spec.config_map_name).copied();
        if let Err(what) = in_order(sync, source, copy) {
            missing.push(format!("{}: {what}", sync.name_any()));
        }
        wanted.insert(place);
    }
    missing
}

fn in_order(sync: &ConfigMapSync, source: Option<&ConfigMap>, copy: Option<&ConfigMap>) -> Result<(), &'static str> {
    let source = source.ok_or("its source is missing")?;
    if sync.meta().deletion_timestamp.is_some() {
        return Err("it is being deleted");
    }
    let copy = copy.ok_or("its copy is missing")?;
    let owner = copy.annotations().get(ANNOTATION_SYNC).and_then(|mark| mark.rsplit('/').next());
    if owner != sync.uid().as_deref() {
        return Err("its copy is another sync's");
    }
    if copy.data != source.data {
        return Err("its copy is not what the source is");
    }
    if !objects::is_ready(sync) {
        return Err("it is not Ready");
    }
    let status = sync.status.as_ref().ok_or("it has no status")?;
    if !is(status.source.as_ref(), source) || !is(status.copy.as_ref(), copy) {
        return Err("its status speaks of other versions");
    }
    Ok(())
}

fn is(said: Option<&ObjectVersion>, object: &ConfigMap) -> bool {
    said.is_some_and(|said| {
        Some(&said.uid) == object.metadata.uid.as_ref()
            && Some(&said.resource_version) == object.metadata.resource_version.as_ref()
    })
}
