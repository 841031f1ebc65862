//! Several replicas against a small store with compare-and-swap: delayed watches, late and lost answers, crashes,
//! pauses, clocks that drift, and hands that edit Leases. `LEASE_SEEDS=1000` tries more, `LEASE_SEED=7`
//! begins there, and `LEASE_TRACE=1` tells each step.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::leadership::*;
use crate::rules::shard::Shard;
use crate::rules::uid::{Uid, Version};

const SHARDS: usize = 8;
/// A step of the simulation, in milliseconds.
const STEP: u64 = 50;

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Key {
    Session(SessionName),
    Shard(Shard),
}

fn key(record: &Record) -> Key {
    match record {
        Record::Session(record) => Key::Session(record.name.clone()),
        Record::Shard(record) => Key::Shard(record.shard),
        Record::Predecessor { .. } => unreachable!("there is none in this world"),
    }
}

fn version_of(record: &mut Record) -> &mut Version {
    match record {
        Record::Session(record) => &mut record.version,
        Record::Shard(record) => &mut record.version,
        Record::Predecessor { .. } => unreachable!("there is none in this world"),
    }
}

/// The API server, as far as Leases go.
#[derive(Default)]
struct Store {
    version: u64,
    leases: BTreeMap<Key, Record>,
    /// Each change with its version; true for a deletion.
    log: Vec<(Record, bool)>,
}

impl Store {
    fn uid(n: u64) -> Uid {
        Uid::parse(&format!("00000000-0000-0000-8000-{n:012x}")).unwrap()
    }

    fn write(&mut self, mut record: Record, create: bool) -> Answer {
        self.version += 1;
        let version = version_of(&mut record);
        version.rv = self.version;
        if create {
            version.uid = Self::uid(self.version);
        }
        let done = Answer::Done(*version);
        self.log.push((record.clone(), false));
        self.leases.insert(key(&record), record);
        done
    }

    fn delete(&mut self, key: &Key) {
        let Some(mut record) = self.leases.remove(key) else { return };
        self.version += 1;
        version_of(&mut record).rv = self.version;
        self.log.push((record, true));
    }

    fn swap(&mut self, record: Record) -> Answer {
        let at = |mut record: Record| *version_of(&mut record);
        match self.leases.get(&key(&record)).cloned() {
            Some(found) if at(found.clone()) == at(record.clone()) => self.write(record, false),
            _ => Answer::Conflict,
        }
    }

    fn create(&mut self, record: Record) -> Answer {
        if self.leases.contains_key(&key(&record)) {
            return Answer::Conflict;
        }
        self.write(record, true)
    }

    fn handle(&mut self, request: &Request, lease: Duration) -> Answer {
        let none = Version { uid: Self::uid(0), rv: 0 };
        let shard = |shard: &Shard, version, holder| {
            Record::Shard(ShardRecord { shard: *shard, version, lease: Some(lease), holder })
        };
        match request.clone() {
            Request::CreateSession { name, renewal } => self.create(Record::Session(SessionRecord {
                name,
                version: none,
                lease: Some(lease),
                phase: Phase::Live,
                renewal,
            })),
            Request::Renew { name, version, renewal, phase } => {
                self.swap(Record::Session(SessionRecord { name, version, lease: Some(lease), phase, renewal }))
            }
            Request::EndSession(record) => self.swap(Record::Session(record)),
            Request::LookAtSession(name) => match self.leases.get(&Key::Session(name)) {
                Some(Record::Session(record)) => Answer::Found(record.clone()),
                _ => Answer::Missing,
            },
            Request::CreateShard(of, _) => self.create(shard(&of, none, Holder::Cleared)),
            Request::TakeShard(of, version, by) => self.swap(shard(&of, version, Holder::Named(by))),
            Request::ReleaseShard(of, version, by) => self.swap(shard(&of, version, Holder::Released(by))),
        }
    }
}

