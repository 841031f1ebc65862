//! What every measurement needs: the cluster, the fleet, quiet before it begins, and the account of what was used.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use jiff::Timestamp;
use kube::Client;
use testbed::audit::Mark;
use testbed::{AuditEvent, Cluster, Component};

use super::bystander::{self, Bystander};
use super::scenario::Scenario;
use crate::distance::Distance;
use crate::fleet::{self, Fleet, Shards, Usage};
use crate::report::{Measurement, Who};
use crate::screen::Screen;
use crate::stats::{Latency, hundredths};

/// The beginning of the operator's user agent, and of ours.
pub(super) const OPERATOR: &str = "configmapsync-operator";
pub(super) const OURSELVES: &str = "configmapsync-loadtest";

/// Nothing was written for this long: what was set going has come to its end.
const QUIET: Duration = Duration::from_secs(2);
/// From the start of replicas until they say that they are ready.
const READY_WITHIN: Duration = Duration::from_secs(300);
/// Nobody is waited for longer than this before a measurement, and this for each sync: 50 statuses a second.
const QUIET_WITHIN: Duration = Duration::from_secs(300);
const QUIET_WITHIN_A_SYNC: Duration = Duration::from_millis(20);

/// The bench.
pub(super) struct Bench {
    pub(super) scenario: Scenario,
    pub(super) screen: Screen,
    pub(super) client: Client,
    pub(super) fleet: Fleet,
    pub(super) bystander: Bystander,
    /// The replicas' way to the API server, where it is longer than it has to be.
    pub(super) _distance: Option<Distance>,
    // After the fleet, which talks to it: fields are dropped in this order.
    pub(super) cluster: Cluster,
}

/// The state of the accounts when a measurement began.
pub(super) struct Account {
    began: Instant,
    asked: Cell<Duration>,
    /// When an object's status told of all copies.
    told: Cell<Option<Duration>>,
    /// What the API server had spent when everything was delivered, in seconds.
    server: Cell<Option<f64>>,
    began_at: Timestamp,
    mark: Option<Mark>,
    usage: BTreeMap<String, Usage>,
}

/// What came of it.
pub(super) struct Used {
    /// The requests since, if there is an audit log.
    pub(super) events: Vec<AuditEvent>,
    pub(super) processes: BTreeMap<String, Usage>,
}

impl Bench {
    /// Opens the account of a measurement that begins now.
    pub(super) fn open(&self) -> anyhow::Result<Account> {
        let mark = self.cluster.audit().ok().map(testbed::AuditLog::mark).transpose()?;
        Ok(Account {
            usage: self.usage()?,
            mark,
            asked: Cell::default(),
            told: Cell::default(),
            server: Cell::default(),
            began: Instant::now(),
            began_at: Timestamp::now(),
        })
    }

    /// Every process that can be looked at: replicas, control plane, ourselves.
    pub(super) fn usage(&self) -> anyhow::Result<BTreeMap<String, Usage>> {
        let mut all = self.replicas()?;
        all.insert("load test".to_owned(), fleet::usage(std::process::id())?);
        if let Ok(own) = self.cluster.control_plane() {
            for component in [Component::ApiServer, Component::Etcd, Component::ControllerManager] {
                if let Some(pid) = own.pid(component) {
                    all.insert(component.program().to_owned(), fleet::usage(pid)?);
                }
            }
        }
        Ok(all)
    }

    /// Every replica.
    pub(super) fn replicas(&self) -> anyhow::Result<BTreeMap<String, Usage>> {
        self.fleet.replicas().iter().map(|replica| Ok((replica.name().to_owned(), replica.usage()?))).collect()
    }

