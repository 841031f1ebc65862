//! The protocol, explored: the machines that ship, in a small world in which everything that may happen does.

mod canonical;
mod invariants;
mod mutants;
mod scenario;
mod steps;
mod walk;
mod world;

use std::time::Instant;

use stateright::{Checker, CheckerBuilder, HasDiscoveries, Model};

use invariants::{Protocol, TAKEN_ANEW, TAKEN_ENDED, TAKEN_RELEASED};
use scenario::{Fault, Scenario};
use steps::Step;

/// Everything that may go wrong.
const EVERY: &[Fault] = &[
    Fault::Delay,
    Fault::LostAnswer,
    Fault::Duplicate,
    Fault::Pause,
    Fault::Lag,
    Fault::Trickle,
    Fault::Crash,
    Fault::Clear,
    Fault::Rename,
    Fault::Delete,
    Fault::DeleteSession,
    Fault::EditSession,
];

/// The first shard.
const ZERO: usize = 0;

/// Where two replicas have settled on one shard.
const SETTLED: Scenario = Scenario {
    name: "two replicas, one shard",
    leases: &[4, 4],
    running: 2,
    shards: 1,
    peace: 40,
    first: &[],
    kinds: &[],
    faults: 0,
    leaves: 0,
    slips: 0,
    busy: true,
    swift: false,
    mutant: None,
};

/// Explores a scenario, breadth first: to this depth, or all of it when there is none; with `MODEL=full` to the second.
/// Says which of the things that may happen did.
fn check(scenario: Scenario, depth: Option<usize>, full: Option<usize>) -> Vec<&'static str> {
    let begun = Instant::now();
    let depth = if is_full() { full } else { depth };
    let checker = checker(scenario).target_max_depth(depth.unwrap_or(0)).spawn_bfs().join();
    let bound = depth.map_or("all of them".to_owned(), |depth| format!("to depth {depth}"));
    let states = format!("{} states, {bound}", checker.unique_state_count());
    found(&checker, &states, begun)
}

fn checker(scenario: Scenario) -> CheckerBuilder<Protocol> {
    Protocol::new(scenario).checker().finish_when(HasDiscoveries::AnyFailures)
}

fn is_full() -> bool {
    std::env::var("MODEL").is_ok_and(|model| model == "full")
}

/// Says which of the things that may happen did. Fails when what must hold did not.
fn found(checker: &impl Checker<Protocol>, states: &str, begun: Instant) -> Vec<&'static str> {
    let name = checker.model().scenario.name;
    let (followed, ticks) = checker.model().longest_way_to_peace();
    let took = begun.elapsed();
    println!("{name}: {states}; {followed} followed in peace, settled within {ticks} ticks; {took:.1?}");
    let mut found = vec![];
    for property in checker.model().properties() {
        let Some(path) = checker.discovery(property.name) else { continue };
        let bad = property.expectation.discovery_is_failure();
        assert!(!bad, "{name}: not so: {}\n{:?}\n{:#?}", property.name, path.clone().into_actions(), path.last_state());
        found.push(property.name);
    }
    found
}

#[test]
fn one_request_goes_astray() {
    let kinds = &[Fault::Delay, Fault::LostAnswer, Fault::Duplicate];
    check(Scenario { name: "a request goes astray", kinds, faults: 1, ..SETTLED }, None, None);
    let cold =
        Scenario { name: "a request goes astray at the very first start", kinds, faults: 1, peace: 0, ..SETTLED };
    check(cold, Some(11), Some(20));
}

#[test]
fn a_replica_is_paused() {
    let scenario = Scenario { name: "a replica is paused", kinds: &[Fault::Pause], faults: 1, swift: true, ..SETTLED };
    let found = check(scenario, Some(22), None);
    assert!(found.contains(&TAKEN_ENDED), "{found:?}");
}

#[test]
fn a_clock_is_off_by_the_margin() {
    let name = "a replica is paused, and a clock is off by the margin";
    let first = &[Step::Run(0), Step::Run(1), Step::Pause(0)];
    check(Scenario { name, first, faults: 1, slips: 1, swift: true, ..SETTLED }, Some(20), None);
}

#[test]
fn a_watch_lags() {
    let kinds = &[Fault::Lag, Fault::Trickle];
    check(Scenario { name: "a watch lags", kinds, faults: 1, ..SETTLED }, Some(15), None);
}

#[test]
fn a_hand_edits_and_deletes() {
    let kinds = &[Fault::Clear, Fault::Rename, Fault::Delete, Fault::DeleteSession, Fault::EditSession];
    let found =
        check(Scenario { name: "a hand edits or deletes a Lease", kinds, faults: 1, ..SETTLED }, Some(31), None);
    assert!(found.contains(&TAKEN_ANEW), "{found:?}");
}

#[test]
fn two_faults_at_a_time() {
    let scenario = Scenario { name: "any two faults", kinds: EVERY, faults: 2, leaves: 1, ..SETTLED };
    check(scenario, Some(6), Some(9));
}

#[test]
fn a_shard_is_handed_over_and_a_process_crashes() {
    let scenario = Scenario {
        name: "hand-over and a crash",
        first: &[Step::Leave(0)],
        kinds: &[Fault::Crash],
        faults: 1,
        leaves: 1,
        ..SETTLED
    };
    let found = check(scenario.clone(), Some(16), Some(20));
    assert!(found.contains(&TAKEN_RELEASED), "{found:?}");
    check(Scenario { name: "hand-over and a crash, writers idle", busy: false, ..scenario }, Some(11), Some(17));
}

#[test]
fn durations_differ() {
    let scenario = Scenario {
        name: "a replica with a shorter lease joins, and one is paused",
        leases: &[6, 4],
        running: 1,
        first: &[Step::Start(1)],
        kinds: &[Fault::Pause],
        faults: 1,
        ..SETTLED
    };
    check(scenario, Some(24), None);
}

#[test]
fn many_faults_at_a_time() {
    for scenario in walk::WALKS {
        let begun = Instant::now();
        let checker = walk::walk(scenario, if is_full() { 2_000_000 } else { 20_000 });
        let states = format!("{} states, at random, to depth {}", checker.state_count(), checker.max_depth());
        found(&checker, &states, begun);
    }
}

#[test]
fn three_replicas_two_shards() {
    let scenario = Scenario {
        name: "three replicas, two shards: one joins, one leaves, one crashes",
        leases: &[4, 4, 4],
        running: 2,
        shards: 2,
        kinds: &[Fault::Crash],
        faults: 1,
        leaves: 1,
        ..SETTLED
    };
    check(scenario, Some(10), Some(13));
}
