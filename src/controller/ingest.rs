//! From the streams into the cache, and from there to the queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ahash::AHashSet;
use futures::{Stream, StreamExt as _};
use kube::runtime::watcher::{self, Event};
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use crate::controller::cache::{Cache, Change};
use crate::controller::queue::fanout::Fanout;
use crate::controller::queue::{Cause, Queue};
use crate::kubernetes::decode::{ConfigMapObject, NamespaceObject, Object, SyncObject};
use crate::kubernetes::diagnosis::Diagnosis;
use crate::kubernetes::events::Events;
use crate::rules::record::{ConfigMapMeta, ObjectKey};
use crate::rules::shard::Shard;
use crate::rules::uid::Uid;
use crate::telemetry::instruments;

/// A stream that is refused is opened again at least every 5 s.
const REFUSED: Duration = Duration::from_secs(15);

/// Whether a stream's first list is complete, and what is wrong with it, if something is.
#[derive(Default)]
pub struct Progress {
    listed: AtomicBool,
    trouble: Mutex<Option<(Diagnosis, Instant)>>,
    done: tokio::sync::Notify,
}

impl Progress {
    /// Whether its first list is complete.
    pub fn is_listed(&self) -> bool {
        self.listed.load(Ordering::Acquire)
    }

    /// Waits for that.
    pub async fn listed(&self) {
        loop {
            let done = self.done.notified();
            if self.is_listed() {
                return;
            }
            done.await;
        }
    }

    /// The last error, until something is heard again.
    pub fn trouble(&self) -> Option<Diagnosis> {
        self.last_trouble().as_ref().map(|(trouble, _)| trouble.clone())
    }

    /// Whether somebody must mend something before anything is heard again. A watch that is no longer refused may stay
    /// silent for long, so this is over when no refusal has come for a while.
    pub fn is_refused(&self) -> bool {
        self.last_trouble().as_ref().is_some_and(|(trouble, at)| trouble.lasting && at.elapsed() < REFUSED)
    }

    fn last_trouble(&self) -> MutexGuard<'_, Option<(Diagnosis, Instant)>> {
        self.trouble.lock()
    }

    /// Notes an error, or that it is over. Whether that is news.
    fn note(&self, trouble: Option<Diagnosis>) -> bool {
        let now = trouble.map(|trouble| (trouble, Instant::now()));
        let mut last = self.last_trouble();
        let news = last.as_ref().map(|(trouble, _)| trouble) != now.as_ref().map(|(trouble, _)| trouble);
        *last = now;
        news
    }
}

/// Feeds the cache and enqueues keys.
#[derive(Clone)]
pub struct Follower {
    /// What the streams told.
    pub cache: Arc<Cache>,
    /// Where affected keys go.
    pub queue: Arc<Queue>,
    /// Events for people.
    pub events: Events,
}

impl Follower {
    /// Follows the stream of syncs until it is dropped.
    pub async fn syncs(self, stream: impl Stream<Item = watcher::Result<Event<SyncObject>>>, progress: Arc<Progress>) {
        let mut listed = AHashSet::new();
        each("configmapsyncs", stream, &progress, |event| {
            let mut affected = Vec::new();
            match event {
                Event::Init => listed = AHashSet::new(),
                Event::InitApply(object) => {
                    let Some(sync) = parsed("configmapsyncs", object) else { return };
                    listed.insert(sync.uid());
                    self.sync(sync, &mut affected);
                }
                Event::InitDone => self.cache.syncs_listed(&std::mem::take(&mut listed), &mut affected),
                Event::Apply(object) => {
                    if let Some(sync) = parsed("configmapsyncs", object) {
                        self.sync(sync, &mut affected);
                    }
                }
                Event::Delete(object) => {
                    if let Some(sync) = parsed("configmapsyncs", object) {
                        self.cache.sync_deleted(&sync, &mut affected);
                    }
                }
            }
            self.wake(&affected, &Cause { urgent: true, ..Cause::default() });
        })
        .await;
    }