/// A request on its way to the server, and its answer on the way back.
struct Flight {
    replica: usize,
    arrives: u64,
    /// What the replica is told, and when; a lost answer is told as failed.
    answers: u64,
    lost: bool,
    request: Request,
    answer: Option<Answer>,
}

struct Replica {
    machine: Machine,
    /// Its clock: an epoch and a rate in thousandths.
    epoch: u64,
    rate: u64,
    cursor: usize,
    /// The watch shows nothing before this.
    watch_stalled: u64,
    /// Its requests do not arrive before this.
    cut: u64,
    /// A list is on its way: what it will show, and when.
    listing: Option<(u64, usize, Vec<Record>)>,
    paused: u64,
    alive: bool,
    left: bool,
    /// Until when requests of this replica may still land, for each shard.
    busy: Vec<u64>,
    closing: Vec<Shard>,
}

struct World {
    rng: StdRng,
    now: u64,
    timing: Timing,
    store: Store,
    replicas: Vec<Replica>,
    flights: Vec<Flight>,
    faults: bool,
    writes: usize,
    opened: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            now: 0,
            timing: Timing::default(),
            store: Store::default(),
            replicas: vec![],
            flights: vec![],
            faults: true,
            writes: 0,
            opened: 0,
        }
    }

    fn start(&mut self) {
        let (epoch, rate) = (self.rng.random_range(0..1_000_000), self.rng.random_range(960..=1040));
        let now = Duration::from_millis(epoch + self.now * rate / 1000);
        let name = format!("r{}-{}", self.rng.random_range(0..10), self.replicas.len());
        self.replicas.push(Replica {
            machine: Machine::new(&name, self.timing, SHARDS, now),
            epoch,
            rate,
            cursor: 0,
            watch_stalled: 0,
            cut: 0,
            listing: None,
            paused: 0,
            alive: true,
            left: false,
            busy: vec![0; SHARDS],
            closing: vec![],
        });
        self.list(self.replicas.len() - 1);
    }

    fn list(&mut self, at: usize) {
        self.step(at, Input::Relisting);
        let served = self.now + self.rng.random_range(0..300);
        self.replicas[at].listing = Some((served, 0, vec![]));
    }

    fn step(&mut self, at: usize, input: Input) {
        let replica = &mut self.replicas[at];
        let now = Duration::from_millis(replica.epoch + self.now * replica.rate / 1000);
        let said = if std::env::var("LEASE_TRACE").is_ok() { format!("{input:?}") } else { String::new() };
        let actions = replica.machine.step(now, input);
        if !said.is_empty() && (said != "Tick" || !actions.is_empty()) {
            eprintln!("{:>7} r{at} {said} => {actions:?}", self.now);
        }
        for action in actions {
            match action {
                Action::Send(request) => self.send(at, request),
                Action::Open(..) => self.opened += 1,
                Action::Close(shard, _) => self.replicas[at].closing.push(shard),
                Action::Lose(shard, _) => self.replicas[at].closing.retain(|closing| *closing != shard),
                Action::Restored | Action::Rewatch => self.list(at),
                Action::Renamed(..) => {}
                Action::Left => self.replicas[at].left = true,
            }
        }
    }

    fn send(&mut self, replica: usize, request: Request) {
        let odd = self.faults && self.rng.random_ratio(1, 20);
        // An odd request may arrive long after its sender gave it up; Leases are protected by versions, not by time.
        let arrives = self.now + self.rng.random_range(1..if odd { 6000 } else { 100 });
        let lost = odd && self.rng.random_bool(0.5);
        let patience = self.now + self.timing.lease_request.as_millis() as u64;
        let back = arrives + self.rng.random_range(1..100);
        let cut = self.replicas[replica].cut > self.now;
        let arrives = if cut { u64::MAX } else { arrives };
        let lost = lost || cut || back > patience;
        self.flights.push(Flight { replica, arrives, answers: back.min(patience), lost, request, answer: None });
    }

    /// One step of time: the network, the watches, the writers, the ticks.
    fn advance(&mut self) {
        self.now += STEP;
        for flight in self.flights.iter_mut().filter(|flight| flight.answer.is_none()) {
            if flight.arrives <= self.now {
                flight.answer = Some(self.store.handle(&flight.request, self.timing.lease));
            }
        }
        for at in 0..self.replicas.len() {
            if self.replicas[at].alive && self.replicas[at].paused <= self.now {
                self.run(at);
            }
        }
        self.flights
            .retain(|flight| flight.answers != u64::MAX || flight.answer.is_none() && flight.arrives != u64::MAX);
    }

    fn run(&mut self, at: usize) {
        if self.rng.random_bool(0.5) {
            self.write(at);
        }
        let mut inputs = vec![];
        for flight in self.flights.iter_mut().filter(|flight| flight.replica == at && flight.answers <= self.now) {
            if flight.answers == u64::MAX {
                continue;
            }
            let answer = flight.answer.clone().filter(|_| !flight.lost).unwrap_or(Answer::Failed);
            inputs.push(Input::Answered(flight.request.clone(), answer));
            flight.answers = u64::MAX; // told; a request that has not arrived yet still may
        }
        let replica = &mut self.replicas[at];
        if let Some((when, _, _)) = &mut replica.listing {
            if *when <= self.now {
                replica.listing = None;
                replica.cursor = self.store.log.len();
                inputs.push(Input::Relisted(self.store.leases.values().cloned().collect()));
            }
        } else if replica.watch_stalled <= self.now {
            let until = (replica.cursor + self.rng.random_range(0..6)).min(self.store.log.len());
            for (record, gone) in &self.store.log[replica.cursor..until] {
                inputs.push(if *gone { Input::Gone(record.clone()) } else { Input::Observed(record.clone()) });
            }
            replica.cursor = until;
        }
        for shard in replica.closing.clone() {
            if replica.busy[shard.index()] <= self.now {
                replica.closing.retain(|closing| *closing != shard);
                inputs.push(Input::Drained(shard));
            }
        }
        inputs.push(Input::Tick);
        for input in inputs {
            self.step(at, input);
        }
    }

    /// A writer asks the gate and sends: no request of another may still be able to land.
    fn write(&mut self, at: usize) {
        let replica = &self.replicas[at];
        let clock = Duration::from_millis(replica.epoch + self.now * replica.rate / 1000);
        for shard in Shard::all().take(SHARDS) {
            let replica = &self.replicas[at];
            if !replica.machine.holds(shard) || !replica.machine.gate_is_open(clock) {
                continue;
            }
            for (other, others) in self.replicas.iter().enumerate().filter(|(other, _)| *other != at) {
                let until = others.busy[shard.index()];
                assert!(
                    until <= self.now,
                    "at {} ms replica {at} writes shard {shard} while a request of {other} may land until {until}:\n{:#?}\n{:#?}",
                    self.now,
                    self.replicas[at].machine,
                    others.machine
                );
            }
            let longest = self.timing.request.as_millis() as u64;
            let takes = if self.rng.random_bool(0.2) { longest } else { self.rng.random_range(0..longest / 20) };
            let busy = &mut self.replicas[at].busy[shard.index()];
            *busy = (*busy).max(self.now + takes);
            self.writes += 1;
        }
    }

    fn fault(&mut self) {
        let at = self.rng.random_range(0..self.replicas.len());
        let shard = Shard::new(self.rng.random_range(0..SHARDS)).unwrap();
        let pause = self.now + self.rng.random_range(0..25_000);
        let kind = self.rng.random_range(0..15);
        if std::env::var("LEASE_TRACE").is_ok() {
            eprintln!("{:>7} fault {kind} at r{at}, shard {shard}", self.now);
        }
        match kind {
            0 => self.replicas[at].alive = false,
            1 => self.replicas[at].paused = pause,
            2 => self.replicas[at].watch_stalled = pause,
            3 => self.list(at),
            4 => self.step(at, Input::Leave),
            5..=7 => self.start(),
            8 => self.store.delete(&Key::Shard(shard)),
            9 => {
                let name = self.replicas[at].machine.session().clone();
                self.store.delete(&Key::Session(name));
            }
            10 => self.edit_shard(shard, Holder::Cleared),
            11 => {
                let name = self.replicas[at].machine.session().clone();
                self.edit_shard(shard, Holder::Named(name));
            }
            12 => self.edit_session(at),
            _ => (self.replicas[at].watch_stalled, self.replicas[at].cut) = (pause, pause),
        }
    }

    fn edit_shard(&mut self, shard: Shard, holder: Holder) {
        if let Some(Record::Shard(record)) = self.store.leases.get(&Key::Shard(shard)).cloned() {
            self.store.write(Record::Shard(ShardRecord { holder, ..record }), false);
        }
    }

    fn edit_session(&mut self, at: usize) {
        let key = Key::Session(self.replicas[at].machine.session().clone());
        let lease = [None, Some(Duration::from_secs(1)), Some(Duration::from_secs(10))][self.rng.random_range(0..3)];
        let phase = [Phase::Live, Phase::Live, Phase::Leaving, Phase::Ended][self.rng.random_range(0..4)];
        if let Some(Record::Session(record)) = self.store.leases.get(&key).cloned() {
            self.store.write(Record::Session(SessionRecord { lease, phase, ..record }), false);
        }
    }

    fn living(&self) -> Vec<usize> {
        (0..self.replicas.len()).filter(|at| self.replicas[*at].alive && !self.replicas[*at].left).collect()
    }

    fn settled(&self) -> Result<(), String> {
        let counts: Vec<usize> = self
            .living()
            .into_iter()
            .map(|at| {
                let machine = &self.replicas[at].machine;
                Shard::all().take(SHARDS).filter(|shard| machine.holds(*shard)).count()
            })
            .collect();
        let (least, most) = (counts.iter().min().copied().unwrap_or(0), counts.iter().max().copied().unwrap_or(0));
        if counts.iter().sum::<usize>() != SHARDS || most - least > 1 {
            return Err(format!("held: {counts:?}"));
        }
        Ok(())
    }
}

