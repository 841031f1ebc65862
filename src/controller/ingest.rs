//! From the watches into the cache, and from there to the queue.

use std::sync::Arc;

use futures::Stream;
use kube::runtime::watcher::{self, Event};

use crate::controller::cache::{Cache, Change, Told};
use crate::controller::observe::{Observation, Progress, observe};
use crate::controller::queue::fanout::Fanout;
use crate::controller::queue::{Cause, Queue};
use crate::kubernetes::decode::{
    ClusterSyncObject, ConfigMapObject, ConfigMapRecord, NamespaceObject, NamespaceRecord, SyncObject,
};
use crate::rules::cluster::record::ClusterSync;
use crate::rules::key::Key;
use crate::rules::record::{ConfigMapMeta, Namespace, ObjectKey, Sync};
use crate::rules::shard::Shard;
use crate::rules::uid::Uid;
use crate::telemetry::instruments;

/// Feeds the cache and enqueues keys.
#[derive(Clone)]
pub struct Follower {
    /// What the watches told.
    pub cache: Arc<Cache>,
    /// Where affected keys go.
    pub queue: Arc<Queue>,
}

impl Follower {
    /// Follows the watch of syncs until it is dropped.
    pub async fn syncs(self, stream: impl Stream<Item = watcher::Result<Event<SyncObject>>>, progress: Arc<Progress>) {
        observe(stream, &progress, |observation| {
            let mut affected = Vec::new();
            match observation {
                Observation::ListBegins => {}
                Observation::Applied { record, .. } => self.sync(record, &mut affected),
                Observation::Deleted(sync) => self.cache.sync_deleted(&sync, &mut affected),
                Observation::ListEnds(listed) => self.cache.syncs_listed(&listed, &mut affected),
            }
            let cause = Cause { urgent: true, ..Cause::default() };
            self.wake(&affected, &cause);
            self.wake_copies(&self.cache.affected_copies(), &cause);
        })
        .await;
    }

    fn sync(&self, sync: Sync, affected: &mut Vec<Uid>) {
        let uid = sync.uid();
        if let Err(unusable) = &sync.spec
            && self.cache.sync(uid).is_none_or(|before| before.generation != sync.generation)
        {
            let (namespace, name, shard) = (&*sync.key.namespace, &*sync.key.name, Shard::of(uid).index());
            tracing::warn!(namespace, name, shard, cause = %unusable.why, "the spec of a ConfigMapSync is invalid: it is skipped until somebody corrects it");
            metrics::counter!(instruments::UNPARSABLE_OBJECTS_TOTAL, "resource" => "configmapsyncs").increment(1);
        }
        let observed = Some(sync.version);
        let asked = sync
            .request()
            .is_some_and(|request| self.cache.sync(uid).is_none_or(|before| before.request() != Some(request)));
        match self.cache.sync_applied(sync, affected) {
            Change::Status if asked => self.wake(&[uid], &Cause { observed, urgent: true, ..Cause::default() }),
            Change::Nothing => {}
            Change::Status => self.wake(&[uid], &Cause { observed, ..Cause::default() }),
            Change::Wanted => self.wake(&[uid], &Cause { observed, urgent: true, ..Cause::default() }),
        }
    }

    /// Follows the watch of ClusterConfigMapSyncs until it is dropped.
    pub async fn cluster_syncs(
        self,
        stream: impl Stream<Item = watcher::Result<Event<ClusterSyncObject>>>,
        progress: Arc<Progress>,
    ) {
        observe(stream, &progress, |observation| {
            let mut affected = Vec::new();
            match observation {
                Observation::ListBegins => {}
                Observation::Applied { record, .. } => self.cluster_sync(record, &mut affected),
                Observation::Deleted(object) => self.cache.cluster_sync_deleted(&object, &mut affected),
                Observation::ListEnds(listed) => self.cache.cluster_syncs_listed(&listed, &mut affected),
            }
            self.wake(&affected, &Cause { urgent: true, ..Cause::default() });
        })
        .await;
    }