    /// Waits until nothing is written any more but Leases, and the operator reads no copies any more; so what comes next is not disturbed by what was before.
    pub(super) async fn quiet(&self, why: &str) -> anyhow::Result<()> {
        let begun = Instant::now();
        let syncs: usize = self.scenario.sets.values().map(|set| set.syncs).sum();
        let within = QUIET_WITHIN + QUIET_WITHIN_A_SYNC * u32::try_from(syncs)?;
        let (mut mark, mut writes) = (self.open()?.mark, self.writes_by_metrics().await?);
        let mut since = begun;
        while since.elapsed() < QUIET && begun.elapsed() < within {
            self.screen.progress(&format!("{why}: waiting for quiet ({:.0} s)", begun.elapsed().as_secs_f64()));
            tokio::time::sleep(Duration::from_millis(200)).await;
            self.fleet.check()?;
            let now = self.writes_by_metrics().await?;
            let mut written = now > writes;
            writes = now;
            if let (Ok(audit), Some(from)) = (self.cluster.audit(), mark) {
                let (events, next) = audit.read(from)?;
                let counts = |event: &&AuditEvent| !bystander::is_his(event);
                let is_work = |event: &AuditEvent| event.is_write() && event.resource != "leases" || is_look(event);
                written |= events.iter().filter(counts).any(is_work);
                mark = Some(next);
            }
            if written {
                since = Instant::now();
            }
        }
        Ok(())
    }

    /// Where there is no audit log, the replicas' own word is all there is.
    async fn writes_by_metrics(&self) -> anyhow::Result<f64> {
        if self.cluster.audit().is_ok() {
            return Ok(0.0);
        }
        let mut sum = 0.0;
        for replica in self.fleet.replicas() {
            sum += replica.metrics().await?.sum("configmapsync_writes_total", &[]);
        }
        Ok(sum)
    }

    /// Starts the replicas; returns how long it took until they were ready, and until they held every shard.
    pub(super) async fn start(&mut self) -> anyhow::Result<(Duration, Duration)> {
        let former = self.fleet.shards().await?.sessions();
        let begun = Instant::now();
        self.fleet.start(usize::from(self.scenario.replicas))?;
        self.screen.progress("starting the replicas");
        self.fleet.until_ready(READY_WITHIN).await?;
        let ready = begun.elapsed();
        self.until_shards(|fleet, shards| fleet.all_held(shards, &former)).await?;
        Ok((ready, begun.elapsed()))
    }

    /// Starts or ends replicas until there are so many, and waits until they hold all shards, as many each.
    pub(super) async fn scale(&mut self, replicas: u8) -> anyhow::Result<()> {
        self.fleet.start(usize::from(replicas))?;
        self.fleet.shrink(usize::from(replicas)).await?;
        self.fleet.until_ready(READY_WITHIN).await?;
        self.until_shards(|fleet, shards| shards.are_even(&fleet.names())).await
    }

