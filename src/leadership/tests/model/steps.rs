//! What can happen next.

use crate::leadership::tests::model::scenario::{Fault, Scenario};
use crate::leadership::tests::model::world::{Event, Flight, Replica, TICK, World};
use crate::leadership::{Answer, Holder, Input, Phase, Record, Request, SessionName, SessionRecord, ShardRecord};
use crate::rules::shard::Shard;

impl Replica {
    /// Whether something came for which it may have another turn in the same tick: more than a mere renewal of another.
    fn has_news(&self, scenario: &Scenario) -> bool {
        let answered = self.answers.iter().any(|answered| {
            !matches!(answered, (Request::CreateSession { .. } | Request::Renew { .. }, Answer::Done(..)))
        });
        let seen = |(record, gone): &Event| {
            let Record::Session(SessionRecord { name, phase: Phase::Live, .. }) = record else { return true };
            *gone || scenario.swift && name == self.machine.session()
        };
        let heard = self.lagging == 0 && (self.listing || self.events.iter().any(seen));
        answered || heard || self.closing.iter().any(|shard| self.busy[shard.index()] == 0)
    }
}

/// One thing that happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// A replica has its turn: it takes in what has come.
    Run(usize),
    /// A request is carried out.
    Arrive(usize),
    /// The next tick.
    Pass,
    /// The next tick, in which a replica's clock stands still.
    Slow(usize),
    /// The next tick, in which a replica's clock goes on by two.
    Fast(usize),
    /// A request will be carried out when it likes, or never.
    Delay(usize),
    /// A request is carried out, and its answer gets lost.
    LoseAnswer(usize),
    /// A request is carried out, and once more when it likes.
    Duplicate(usize),
    Pause(usize),
    Resume(usize),
    /// A watch lags from now.
    Lag(usize),
    /// A watch that lags shows one event.
    Show(usize),
    CatchUp(usize),
    Crash(usize),
    Start(usize),
    Leave(usize),
    Clear(usize),
    /// A shard's Lease is made to name the session of this replica.
    Name(usize, usize),
    /// A shard's Lease is made to name a session that does not exist.
    NameNobody(usize),
    DeleteShard(usize),
    DeleteSession(usize),
    EndSession(usize),
    /// The duration in a session's Lease is made one tick.
    Shorten(usize),
}

impl World {
    pub(super) fn possible(&self, scenario: &Scenario, steps: &mut Vec<Step>) {
        let living = || self.replicas.iter().enumerate().filter_map(|(at, replica)| Some((at, replica.as_ref()?)));
        for (at, replica) in living().filter(|(_, replica)| replica.paused == 0) {
            if !replica.ran || replica.has_news(scenario) {
                steps.push(Step::Run(at));
            }
            if scenario.may(Fault::Trickle) && replica.lagging > 0 && (replica.listing || !replica.events.is_empty()) {
                steps.push(Step::Show(at));
            }
        }
        let waiting = || self.flights.iter().enumerate().filter(|(_, flight)| !flight.done);
        steps.extend(waiting().map(|(at, _)| Step::Arrive(at)));
        let all_ran = living().all(|(_, replica)| replica.ran || replica.paused > 0);
        if all_ran && waiting().all(|(_, flight)| flight.delayed) {
            steps.push(Step::Pass);
            if self.slips > 0 {
                steps.extend(living().flat_map(|(at, _)| [Step::Slow(at), Step::Fast(at)]));
            }
        }
        for (at, replica) in living() {
            if replica.paused > 0 {
                steps.push(Step::Resume(at));
            }
            if replica.lagging > 0 {
                steps.push(Step::CatchUp(at));
            }
            if self.leaves > 0 && !replica.machine.is_leaving() {
                steps.push(Step::Leave(at));
            }
        }
        if self.is_new_tick() {
            steps.extend(self.startable(scenario).map(Step::Start));
        }
        if self.faults > 0 {
            self.faults(scenario, steps);
        }
    }

    /// Whether a tick begins.
    pub(super) fn is_new_tick(&self) -> bool {
        self.replicas.iter().flatten().all(|replica| !replica.ran)
    }

    /// The places where a process may be started.
    fn startable(&self, scenario: &Scenario) -> impl Iterator<Item = usize> {
        let starts = scenario.leases.len() + usize::from(if scenario.may(Fault::Crash) { scenario.faults } else { 0 });
        let free = self.replicas.iter().enumerate().filter(|(_, replica)| replica.is_none()).map(|(at, _)| at);
        free.filter(move |_| usize::from(self.born) < starts)
    }

