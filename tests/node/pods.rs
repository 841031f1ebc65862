//! The operator's pods, watched: how each fares and how it ends, also those that are gone by the time that a test looks.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::TryStreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};

use crate::installed::SYSTEM;
use crate::wait::eventually;

/// What is known of a pod.
#[derive(Clone, Debug, Default)]
pub struct Fate {
    /// It is Ready now.
    pub ready: bool,
    /// It is there.
    pub there: bool,
    /// When its deletion was first seen.
    deleted: Option<Instant>,
    /// Exit code, reason, and time since its deletion, of its program's end.
    pub end: Option<(i32, String, Option<Duration>)>,
    /// How often its program was started again, and why.
    restarts: Option<(i32, String)>,
}

/// All pods of the operator since the watch began.
pub struct Pods {
    fates: Arc<Mutex<BTreeMap<String, Fate>>>,
    watch: tokio::task::JoinHandle<()>,
}

impl Drop for Pods {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

impl Pods {
    /// Begins to watch, and knows of the pods of now when this returns.
    pub async fn watch(client: Client) -> Self {
        let fates = Arc::<Mutex<BTreeMap<String, Fate>>>::default();
        let api = Api::<Pod>::namespaced(client, SYSTEM);
        let (synced, until_synced) = tokio::sync::oneshot::channel::<()>();
        let seen = Arc::clone(&fates);
        let watch = tokio::spawn(async move {
            let mut events = pin!(watcher(api, watcher::Config::default()));
            let mut synced = Some(synced);
            loop {
                match events.try_next().await {
                    Ok(Some(Event::Apply(pod) | Event::InitApply(pod))) => note(&mut seen.lock().unwrap(), &pod, true),
                    Ok(Some(Event::Delete(pod))) => note(&mut seen.lock().unwrap(), &pod, false),
                    Ok(Some(Event::InitDone)) => drop(synced.take()),
                    Ok(Some(Event::Init)) => {}
                    Ok(None) => return,
                    // It begins anew by itself.
                    Err(error) => eprintln!("watch of pods: {error}"),
                }
            }
        });
        // Nothing is sent: that the sender is dropped is the message.
        let _: Result<(), _> = until_synced.await;
        Self { fates, watch }
    }

    /// What is known of all.
    pub fn fates(&self) -> BTreeMap<String, Fate> {
        self.fates.lock().unwrap().clone()
    }

    /// The names of those that are there.
    pub fn names(&self) -> Vec<String> {
        self.fates().into_iter().filter(|(_, fate)| fate.there).map(|(name, _)| name).collect()
    }

    /// Waits until as many are there, all Ready.
    pub async fn until(&self, replicas: usize) {
        let look = async || {
            let there: Vec<_> = self.fates().into_iter().filter(|(_, fate)| fate.there).collect();
            let all = there.len() == replicas && there.iter().all(|(_, fate)| fate.ready && fate.deleted.is_none());
            if all { Ok(()) } else { Err(format!("{there:?}")) }
        };
        eventually(&format!("{replicas} pods are there and Ready"), look).await;
    }

    /// No program was started again, killed for its memory or its slowness, or ended otherwise than with exit code 0.
    #[track_caller]
    pub fn check(&self) {
        for (name, fate) in self.fates() {
            assert!(fate.restarts.is_none(), "{name} was started again: {fate:?}");
            assert!(fate.end.as_ref().is_none_or(|(code, _, _)| *code == 0), "{name} ended badly: {fate:?}");
        }
    }
}

fn note(fates: &mut BTreeMap<String, Fate>, pod: &Pod, there: bool) {
    let fate = fates.entry(pod.metadata.name.clone().unwrap()).or_default();
    fate.there = there;
    if pod.metadata.deletion_timestamp.is_some() && fate.deleted.is_none() {
        fate.deleted = Some(Instant::now());
    }
    let Some(status) = &pod.status else { return };
    let conditions = status.conditions.iter().flatten();
    fate.ready = conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    for container in status.container_statuses.iter().flatten() {
        if container.restart_count > 0 {
            let last = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
            let why = last.and_then(|ended| ended.reason.clone()).unwrap_or_default();
            fate.restarts = Some((container.restart_count, why));
        }
        let ended = container.state.as_ref().and_then(|state| state.terminated.as_ref());
        // What never began, for want of its image, has no end either, whatever the kubelet makes of it.
        if let Some(ended) = ended.filter(|ended| ended.started_at.is_some()) {
            let since = fate.deleted.map(|deleted| deleted.elapsed());
            fate.end.get_or_insert((ended.exit_code, ended.reason.clone().unwrap_or_default(), since));
        }
    }
}