    fn sync(&self, sync: crate::rules::record::Sync, affected: &mut Vec<Uid>) {
        let uid = sync.uid();
        if let Err(unusable) = &sync.spec
            && self.cache.sync(uid).is_none_or(|before| before.generation != sync.generation)
        {
            let (namespace, name, shard) = (&*sync.key.namespace, &*sync.key.name, Shard::of(uid).index());
            tracing::warn!(namespace, name, shard, cause = %unusable.why, "the spec of a ConfigMapSync is invalid: it is skipped until somebody corrects it");
            metrics::counter!(instruments::UNPARSABLE_OBJECTS_TOTAL, "resource" => "configmapsyncs").increment(1);
        }
        let told = Some(sync.version);
        let asked = sync
            .request()
            .is_some_and(|request| self.cache.sync(uid).is_none_or(|before| before.request() != Some(request)));
        match self.cache.sync_applied(sync, affected) {
            Change::Status if asked => self.wake(&[uid], &Cause { told, urgent: true, ..Cause::default() }),
            Change::Nothing => {}
            Change::Status => self.wake(&[uid], &Cause { told, ..Cause::default() }),
            Change::Wanted => self.wake(&[uid], &Cause { told, urgent: true, ..Cause::default() }),
        }
    }

    /// Follows the stream of ConfigMaps until it is dropped.
    pub async fn configmaps(
        self,
        stream: impl Stream<Item = watcher::Result<Event<ConfigMapObject>>>,
        progress: Arc<Progress>,
    ) {
        let mut listed = AHashSet::new();
        let (mut sources, mut others) = (Vec::new(), Vec::new());
        each("configmaps", stream, &progress, |event| {
            sources.clear();
            others.clear();
            let mut told = None;
            match event {
                Event::Init => {
                    listed = AHashSet::new();
                    self.cache.configmaps_listing();
                }
                Event::InitApply(object) => {
                    let Some((place, seen)) = parsed("configmaps", object) else { return };
                    listed.insert(seen.version.uid);
                    if self.news(&place, seen.version.rv) {
                        told = Some(seen.version);
                        self.cache.configmap_applied(place, seen, &mut sources, &mut others);
                    }
                }
                Event::InitDone => {
                    self.cache.configmaps_listed(&std::mem::take(&mut listed), &mut sources, &mut others);
                }
                Event::Apply(object) => {
                    if let Some((place, seen)) = parsed("configmaps", object) {
                        told = Some(seen.version);
                        let written = self.is_written_by_a_holder(&place, &seen);
                        self.cache.configmap_applied(place, seen, &mut sources, &mut others);
                        if written && !others.is_empty() {
                            self.queue.copy_written();
                        }
                    }
                }
                Event::Delete(object) => {
                    if let Some((place, seen)) = parsed("configmaps", object) {
                        self.cache.configmap_deleted(&place, seen.version.rv, &mut sources, &mut others);
                    }
                }
            }
            if !sources.is_empty() {
                let fanout = Some(Arc::new(Fanout::start()));
                self.wake(&sources, &Cause { fanout, urgent: true, told: None });
            }
            self.wake(&others, &Cause { urgent: true, told, ..Cause::default() });
        })
        .await;
    }

    /// Whether a copy changed by a write of a shard's holder, who marks it anew, and not by somebody else's touch.
    fn is_written_by_a_holder(&self, place: &ObjectKey, seen: &ConfigMapMeta) -> bool {
        let marks = |seen: &ConfigMapMeta| seen.mark.as_ref().map(|mark| (mark.uid, mark.source_rv));
        let now = marks(seen);
        now.is_some() && self.cache.configmap(place).is_none_or(|before| marks(&before) != now)
    }

    /// Whether a list tells of a version that is not known yet.
    fn news(&self, place: &ObjectKey, rv: u64) -> bool {
        self.cache.configmap(place).is_none_or(|seen| seen.version.rv != rv)
    }

    /// Follows the stream of namespaces until it is dropped.
    pub async fn namespaces(
        self,
        stream: impl Stream<Item = watcher::Result<Event<NamespaceObject>>>,
        progress: Arc<Progress>,
    ) {
        let mut listed = AHashSet::new();
        each("namespaces", stream, &progress, |event| {
            let mut affected = Vec::new();
            match event {
                Event::Init => listed = AHashSet::new(),
                Event::InitApply(object) => {
                    let Some((name, namespace)) = parsed("namespaces", object) else { return };
                    listed.insert(namespace.uid);
                    self.cache.namespace_applied(&name, namespace, &mut affected);
                }
                Event::InitDone => self.cache.namespaces_listed(&std::mem::take(&mut listed), &mut affected),
                Event::Apply(object) => {
                    if let Some((name, namespace)) = parsed("namespaces", object) {
                        self.cache.namespace_applied(&name, namespace, &mut affected);
                    }
                }
                Event::Delete(object) => {
                    if let Some((name, _)) = parsed("namespaces", object) {
                        self.cache.namespace_deleted(&name, &mut affected);
                    }
                }
            }
            self.wake(&affected, &Cause { urgent: true, ..Cause::default() });
        })
        .await;
    }