/// Two minutes of faults, then a minute and a half of peace.
fn run(seed: u64) -> Result<World, String> {
    let mut world = World::new(seed);
    (0..1 + seed % 4).for_each(|_| world.start());
    while world.now < 120_000 {
        if world.rng.random_ratio(STEP as u32, 6_000) && world.replicas.len() < 12 {
            world.fault();
        }
        world.advance();
    }
    world.faults = false;
    for replica in &mut world.replicas {
        (replica.paused, replica.watch_stalled, replica.cut) = (0, 0, 0);
    }
    if !world.living().iter().any(|at| !world.replicas[*at].machine.is_leaving()) {
        world.start();
    }
    while world.now < 210_000 {
        world.advance();
    }
    world.settled().map_err(|why| format!("seed {seed}: not settled: {why}\n{:#?}", world.store.leases.values()))?;
    Ok(world)
}

#[test]
fn no_two_gates_are_open_and_every_shard_is_served_in_the_end() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let from = number("LEASE_SEED").unwrap_or(0);
    let seeds = from..from + number("LEASE_SEEDS").unwrap_or(if from == 0 { 25 } else { 1 });
    let (mut writes, mut opened) = (0, 0);
    for seed in seeds {
        let world = std::panic::catch_unwind(|| run(seed)).unwrap_or_else(|panic| {
            eprintln!("seed {seed}: run again with LEASE_SEED={seed}");
            std::panic::resume_unwind(panic)
        });
        let world = world.unwrap_or_else(|why| panic!("{why}"));
        writes += world.writes;
        opened += world.opened;
    }
    assert!(writes > 1000 && opened > 20, "nothing happened: {writes} writes, {opened} shards");
}
