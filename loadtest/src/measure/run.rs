//! One run of a scenario: its steps, one after the other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use kube::Api;
use kube::api::PostParams;

use super::bare::{self, Written};
use super::bench::Bench;
use super::operator::Served;
use super::set::HOME;
use super::steps::{Change, Disturb, Foreign, Step, Throughput};
use super::{disturb, handover, idle};
use crate::copies::Copies;
use crate::report::{self, Growth, Measurement, Report, WarmRestart, Who, counts};
use crate::screen::{thousands, time};
use crate::stats::median;
use crate::{objects, writers};

/// A run under way.
pub(super) struct Run<'a> {
    bench: &'a mut Bench,
    report: &'a mut Report,
    served: BTreeMap<String, Served>,
    copies: Option<Arc<Copies>>,
}

impl<'a> Run<'a> {
    pub(super) fn new(bench: &'a mut Bench, report: &'a mut Report) -> Self {
        Self { bench, report, served: BTreeMap::new(), copies: None }
    }

    /// Takes all steps, and ends the replicas.
    pub(super) async fn all_steps(mut self) -> anyhow::Result<()> {
        for step in self.bench.scenario.steps.clone() {
            self.step(&step).await?;
        }
        self.bench.fleet.terminate().await
    }

    async fn step(&mut self, step: &Step) -> anyhow::Result<()> {
        match step {
            Step::Bound if self.runs() => self.restart(true).await,
            Step::Bound => self.bound("without any operator: the bound", "").await,
            _ if !self.runs() => {
                self.start().await?;
                Box::pin(self.step(step)).await
            }
            Step::BoundBesideReplicas => {
                self.bound("beside replicas that have nothing to do", ", beside idle replicas").await
            }
            Step::Create(set) => {
                let copies = self.copies()?;
                let objects = self.bench.scenario.set(set)?;
                let (served, measurement) = Served::create(self.bench, objects, copies).await?;
                self.served.insert(set.clone(), served);
                self.tell(measurement);
                self.remember_memory()
            }
            Step::Change(change) => self.change(change).await,
            Step::Burst(burst) => {
                let apart = Duration::from_millis(burst.apart_ms);
                let measurement = find(&mut self.served, &burst.set)?.burst(self.bench, burst.changes, apart).await?;
                self.tell(measurement);
                Ok(())
            }
            Step::Overtake(overtake) => {
                for _ in 0..overtake.rounds {
                    let mut small = self.served.remove(&overtake.small).context("there is no small set")?;
                    let measured = find(&mut self.served, &overtake.large)?.overtaken(self.bench, &mut small).await;
                    self.served.insert(overtake.small.clone(), small);
                    self.tell(measured?);
                }
                Ok(())
            }
            Step::Disturb(disturb) => self.disturb(disturb).await,
            Step::Delete(set) => {
                let served = self.served.remove(set).with_context(|| format!("there is no set {set}"))?;
                let measurement = served.delete(self.bench).await?;
                self.tell(measurement);
                Ok(())
            }
            Step::Rest(seconds) => self.rest(*seconds).await,
            Step::Restart => self.restart(false).await,
            Step::Crash => self.crash().await,
            Step::Kill => {
                let syncs = self.syncs();
                let one = handover::kill(self.bench, syncs).await?;
                self.bench.screen.fact(&format!(
                    "A replica with {} shards killed: all held {:.2} s later; {} writes, {} GETs, {} lists.",
                    one.shards, one.held_seconds, one.writes, one.gets, one.lists
                ));
                self.report.take_over = Some(one);
                Ok(())
            }
            Step::Scale(scale) => {
                for replicas in &scale.to {
                    let during = match &scale.during {
                        Some(set) => Some(find(&mut self.served, set)?),
                        None => None,
                    };
                    let one = handover::scale(self.bench, *replicas, during).await?;
                    self.bench.screen.fact(&format!(
                        "{} → {} replicas: even after {:.2} s, {} shards moved, gap p50 {:.3} s, p99 {:.3} s; {}.",
                        one.replicas.0,
                        one.replicas.1,
                        one.even_seconds,
                        one.moved,
                        one.gap.p50,
                        one.gap.p99,
                        counts(&one.requests)
                    ));
                    self.report.hand_overs.push(one);
                }
                Ok(())
            }
            Step::Throughput(throughput) => self.throughput(throughput).await,
            Step::Foreign(foreign) => self.foreign(foreign).await,
        }
    }

    fn runs(&self) -> bool {
        !self.bench.fleet.replicas().is_empty()
    }

