//! What the operator costs when there is nothing to do: a time of rest, and a restart with everything in order.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use testbed::AuditEvent;

use super::bench::{self, Bench, OPERATOR};
use crate::fleet::SESSION_LEASE;
use crate::report::{Rest, WarmRestart};

/// Requests are counted for this long after the restart: what a replica wants to write, it writes at once.
const AFTER_RESTART: Duration = Duration::from_secs(15);

/// Nothing is done for some time, and every request of the operator is classified.
pub(super) async fn rest(bench: &Bench, syncs: usize, duration: Duration) -> anyhow::Result<Rest> {
    bench.quiet("a time of rest").await?;
    let account = bench.open()?;
    while account.began().elapsed() < duration {
        let left = duration.saturating_sub(account.began().elapsed());
        bench.screen.progress(&format!("nothing happens for another {} s", left.as_secs()));
        tokio::time::sleep(left.min(Duration::from_secs(1))).await;
        bench.fleet.check()?;
    }
    let seconds = account.began().elapsed().as_secs_f64();
    let used = account.close(bench)?;
    let (mut requests, mut out_of_place) = (BTreeMap::new(), BTreeMap::new());
    for event in used.events.iter().filter(|event| event.agent() == OPERATOR) {
        let (purpose, expected) = purpose(event);
        *requests.entry(purpose.to_owned()).or_insert(0) += 1;
        if !expected {
            *out_of_place.entry(format!("{} {}", event.verb, event.what())).or_insert(0) += 1;
        }
    }
    Ok(Rest { seconds, syncs, requests, out_of_place, processes: used.processes })
}

/// What a request in a time of rest is for, and whether it has a place there.
fn purpose(event: &AuditEvent) -> (&'static str, bool) {
    match (event.resource.as_str(), event.verb.as_str()) {
        (_, "watch") => ("watches opened again", true),
        ("leases", "update") if event.name.starts_with(SESSION_LEASE) => ("renewals of sessions", true),
        ("leases", _) if event.name == "configmapsync-fleet-leader" => ("the fleet leader's Lease", true),
        ("leases", _) => ("other requests for Leases", false),
        ("configmaps", "get") if event.code == 404 => ("looks for missing sources", true),
        ("events", _) => ("Kubernetes Events", false),
        _ => ("anything else", false),
    }
}

/// Starts all replicas again with everything in order; they have ended already, in `end`, or were killed.
pub(super) async fn start_again(bench: &mut Bench, syncs: usize, end: Duration) -> anyhow::Result<WarmRestart> {
    bench.quiet("a warm restart").await?;
    let account = bench.open()?;
    let (ready, held) = bench.start().await?;
    let counting = Instant::now();
    while counting.elapsed() < AFTER_RESTART {
        let left = AFTER_RESTART.saturating_sub(counting.elapsed());
        bench.screen.progress(&format!("all started again: counting requests for another {} s", left.as_secs()));
        tokio::time::sleep(left.min(Duration::from_secs(1))).await;
        bench.fleet.check()?;
    }
    let counted_seconds = account.began().elapsed().as_secs_f64();
    let used = account.close(bench)?;
    Ok(WarmRestart {
        syncs,
        end_seconds: end.as_secs_f64(),
        ready_seconds: ready.as_secs_f64(),
        held_seconds: held.as_secs_f64(),
        counted_seconds,
        writes: used.of(OPERATOR).filter(|event| event.is_write()).count(),
        gets: used.of(OPERATOR).filter(|event| event.verb == "get").count(),
        requests: bench::count(used.of(OPERATOR)),
        processes: bench.replicas()?,
    })
}
