//! Shards that change hands: replicas come and go on purpose, or one dies.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::StreamExt as _;
use k8s_openapi::api::coordination::v1::Lease;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, ResourceExt as _};
use tokio::task::JoinHandle;

use super::bench::{self, Bench, OPERATOR};
use super::operator::Served;
use crate::fleet;
use crate::report::{HandOver, TakeOver};
use crate::stats::Latency;

/// Requests are counted for this long after the shards have new holders: what a replica wants to do, it does at once.
const AFTER: Duration = Duration::from_secs(5);

/// Starts or ends replicas until there are so many. `during`: all sources of this set are changed just before.
pub(super) async fn scale(
    bench: &mut Bench,
    replicas: u8,
    mut during: Option<&mut Served>,
) -> anyhow::Result<HandOver> {
    let before = u8::try_from(bench.fleet.replicas().len())?;
    bench.quiet(&format!("{before} → {replicas} replicas")).await?;
    let watch = Watch::open(Api::namespaced(bench.client.clone(), fleet::NAMESPACE)).await?;
    let account = bench.open()?;
    let mut sources = Vec::new();
    if let Some(served) = &mut during {
        sources = (0..served.set().sources).collect();
        served.write(bench, &sources).await?;
    }
    let begun = Instant::now();
    bench.scale(replicas).await?;
    let even_seconds = begun.elapsed().as_secs_f64();
    if let Some(served) = &during {
        served.arrive(bench, "hand-over", &sources).await?;
        served.until_in_order(bench).await?;
    } else {
        tokio::time::sleep(AFTER).await;
    }
    let requests = bench::count(account.close(bench)?.of(OPERATOR));
    let gaps = watch.gaps();
    Ok(HandOver {
        replicas: (before, replicas),
        during: during.map(|served| served.set().title.clone()),
        even_seconds,
        moved: gaps.len(),
        gap: Latency::of(gaps),
        requests,
    })
}

/// Kills the first replica, waits until the others hold its shards, and starts it again.
pub(super) async fn kill(bench: &mut Bench, syncs: usize) -> anyhow::Result<TakeOver> {
    bench.quiet("the death of a replica").await?;
    let dead = bench.fleet.names().first().cloned().context("no replica runs that could be killed")?;
    let replicas = u8::try_from(bench.fleet.replicas().len())?;
    let shards = bench.fleet.shards().await?.held_by(&dead);
    let account = bench.open()?;
    let begun = Instant::now();
    bench.fleet.kill(&dead)?;
    bench.until_shards(|fleet, shards| fleet.all_held(shards, &[])).await?;
    let held_seconds = begun.elapsed().as_secs_f64();
    tokio::time::sleep(AFTER).await;
    let used = account.close(bench)?;
    let of = |verb: &str| used.of(OPERATOR).filter(|event| event.verb == verb).count();
    let taken = TakeOver {
        syncs,
        shards,
        held_seconds,
        writes: used.of(OPERATOR).filter(|event| event.is_write() && event.resource != "events").count(),
        gets: of("get"),
        lists: of("list"),
    };
    bench.scale(replicas).await?;
    Ok(taken)
}

/// A watch on the Leases of shards: when each was released, and how long it took until it had a holder again.
struct Watch {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    listed: bool,
    released: BTreeMap<String, Instant>,
    gaps: Vec<Duration>,
}

impl Seen {
    fn lease(&mut self, lease: &Lease, now: Instant) {
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
        match (holder.is_empty(), self.released.remove(&lease.name_any())) {
            (true, _) => {
                self.released.insert(lease.name_any(), now);
            }
            (false, Some(released)) => self.gaps.push(now - released),
            (false, None) => {}
        }
    }
}

impl Watch {
    async fn open(leases: Api<Lease>) -> anyhow::Result<Self> {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let task = tokio::spawn({
            let seen = seen.clone();
            async move {
                let mut events = pin!(watcher(leases, watcher::Config::default()));
                while let Some(event) = events.next().await {
                    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                    match event {
                        Ok(Event::Apply(lease)) if lease.name_any().starts_with(fleet::SHARD_LEASE) => {
                            seen.lease(&lease, Instant::now());
                        }
                        Ok(Event::InitDone) => seen.listed = true,
                        _ => {}
                    }
                }
            }
        });
        let watch = Self { seen, task };
        while !watch.lock().listed {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(watch)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn gaps(&self) -> Vec<Duration> {
        self.lock().gaps.clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::coordination::v1::LeaseSpec;

    use super::*;

    #[test]
    fn a_gap_is_from_the_release_to_the_next_holder() {
        let lease = |name: &str, holder: Option<&str>| {
            let mut lease = Lease::default();
            lease.metadata.name = Some(name.to_owned());
            lease.spec = Some(LeaseSpec { holder_identity: holder.map(str::to_owned), ..LeaseSpec::default() });
            lease
        };
        let (mut seen, begun) = (Seen::default(), Instant::now());
        let at = |millis| begun + Duration::from_millis(millis);
        seen.lease(&lease("a", Some("one")), at(0));
        seen.lease(&lease("a", None), at(10));
        seen.lease(&lease("b", Some("two")), at(15));
        seen.lease(&lease("a", Some("two")), at(30));
        seen.lease(&lease("a", Some("two")), at(40));
        assert_eq!(seen.gaps, [Duration::from_millis(20)]);
    }
}
