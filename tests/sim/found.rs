//! What simulations found, each as a scene of its own.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::laws::{self, uid_of};
use crate::replica::Start;
use crate::server::{Key, Resource};
use crate::sim::{Sim, WINDOW};
use crate::stage::{delete, patch, put, source, stage, sync, until_settled};
use configmapsync_operator::rules::shard::Shard;

const SOON: Duration = Duration::from_secs(20);

/// The stream of syncs stands still, so that statuses conflict again and again; meanwhile the source changes, and after some
/// time the sync.
fn edit_while_statuses_conflict(sim: &mut Sim, replica: usize, after: Duration, spec: Value) {
    sim.network.blind(replica, Some(Resource::Syncs));
    patch(sim, &Key::sync("syncs", "s"), json!({"metadata": {"labels": {"l": "1"}}}));
    source(sim, "cm", 2);
    sim.run_for(after);
    patch(sim, &Key::sync("syncs", "s"), json!({"spec": spec}));
    sim.network.blind(replica, None);
}

/// A copy that was left for another sync to take over goes when that one no longer wants the place.
#[test]
fn a_copy_left_for_another_sync_goes_with_it() {
    let mut sim = stage();
    source(&mut sim, "cm", 1);
    sim.start(Start::default());
    sync(&mut sim, "first", json!({"destinationName": "place"}));
    until_settled(&mut sim, SOON);
    sync(&mut sim, "second", json!({"configMapName": "missing", "destinationName": "place"}));
    until_settled(&mut sim, SOON);
    patch(&mut sim, &Key::sync("syncs", "first"), json!({"spec": {"destinationName": "elsewhere"}}));
    until_settled(&mut sim, SOON);
    delete(&mut sim, &Key::sync("syncs", "second"));
    sim.run_for(SOON);
    until_settled(&mut sim, SOON);
    assert!(sim.server.object(&Key::map("dst", "place")).is_none());
}

/// A write that was not answered in time may still be at the server, which counts the time from when it came. The shard
/// is not given up before it must have ended.
#[test]
fn a_shard_is_not_given_up_while_a_write_without_an_answer_may_take_effect() {
    let mut sim = stage();
    sim.laws.assumptions_hold = true;
    source(&mut sim, "cm", 1);
    sim.start(Start::default());
    sync(&mut sim, "s", json!({}));
    until_settled(&mut sim, SOON);
    sim.start(Start::default());
    until_settled(&mut sim, SOON);
    sim.hold = Some(|sent| sent.request.method() == Method::PUT && sent.request.uri().path().contains("/dst/"));
    source(&mut sim, "cm", 2);
    sim.run_until(SOON, |sim| sim.held() == 1).expect("the copy is written");
    let (sent, holder) = (sim.now, sim.held_by());
    sim.replicas[&holder].terminate();
    // What the gate allows for: the request's own time, and the margin for the network and the clocks.
    let over = sent + Duration::from_millis(4_800);
    let shard = sim.server.object(&Key::sync("syncs", "s")).and_then(|sync| uid_of(sync)).map(Shard::of).unwrap();
    let holder = format!("r{holder}");
    while sim.now < over && sim.laws.holder(shard.index()) == Some(holder.as_str()) {
        sim.run_for(WINDOW);
    }
    sim.let_one_go();
    sim.run_for(Duration::from_millis(50));
    sim.fine().unwrap();
    until_settled(&mut sim, SOON);
}

/// A copy that is to follow its source is deleted when the source was asked for twice, ten seconds apart; that its status
/// still says Ready meanwhile does not make it forget that it asked once.
#[test]
fn a_copy_follows_its_source_when_it_was_asked_for_twice() {
    for moves in [false, true] {
        let mut sim = stage();
        source(&mut sim, "cm", 1);
        sim.start(Start::default());
        sync(&mut sim, "s", json!({"sourceMissingPolicy": "Delete"}));
        until_settled(&mut sim, SOON);
        sim.requests.clear();
        delete(&mut sim, &Key::map("src", "cm"));
        sim.run_for(Duration::from_secs(1));
        if moves {
            patch(&mut sim, &Key::sync("syncs", "s"), json!({"spec": {"destinationName": "away"}}));
        }
        until_settled(&mut sim, SOON);
        assert!(sim.server.object(&Key::map("dst", "cm")).is_none());
        // Of the source, twice; and of what may stand at the new place.
        let reads = sim.requests[&(Method::GET, Resource::ConfigMaps, false)];
        assert_eq!(reads, if moves { 3 } else { 2 });
    }
}

/// Somebody who deletes a copy whenever it appears is a rival like one who changes it: named, and not fought without end.
#[test]
fn a_copy_that_somebody_keeps_deleting_is_not_made_anew_without_end() {
    let mut sim = stage();
    source(&mut sim, "cm", 1);
    sim.start(Start::default());
    sync(&mut sim, "s", json!({}));
    until_settled(&mut sim, SOON);
    sim.requests.clear();
    for _ in 0..600 {
        sim.run_for(Duration::from_millis(50));
        sim.server.request(Method::DELETE, &Key::map("dst", "cm").path(), &json!(null));
    }
    let made = sim.requests[&(Method::POST, Resource::ConfigMaps, false)];
    assert!(made <= 12, "it was made {made} times in 30 s");
    let told = sim.server.object(&Key::sync("syncs", "s")).map(|sync| sync["status"]["message"].to_string());
    assert!(told.as_ref().is_some_and(|told| told.contains("again and again")), "{told:?}");
    // Left in peace, it is there again.
    until_settled(&mut sim, Duration::from_secs(120));
}

