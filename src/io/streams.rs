//! The streams of what is in the cluster: list and watch, by kube's own watcher, each resumed where it broke off.

use std::time::Duration;

use futures::{Stream, StreamExt as _};
use kube::Api;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event, watcher};

use super::chance;
use super::client::Clients;
use super::decode::{ConfigMapObject, NamespaceObject, SyncObject};
use super::instruments;
use crate::api::names::KUBE_ROOT_CA;

/// Every ConfigMapSync.
pub fn syncs(clients: &Clients) -> impl Stream<Item = watcher::Result<Event<SyncObject>>> + Send + use<> {
    follow("configmapsyncs", Api::all(clients.streams.clone()), watcher::Config::default())
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
    watcher(api, config).backoff(Patience::default()).inspect(move |event| {
        if event.is_err() {
            metrics::counter!(instruments::WATCH_RESTARTS_TOTAL, "stream" => name).increment(1);
        }
    })
}

/// How long to wait before a broken stream is opened again: 100 ms doubling to 5 s. An API server that comes back
/// after an outage should not wait for us, nor be overrun by the whole fleet at once.
struct Patience {
    next: Duration,
}

const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

impl Default for Patience {
    fn default() -> Self {
        Self { next: SHORTEST }
    }
}

impl Iterator for Patience {
    type Item = Duration;
    fn next(&mut self) -> Option<Duration> {
        let wait = self.next;
        self.next = (wait * 2).min(LONGEST);
        Some(wait.mul_f64(chance::random_range(0.5..1.0)))
    }
}

impl Backoff for Patience {
    fn reset(&mut self) {
        self.next = SHORTEST;
    }
}