    fn faults(&self, scenario: &Scenario, steps: &mut Vec<Step>) {
        let mut add = |fault, more: &mut dyn Iterator<Item = Step>| {
            if scenario.may(fault) {
                steps.extend(more);
            }
        };
        let on_time = || self.flights.iter().enumerate().filter(|(_, flight)| !flight.done && !flight.delayed);
        add(Fault::Delay, &mut on_time().map(|(at, _)| Step::Delay(at)));
        add(Fault::LostAnswer, &mut on_time().map(|(at, _)| Step::LoseAnswer(at)));
        add(Fault::Duplicate, &mut on_time().map(|(at, _)| Step::Duplicate(at)));
        let living = || self.replicas.iter().enumerate().filter_map(|(at, replica)| Some((at, replica.as_ref()?)));
        add(Fault::Pause, &mut living().filter(|(_, it)| it.paused == 0).map(|(at, _)| Step::Pause(at)));
        add(Fault::Lag, &mut living().filter(|(_, it)| it.lagging == 0).map(|(at, _)| Step::Lag(at)));
        add(Fault::Crash, &mut living().map(|(at, _)| Step::Crash(at)));
        for shard in self.store.shards.keys().map(|shard| shard.index()) {
            add(Fault::Clear, &mut [Step::Clear(shard)].into_iter());
            add(Fault::Rename, &mut [Step::NameNobody(shard)].into_iter());
            add(Fault::Rename, &mut living().map(|(at, _)| Step::Name(shard, at)));
            add(Fault::Delete, &mut [Step::DeleteShard(shard)].into_iter());
        }
        let known = || living().filter(|(_, it)| self.store.sessions.contains_key(it.machine.session()));
        add(Fault::DeleteSession, &mut known().map(|(at, _)| Step::DeleteSession(at)));
        add(Fault::EditSession, &mut known().flat_map(|(at, _)| [Step::EndSession(at), Step::Shorten(at)]));
    }

    /// The world after this step; `None` when it changes nothing.
    pub(super) fn after(&self, scenario: &Scenario, step: Step) -> Option<Self> {
        let mut world = self.clone();
        world.take(scenario, step)?;
        world.send_writes(scenario);
        let world = world.canonical(scenario);
        (world != *self).then_some(world)
    }

    fn take(&mut self, scenario: &Scenario, step: Step) -> Option<()> {
        match step {
            Step::Run(at) => self.run(scenario, at),
            Step::Arrive(flight) if flight < self.flights.len() => self.arrive(scenario, flight, true),
            Step::Arrive(_) => return None,
            Step::Pass => self.pass(scenario, None, None),
            Step::Show(at) => self.show(scenario, at, 1),
            Step::Resume(at) => self.replicas[at].as_mut()?.paused = 0,
            Step::CatchUp(at) => self.replicas[at].as_mut()?.lagging = 0,
            Step::Start(at) => self.start(scenario, at),
            Step::Slow(at) => {
                self.slips -= 1;
                self.pass(scenario, Some(at), None);
            }
            Step::Fast(at) => {
                self.slips -= 1;
                self.pass(scenario, None, Some(at));
            }
            Step::Leave(at) => {
                self.leaves -= 1;
                self.steps(scenario, at, [Input::Leave]);
            }
            _ => {
                self.faults -= 1;
                self.fault(scenario, step, scenario.longest() + 1)?;
            }
        }
        Some(())
    }

    /// Something goes wrong, if it lasts for so many ticks at most.
    fn fault(&mut self, scenario: &Scenario, step: Step, lasting: u8) -> Option<()> {
        match step {
            Step::Delay(flight) => self.flights[flight].delayed = true,
            Step::LoseAnswer(flight) => self.arrive(scenario, flight, false),
            Step::Duplicate(at) => {
                let copy = self.flights[at].clone();
                self.arrive(scenario, at, true);
                self.flights[at] = Flight { delayed: true, closed: true, ..copy };
            }
            Step::Pause(at) => self.replicas[at].as_mut()?.paused = lasting,
            Step::Lag(at) => self.replicas[at].as_mut()?.lagging = lasting,
            Step::Crash(at) => self.end(at),
            Step::Clear(shard) => self.edit_shard(shard, Holder::Cleared)?,
            Step::NameNobody(shard) => self.edit_shard(shard, Holder::Named(SessionName::new("nobody")))?,
            Step::Name(shard, at) => {
                let name = self.replicas[at].as_ref()?.machine.session().clone();
                self.edit_shard(shard, Holder::Named(name))?;
            }
            Step::DeleteShard(shard) => {
                let record = self.shard(shard)?;
                self.delete(Record::Shard(record));
            }
            Step::DeleteSession(at) => {
                let record = self.session(at)?;
                self.delete(Record::Session(record));
            }
            Step::EndSession(at) => {
                let record = self.session(at)?;
                self.write(Record::Session(SessionRecord { phase: Phase::Ended, ..record }), false);
            }
            Step::Shorten(at) => {
                let record = self.session(at)?;
                self.write(Record::Session(SessionRecord { lease: Some(TICK), ..record }), false);
            }
            _ => return None,
        }
        Some(())
    }

    fn session(&self, at: usize) -> Option<SessionRecord> {
        self.store.sessions.get(self.replicas[at].as_ref()?.machine.session()).cloned()
    }

    fn shard(&self, number: usize) -> Option<ShardRecord> {
        self.store.shards.get(&Shard::new(number)?).cloned()
    }

    fn edit_shard(&mut self, shard: usize, holder: Holder) -> Option<()> {
        let record = self.shard(shard)?;
        self.write(Record::Shard(ShardRecord { holder, ..record }), false);
        Some(())
    }
}