    fn cluster_sync(&self, object: ClusterSync, affected: &mut Vec<Uid>) {
        let uid = object.uid();
        if let Err(unusable) = &object.spec
            && self.cache.cluster_sync(uid).is_none_or(|before| before.generation != object.generation)
        {
            let (name, shard) = (&*object.name, Shard::of(uid).index());
            tracing::warn!(name, shard, cause = %unusable.why, "the spec of a ClusterConfigMapSync is invalid: it is skipped until somebody corrects it");
            metrics::counter!(instruments::UNPARSABLE_OBJECTS_TOTAL, "resource" => "clusterconfigmapsyncs")
                .increment(1);
        }
        let asked = object
            .request()
            .is_some_and(|request| self.cache.cluster_sync(uid).is_none_or(|before| before.request() != Some(request)));
        let urgent = Cause { urgent: true, ..Cause::default() };
        match self.cache.cluster_sync_applied(object, affected) {
            Change::Nothing => {}
            Change::Status if !asked => self.queue.push(Key::Object(uid), None, &urgent),
            Change::Status | Change::Wanted => {
                self.queue.push(Key::Object(uid), None, &urgent);
                self.wake(&[uid], &urgent);
            }
        }
    }

    /// Enqueues some of the many copies of objects, and has them counted.
    pub(super) fn wake_copies(&self, keys: &[Key], cause: &Cause) {
        for key in keys {
            self.queue.push(key.clone(), source_of(&self.cache, key), cause);
            self.queue.recount(key.object());
        }
    }

    /// Follows the watch of ConfigMaps until it is dropped.
    pub async fn configmaps(
        self,
        stream: impl Stream<Item = watcher::Result<Event<ConfigMapObject>>>,
        progress: Arc<Progress>,
    ) {
        let (mut sources, mut others, mut copies) = (Vec::new(), Vec::new(), Vec::new());
        observe(stream, &progress, |observation| {
            sources.clear();
            others.clear();
            copies.clear();
            let mut observed = None;
            match observation {
                Observation::ListBegins => self.cache.configmaps_listing(),
                Observation::Applied { record, listed } => {
                    if listed && !self.is_news(&record.key, record.meta.version.rv) {
                        return;
                    }
                    observed = Some(record.meta.version);
                    let written = !listed && self.is_written_by_a_holder(&record.key, &record.meta);
                    let key = record.key.clone();
                    // Who holds the shard matters for one of many copies alone.
                    let told = if listed || record.content.is_none() { Told::Listed } else { self.told_of(&key) };
                    self.cache.configmap_applied(record, told, &mut sources, &mut others);
                    self.cache.copy_keys_at(&key, &mut copies);
                    if written && !(others.is_empty() && copies.is_empty()) {
                        self.queue.copy_written();
                    }
                }
                Observation::Deleted(ConfigMapRecord { key, meta, .. }) => {
                    self.cache.configmap_deleted(&key, meta.version.rv, &mut sources, &mut others);
                    self.cache.copy_keys_at(&key, &mut copies);
                }
                Observation::ListEnds(listed) => self.cache.configmaps_listed(&listed, &mut sources, &mut others),
            }
            if !sources.is_empty() {
                let fanout = Some(Arc::new(Fanout::of_source()));
                self.wake(&sources, &Cause { fanout, urgent: true, ..Cause::default() });
            }
            let cause = Cause { urgent: true, observed, ..Cause::default() };
            self.wake(&others, &cause);
            copies.extend(self.cache.affected_copies());
            self.wake_copies(&copies, &cause);
        })
        .await;
    }

    /// How a watch tells of a change of this ConfigMap.
    fn told_of(&self, key: &ObjectKey) -> Told {
        let held = |namespace: Namespace| self.queue.holds(Shard::of(namespace.uid));
        match self.cache.namespace(&key.namespace).is_none_or(held) {
            true => Told::ChangedHere,
            false => Told::ChangedElsewhere,
        }
    }

    /// Whether a copy changed by a write of a shard's holder, who marks it anew, and not by somebody else's touch.
    fn is_written_by_a_holder(&self, key: &ObjectKey, meta: &ConfigMapMeta) -> bool {
        let marks = |meta: &ConfigMapMeta| meta.mark.as_ref().map(|mark| (mark.uid, mark.source_rv));
        let now = marks(meta);
        now.is_some() && self.cache.configmap(key).is_none_or(|before| marks(&before) != now)
    }

