//! No stale write survives. A write of a former holder reaches the server when a successor is at work: for each kind of
//! write, in each order with the successor's own, and with everything that may have happened meanwhile. Each is refused,
//! or is seen and repaired within five seconds.
//!
//! The first holder is frozen between its gate and the server: its write lies in the network, past all timeouts. Then,
//! in other scenes, its gate is held open by force and it goes on writing beside its successor.

use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use configmapsync_operator::rules::shard::Shard;
use configmapsync_operator::rules::uid::Uid;
use http::Method;
use rand::seq::IndexedRandom as _;
use serde_json::{Value, json};

use crate::replica::Start;
use crate::seeds::in_all_threads;
use crate::server::{Key, Resource};
use crate::sim::Sim;
use crate::stage::{patch, put, settled, source, stage, sync, until_settled};
use crate::wire::Sent;

/// A late write is refused, or repaired within this time; and the successor's own work takes as long as it takes, at the
/// most where it asks twice for a source that is missing, ten seconds apart.
const ASKED_TWICE: Duration = Duration::from_secs(11);
/// A late write is refused, or repaired within this time.
const REPAIRED: Duration = Duration::from_secs(5);
/// Where two fought over a copy, the repair is held back for a while.
const CONTESTED: Duration = Duration::from_secs(60);
/// Short, so that thousands of take-overs are soon played.
const LEASE: Duration = Duration::from_secs(2);
const SOON: Duration = Duration::from_secs(20);

/// A write, what leads to it, and how it is known on its way.
struct Write {
    name: &'static str,
    /// Fields of the sync.
    spec: Value,
    /// What is there before the sync is created.
    before: fn(&mut Sim),
    /// What leads to the write, once all is in order; `None`: that the sync is created.
    cause: Option<fn(&mut Sim)>,
    is: fn(&Sent) -> bool,
}

fn is(sent: &Sent, method: &Method, part: &str) -> bool {
    sent.request.method() == *method && sent.request.uri().path().contains(part)
}

const S: &str = "/configmapsyncs/s";

fn key() -> Key {
    Key::sync("syncs", "s")
}

fn try_delete(sim: &mut Sim, key: &Key) {
    sim.server.request(Method::DELETE, &key.path(), &Value::Null);
}

fn writes() -> Vec<Write> {
    let nothing: fn(&mut Sim) = |_| {};
    let delete_sync: fn(&mut Sim) = |sim| try_delete(sim, &key());
    let write = |name, is| Write { name, spec: json!({}), before: nothing, cause: None, is };
    vec![
        write("create", |sent| is(sent, &Method::POST, "dst/configmaps")),
        write("first status", |sent| is(sent, &Method::PUT, "/status")),
        write("add finalizer", |sent| is(sent, &Method::PATCH, S)),
        Write {
            before: |sim| {
                drop(put(
                    sim,
                    Method::POST,
                    "/api/v1/namespaces/dst/configmaps",
                    json!({"metadata": {"name": "cm"}, "data": {"k": "theirs"}}),
                ))
            },
            ..write("adopt", |sent| is(sent, &Method::PUT, "dst/configmaps"))
        },
        Write {
            cause: Some(|sim| source(sim, "cm", 2)),
            ..write("update", |sent| is(sent, &Method::PUT, "dst/configmaps"))
        },
        Write {
            cause: Some(|sim| patch(sim, &Key::map("dst", "cm"), json!({"data": {"n": null, "k": "tampered"}}))),
            ..write("repair", |sent| is(sent, &Method::PUT, "dst/configmaps"))
        },
        Write {
            cause: Some(|sim| source(sim, "cm", 2)),
            ..write("status of an update", |sent| is(sent, &Method::PUT, "/status"))
        },
        Write {
            cause: Some(|sim| try_delete(sim, &Key::map("dst", "cm"))),
            ..write("create again", |sent| is(sent, &Method::POST, "dst/configmaps"))
        },
        Write { cause: Some(delete_sync), ..write("delete", |sent| is(sent, &Method::DELETE, "dst/configmaps")) },
        Write { cause: Some(delete_sync), ..write("remove finalizer", |sent| is(sent, &Method::PATCH, S)) },
        Write {
            spec: json!({"deletionPolicy": "Orphan"}),
            cause: Some(delete_sync),
            ..write("take marks off", |sent| is(sent, &Method::PUT, "dst/configmaps"))
        },
        Write {
            cause: Some(|sim| patch(sim, &key(), json!({"spec": {"destinationName": "moved"}}))),
            ..write("create at a new place", |sent| is(sent, &Method::POST, "dst/configmaps"))
        },
        Write {
            cause: Some(|sim| patch(sim, &key(), json!({"spec": {"destinationName": "moved"}}))),
            ..write("delete at the former place", |sent| is(sent, &Method::DELETE, "dst/configmaps"))
        },
        Write {
            spec: json!({"sourceMissingPolicy": "Delete"}),
            cause: Some(|sim| try_delete(sim, &Key::map("src", "cm"))),
            ..write("delete for want of a source", |sent| is(sent, &Method::DELETE, "dst/configmaps"))
        },
        Write {
            before: |sim| patch(sim, &Key::map("src", "cm"), json!({"immutable": true})),
            cause: Some(|sim| {
                try_delete(sim, &Key::map("src", "cm"));
                source(sim, "cm", 2);
            }),
            ..write("delete to make anew", |sent| is(sent, &Method::DELETE, "dst/configmaps"))
        },
    ]
}

