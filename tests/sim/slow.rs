//! A server that is slow for all, a stream that is held back, and lists that take long: what must not thrash, and what
//! must be told as it is.

use std::time::Duration;

use configmapsync_operator::controller::health::Question;
use configmapsync_operator::rules::record::ObjectKey;
use http::Method;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

use crate::network::Admission;
use crate::replica::Start;
use crate::server::{Key, Resource, SYSTEM};
use crate::sim::Sim;
use crate::stage::{delete, put, settled, source, stage, sync, until_settled, with_number};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

// --- A8: everything is slow -------------------------------------------------------------------------------------------

/// Where a request spends its time.
#[derive(Clone, Copy, Debug)]
enum Spent {
    /// Before it is carried out; what has a shorter `?timeout=` is not.
    Before,
    /// Before its answer arrives.
    After,
    /// The same, and what a watch tells is as late.
    AfterAndLines,
}

/// Every request, of Leases too, is answered after three to six seconds for two minutes. Then all is fast again.
#[test]
fn a_server_that_is_slow_for_all_makes_no_thrashing_and_all_is_whole_soon_after() {
    let mut failed = Vec::new();
    for spent in [Spent::Before, Spent::After, Spent::AfterAndLines] {
        let mut sim = stage();
        source(&mut sim, "cm", 1);
        (0..20)
            .for_each(|number| sync(&mut sim, &format!("s{number}"), json!({"destinationName": format!("c{number}")})));
        (0..8).for_each(|_| _ = sim.start(Start::default()));
        until_settled(&mut sim, secs(120));
        sim.requests.clear();
        let mut random = StdRng::seed_from_u64(8);
        sim.network.scene = Some(Box::new(move |_, target, fate| {
            let time = Duration::from_millis(random.random_range(3_000..6_000));
            match spent {
                Spent::Before => fate.keep(time, target),
                Spent::After | Spent::AfterAndLines => fate.down += time,
            }
        }));
        sim.network.lag = matches!(spent, Spent::AfterAndLines).then_some(secs(3)..secs(6));
        for n in 0..12 {
            source(&mut sim, "cm", n + 2);
            sim.run_for(secs(10));
        }
        (sim.network.scene, sim.network.lag) = (None, None);
        let leases = sim.requests.iter().filter(|((_, resource, _), _)| *resource == Resource::Leases);
        let leases: usize = leases.map(|(_, count)| count).sum();
        let a_period = leases as f64 / 8.0 / 60.0;
        let took = sim.run_until(secs(300), |sim| settled(sim).is_ok());
        eprintln!(
            "{spent:?}: {a_period:.2} Lease requests a replica and period of 2 s; whole {took:?} after the slowness"
        );
        if a_period > 3.0 {
            failed.push(format!("{spent:?}: {a_period:.2} Lease requests a replica and period"));
        }
        if took.is_none_or(|took| took > secs(20)) {
            failed.push(format!("{spent:?}: whole after {took:?}: {:?}", settled(&sim)));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

// --- B3: content that was read long ago -------------------------------------------------------------------------------

/// A source is copied, its sync goes, it is edited, and `others` makes the replica forget that it was. A new sync of it
/// never gets the content from before.
fn a_source_edited_while_nobody_named_it(others: impl FnOnce(&mut Sim, usize)) {
    let mut sim = stage();
    source(&mut sim, "cm", 1);
    let replica = sim.start(Start::default());
    sync(&mut sim, "first", json!({"destinationName": "first"}));
    until_settled(&mut sim, secs(30));
    delete(&mut sim, &Key::sync("syncs", "first"));
    until_settled(&mut sim, secs(30));
    source(&mut sim, "cm", 2);
    sim.run_for(secs(1));
    others(&mut sim, replica);
    sync(&mut sim, "second", json!({"destinationName": "second"}));
    let copy = Key::map("dst", "second");
    let held = |sim: &Sim| sim.server.object(&copy).map(|copy| copy["data"]["n"].to_string());
    sim.run_until(secs(30), |sim| held(sim).is_some()).expect("a copy");
    assert_eq!(held(&sim).as_deref(), Some("\"2\""), "the content from before was copied");
    until_settled(&mut sim, secs(30));
}

/// Nothing is forgotten.
#[test]
fn a_source_edited_while_nobody_named_it_is_copied_as_it_is() {
    a_source_edited_while_nobody_named_it(|_, _| {});
}

/// Another ConfigMap takes the source's slot in the table of dropped versions, which is worked out as `controller/cache/dropped_versions.rs`
/// does it.
#[test]
fn a_source_whose_slot_was_taken_by_another_is_not_copied_from_memory() {
    let hasher = ahash::RandomState::with_seeds(2, 3, 5, 7);
    let slot = |name: &str| hasher.hash_one(ObjectKey::new("src", name)) as usize % (1 << 16);
    let other = (0u32..).map(|n| format!("o{n}")).find(|name| slot(name) == slot("cm")).unwrap();
    a_source_edited_while_nobody_named_it(|sim, _| {
        source(sim, &other, 1);
        sim.run_for(secs(1));
    });
}

/// So many ConfigMaps come by that no version that was dropped before is known any more.
#[test]
#[ignore = "300,000 ConfigMaps take a minute"]
fn a_source_that_the_table_of_dropped_versions_forgot_is_not_copied_from_memory() {
    a_source_edited_while_nobody_named_it(|sim, _| {
        for round in 0..300 {
            for n in 0..1_000 {
                source(sim, &format!("o{}", round * 1_000 + n), 1);
            }
            sim.run_for(secs(1));
        }
    });
}

// --- B6: a stream that is held back -----------------------------------------------------------------------------------

/// Something between keeps the sockets of ConfigMaps' watches and lets nothing through, while our own writes pass. A
/// replica says so within minutes, whether it writes nothing or a copy a minute.
#[test]
fn a_stream_that_is_held_back_is_told_though_our_own_writes_pass() {
    for writes in [false, true] {
        let mut sim = stage();
        source(&mut sim, "cm", 1);
        let replica = sim.start(Start::default());
        sync(&mut sim, "s", json!({}));
        until_settled(&mut sim, secs(30));
        let ready = |sim: &Sim| sim.replicas[&replica].probe(Question::Ready);
        ready(&sim).unwrap();
        sim.network.scene = Some(Box::new(|_, target, fate| {
            if target.resource == Resource::ConfigMaps && target.is_watch() {
                fate.lost_after = Some(secs(100));
            }
        }));
        sim.mute(replica, Resource::ConfigMaps);
        let begun = sim.now;
        let mut told = None;
        for second in 0..600 {
            if writes && second % 60 == 0 {
                sync(&mut sim, &format!("m{second}"), json!({"destinationName": format!("m{second}")}));
            }
            sim.run_for(secs(1));
            if let Err(why) = ready(&sim) {
                told.get_or_insert((sim.now - begun, why));
            }
        }
        eprintln!("a stream that is held back, with writes: {writes}: told {told:?}");
        let (after, why) = told.expect("for ten minutes nothing is told of a stream that says nothing");
        assert!(after <= secs(200) && why.contains("configmaps"), "after {after:?}: {why}");
    }
}

/// Nothing happens for ten minutes, and of one kind there is no object at all: bookmarks alone show that a watch lives.
#[test]
fn a_replica_at_rest_stays_ready() {
    let mut sim = stage();
    source(&mut sim, "cm", 1);
    let replica = sim.start(Start::default());
    sync(&mut sim, "s", json!({}));
    until_settled(&mut sim, secs(30));
    for _ in 0..60 {
        sim.run_for(secs(10));
        assert_eq!(sim.replicas[&replica].probe(Question::Ready), Ok(()), "at {:?}", sim.now);
    }
}

// --- B7: lists that take long -----------------------------------------------------------------------------------------

/// A session's Lease is deleted while each list takes 90 s: all is listed anew, and liveness does not fail meanwhile.
#[test]
fn a_list_that_takes_long_is_no_reason_to_restart() {
    let mut sim = stage();
    source(&mut sim, "cm", 1);
    let replica = sim.start(Start::default());
    sync(&mut sim, "s", json!({}));
    until_settled(&mut sim, secs(30));
    sim.network.scene = Some(Box::new(|sent, target, fate| {
        if sent.request.method() == Method::GET && target.name.is_none() && !target.is_watch() {
            fate.work += secs(90);
        }
    }));
    let sessions: Vec<Key> = sim.server.objects(Resource::Leases).map(|(key, _)| key.clone()).collect();
    let session = sessions.into_iter().find(|key| key.name.starts_with("configmapsync-session-")).unwrap();
    assert_eq!(session.namespace, SYSTEM);
    sim.requests.clear();
    delete(&mut sim, &session);
    let mut failed = None;
    for second in 0..400 {
        sim.run_for(secs(1));
        if let Err(why) = sim.replicas[&replica].probe(Question::Live) {
            failed.get_or_insert((second, why));
        }
    }
    let lists = sim.requests.get(&(Method::GET, Resource::ConfigMaps, false)).copied().unwrap_or(0);
    eprintln!("{lists} lists of ConfigMaps; liveness failed: {failed:?}");
    assert!(failed.is_none(), "liveness failed: {failed:?}");
    sim.network.scene = None;
    until_settled(&mut sim, secs(300));
}

// --- one object, when its last copy is written -------------------------------------------------------------------------

/// The status tells of what is pending, and just after that the last copy is written: the status says so at once.
#[test]
fn the_last_copy_is_told_of_at_once_after_a_status_of_what_was_pending() {
    let mut sim = stage();
    source(&mut sim, "cm", 1);
    let spec = json!({"sourceNamespace": "src", "configMapName": "cm", "destinationName": "copy", "namespaces": ["dst", "syncs"]});
    let object = Key::new(Resource::ClusterSyncs, "", "all");
    put(&mut sim, Method::POST, &object.collection(), json!({"metadata": {"name": "all"}, "spec": spec}));
    sim.start(Start::default());
    until_settled(&mut sim, secs(60));
    sim.run_for(secs(10));
    let copies = ["dst", "syncs"].map(|namespace| Key::map(namespace, "copy"));
    // Where a write was late, the next one may take longer.
    sim.network.admission.insert("dst".to_owned(), Admission::takes(secs(3)));
    source(&mut sim, "cm", 2);
    sim.run_until(secs(6), |sim| with_number(sim, &copies, 2) == 2).expect("both copies are written");
    sim.run_for(secs(10));
    // What is pending is told of after five seconds.
    sim.network.admission.insert("dst".to_owned(), Admission::takes(Duration::from_millis(5_300)));
    source(&mut sim, "cm", 3);
    let pending =
        |sim: &Sim| sim.server.object(&object).is_some_and(|object| object["status"]["namespaces"]["pending"] == 1);
    sim.run_until(secs(6), |sim| pending(sim)).expect("a status tells of what is pending");
    sim.run_until(secs(6), |sim| with_number(sim, &copies, 3) == 2).expect("the last copy is written");
    assert!(pending(&sim), "it was told of before it was written");
    let took = sim.run_until(Duration::from_millis(300), |sim| !pending(sim)).expect("it is told of within 0.3 s");
    eprintln!("the last copy is told of after {took:?}");
    until_settled(&mut sim, secs(60));
}
