//! From the watches into the cache, and from there to the queue.

use std::sync::Arc;

use futures::Stream;
use kube::runtime::watcher::{self, Event};

use crate::controller::cache::{Cache, Change};
use crate::controller::observe::{Observation, Progress, observe};
use crate::controller::queue::fanout::Fanout;
use crate::controller::queue::{Cause, Queue};
use crate::kubernetes::decode::{ConfigMapObject, NamespaceObject, SyncObject};
use crate::rules::key::Key;
use crate::rules::record::{ConfigMapMeta, ObjectKey, Sync};
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
            self.wake(&affected, &Cause { urgent: true, ..Cause::default() });
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

    /// Follows the watch of ConfigMaps until it is dropped.
    pub async fn configmaps(
        self,
        stream: impl Stream<Item = watcher::Result<Event<ConfigMapObject>>>,
        progress: Arc<Progress>,
    ) {
        let (mut sources, mut others) = (Vec::new(), Vec::new());
        observe(stream, &progress, |observation| {
            sources.clear();
            others.clear();
            let mut observed = None;
            match observation {
                Observation::ListBegins => self.cache.configmaps_listing(),
                Observation::Applied { record: (key, meta), listed } => {
                    if listed && !self.is_news(&key, meta.version.rv) {
                        return;
                    }
                    observed = Some(meta.version);
                    let written = !listed && self.is_written_by_a_holder(&key, &meta);
                    self.cache.configmap_applied(key, meta, &mut sources, &mut others);
                    if written && !others.is_empty() {
                        self.queue.copy_written();
                    }
                }
                Observation::Deleted((key, meta)) => {
                    self.cache.configmap_deleted(&key, meta.version.rv, &mut sources, &mut others);
                }
                Observation::ListEnds(listed) => self.cache.configmaps_listed(&listed, &mut sources, &mut others),
            }
            if !sources.is_empty() {
                let fanout = Some(Arc::new(Fanout::start()));
                self.wake(&sources, &Cause { fanout, urgent: true, observed: None });
            }
            self.wake(&others, &Cause { urgent: true, observed, ..Cause::default() });
        })
        .await;
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
            match observation {
                Observation::ListBegins => {}
                Observation::Applied { record: (name, namespace), .. } => {
                    self.cache.namespace_applied(&name, namespace, &mut affected);
                }
                Observation::Deleted((name, _)) => self.cache.namespace_deleted(&name, &mut affected),
                Observation::ListEnds(listed) => self.cache.namespaces_listed(&listed, &mut affected),
            }
            self.wake(&affected, &Cause { urgent: true, ..Cause::default() });
        })
        .await;
    }

    /// Puts these syncs into the queue, each behind its source.
    pub fn wake(&self, uids: &[Uid], cause: &Cause) {
        for key in uids.iter().copied().map(Key::Object) {
            let source = source_of(&self.cache, &key);
            self.queue.push(key, source, cause);
        }
    }
}

/// The source whose turn a key waits for.
pub fn source_of(cache: &Cache, key: &Key) -> Option<ObjectKey> {
    cache.sync(key.object()).and_then(|sync| sync.spec.as_ref().ok().map(|spec| spec.source.clone()))
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
