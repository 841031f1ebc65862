//! Who holds what, read from the Leases as anyone can.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::ListParams;

use crate::installed::{Installed, SYSTEM};
use crate::wait::eventually;

/// As many as are shipped.
const SHARDS: usize = 64;

/// How many shards each pod holds; shards without a holder under "".
async fn held(installed: &Installed, pods: &[String]) -> Result<BTreeMap<String, usize>, String> {
    let leases = Api::<Lease>::namespaced(installed.client.clone(), SYSTEM);
    let list = leases.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
    let mut counts: BTreeMap<String, usize> = pods.iter().map(|pod| (pod.clone(), 0)).collect();
    for lease in list {
        if !lease.metadata.name.is_some_and(|name| name.starts_with("configmapsync-shard-")) {
            continue;
        }
        let holder = lease.spec.and_then(|spec| spec.holder_identity).unwrap_or_default();
        // A session is named after its pod, with a random end.
        let pod = pods.iter().find(|pod| holder.starts_with(&format!("{pod}-"))).cloned().unwrap_or(holder);
        *counts.entry(pod).or_default() += 1;
    }
    Ok(counts)
}

/// Waits until there are as many pods and they, and nobody else, hold all shards, even within one. Tells how long it took.
pub async fn until_even(installed: &Installed, replicas: usize) -> Duration {
    let look = async || {
        let pods = installed.pods.names();
        let counts = held(installed, &pods).await?;
        let (least, most) = (counts.values().min(), counts.values().max());
        let even = most.zip(least).is_some_and(|(most, least)| most - least <= 1);
        let right = pods.len() == replicas && counts.len() == replicas && counts.values().sum::<usize>() == SHARDS;
        if even && right { Ok(()) } else { Err(format!("{counts:?}")) }
    };
    eventually(&format!("{replicas} replicas hold all shards, even within one"), look).await.1
}
