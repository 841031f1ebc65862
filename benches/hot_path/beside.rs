//! What was chosen, beside what it was chosen over.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::hint::black_box;
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use configmapsync_operator::rules::shard::fnv1a;
use configmapsync_operator::rules::uid::Uid;
use criterion::Criterion;
use dashmap::DashMap;
use sha2::{Digest as _, Sha256};

use super::server;

const KEYS: u64 = 100_000;

/// Lookups while another thread writes: sharded locks with ahash, as the cache has them, and one lock with the standard hash.
pub fn maps(c: &mut Criterion) {
    let mut group = c.benchmark_group("a map of 100,000, read while it is written");
    let keys: Vec<Uid> = (0..KEYS).map(server::uid).collect();
    let sharded: DashMap<Uid, u64, ahash::RandomState> = keys.iter().copied().zip(0..).collect();
    while_written(
        &keys,
        |key| {
            sharded.insert(*key, 1);
        },
        || {
            let mut keys = keys.iter().cycle();
            group.bench_function("dashmap with ahash", |b| {
                b.iter(|| keys.next().and_then(|key| sharded.get(black_box(key)).map(|value| *value)));
            });
        },
    );
    let single: RwLock<HashMap<Uid, u64>> = RwLock::new(keys.iter().copied().zip(0..).collect());
    let insert = |key: &Uid| {
        single.write().into_iter().for_each(|mut map| {
            map.insert(*key, 1);
        });
    };
    while_written(&keys, insert, || {
        let mut keys = keys.iter().cycle();
        group.bench_function("std, one RwLock", |b| {
            b.iter(|| keys.next().and_then(|key| single.read().ok()?.get(black_box(key)).copied()));
        });
    });
    group.finish();
}

fn while_written(keys: &[Uid], write: impl Fn(&Uid) + Sync, measure: impl FnOnce()) {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut keys = keys.iter().cycle();
            while !over.load(Ordering::Relaxed) {
                keys.next().into_iter().for_each(&write);
            }
        });
        measure();
        over.store(true, Ordering::Relaxed);
    });
}

/// A shard's hash is for ever and the same everywhere; these could be that, or are faster and are not.
pub fn hashes(c: &mut Criterion) {
    let mut group = c.benchmark_group("hash of a UID's text");
    let text = server::uid(7).to_string();
    let (ahash, std) = (ahash::RandomState::new(), std::hash::RandomState::new());
    group.bench_function("FNV-1a, by which shards go", |b| b.iter(|| fnv1a(black_box(text.as_bytes()))));
    group.bench_function("ahash", |b| b.iter(|| ahash.hash_one(black_box(&text))));
    group.bench_function("std", |b| b.iter(|| std.hash_one(black_box(&text))));
    group.bench_function("SHA-256", |b| b.iter(|| Sha256::digest(black_box(text.as_bytes()))));
    group.finish();
}
