//! The reconcile path: a source changes, and its copies are written through the real queue, client and writer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use configmapsync_operator::controller::cache::{Cache, Told};
use configmapsync_operator::controller::ingest::source_of;
use configmapsync_operator::controller::queue::{Cause, Outcome};
use configmapsync_operator::controller::reconcile::drive::work;
use configmapsync_operator::controller::reconcile::reconciler::Context;
use configmapsync_operator::controller::reconcile::sources::Sources;
use configmapsync_operator::kubernetes::bulkheads::Bulkheads;
use configmapsync_operator::kubernetes::events::Events;
use configmapsync_operator::kubernetes::limiter::{Limiter, Turn};
use configmapsync_operator::kubernetes::rate::Rate;
use configmapsync_operator::kubernetes::reader::Reader;
use configmapsync_operator::kubernetes::writer::{Gate, Writer};
use configmapsync_operator::rules::key::Key;
use configmapsync_operator::rules::record::Namespace;
use configmapsync_operator::rules::shard::Shard;
use configmapsync_operator::rules::uid::Version;
use criterion::{BenchmarkId, Criterion, Throughput};
use tokio::task::JoinSet;

use super::server::{self, Counts};

/// A runtime as the operator's.
pub fn runtime() -> tokio::runtime::Runtime {
    let built = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    built.unwrap_or_else(|error| panic!("no runtime: {error}"))
}

struct Open;

impl Gate for Open {
    fn may_write(&self, _: Shard) -> bool {
        true
    }
    fn request_timeout(&self) -> Duration {
        Duration::from_secs(5)
    }
    fn surely_over(&self) -> Duration {
        Duration::from_secs(6)
    }
}

/// `n` new syncs of one source, from the event to the last status: 1 GET, n copies, n statuses and nothing else.
pub fn fan_out(c: &mut Criterion) {
    let runtime = runtime();
    let mut group = c.benchmark_group("reconcile");
    group.sample_size(10);
    for copies in [100u64, 1_000] {
        group.throughput(Throughput::Elements(copies));
        group.bench_function(BenchmarkId::new("new syncs, in-process server", copies), |b| {
            b.iter_custom(|times| (0..times).map(|_| runtime.block_on(once(copies))).sum());
        });
    }
    group.finish();
}

/// Prints how much is allocated for a new sync; the server's share, which is in the same process, is measured by itself.
pub fn allocations(_: &mut Criterion) {
    const COPIES: u64 = 1_000;
    let runtime = runtime();
    runtime.block_on(once(COPIES)); // what is allocated once is allocated
    let region = stats_alloc::Region::new(super::ALLOCATOR);
    runtime.block_on(once(COPIES));
    let all = region.change();
    let region = stats_alloc::Region::new(super::ALLOCATOR);
    runtime.block_on(server::alone(COPIES));
    let servers = region.change();
    let each = |all: usize, servers: usize| all.saturating_sub(servers) as f64 / COPIES as f64;
    println!(
        "reconcile: {:.0} allocations and {:.1} KiB for a new sync, from its event to its status, two requests and their \
         answers included",
        each(all.allocations, servers.allocations),
        each(all.bytes_allocated, servers.bytes_allocated) / 1024.0
    );
}

async fn once(copies: u64) -> Duration {
    let counts = Arc::new(Counts::default());
    let tools = Arc::new(tools(&counts, copies));
    let queue = tools.queue.clone();
    Shard::all().for_each(|shard| queue.open(shard));
    let start = Instant::now();
    for number in 0..copies {
        queue.push(Key::Object(server::uid(number)), Some(server::source()), &Cause::default());
    }
    let mut tasks = JoinSet::new();
    let mut resting = 0;
    while resting < copies {
        while let Some(outcome) = tasks.try_join_next() {
            resting += u64::from(matches!(outcome, Ok(Outcome::Rest(_))));
        }
        let permit = tools.limiter.acquire().await;
        let Ok(job) = tokio::time::timeout(Duration::from_millis(1), queue.pop()).await else { continue };
        let (tools, queue) = (tools.clone(), queue.clone());
        let turn = Turn::new(tools.limiter.clone(), permit);
        tasks.spawn(async move {
            let key = job.key.clone();
            let (key_state, fanout, outcome) = work(&tools, job, turn).await;
            let source = source_of(&tools.cache, &key);
            queue.done(key, key_state, outcome, source, fanout);
            outcome
        });
    }
    let took = start.elapsed();
    assert_eq!(counts.take(), [1, copies, 0, copies, 0], "reads, copies, finalizers, statuses, others");
    took
}

fn tools(counts: &Arc<Counts>, copies: u64) -> Context {
    let cache = Cache::default();
    for number in 0..copies {
        let sync = server::sync(number);
        let namespace = Namespace { uid: server::uid((1 << 50) + number), terminating: false, refuses: false };
        if let Some(place) = sync.destination() {
            cache.namespace_applied(&place.namespace, namespace, &mut Vec::new());
        }
        cache.sync_applied(sync, &mut Vec::new());
    }
    let version = Version { uid: server::uid(1 << 40), rv: 1 };
    let source = super::seen(&server::source(), version);
    cache.configmap_applied(source, Told::ChangedHere, &mut Vec::new(), &mut Vec::new());
    let client = server::client(counts.clone());
    let limiter = Limiter::new(32);
    let bulkheads = Bulkheads::new(tokio::sync::mpsc::unbounded_channel().0);
    let reader = Reader::new(client.clone());
    Context {
        cache: Arc::new(cache),
        sources: Sources::new(reader.clone()),
        reader,
        writer: Writer::new(client.clone(), Arc::new(Open), limiter.clone(), bulkheads, Rate::new(None), false),
        queue: Arc::default(),
        limiter,
        events: Events::new(client, "bench".to_owned()).0,
        max_fanout_bytes: None,
    }
}
