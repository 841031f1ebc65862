//! Everything that can happen in the model's cluster, in any order, seen late by two replicas.

use std::collections::BTreeMap;
use std::rc::Rc;

use proptest::prelude::*;

use crate::rules::copy::facts::Read;
use crate::rules::object::tests::cluster::*;
use crate::rules::object::tests::many::*;
use crate::rules::object::tests::many_objects::Many;
use crate::rules::record::{ConfigMapMeta, Name, ObjectKey, OwnerMark, Spec};
use crate::rules::testing::*;
use crate::rules::uid::Uid;

pub(super) const SLOTS: usize = 3;
pub(super) const PLACES: [&str; 7] = ["n0/x", "n0/y", "n1/x", "n1/y", "n2/x", "n2/y", "n0/kube-root-ca.crt"];

type At = usize;

#[derive(Clone, Debug)]
pub(super) enum Event {
    /// A replica decides on a step of a sync, or carries out the one that it decided on.
    Act(usize),
    /// A replica takes so many steps of a sync, with nothing in between.
    Run(usize, u8),
    /// A watch of a replica tells what happened, up to some moment.
    Hear(usize, usize, u8),
    /// A sync moves to the other replica, which remembers nothing of it.
    HandOver(usize),
    /// One of the late writes is carried out.
    Late(u8),
    Forget(usize),
    /// A replica starts anew, and lists.
    Restart(usize),
    TimePasses(usize),
    Edit(At, u8),
    /// Somebody replaces all of a ConfigMap, with our marks gone.
    Strip(At, u8),
    Flag(At, u8),
    Delete(At),
    LetGo(At),
    /// Somebody copies a ConfigMap with all its marks, or deletes it and creates it anew.
    Duplicate(At, At),
    /// A copy by the seed's operator.
    Seed(At, usize),
    Want(usize, At, At, u8),
    DeleteSync(usize),
    Namespace(u8, u8),
    /// What happens to objects that want many copies.
    Many(Many),
}

/// What happens to syncs, and to all ConfigMaps.
pub(super) fn event() -> impl Strategy<Value = Event> {
    // Mostly about the same few, so that things come to a head.
    let at = prop_oneof![2 => 0..2_usize, 1 => 0..6_usize];
    let slot = prop_oneof![2 => 0..1_usize, 1 => 0..SLOTS];
    let to = prop_oneof![2 => 1..2_usize, 1 => 0..PLACES.len()];
    prop_oneof![
        40 => slot.clone().prop_map(Event::Act),
        25 => (slot.clone(), 1..12_u8).prop_map(|(slot, steps)| Event::Run(slot, steps)),
        20 => (0..2_usize, 0..3_usize, 0..4_u8).prop_map(|(replica, stream, part)| Event::Hear(replica, stream, part)),
        5 => slot.clone().prop_map(Event::HandOver),
        5 => any::<u8>().prop_map(Event::Late),
        2 => slot.clone().prop_map(Event::Forget),
        1 => (0..2_usize).prop_map(Event::Restart),
        3 => slot.clone().prop_map(Event::TimePasses),
        12 => (at.clone(), 0..3_u8).prop_map(|(at, hash)| Event::Edit(at, hash)),
        2 => (at.clone(), 0..4_u8).prop_map(|(at, hash)| Event::Strip(at, hash)),
        3 => (at.clone(), 0..4_u8).prop_map(|(at, flag)| Event::Flag(at, flag)),
        4 => at.clone().prop_map(Event::Delete),
        2 => at.clone().prop_map(Event::LetGo),
        2 => (at.clone(), at.clone()).prop_map(|(from, to)| Event::Duplicate(from, to)),
        1 => (at.clone(), slot.clone()).prop_map(|(at, slot)| Event::Seed(at, slot)),
        6 => (slot.clone(), at.clone(), to, any::<u8>()).prop_map(|(slot, from, to, policy)| Event::Want(slot, from, to, policy)),
        3 => slot.prop_map(Event::DeleteSync),
        3 => (0..3_u8, 0..3_u8).prop_map(|(space, what)| Event::Namespace(space, what)),
    ]
}