    fn syncs(&self) -> usize {
        self.served.values().map(Served::len).sum()
    }

    fn copies(&self) -> anyhow::Result<Arc<Copies>> {
        self.copies.clone().context("the copies are not watched")
    }

    async fn start(&mut self) -> anyhow::Result<()> {
        self.bench.screen.chapter(&format!("The operator, {} replicas", self.bench.scenario.replicas));
        let (ready, held) = self.bench.start().await?;
        self.bench.screen.fact(&format!("Ready after {}, all shards held after {}.", time(ready), time(held)));
        self.report.memory_empty = self.bench.replicas()?;
        self.watch().await
    }

    async fn watch(&mut self) -> anyhow::Result<()> {
        let selector = objects::copies_selector();
        let copies = Arc::new(Copies::by_metadata(self.bench.client.clone(), &selector, objects::edition).await?);
        for one in self.served.values_mut() {
            one.watch(copies.clone());
        }
        self.copies = Some(copies);
        Ok(())
    }

    /// Bare writers do what the steps do; `how` is said, and `named` goes behind the name of what they do.
    async fn bound(&mut self, how: &str, named: &str) -> anyhow::Result<()> {
        self.bench.screen.chapter(&format!("Bare writers, {how}"));
        let copies = Arc::new(bare::watch(self.bench).await?);
        let mut all: BTreeMap<String, Written> = BTreeMap::new();
        for step in self.bench.scenario.bound() {
            match step {
                Step::Create(set) => {
                    let objects = self.bench.scenario.set(&set)?;
                    let (written, measurement) = Written::create(self.bench, &objects, copies.clone()).await?;
                    all.insert(set, written);
                    self.tell_as(measurement, named);
                }
                Step::Change(Change { set, sources, rounds }) => {
                    let sources: Vec<usize> = (0..sources).collect();
                    for _ in 0..rounds {
                        let written = all.get_mut(&set).with_context(|| format!("there is no set {set}"))?;
                        let measurement = written.change(self.bench, &sources).await?;
                        self.tell_as(measurement, named);
                    }
                }
                Step::Delete(set) => {
                    if let Some(written) = all.remove(&set) {
                        let measurement = written.delete(self.bench).await?;
                        self.tell_as(measurement, named);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    async fn change(&mut self, change: &Change) -> anyhow::Result<()> {
        let sources: Vec<usize> = (0..change.sources).collect();
        for _ in 0..change.rounds {
            let measurement = find(&mut self.served, &change.set)?.change(self.bench, &sources).await?;
            self.tell(measurement);
        }
        self.remember_memory()
    }

    async fn disturb(&mut self, of: &Disturb) -> anyhow::Result<()> {
        for one in disturb::disturb(self.bench, find(&mut self.served, &of.set)?, of.times).await? {
            self.bench.screen.fact(&format!(
                "{}, {} times: p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms; {}.",
                one.what,
                one.times,
                one.latency.p50 * 1000.0,
                one.latency.p99 * 1000.0,
                one.latency.max * 1000.0,
                counts(&one.requests)
            ));
            self.report.disturbances.push(one);
        }
        Ok(())
    }

    /// The most syncs that were in order at once, with the memory that this took.
    fn remember_memory(&mut self) -> anyhow::Result<()> {
        if self.syncs() >= self.report.memory_syncs {
            self.report.memory_syncs = self.syncs();
            self.report.memory = self.bench.replicas()?;
        }
        Ok(())
    }

    async fn rest(&mut self, seconds: u64) -> anyhow::Result<()> {
        let rest = idle::rest(self.bench, self.syncs(), Duration::from_secs(seconds)).await?;
        self.bench.screen.fact(&format!(
            "{seconds} s of rest: {}; out of place: {}.",
            counts(&rest.requests),
            counts(&rest.out_of_place)
        ));
        self.report.rest = Some(rest);
        Ok(())
    }

    /// Ends all replicas and starts them again; between, where that is wanted, the bare writers have a turn.
    async fn restart(&mut self, bound: bool) -> anyhow::Result<()> {
        let ending = Instant::now();
        self.bench.fleet.terminate().await?;
        let end = ending.elapsed();
        self.copies = None;
        if bound {
            self.bound("without any operator: the bound", "").await?;
        }
        self.report.warm_restart = Some(self.start_again("a restart", end).await?);
        Ok(())
    }

    async fn crash(&mut self) -> anyhow::Result<()> {
        self.bench.fleet.kill_all()?;
        self.copies = None;
        self.report.crash = Some(self.start_again("after a crash", Duration::ZERO).await?);
        Ok(())
    }

    async fn start_again(&mut self, what: &str, end: Duration) -> anyhow::Result<WarmRestart> {
        let syncs = self.syncs();
        self.bench.screen.chapter(&format!("The operator again: {what} with {} syncs", thousands(syncs)));
        let restart = idle::start_again(self.bench, syncs, end).await?;
        self.bench.screen.fact(&format!(
            "Ready after {:.2} s, all shards held after {:.2} s; {} writes and {} GETs.",
            restart.ready_seconds, restart.held_seconds, restart.writes, restart.gets
        ));
        self.watch().await?;
        for one in self.served.values() {
            one.verify(self.bench).await.context(what.to_owned())?;
        }
        Ok(restart)
    }

    async fn throughput(&mut self, throughput: &Throughput) -> anyhow::Result<()> {
        let sources: Vec<usize> = (0..self.bench.scenario.set(&throughput.set)?.sources).collect();
        for replicas in &throughput.replicas {
            self.bench.scale(*replicas).await?;
            let served = find(&mut self.served, &throughput.set)?;
            let (mut rates, mut shares, mut scenario) = (Vec::new(), BTreeMap::new(), String::new());
            for _ in 0..throughput.rounds {
                let measurement = served.change(self.bench, &sources).await?;
                rates.push(measurement.copies as f64 / measurement.last_seconds);
                for (name, writes) in &measurement.shares {
                    *shares.entry(name.clone()).or_insert(0) += writes;
                }
                scenario.clone_from(&measurement.scenario);
                // Under the number of replicas, so that plots and figures do not mix them.
                let named = format!("{}, {replicas} replicas", measurement.scenario);
                tell(self.bench, self.report, Measurement { scenario: named, ..measurement });
            }
            let copies_per_second = median(&rates);
            self.bench.screen.fact(&format!("{replicas} replicas: {copies_per_second:.1} copies/s."));
            self.report.throughput.push(report::Throughput {
                scenario,
                replicas: *replicas,
                copies_per_second,
                shares,
            });
        }
        Ok(())
    }

    async fn foreign(&mut self, foreign: &Foreign) -> anyhow::Result<()> {
        self.bench.quiet("other people's ConfigMaps").await?;
        let before = self.bench.replicas()?;
        let text: String = "other people's settings\n".chars().cycle().take(foreign.bytes).collect();
        let api = Api::<k8s_openapi::api::core::v1::ConfigMap>::namespaced(self.bench.client.clone(), HOME);
        let create = |number: usize| {
            let name = format!("foreign-{number:06}");
            let object = objects::config_map(HOME, &name, [("settings".to_owned(), text.clone())].into());
            let api = api.clone();
            async move { Ok(api.create(&PostParams::default(), &object).await.map(drop)?) }
        };
        let done = |done| self.bench.screen.progress(&format!("{} of other people's ConfigMaps", thousands(done)));
        writers::each(0..foreign.config_maps, create, done).await.context("foreign ConfigMaps cannot be made")?;
        // They are listed too, when a replica starts.
        self.restart(false).await?;
        let after = self.bench.replicas()?;
        self.report.growth = Some(Growth { config_maps: foreign.config_maps, bytes: foreign.bytes, before, after });
        Ok(())
    }

    fn tell_as(&mut self, measurement: Measurement, named: &str) {
        let scenario = format!("{}{named}", measurement.scenario);
        self.tell(Measurement { scenario, ..measurement });
    }

    fn tell(&mut self, measurement: Measurement) {
        tell(self.bench, self.report, measurement);
    }
}

fn find<'s>(served: &'s mut BTreeMap<String, Served>, set: &str) -> anyhow::Result<&'s mut Served> {
    served.get_mut(set).with_context(|| format!("there is no set {set}"))
}

/// One line on the screen, and a row in the report.
fn tell(bench: &Bench, report: &mut Report, measurement: Measurement) {
    let settled = match (measurement.told_seconds, measurement.settled_seconds) {
        (Some(told), _) => format!(", told {told:.2} s"),
        (None, Some(settled)) => format!(", statuses {settled:.2} s"),
        (None, None) => String::new(),
    };
    bench.screen.fact(&format!(
        "{}{}: all asked {:.2} s, first {:.3} s, last {:.2} s{settled}.",
        if measurement.who == Who::BareWriters { "bare writers, " } else { "" },
        measurement.scenario,
        measurement.asked_seconds,
        measurement.first_seconds,
        measurement.last_seconds,
    ));
    report.measurements.push(measurement);
}
