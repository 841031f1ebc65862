//! What the operator is given to do, and how long it takes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use configmapsync_operator::api::configmapsync::ConfigMapSync;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, PostParams};

use super::bench::{self, Account, Bench};
use super::object::OneObject;
use super::set::{HOME, Set, Wanted};
use super::verify;
use crate::copies::{Copies, Place};
use crate::report::{Measurement, Who};
use crate::screen::thousands;
use crate::writers;

/// For what takes a few seconds: longer than this and something hangs.
const WITHIN: Duration = Duration::from_secs(900);
/// From the last copy to the last status.
const SETTLED_WITHIN: Duration = Duration::from_secs(600);

/// A set in the operator's hands.
pub(super) struct Served {
    set: Set,
    /// The edition and the version of each source.
    sources: Vec<(u64, u64)>,
    copies: Arc<Copies>,
    /// Where one object asks for all copies.
    object: Option<OneObject>,
}

impl Served {
    /// Creates sources, and syncs or the one object, and waits for the copies.
    pub(super) async fn create(bench: &Bench, set: Set, copies: Arc<Copies>) -> anyhow::Result<(Self, Measurement)> {
        let scenario = new_syncs(&set);
        bench.quiet(&scenario).await?;
        let config_maps = Api::<ConfigMap>::namespaced(bench.client.clone(), HOME);
        let mut sources = Vec::new();
        for source in 0..set.sources {
            let made = config_maps.create(&PostParams::default(), &set.source(source, 1)).await;
            sources.push((1, bench::version(&made.context("a source cannot be made")?)?));
        }
        let object = if set.one_object { Some(OneObject::watch(bench, set.object()).await?) } else { None };
        let served = Self { set, sources, copies, object };

        let account = bench.open()?;
        let sent = match &served.object {
            Some(object) => vec![object.create().await?; served.len()],
            None => served.create_syncs(bench, &scenario).await?,
        };
        account.all_asked();
        let all: Vec<usize> = (0..served.sources.len()).collect();
        let seen = served.arrive(bench, &scenario, &all).await?;
        let measurement = served.settle(bench, scenario, &account, &sent, &seen).await?;
        Ok((served, measurement))
    }

    async fn create_syncs(&self, bench: &Bench, scenario: &str) -> anyhow::Result<Vec<Instant>> {
        let syncs = Api::<ConfigMapSync>::namespaced(bench.client.clone(), HOME);
        let create = |wanted| {
            let (syncs, sync) = (syncs.clone(), self.set.sync(wanted));
            async move {
                let sent = Instant::now();
                syncs.create(&PostParams::default(), &sync).await?;
                Ok(sent)
            }
        };
        let done = |done| bench.screen.progress(&format!("{scenario}: {} created", thousands(done)));
        writers::each(&self.set.copies, create, done).await.context("the syncs cannot be made")
    }

    /// Changes some sources at once and waits for their copies.
    pub(super) async fn change(&mut self, bench: &Bench, sources: &[usize]) -> anyhow::Result<Measurement> {
        let scenario = change(&self.set, sources);
        bench.quiet(&scenario).await?;
        let account = bench.open()?;
        self.write(bench, sources).await?;
        account.all_asked();
        let seen = self.arrive(bench, &scenario, sources).await?;
        self.settle(bench, scenario, &account, &vec![account.began(); seen.len()], &seen).await
    }

    /// Changes one source `changes` times, `apart` from each other, and waits for the last content everywhere.
    pub(super) async fn burst(
        &mut self,
        bench: &Bench,
        changes: usize,
        apart: Duration,
    ) -> anyhow::Result<Measurement> {
        let copies = thousands(self.set.of_sources(&[0]).count());
        let scenario = format!("one source changed {changes} times in a row, {copies} copies");
        bench.quiet(&scenario).await?;
        let account = bench.open()?;
        for _ in 1..changes {
            self.write(bench, &[0]).await?;
            tokio::time::sleep(apart).await;
        }
        let last = Instant::now();
        self.write(bench, &[0]).await?;
        account.all_asked();
        let seen = self.arrive(bench, &scenario, &[0]).await?;
        self.settle(bench, scenario, &account, &vec![last; seen.len()], &seen).await
    }

