//! Objects that want many copies, in the model: each copy is worked on by the replica that holds its namespace, the object by the
//! replica that holds the object, as `controller/reconcile/copies.rs` and `controller/reconcile/cluster_sync.rs` do it.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::rules::cluster::record::{ClusterSpec, ClusterSync, CopyRecord, Expected, content_mark, parse_content_mark};
use crate::rules::cluster::rollup::Failure;
use crate::rules::cluster::selection::{Labels, Selected};
use crate::rules::copy::facts::{CopyFacts, Destination, Reported, Source};
use crate::rules::copy::ownership::stands_where_written;
use crate::rules::copy::plan;
use crate::rules::copy::removal::Removal;
use crate::rules::copy::step::{CopyStep, Next, Until};
use crate::rules::copy::verdict::{Stall, Verdict};
use crate::rules::key::{CopyKey, Key};
use crate::rules::object::status::{self, CONDITIONS};
use crate::rules::object::step::Step;
use crate::rules::object::tests::cluster::*;
use crate::rules::object::tests::model::*;
use crate::rules::reason::Reason;
use crate::rules::record::{Name, ObjectKey, OwnerMark, SlimArc, Sync};
use crate::rules::shard::{SHARDS, Shard};
use crate::rules::uid::{Uid, Version};

pub(super) const OBJECTS: usize = 2;
pub(super) const SPACES: [&str; 3] = ["n0", "n1", "n2"];
/// Those of the syncs; then one for each object, namespace and replica.
pub(super) const ALL: usize = SLOTS + OBJECTS * SPACES.len() * 2;

/// Where a replica may have to work on one of the many copies of an object.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) object: usize,
    pub(super) space: usize,
    pub(super) replica: usize,
}

impl Place {
    pub(super) fn of(slot: usize) -> Self {
        let number = slot - SLOTS;
        Self { object: number / 2 / SPACES.len(), space: number / 2 % SPACES.len(), replica: number % 2 }
    }
}

/// What a replica knows of the copies of such objects.
#[derive(Clone, Default)]
pub(super) struct Notes {
    /// So far it has looked at what its watches told.
    maps: usize,
    objects: usize,
    pub(super) records: BTreeMap<ObjectKey, (Uid, CopyRecord)>,
    /// Objects that it saw go, and whether their copies stay.
    pub(super) tombstones: BTreeMap<Uid, bool>,
    /// Copies that failed, of those that it works on, and what the other one told of its own.
    failures: BTreeMap<(Uid, Name), Failure>,
    elsewhere: BTreeMap<(Uid, Name), Failure>,
}

impl Notes {
    fn failure(&self, uid: Uid, space: &Name) -> Option<&Failure> {
        let key = (uid, space.clone());
        self.failures.get(&key).or_else(|| self.elsewhere.get(&key))
    }

    pub(super) fn record(&self, uid: Uid, key: &ObjectKey) -> Option<CopyRecord> {
        self.records.get(key).filter(|(of, _)| *of == uid).map(|(_, record)| *record)
    }

    /// A watch tells of a ConfigMap. `by_its_holder`: it changed, and the other replica holds its namespace.
    fn note(&mut self, key: &ObjectKey, map: Option<&Map>, by_its_holder: bool) {
        let mark = map.and_then(|map| map.read.meta.mark.as_ref()).and_then(OwnerMark::one_of_many);
        let Some((uid, map)) = mark.zip(map) else {
            self.records.remove(key);
            return;
        };
        let (content, written) = map.named.map_or((0, 0), |(hash, written)| (content_mark(&hash), written as u32));
        let told = CopyRecord { content, written, rv: map.read.meta.version.rv, proven: by_its_holder };
        let record = match self.record(uid, key) {
            Some(known) => known.after(&told, by_its_holder),
            None => told,
        };
        self.records.insert(key.clone(), (uid, record));
    }

    /// Its holder wrote or compared this version.
    fn note_proven(&mut self, uid: Uid, key: &ObjectKey, rv: u64, content: u64) {
        let record = match self.record(uid, key) {
            Some(known) if known.rv > rv => known,
            Some(known) if known.rv == rv => CopyRecord { content, proven: true, ..known },
            Some(_) | None => CopyRecord { content, written: 0, rv, proven: true },
        };
        self.records.insert(key.clone(), (uid, record));
    }
}

