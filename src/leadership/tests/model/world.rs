//! The world that the state machines live in: an API server, a network, writers, and time in whole ticks.
//!
//! Each machine lives at [`NOW`] for ever: instead of its clock going on, its memories grow older.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use crate::leadership::tests::model::mutants::Mutant;
use crate::leadership::tests::model::scenario::{REQUEST, Scenario};
use crate::leadership::{
    Action, Answer, Holder, Input, Machine, Phase, Record, Request, SessionName, SessionRecord, ShardRecord,
};
use crate::rules::shard::Shard;
use crate::rules::uid::{Uid, Version};

/// The unit of time: the period of renewals.
pub(super) const TICK: Duration = Duration::from_secs(1);
/// What every clock says.
pub(super) const NOW: Duration = Duration::from_secs(100);
/// A change that a watch shows.
pub(super) type Event = (Record, bool);

/// The API server, as far as Leases go.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Store {
    pub(super) version: u64,
    pub(super) sessions: BTreeMap<SessionName, SessionRecord>,
    pub(super) shards: BTreeMap<Shard, ShardRecord>,
}

/// A request on its way.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Flight {
    /// The process that sent it.
    pub(super) process: u8,
    /// Its lease duration, in ticks.
    pub(super) lease: u8,
    pub(super) request: Request,
    /// How many ticks ago it was sent.
    pub(super) age: u8,
    /// It need not arrive within its tick.
    pub(super) delayed: bool,
    /// Whether it was carried out.
    pub(super) done: bool,
    /// Whether its sender expects no answer any more.
    pub(super) closed: bool,
}

/// A running process.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Replica {
    pub(super) machine: Machine,
    /// The number of the process.
    pub(super) process: u8,
    pub(super) answers: Vec<(Request, Answer)>,
    pub(super) events: Vec<Event>,
    /// The watch is about to list.
    pub(super) listing: bool,
    /// Whether it has had its turn in this tick.
    pub(super) ran: bool,
    /// For how many ticks at most it is still paused.
    pub(super) paused: u8,
    /// For how many ticks at most its watch still lags.
    pub(super) lagging: u8,
    /// For how many ticks a write of it may still be carried out, for each shard.
    pub(super) busy: Vec<u8>,
    /// The shards that are to be drained.
    pub(super) closing: Vec<Shard>,
}

/// All there is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct World {
    pub(super) store: Store,
    pub(super) replicas: Vec<Option<Replica>>,
    pub(super) flights: Vec<Flight>,
    /// For how many ticks a write of a process that is gone may still be carried out, for each shard.
    pub(super) ghosts: Vec<u8>,
    pub(super) born: u8,
    pub(super) faults: u8,
    pub(super) leaves: u8,
    pub(super) slips: u8,
}

static UIDS: LazyLock<Vec<Uid>> =
    LazyLock::new(|| (0..256).filter_map(|n| Uid::parse(&format!("00000000-0000-0000-8000-{n:012x}"))).collect());

/// One of a few known UIDs.
pub(super) fn uid(n: usize) -> Uid {
    UIDS[n]
}

/// The first of the UIDs that nothing in a canonical world has.
const FRESH: usize = 128;

