//! One object that asks for many copies, and what its status says of them.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use configmapsync_operator::api::clusterconfigmapsync::ClusterConfigMapSync;
use futures::StreamExt as _;
use kube::api::{DeleteParams, PostParams};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, ResourceExt as _};
use tokio::task::JoinHandle;

use super::bench::Bench;
use crate::objects::{self, Told};

/// From the last copy to the status that says so; an update of the status is sent once in 5 s.
const TOLD_WITHIN: Duration = Duration::from_secs(60);
/// How often a wait looks. The times themselves are taken when an event comes in.
const LOOK: Duration = Duration::from_millis(5);

/// The object, watched from before it is there.
pub(super) struct OneObject {
    object: ClusterConfigMapSync,
    api: Api<ClusterConfigMapSync>,
    said: Arc<Mutex<Said>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Said {
    listed: bool,
    /// When it first said that all copies, so many, hold this version.
    all: HashMap<(u64, String), Instant>,
    last: Option<Told>,
}

impl Said {
    fn take_in(&mut self, told: Option<Told>, now: Instant) {
        if let Some(told) = &told
            && told.ready
        {
            self.all.entry((told.version, told.copies.clone())).or_insert(now);
        }
        self.last = told;
    }
}

impl OneObject {
    /// Watches it.
    pub(super) async fn watch(bench: &Bench, object: ClusterConfigMapSync) -> anyhow::Result<Self> {
        let api = Api::<ClusterConfigMapSync>::all(bench.client.clone());
        let said = Arc::new(Mutex::new(Said::default()));
        let name = format!("metadata.name={}", object.name_any());
        let events = watcher(api.clone(), watcher::Config::default().fields(&name));
        let task = tokio::spawn({
            let said = said.clone();
            async move {
                let mut events = pin!(events);
                while let Some(event) = events.next().await {
                    match event {
                        Ok(Event::Apply(object) | Event::InitApply(object)) => {
                            lock(&said).take_in(objects::told(&object), Instant::now());
                        }
                        Ok(Event::InitDone) => lock(&said).listed = true,
                        _ => {}
                    }
                }
            }
        });
        let this = Self { object, api, said, task };
        let begun = Instant::now();
        while !lock(&this.said).listed {
            anyhow::ensure!(begun.elapsed() < TOLD_WITHIN, "ClusterConfigMapSyncs cannot be watched");
            tokio::time::sleep(LOOK).await;
        }
        Ok(this)
    }

    /// Makes it; when that was asked.
    pub(super) async fn create(&self) -> anyhow::Result<Instant> {
        let sent = Instant::now();
        self.api.create(&PostParams::default(), &self.object).await.context("the object cannot be made")?;
        Ok(sent)
    }

    /// Deletes it; when that was asked.
    pub(super) async fn delete(&self) -> anyhow::Result<Instant> {
        let sent = Instant::now();
        let name = self.object.name_any();
        self.api.delete(&name, &DeleteParams::default()).await.context("the object cannot be deleted")?;
        Ok(sent)
    }

    /// Waits until it says that all copies, so many, hold this version of the source; when it did so first.
    pub(super) async fn until_told(&self, version: u64, copies: usize) -> anyhow::Result<Instant> {
        let all = (version, format!("{copies}/{copies}"));
        let begun = Instant::now();
        loop {
            if let Some(at) = lock(&self.said).all.get(&all) {
                return Ok(*at);
            }
            if begun.elapsed() > TOLD_WITHIN {
                bail!(
                    "{} s after the last copy of version {version} the object says {:?}",
                    TOLD_WITHIN.as_secs(),
                    lock(&self.said).last
                );
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl Drop for OneObject {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(said: &Mutex<Said>) -> MutexGuard<'_, Said> {
    said.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_is_when_all_copies_were_told_of_first() {
        let (mut said, begun) = (Said::default(), Instant::now());
        let at = |millis| begun + Duration::from_millis(millis);
        let told = |version, copies: &str, ready| Some(Told { version, copies: copies.to_owned(), ready });
        said.take_in(told(1, "7/10", false), at(0));
        said.take_in(told(1, "10/10", true), at(10));
        said.take_in(told(1, "10/10", true), at(20));
        said.take_in(told(2, "10/10", false), at(30));
        assert_eq!(said.all, [((1, "10/10".to_owned()), at(10))].into());
        said.take_in(None, at(40));
        assert_eq!(said.last, None);
    }
}