    /// Changes the one source of this set and, while its copies are being written, that of another set; measures the other
    /// set's copies.
    pub(super) async fn overtaken(&mut self, bench: &Bench, by: &mut Self) -> anyhow::Result<Measurement> {
        let (copies, all) = (by.len(), self.len());
        let scenario = format!("{} copies changed while {} are being written", thousands(copies), thousands(all));
        bench.quiet(&scenario).await?;
        self.write(bench, &[0]).await?;
        let wanted: Vec<(Place, u64)> = self.wanted(&[0]);
        let begun = Instant::now();
        while self.copies.arrived(wanted.iter().map(|(place, edition)| (place, *edition))) < all / 10 {
            bench.fleet.check()?;
            anyhow::ensure!(begun.elapsed() < WITHIN, "{scenario}: a tenth of the large fan-out did not arrive");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let account = bench.open()?;
        by.write(bench, &[0]).await?;
        account.all_asked();
        let seen = by.arrive(bench, &scenario, &[0]).await?;
        let arrived = self.copies.arrived(wanted.iter().map(|(place, edition)| (place, *edition)));
        anyhow::ensure!(arrived < all, "{scenario}: the large fan-out was over before the small one; take more copies");
        self.arrive(bench, &scenario, &[0]).await?;
        until(bench, &scenario, async || self.verify(bench).await).await?;
        by.settle(bench, scenario, &account, &vec![account.began(); seen.len()], &seen).await
    }

    /// Writes these sources anew.
    pub(super) async fn write(&mut self, bench: &Bench, sources: &[usize]) -> anyhow::Result<()> {
        let config_maps = Api::<ConfigMap>::namespaced(bench.client.clone(), HOME);
        let replace = |source: &usize| {
            let (config_maps, edition) = (config_maps.clone(), self.sources[*source].0 + 1);
            let object = self.set.source(*source, edition);
            async move {
                let name = object.metadata.name.clone().unwrap_or_default();
                let version = bench::version(&config_maps.replace(&name, &PostParams::default(), &object).await?)?;
                Ok((edition, version))
            }
        };
        let now = writers::each(sources, replace, |_| {}).await.context("a source cannot be changed")?;
        for (source, now) in sources.iter().zip(now) {
            self.sources[*source] = now;
        }
        Ok(())
    }

    /// Deletes all syncs, or the one object, and waits until the copies are gone, and the syncs.
    pub(super) async fn delete(self, bench: &Bench) -> anyhow::Result<Measurement> {
        let scenario = deletion(&self.set);
        bench.quiet(&scenario).await?;
        let account = bench.open()?;
        let sent = match &self.object {
            Some(object) => vec![object.delete().await?; self.len()],
            None => self.delete_syncs(bench, &scenario).await?,
        };
        account.all_asked();
        let places: Vec<Place> = self.set.copies.iter().map(|copy| copy.place.clone()).collect();
        let look = |left: usize| {
            bench.screen.progress(&format!("{scenario}: {} copies left", thousands(left)));
            bench.fleet.check()
        };
        let gone = self.copies.all_gone(&places, WITHIN, look).await?;
        account.delivered(bench)?;
        until(bench, &scenario, async || verify::all_gone(bench, &self.set).await).await?;
        let used = account.close(bench)?;
        let delete_sources = |source: usize| {
            let config_maps = Api::<ConfigMap>::namespaced(bench.client.clone(), HOME);
            let name = self.set.source_name(source);
            async move { Ok(config_maps.delete(&name, &DeleteParams::default()).await.map(drop)?) }
        };
        writers::each(0..self.set.sources, delete_sources, |_| {}).await?;
        Ok(account.measurement(bench, Who::Operator, scenario, (&sent, &gone), used))
    }

    async fn delete_syncs(&self, bench: &Bench, scenario: &str) -> anyhow::Result<Vec<Instant>> {
        let syncs = Api::<ConfigMapSync>::namespaced(bench.client.clone(), HOME);
        let delete = |wanted: &Wanted| {
            let (syncs, name) = (syncs.clone(), wanted.name.clone());
            async move {
                let sent = Instant::now();
                syncs.delete(&name, &DeleteParams::default()).await?;
                Ok(sent)
            }
        };
        let done = |done| bench.screen.progress(&format!("{scenario}: {} deleted", thousands(done)));
        writers::each(&self.set.copies, delete, done).await.context("the syncs cannot be deleted")
    }

    /// The set.
    pub(super) fn set(&self) -> &Set {
        &self.set
    }

    /// The edition and the version of a source.
    pub(super) fn source(&self, source: usize) -> (u64, u64) {
        self.sources[source]
    }

    /// Goes on with another watch.
    pub(super) fn watch(&mut self, copies: Arc<Copies>) {
        self.copies = copies;
    }

    /// How many copies there are to be.
    pub(super) fn len(&self) -> usize {
        self.set.copies.len()
    }

    /// Fails unless every copy holds what its source holds and every sync says so.
    pub(super) async fn verify(&self, bench: &Bench) -> anyhow::Result<()> {
        verify::all_in_order(bench, &self.set, &self.sources).await
    }

    /// The copies of these sources, each with the version that it is to hold.
    fn wanted(&self, sources: &[usize]) -> Vec<(Place, u64)> {
        let copies = self.set.of_sources(sources);
        copies.map(|(_, copy)| (copy.place.clone(), self.sources[copy.source].1)).collect()
    }

    /// Waits until all copies hold what they should, and all is quiet.
    pub(super) async fn until_in_order(&self, bench: &Bench) -> anyhow::Result<()> {
        until(bench, &self.set.title, async || self.verify(bench).await).await
    }

    /// Waits for the copies of these sources.
    pub(super) async fn arrive(
        &self,
        bench: &Bench,
        scenario: &str,
        sources: &[usize],
    ) -> anyhow::Result<Vec<Instant>> {
        let wanted = self.wanted(sources);
        let all = thousands(wanted.len());
        let look = |arrived| {
            bench.screen.progress(&format!("{scenario}: {} of {all} copies", thousands(arrived)));
            bench.fleet.check()
        };
        self.copies.all_arrived(&wanted, WITHIN, look).await.with_context(|| scenario.to_owned())
    }

    /// Waits for the statuses, checks everything, and makes the measurement of it. `sent` and `seen`: of each copy.
    async fn settle(
        &self,
        bench: &Bench,
        scenario: String,
        account: &Account,
        sent: &[Instant],
        seen: &[Instant],
    ) -> anyhow::Result<Measurement> {
        if let Some(object) = &self.object {
            account.told(object.until_told(self.source(0).1, self.len()).await?);
            account.delivered(bench)?;
        }
        until(bench, &scenario, async || self.verify(bench).await).await?;
        let used = account.close(bench)?;
        Ok(account.measurement(bench, Who::Operator, scenario, (sent, seen), used))
    }
}

/// Waits until it is quiet and what has to be true is true. On a machine whose processors are busy with other things the
/// API server may answer nobody for seconds, which looks like quiet.
async fn until(bench: &Bench, scenario: &str, holds: impl AsyncFn() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        bench.quiet(scenario).await?;
        match holds().await {
            Err(error) if begun.elapsed() > SETTLED_WITHIN => return Err(error).with_context(|| scenario.to_owned()),
            Err(_) => {}
            Ok(()) => return Ok(()),
        }
    }
}

/// The scenario's words, for operator and bare writers alike.
pub(super) fn new_syncs(set: &Set) -> String {
    match set.one_object {
        true => format!("one new object, {} copies", set.title),
        false => format!("{} new syncs", set.title),
    }
}

/// The scenario's words, for operator and bare writers alike.
pub(super) fn change(set: &Set, sources: &[usize]) -> String {
    let copies = thousands(set.of_sources(sources).count());
    match sources.len() {
        1 => format!("one source changed, {copies} copies"),
        several => format!("{several} sources changed, {copies} copies in all"),
    }
}

/// The scenario's words, for operator and bare writers alike.
pub(super) fn deletion(set: &Set) -> String {
    match set.one_object {
        true => format!("one object deleted, {} copies", set.title),
        false => format!("{} syncs deleted", set.title),
    }
}
