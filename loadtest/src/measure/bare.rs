//! The bound: the same objects, written by this program alone, as fast as a fixed number of writers in flight can. No
//! operator runs meanwhile.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use configmapsync_operator::api::configmapsync::ConfigMapSync;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Resource as _};

use super::bench::{self, Bench};
use super::operator;
use super::set::{HOME, Set, Wanted};
use crate::copies::{Copies, Place};
use crate::report::{Measurement, Who};
use crate::screen::thousands;
use crate::{objects, writers};

/// Everything was answered before it is waited for.
const WITHIN: Duration = Duration::from_secs(60);

/// The operator must not take these copies for its own, so the marks on them are of the same size and of another name.
const BARE_PREFIX: &str = "configmapsync.loadtest.kapendra/";

fn bare(annotation: &str) -> String {
    format!("{BARE_PREFIX}{annotation}")
}

/// A set in the bare writers' hands.
pub(super) struct Written {
    set: Set,
    /// The edition and the version of each source.
    sources: Vec<(u64, u64)>,
    /// The copies as they were last answered.
    objects: Vec<ConfigMap>,
    copies: Arc<Copies>,
}

/// A watch of the bare writers' copies, like that of the operator's.
pub(super) async fn watch(bench: &Bench) -> anyhow::Result<Copies> {
    let source = bare("source");
    let selector = format!("{}=loadtest-writers", bare("managed-by"));
    Copies::by_metadata(bench.client.clone(), &selector, move |copy| objects::source_version(copy, &source)).await
}

impl Written {
    /// Creates each sync, and then its copy; where one object asks for all copies, only those.
    pub(super) async fn create(bench: &Bench, set: &Set, copies: Arc<Copies>) -> anyhow::Result<(Self, Measurement)> {
        let scenario = operator::new_syncs(set);
        let set = set.bare();
        bench.quiet(&scenario).await?;
        let config_maps = Api::<ConfigMap>::namespaced(bench.client.clone(), HOME);
        let mut sources = Vec::new();
        for source in 0..set.sources {
            let made = config_maps.create(&PostParams::default(), &set.source(source, 1)).await;
            sources.push((1, bench::version(&made.context("a source cannot be made")?)?));
        }
        let account = bench.open()?;
        let create = |wanted: &Wanted| {
            let (sync, copy) =
                ((!set.one_object).then(|| set.sync(wanted)), copy(&set, wanted, sources[wanted.source]));
            let syncs = Api::<ConfigMapSync>::namespaced(bench.client.clone(), HOME);
            let config_maps = Api::<ConfigMap>::namespaced(bench.client.clone(), &wanted.place.0);
            async move {
                let sent = Instant::now();
                if let Some(sync) = sync {
                    syncs.create(&PostParams::default(), &sync).await?;
                }
                Ok((sent, config_maps.create(&PostParams::default(), &copy).await?))
            }
        };
        let done = |done| bench.screen.progress(&format!("bare writers, {scenario}: {}", thousands(done)));
        let made = writers::each(&set.copies, create, done).await.context("bare writers cannot create")?;
        account.all_asked();
        let (sent, objects): (Vec<Instant>, Vec<ConfigMap>) = made.into_iter().unzip();
        let written = Self { set, sources, objects, copies };
        let all: Vec<usize> = (0..written.sources.len()).collect();
        let seen = written.arrive(&all).await?;
        account.delivered(bench)?;
        Ok((written, account.measurement(bench, Who::BareWriters, scenario, (&sent, &seen), account.close(bench)?)))
    }

    /// Writes some sources, then all their copies.
    pub(super) async fn change(&mut self, bench: &Bench, sources: &[usize]) -> anyhow::Result<Measurement> {
        let scenario = operator::change(&self.set, sources);
        bench.quiet(&scenario).await?;
        let account = bench.open()?;
        let sent = account.began();
        let config_maps = Api::<ConfigMap>::namespaced(bench.client.clone(), HOME);
        for source in sources {
            let edition = self.sources[*source].0 + 1;
            let object = self.set.source(*source, edition);
            let name = self.set.source_name(*source);
            let written = config_maps.replace(&name, &PostParams::default(), &object).await?;
            self.sources[*source] = (edition, bench::version(&written)?);
        }
        let copies: Vec<(usize, &Wanted)> = self.set.of_sources(sources).collect();
        let replace = |(number, wanted): (usize, &Wanted)| {
            let mut next = copy(&self.set, wanted, self.sources[wanted.source]);
            // The preconditions that the operator's writes carry too.
            next.metadata.uid.clone_from(&self.objects[number].metadata.uid);
            next.metadata.resource_version.clone_from(&self.objects[number].metadata.resource_version);
            let config_maps = Api::<ConfigMap>::namespaced(bench.client.clone(), &wanted.place.0);
            let name = wanted.name.clone();
            async move { Ok(config_maps.replace(&name, &PostParams::default(), &next).await?) }
        };
        let done = |done| bench.screen.progress(&format!("bare writers, {scenario}: {}", thousands(done)));
        let written =
            writers::each(copies.iter().copied(), replace, done).await.context("bare writers cannot write")?;
        account.all_asked();
        let numbers: Vec<usize> = copies.iter().map(|(number, _)| *number).collect();
        for (number, object) in numbers.into_iter().zip(written) {
            self.objects[number] = object;
        }
        let seen = self.arrive(sources).await?;
        account.delivered(bench)?;
        Ok({
            let times = (&*vec![sent; seen.len()], &*seen);
            account.measurement(bench, Who::BareWriters, scenario, times, account.close(bench)?)
        })
    }

