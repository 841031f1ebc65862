//! What simulations found, each as a scene of its own.

use std::time::Duration;

use serde_json::json;

use crate::replica::Start;
use crate::server::Key;
use crate::stage::{delete, patch, source, stage, sync, until_settled};

const SOON: Duration = Duration::from_secs(20);

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
