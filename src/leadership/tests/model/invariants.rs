//! What must hold: in every world that can be, and in all that follows when nothing more goes wrong.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;

use stateright::{Model, Property};

use crate::leadership::GainReason;
use crate::leadership::shard_state::ShardState;
use crate::leadership::tests::model::scenario::Scenario;
use crate::leadership::tests::model::steps::Step;
use crate::leadership::tests::model::world::World;
use crate::rules::shard::Shard;

pub(super) const ONE_GATE: &str = "a shard has one open gate at most";
pub(super) const ENDED: &str = "a request has ended before another's gate opens";
pub(super) const SETTLES: &str = "in peace every shard comes to be served, and the assignment settles, even within one";
pub(super) const TAKEN_RELEASED: &str = "a released shard is taken";
pub(super) const TAKEN_ENDED: &str = "a shard of an ended session is taken";
pub(super) const TAKEN_UNOWNED: &str = "an unowned shard is taken";
pub(super) const TAKEN_ANEW: &str = "a shard is taken anew";

/// The protocol in one scenario.
pub(super) struct Protocol {
    pub(super) scenario: Scenario,
    /// Where each world that was looked at ends in peace.
    peace: Mutex<HashMap<u64, Peace>>,
}

/// What becomes of a world when nothing more goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Peace {
    /// All is served, evenly and for good, after so many ticks.
    Settled(u16),
    /// All is served, unevenly or not for good by the same.
    Uneven,
    /// Some shard is not served for ever.
    Unserved,
}

impl Protocol {
    pub(super) fn new(scenario: Scenario) -> Self {
        Self { scenario, peace: Mutex::default() }
    }

    /// How many worlds were followed in peace, and how long it took at most until all was settled, in ticks.
    pub(super) fn longest_way_to_peace(&self) -> (usize, u16) {
        let Ok(peace) = self.peace.lock() else { return (0, 0) };
        let ticks = peace.values().map(|peace| if let Peace::Settled(ticks) = peace { *ticks } else { u16::MAX });
        (peace.len(), ticks.max().unwrap_or(0))
    }

    /// Follows a world in peace until it comes back to where it was.
    fn peace(&self, world: &World) -> Peace {
        let Ok(mut known) = self.peace.lock() else { return Peace::Unserved };
        let mut world = world.in_peace(&self.scenario);
        let mut way: Vec<(u64, Peace)> = vec![];
        let mut end = loop {
            let key = key(&world);
            if let Some(end) = known.get(&key) {
                break *end;
            }
            if let Some(start) = way.iter().position(|(before, _)| *before == key) {
                let round = way.split_off(start);
                let end = round.iter().map(|(_, peace)| *peace).max().unwrap_or(Peace::Unserved);
                known.extend(round.into_iter().map(|(key, _)| (key, end)));
                break end;
            }
            way.push((key, self.look(&world)));
            world = world.peaceful_tick(&self.scenario);
        };
        for (key, _) in way.into_iter().rev() {
            if let Peace::Settled(ticks) = &mut end {
                *ticks += 1;
            }
            known.insert(key, end);
        }
        end
    }

    /// How a world looks that has just taken its turn.
    fn look(&self, world: &World) -> Peace {
        let mut counts = vec![];
        let mut served = vec![0; self.scenario.shards];
        for (at, replica) in world.replicas.iter().enumerate() {
            let Some(replica) = replica else { continue };
            let writes = |shard: &Shard| world.writes(&self.scenario, at, *shard);
            let holds: Vec<Shard> = Shard::all().take(self.scenario.shards).filter(writes).collect();
            holds.iter().for_each(|shard| served[shard.index()] += 1);
            if replica.machine.is_leaving() {
                return Peace::Unserved;
            }
            counts.push(holds.len());
        }
        let even = counts.iter().max().zip(counts.iter().min()).is_some_and(|(most, least)| most - least <= 1);
        match (served.iter().all(|count| *count == 1), even) {
            (true, true) => Peace::Settled(0),
            (true, false) => Peace::Uneven,
            (false, _) => Peace::Unserved,
        }
    }
}

