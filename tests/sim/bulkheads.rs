//! One tenant's trouble is not everybody's: what waits for a namespace, a source or an object that is slow, contested or
//! away keeps nobody else waiting.

use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};

use crate::counts::Counts;
use crate::network::{Admission, Fate};
use crate::replica::Start;
use crate::server::{Answer, Key, Resource, Target};
use crate::sim::Sim;
use crate::stage::{delete, fan_out, patch, places, source, stage, sync, sync_for, until_settled, with_number};
use crate::wire::Sent;

/// Healthy copies are written within this time, whatever others wait for.
const HEALTHY: Duration = Duration::from_secs(5);
/// A crowd has been written for the first time after this time.
const BEGUN: Duration = Duration::from_secs(300);

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// One replica, one source, and a copy in each of `healthy` and `slow` namespaces, all in order.
fn crowd(healthy: usize, slow: usize) -> (Sim, Vec<Key>, Vec<Key>) {
    let mut sim = stage();
    source(&mut sim, "cm", 1);
    // The slow ones are spread among the healthy ones by their names, and stand before them in no order.
    let (healthy, slow) = (places("well-", "cm", healthy), places("slow-", "cm", slow));
    fan_out(&mut sim, "cm", &slow);
    fan_out(&mut sim, "cm", &healthy);
    sim.start(Start::default());
    until_settled(&mut sim, BEGUN);
    (sim, healthy, slow)
}

fn slow_down(sim: &mut Sim, places: &[Key], admission: &Admission) {
    for place in places {
        sim.network.admission.insert(place.namespace.clone(), admission.clone());
    }
}

/// How long it takes until all these places hold this number.
#[track_caller]
fn until_written(sim: &mut Sim, places: &[Key], n: u64, within: Duration) -> Duration {
    let took = sim.run_until(within, |sim| with_number(sim, places, n) == places.len());
    let done = with_number(sim, places, n);
    took.unwrap_or_else(|| panic!("after {within:?} {done} of {} copies hold {n}", places.len()))
}

/// What the scene does to writes of ConfigMaps alone.
fn to_writes(mut does: impl FnMut(&Sent, &Target, &mut Fate) + 'static) -> crate::network::Scene {
    Box::new(move |sent, target, fate| {
        if sent.request.method() != Method::GET && target.resource == Resource::ConfigMaps {
            does(sent, target, fate);
        }
    })
}

// --- A1: admission that does not answer, or late ------------------------------------------------------------------

/// Ten of thirty namespaces never answer a write: the other twenty copies have the change at once, and the next one too,
/// when the silence has lasted.
#[test]
fn namespaces_that_never_answer_keep_no_healthy_copy_waiting() {
    let (mut sim, healthy, slow) = crowd(20, 10);
    slow_down(&mut sim, &slow, &Admission::never_answers());
    source(&mut sim, "cm", 2);
    let first = until_written(&mut sim, &healthy, 2, HEALTHY);
    sim.run_for(secs(60));
    source(&mut sim, "cm", 3);
    let second = until_written(&mut sim, &healthy, 3, HEALTHY);
    eprintln!("20 healthy copies beside 10 silent namespaces: {first:?}, later {second:?}");
    sim.network.admission.clear();
    until_settled(&mut sim, secs(660));
}

/// The same beside several copies in each silent namespace.
#[test]
fn many_copies_in_namespaces_that_never_answer_keep_no_healthy_copy_waiting() {
    let (mut sim, healthy, slow) = crowd(20, 10);
    for number in 0..5 {
        fan_out(&mut sim, "cm", &places("slow-", &format!("more-{number}"), slow.len()));
    }
    until_settled(&mut sim, BEGUN);
    slow_down(&mut sim, &slow, &Admission::never_answers());
    for n in 2..5 {
        source(&mut sim, "cm", n);
        let took = until_written(&mut sim, &healthy, n, HEALTHY);
        eprintln!("20 healthy copies beside 60 in 10 silent namespaces, change {n}: {took:?}");
        sim.run_for(secs(7));
    }
}