/// Who holds what, and which objects there are.
pub(super) struct Shards {
    pub(super) held: [usize; SHARDS],
    pub(super) objects: [Option<Uid>; OBJECTS],
    /// What an answer told of an object, to who holds it.
    pub(super) answers: [Option<Rc<ClusterSync>>; OBJECTS],
    /// The object and the namespace that is worked on in a slot.
    pub(super) at_work: [Option<(Uid, Uid)>; ALL],
}

impl Default for Shards {
    fn default() -> Self {
        let held = std::array::from_fn(|shard| shard % 2);
        let (objects, answers, at_work) = ([None; OBJECTS], [None, None], [None; ALL]);
        Self { held, objects, answers, at_work }
    }
}

/// What comes next for one of many copies.
enum Decision {
    Do(CopyStep),
    Settled(Verdict),
    Nothing,
    /// Until something changes; or until some time has passed.
    Rest(bool),
}

impl View<'_> {
    pub(super) fn selected(&self, spec: &ClusterSpec, space: &Name) -> Selected {
        let state = &self.history[self.replica.spaces];
        match state.spaces.get(space) {
            Some((_, false)) if *space != spec.source.namespace || spec.copy_name != spec.source.name => {}
            _ => return Selected::No,
        }
        let label = state.fed.contains(space).then(|| ("feed".into(), "yes".into()));
        spec.selection.of(space, &Labels::new(label), false)
    }

    pub(super) fn all_selected(&self, spec: &ClusterSpec) -> Vec<Name> {
        SPACES.map(Name::from).into_iter().filter(|space| self.selected(spec, space) == Selected::Yes).collect()
    }

    /// What each of the objects that want a copy there says, as a ConfigMapSync would.
    pub(super) fn wanting_many(&self, key: &ObjectKey) -> impl Iterator<Item = Rc<Sync>> {
        let objects = self.history[self.replica.objects].objects.values();
        let wants = |object: &&Rc<ClusterSync>| {
            let spec = object.spec.as_ref().unwrap();
            !object.deleting && spec.copy_name == key.name && self.selected(spec, &key.namespace) == Selected::Yes
        };
        objects.filter(wants).filter_map(|object| object.in_namespace(&key.namespace)).map(Rc::new)
    }

    /// As `is_standing` of the cache: what carries an object's marks stands where they say.
    pub(super) fn is_standing(&self, key: &ObjectKey) -> bool {
        let space = self.history[self.replica.spaces].spaces.get(&key.namespace);
        let Some((space, false)) = space else { return false };
        let in_place = |mark: &OwnerMark| stands_where_written(mark, *space);
        self.streamed(key).is_none_or(|meta| meta.mark.as_ref().is_some_and(in_place))
    }

    /// Where copies of an object stand, in namespaces that live.
    pub(super) fn standing(&self, uid: Uid) -> Vec<&ObjectKey> {
        let records = self.replica.many.records.iter().filter(|(_, (of, _))| *of == uid);
        records.map(|(key, _)| key).filter(|key| self.is_standing(key)).collect()
    }

    pub(super) fn expected_by_status(&self, object: &ClusterSync, spec: &ClusterSpec) -> Option<Expected> {
        let told = object.status.source.as_ref()?;
        let version = Version::parse(&told.uid, &told.resource_version)?;
        let content = parse_content_mark(object.content_hash()?);
        let unchanged = self.streamed(&spec.source).is_some_and(|meta| meta.version.rv == version.rv);
        (unchanged && content != 0).then_some(Expected { source: version, content })
    }

    fn expected(&self, object: &ClusterSync, spec: &ClusterSpec, source: Source) -> Option<Expected> {
        match source {
            Source::InHand { version, hash, .. } => Some(Expected { source: version, content: content_mark(&hash) }),
            _ => self.expected_by_status(object, spec),
        }
    }

    /// What is known of one of many copies, and what is told of it to `look`.
    fn one_of_many<T>(
        &self,
        object: &ClusterSync,
        space: &Name,
        expected: Option<Expected>,
        look: impl FnOnce(&Sync, &Known, &CopyFacts<'_>) -> T,
    ) -> T {
        let mut sync = object.in_namespace(space).unwrap();
        let spec = sync.spec.clone().unwrap();
        let known = self.known(&spec.destination);
        let version = known.meta().map(|meta| meta.version);
        let record = self.replica.many.record(object.uid(), &spec.destination);
        let proven = version.filter(|version| record.is_some_and(|it| it.proven && it.rv == version.rv));
        let holds = |expected: &Expected| record.is_some_and(|it| it.content == expected.content);
        let compared = expected.filter(holds).zip(proven);
        sync.status.observed_generation = object.generation;
        (sync.status.source, sync.status.copy) = (compared.map(|it| it.0.source), compared.map(|it| it.1));
        let mut copy = self.copy_facts(&sync, &spec, &known);
        if let Source::InHand { version: source, hash, .. } = copy.source {
            let content = Expected { source, content: content_mark(&hash) };
            copy.verified = copy.verified.or(proven.filter(|_| holds(&content)).map(|copy| (source, copy)));
        }
        look(&sync, &known, &copy)
    }

    /// Why a copy cannot be written, where that follows from what every replica knows.
    pub(super) fn stall_of(&self, object: &ClusterSync, space: &Name, expected: Option<Expected>) -> Option<Failure> {
        let view = View { remembered: &Remembered::default(), ..*self };
        view.one_of_many(object, space, expected, |sync, _, copy| match plan::next(copy) {
            Next::Settled(verdict @ Verdict::Stalled(_)) => Some(failure_of(&verdict, sync, space)),
            _ => None,
        })
    }

    pub(super) fn failure(&self, uid: Uid, space: &Name) -> Option<Failure> {
        self.replica.many.failure(uid, space).cloned()
    }

    /// As `decide` of `controller/reconcile/copies.rs`.
    fn decide_one(&self, object: &ClusterSync, copy: &CopyFacts<'_>, elsewhere: &[Destination<'_>]) -> Decision {
        let spec = object.spec.as_ref().unwrap();
        if spec.suspend && !object.deleting {
            return Decision::Rest(false);
        }
        let waited = self.remembered.waits == Some(true);
        let removal = Removal {
            owner: copy.owner,
            reported: Reported::default(),
            orphan: spec.orphan,
            deleting: object.deleting,
        };
        let has_heir = elsewhere.iter().any(|copy| copy.wanted_by_another) || copy.destination.wanted_by_another;
        let elsewhere = elsewhere.iter().filter(|copy| object.deleting || !copy.wanted_by_another);
        let mut elsewhere = elsewhere.filter_map(|copy| removal.of_orphaned(copy)).map(decision);
        if !object.deleting && self.selected(spec, &copy.destination.key.namespace) == Selected::Yes {
            if !object.finalizer {
                return Decision::Rest(false);
            }
            return match plan::next(copy) {
                Next::Unproven(Verdict::SourceMissing, _) if says_source_is_missing(object) => Decision::Rest(false),
                next => match decision(next) {
                    Decision::Settled(verdict @ Verdict::InOrder { .. }) => {
                        elsewhere.next().unwrap_or(Decision::Settled(verdict))
                    }
                    other => other,
                },
            };
        }
        match removal.of_wanted(&copy.destination).map(decision).into_iter().chain(elsewhere).next() {
            None => Decision::Nothing,
            Some(_) if object.deleting && has_heir && !waited => Decision::Rest(true),
            Some(next) if object.deleting => next,
            Some(_) if self.all_selected(spec).is_empty() => Decision::Rest(false),
            Some(_) if !waited => Decision::Rest(true),
            Some(next) => next,
        }
    }
}

