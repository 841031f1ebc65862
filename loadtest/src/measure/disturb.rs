//! One namespace or copy at a time: how long until all is in order again must not depend on how many others there are.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::OWNER;
use super::bench::{self, Bench, OPERATOR};
use super::operator::Served;
use super::set::Set;
use crate::copies::{Copies, Place};
use crate::report::Disturbance;
use crate::stats::Latency;
use crate::{objects, writers};

/// A single copy is there in milliseconds.
const WITHIN: Duration = Duration::from_secs(60);
/// How often a wait looks. The times themselves are taken when an event comes in.
const LOOK: Duration = Duration::from_millis(2);
/// Between one and the next: each stands alone.
const PAUSE: Duration = Duration::from_millis(50);
/// The namespaces that come late are deleted again, with all that is in them.
const NAMESPACES_GONE_WITHIN: Duration = Duration::from_secs(300);

/// Label of the namespaces that come late.
const LATE: &str = "loadtest.kapendra.com/late";

/// The ways to disturb.
#[derive(Clone, Copy, Debug)]
enum Way {
    NamespaceCreated,
    NamespaceLabelled,
    CopyDeleted,
    CopyEdited,
}

impl Way {
    const ALL: [Self; 4] = [Self::NamespaceCreated, Self::NamespaceLabelled, Self::CopyDeleted, Self::CopyEdited];

    fn title(self) -> &'static str {
        match self {
            Self::NamespaceCreated => "a namespace created",
            Self::NamespaceLabelled => "a namespace labelled",
            Self::CopyDeleted => "a copy deleted",
            Self::CopyEdited => "a copy edited",
        }
    }
}

/// Disturbs the set so many times in each way, and leaves it as it was.
pub(super) async fn disturb(bench: &Bench, served: &Served, times: usize) -> anyhow::Result<Vec<Disturbance>> {
    let set = served.set();
    let (edition, _) = served.source(0);
    let content = set.content(0, edition);
    // With contents: an edit leaves the marks as they were.
    let right = move |copy: &ConfigMap| (copy.data.as_ref() == Some(&content)).then_some(edition);
    let copies = Copies::with_content(bench.client.clone(), &objects::copies_selector(), right).await?;
    let scene = Scene { bench, set, copies, namespaces: Api::all(bench.client.clone()) };
    let unlabelled = |number: usize| scene.make_namespace(format!("late-labelled-{number:05}"), false);
    writers::each(0..times, unlabelled, |_| {}).await?;
    let mut all = Vec::new();
    for way in Way::ALL {
        all.push(scene.disturb(way, times).await?);
    }
    scene.clear().await?;
    served.until_in_order(bench).await?;
    Ok(all)
}

/// Where it happens.
struct Scene<'a> {
    bench: &'a Bench,
    set: &'a Set,
    copies: Copies,
    namespaces: Api<Namespace>,
}

impl Scene<'_> {
    async fn disturb(&self, way: Way, times: usize) -> anyhow::Result<Disturbance> {
        self.bench.quiet(way.title()).await?;
        let account = self.bench.open()?;
        let (mut asked, mut latency) = (Vec::new(), Vec::new());
        for number in 0..times {
            self.bench.screen.progress(&format!("{}, {number} of {times}", way.title()));
            let sent = Instant::now();
            let place = self.once(way, number, times).await.with_context(|| way.title())?;
            asked.push(sent.elapsed());
            latency.push(self.seen_since(&place, sent).await.with_context(|| way.title())?);
            tokio::time::sleep(PAUSE).await;
        }
        self.bench.quiet(way.title()).await?;
        Ok(Disturbance {
            what: way.title().to_owned(),
            copies: self.set.copies.len(),
            times,
            latency: Latency::of(latency),
            asked: Latency::of(asked),
            requests: bench::count(account.close(self.bench)?.of(OPERATOR)),
        })
    }

    /// Disturbs; returns the place of the copy that is to come.
    async fn once(&self, way: Way, number: usize, times: usize) -> anyhow::Result<Place> {
        // Spread over all copies.
        let place = self.set.copies[number * self.set.copies.len() / times].place.clone();
        let maps = Api::<ConfigMap>::namespaced(self.bench.client.clone(), &place.0);
        let late = |namespace: String| (namespace, place.1.clone());
        Ok(match way {
            Way::NamespaceCreated => {
                let name = format!("late-created-{number:05}");
                self.make_namespace(name.clone(), true).await?;
                late(name)
            }
            Way::NamespaceLabelled => {
                let name = format!("late-labelled-{number:05}");
                let (label, value) = self.set.label();
                let patch = Patch::Merge(json!({ "metadata": { "labels": { label: value } } }));
                self.namespaces.patch(&name, &PatchParams::default(), &patch).await?;
                late(name)
            }
            Way::CopyDeleted => {
                maps.delete(&place.1, &DeleteParams::default()).await?;
                place
            }
            Way::CopyEdited => {
                let patch = Patch::Merge(json!({ "data": { "content": "somebody else's" } }));
                maps.patch(&place.1, &PatchParams::default(), &patch).await?;
                place
            }
        })
    }

    /// How long after that moment the copy was first seen in order.
    async fn seen_since(&self, place: &Place, sent: Instant) -> anyhow::Result<Duration> {
        loop {
            match self.copies.seen(place) {
                Some(seen) if seen.at > sent => return Ok(seen.at - sent),
                _ => tokio::time::sleep(LOOK).await,
            }
            self.bench.fleet.check()?;
            anyhow::ensure!(
                sent.elapsed() < WITHIN,
                "{}/{} is not in order {} s later",
                place.0,
                place.1,
                WITHIN.as_secs()
            );
        }
    }

    async fn make_namespace(&self, name: String, selected: bool) -> anyhow::Result<()> {
        let mut namespace = objects::namespace(&name, OWNER);
        namespace.labels_mut().insert(LATE.to_owned(), "yes".to_owned());
        namespace.labels_mut().extend(selected.then(|| self.set.label()));
        self.namespaces.create(&PostParams::default(), &namespace).await.map(drop)?;
        Ok(())
    }

    /// Deletes the namespaces that came late, and waits until they are gone.
    async fn clear(&self) -> anyhow::Result<()> {
        let late = ListParams::default().labels(LATE);
        let begun = Instant::now();
        let mut asked = false;
        loop {
            let left = self.namespaces.list_metadata(&late).await?.items;
            if left.is_empty() {
                return Ok(());
            }
            if !asked {
                let names = left.iter().map(ResourceExt::name_any);
                let delete = |name: String| async move {
                    self.namespaces.delete(&name, &DeleteParams::default()).await.map(drop)?;
                    Ok(())
                };
                writers::each(names, delete, |_| {}).await?;
                asked = true;
            }
            self.bench.screen.progress(&format!("{} late namespaces are left", left.len()));
            self.bench.fleet.check()?;
            let within = NAMESPACES_GONE_WITHIN;
            anyhow::ensure!(begun.elapsed() < within, "{} late namespaces do not go", left.len());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}
