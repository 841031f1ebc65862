//! The protocol with one rule broken, each caught by an invariant.

use std::time::Duration;

use stateright::{Checker, Model};

use crate::leadership::machine::Machine;
use crate::leadership::shard_state::ShardState;
use crate::leadership::tests::model::invariants::Protocol;
use crate::leadership::tests::model::scenario::{Fault, Scenario};
use crate::leadership::tests::model::steps::Step;
use crate::leadership::tests::model::walk::{WALKS, walk};
use crate::leadership::tests::model::world::{NOW, TICK};
use crate::leadership::tests::model::{SETTLED, ZERO, checker};
use crate::leadership::{Answer, Holder, Input, Record, Request};

/// A rule that is broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mutant {
    NoVersion,
    NoUid,
    NoGate,
    NoRequestTime,
    NoMargin,
    FreeByHand,
    UnconfirmedGate,
    AdoptBySight,
    FlagDuration,
    LateGate,
    WallClocks,
    ClientRetries,
    EarlyRelease,
    OneIdentity,
}

impl Mutant {
    /// Makes a machine believe what the broken rule says, after it has taken an input in.
    pub(super) fn tamper(self, at: usize, machine: &mut Machine, input: &Input) {
        match (self, input) {
            (Self::FreeByHand, _) => {
                for seen in &mut machine.view.shards {
                    if seen.record.as_ref().is_none_or(|record| record.holder == Holder::Cleared) {
                        seen.wait = Duration::ZERO;
                    }
                }
            }
            (
                Self::UnconfirmedGate,
                Input::Answered(
                    Request::CreateSession { name, renewal } | Request::Renew { name, renewal, .. },
                    Answer::Done(_),
                ),
            ) if name == machine.session() => machine.own.confirm(*renewal),
            (Self::AdoptBySight, _) => {
                let me = machine.session().clone();
                for (state, seen) in machine.shards.iter_mut().zip(&machine.view.shards) {
                    if let (ShardState::None, Some(record)) = (&state, &seen.record)
                        && record.holder == Holder::Named(me.clone())
                    {
                        *state = ShardState::Held(record.version);
                    }
                }
            }
            (Self::FlagDuration, _) => {
                let flag = machine.timing.lease;
                machine.view.sessions.values_mut().for_each(|seen| seen.lease = flag);
                machine.view.shards.iter_mut().for_each(|seen| seen.wait = flag);
            }
            // The second replica's wall clock is ahead by three ticks.
            (Self::WallClocks, Input::Observed(Record::Session(record)))
                if at == 1 && record.name != *machine.session() =>
            {
                if let Some(seen) = machine.view.sessions.get_mut(&record.name) {
                    seen.changed = NOW - 3 * TICK;
                }
            }
            _ => {}
        }
    }
}

/// A process is started again while the old one, of which nobody hears any more, is still there.
#[rustfmt::skip]
const TWINS: &[Step] = {
    use Step::{Arrive, Pass, Run};
    &[
        Arrive(0), Run(0), Arrive(0), Arrive(0), Run(1), Arrive(0), Pass, Run(0), Run(1), Arrive(0), Arrive(0), Run(1),
        Arrive(0), Pass, Run(0), Run(1), Arrive(0), Arrive(0), Pass, Run(0), Run(1), Arrive(1), Arrive(0), Pass, Run(1),
        Arrive(0), Arrive(0), Run(0), Run(1), Arrive(1), Arrive(0), Pass, Run(0), Run(1), Arrive(0), Arrive(0), Pass,
    ]
};