    /// Puts keys into the queue, each behind its source.
    pub fn wake(&self, uids: &[Uid], cause: &Cause) {
        for uid in uids {
            let source = source_of(&self.cache, *uid);
            self.queue.push(*uid, source, cause);
        }
    }
}

/// The source whose turn a key waits for.
pub fn source_of(cache: &Cache, uid: Uid) -> Option<ObjectKey> {
    cache.sync(uid).and_then(|sync| sync.spec.as_ref().ok().map(|spec| spec.source.clone()))
}

fn parsed<R>(resource: &'static str, object: Object<R>) -> Option<R> {
    if object.record.is_none() {
        tracing::warn!(resource, "an object without a uid or a numeric resourceVersion is skipped");
        metrics::counter!(instruments::UNPARSABLE_OBJECTS_TOTAL, "resource" => resource).increment(1);
    }
    object.record
}

async fn each<K>(
    name: &'static str,
    stream: impl Stream<Item = watcher::Result<Event<K>>>,
    progress: &Progress,
    mut handle: impl FnMut(Event<K>),
) {
    let mut stream = std::pin::pin!(stream);
    while let Some(event) = stream.next().await {
        match event {
            Ok(event) => {
                let done = matches!(event, Event::InitDone);
                // The watcher says Init before each list, also before one that will be refused.
                if !matches!(event, Event::Init) && progress.note(None) {
                    tracing::info!(stream = name, "the watch works again");
                }
                handle(event);
                if done && !progress.listed.swap(true, Ordering::AcqRel) {
                    progress.done.notify_waiters();
                }
            }
            Err(error) => {
                let trouble = Diagnosis::of_stream(&error);
                let cause = trouble.to_string();
                if progress.note(Some(trouble)) {
                    tracing::warn!(stream = name, cause, "the watch broke; it is opened again");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use serde_json::json;

    use super::*;
    use crate::controller::queue::Outcome;
    use crate::rules::testing::{sync, uid};

    fn silent_client() -> kube::Client {
        let silent = |_: http::Request<kube::client::Body>| {
            std::future::pending::<Result<http::Response<kube::client::Body>, std::io::Error>>()
        };
        kube::Client::new(tower::service_fn(silent), "default")
    }

    #[tokio::test(start_paused = true)]
    async fn a_copy_that_another_replica_wrote_holds_paperwork_back() {
        let (events, _sender) = Events::new(silent_client(), "test".to_owned());
        let follower = Follower { cache: Arc::default(), queue: Arc::default(), events };
        let shard = Shard::of(uid(1));
        follower.queue.open(shard);
        let elsewhere = (1..).find(|number| Shard::of(uid(*number)) != shard).unwrap();
        follower.cache.sync_applied(sync("n/another", elsewhere, "source/x", "one/x"), &mut Vec::new());
        // Two keys with nothing left but paperwork, and no copy for a while.
        for key in (1..).map(uid).filter(|key| Shard::of(*key) == shard).take(2) {
            follower.queue.push(key, None, &Cause::default());
        }
        for job in [follower.queue.pop().await, follower.queue.pop().await] {
            follower.queue.done(job.uid, job.key_state, Outcome::Status, None, None);
        }
        tokio::time::advance(Duration::from_secs(5)).await;

        let copy = json!({ "metadata": {
            "namespace": "one", "name": "x", "uid": "00000000-0000-4000-8000-000000000009", "resourceVersion": "7",
            "annotations": { "configmapsync.apps.kapendra.com/sync": format!("n/another/{}", uid(elsewhere)) },
        } });
        let told = stream::iter([Ok(Event::Apply(serde_json::from_value(copy).unwrap()))]);
        follower.clone().configmaps(told, Arc::default()).await;

        let now = Instant::now();
        follower.queue.pop().await;
        assert_eq!(now.elapsed(), Duration::ZERO, "one has its turn");
        follower.queue.pop().await;
        assert!(now.elapsed() > Duration::ZERO, "the next one waits");
    }
}
