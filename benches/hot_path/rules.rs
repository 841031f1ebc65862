//! The pure rules: the plan for one sync, and the assignment of shards.

use std::hint::black_box;

use configmapsync_operator::kubernetes::decode::SyncObject;
use configmapsync_operator::leadership::assignment::assign;
use configmapsync_operator::rules::copy::facts::{
    ConsentFacts, CopyFacts, CopyState, Destination, NamespaceState, Owner, Reported, ShapeFacts, Source,
};
use configmapsync_operator::rules::copy::step::{CopyStep, Until};
use configmapsync_operator::rules::object::facts::ObjectFacts;
use configmapsync_operator::rules::object::plan;
use configmapsync_operator::rules::object::status;
use configmapsync_operator::rules::object::step::Step;
use configmapsync_operator::rules::record::{ConfigMapMeta, ObservedStatus, OwnerMark, Sync};
use configmapsync_operator::rules::shard::SHARDS;
use configmapsync_operator::rules::uid::Version;
use criterion::{BenchmarkId, Criterion};
use serde_json::json;

use super::server;

/// What one look at a sync costs.
pub fn plan(c: &mut Criterion) {
    let mut group = c.benchmark_group("plan");
    let (before, after) = (version(1, 10), version(1, 11));
    let in_hand = |version| Source::InHand { version, hash: [7; 32], immutable: false, uncached: false };
    let mut sync = server::sync(0);
    let copy = copy_of(&sync, before.rv);

    let facts = facts(&sync, in_hand(before), CopyState::Absent);
    assert_eq!(plan::next(&facts), Step::Copy(CopyStep::Create));
    group.bench_function("a new sync", |b| b.iter(|| plan::next(black_box(&facts))));

    let mut written = self::facts(&sync, in_hand(before), CopyState::Cached(&copy));
    written.copy.iter_mut().for_each(|it| it.verified = Some((before, copy.version)));
    let Step::Report(_, text) = plan::next(&written) else { panic!("{:?}", plan::next(&written)) };
    group.bench_function("its copy is written: the status", |b| b.iter(|| plan::next(black_box(&written))));

    sync.status = read_back(&sync, &text);
    let rest = self::facts(&sync, Source::Observed(before.rv), CopyState::Cached(&copy));
    assert_eq!(plan::next(&rest), Step::Rest(Until::Change));
    group.bench_function("all is in order", |b| b.iter(|| plan::next(black_box(&rest))));

    let changed = self::facts(&sync, in_hand(after), CopyState::Cached(&copy));
    assert!(matches!(plan::next(&changed), Step::Copy(CopyStep::Replace { .. })));
    group.bench_function("its source has changed", |b| b.iter(|| plan::next(black_box(&changed))));
    group.finish();
}

/// What each replica works out when one comes.
pub fn assignment(c: &mut Criterion) {
    let mut group = c.benchmark_group("assignment of 64 shards");
    for replicas in [4usize, 16, 70] {
        let names: Vec<String> = (0..=replicas).map(|number| format!("replica-{number:02}")).collect();
        let holders: Vec<Option<String>> = (0..SHARDS).map(|shard| Some(names[shard % replicas].clone())).collect();
        group.bench_function(BenchmarkId::new("one more replica than", replicas), |b| {
            b.iter(|| assign(black_box(&names), black_box(&holders)));
        });
    }
    group.finish();
}

/// What a replica knows of this status when it comes back.
fn read_back(sync: &Sync, text: &status::StatusContent<'_>) -> ObservedStatus {
    let metadata = json!({"name": sync.key.name.as_str(), "namespace": sync.key.namespace.as_str(), "uid": sync.uid().to_string(),
        "resourceVersion": "2"});
    let object = json!({"metadata": metadata, "status": status::object(text, sync, 0)}).to_string();
    let read = serde_json::from_str::<SyncObject>(&object).ok().and_then(|object| object.record);
    read.map(|sync| sync.status).unwrap_or_default()
}

fn version(number: u64, rv: u64) -> Version {
    Version { uid: server::uid((1 << 44) + number), rv }
}

fn copy_of(sync: &Sync, source_rv: u64) -> ConfigMapMeta {
    let mark = OwnerMark { sync: sync.key.clone(), uid: Some(sync.uid()), source_rv, at: Some(server::uid(1 << 45)) };
    ConfigMapMeta { mark: Some(mark), ..super::seen(&server::source(), version(2, 20)).meta }
}

fn facts<'a>(sync: &'a Sync, source: Source, copy: CopyState<'a>) -> ObjectFacts<'a> {
    let namespace = NamespaceState::Live(server::uid(1 << 45));
    let copy = sync.spec.as_ref().ok().map(|spec| CopyFacts {
        owner: Owner::of(sync),
        spec,
        reported: Reported::by(sync),
        asked: false,
        source,
        missing_twice: false,
        recheck: false,
        destination: Destination {
            key: &spec.destination,
            namespace,
            copy,
            wanted_by_another: false,
            wanted_before: true,
            forbidden: false,
        },
        rival: None,
        cycle: None,
        verified: None,
        changed: None,
        contested: None,
        shape: ShapeFacts::default(),
        consent: ConsentFacts::default(),
    });
    ObjectFacts { sync, copy, orphaned_copies: Vec::new(), take_over_waited: false }
}