/// A source that was asked for twice in vain, and comes back: the answer to the second request is no answer any more.
#[test]
fn a_source_that_was_long_missing_is_copied_when_it_comes_back() {
    for (policy, missing) in [("Delete", Duration::from_secs(30)), ("Keep", Duration::from_secs(400))] {
        let mut sim = stage();
        source(&mut sim, "cm", 1);
        sim.start(Start::default());
        sync(&mut sim, "s", json!({"sourceMissingPolicy": policy}));
        until_settled(&mut sim, SOON);
        delete(&mut sim, &Key::map("src", "cm"));
        sim.run_for(missing);
        source(&mut sim, "cm", 2);
        until_settled(&mut sim, SOON);
    }
}

/// A place that is taken is looked at again, however many conflicts a sync has had before.
#[test]
fn a_place_that_is_taken_is_looked_at_however_many_conflicts_there_were() {
    let mut sim = stage();
    source(&mut sim, "cm", 1);
    sim.start(Start::default());
    sync(&mut sim, "s", json!({}));
    until_settled(&mut sim, SOON);
    let replica = *sim.replicas.keys().next().unwrap();
    // What is put at the new place concerned nobody when it came.
    let other = json!({"metadata": {"name": "other"}, "data": {"k": "theirs"}});
    put(&mut sim, Method::POST, "/api/v1/namespaces/dst/configmaps", other);
    edit_while_statuses_conflict(&mut sim, replica, Duration::from_secs(50), json!({"destinationName": "other"}));
    until_settled(&mut sim, Duration::from_secs(60));
}

/// That a source is gone is not forgotten when the only sync that names it is suspended and goes on.
#[test]
fn a_source_that_went_stays_gone_when_its_sync_is_suspended_and_goes_on() {
    let mut sim = stage();
    source(&mut sim, "cm", 1);
    sim.start(Start::default());
    sync(&mut sim, "s", json!({}));
    until_settled(&mut sim, SOON);
    for suspend in [true, false] {
        if !suspend {
            delete(&mut sim, &Key::map("src", "cm"));
            sim.run_for(Duration::from_secs(1));
        }
        patch(&mut sim, &Key::sync("syncs", "s"), json!({"spec": {"suspend": suspend}}));
        sim.run_for(Duration::from_secs(1));
    }
    until_settled(&mut sim, SOON);
}

/// A source that no sync names any more, and that goes while the stream is broken, is not copied from memory.
#[test]
fn a_source_that_went_while_nobody_named_it_and_the_stream_was_broken_is_not_copied() {
    let mut sim = stage();
    source(&mut sim, "cm", 1);
    source(&mut sim, "other", 1);
    let replica = sim.start(Start::default());
    sync(&mut sim, "s", json!({}));
    until_settled(&mut sim, SOON);
    patch(&mut sim, &Key::sync("syncs", "s"), json!({"spec": {"configMapName": "other"}}));
    until_settled(&mut sim, SOON);
    sim.cut(replica, Some(Resource::ConfigMaps));
    delete(&mut sim, &Key::map("src", "cm"));
    sim.run_for(Duration::from_secs(1));
    sim.compact();
    sim.mend(replica, true);
    sim.run_for(SOON);
    sync(&mut sim, "late", json!({"destinationName": "late"}));
    until_settled(&mut sim, SOON);
    assert!(sim.server.object(&Key::map("dst", "late")).is_none());
}

/// The same, when the sync comes before the watch works again: once the list shows that the source is gone, who copied
/// it from memory looks again.
#[test]
fn a_source_that_turns_out_to_be_gone_wakes_who_copied_it_from_memory() {
    let mut sim = stage();
    source(&mut sim, "cm", 1);
    source(&mut sim, "other", 1);
    let replica = sim.start(Start::default());
    sync(&mut sim, "s", json!({}));
    until_settled(&mut sim, SOON);
    patch(&mut sim, &Key::sync("syncs", "s"), json!({"spec": {"configMapName": "other"}}));
    until_settled(&mut sim, SOON);
    sim.network.blind(replica, Some(Resource::ConfigMaps));
    delete(&mut sim, &Key::map("src", "cm"));
    sync(&mut sim, "early", json!({"destinationName": "early"}));
    sim.run_for(Duration::from_secs(5));
    sim.compact();
    sim.network.blind(replica, None);
    sim.break_watches(Some(replica), false);
    sim.compact();
    until_settled(&mut sim, Duration::from_secs(80));
}

/// A copy that went before the stream could show it: the list that does not show it wakes who wrote it.
#[test]
fn a_copy_that_the_stream_never_showed_is_missed_by_the_list() {
    let mut sim = stage();
    source(&mut sim, "cm", 1);
    let replica = sim.start(Start::default());
    sim.run_for(SOON);
    sim.network.blind(replica, Some(Resource::ConfigMaps));
    sync(&mut sim, "s", json!({}));
    sim.run_until(SOON, |sim| laws::in_order_everywhere(&sim.server, &sim.laws.protected).is_ok()).expect("a copy");
    delete(&mut sim, &Key::map("dst", "cm"));
    sim.run_for(Duration::from_secs(1));
    sim.compact();
    sim.network.blind(replica, None);
    sim.break_watches(Some(replica), false);
    until_settled(&mut sim, Duration::from_secs(100));
}

/// What was found of a source is not taken for the word of another, which the sync names before its status is written.
#[test]
fn a_sync_that_names_another_source_before_its_status_is_written_does_not_go_by_the_first() {
    let mut sim = stage();
    source(&mut sim, "cm", 1);
    let replica = sim.start(Start::default());
    sync(&mut sim, "s", json!({"destinationName": "copy"}));
    until_settled(&mut sim, SOON);
    let spec = json!({"configMapName": "never-there"});
    edit_while_statuses_conflict(&mut sim, replica, Duration::from_secs(2), spec);
    until_settled(&mut sim, Duration::from_secs(100));
}
