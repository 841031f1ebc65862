//! What is in the cluster: list and watch, by kube's own watcher. A watch that breaks is resumed where it broke off.

use futures::{Stream, StreamExt as _};
use kube::Api;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};

use crate::api::names::KUBE_ROOT_CA;
use crate::kubernetes::backoff::{LONGEST, WatchBackoff};
use crate::kubernetes::client::Clients;
use crate::kubernetes::decode::{ClusterSyncObject, ConfigMapObject, NamespaceObject, SyncObject};
use crate::telemetry::instruments;

/// Every ConfigMapSync.
pub fn syncs(clients: &Clients) -> impl Stream<Item = watcher::Result<Event<SyncObject>>> + Send + use<> {
    follow("configmapsyncs", Api::all(clients.watches.clone()), watcher::Config::default())
}

/// Every ClusterConfigMapSync.
pub fn cluster_syncs(
    clients: &Clients,
) -> impl Stream<Item = watcher::Result<Event<ClusterSyncObject>>> + Send + use<> {
    follow("clusterconfigmapsyncs", Api::all(clients.watches.clone()), watcher::Config::default())
}

/// The metadata of every ConfigMap but those that Kubernetes keeps in each namespace.
pub fn configmaps(clients: &Clients) -> impl Stream<Item = watcher::Result<Event<ConfigMapObject>>> + Send + use<> {
    let config = watcher::Config::default().fields(&format!("metadata.name!={KUBE_ROOT_CA}"));
    follow("configmaps", Api::all(clients.metadata.clone()), config)
}

/// The metadata of every namespace.
pub fn namespaces(clients: &Clients) -> impl Stream<Item = watcher::Result<Event<NamespaceObject>>> + Send + use<> {
    follow("namespaces", Api::all(clients.metadata.clone()), watcher::Config::default())
}

fn follow<K>(
    name: &'static str,
    api: Api<K>,
    config: watcher::Config,
) -> impl Stream<Item = watcher::Result<Event<K>>> + Send + use<K>
where
    K: kube::Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    watcher(api, config).backoff(WatchBackoff::up_to(LONGEST)).inspect(move |event| {
        if event.is_err() {
            metrics::counter!(instruments::WATCH_RESTARTS_TOTAL, "stream" => name).increment(1);
        }
    })
}
