//! Criterion benchmarks of what runs for every event and every copy.
//!
//! `cargo bench` runs them all. They measure; nothing fails because a machine is slow. What is asserted is what the
//! reconcile path sends: that number must not depend on the machine.

#![allow(missing_docs)] // criterion's macro writes a public function without one

mod beside;
mod events;
mod many;
mod reconcile;
mod rules;
mod server;

use std::hint::black_box;

use configmapsync_operator::controller::cache::{Cache, Told};
use configmapsync_operator::controller::queue::{Cause, Lane, Outcome, Queue};
use configmapsync_operator::kubernetes::decode::ConfigMapRecord;
use configmapsync_operator::rules::copy::content::Content;
use configmapsync_operator::rules::key::Key;
use configmapsync_operator::rules::record::{ConfigMapMeta, ObjectKey};
use configmapsync_operator::rules::shard::{Shard, fnv1a};
use configmapsync_operator::rules::uid::{Uid, Version};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// Counts, for [`reconcile::allocations`].
#[global_allocator]
static ALLOCATOR: &stats_alloc::StatsAlloc<std::alloc::System> = &stats_alloc::INSTRUMENTED_SYSTEM;

fn shard_hash(c: &mut Criterion) {
    let uid = server::uid(7);
    let text = uid.to_string();
    let mut group = c.benchmark_group("shard");
    group.bench_function("of a UID", |b| b.iter(|| Shard::of(black_box(uid))));
    group.bench_function("FNV-1a of its text", |b| b.iter(|| fnv1a(black_box(text.as_bytes()))));
    group.bench_function("parse a UID", |b| b.iter(|| Uid::parse(black_box(&text))));
    group.finish();
}

fn content_hash(c: &mut Criterion) {
    let mut group = c.benchmark_group("content hash");
    for (name, size) in [("1 KiB", 1 << 10), ("100 KiB", 100 << 10), ("1 MiB", 1 << 20)] {
        let text = serde_json::json!({"data": {"config.yaml": "x".repeat(size)}}).to_string();
        let content: Content<'_> = serde_json::from_str(&text).unwrap_or_default();
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_with_input(BenchmarkId::from_parameter(name), &content, |b, content| b.iter(|| content.hash()));
    }
    group.finish();
}

/// A cache with `syncs` copies of one source.
fn cache(syncs: u64) -> Cache {
    let cache = Cache::default();
    let mut affected = Vec::new();
    for number in 0..syncs {
        cache.sync_applied(server::sync(number), &mut affected);
    }
    cache
}

fn index(c: &mut Criterion) {
    let mut group = c.benchmark_group("index");
    for syncs in [1_000u64, 10_000] {
        let cache = cache(syncs);
        let source = server::source();
        let mut rv = 1_000_000;
        group.throughput(Throughput::Elements(syncs));
        group.bench_function(BenchmarkId::new("a source changes: who copies it", syncs), |b| {
            let (mut affected, mut others) = (Vec::new(), Vec::new());
            b.iter(|| {
                rv += 1;
                affected.clear();
                let version = Version { uid: server::uid(1 << 40), rv };
                cache.configmap_applied(seen(&source, version), Told::ChangedHere, &mut affected, &mut others);
                assert_eq!(affected.len() as u64, syncs);
            });
        });
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new("a ConfigMap that concerns nobody", syncs), |b| {
            let place = ObjectKey::new("somewhere", "else");
            b.iter(|| {
                rv += 1;
                let version = Version { uid: server::uid(1 << 41), rv };
                cache.configmap_applied(seen(&place, version), Told::ChangedHere, &mut Vec::new(), &mut Vec::new());
            });
        });
    }
    group.finish();
}

fn seen(key: &ObjectKey, version: Version) -> ConfigMapRecord {
    let meta = ConfigMapMeta {
        version,
        mark: None,
        adopted: false,
        foreign_metadata: false,
        controlled: false,
        deleting: false,
        protected: false,
        shaped: false,
        marks_name_it: false,
        seed_adopted: false,
        sharing: None,
    };
    ConfigMapRecord { key: key.clone(), meta, content: None }
}

fn queue(c: &mut Criterion) {
    const KEYS: u64 = 1_000;
    let runtime = reconcile::runtime();
    let source = Some(server::source());
    let mut group = c.benchmark_group("queue");
    group.throughput(Throughput::Elements(KEYS));
    group.bench_function("push, pop, done", |b| {
        let queue = Queue::default();
        Shard::all().for_each(|shard| queue.open(shard));
        b.iter(|| {
            runtime.block_on(async {
                for number in 0..KEYS {
                    queue.push(Key::Object(server::uid(number)), source.clone(), &Cause::default());
                }
                for _ in 0..KEYS {
                    let job = queue.pop().await;
                    assert_eq!(job.lane, Lane::Data);
                    queue.done(job.key, job.key_state, Outcome::Rest(None), None, None);
                }
            });
        });
    });
    group.finish();
}

criterion_group!(
    benches,
    shard_hash,
    content_hash,
    index,
    queue,
    rules::plan,
    many::many,
    rules::assignment,
    beside::maps,
    beside::hashes,
    events::decode,
    reconcile::fan_out,
    reconcile::allocations
);
criterion_main!(benches);