    /// Deletes each copy, and its sync if it has one.
    pub(super) async fn delete(self, bench: &Bench) -> anyhow::Result<Measurement> {
        let scenario = operator::deletion(&self.set);
        bench.quiet(&scenario).await?;
        let account = bench.open()?;
        let syncs = Api::<ConfigMapSync>::namespaced(bench.client.clone(), HOME);
        let one_object = self.set.one_object;
        let delete = |wanted: &Wanted| {
            let (syncs, name) = (syncs.clone(), wanted.name.clone());
            let config_maps = Api::<ConfigMap>::namespaced(bench.client.clone(), &wanted.place.0);
            async move {
                let sent = Instant::now();
                if !one_object {
                    syncs.delete(&name, &DeleteParams::default()).await?;
                }
                config_maps.delete(&name, &DeleteParams::default()).await?;
                Ok(sent)
            }
        };
        let done = |done| bench.screen.progress(&format!("bare writers, {scenario}: {}", thousands(done)));
        let sent = writers::each(&self.set.copies, delete, done).await.context("bare writers cannot delete")?;
        account.all_asked();
        let places: Vec<Place> = self.set.copies.iter().map(|copy| copy.place.clone()).collect();
        let gone = self.copies.all_gone(&places, WITHIN, |_| Ok(())).await?;
        account.delivered(bench)?;
        let measurement = account.measurement(bench, Who::BareWriters, scenario, (&sent, &gone), account.close(bench)?);
        let config_maps = Api::<ConfigMap>::namespaced(bench.client.clone(), HOME);
        for source in 0..self.set.sources {
            config_maps.delete(&self.set.source_name(source), &DeleteParams::default()).await?;
        }
        Ok(measurement)
    }

    async fn arrive(&self, sources: &[usize]) -> anyhow::Result<Vec<Instant>> {
        let copies = self.set.of_sources(sources);
        let wanted: Vec<(Place, u64)> =
            copies.map(|(_, copy)| (copy.place.clone(), self.sources[copy.source].1)).collect();
        self.copies.all_arrived(&wanted, WITHIN, |_| Ok(())).await
    }
}

/// A copy like the operator's: the same content, as many labels and annotations, about as many bytes.
fn copy(set: &Set, wanted: &Wanted, (edition, version): (u64, u64)) -> ConfigMap {
    let mut copy = objects::config_map(&wanted.place.0, &wanted.place.1, set.content(wanted.source, edition));
    let uid = "00000000-0000-4000-8000-000000000000";
    let meta = copy.meta_mut();
    let asked_by = match set.one_object {
        true => vec![("cluster-sync-name", &*wanted.name)],
        false => vec![("sync-name", &*wanted.name), ("sync-namespace", HOME)],
    };
    let labels = asked_by.into_iter().chain([("managed-by", "loadtest-writers")]);
    meta.labels = Some(labels.map(|(name, value)| (bare(name), value.to_owned())).collect());
    meta.annotations = Some(
        [
            ("at", format!("{uid}/{}", wanted.name)),
            ("at-namespace", wanted.place.0.clone()),
            ("last-sync", "2026-01-01T00:00:00Z".to_owned()),
            ("source", format!("{HOME}/{}/{uid}/{version}", set.source_name(wanted.source))),
            ("source-hash", "0".repeat(64)),
            ("sync", format!("{}/{}/{uid}", if set.one_object { "" } else { HOME }, wanted.name)),
        ]
        .map(|(name, value)| (bare(name), value))
        .into(),
    );
    copy
}

#[cfg(test)]
mod tests {
    use configmapsync_operator::api::names::PREFIX;

    use super::*;

    #[test]
    fn marks_are_as_long_as_the_operators_and_are_not_its() {
        assert_eq!(BARE_PREFIX.len(), PREFIX.len());
        let set = Set::new("bare", 10, 2, 5, 1024);
        let copy = copy(&set, &set.copies[9], (3, 77));
        assert_eq!(objects::source_version(&copy, &bare("source")), Some(77));
        assert_eq!(objects::edition(&copy), None);
        assert_eq!(copy.data, Some(set.content(1, 3)));
    }
}
