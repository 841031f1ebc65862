//! What a watch shows, with the bookkeeping of its lists done: which objects a list had, and whether the first one is complete.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ahash::AHashSet;
use futures::{Stream, StreamExt as _};
use kube::runtime::watcher::{self, Event};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::kubernetes::decode::{ConfigMapRecord, NamespaceRecord, Object};
use crate::kubernetes::error::ApiError;
use crate::rules::cluster::record::ClusterSync;
use crate::rules::record::Sync;
use crate::rules::uid::Uid;
use crate::telemetry::instruments;

/// A watch counts as refused for this long after its last refusal. It is longer than the longest backoff, 5 s.
const REFUSED: Duration = Duration::from_secs(15);

/// Whether the first list of a watch is complete, and why the watch fails, if it does.
#[derive(Default)]
pub struct Progress {
    listed: AtomicBool,
    failure: Mutex<Option<(ApiError, Instant)>>,
    done: Notify,
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

    /// The last error, until the watch shows something again.
    pub fn failure(&self) -> Option<ApiError> {
        self.failure.lock().as_ref().map(|(error, _)| error.clone())
    }

    /// Whether somebody must mend something before the watch shows anything again. A watch that is no longer refused may
    /// stay silent for long, so this is over when no refusal has come for a while.
    pub fn is_refused(&self) -> bool {
        self.failure.lock().as_ref().is_some_and(|(error, at)| error.is_lasting() && at.elapsed() < REFUSED)
    }

    fn list_ends(&self) {
        if !self.listed.swap(true, Ordering::AcqRel) {
            self.done.notify_waiters();
        }
    }

    /// Notes an error, or that it is over. Returns whether that is news.
    fn note(&self, error: Option<ApiError>) -> bool {
        let now = error.map(|error| (error, Instant::now()));
        let mut last = self.failure.lock();
        let news = last.as_ref().map(|(error, _)| error) != now.as_ref().map(|(error, _)| error);
        *last = now;
        news
    }
}

/// A record of a watch.
pub trait Observed {
    /// The resource, as it stands in paths and metrics.
    const RESOURCE: &'static str;
    /// Whether the API server need not know the resource: then there are no such objects.
    const OPTIONAL: bool = false;
    /// The object's UID.
    fn uid(&self) -> Uid;
}

impl Observed for Sync {
    const RESOURCE: &'static str = "configmapsyncs";
    fn uid(&self) -> Uid {
        self.version.uid
    }
}

impl Observed for ClusterSync {
    const RESOURCE: &'static str = "clusterconfigmapsyncs";
    const OPTIONAL: bool = true;
    fn uid(&self) -> Uid {
        self.version.uid
    }
}

impl Observed for ConfigMapRecord {
    const RESOURCE: &'static str = "configmaps";
    fn uid(&self) -> Uid {
        self.meta.version.uid
    }
}

impl Observed for NamespaceRecord {
    const RESOURCE: &'static str = "namespaces";
    fn uid(&self) -> Uid {
        self.namespace.uid
    }
}

/// What a watch shows.
#[derive(Debug, PartialEq)]
pub enum Observation<R> {
    /// A list begins.
    ListBegins,
    /// An object is there, or has changed. `listed`: a list says so.
    Applied {
        /// The object.
        record: R,
        /// Whether it is part of a list.
        listed: bool,
    },
    /// An object went.
    Deleted(R),
    /// A list is complete: objects that are not in it are gone.
    ListEnds(AHashSet<Uid>),
}

/// Hands on what a watch shows, until it ends. Objects that cannot be read are counted and left out.
pub async fn observe<R: Observed>(
    watch: impl Stream<Item = watcher::Result<Event<Object<R>>>>,
    progress: &Progress,
    mut handle: impl FnMut(Observation<R>),
) {
    let mut watch = std::pin::pin!(watch);
    let mut listed = AHashSet::new();
    while let Some(event) = watch.next().await {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                let error = ApiError::from(&error);
                if R::OPTIONAL && error == ApiError::NotInstalled {
                    if !progress.is_listed() {
                        tracing::warn!(
                            stream = R::RESOURCE,
                            "the CustomResourceDefinition is not installed: there are no such objects until it is"
                        );
                    }
                    progress.list_ends();
                    continue;
                }
                let cause = error.to_string();
                if progress.note(Some(error)) {
                    tracing::warn!(stream = R::RESOURCE, cause, "the watch broke; it is opened again");
                }
                continue;
            }
        };
        // The watcher says Init before each list, also before one that will be refused.
        if !matches!(event, Event::Init) && progress.note(None) {
            tracing::info!(stream = R::RESOURCE, "the watch works again");
        }
        let observation = match event {
            Event::Init => {
                listed = AHashSet::new();
                Some(Observation::ListBegins)
            }
            Event::InitApply(object) => parsed(object).map(|record| {
                listed.insert(record.uid());
                Observation::Applied { record, listed: true }
            }),
            Event::InitDone => {
                handle(Observation::ListEnds(std::mem::take(&mut listed)));
                progress.list_ends();
                None
            }
            Event::Apply(object) => parsed(object).map(|record| Observation::Applied { record, listed: false }),
            Event::Delete(object) => parsed(object).map(Observation::Deleted),
        };
        if let Some(observation) = observation {
            handle(observation);
        }
    }
}

fn parsed<R: Observed>(object: Object<R>) -> Option<R> {
    if object.record.is_none() {
        tracing::warn!(resource = R::RESOURCE, "an object without a uid or a numeric resourceVersion is skipped");
        metrics::counter!(instruments::UNPARSABLE_OBJECTS_TOTAL, "resource" => R::RESOURCE).increment(1);
    }
    object.record
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use serde_json::json;

    use super::*;

    fn namespace(number: u64, uid: &str) -> Object<NamespaceRecord> {
        let metadata = json!({ "name": format!("n{number}"), "uid": uid, "resourceVersion": number.to_string() });
        serde_json::from_value(json!({ "metadata": metadata })).unwrap()
    }

    fn uid(number: u64) -> String {
        format!("00000000-0000-4000-8000-{number:012}")
    }

    #[tokio::test]
    async fn a_list_ends_with_what_was_in_it_and_only_then_is_complete() {
        let events = [
            Event::Init,
            Event::InitApply(namespace(1, &uid(1))),
            // The list broke off, and begins again.
            Event::Init,
            Event::InitApply(namespace(2, &uid(2))),
            Event::InitApply(namespace(3, "unreadable")),
            Event::InitDone,
            Event::Apply(namespace(4, &uid(4))),
            Event::Delete(namespace(5, &uid(2))),
        ];
        let progress = Progress::default();
        let (mut observed, mut listed_by_then) = (Vec::new(), Vec::new());
        observe(stream::iter(events.map(Ok)), &progress, |observation: Observation<NamespaceRecord>| {
            listed_by_then.push(progress.is_listed());
            observed.push(match observation {
                Observation::ListBegins => "begins".to_owned(),
                Observation::Applied { record, listed } => format!("{} {listed}", record.name),
                Observation::Deleted(record) => format!("{} gone", record.name),
                Observation::ListEnds(uids) => {
                    format!("ends {:?}", uids.iter().map(Uid::to_string).collect::<Vec<_>>())
                }
            });
        })
        .await;
        let ends = format!("ends {:?}", [uid(2)]);
        assert_eq!(observed, ["begins", "n1 true", "begins", "n2 true", &ends, "n4 false", "n5 gone"]);
        assert_eq!(listed_by_then, [false, false, false, false, false, true, true], "what is gone is known first");
    }
}
