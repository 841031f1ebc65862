//! Whatever happens, and however late it is seen: what must never happen does not, and in the end every sync is in
//! order, or says rightly why not, and nothing more is asked or written.

use std::rc::Rc;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use crate::rules::copy::facts::{CopyState, Destination, Hash, NamespaceState, Read};
use crate::rules::copy::guard::Guard;
use crate::rules::copy::removal::sweep;
use crate::rules::copy::step::{CopyStep, DestinationStep, Until};
use crate::rules::copy::verdict::{Stall, Verdict};
use crate::rules::object::step::Step;
use crate::rules::object::tests::cluster::*;
use crate::rules::object::tests::model::*;
use crate::rules::record::{ConfigMapMeta, ObjectKey, OwnerMark, Sync};
use crate::rules::testing::*;
use crate::rules::uid::Version;

impl Model {
    /// What the API server and the runner make of a step.
    pub(super) fn carry_out(&mut self, slot: usize, decided: Decided) {
        self.is_written_by_its_holder(slot, &decided);
        let Decided { step, sync, source, namespace, owner_known } = decided;
        let spec = sync.spec.as_ref().unwrap();
        let here = &spec.destination;
        match step {
            Step::Rest(Until::Change) => {}
            Step::Rest(_) => self.remembered[slot].recheck = false,
            Step::Copy(CopyStep::ReadSource { uncached }) => self.read_source(slot, &spec.source, uncached),
            Step::Copy(CopyStep::Destination(DestinationStep::ReadCopy(at))) => self.read_copy(slot, &at),
            Step::Copy(CopyStep::Destination(DestinationStep::ReadNamespace(name))) => {
                let now = self.tick();
                let namespace = match self.state().spaces.get(&name) {
                    None => NamespaceState::Absent,
                    Some((_, true)) => NamespaceState::Terminating,
                    Some((uid, false)) => NamespaceState::Live(*uid),
                };
                self.remembered[slot].spaces.insert(name, (namespace, now));
            }
            Step::Copy(CopyStep::Create) => match self.closed(here) {
                Some(namespace) => {
                    let at = self.tick();
                    self.remembered[slot].spaces.insert(here.namespace.clone(), (namespace, at));
                }
                None if self.state().maps.contains_key(here) => self.read_copy(slot, here), // AlreadyExists
                None => self.write(slot, &sync, source.unwrap(), namespace, None),
            },
            Step::Copy(CopyStep::Replace { over, adopt }) => {
                let source = source.unwrap();
                let Some(map) = self.state().maps.get(here).filter(|map| map.read.meta.version == over).cloned() else {
                    return self.read_copy(slot, here); // Conflict, or NotFound
                };
                if map.read.immutable && map.read.hash != source.1 {
                    return self.read_copy(slot, here); // Invalid
                }
                assert_ne!(&*here.name, "kube-root-ca.crt");
                if !(map.made_by_us || map.forged || map.taken) {
                    assert!(adopt && spec.overwrite && !map.read.immutable, "not ours to write: {here}");
                    assert!(!map.read.meta.controlled, "a controller's: {here}");
                }
                assert_eq!(owner_known, None, "another live sync's copy: {here}");
                let back = map.high.as_ref().is_some_and(|(of, high)| *of == spec.source && source.0.rv < *high);
                // A late write may be older, for as long as the holder needs to see it.
                assert!(!back || self.late.is_some(), "{here} goes back to {:?} from {:?}", source.0, map.high);
                self.write(slot, &sync, source, namespace, Some((map, adopt)));
            }
            Step::Copy(CopyStep::Destination(DestinationStep::Remove(at, over))) => {
                let Some(map) = self.state().maps.get(&at).filter(|map| map.read.meta.version == over) else {
                    return self.read_copy(slot, &at);
                };
                assert!(map.made_by_us || map.forged, "not ours to remove: {at}");
                assert!(!map.read.meta.adopted && !map.taken, "what was adopted stays: {at}");
                assert!(!(sync.deleting && spec.orphan), "the copy outlives its sync");
                let held = map.held;
                self.change(|state, rv| remove(&mut state.maps, &at, rv));
                match held {
                    true => self.read_copy(slot, &at),
                    false => _ = self.remembered[slot].copies.insert(at, (None, false, self.now())),
                }
            }
            Step::Copy(CopyStep::Destination(DestinationStep::Unmark(at))) => {
                let read = self.remembered[slot].copies.get(&at).and_then(|(read, ..)| read.clone()).unwrap();
                self.change(|state, rv| {
                    if let Some(map) = state.maps.get_mut(&at).filter(|map| map.read.meta.version == read.meta.version)
                    {
                        map.read.meta = ConfigMapMeta { mark: None, adopted: false, ..read.meta.clone() };
                        map.read.meta.version.rv = rv;
                        (map.made_by_us, map.taken, map.high, map.named) = (false, false, None, None);
                    }
                });
                self.read_copy(slot, &at);
            }
            Step::AddFinalizer { .. } => _ = self.write_sync(slot, &sync, |sync| sync.finalizer = true),
            Step::RemoveFinalizer => {
                let left = self.state().maps.get(here).filter(|map| map.made_by_us && !map.read.meta.adopted);
                let space = self.state().spaces.get(&here.namespace).filter(|(_, terminating)| !terminating);
                if let (Some(Map { read, .. }), Some((space, _))) = (left, space) {
                    let mark = read.meta.mark.as_ref();
                    let ours = mark.is_some_and(|mark| mark.uid == Some(sync.uid()) && mark.at == Some(*space));
                    // A late write may have made it a moment ago: then the sweep removes it.
                    assert!(!ours || self.late.is_some(), "{here} is left behind");
                }
                self.write_sync(slot, &sync, |sync| sync.finalizer = false);
            }
            Step::Report(verdict, text) => {
                let uid = sync.uid();
                if !self.write_sync(slot, &sync, |sync| sync.status = observed_status(&text)) {
                    return;
                }
                let state = Rc::make_mut(self.history.last_mut().unwrap());
                if let (Verdict::InOrder { source, copy }, Some(map)) = (&verdict, state.maps.get_mut(here))
                    && map.read.meta.version == *copy
                    && map.read.meta.mark.as_ref().is_some_and(|mark| mark.uid.is_some())
                {
                    map.high = newer(map.high.take(), (spec.source.clone(), source.rv));
                }
                state.said.insert(uid, (verdict, *text));
            }
        }
    }