/// Its name, and what it does.
type Happening = (&'static str, fn(&mut Sim));

/// What happens while nobody holds the shard, or when the successor does.
fn meanwhile() -> Vec<Happening> {
    vec![
        ("nothing", |_| {}),
        ("the source changed", |sim| source(sim, "cm", 3)),
        ("the source went", |sim| try_delete(sim, &Key::map("src", "cm"))),
        ("the sync went", |sim| try_delete(sim, &key())),
        ("the sync was made anew", |sim| {
            try_delete(sim, &key());
            sim.server.request(Method::PATCH, &key().path(), &json!({"metadata": {"finalizers": null}}));
            sync(sim, "s", json!({}));
        }),
        ("the copy went", |sim| try_delete(sim, &Key::map("dst", "cm"))),
        ("the copy was touched", |sim| {
            let touched = json!({"data": {"n": null, "k": "touched"}});
            sim.server.request(Method::PATCH, &Key::map("dst", "cm").path(), &touched);
        }),
        ("the sync moved", |sim| {
            sim.server.request(Method::PATCH, &key().path(), &json!({"spec": {"destinationName": "away"}}));
        }),
        ("the namespace was made anew", |sim| {
            try_delete(sim, &Key::new(Resource::Namespaces, "", "dst"));
            sim.server.empty_namespaces();
            sim.server.request(Method::POST, "/api/v1/namespaces", &json!({"metadata": {"name": "dst"}}));
        }),
    ]
}

/// When the late write arrives.
#[derive(Clone, Copy, Debug)]
enum Order {
    /// As soon as the successor has taken the shard, before it writes.
    First,
    /// Between the successor's decision and the arrival of its write.
    Between,
    /// When the successor has written, and all is in order.
    Last,
}

/// How a case went.
enum Went {
    /// The late write took effect.
    Landed,
    /// It was refused.
    Refused,
}

fn lease(sim: &mut Sim) -> usize {
    sim.start(Start { lease: LEASE, ..Start::default() })
}

fn case(write: &Write, happens: fn(&mut Sim), order: Order) -> Result<Went, String> {
    let mut sim = stage();
    source(&mut sim, "cm", 1);
    (write.before)(&mut sim);
    // The successor is there from the beginning, as it is in a fleet.
    let fleet = [lease(&mut sim), lease(&mut sim)];
    sim.run_for(LEASE * 3);
    if write.cause.is_none() {
        sim.hold = Some(write.is);
    }
    sync(&mut sim, "s", write.spec.clone());
    if let Some(cause) = write.cause {
        until_settled(&mut sim, SOON);
        sim.hold = Some(write.is);
        cause(&mut sim);
    }
    sim.run_until(SOON, |sim| sim.held() == 1).ok_or("the write was never sent")?;
    let forever = sim.now + Duration::from_secs(3_600);
    let first = sim.held_by();
    let second = fleet[usize::from(first == fleet[0])];
    sim.replicas.get_mut(&first).unwrap().frozen_until = Some(forever);
    let shard = sim.server.object(&key()).and_then(|sync| Uid::parse(sync["metadata"]["uid"].as_str()?)).map(Shard::of);
    let shard = shard.ok_or("there is no sync")?.index();
    let name = format!("r{second}");
    match order {
        Order::First => {
            sim.run_for(LEASE / 2);
            happens(&mut sim);
            let taken = sim.run_until(SOON, |sim| sim.laws.holder(shard) == Some(name.as_str()));
            taken.ok_or("the shard was not taken over")?;
        }
        Order::Between => {
            happens(&mut sim);
            sim.hold = Some(|sent| {
                let about_sync = sent.request.uri().path().contains(S) || sent.request.uri().path().contains("/dst/");
                sent.request.method() != Method::GET && about_sync
            });
            sim.run_until(SOON, |sim| sim.held() == 2);
        }
        Order::Last => {
            sim.run_until(SOON, |sim| sim.laws.holder(shard) == Some(name.as_str()));
            happens(&mut sim);
            until_settled(&mut sim, SOON);
        }
    }
    sim.hold = None;
    let before = sim.laws.stale;
    sim.let_one_go();
    sim.run_for(Duration::from_millis(20));
    while sim.let_one_go() {}
    let went = if sim.laws.stale > before { Went::Landed } else { Went::Refused };
    let asks_twice = write.spec["sourceMissingPolicy"] == "Delete" && !matches!(order, Order::Last);
    let within = if asks_twice { REPAIRED + ASKED_TWICE } else { REPAIRED };
    let in_time = sim.run_until(within, |sim| settled(sim).is_ok());
    if in_time.is_none() {
        return Err(settled(&sim).err().unwrap_or_default());
    }
    // The first one wakes up, and learns that it is over.
    sim.replicas.get_mut(&first).unwrap().frozen_until = Some(sim.now);
    until_settled(&mut sim, SOON);
    sim.run_for(LEASE);
    settled(&sim)?;
    Ok(went)
}

#[test]
fn a_late_write_is_refused_or_repaired_in_every_order() {
    let (writes, meanwhile) = (writes(), meanwhile());
    let orders = [Order::First, Order::Between, Order::Last];
    let cases = writes.len() * meanwhile.len() * orders.len();
    let landed: Vec<AtomicUsize> = writes.iter().map(|_| AtomicUsize::default()).collect();
    let failed = Mutex::new(Vec::new());
    in_all_threads(0..cases, |number| {
        let (write, order) = (number % writes.len(), orders[number / writes.len() % orders.len()]);
        let (happens_name, happens) = meanwhile[number / writes.len() / orders.len()];
        let went = std::panic::catch_unwind(AssertUnwindSafe(|| case(&writes[write], happens, order)))
            .unwrap_or_else(|panic| Err(panic.downcast_ref::<String>().cloned().unwrap_or_default()));
        match went {
            Ok(Went::Landed) => drop(landed[write].fetch_add(1, Ordering::SeqCst)),
            Ok(Went::Refused) => {}
            Err(why) => {
                failed.lock().unwrap().push(format!("{}, {happens_name}, {order:?}: {why}", writes[write].name));
            }
        }
    });
    for (write, landed) in writes.iter().zip(&landed) {
        eprintln!("{}: {landed:?} of {} late writes landed and were repaired", write.name, cases / writes.len());
    }
    let landed: usize = landed.iter().map(|landed| landed.load(Ordering::SeqCst)).sum();
    eprintln!("{cases} cases: {landed} late writes landed and were repaired, the others were refused");
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} of {cases} cases: {failed:#?}", failed.len());
}

/// A replica whose Leases nobody can tell it of any more, and whose gate is held open by force, goes on writing beside
/// its successor: with streams like everyone's, or with one that stands still.
#[test]
fn a_former_holder_that_goes_on_writing_does_no_harm() {
    for round in 0..24 {
        let mut sim = stage();
        (0..round).for_each(|_| {
            rand::Rng::random::<u64>(&mut sim.random);
        });
        for name in ["cm", "other"] {
            source(&mut sim, name, 1);
        }
        let zombie = sim.start(Start { lease: LEASE, gate_held_open: true, ..Start::default() });
        sim.run_for(LEASE * 3);
        for number in 0..6 {
            let map = ["cm", "other"][number % 2];
            let name = format!("s{number}");
            sync(&mut sim, &name, json!({"configMapName": map, "destinationName": name}));
        }
        sim.run_for(LEASE * 2);
        sim.cut(zombie, Some(Resource::Leases));
        lease(&mut sim);
        until_settled(&mut sim, SOON);
        sim.network.blind(zombie, [None, Some(Resource::ConfigMaps), Some(Resource::Syncs)][round % 3]);
        for n in 2..40 {
            let (map, number) = (["cm", "other"][n % 2], n % 6);
            let sync = Key::sync("syncs", &format!("s{number}"));
            match [0, 1, 2, 3, 4].choose(&mut sim.random).unwrap() {
                0 | 1 => source(&mut sim, map, n as u64),
                2 => try_delete(&mut sim, &Key::map("dst", &format!("s{number}"))),
                3 => try_delete(&mut sim, &sync),
                _ => {
                    let moved = json!({"spec": {"destinationName": format!("s{number}-{}", n % 2)}});
                    sim.server.request(Method::PATCH, &sync.path(), &moved);
                }
            }
            sim.run_for(Duration::from_millis(150));
        }
        if round % 3 != 0 {
            // With a stream that stands still it believes what is no more, and does it again and again.
            sim.kill(zombie);
        }
        until_settled(&mut sim, if round % 3 == 0 { REPAIRED } else { CONTESTED });
        assert!(round % 3 != 0 || sim.laws.stale > 0, "round {round}: it did not write");
        // They do not fight: both rest.
        sim.run_for(REPAIRED);
        sim.requests.clear();
        sim.run_for(Duration::from_secs(10));
        let writes = sim.requests.iter().filter(|((method, resource, _), _)| {
            *method != Method::GET && matches!(resource, Resource::ConfigMaps | Resource::Syncs)
        });
        let writes: usize = writes.map(|(_, count)| count).sum();
        assert_eq!(writes, 0, "round {round}: at rest they still write");
        settled(&sim).unwrap();
    }
}
