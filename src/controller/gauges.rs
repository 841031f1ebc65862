//! Gauges, set every few seconds.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::api::clusterconfigmapsync::NamespaceCounts;
use crate::controller::cache::Cache;
use crate::controller::queue::Queue;
use crate::kubernetes::client::WatchActivity;
use crate::rules::object::status::CONDITIONS;
use crate::rules::shard::Shard;
use crate::telemetry::instruments as i;

/// How often gauges are set.
const MEASURE: Duration = Duration::from_secs(2);
/// How often syncs are counted, and names tidied.
const COUNT: Duration = Duration::from_secs(30);

/// Sets gauges, and now and then counts.
pub(super) async fn measure(cache: Arc<Cache>, queue: Arc<Queue>, activity: WatchActivity) {
    let mut counted: Option<Instant> = None;
    loop {
        queue.measure();
        for name in ["configmapsyncs", "clusterconfigmapsyncs", "configmaps", "namespaces"] {
            metrics::gauge!(i::WATCH_AGE_SECONDS, "stream" => name).set(activity.age(name).as_secs_f64());
        }
        if counted.is_none_or(|at| at.elapsed() > COUNT) {
            counted = Some(Instant::now());
            count(&cache, &queue);
            count_cluster_syncs(&cache, &queue);
            cache.tidy();
        }
        tokio::time::sleep(MEASURE).await;
    }
}

fn count(cache: &Cache, queue: &Queue) {
    let (mut all, mut stalled, mut not_ready) = (0u32, 0u32, 0u32);
    let held = queue.held();
    cache.each_sync(|sync| {
        if !held[Shard::of(sync.uid()).index()] {
            return;
        }
        all += 1;
        let is_true = |at: usize| sync.status.conditions[at].is_some_and(|condition| condition.is_true);
        if is_true(3) {
            stalled += 1;
        } else if !is_true(2) {
            not_ready += 1;
        }
    });
    metrics::gauge!(i::SYNCS).set(f64::from(all));
    metrics::gauge!(i::SYNCS_NOT_READY, "reason" => "Stalled").set(f64::from(stalled));
    metrics::gauge!(i::SYNCS_NOT_READY, "reason" => "NotReady").set(f64::from(not_ready));
}

fn count_cluster_syncs(cache: &Cache, queue: &Queue) {
    let held = queue.held();
    let (mut all, mut stalled, mut not_ready) = (0u32, 0u32, 0u32);
    let mut copies = NamespaceCounts::default();
    for object in cache.cluster_uids().into_iter().filter_map(|uid| cache.cluster_sync(uid)) {
        if !held[Shard::of(object.uid()).index()] {
            continue;
        }
        all += 1;
        let is_true = |kind: &str| object.status.conditions.iter().any(|it| it.type_ == kind && it.status == "True");
        if is_true(CONDITIONS[3]) {
            stalled += 1;
        } else if !is_true(CONDITIONS[2]) {
            not_ready += 1;
        }
        let counts = object.status.namespaces.unwrap_or_default();
        copies.synced += counts.synced;
        copies.pending += counts.pending;
        copies.failed += counts.failed;
        copies.removing += counts.removing;
    }
    metrics::gauge!(i::CLUSTER_SYNCS).set(f64::from(all));
    metrics::gauge!(i::CLUSTER_SYNCS_NOT_READY, "reason" => "Stalled").set(f64::from(stalled));
    metrics::gauge!(i::CLUSTER_SYNCS_NOT_READY, "reason" => "NotReady").set(f64::from(not_ready));
    let NamespaceCounts { synced, pending, failed, removing, .. } = copies;
    for (state, count) in [("synced", synced), ("pending", pending), ("failed", failed), ("removing", removing)] {
        metrics::gauge!(i::CLUSTER_COPIES, "state" => state).set(f64::from(count));
    }
}