    /// A write arrives whose sender is no longer the holder, and hears of no answer.
    pub(super) fn carry_out_late(&mut self, (decided, remembered): (Decided, Remembered)) {
        let before = (self.remembered.clone(), self.replicas.clone());
        self.remembered[0] = remembered;
        self.carry_out(0, decided);
        (self.remembered, self.replicas) = before;
    }

    /// Why nothing can be created at a place.
    fn closed(&self, key: &ObjectKey) -> Option<NamespaceState> {
        match self.state().spaces.get(&key.namespace) {
            None => Some(NamespaceState::Absent),
            Some((_, true)) => Some(NamespaceState::Terminating),
            Some((_, false)) => None,
        }
    }

    fn read_source(&mut self, slot: usize, at: &ObjectKey, uncached: bool) {
        let now = self.tick();
        let truth = self.state().maps.get(at).map(|map| (map.read.meta.version, map.read.hash));
        let replica = &mut self.replicas[self.held_by[slot]];
        let streamed = self.history[replica.maps].maps.get(at).map(|map| map.read.meta.version.rv);
        let cached = replica.cache.get(at).filter(|(version, ..)| !uncached && streamed == Some(version.rv)).copied();
        let remembered = &mut self.remembered[slot];
        remembered.source = match (cached, truth) {
            (Some((version, hash, since)), _) => Some((at.clone(), Some((version, hash)), since)),
            (None, truth) => Some((at.clone(), truth, now)),
        };
        remembered.missing_twice = remembered.waited && truth.is_none();
        remembered.waited &= truth.is_none();
        if let (None, Some((version, hash))) = (cached, truth) {
            replica.cache.insert(at.clone(), (version, hash, now));
        }
    }

    fn read_copy(&mut self, slot: usize, at: &ObjectKey) {
        let now = self.tick();
        let truth = self.state().maps.get(at).map(|map| map.read.clone());
        self.remembered[slot].copies.insert(at.clone(), (truth, true, now));
    }

