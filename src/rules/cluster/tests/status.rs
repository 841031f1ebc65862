//! Tests of `status.rs`.

use proptest::prelude::*;

use super::*;
use crate::rules::cluster::rollup::Failure;
use crate::rules::record::ForeignFields;
use crate::rules::testing::{argocd_health, version};

fn object() -> ClusterSync {
    let spec = serde_json::json!({"sourceNamespace": "platform", "configMapName": "ca", "namespaceSelector": {}});
    ClusterSync {
        name: "company-ca".into(),
        version: version(1, 10),
        generation: 3,
        created: 0,
        deleting: false,
        finalizer: true,
        others: ForeignFields::default(),
        spec: crate::rules::cluster::spec::read(spec),
        status: ClusterConfigMapSyncStatus::default(),
    }
}

fn failure(namespace: &str, needs_person: bool) -> Failure {
    let message = format!("{namespace}/ca exists and conflictPolicy is Fail");
    Failure { namespace: namespace.into(), reason: Reason::DestinationExists, message, needs_person }
}

fn counted(rollup: Rollup) -> Standing {
    Standing::Counted { source: version(2, 48_213), content_hash: "ab".repeat(32), source_namespace: None, rollup }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn ready(status: &ClusterConfigMapSyncStatus) -> (&str, &str) {
    let ready = status.conditions.iter().find(|it| it.type_ == "Ready").unwrap();
    (&ready.status, &ready.reason)
}

fn each_standing() -> Vec<Standing> {
    let failures = vec![failure("billing", true), failure("legacy", true)];
    vec![
        counted(Rollup { synced: 1_000, excluded: 4, ..Rollup::default() }),
        counted(Rollup { synced: 1, ..Rollup::default() }),
        counted(Rollup::default()),
        counted(Rollup { synced: 997, pending: 3, ..Rollup::default() }),
        counted(Rollup { synced: 998, failures, removing: 2, ..Rollup::default() }),
        Standing::SourceMissing(Rollup { synced: 3, pending: 1, ..Rollup::default() }),
        Standing::SelectionEmptied(1_000),
        Standing::KeyConflict("the keys a and b of the source would both be c in the copy".to_owned()),
        Standing::TooLarge { bytes: 8_388_608_000, rollup: Rollup { pending: 8_000, ..Rollup::default() } },
        Standing::Deleting { removing: 12, held: Some("legacy/ca".to_owned()) },
        Standing::InvalidSpec("namespaceSelector: In of the label team needs values".to_owned()),
    ]
}

#[test]
fn argo_cd_reads_each_of_them() {
    let read = |standing: &Standing| {
        let status = status(&object(), standing, at(9));
        let object = serde_json::json!({ "metadata": { "generation": 3 }, "spec": {}, "status": status });
        argocd_health("ClusterConfigMapSync", &object)
    };
    insta::assert_snapshot!(each_standing().iter().map(read).collect::<Vec<_>>().join("\n"));
}

#[test]
fn each_standing_says_how_it_is_and_what_to_do() {
    let standings = each_standing();
    let told = standings.iter().map(|standing| {
        let status = status(&object(), standing, at(9));
        let (is_ready, reason) = ready(&status);
        let stalled = status.conditions.iter().any(|it| it.type_ == "Stalled");
        let stalled = if stalled { ", Stalled" } else { "" };
        format!("{is_ready} {reason}{stalled}, {}, {}: {}", status.sync_status, status.copies, status.message)
    });
    insta::assert_snapshot!(told.collect::<Vec<_>>().join("\n"));
}

#[test]
fn a_status_that_says_nothing_new_is_the_one_before() {
    let mut object = object();
    let in_order = counted(Rollup { synced: 2, ..Rollup::default() });
    object.status = status(&object, &in_order, at(1));
    assert_eq!(object.status.last_sync_time, Some(Time(at(1))));
    assert_eq!(status(&object, &in_order, at(2)), object.status);
    // A condition turns, and only that one's time moves.
    let failing = counted(Rollup { synced: 1, failures: vec![failure("b", false)], ..Rollup::default() });
    let failed = status(&object, &failing, at(3));
    let since = |kind: &str| failed.conditions.iter().find(|it| it.type_ == kind).unwrap().last_transition_time.0;
    assert_eq!((since("Ready"), since("SourceAvailable")), (at(3), at(1)));
    assert_eq!(failed.last_sync_time, Some(Time(at(1))));
    object.status = failed;
    assert_eq!(status(&object, &failing, at(4)), object.status);
    assert!(!object.status.conditions.iter().any(|it| it.type_ == "Stalled"), "it is tried again");
}

/// What copies were to hold by another spec is not passed on to a status of this one: it would be taken for what this one wants.
#[test]
fn the_hash_of_what_copies_hold_is_passed_on_for_the_same_keys_alone() {
    let (plain, other) = ("ab".repeat(32), format!("{}-shaped", "cd".repeat(32)));
    let with = |keys: serde_json::Value, hash: &str, observed: i64| {
        let spec =
            serde_json::json!({"sourceNamespace": "p", "configMapName": "ca", "namespaces": ["a"], "keys": keys});
        let mut object = ClusterSync { spec: crate::rules::cluster::spec::read(spec), ..object() };
        (object.status.content_hash, object.status.observed_generation) = (hash.to_owned(), Some(observed));
        let kept = status(&object, &Standing::SelectionEmptied(1), at(1)).content_hash;
        assert_eq!(object.content_hash().unwrap_or_default(), kept);
        let conflict = status(&object, &Standing::KeyConflict("a and b".to_owned()), at(1));
        assert_eq!(conflict.content_hash, "", "when it is mended, the copies may have to be written");
        kept == hash
    };
    let (all, some) = (serde_json::json!(null), serde_json::json!({"include": ["a"]}));
    // The generation is 3.
    for (keys, hash, observed, kept) in [
        (&all, &plain, 3, true),
        (&all, &plain, 2, true),
        (&all, &other, 2, false),
        (&all, &other, 3, false),
        (&some, &other, 3, true),
        (&some, &other, 2, false),
        (&some, &plain, 2, false),
        (&some, &plain, 3, false),
    ] {
        assert_eq!(with(keys.clone(), hash, observed), kept, "{keys} {hash} {observed}");
    }
}

#[test]
fn the_failures_told_are_the_oldest_in_an_order_that_does_not_change() {
    let mut object = object();
    let late: Vec<Failure> = (0..12).map(|number| failure(&format!("late-{number:02}"), true)).collect();
    object.status =
        status(&object, &counted(Rollup { failures: vec![failure("z-first", true)], ..Rollup::default() }), at(1));
    let failures = late.into_iter().chain([failure("z-first", true)]).collect();
    let told = status(&object, &counted(Rollup { failures, ..Rollup::default() }), at(2));
    let names: Vec<&str> = told.failures.iter().map(|failure| &*failure.namespace).collect();
    assert_eq!((names.len(), names[0], names[1]), (10, "z-first", "late-00"));
    assert_eq!(told.namespaces.unwrap().failed, 13);
}

proptest! {
    #[test]
    fn selected_is_the_sum(synced in 0usize..2_000, pending in 0usize..2_000, failed in 0usize..20, more in 0usize..500) {
        let failures = (0..failed).map(|number| failure(&format!("n{number}"), true)).collect();
        let rollup = Rollup { synced, pending, failures, more_failures: more, ..Rollup::default() };
        let status = status(&object(), &counted(rollup), at(1));
        let counts = status.namespaces.unwrap();
        prop_assert_eq!(counts.selected, counts.synced + counts.pending + counts.failed);
        prop_assert_eq!(&status.copies, &format!("{}/{}", synced, counts.selected));
        let in_order = pending + failed + more == 0;
        prop_assert_eq!(ready(&status).0 == "True", in_order);
        prop_assert_eq!(status.sync_status == "Success", in_order);
    }

    #[test]
    fn numbers_read_back(value in 0usize..10_000_000) {
        prop_assert_eq!(number(value).replace(',', "").parse::<usize>().unwrap(), value);
    }
}