fn key(world: &World) -> u64 {
    let mut hasher = DefaultHasher::new();
    world.hash(&mut hasher);
    hasher.finish()
}

impl World {
    /// The same world, with nothing that still goes wrong, and somebody who does not leave.
    fn in_peace(&self, scenario: &Scenario) -> Self {
        let mut world = self.clone();
        (world.faults, world.leaves, world.slips, world.born) = (0, 0, 0, world.born);
        for replica in world.replicas.iter_mut().flatten() {
            (replica.paused, replica.lagging) = (0, 0);
        }
        let stays = world.replicas.iter().flatten().any(|replica| !replica.machine.is_leaving());
        let place = world.replicas.iter().position(Option::is_none);
        if let (false, Some(place)) = (stays, place) {
            world.start(scenario, place);
        }
        world.turn(scenario);
        world.send_writes(scenario);
        world.canonical(scenario)
    }

    /// The next tick of peace: all requests arrive, all replicas have their turn.
    pub(super) fn peaceful_tick(&self, scenario: &Scenario) -> Self {
        let mut world = self.clone();
        world.pass(scenario, None, None);
        world.turn(scenario);
        world.send_writes(scenario);
        world.canonical(scenario)
    }

    fn turn(&mut self, scenario: &Scenario) {
        self.arrive_all(scenario);
        for at in 0..self.replicas.len() {
            self.run(scenario, at);
        }
        self.arrive_all(scenario);
    }

    fn arrive_all(&mut self, scenario: &Scenario) {
        for flight in 0..self.flights.len() {
            if !self.flights[flight].done {
                self.arrive(scenario, flight, true);
            }
        }
    }
}

fn pairs(protocol: &Protocol, world: &World, clash: impl Fn(usize, usize, Shard) -> bool) -> bool {
    let scenario = &protocol.scenario;
    Shard::all().take(scenario.shards).any(|shard| {
        (0..world.replicas.len())
            .filter(|at| world.writes(scenario, *at, shard))
            .any(|at| (0..=world.replicas.len()).any(|other| other != at && clash(at, other, shard)))
    })
}

fn one_gate(protocol: &Protocol, world: &World) -> bool {
    let writes = |at, shard| at < world.replicas.len() && world.writes(&protocol.scenario, at, shard);
    !pairs(protocol, world, |_, other, shard| writes(other, shard))
}

fn ended(protocol: &Protocol, world: &World) -> bool {
    !pairs(protocol, world, |_, other, shard| match world.replicas.get(other) {
        Some(Some(other)) => other.busy[shard.index()] > 0,
        Some(None) => false,
        None => world.ghosts[shard.index()] > 0,
    })
}

fn takes(world: &World, how: impl Fn(&GainReason) -> bool) -> bool {
    let shards = world.replicas.iter().flatten().flat_map(|replica| &replica.machine.shards);
    shards.into_iter().any(|state| matches!(state, ShardState::Taking { how: taken, .. } if how(taken)))
}

impl Model for Protocol {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        let mut world = World::new(&self.scenario).canonical(&self.scenario);
        (0..self.scenario.peace).for_each(|_| world = world.peaceful_tick(&self.scenario));
        for step in self.scenario.first {
            world = world.after(&self.scenario, *step).unwrap_or(world);
        }
        vec![world]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        world.possible(&self.scenario, steps);
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        world.after(&self.scenario, step)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ONE_GATE, one_gate),
            Property::always(ENDED, ended),
            Property::always(SETTLES, |protocol: &Self, world: &World| {
                !world.is_new_tick() || matches!(protocol.peace(world), Peace::Settled(_))
            }),
            Property::sometimes(TAKEN_RELEASED, |_, world| takes(world, |how| matches!(how, GainReason::Released(_)))),
            Property::sometimes(TAKEN_ENDED, |_, world| takes(world, |how| matches!(how, GainReason::Ended(_)))),
            Property::sometimes(TAKEN_UNOWNED, |_, world| takes(world, |how| *how == GainReason::Unowned)),
            Property::sometimes(TAKEN_ANEW, |_, world| takes(world, |how| *how == GainReason::Renewed)),
        ]
    }
}
