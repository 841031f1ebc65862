//! One source for a thousand namespaces, watched from outside: a copy counts when its content is right.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use configmapsync_operator::api::configmapsync::ConfigMapSync;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, ResourceExt as _};

use super::stage::{SELECTED, SOURCE_NAMESPACE, Stage};
use crate::copies::{Copies, Place};
use crate::screen::{thousands, time};
use crate::{objects, writers};

/// The source, and its copies.
pub(super) const SOURCE: &str = "shared-settings";
/// For a thousand copies, which take a second or two.
pub(super) const WITHIN: Duration = Duration::from_secs(60);

/// The source, its copies, and what they should hold by now.
pub(super) struct Many {
    copies: Copies,
    places: Vec<Place>,
    edition: u64,
}

/// What a source holds in each edition: about 1 KiB.
pub(super) fn content(edition: u64) -> BTreeMap<String, String> {
    let line = format!("setting-of-edition-{edition}: on\n");
    [("edition".to_owned(), edition.to_string()), ("settings.yaml".to_owned(), line.repeat(1000 / line.len()))].into()
}

fn sync_name(destination: &str) -> String {
    format!("to-{destination}")
}

/// Tells the edition of a copy of this name, if it holds that edition to the byte.
pub(super) fn edition_of(name: &'static str) -> impl Fn(&ConfigMap) -> Option<u64> {
    move |copy| {
        if copy.metadata.name.as_deref() != Some(name) {
            return None;
        }
        let edition = copy.data.as_ref()?.get("edition")?.parse().ok()?;
        (copy.data.as_ref() == Some(&content(edition)) && copy.binary_data.is_none()).then_some(edition)
    }
}

impl Many {
    /// Makes namespaces, source and syncs, and waits for the copies.
    pub(super) async fn create(stage: &Stage) -> anyhow::Result<Self> {
        let (screen, client) = (&stage.screen, &stage.client);
        let destinations = stage.destinations();
        let count = thousands(destinations.len());
        screen.chapter(&format!("One source for {count} namespaces"));
        let namespaces = Api::<Namespace>::all(client.clone());
        let all = destinations.iter().map(String::as_str).chain([SOURCE_NAMESPACE]);
        let create = |name: &str| {
            let (namespaces, mut namespace) = (namespaces.clone(), stage.namespace(name));
            if name != SOURCE_NAMESPACE {
                let (label, value) = SELECTED;
                namespace.labels_mut().insert(label.to_owned(), value.to_owned());
            }
            async move { Ok(namespaces.create(&PostParams::default(), &namespace).await?) }
        };
        let done = |done| screen.progress(&format!("{} of {count} namespaces made", thousands(done)));
        writers::each(all, create, done).await.context("the namespaces cannot be made")?;
        let sources = Api::<ConfigMap>::namespaced(client.clone(), SOURCE_NAMESPACE);
        let source = objects::config_map(SOURCE_NAMESPACE, SOURCE, content(1));
        sources.create(&PostParams::default(), &source).await.context("the source cannot be made")?;
        screen.say(&format!(
            "{SOURCE_NAMESPACE}/{SOURCE} (1 KiB) is to be in each of {count} namespaces; a ConfigMapSync for each is \
             created, {} at a time.",
            writers::IN_FLIGHT
        ));
        let copies = Copies::with_content(client.clone(), &objects::copies_selector(), edition_of(SOURCE)).await?;
        let places: Vec<Place> = destinations.iter().map(|name| (name.clone(), SOURCE.to_owned())).collect();
        let many = Self { copies, places, edition: 1 };

        let begun = Instant::now();
        many.create_syncs(stage, &destinations).await?;
        let created = begun.elapsed();
        let last = many.arrive(stage).await?;
        screen.fact(&format!(
            "{count} syncs were created in {}; the last copy was there {} after the first sync.",
            time(created),
            time(last.duration_since(begun))
        ));
        many.all_told(stage).await?;
        screen.fact(&format!("All {count} say Ready after {}.", time(begun.elapsed())));
        Ok(many)
    }

    async fn create_syncs(&self, stage: &Stage, destinations: &[String]) -> anyhow::Result<()> {
        let syncs = Api::<ConfigMapSync>::namespaced(stage.client.clone(), SOURCE_NAMESPACE);
        let create = |destination: &String| {
            let sync = objects::sync(&sync_name(destination), (SOURCE_NAMESPACE, SOURCE), (destination, SOURCE));
            let syncs = syncs.clone();
            async move { Ok(syncs.create(&PostParams::default(), &sync).await?) }
        };
        let done = |done| stage.screen.progress(&format!("{} syncs created", thousands(done)));
        writers::each(destinations, create, done).await.context("the syncs cannot be made").map(drop)
    }

    /// Deletes all syncs; the copies go with them.
    pub(super) async fn delete_syncs(&self, stage: &Stage) -> anyhow::Result<()> {
        let syncs = Api::<ConfigMapSync>::namespaced(stage.client.clone(), SOURCE_NAMESPACE);
        let delete = |(destination, _): &Place| {
            let (syncs, name) = (syncs.clone(), sync_name(destination));
            async move { Ok(syncs.delete(&name, &DeleteParams::default()).await.map(drop)?) }
        };
        let done = |done| stage.screen.progress(&format!("{} syncs deleted", thousands(done)));
        writers::each(&self.places, delete, done).await.context("the syncs cannot be deleted").map(drop)
    }

