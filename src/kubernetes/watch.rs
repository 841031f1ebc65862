//! The streams of what is in the cluster: list and watch, by kube's own watcher, each resumed where it broke off.

use std::time::Duration;

use futures::{Stream, StreamExt as _};
use kube::Api;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event, watcher};
use tokio::time::Instant;

use crate::api::names::KUBE_ROOT_CA;
use crate::environment::random;
use crate::kubernetes::client::Clients;
use crate::kubernetes::decode::{ConfigMapObject, NamespaceObject, SyncObject};
use crate::telemetry::instruments;

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
    watcher(api, config).backoff(Patience::up_to(LONGEST)).inspect(move |event| {
        if event.is_err() {
            metrics::counter!(instruments::WATCH_RESTARTS_TOTAL, "stream" => name).increment(1);
        }
    })
}

/// How long to wait before a broken stream is opened again: 100 ms doubling to 5 s. An API server that comes back
/// after an outage should not wait for us, nor be overrun by the whole fleet at once.
pub(crate) struct Patience {
    longest: Duration,
    next: Duration,
    last: Option<Instant>,
}

const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

impl Patience {
    /// One that waits no longer than this.
    pub(crate) fn up_to(longest: Duration) -> Self {
        Self { longest, next: SHORTEST, last: None }
    }
}

impl Iterator for Patience {
    type Item = Duration;
    fn next(&mut self) -> Option<Duration> {
        let now = Instant::now();
        let quiet = self.longest * 3;
        if self.last.replace(now).is_some_and(|last| now - last > quiet) {
            self.next = SHORTEST;
        }
        let wait = self.next;
        self.next = (wait * 2).min(self.longest);
        Some(wait.mul_f64(random::random_range(0.5..1.0)))
    }
}

impl Backoff for Patience {
    /// Comes with every event that is no error, and the watcher says `Init` before each list that is refused. So time
    /// without an error is what starts it anew, and not this.
    fn reset(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn patience_grows_while_errors_come_and_begins_anew_after_quiet() {
        let mut patience = Patience::up_to(LONGEST);
        let mut waits = Vec::new();
        for _ in 0..10 {
            patience.reset();
            let wait = patience.next().unwrap();
            tokio::time::advance(wait).await;
            waits.push(wait);
        }
        assert!(waits[0] <= SHORTEST && waits[9] >= LONGEST / 2 && waits.iter().all(|wait| *wait <= LONGEST));
        tokio::time::advance(LONGEST * 4).await;
        assert!(patience.next().unwrap() <= SHORTEST);
    }
}
