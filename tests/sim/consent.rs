//! What an owner does not share is written by nobody, whatever fails.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::replica::Start;
use crate::server::{Key, Resource};
use crate::sim::Sim;
use crate::stage::{put, stage, sync, until_settled};

const SHARE: &str = "configmapsync.apps.kapendra.com/share";

/// The owner writes the source and what she says of sharing it, at once. The content tells whether it may be seen in a copy:
/// [`crate::laws::Laws`] looks at each write for that.
fn owner_writes(sim: &mut Sim, n: u64, share: Option<&str>) {
    let key = Key::map("src", "cm");
    let shared = if matches!(share, Some("all" | "dst" | "d*")) { "yes" } else { "no" };
    let annotations = share.map_or(Value::Null, |share| json!({ SHARE: share }));
    let body = json!({"metadata": {"name": "cm", "annotations": annotations},
        "data": {"from": "cm", "n": n.to_string(), "shared": shared}});
    let (method, path) =
        if sim.server.object(&key).is_some() { (Method::PUT, key.path()) } else { (Method::POST, key.collection()) };
    put(sim, method, &path, body);
}

fn copy_stands(sim: &Sim) -> bool {
    sim.server.object(&Key::map("dst", "cm")).is_some()
}

/// Numbers that look random, the same for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

#[test]
fn what_is_not_shared_is_never_written_whatever_fails() {
    for seed in 0..12 {
        let mut dice = Dice(seed);
        let mut sim = stage();
        owner_writes(&mut sim, 1, None);
        let mut replicas = vec![sim.start(Start::default()), sim.start(Start::default())];
        sync(&mut sim, "s", json!({"requireConsent": true}));
        for n in 2..32 {
            let replica = replicas[usize::try_from(dice.roll(2)).unwrap()];
            match dice.roll(8) {
                0..4 => {
                    let said = [None, Some("all"), Some("dst"), Some("d*"), Some("other"), Some(""), Some("none")];
                    owner_writes(&mut sim, n, said[usize::try_from(dice.roll(7)).unwrap()]);
                }
                4 => sim.network.blind(replica, Some(Resource::ConfigMaps)),
                5 => sim.network.blind(replica, None),
                6 => {
                    sim.kill(replica);
                    replicas.retain(|other| *other != replica);
                    replicas.push(sim.start(Start::default()));
                }
                _ => sim.break_watches(None, false),
            }
            sim.run_for(Duration::from_millis(dice.roll(4_000)));
            sim.fine().unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        }
        for replica in replicas {
            sim.network.blind(replica, None);
        }
        owner_writes(&mut sim, 100, Some("all"));
        until_settled(&mut sim, Duration::from_secs(120));
        assert!(copy_stands(&sim), "seed {seed}");
        owner_writes(&mut sim, 101, Some("none"));
        sim.run_until(Duration::from_secs(40), |sim| !copy_stands(sim)).expect("it is taken back");
        sim.fine().unwrap();
    }
}

/// That it was asked once is in the memory of a replica. Who comes after it asks twice again.
#[test]
fn a_restart_in_the_middle_of_taking_back_begins_anew() {
    let mut sim = stage();
    owner_writes(&mut sim, 1, Some("all"));
    let first = sim.start(Start::default());
    sync(&mut sim, "s", json!({}));
    until_settled(&mut sim, Duration::from_secs(40));
    owner_writes(&mut sim, 2, Some("none"));
    sim.run_for(Duration::from_secs(7));
    assert!(copy_stands(&sim));
    sim.kill(first);
    sim.start(Start::default());
    let took = sim.run_until(Duration::from_secs(60), |sim| !copy_stands(sim)).expect("it is taken back");
    assert!(took >= Duration::from_secs(10), "{took:?}");
    sim.fine().unwrap();
}