    fn write(
        &mut self,
        slot: usize,
        sync: &Sync,
        source: (Version, Hash),
        namespace: NamespaceState,
        over: Option<(Map, bool)>,
    ) {
        let spec = sync.spec.as_ref().unwrap();
        let NamespaceState::Live(at) = namespace else { panic!("no namespace to write to") };
        let version = self.change(|state, rv| {
            let (mut map, adopt) = over.unwrap_or_else(|| {
                let read = Read { meta: meta(rv, rv), hash: source.1, immutable: false, as_marked: true };
                (
                    Map { read, made_by_us: true, forged: false, taken: false, held: false, high: None, named: None },
                    false,
                )
            });
            let mark =
                OwnerMark { sync: sync.key.clone(), uid: Some(sync.uid()), source_rv: source.0.rv, at: Some(at) };
            let was = map.read.meta;
            let version = Version { rv, ..was.version };
            map.read.meta = ConfigMapMeta { version, mark: Some(mark), adopted: was.adopted || adopt, ..was };
            (map.read.hash, map.read.as_marked, map.taken) = (source.1, true, map.taken || adopt);
            map.high = newer(map.high, (spec.source.clone(), source.0.rv));
            map.named = Some((source.1, rv));
            state.maps.insert(spec.destination.clone(), map);
            version
        });
        let read = self.state().maps[&spec.destination].read.clone();
        let now = self.now();
        let remembered = &mut self.remembered[slot];
        remembered.verified = Some((source.0, version));
        remembered.copies.insert(spec.destination.clone(), (Some(read), false, now));
    }

    /// A write of the sync itself, which carries its version: on a conflict the event is waited for.
    fn write_sync(&mut self, slot: usize, sync: &Sync, edit: impl FnOnce(&mut Sync)) -> bool {
        let uid = sync.uid();
        let written = self.change(|state, rv| {
            let now = Rc::make_mut(state.syncs.get_mut(&uid).filter(|now| now.version == sync.version)?);
            now.version.rv = rv;
            edit(now);
            let (gone, now) = (now.deleting && !now.finalizer, Rc::new(now.clone()));
            if gone {
                state.syncs.remove(&uid);
            }
            Some(now)
        });
        let (now, done) = (self.now(), written.is_some());
        match written {
            Some(sync) => self.remembered[slot].sync = Some((sync, now)),
            None => self.replicas[self.held_by[slot]].syncs = now,
        }
        done
    }

    /// Nothing happens any more: all is seen, all is done that there is to do, and missing sources are looked for once
    /// more.
    fn settle(&mut self) {
        for late in self.late.iter_mut().flat_map(std::mem::take).collect::<Vec<_>>() {
            self.carry_out_late(late);
        }
        let mut looked_again = false;
        for round in 0.. {
            assert!(round < 60, "no end");
            let (now, mut acted) = (self.now(), false);
            for replica in &mut self.replicas {
                (replica.maps, replica.syncs, replica.spaces, replica.objects) = (now, now, now, now);
            }
            self.take_notes();
            for slot in 0..SLOTS {
                if let Some(decided) = self.decided[slot].take() {
                    self.carry_out(slot, decided);
                    acted = true;
                }
                for step in 0.. {
                    assert!(step < 20, "slot {slot} has no end");
                    let Some(decided) = self.decide(slot) else { break };
                    if matches!(decided.step, Step::Rest(_)) {
                        if decided.step == Step::Rest(Until::SecondLook) {
                            self.time_passes(slot);
                            acted = true;
                        }
                        if decided.step == Step::Rest(Until::TakeOver) {
                            self.remembered[slot].take_over_waited = true;
                            acted = true;
                        }
                        break;
                    }
                    acted = true;
                    self.carry_out(slot, decided);
                }
            }
            // What stands open is counted once nothing else is left to do.
            if self.settle_copies() || acted || self.sweep() || self.settle_objects() {
                continue;
            }
            if std::mem::replace(&mut looked_again, true) {
                return;
            }
            for slot in 0..SLOTS {
                if self
                    .decide(slot)
                    .is_some_and(|decided| matches!(decided.step, Step::Rest(Until::SourceRecheck | Until::SecondLook)))
                {
                    (self.remembered[slot].source, self.remembered[slot].recheck) = (None, true);
                }
            }
        }
    }

