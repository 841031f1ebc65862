//! Walks at random, where there is too much to see all of it.

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use stateright::{Checker, Chooser};

use crate::leadership::tests::model::invariants::Protocol;
use crate::leadership::tests::model::scenario::Scenario;
use crate::leadership::tests::model::steps::Step;
use crate::leadership::tests::model::world::World;
use crate::leadership::tests::model::{EVERY, SETTLED, checker};

/// One step in so many is one that goes wrong, if any can.
const RARELY: f64 = 0.07;

/// Any four faults among two replicas and one shard, and any three among three replicas and two shards.
pub(super) const WALKS: [Scenario; 2] = {
    let two = Scenario {
        name: "two replicas, one shard, any four faults",
        kinds: EVERY,
        faults: 4,
        leaves: 1,
        swift: true,
        ..SETTLED
    };
    let name = "three replicas, two shards, any three faults";
    [Scenario { name, leases: &[4, 4, 4], shards: 2, faults: 3, ..two }, two]
};

/// Chooses what goes wrong rarely, so that it does at any time and not all at the beginning.
#[derive(Clone)]
struct Rarely(Scenario);

impl Chooser<Protocol> for Rarely {
    type State = StdRng;

    fn new_state(&self, seed: u64) -> StdRng {
        StdRng::seed_from_u64(seed)
    }

    fn choose_initial_state(&self, _: &mut StdRng, _: &[World]) -> usize {
        0
    }

    fn choose_action(&self, random: &mut StdRng, world: &World, steps: &[Step]) -> usize {
        let usual = |step: &Step| matches!(step, Step::Run(_) | Step::Arrive(_) | Step::Pass | Step::Show(_));
        let wanted = !random.random_bool(RARELY);
        let mut order: Vec<usize> = (0..steps.len()).collect();
        order.shuffle(random);
        order.sort_by_key(|at| usual(&steps[*at]) != wanted);
        // The checker would lose its way back to the beginning by steps that change nothing.
        order.into_iter().find(|at| world.after(&self.0, steps[*at]).is_some()).unwrap_or(0)
    }
}

/// Walks until so many states were seen. A walk ends when it comes back to where it was: nothing goes wrong any more, and
/// all is settled.
pub(super) fn walk(scenario: Scenario, states: usize) -> impl Checker<Protocol> {
    checker(scenario.clone()).target_state_count(states).spawn_simulation(1, Rarely(scenario)).join()
}