pub(super) fn events() -> impl Strategy<Value = Vec<Event>> {
    let beginning = |policy| {
        let hear = [Event::Hear(0, 0, 3), Event::Hear(0, 1, 3), Event::Hear(0, 2, 3)];
        [Event::Edit(0, 1), Event::Want(0, 0, 1, policy)].into_iter().chain(hear)
    };
    (any::<u8>(), prop::collection::vec(event(), 1..120))
        .prop_map(move |(policy, events)| beginning(policy).chain(events).collect())
}

pub(super) struct Model {
    pub(super) history: Vec<Rc<State>>,
    /// When something changed last.
    pub(super) changed: usize,
    pub(super) replicas: [Replica; 2],
    /// Of each sync, and then of each of the many copies: see [`crate::rules::object::tests::many`].
    pub(super) remembered: [Remembered; ALL],
    pub(super) decided: [Option<Decided>; ALL],
    /// Where writes may outlive their holder's time: those that do, and what their holder knew.
    pub(super) late: Option<Vec<(Decided, Remembered)>>,
    /// The replica that holds a sync, and its UID.
    pub(super) held_by: [usize; ALL],
    pub(super) uids: [Option<Uid>; SLOTS],
    pub(super) many: Shards,
    /// What is remembered of a key that nobody has looked at.
    pub(super) nothing: Remembered,
}

impl Model {
    pub(super) fn new() -> Self {
        let mut state = State::default();
        for (number, name) in (100..).zip(["n0", "n1", "n2"]) {
            state.spaces.insert(name.into(), (uid(number), false));
        }
        Self {
            history: vec![Rc::new(state)],
            changed: 0,
            replicas: Default::default(),
            remembered: Default::default(),
            decided: Default::default(),
            late: None,
            held_by: std::array::from_fn(|slot| if slot < SLOTS { slot % 2 } else { Place::of(slot).replica }),
            uids: [None; SLOTS],
            many: Shards::default(),
            nothing: Remembered::default(),
        }
    }

    pub(super) fn now(&self) -> usize {
        self.history.len() - 1
    }

    pub(super) fn state(&self) -> &State {
        &self.history[self.now()]
    }

    /// Something happens: the next moment. Gives its time, which is the version of what is written in it.
    pub(super) fn change<T>(&mut self, change: impl FnOnce(&mut State, u64) -> T) -> T {
        let mut state = State::clone(self.state());
        let answer = change(&mut state, self.history.len() as u64);
        self.history.push(Rc::new(state));
        self.changed = self.now();
        answer
    }

    /// The next moment, in which nothing changes. Gives its time.
    pub(super) fn tick(&mut self) -> usize {
        self.history.push(self.history[self.now()].clone());
        self.now()
    }