    /// Copies whose sync is gone. Gives whether there were any.
    fn sweep(&mut self) -> bool {
        let keys: Vec<ObjectKey> = self.state().maps.keys().cloned().collect();
        let mut swept = false;
        for key in keys {
            let state = self.state();
            let read = &state.maps[&key].read;
            let mark = read.meta.mark.as_ref().and_then(|mark| mark.uid);
            if mark.is_none_or(|uid| state.syncs.contains_key(&uid) || state.objects.contains_key(&uid)) {
                continue;
            }
            let namespace = match state.spaces.get(&key.namespace) {
                Some((uid, false)) => NamespaceState::Live(*uid),
                _ => NamespaceState::Terminating,
            };
            let copy = CopyState::Read(read);
            let destination = Destination {
                key: &key,
                namespace,
                copy,
                wanted_by_another: self.is_wanted(&key),
                wanted_before: true,
                forbidden: false,
            };
            match sweep(&destination, self.outlives_its_object(&key)) {
                Some(DestinationStep::Remove(at, _)) => self.change(|state, rv| remove(&mut state.maps, &at, rv)),
                Some(DestinationStep::Unmark(at)) => self.change(|state, rv| {
                    let meta = &mut state.maps.get_mut(&at).unwrap().read.meta;
                    (meta.mark, meta.version.rv) = (None, rv);
                }),
                _ => continue,
            }
            swept = true;
        }
        swept
    }

    /// Whether what a sync says is so.
    fn judge(&self, sync: &Sync) {
        let state = self.state();
        let spec = sync.spec.as_ref().unwrap();
        let (source, copy) = (state.maps.get(&spec.source), state.maps.get(&spec.destination));
        let space = state.spaces.get(&spec.destination.namespace);
        let meta = copy.map(|map| &map.read.meta);
        let (verdict, text) = state.said.get(&sync.uid()).expect("nothing was said");
        assert_eq!(text.observed_generation, Some(sync.generation.into()));
        assert_eq!(text.digest(), sync.status.digest);
        let wants = |other: &&Rc<Sync>| !other.deleting && other.destination() == Some(&spec.destination);
        match verdict {
            Verdict::InOrder { source: from, copy: to } => {
                let (source, copy) = (&source.expect("a source").read, &copy.expect("a copy").read);
                assert_eq!((source.hash, *from, *to), (copy.hash, source.meta.version, copy.meta.version));
                assert!(sync.finalizer);
                self.nothing_is_left(sync);
            }
            Verdict::SourceMissing => {
                assert!(source.is_none());
                let went = |meta: &ConfigMapMeta| meta.mark.as_ref().is_none_or(|mark| mark.uid != Some(sync.uid()));
                let homeless =
                    meta.is_some_and(|meta| meta.mark.as_ref().is_some_and(|mark| mark.at != space.map(|s| s.0)));
                let terminating = space.is_some_and(|(_, terminating)| *terminating);
                assert!(
                    !spec.delete_with_source || meta.is_none_or(went) || homeless || terminating,
                    "the copy should have gone"
                );
            }
            Verdict::SourceNotShared => panic!("nobody withholds anything here"),
            Verdict::NamespaceMissing => assert!(space.is_none() && source.is_some()),
            Verdict::NamespaceTerminating => assert!(space.is_some_and(|(_, terminating)| *terminating)),
            Verdict::CopyHeld(_) => assert!(meta.is_some_and(|meta| meta.deleting)),
            Verdict::Failed(_) | Verdict::Changed { .. } => panic!("nothing fails here"),
            Verdict::Stalled(Stall::InvalidSpec(_)) => assert_eq!(spec.source, spec.destination),
            Verdict::Stalled(Stall::KeyConflict(_)) => panic!("nothing is said of keys here"),
            Verdict::Stalled(Stall::Guarded(Guard::Kubernetes)) => {
                assert_eq!(&*spec.destination.name, "kube-root-ca.crt")
            }
            Verdict::Stalled(Stall::Guarded(_)) => panic!("nobody guards anything here"),
            Verdict::Stalled(Stall::DestinationExists) => assert!(!spec.overwrite && meta.is_some()),
            Verdict::Stalled(Stall::DestinationControlled) => assert!(meta.unwrap().controlled),
            Verdict::Stalled(Stall::DestinationImmutable) => assert!(copy.unwrap().read.immutable),
            Verdict::Stalled(Stall::DestinationConflict(by)) => {
                if by.is_cluster_scoped() {
                    return self.is_a_rival(by, &spec.destination);
                }
                let by = state.syncs.values().find(|other| other.key == *by).filter(wants).expect("a rival");
                let said = state.said.get(&by.uid()).map(|(verdict, _)| verdict);
                let waits = matches!(said, Some(Verdict::Stalled(Stall::DestinationConflict(_))));
                assert!(by.uid() != sync.uid() && (!waits || suspended(by)), "both wait");
            }
            Verdict::Stalled(Stall::Cycle(cycle)) => {
                for link in cycle.windows(2) {
                    let links = |other: &Rc<Sync>| {
                        other.spec.as_ref().is_ok_and(|spec| spec.source == link[0] && spec.destination == link[1])
                    };
                    assert!(state.syncs.values().any(links), "{link:?} is no link");
                }
            }
            Verdict::Stalled(Stall::Contested(_)) => panic!("nobody contests here"),
        }
    }