fn says_source_is_missing(object: &ClusterSync) -> bool {
    let missing = Reason::SourceNotFound.as_str();
    let says = object.status.conditions.iter().any(|it| it.type_ == CONDITIONS[1] && it.reason == missing);
    says && object.spec.as_ref().is_ok_and(|spec| !spec.delete_with_source)
}

fn decision(next: Next) -> Decision {
    match next {
        Next::Do(step) | Next::Write(step) | Next::Unproven(_, step) => Decision::Do(step),
        Next::Settled(verdict) => Decision::Settled(verdict),
        Next::Rest(until) => Decision::Rest(until == Until::SecondLook),
    }
}

fn failure_of(verdict: &Verdict, sync: &Sync, space: &Name) -> Failure {
    let message = status::text(verdict, sync, status::Known::of(true, true)).message.into_owned();
    Failure { namespace: space.clone(), reason: verdict.reason(), message, needs_person: true }
}

impl Model {
    pub(super) fn holder(&self, key: &Key) -> usize {
        self.many.held[key.shard().index()]
    }

    /// The next request about one of the many copies, by the replica that holds its namespace; where there is none, how it stands
    /// is noted.
    fn decide_copy(&mut self, slot: usize) -> Option<Decided> {
        let Place { object, space, replica } = Place::of(slot);
        let (uid, name) = (self.many.objects[object]?, Name::from(SPACES[space]));
        let (namespace, _) = *self.history[self.replicas[replica].spaces].spaces.get(&name)?;
        let key = Key::Copy(SlimArc::new(CopyKey { object: uid, namespace, name: name.clone() }));
        if self.holder(&key) != replica {
            return None;
        }
        if self.many.at_work[slot].replace((uid, namespace)) != Some((uid, namespace)) {
            self.remembered[slot] = Remembered::default();
        }
        let view = self.view(slot);
        let object = self.history[view.replica.objects].objects.get(&uid)?.clone();
        let spec = object.spec.as_ref().unwrap();
        let source = view.source(object.in_namespace(&name)?.spec.as_ref().unwrap());
        let expected = view.expected(&object, spec, source);
        let (decision, sync, owner_known) = view.one_of_many(&object, &name, expected, |sync, known, copy| {
            let here = view.replica.many.records.iter().filter(|(key, (of, _))| *of == uid && key.namespace == name);
            let elsewhere = here.filter(|(key, _)| *key != copy.destination.key);
            let elsewhere: Vec<(&ObjectKey, Known)> = elsewhere.map(|(key, _)| (key, view.known(key))).collect();
            let elsewhere: Vec<Destination<'_>> =
                elsewhere.iter().map(|(key, known)| view.destination(key, known, sync)).collect();
            (view.decide_one(&object, copy, &elsewhere), sync.clone(), view.owner_known(sync, known))
        });
        let namespace = view.namespace(&name);
        match decision {
            Decision::Do(step) => {
                self.may_do(slot, &object, &step);
                let source = match source {
                    Source::InHand { version, hash, .. } => Some((version, hash)),
                    _ => None,
                };
                return Some(Decided { step: Step::Copy(step), source, namespace, owner_known, sync: Rc::new(sync) });
            }
            Decision::Settled(verdict) => self.settled(slot, &sync, &name, &verdict, expected),
            Decision::Nothing => _ = self.replicas[replica].many.failures.remove(&(uid, name)),
            // Whoever has waited for one thing may have to wait for another.
            Decision::Rest(true) => self.remembered[slot].waits = Some(false),
            Decision::Rest(false) => {}
        }
        None
    }