/// The same for another source, which has no copy in a silent namespace.
#[test]
fn namespaces_that_never_answer_keep_no_other_source_waiting() {
    let (mut sim, _, slow) = crowd(20, 10);
    source(&mut sim, "other", 1);
    let others = places("well-", "other", 20);
    fan_out(&mut sim, "other", &others);
    until_settled(&mut sim, BEGUN);
    slow_down(&mut sim, &slow, &Admission::never_answers());
    source(&mut sim, "cm", 2);
    sim.run_for(secs(10));
    source(&mut sim, "other", 2);
    let took = until_written(&mut sim, &others, 2, HEALTHY);
    eprintln!("20 copies of another source beside 10 silent namespaces: {took:?}");
}

/// The same when copies go.
#[test]
fn namespaces_that_never_answer_a_deletion_keep_no_healthy_copy_waiting() {
    let (mut sim, healthy, slow) = crowd(20, 10);
    slow_down(&mut sim, &slow, &Admission { verbs: vec![Method::DELETE], ..Admission::never_answers() });
    slow.iter().for_each(|place| delete(&mut sim, &sync_for(place)));
    sim.run_for(secs(10));
    healthy.iter().for_each(|place| delete(&mut sim, &sync_for(place)));
    let gone = |sim: &Sim| healthy.iter().filter(|place| sim.server.object(&sync_for(place)).is_none()).count();
    let took = sim.run_until(HEALTHY, |sim| gone(sim) == healthy.len());
    let took = took.unwrap_or_else(|| panic!("{} of 20 healthy syncs are gone after {HEALTHY:?}", gone(&sim)));
    eprintln!("20 healthy syncs deleted beside 10 silent namespaces: {took:?}");
    sim.network.admission.clear();
    until_settled(&mut sim, secs(660));
}

/// Namespaces whose writes take three seconds each.
#[test]
fn namespaces_whose_writes_take_three_seconds_keep_no_healthy_copy_waiting() {
    let (mut sim, healthy, slow) = crowd(20, 10);
    slow_down(&mut sim, &slow, &Admission::takes(secs(3)));
    for n in 2..5 {
        source(&mut sim, "cm", n);
        let took = until_written(&mut sim, &healthy, n, HEALTHY);
        eprintln!("20 healthy copies beside 10 namespaces that take 3 s: {took:?}");
    }
    until_written(&mut sim, &slow, 4, secs(60));
    until_settled(&mut sim, secs(60));
}

/// Statuses of all syncs of a namespace take too long for a while: what was put off has not been tried, so soon after that while all
/// of them are written.
#[test]
fn statuses_that_were_put_off_are_written_soon_after_their_namespace_answers() {
    let (mut sim, _, _) = crowd(60, 0);
    sim.network.scene = Some(Box::new(|sent, target, fate| {
        if target.status && sent.request.method() == Method::PUT {
            fate.work += secs(20);
        }
    }));
    source(&mut sim, "cm", 2);
    sim.run_for(secs(120));
    sim.network.scene = None;
    let begun = sim.now;
    until_settled(&mut sim, secs(90));
    eprintln!("60 statuses that were put off: written {:?} after their namespace answers", sim.now - begun);
}

// --- A2: admission that takes longer than a write may ---------------------------------------------------------------

/// Admission keeps each write for ten seconds and lets it through: the copy arrives, made anew or changed.
#[test]
fn a_copy_arrives_though_admission_keeps_each_write_for_ten_seconds() {
    for exists in [true, false] {
        let mut sim = stage();
        source(&mut sim, "cm", 1);
        sim.start(Start::default());
        if exists {
            sync(&mut sim, "s", json!({}));
        }
        sim.run_for(secs(20));
        sim.network.admission.insert("dst".to_owned(), Admission::takes(secs(10)));
        if exists {
            source(&mut sim, "cm", 2);
        } else {
            sync(&mut sim, "s", json!({}));
        }
        let n = if exists { 2 } else { 1 };
        let took = until_written(&mut sim, &[Key::map("dst", "cm")], n, secs(60));
        eprintln!("a write that admission keeps for 10 s, there before: {exists}: {took:?}");
        until_settled(&mut sim, secs(60));
    }
}