    /// Waits until all copies are gone; when the last one was seen going.
    pub(super) async fn gone(&self, look: impl FnMut(usize) -> anyhow::Result<()>) -> anyhow::Result<Instant> {
        let gone = self.copies.all_gone(&self.places, WITHIN, look).await?;
        Ok(gone.into_iter().max().unwrap_or_else(Instant::now))
    }

    /// How many copies hold the newest edition.
    pub(super) fn arrived(&self) -> usize {
        self.copies.arrived(self.places.iter().map(|place| (place, self.edition)))
    }

    /// How many there are to be.
    pub(super) fn total(&self) -> usize {
        self.places.len()
    }

    /// Waits until all copies hold the newest edition; when the last one was seen to.
    pub(super) async fn arrive(&self, stage: &Stage) -> anyhow::Result<Instant> {
        let all = thousands(self.total());
        let look = |arrived| {
            stage.screen.progress(&format!("edition {}: {} of {all} copies", self.edition, thousands(arrived)));
            stage.crew.check()
        };
        Ok(self.sightings(look).await?.into_iter().max().unwrap_or_else(Instant::now))
    }

    async fn sightings(&self, look: impl FnMut(usize) -> anyhow::Result<()>) -> anyhow::Result<Vec<Instant>> {
        let wanted: Vec<(Place, u64)> = self.places.iter().map(|place| (place.clone(), self.edition)).collect();
        self.copies.all_arrived(&wanted, WITHIN, look).await
    }

    /// Writes the next edition of the source; returns when it was sent.
    pub(super) async fn write_next(&mut self, stage: &Stage) -> anyhow::Result<Instant> {
        self.edition += 1;
        let sources = Api::<ConfigMap>::namespaced(stage.client.clone(), SOURCE_NAMESPACE);
        let source = objects::config_map(SOURCE_NAMESPACE, SOURCE, content(self.edition));
        let sent = Instant::now();
        sources.replace(SOURCE, &PostParams::default(), &source).await.context("the source cannot be changed")?;
        Ok(sent)
    }

    /// One change of the source, and what it cost.
    pub(super) async fn change(&mut self, stage: &Stage) -> anyhow::Result<()> {
        let (screen, all) = (&stage.screen, thousands(self.total()));
        screen.chapter("One change of it");
        let mark = stage.cluster.audit().ok().map(testbed::AuditLog::mark).transpose()?;
        let before = stage.crew.fanout_seconds().await?;
        let sent = self.write_next(stage).await?;
        let look = |arrived| {
            screen.progress(&format!("{} of {all} copies have it", thousands(arrived)));
            stage.crew.check()
        };
        let mut times: Vec<Duration> =
            self.sightings(look).await?.iter().map(|seen| seen.duration_since(sent)).collect();
        times.sort_unstable();
        let [first, half, last] = [0, times.len() / 2, times.len() - 1].map(|at| time(times[at]));
        screen.fact(&format!(
            "The change was in the first copy after {first}, in half of them after {half}, in the last of {all} after {last} \
             (each read back through a watch and compared with the source)."
        ));
        self.all_told(stage).await?;
        let own = longest(&before, &stage.crew.fanout_seconds().await?);
        screen.fact(&format!("The replicas' own metric, change seen to last copy written: {own}."));
        if let (Ok(audit), Some(mark)) = (stage.cluster.audit(), mark) {
            screen.fact(&requests(&audit.since(mark)?));
        }
        Ok(())
    }

    /// Waits until every status tells of the source's newest version.
    async fn all_told(&self, stage: &Stage) -> anyhow::Result<()> {
        let source = Api::<ConfigMap>::namespaced(stage.client.clone(), SOURCE_NAMESPACE).get(SOURCE).await?;
        let version = source.metadata.resource_version.unwrap_or_default();
        let syncs = Api::<ConfigMapSync>::namespaced(stage.client.clone(), SOURCE_NAMESPACE);
        let begun = Instant::now();
        loop {
            let told = |sync: &&ConfigMapSync| {
                let of = sync.status.as_ref().and_then(|status| status.source.as_ref());
                objects::is_ready(sync) && of.is_some_and(|source| source.resource_version == version)
            };
            let told = syncs.list(&ListParams::default()).await?.items.iter().filter(told).count();
            if told == self.total() {
                return Ok(());
            }
            stage.screen.progress(&format!("{} statuses say so", thousands(told)));
            if begun.elapsed() > WITHIN {
                bail!("after {} s {told} of {} syncs say that they are in order", WITHIN.as_secs(), self.total());
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }
}

/// The most that a replica's own metric has grown by.
fn longest(before: &[f64], after: &[f64]) -> String {
    let longest = before.iter().zip(after).map(|(before, after)| after - before).fold(0.0, f64::max);
    time(Duration::from_secs_f64(longest))
}

/// The requests of the operator, in a sentence.
pub(super) fn requests(events: &[testbed::AuditEvent]) -> String {
    let ours = events.iter().filter(|event| event.agent() == "configmapsync-operator" && event.resource != "leases");
    let counts = testbed::audit::count(ours);
    let each = counts.iter().map(|(kind, number)| format!("{} {} {}", thousands(*number), kind.verb, kind.what));
    format!("Requests by the API server's audit log, Leases aside: {}.", each.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_content_has_an_edition() {
        let mut copy = objects::config_map("demo-0001", SOURCE, content(7));
        let edition = edition_of(SOURCE);
        assert_eq!(edition(&copy), Some(7));
        copy.data.as_mut().unwrap().insert("edition".into(), "8".into());
        assert_eq!(edition(&copy), None);
        assert_eq!(edition(&objects::config_map("demo-0001", "other", content(7))), None);
    }
}