/// Each mutant, the rule that it breaks, and a scenario in which that shows.
fn mutants() -> Vec<(Mutant, &'static str, Scenario)> {
    use Fault::{Clear, Delay, Delete, Rename};
    let paused = Scenario { first: &[Step::Run(0), Step::Run(1), Step::Pause(0)], faults: 1, swift: true, ..SETTLED };
    let edited = Scenario { kinds: &[Clear, Rename], faults: 1, ..SETTLED };
    // The shard's Lease is there, and about to be taken.
    let taking = Scenario { kinds: &[Delay], peace: 5, faults: 1, ..SETTLED };
    vec![
        (Mutant::NoVersion, "drop the resourceVersion on Lease writes", taking.clone()),
        (
            Mutant::NoUid,
            "drop the uid on Lease writes",
            Scenario { first: &[Step::Pass, Step::Run(0), Step::Run(1)], kinds: &[Delay, Delete], faults: 2, ..taking },
        ),
        (Mutant::NoGate, "drop the gate", paused.clone()),
        (Mutant::NoRequestTime, "leave the request's own time out of the gate", paused.clone()),
        (Mutant::NoMargin, "leave the margin out of the gate", paused.clone()),
        (Mutant::LateGate, "`<=` for `<` in the gate", paused.clone()),
        (Mutant::ClientRetries, "retry in the client", paused),
        (Mutant::FreeByHand, "treat a missing or cleared Lease as free", edited.clone()),
        (Mutant::AdoptBySight, "adopt a shard by sight", edited),
        (
            Mutant::UnconfirmedGate,
            "count the gate from a renewal whose event has not come back",
            Scenario { first: &[Step::Lag(0), Step::Clear(ZERO)], faults: 2, ..SETTLED },
        ),
        (
            Mutant::FlagDuration,
            "take the duration from the flag instead of the record",
            Scenario {
                leases: &[6, 4],
                running: 1,
                first: &[Step::Start(1)],
                kinds: &[Fault::Pause],
                faults: 1,
                ..SETTLED
            },
        ),
        (Mutant::WallClocks, "compare wall clocks", SETTLED),
        (Mutant::EarlyRelease, "release before draining", Scenario { leaves: 1, ..SETTLED }),
        (Mutant::OneIdentity, "one identity across restarts", Scenario { peace: 0, first: TWINS, ..SETTLED }),
    ]
}

/// The invariant that a scenario breaks with the steps that lead there, and the number of states visited.
fn explored(scenario: Scenario, depth: Option<usize>) -> (Option<(&'static str, usize)>, usize) {
    let checker = checker(scenario).target_max_depth(depth.unwrap_or(0)).spawn_bfs().join();
    (broken(&checker), checker.unique_state_count())
}

fn broken(checker: &impl Checker<Protocol>) -> Option<(&'static str, usize)> {
    let properties = checker.model().properties();
    let failed = properties.into_iter().filter(|property| property.expectation.discovery_is_failure());
    let mut paths = failed.filter_map(|property| Some((property.name, checker.discovery(property.name)?)));
    paths.next().map(|(name, path)| (name, path.into_actions().len()))
}

#[test]
fn each_mutant_is_caught_where_the_protocol_holds() {
    let (mut escaped, mut unfounded) = (vec![], vec![]);
    println!("| mutant | caught by | steps | states |\n| --- | --- | --- | --- |");
    for (mutant, rule, scenario) in mutants() {
        let (broken, states) = explored(Scenario { mutant: Some(mutant), ..scenario.clone() }, None);
        let Some((invariant, steps)) = broken else {
            escaped.push(rule);
            continue;
        };
        println!("| {rule} | {invariant} | {steps} | {states} |");
        let (broken, states) = explored(scenario, Some(steps + 1));
        if broken.is_some() || states < 2 {
            unfounded.push(rule);
        }
    }
    assert_eq!((escaped, unfounded), (vec![], vec![]));
}

#[test]
fn walks_at_random_come_upon_them_too() {
    // The others take more states than these walks see by default.
    use Mutant::{AdoptBySight, EarlyRelease, FreeByHand, NoGate, NoVersion};
    for mutant in [NoVersion, NoGate, FreeByHand, AdoptBySight, EarlyRelease] {
        let [three, _] = WALKS;
        let checker = walk(Scenario { mutant: Some(mutant), ..three }, 20_000);
        assert!(broken(&checker).is_some(), "{mutant:?}");
    }
}