/// How the replica goes whose write admission keeps.
#[derive(Clone, Copy, Debug)]
enum Goes {
    Killed,
    HandsOver,
    Frozen,
}

/// Its name, and what it does.
type Happening = (&'static str, fn(&mut Sim));

/// The replica goes while admission keeps its write, and something happens meanwhile: in the end all is in order.
#[test]
fn a_write_that_admission_keeps_while_its_replica_goes_does_no_harm() {
    let meanwhile: [Happening; 4] = [
        ("nothing", |_| {}),
        ("the source changes", |sim| source(sim, "cm", 3)),
        ("the sync goes", |sim| delete(sim, &Key::sync("syncs", "s"))),
        ("the sync moves", |sim| {
            patch(sim, &Key::sync("syncs", "s"), json!({"spec": {"destinationName": "moved"}}));
        }),
    ];
    let (mut failed, mut late) = (Vec::new(), 0);
    // With the short lease the write arrives when the successor is at work.
    for (exists, lease) in [(true, 10), (false, 10), (true, 4), (false, 4)] {
        let start = Start { lease: secs(lease), ..Start::default() };
        for goes in [Goes::Killed, Goes::HandsOver, Goes::Frozen] {
            for (name, happens) in meanwhile {
                let mut sim = stage();
                source(&mut sim, "cm", 1);
                let first = sim.start(start);
                if exists {
                    sync(&mut sim, "s", json!({}));
                }
                sim.run_for(secs(20));
                sim.network.admission.insert("dst".to_owned(), Admission::takes(secs(10)));
                sim.requests.clear();
                source(&mut sim, "cm", 2);
                if !exists {
                    sync(&mut sim, "s", json!({}));
                }
                let method = if exists { Method::PUT } else { Method::POST };
                let asked = |sim: &mut Sim| sim.requests.contains_key(&(method.clone(), Resource::ConfigMaps, false));
                sim.run_until(secs(5), asked).expect("a write is sent");
                sim.start(start);
                sim.run_for(secs(1));
                match goes {
                    Goes::Killed => sim.kill(first),
                    Goes::HandsOver => sim.replicas[&first].terminate(),
                    Goes::Frozen => sim.replicas.get_mut(&first).unwrap().frozen_until = Some(sim.now + secs(40)),
                }
                happens(&mut sim);
                sim.run_for(secs(50));
                // What was kept has been carried out by now. ForeignFields may still be tried.
                let mut why = String::new();
                let settled =
                    sim.run_until(secs(60), |sim| crate::stage::settled(sim).map_err(|not| why = not).is_ok());
                let still = settled.map(|_| sim.run_for(secs(30))).and_then(|()| crate::stage::settled(&sim).err());
                late += sim.laws.stale;
                if settled.is_none() || still.is_some() {
                    let why: String = still.unwrap_or(why).chars().take(200).collect();
                    failed.push(format!("there before: {exists}, lease {lease} s, {goes:?}, {name}: {why}"));
                }
            }
        }
    }
    eprintln!("48 scenes: {late} late writes of former holders took effect");
    assert!(failed.is_empty(), "{} of 48 scenes: {failed:#?}", failed.len());
}

// --- A3: a source that is slow to read --------------------------------------------------------------------------------

/// Reads of one source take nine seconds. Who waits for them keeps no copy of another source waiting.
#[test]
fn a_source_that_is_slow_to_read_keeps_no_other_source_waiting() {
    let mut sim = stage();
    ["cm", "other"].iter().for_each(|name| source(&mut sim, name, 1));
    let (of_slow, of_other) = (places("n-", "cm", 100), places("n-", "other", 100));
    fan_out(&mut sim, "cm", &of_slow);
    fan_out(&mut sim, "other", &of_other);
    sim.start(Start::default());
    until_settled(&mut sim, BEGUN);
    sim.network.scene = Some(Box::new(|sent, target, fate| {
        if sent.request.method() == Method::GET && target.key() == Key::map("src", "cm") {
            fate.keep(secs(9), target);
        }
    }));
    for n in 2..4 {
        ["cm", "other"].iter().for_each(|name| source(&mut sim, name, n));
        let took = until_written(&mut sim, &of_other, n, HEALTHY);
        eprintln!("100 copies of another source beside one whose GET takes 9 s: {took:?}");
        until_settled(&mut sim, BEGUN);
    }
}

// --- A4: a server that stands still -----------------------------------------------------------------------------------

/// The server stands still for two minutes under a fan-out of 300 copies. While the gate is closed no key is looked at
/// again; when it opens, all go on.
#[test]
fn nothing_turns_while_the_gate_is_closed() {
    let (mut sim, copies, _) = crowd(300, 0);
    let thaw = sim.now + secs(120);
    source(&mut sim, "cm", 2);
    sim.run_for(Duration::from_millis(100));
    // The connections break when it wakes up.
    sim.network.scene = Some(Box::new(move |sent, _, fate| fate.lost_after = Some(thaw.saturating_sub(sent.at))));
    sim.run_for(secs(20));
    let written = with_number(&sim, &copies, 2);
    assert!(written < 300, "all copies were written before the server stood still");
    let counts = Counts::default();
    counts.during(|| sim.run_for(thaw - sim.now));
    sim.network.scene = None;
    let looks = counts.looks();
    eprintln!("{looks} looks in 100 s at {} copies that wait; none can be written", 300 - written);
    until_written(&mut sim, &copies, 2, secs(30));
    until_settled(&mut sim, secs(60));
    assert!(looks <= 300, "{looks} looks in 100 s while the gate was closed");
}

/// A fan-out to eight namespaces is under way when all connections break, and for three seconds no new one is made. That is no
/// namespace's doing: soon after the server is reached again, every copy is written. A write is late after 0.3 s.
#[test]
fn connections_that_break_in_a_fan_out_set_no_namespace_apart() {
    for after in [Duration::from_millis(290), secs(1)] {
        let mut sim = stage();
        source(&mut sim, "cm", 1);
        let mut copies = Vec::new();
        for number in 0..20 {
            let more = places("well-", &format!("more-{number}"), 8);
            fan_out(&mut sim, "cm", &more);
            copies.extend(more);
        }
        // Heartbeats follow each other closely, so some are answered while writes are in flight.
        sim.start(Start { lease: secs(4), ..Start::default() });
        until_settled(&mut sim, BEGUN);
        let (breaks, soon) = (sim.now + after, Duration::from_millis(5));
        sim.network.scene = Some(Box::new(move |sent, target, fate| {
            let write = sent.request.method() == Method::PUT && target.resource == Resource::ConfigMaps;
            if write || sent.at > breaks {
                fate.lost_after = Some(breaks.saturating_sub(sent.at).max(soon));
            }
        }));
        source(&mut sim, "cm", 2);
        sim.run_for(secs(3));
        sim.network.scene = None;
        assert_eq!(with_number(&sim, &copies, 2), 0, "written before the connections broke");
        let took = until_written(&mut sim, &copies, 2, secs(6));
        eprintln!("{} copies after connections broke, {after:?} after the change: {took:?}", copies.len());
        until_settled(&mut sim, secs(60));
    }
}

// --- A5: a copy that somebody touches ---------------------------------------------------------------------------------

/// Somebody changes a label of one copy five times a second. The finalizers of 200 syncs that are deleted meanwhile are
/// off as soon as otherwise.
#[test]
fn a_foreign_touch_of_one_copy_holds_no_finalizer_back() {
    let mut took = Vec::new();
    for touched in [false, true] {
        let (mut sim, copies, _) = crowd(201, 0);
        let (one, others) = copies.split_first().unwrap();
        others.iter().for_each(|place| delete(&mut sim, &sync_for(place)));
        let begun = sim.now;
        let left = |sim: &Sim| others.iter().filter(|place| sim.server.object(&sync_for(place)).is_some()).count();
        let mut n = 0;
        while left(&sim) > 0 && sim.now - begun < secs(60) {
            if touched {
                n += 1;
                patch(&mut sim, one, json!({"metadata": {"labels": {"somebody": n.to_string()}}}));
            }
            sim.run_for(Duration::from_millis(200));
        }
        took.push(sim.now - begun);
    }
    eprintln!("200 finalizers: {:?} in peace, {:?} while somebody touches a copy", took[0], took[1]);
    assert!(took[0] <= secs(10) && took[1] <= secs(10), "{took:?}");
}

// --- A6: turns of those that are tried again --------------------------------------------------------------------------

/// Refuses each place's first write with 429.
fn refuse_once(seconds: u32) -> crate::network::Scene {
    let mut refused = std::collections::BTreeSet::new();
    to_writes(move |_, target, fate| {
        if refused.insert(target.key()) {
            fate.refused = Some(Answer::too_many(seconds));
        }
    })
}

/// Two sources change together, and each write is refused once: they are served in turn.
#[test]
fn two_sources_whose_writes_are_refused_once_are_served_in_turn() {
    let mut sim = stage();
    let names = ["cm", "other"];
    names.iter().for_each(|name| source(&mut sim, name, 1));
    let of: Vec<Vec<Key>> = names.iter().map(|name| places("n-", name, 300)).collect();
    names.iter().zip(&of).for_each(|(name, places)| fan_out(&mut sim, name, places));
    sim.start(Start::default());
    until_settled(&mut sim, BEGUN);
    sim.network.scene = Some(refuse_once(1));
    names.iter().for_each(|name| source(&mut sim, name, 2));
    let done = |sim: &Sim| [with_number(sim, &of[0], 2), with_number(sim, &of[1], 2)];
    sim.run_until(secs(300), |sim| done(sim).iter().sum::<usize>() >= 300).expect("half of the copies");
    let half = done(&sim);
    eprintln!("when half of all copies have the new content, of each source: {half:?}");
    assert!(half.iter().all(|done| *done >= 75), "{half:?}");
    until_settled(&mut sim, BEGUN);
}

/// One source's 300 writes are refused, and then those of another one, each until a moment of its own: when the second is
/// to be tried again, the first has waited for six seconds. From then on they are served in turn.
#[test]
fn a_source_that_was_refused_later_does_not_wait_for_all_that_were_refused_before() {
    let mut sim = stage();
    let names = ["cm", "other"];
    names.iter().for_each(|name| source(&mut sim, name, 1));
    let of: Vec<Vec<Key>> = names.iter().map(|name| places("n-", name, 300)).collect();
    names.iter().zip(&of).for_each(|(name, places)| fan_out(&mut sim, name, places));
    sim.start(Start::default());
    until_settled(&mut sim, BEGUN);
    let begun = sim.now;
    let due = move |target: &Target| begun + secs(if target.name.as_deref() == Some("cm") { 40 } else { 46 });
    sim.network.scene = Some(to_writes(move |sent, target, fate| {
        let wait = due(target).saturating_sub(sent.at).as_secs();
        if sent.at < begun + secs(38) {
            fate.refused = Some(Answer::too_many(u32::try_from(wait).unwrap()));
        } else {
            fate.keep(secs(1), target);
        }
    }));
    source(&mut sim, "cm", 2);
    sim.run_for(secs(15));
    source(&mut sim, "other", 2);
    // A wait is drawn out by a tenth at the most; by then all are to be tried again.
    sim.run_for(begun + secs(51) - sim.now);
    let done = |sim: &Sim| [with_number(sim, &of[0], 2), with_number(sim, &of[1], 2)];
    let before = done(&sim);
    assert!(before[0] <= 200, "{before:?}: most were written before the others were to be tried again");
    sim.run_until(secs(300), |sim| done(sim).iter().sum::<usize>() >= before[0] + before[1] + 60).expect("60 more");
    let after = done(&sim);
    let since = [after[0] - before[0], after[1] - before[1]];
    eprintln!("when all were to be tried again {before:?} were written; of the next 60, of each source: {since:?}");
    assert!(since.iter().all(|done| *done >= 15), "{since:?} since {before:?}");
    sim.network.scene = None;
    until_settled(&mut sim, BEGUN);
}

// --- A7: many syncs that want one place -------------------------------------------------------------------------------

/// So many syncs with one destination are created, and then half of them deleted. Returns looks, keys added to the
/// queue, and the real time.
fn with_one_destination(count: usize) -> (u64, u64, Duration) {
    let mut sim = stage();
    source(&mut sim, "cm", 1);
    sim.start(Start::default());
    sim.run_for(secs(20));
    let counts = Counts::default();
    let begun = Instant::now();
    counts.during(|| {
        for number in 0..count {
            sync(&mut sim, &format!("s{number}"), json!({}));
        }
        until_settled(&mut sim, secs(3_600));
        for number in 0..count / 2 {
            delete(&mut sim, &Key::sync("syncs", &format!("s{number}")));
        }
        until_settled(&mut sim, secs(3_600));
    });
    (counts.looks(), counts.of("workqueue_adds_total"), begun.elapsed())
}

/// Each is looked at once when it comes, and once more for each round in which the place changed hands: its owner lets go, and
/// goes. However many they are, that is a few looks each.
#[test]
fn the_work_of_syncs_with_one_destination_is_linear() {
    let few = with_one_destination(500);
    let many = with_one_destination(2_000);
    eprintln!("500 and 2,000 syncs with one destination (looks, adds, time): {few:?}, {many:?}");
    for (count, (looks, adds, _)) in [(500, few), (2_000, many)] {
        assert!(looks <= 3 * count, "{looks} looks at {count} syncs");
        assert!(adds <= 3 * count, "{adds} keys of {count} syncs");
    }
}

// --- C4: what somebody wrote on an immutable copy ---------------------------------------------------------------------

/// An immutable copy with somebody's label is made anew, and the creation is refused once: the label is there in the end.
#[test]
fn a_label_outlives_an_immutable_copy_that_is_made_anew_though_the_creation_is_refused_once() {
    let mut sim = stage();
    source(&mut sim, "cm", 1);
    patch(&mut sim, &Key::map("src", "cm"), json!({"immutable": true}));
    sim.start(Start::default());
    sync(&mut sim, "s", json!({}));
    until_settled(&mut sim, secs(20));
    let copy = Key::map("dst", "cm");
    patch(&mut sim, &copy, json!({"metadata": {"labels": {"team": "blue"}}}));
    until_settled(&mut sim, secs(20));
    let mut refused = false;
    sim.network.scene = Some(to_writes(move |sent, target, fate| {
        if sent.request.method() == Method::POST && target.namespace == "dst" && !refused {
            refused = true;
            fate.refused = Some(Answer::too_many(1));
        }
    }));
    sim.requests.clear();
    delete(&mut sim, &Key::map("src", "cm"));
    let body: Value = json!({"metadata": {"name": "cm"}, "data": {"from": "cm", "n": "2"}, "immutable": true});
    crate::stage::put(&mut sim, Method::POST, "/api/v1/namespaces/src/configmaps", body);
    let took = until_written(&mut sim, std::slice::from_ref(&copy), 2, secs(60));
    assert_eq!(sim.requests[&(Method::POST, Resource::ConfigMaps, false)], 2, "refused once, and created");
    let labels = sim.server.object(&copy).map(|copy| copy["metadata"]["labels"].clone()).unwrap();
    eprintln!("made anew after {took:?} with the labels {labels}");
    assert_eq!(labels["team"], "blue", "{labels}");
    until_settled(&mut sim, secs(20));
}