    /// So it stands with a copy.
    fn settled(&mut self, slot: usize, sync: &Sync, space: &Name, verdict: &Verdict, expected: Option<Expected>) {
        let notes = &mut self.replicas[self.held_by[slot]].many;
        let key = (sync.uid(), space.clone());
        match verdict {
            Verdict::InOrder { source, copy } => {
                if let Some(expected) = expected.filter(|it| it.source == *source) {
                    notes.note_proven(sync.uid(), sync.destination().unwrap(), copy.rv, expected.content);
                    self.remembered[slot].verified = None;
                }
                self.remembered[slot].waits = None;
                notes.failures.remove(&key);
            }
            Verdict::SourceMissing | Verdict::NamespaceMissing | Verdict::NamespaceTerminating => {
                notes.failures.remove(&key);
            }
            Verdict::Stalled(Stall::KeyConflict(_)) => panic!("nothing is said of keys here"),
            other => _ = notes.failures.insert(key, failure_of(other, sync, space)),
        }
    }

    pub(super) fn run_copy(&mut self, slot: usize, steps: usize) -> bool {
        for step in 0..steps {
            let Some(decided) = self.decided[slot].take().or_else(|| self.decide_copy(slot)) else { return step > 0 };
            self.carry_out(slot, decided);
        }
        true
    }