    /// Whether a list tells of a version that is not known yet.
    fn is_news(&self, key: &ObjectKey, rv: u64) -> bool {
        self.cache.configmap(key).is_none_or(|meta| meta.version.rv != rv)
    }

    /// Follows the watch of namespaces until it is dropped.
    pub async fn namespaces(
        self,
        stream: impl Stream<Item = watcher::Result<Event<NamespaceObject>>>,
        progress: Arc<Progress>,
    ) {
        observe(stream, &progress, |observation| {
            let mut affected = Vec::new();
            let mut fanout = None;
            match observation {
                Observation::ListBegins => {}
                Observation::Applied { record, listed } => {
                    fanout = (!listed).then(|| Arc::new(Fanout::of_namespace()));
                    self.cache.namespace_observed(record, &mut affected);
                }
                Observation::Deleted(NamespaceRecord { name, .. }) => {
                    self.cache.namespace_deleted(&name, &mut affected);
                }
                Observation::ListEnds(listed) => self.cache.namespaces_listed(&listed, &mut affected),
            }
            let cause = Cause { urgent: true, ..Cause::default() };
            self.wake(&affected, &cause);
            self.wake_copies(&self.cache.affected_copies(), &Cause { fanout, ..cause });
        })
        .await;
    }

    /// Puts these objects into the queue, each behind its source: with the copies of one that wants many.
    pub fn wake(&self, uids: &[Uid], cause: &Cause) {
        for key in uids.iter().copied().map(Key::Object) {
            if self.cache.is_cluster_sync(key.object()) {
                let copies = self.cache.copy_keys(key.object());
                self.wake_copies(&copies, cause);
                self.queue.recount(key.object());
                continue;
            }
            let source = source_of(&self.cache, &key);
            self.queue.push(key, source, cause);
        }
    }
}

/// The source whose turn a key waits for.
pub fn source_of(cache: &Cache, key: &Key) -> Option<ObjectKey> {
    match key {
        Key::Object(object) => {
            cache.sync(*object).and_then(|sync| sync.spec.as_ref().ok().map(|spec| spec.source.clone()))
        }
        Key::Copy(copy) => {
            cache.cluster_sync(copy.object).and_then(|object| object.spec.as_ref().ok().map(|spec| spec.source.clone()))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::stream;
    use serde_json::json;
    use tokio::time::Instant;

    use super::*;
    use crate::controller::queue::Outcome;
    use crate::rules::testing::{sync, uid};

    #[tokio::test(start_paused = true)]
    async fn a_copy_that_another_replica_wrote_holds_statuses_back() {
        let follower = Follower { cache: Arc::default(), queue: Arc::default() };
        let shard = Shard::of(uid(1));
        follower.queue.open(shard);
        let elsewhere = (1..).find(|number| Shard::of(uid(*number)) != shard).unwrap();
        follower.cache.sync_applied(sync("n/another", elsewhere, "source/x", "one/x"), &mut Vec::new());
        // Two keys with nothing left but a status, and no copy for a while.
        for key in (1..).map(|number| Key::Object(uid(number))).filter(|key| key.shard() == shard).take(2) {
            follower.queue.push(key, None, &Cause::default());
        }
        for job in [follower.queue.pop().await, follower.queue.pop().await] {
            follower.queue.done(job.key, job.key_state, Outcome::Status, None, None);
        }
        tokio::time::advance(Duration::from_secs(5)).await;

        let copy = json!({ "metadata": {
            "namespace": "one", "name": "x", "uid": "00000000-0000-4000-8000-000000000009", "resourceVersion": "7",
            "annotations": { "configmapsync.apps.kapendra.com/sync": format!("n/another/{}", uid(elsewhere)) },
        } });
        let observed = stream::iter([Ok(Event::Apply(serde_json::from_value(copy).unwrap()))]);
        follower.clone().configmaps(observed, Arc::default()).await;

        let now = Instant::now();
        follower.queue.pop().await;
        assert_eq!(now.elapsed(), Duration::ZERO, "one has its turn");
        follower.queue.pop().await;
        assert!(now.elapsed() > Duration::ZERO, "the next one waits");
    }
}