impl World {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let mut world = Self {
            store: Store::default(),
            replicas: vec![None; scenario.leases.len()],
            flights: vec![],
            ghosts: vec![0; scenario.shards],
            born: 0,
            faults: scenario.faults,
            leaves: scenario.leaves,
            slips: scenario.slips,
        };
        (0..scenario.running).for_each(|at| world.start(scenario, at));
        world
    }

    pub(super) fn start(&mut self, scenario: &Scenario, at: usize) {
        let identity = if scenario.is(Mutant::OneIdentity) { 0 } else { self.born };
        let name = char::from(b'a' + identity).to_string();
        self.replicas[at] = Some(Replica {
            machine: Machine::new(&name, scenario.timing(at), scenario.shards, NOW),
            process: self.born,
            answers: vec![],
            events: vec![],
            listing: true,
            ran: true,
            paused: 0,
            lagging: 0,
            busy: vec![0; scenario.shards],
            closing: vec![],
        });
        self.born += 1;
        self.steps(scenario, at, [Input::Relisting]);
    }

    /// The process is gone; what it has sent is not.
    pub(super) fn end(&mut self, at: usize) {
        let Some(gone) = self.replicas[at].take() else { return };
        for (ghost, busy) in self.ghosts.iter_mut().zip(gone.busy) {
            *ghost = busy.max(*ghost);
        }
        for flight in self.flights.iter_mut().filter(|flight| flight.process == gone.process) {
            flight.closed = true;
        }
    }

    /// A replica takes in what has come, and its time.
    pub(super) fn run(&mut self, scenario: &Scenario, at: usize) {
        let Some(replica) = self.replicas[at].as_mut() else { return };
        replica.ran = true;
        let process = replica.process;
        let mut inputs: Vec<Input> = vec![];
        for flight in self.flights.iter_mut().filter(|flight| flight.process == process && flight.age >= REQUEST) {
            if !std::mem::replace(&mut flight.closed, true) {
                inputs.push(Input::Answered(flight.request.clone(), Answer::Failed));
            }
        }
        inputs.extend(replica.answers.drain(..).map(|(request, answer)| Input::Answered(request, answer)));
        self.steps(scenario, at, inputs);
        let shown = self.replicas[at].as_ref().map_or(0, |replica| if replica.lagging > 0 { 0 } else { usize::MAX });
        self.show(scenario, at, shown);
        let Some(replica) = self.replicas[at].as_mut() else { return };
        let early = scenario.is(Mutant::EarlyRelease);
        let (drained, closing): (Vec<_>, Vec<_>) =
            replica.closing.drain(..).partition(|shard| early || replica.busy[shard.index()] == 0);
        replica.closing = closing;
        self.steps(scenario, at, drained.into_iter().map(Input::Drained).chain([Input::Tick]));
    }

    /// The watch shows the list that it owes, or else so many events.
    pub(super) fn show(&mut self, scenario: &Scenario, at: usize, events: usize) {
        let Some(replica) = self.replicas[at].as_mut() else { return };
        if events > 0 && std::mem::take(&mut replica.listing) {
            let records = self.store.list();
            self.steps(scenario, at, [Input::Relisted(records)]);
            return;
        }
        let shown: Vec<Event> = replica.events.drain(..events.min(replica.events.len())).collect();
        for (record, gone) in shown {
            // What a stream has still to say is not heard when it is begun anew.
            if self.replicas[at].as_ref().is_some_and(|replica| replica.listing) {
                return;
            }
            self.steps(scenario, at, [if gone { Input::Gone(record) } else { Input::Observed(record) }]);
        }
    }

    pub(super) fn steps(&mut self, scenario: &Scenario, at: usize, inputs: impl IntoIterator<Item = Input>) {
        for input in inputs {
            let Some(replica) = self.replicas[at].as_mut() else { return };
            let actions = replica.machine.step(NOW, input.clone());
            if let Some(mutant) = scenario.mutant {
                mutant.tamper(at, &mut replica.machine, &input);
            }
            for action in actions {
                self.perform(scenario, at, action);
            }
        }
    }

    fn perform(&mut self, scenario: &Scenario, at: usize, action: Action) {
        let Some(replica) = self.replicas[at].as_mut() else { return };
        match action {
            Action::Send(request) => self.flights.push(Flight {
                process: replica.process,
                lease: scenario.leases[at],
                request,
                age: 0,
                delayed: false,
                done: false,
                closed: false,
            }),
            Action::Close(shard, _) => replica.closing.push(shard),
            Action::Lose(shard, _) => replica.closing.retain(|closing| *closing != shard),
            Action::Restored | Action::Rewatch => {
                replica.listing = true;
                replica.events.clear();
                self.steps(scenario, at, [Input::Relisting]);
            }
            Action::Open(..) | Action::Renamed(..) => {}
            Action::Left => self.end(at),
        }
    }

    /// A request is carried out.
    pub(super) fn arrive(&mut self, scenario: &Scenario, flight: usize, answered: bool) {
        let flight = &mut self.flights[flight];
        flight.done = true;
        let Flight { process, lease, request, closed, .. } = flight.clone();
        flight.closed |= answered;
        let answer = self.handle(scenario, &request, TICK * u32::from(lease));
        let sender = self.replicas.iter_mut().flatten().find(|replica| replica.process == process);
        if let Some(sender) = sender.filter(|_| answered && !closed) {
            sender.answers.push((request, answer));
        }
    }

    fn handle(&mut self, scenario: &Scenario, request: &Request, lease: Duration) -> Answer {
        let lease = Some(lease);
        let none = Version { uid: uid(0), rv: 0 };
        let shard = |shard: Shard, version, holder| Record::Shard(ShardRecord { shard, version, lease, holder });
        match request.clone() {
            Request::CreateSession { name, renewal } => {
                let phase = Phase::Live;
                self.create(Record::Session(SessionRecord { name, version: none, lease, phase, renewal }))
            }
            Request::Renew { name, version, renewal, phase } => {
                self.swap(scenario, Record::Session(SessionRecord { name, version, lease, phase, renewal }))
            }
            Request::EndSession(record) => self.swap(scenario, Record::Session(record)),
            Request::LookAtSession(name) => match self.store.sessions.get(&name) {
                Some(record) => Answer::Found(record.clone()),
                None => Answer::Missing,
            },
            Request::CreateShard(of, _) => self.create(shard(of, none, Holder::Cleared)),
            Request::TakeShard(of, version, by) => self.swap(scenario, shard(of, version, Holder::Named(by))),
            Request::ReleaseShard(of, version, by) => self.swap(scenario, shard(of, version, Holder::Released(by))),
        }
    }

    fn create(&mut self, record: Record) -> Answer {
        match self.store.version_of(&record) {
            Some(_) => Answer::Conflict,
            None => self.write(record, true),
        }
    }

    /// A PUT with uid and resourceVersion.
    fn swap(&mut self, scenario: &Scenario, mut record: Record) -> Answer {
        let named = *version_of(&mut record);
        match self.store.version_of(&record) {
            // A Lease may be created by a PUT that does not say which one it means.
            None if scenario.is(Mutant::NoUid) => self.write(record, true),
            Some(there)
                if (there.rv == named.rv || scenario.is(Mutant::NoVersion))
                    && (there.uid == named.uid || scenario.is(Mutant::NoUid)) =>
            {
                self.write(record, false)
            }
            _ => Answer::Conflict,
        }
    }

    pub(super) fn write(&mut self, mut record: Record, create: bool) -> Answer {
        self.store.version += 1;
        let version = version_of(&mut record);
        version.rv = self.store.version;
        if create {
            version.uid = uid(FRESH + self.store.version as usize);
        }
        let answer = Answer::Done(*version);
        self.tell(&record, false);
        match record {
            Record::Session(record) => drop(self.store.sessions.insert(record.name.clone(), record)),
            Record::Shard(record) => drop(self.store.shards.insert(record.shard, record)),
            Record::Predecessor { .. } => {}
        }
        answer
    }

    /// A Lease is deleted by hand.
    pub(super) fn delete(&mut self, mut record: Record) {
        match &record {
            Record::Session(record) => drop(self.store.sessions.remove(&record.name)),
            Record::Shard(record) => drop(self.store.shards.remove(&record.shard)),
            Record::Predecessor { .. } => {}
        }
        self.store.version += 1;
        version_of(&mut record).rv = self.store.version;
        self.tell(&record, true);
    }

    fn tell(&mut self, record: &Record, gone: bool) {
        for replica in self.replicas.iter_mut().flatten().filter(|replica| !replica.listing) {
            replica.events.push((record.clone(), gone));
        }
    }

    /// A tick has passed; the clock of `slow` has not moved, that of `fast` by two.
    pub(super) fn pass(&mut self, scenario: &Scenario, slow: Option<usize>, fast: Option<usize>) {
        for (at, replica) in self.replicas.iter_mut().enumerate() {
            let Some(replica) = replica else { continue };
            let ticks = 1 + u8::from(fast == Some(at)) - u8::from(slow == Some(at));
            replica.age(ticks);
        }
        self.ghosts.iter_mut().for_each(|left| *left = left.saturating_sub(1));
        self.flights.iter_mut().for_each(|flight| flight.age += 1);
        self.flights.retain(|flight| flight.age <= scenario.longest() + 2);
    }

    /// Whether a replica would send a write for a shard now.
    pub(super) fn writes(&self, scenario: &Scenario, at: usize, shard: Shard) -> bool {
        let Some(replica) = &self.replicas[at] else { return false };
        replica.machine.holds(shard)
            && (scenario.is(Mutant::NoGate)
                || replica.machine.gate_is_open(NOW)
                || scenario.is(Mutant::LateGate) && replica.machine.gate() == Some(NOW))
    }

    /// Whoever may write does.
    pub(super) fn send_writes(&mut self, scenario: &Scenario) {
        if !scenario.busy {
            return;
        }
        for at in 0..self.replicas.len() {
            for shard in Shard::all().take(scenario.shards) {
                if self.writes(scenario, at, shard)
                    && let Some(replica) = &mut self.replicas[at]
                {
                    replica.busy[shard.index()] = scenario.in_flight();
                }
            }
        }
    }
}

impl Store {
    fn list(&self) -> Vec<Record> {
        let shards = self.shards.values().cloned().map(Record::Shard);
        shards.chain(self.sessions.values().cloned().map(Record::Session)).collect()
    }

    fn version_of(&self, record: &Record) -> Option<Version> {
        match record {
            Record::Session(record) => self.sessions.get(&record.name).map(|there| there.version),
            Record::Shard(record) => self.shards.get(&record.shard).map(|there| there.version),
            Record::Predecessor { .. } => None,
        }
    }
}

fn version_of(record: &mut Record) -> &mut Version {
    match record {
        Record::Session(record) => &mut record.version,
        Record::Shard(record) => &mut record.version,
        Record::Predecessor { .. } => unreachable!("there is none in this world"),
    }
}