    /// Waits until the shards are held as they should be.
    pub(super) async fn until_shards(&self, hold: impl Fn(&Fleet, &Shards) -> bool) -> anyhow::Result<()> {
        let begun = Instant::now();
        let within = self.scenario.lease_duration() * 3 + Duration::from_secs(60);
        loop {
            let shards = self.fleet.shards().await?;
            if hold(&self.fleet, &shards) {
                return Ok(());
            }
            self.screen.progress(&format!("shards: {}", shards.map(&self.fleet.names(), &[])));
            self.fleet.check()?;
            let held = || shards.map(&self.fleet.names(), &[]);
            anyhow::ensure!(begun.elapsed() < within, "shards are still held like this: {}", held());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Account {
    /// When it began.
    pub(super) fn began(&self) -> Instant {
        self.began
    }

    /// Everything that is asked for in it has been asked for, and answered.
    pub(super) fn all_asked(&self) {
        self.asked.set(self.began.elapsed());
    }

    /// An object's status told of all copies then.
    pub(super) fn told(&self, at: Instant) {
        self.told.set(Some(at.saturating_duration_since(self.began)));
    }

    /// Everything that was asked for is there: notes what the API server has spent on it.
    pub(super) fn delivered(&self, bench: &Bench) -> anyhow::Result<()> {
        let server = Component::ApiServer.program();
        let spent = |usage: &BTreeMap<String, Usage>| usage.get(server).map(|usage| usage.cpu_seconds);
        let now = spent(&bench.usage()?);
        self.server.set(now.zip(spent(&self.usage)).map(|(now, before)| now - before));
        Ok(())
    }

    /// The measurement of what `who` did in it. `sent` and `seen`: of each copy.
    pub(super) fn measurement(
        &self,
        bench: &Bench,
        who: Who,
        scenario: String,
        (sent, seen): (&[Instant], &[Instant]),
        used: Used,
    ) -> Measurement {
        let since = |at: &Instant| at.duration_since(self.began);
        let (first, last) =
            (seen.iter().min().map_or(Duration::ZERO, since), seen.iter().max().map_or(Duration::ZERO, since));
        let told = ["configmapsyncs", "clusterconfigmapsyncs"];
        let paperwork = used.of(OPERATOR).filter(|event| event.is_write() && told.contains(&event.resource.as_str()));
        let requests = match who {
            Who::Operator => count(used.of(OPERATOR)),
            Who::BareWriters => count(used.of(OURSELVES).filter(|event| event.is_write())),
        };
        let [read, wrote] = bench.bystander.waited(self.began, self.began + last);
        Measurement {
            copies: seen.len(),
            who,
            asked_seconds: self.asked.get().as_secs_f64(),
            first_seconds: first.as_secs_f64(),
            last_seconds: last.as_secs_f64(),
            settled_seconds: self.last(paperwork),
            told_seconds: self.told.get().map(|told| told.as_secs_f64()),
            server_seconds: self.server.get(),
            latency: Latency::of(seen.iter().zip(sent).map(|(seen, sent)| seen.duration_since(*sent))),
            bystander: Latency::of(read),
            bystander_writes: Latency::of(wrote),
            renewals: used.renewals(),
            arrivals: hundredths(seen.iter().map(since)),
            requests,
            shares: used.copies_by_replica(),
            processes: used.processes,
            scenario,
        }
    }

    /// Closes it.
    pub(super) fn close(&self, bench: &Bench) -> anyhow::Result<Used> {
        let events = match (bench.cluster.audit(), self.mark) {
            (Ok(audit), Some(mark)) => audit.since(mark)?,
            _ => Vec::new(),
        };
        let processes = bench.usage()?.into_iter().map(|(name, mut usage)| {
            usage.cpu_seconds -= self.usage.get(&name).map_or(0.0, |before| before.cpu_seconds);
            usage.cpu_seconds = (usage.cpu_seconds * 100.0).round() / 100.0;
            (name, usage)
        });
        Ok(Used { events, processes: processes.collect() })
    }

    /// How long after the beginning the last of these requests was over.
    fn last<'a>(&self, events: impl Iterator<Item = &'a AuditEvent>) -> Option<f64> {
        let over =
            |event: &AuditEvent| event.time.duration_since(self.began_at).as_secs_f64() + event.latency.as_secs_f64();
        events.map(over).max_by(f64::total_cmp)
    }
}

impl Used {
    /// How long renewals of the operator's sessions took, as the API server tells.
    fn renewals(&self) -> Latency {
        let renewals = self.events.iter().filter(|event| {
            event.agent() == OPERATOR && event.verb == "update" && event.name.starts_with(fleet::SESSION_LEASE)
        });
        Latency::of(renewals.map(|event| event.latency))
    }

    /// The operator's writes of copies by replica.
    fn copies_by_replica(&self) -> BTreeMap<String, usize> {
        let mut shares = BTreeMap::new();
        for event in self.of(OPERATOR).filter(|event| event.is_write() && event.resource == "configmaps") {
            // PROGRAM/VERSION (REPLICA)
            let replica = event.user_agent.split(['(', ')']).nth(1).unwrap_or_default();
            *shares.entry(replica.to_owned()).or_insert(0) += 1;
        }
        shares
    }

    /// The requests of a program, Leases aside.
    pub(super) fn of<'a>(&'a self, agent: &'a str) -> impl Iterator<Item = &'a AuditEvent> {
        self.events.iter().filter(move |event| event.agent() == agent && event.resource != "leases")
    }
}

/// Whether the operator reads an object that is there.
fn is_look(event: &AuditEvent) -> bool {
    event.agent() == OPERATOR && event.verb == "get" && event.resource == "configmaps" && event.code == 200
}

/// Requests by verb and resource; those that were refused also by the answer's code.
pub(super) fn count<'a>(events: impl Iterator<Item = &'a AuditEvent>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for event in events {
        let refused = if event.code >= 400 { format!(" ({})", event.code) } else { String::new() };
        *counts.entry(format!("{} {}{refused}", event.verb, event.what())).or_insert(0) += 1;
    }
    counts
}

/// The version of an object as a number.
pub(super) fn version(object: &impl kube::Resource) -> anyhow::Result<u64> {
    let version = object.meta().resource_version.as_deref();
    version.and_then(|version| version.parse().ok()).context("an object came back without a version")
}