    fn nothing_is_left(&self, sync: &Sync) {
        for (key, map) in &self.state().maps {
            let space = self.state().spaces.get(&key.namespace).filter(|(_, terminating)| !terminating);
            let mark = map.read.meta.mark.as_ref().filter(|mark| mark.uid == Some(sync.uid()));
            if mark.zip(space).is_some_and(|(mark, (at, _))| mark.at == Some(*at)) && !map.read.meta.deleting {
                assert!(self.is_wanted(key), "{key} is left behind");
            }
        }
    }

    fn judge_all(&self) {
        for sync in self.state().syncs.values() {
            match sync.deleting {
                true => {
                    let held = |map: &Map| map.read.meta.deleting;
                    assert!(self.state().maps.values().any(held), "{} does not go", sync.key);
                }
                false if suspended(sync) => {}
                false => self.judge(sync),
            }
        }
        self.judge_many();
    }

    /// A restart asks and writes nothing, but for what no status can tell: that a foreign ConfigMap is still immutable,
    /// or that a source is still missing whose copy is held.
    fn silence(&mut self) {
        self.restart(0);
        self.restart(1);
        for slot in 0..SLOTS {
            let Some(decided) = self.decide(slot) else { continue };
            let said = self.uids[slot].and_then(|uid| self.state().said.get(&uid));
            if !matches!(said, Some((Verdict::Stalled(Stall::DestinationImmutable) | Verdict::CopyHeld(_), _))) {
                assert!(matches!(decided.step, Step::Rest(_)), "{:?} after a restart", decided.step);
            }
        }
    }
}

pub(super) fn suspended(sync: &Sync) -> bool {
    sync.spec.as_ref().is_ok_and(|spec| spec.suspend)
}

fn newer(was: Option<(ObjectKey, u64)>, now: (ObjectKey, u64)) -> Option<(ObjectKey, u64)> {
    Some(match was {
        Some((of, rv)) if of == now.0 => (of, rv.max(now.1)),
        _ => now,
    })
}

pub(super) fn play(events: Vec<Event>) -> Model {
    play_on(Model::new(), events)
}

pub(super) fn play_on(mut model: Model, events: Vec<Event>) -> Model {
    for event in events {
        model.event(event);
    }
    model.settle();
    model.judge_all();
    model.silence();
    model
}

/// The source changes under another holder; the first one comes back with an old view and an old cache.
#[test]
fn a_former_holder_that_lags_does_not_take_a_copy_back() {
    use Event::{Edit, HandOver, Hear, Run, Want};
    let hear = |replica: usize| (0..3).map(move |stream| Hear(replica, stream, 3));
    let mut events = vec![Edit(0, 1), Want(0, 0, 1, 3)];
    events.extend(hear(0).chain([Run(0, 9), HandOver(0)]).chain(hear(1)).chain([Edit(0, 2), Hear(1, 0, 3)]));
    events.extend([Run(0, 9), HandOver(0), Run(0, 9)]);
    play(events);
}

/// So many histories, the same ones in every run. `PROPTEST_RNG_SEED` asks for others, and `PROPTEST_CASES` for more.
pub(super) fn histories(cases: u32) -> ProptestConfig {
    let asked = ProptestConfig::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { asked.cases } else { cases };
    let rng_seed = match asked.rng_seed {
        RngSeed::Random => RngSeed::Fixed(1),
        fixed @ RngSeed::Fixed(_) => fixed,
    };
    ProptestConfig { cases, rng_seed, max_shrink_iters: 200_000, failure_persistence: None, ..asked }
}

proptest! {
    #![proptest_config(histories(1000))]

    #[test]
    fn whatever_happens(events in events()) {
        play(events);
    }

    /// Admission may keep a write for longer than its sender holds the shard (`docs/leadership.md`, "Late writes").
    #[test]
    fn whatever_happens_though_writes_outlive_their_holders_time(events in events()) {
        play_on(Model { late: Some(Vec::new()), ..Model::new() }, events);
    }
}