    /// A replica decides on a request, or carries out the one that it decided on.
    pub(super) fn act_on_copy(&mut self, slot: usize) {
        match self.decided[slot].take() {
            Some(decided) => self.carry_out(slot, decided),
            None => self.decided[slot] = self.decide_copy(slot),
        }
    }

    /// What the watches told is noted.
    pub(super) fn take_notes(&mut self) {
        let Self { history, replicas, many, .. } = self;
        for (number, replica) in replicas.iter_mut().enumerate() {
            let spaces = &history[replica.spaces].spaces;
            let by_its_holder = |key: &ObjectKey| {
                spaces.get(&key.namespace).is_some_and(|(uid, _)| many.held[Shard::of(*uid).index()] != number)
            };
            for now in replica.many.maps + 1..=replica.maps {
                let (before, after) = (&history[now - 1], &history[now]);
                if Rc::ptr_eq(before, after) {
                    continue;
                }
                let gone = before.maps.keys().filter(|key| !after.maps.contains_key(*key));
                gone.for_each(|key| replica.many.note(key, None, false));
                for (key, map) in &after.maps {
                    let known = before.maps.get(key).map(|map| map.read.meta.version);
                    if known != Some(map.read.meta.version) {
                        replica.many.note(key, Some(map), by_its_holder(key));
                    }
                }
            }
            for now in replica.many.objects + 1..=replica.objects {
                let (before, after) = (&history[now - 1].objects, &history[now].objects);
                for (uid, object) in before.iter().filter(|(uid, _)| !after.contains_key(*uid)) {
                    replica.many.tombstones.insert(*uid, object.orphan());
                    replica.many.failures.retain(|(of, _), _| of != uid);
                }
            }
            (replica.many.maps, replica.many.objects) = (replica.maps, replica.objects);
        }
    }

    /// A replica has started, and knows what the lists say.
    pub(super) fn list_many(&mut self, number: usize) {
        let replica = &mut self.replicas[number];
        (replica.many.maps, replica.many.objects) = (replica.maps, replica.objects);
        for (key, map) in &self.history[replica.maps].maps {
            replica.many.note(key, Some(map), false);
        }
        for object in 0..OBJECTS {
            if self.many.objects[object].is_some_and(|uid| self.holder(&Key::Object(uid)) == number) {
                self.many.answers[object] = None;
            }
        }
    }

    /// A shard moves to the other replica, which remembers nothing of its keys.
    pub(super) fn hand_over(&mut self, shard: Shard) {
        let holder = self.many.held[shard.index()];
        let concerned = |at: &Option<(Uid, Uid)>| at.is_some_and(|(_, space)| Shard::of(space) == shard);
        let slots: Vec<usize> = (SLOTS..ALL).filter(|slot| concerned(&self.many.at_work[*slot])).collect();
        if self.late.is_none() && slots.iter().any(|slot| self.decided[*slot].is_some()) {
            return;
        }
        for slot in slots {
            self.outlives(slot);
            self.remembered[slot] = Remembered::default();
        }
        self.many.held[shard.index()] = 1 - holder;
        for object in 0..OBJECTS {
            if self.many.objects[object].is_some_and(|uid| Shard::of(uid) == shard) {
                self.many.answers[object] = None;
            }
        }
        let (spaces, held) = (&self.history[self.replicas[holder].spaces].spaces, &self.many.held);
        let is_held = |space: &Name| spaces.get(space).is_some_and(|(uid, _)| held[Shard::of(*uid).index()] == holder);
        self.replicas[holder].many.failures.retain(|(_, space), _| is_held(space));
    }

    /// A replica tells the other one which copies failed.
    pub(super) fn tell(&mut self, replica: usize) {
        self.replicas[1 - replica].many.elsewhere = self.replicas[replica].many.failures.clone();
    }

    /// All that there is to do about copies. Gives whether there was anything.
    pub(super) fn settle_copies(&mut self) -> bool {
        let mut acted = false;
        for slot in SLOTS..ALL {
            acted |= self.run_copy(slot, 20);
            assert!(self.decide_copy(slot).is_none(), "slot {slot} has no end");
            if self.remembered[slot].waits == Some(false) {
                self.time_passes(slot);
                acted = true;
            }
        }
        [0, 1].into_iter().for_each(|replica| self.tell(replica));
        acted
    }
}