    pub(super) fn view(&self, slot: usize) -> View<'_> {
        View { history: &self.history, replica: &self.replicas[self.held_by[slot]], remembered: &self.remembered[slot] }
    }

    pub(super) fn decide(&self, slot: usize) -> Option<Decided> {
        self.view(slot).decide(self.uids[slot]?)
    }

    pub(super) fn event(&mut self, event: Event) {
        match event {
            Event::Act(slot) => match self.decided[slot].take() {
                Some(decided) => self.carry_out(slot, decided),
                None => self.decided[slot] = self.decide(slot),
            },
            Event::Run(slot, steps) => {
                for _ in 0..steps {
                    let Some(decided) = self.decided[slot].take().or_else(|| self.decide(slot)) else { break };
                    self.carry_out(slot, decided);
                }
            }
            Event::Hear(replica, stream, part) => {
                let now = self.now();
                let replica = &mut self.replicas[replica];
                let at = [&mut replica.maps, &mut replica.syncs, &mut replica.spaces, &mut replica.objects];
                let at = at.into_iter().nth(stream).unwrap();
                *at += (now - *at) * (usize::from(part) + 1) / 4;
                self.take_notes();
            }
            Event::Late(which) => {
                let late = self.late.as_mut().filter(|late| !late.is_empty());
                if let Some(late) = late {
                    let which = usize::from(which) % late.len();
                    let late = late.swap_remove(which);
                    self.carry_out_late(late);
                }
            }
            Event::HandOver(slot) if self.late.is_some() || self.decided[slot].is_none() => {
                self.outlives(slot);
                self.held_by[slot] = 1 - self.held_by[slot];
                self.remembered[slot] = Remembered::default();
            }
            Event::Forget(slot) if self.decided[slot].is_none() => self.remembered[slot] = Remembered::default(),
            Event::Restart(replica) => self.restart(replica),
            Event::TimePasses(slot) => self.time_passes(slot),
            Event::HandOver(_) | Event::Forget(_) => {}
            Event::Many(event) => self.event_of_many(&event),
            Event::Want(slot, from, to, policy) => self.want(slot, PLACES[from], PLACES[to], policy),
            Event::DeleteSync(slot) => self.delete_sync(slot),
            Event::Namespace(space, what) => self.namespace(space, what),
            Event::Edit(..) | Event::Strip(..) | Event::Flag(..) | Event::Delete(_) | Event::LetGo(_) => {
                self.meddle(&event)
            }
            Event::Duplicate(..) | Event::Seed(..) => self.meddle(&event),
        }
    }

    pub(super) fn restart(&mut self, replica: usize) {
        let now = self.now();
        self.replicas[replica] = Replica { maps: now, syncs: now, spaces: now, objects: now, ..Replica::default() };
        self.list_many(replica);
        for slot in 0..ALL {
            if self.held_by[slot] == replica {
                self.outlives(slot);
                self.remembered[slot] = Remembered::default();
                self.decided[slot] = None;
            }
        }
    }

    /// What was decided is on its way to the server, and its sender is no longer the holder.
    pub(super) fn outlives(&mut self, slot: usize) {
        let decided = self.decided[slot].take();
        if let (Some(late), Some(decided)) = (&mut self.late, decided) {
            late.push((decided, self.remembered[slot].clone()));
        }
    }

    /// The source is looked for again.
    pub(super) fn time_passes(&mut self, slot: usize) {
        let remembered = &mut self.remembered[slot];
        if let Some((_, None, _)) = remembered.source {
            remembered.source = None;
            (remembered.recheck, remembered.waited) = (true, true);
        }
        remembered.waits = remembered.waits.map(|_| true);
    }

    /// What people and other programs do to ConfigMaps.
    fn meddle(&mut self, event: &Event) {
        let key = |slot: &usize| object_key(&format!("k/s{slot}"));
        self.change(|state, rv| {
            let there = |at: &At| object_key(PLACES[*at]);
            let version = version(1000 + rv, rv);
            let plain = |hash: u8| Map {
                read: Read {
                    meta: ConfigMapMeta { version, ..meta(0, 0) },
                    hash: [hash; 32],
                    immutable: false,
                    as_marked: false,
                },
                made_by_us: false,
                forged: false,
                taken: false,
                held: false,
                high: None,
                named: None,
            };
            let State { maps, spaces, .. } = state;
            let live = |at: &At| spaces.get(&there(at).namespace).is_some_and(|(_, terminating)| !terminating);
            match event {
                Event::Edit(at, hash) | Event::Strip(at, hash) => match maps.get_mut(&there(at)) {
                    Some(map) if map.read.immutable => {}
                    Some(map) => {
                        map.read.meta.version.rv = rv;
                        map.read.hash = [*hash; 32];
                        map.read.as_marked = map.named.is_some_and(|(named, _)| named == map.read.hash);
                        if matches!(event, Event::Strip(..)) {
                            map.read.meta = ConfigMapMeta { mark: None, adopted: false, ..map.read.meta.clone() };
                            (map.high, map.named) = (None, None); // nothing tells any more that it was a copy
                        }
                    }
                    None if live(at) => _ = maps.insert(there(at), plain(*hash)),
                    None => {}
                },
                Event::Flag(at, flag) => {
                    if let Some(map) = maps.get_mut(&there(at)) {
                        map.read.meta.version.rv = rv;
                        map.read.meta.foreign_metadata = true;
                        match flag {
                            0 => map.read.immutable = true,
                            1 => map.read.meta.controlled = true,
                            2 => map.held = true,
                            _ => {}
                        }
                    }
                }
                Event::Delete(at) => remove(maps, &there(at), rv),
                Event::LetGo(at) => {
                    if let Some(map) = maps.get_mut(&there(at)) {
                        map.held = false;
                        if map.read.meta.deleting {
                            maps.remove(&there(at));
                        }
                    }
                }
                Event::Duplicate(from, to) => {
                    let Some(map) = maps.get(&there(from)).cloned() else { return };
                    if (from == to && !map.held) || (!maps.contains_key(&there(to)) && live(to)) {
                        let meta = ConfigMapMeta { version, deleting: false, ..map.read.meta };
                        let read = Read { meta, ..map.read };
                        maps.insert(
                            there(to),
                            Map { read, forged: true, made_by_us: false, taken: false, held: false, high: None, ..map },
                        );
                    }
                }
                Event::Seed(at, slot) if !maps.contains_key(&there(at)) && live(at) => {
                    let mut map = Map { forged: true, ..plain(0) };
                    map.read.meta.mark = Some(OwnerMark { sync: key(slot), uid: None, source_rv: 0, at: None });
                    maps.insert(there(at), map);
                }
                _ => {}
            }
        });
    }

    fn want(&mut self, slot: usize, from: &str, to: &str, policy: u8) {
        let bit = |bit: u8| policy & (1 << bit) != 0;
        let spec = Spec {
            source: object_key(from),
            destination: object_key(to),
            overwrite: bit(0) || bit(1),
            orphan: bit(2) && bit(3),
            delete_with_source: bit(4),
            require_consent: false,
            suspend: bit(5) && bit(6) && bit(7),
        };
        let known = self.uids[slot];
        let new = self.change(|state, rv| {
            if let Some(sync) = known.and_then(|uid| state.syncs.get_mut(&uid)) {
                let sync = Rc::make_mut(sync);
                sync.version.rv = rv;
                sync.generation += 1;
                sync.spec = Ok(spec);
                return known;
            }
            let mut sync = sync(&format!("k/s{slot}"), 5000 + rv, from, to);
            (sync.version.rv, sync.created, sync.spec) = (rv, (rv / 8) as u32, Ok(spec));
            let uid = sync.uid();
            state.syncs.insert(uid, Rc::new(sync));
            Some(uid)
        });
        if new != known {
            self.outlives(slot);
            (self.uids[slot], self.remembered[slot], self.decided[slot]) = (new, Remembered::default(), None);
        }
    }

    fn delete_sync(&mut self, slot: usize) {
        let Some(uid) = self.uids[slot] else { return };
        self.change(|state, rv| match state.syncs.get_mut(&uid) {
            Some(sync) if sync.finalizer => {
                let sync = Rc::make_mut(sync);
                (sync.deleting, sync.version.rv) = (true, rv);
            }
            _ => _ = state.syncs.remove(&uid),
        });
    }

    fn namespace(&mut self, space: u8, what: u8) {
        let name: Name = format!("n{space}").into();
        self.change(|state, rv| match what {
            0 => {
                if let Some((_, terminating)) = state.spaces.get_mut(&name) {
                    *terminating = true;
                }
            }
            1 if state.spaces.get(&name).is_some_and(|(_, terminating)| *terminating) => {
                state.spaces.remove(&name);
                state.maps.retain(|key, _| key.namespace != name);
                state.fed.remove(&name);
            }
            _ => _ = state.spaces.entry(name).or_insert((uid(2000 + rv), false)),
        });
    }
}

/// What a DELETE does.
pub(super) fn remove(maps: &mut BTreeMap<ObjectKey, Map>, at: &ObjectKey, rv: u64) {
    match maps.get_mut(at) {
        Some(map) if map.held => {
            map.read.meta.deleting = true;
            map.read.meta.version.rv = rv;
        }
        _ => _ = maps.remove(at),
    }
}
