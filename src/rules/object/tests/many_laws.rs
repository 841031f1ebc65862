//! Whatever happens to objects that want many copies, and to ConfigMapSyncs beside them: what must never happen does not, and in the end
//! each namespace that is selected has its copy, or the status says why not.

use std::rc::Rc;

use proptest::prelude::*;

use crate::api::clusterconfigmapsync::ClusterConfigMapSyncStatus;
use crate::rules::cluster::record::{ClusterSpec, ClusterSync};
use crate::rules::cluster::rollup::Standing;
use crate::rules::cluster::selection::{Labels, Selected};
use crate::rules::copy::content::hash_text;
use crate::rules::copy::facts::NamespaceState;
use crate::rules::copy::step::{CopyStep, DestinationStep};
use crate::rules::object::step::Step;
use crate::rules::object::tests::cluster::*;
use crate::rules::object::tests::laws::*;
use crate::rules::object::tests::many::*;
use crate::rules::object::tests::many_objects::*;
use crate::rules::object::tests::model::*;
use crate::rules::reason::Reason;
use crate::rules::record::{Name, ObjectKey, OwnerMark, Sync};
use crate::rules::shard::Shard;
use crate::rules::testing::*;
use crate::rules::uid::Uid;

impl State {
    /// The namespaces that an object selects, with their UIDs.
    fn selected(&self, spec: &ClusterSpec) -> Vec<(Name, Uid)> {
        let is_source = |space: &Name| *space == spec.source.namespace && spec.copy_name == spec.source.name;
        let labels = |space: &Name| Labels::new(self.fed.contains(space).then(|| ("feed".into(), "yes".into())));
        let meant = |space: &Name| spec.selection.of(space, &labels(space), false) == Selected::Yes;
        let living = self.spaces.iter().filter(|(_, (_, terminating))| !terminating);
        living
            .filter(|(name, _)| meant(name) && !is_source(name))
            .map(|(name, (uid, _))| (name.clone(), *uid))
            .collect()
    }

    fn wants(&self, object: &ClusterSync, key: &ObjectKey) -> bool {
        let wants = |spec: &ClusterSpec| {
            spec.copy_name == key.name && self.selected(spec).iter().any(|(name, _)| *name == key.namespace)
        };
        !object.deleting && object.spec.as_ref().is_ok_and(wants)
    }

    /// The copies of an object, where they were written, in namespaces that live.
    pub(super) fn copies_of(&self, uid: Uid) -> impl Iterator<Item = (&ObjectKey, &Map)> {
        self.maps.iter().filter(move |(key, map)| {
            let space = self.spaces.get(&key.namespace).filter(|(_, terminating)| !terminating);
            let mark = map.read.meta.mark.as_ref().filter(|mark| mark.uid == Some(uid));
            space.zip(mark).is_some_and(|((space, _), mark)| mark.at == Some(*space))
        })
    }
}

// --- what must never happen ----------------------------------------------------------------------------------------

impl Model {
    /// A namespace's copy is written on the decision of who holds the namespace.
    pub(super) fn is_written_by_its_holder(&self, slot: usize, decided: &Decided) {
        let written = match &decided.step {
            Step::Copy(CopyStep::Create | CopyStep::Replace { .. }) => true,
            Step::Copy(CopyStep::Destination(step)) => {
                matches!(step, DestinationStep::Remove(..) | DestinationStep::Unmark(_))
            }
            _ => false,
        };
        if slot < SLOTS || !written {
            return;
        }
        let NamespaceState::Live(space) = decided.namespace else { panic!("{:?} without a namespace", decided.step) };
        let by = self.held_by[slot];
        assert_eq!(by, self.many.held[Shard::of(space).index()], "{:?} by who does not hold it", decided.step);
    }

    /// What a replica is about to do for an object: a copy that is to stay is not removed, and none goes while nothing is selected.
    pub(super) fn may_do(&self, slot: usize, object: &ClusterSync, step: &CopyStep) {
        let CopyStep::Destination(DestinationStep::Remove(at, _) | DestinationStep::Unmark(at)) = step else { return };
        let spec = object.spec.as_ref().unwrap();
        let selected = self.history[self.view(slot).replica.spaces].selected(spec);
        assert!(object.deleting || !selected.is_empty(), "{at} goes, though nothing is selected");
        let is_selected = selected.iter().any(|(space, _)| *space == at.namespace) && spec.copy_name == at.name;
        let stays = spec.orphan && (object.deleting || !is_selected);
        assert!(!stays || matches!(step, CopyStep::Destination(DestinationStep::Unmark(_))), "{at} is to stay");
    }

    /// What a status is about to say. Who sees all there is to see counts no copy that does not stand there.
    pub(super) fn is_true(&self, object: &ClusterSync, standing: &Standing, status: &ClusterConfigMapSyncStatus) {
        let Some(told) = status.namespaces else { return };
        assert_eq!(told.selected, told.synced + told.pending + told.failed, "{told:?}");
        assert_eq!(status.copies, format!("{}/{}", told.synced, told.selected));
        let (Ok(spec), Standing::Counted { content_hash, .. }) = (&object.spec, standing) else { return };
        let replica = self.view_of_object(object.uid()).replica;
        let selected = self.history[replica.spaces].selected(spec);
        assert_eq!(told.selected as usize, selected.len(), "{told:?}");
        let sees = [replica.maps, replica.syncs, replica.spaces, replica.objects].into_iter().min();
        if sees < Some(self.changed) {
            return;
        }
        let mut synced = 0;
        for (space, uid) in selected {
            let map = self.state().maps.get(&ObjectKey { namespace: space, name: spec.copy_name.clone() });
            synced += i32::from(map.is_some_and(|map| {
                let meta = &map.read.meta;
                let ours = |mark: &OwnerMark| mark.uid == Some(object.uid()) && mark.at == Some(uid);
                let named = map.named.map(|(hash, _)| hash_text(&hash, false));
                !meta.deleting && meta.mark.as_ref().is_some_and(ours) && named.as_ref() == Some(content_hash)
            }));
        }
        assert!(told.synced <= synced, "{told:?}, but {synced} are");
    }

    /// The finalizer of an object goes: as far as its holder sees, no copy stands. One that it does not see yet is swept; so where
    /// copies are to stay there is none.
    pub(super) fn leaves_nothing(&self, object: &ClusterSync) {
        let unmarked = self.state().copies_of(object.uid()).next().is_none();
        assert!(!object.orphan() || unmarked, "a copy of {} is to stay", object.name);
        let replica = self.view_of_object(object.uid()).replica;
        let (maps, spaces) = (&self.history[replica.maps].maps, &self.history[replica.spaces].spaces);
        let seen = State { maps: maps.clone(), spaces: spaces.clone(), ..State::default() };
        let left: Vec<&ObjectKey> = seen.copies_of(object.uid()).map(|(key, _)| key).collect();
        assert!(left.is_empty(), "{left:?} are left behind");
    }

    /// Whether the copies of an object that is gone stay, as far as who removes them knows.
    pub(super) fn outlives_its_object(&self, key: &ObjectKey) -> bool {
        let (state, uid) = (self.state(), |map: &Map| map.read.meta.mark.as_ref().and_then(|mark| mark.one_of_many()));
        let Some(uid) = state.maps.get(key).and_then(uid) else { return false };
        let Some((space, _)) = state.spaces.get(&key.namespace) else { return false };
        let holder = &self.replicas[self.many.held[Shard::of(*space).index()]];
        holder.many.tombstones.get(&uid).copied().unwrap_or(false)
    }

    /// Whether a place is wanted by anyone.
    pub(super) fn is_wanted(&self, key: &ObjectKey) -> bool {
        let state = self.state();
        state.syncs.values().any(|sync| !sync.deleting && sync.destination() == Some(key))
            || state.objects.values().any(|object| state.wants(object, key))
    }

    /// An object that wants many copies holds a place that another one wants.
    pub(super) fn is_a_rival(&self, by: &ObjectKey, key: &ObjectKey) {
        let state = self.state();
        let by = state.objects.values().find(|object| object.key() == *by && state.wants(object, key));
        let by = by.expect("a rival");
        assert!(!waits(by, &key.namespace) || is_suspended(by), "both wait");
    }
}

/// Whether the status of an object says that another one has its place in a namespace.
fn waits(object: &ClusterSync, space: &Name) -> bool {
    let conflict = Reason::DestinationConflict.as_str();
    object.status.failures.iter().any(|failure| failure.namespace == **space && failure.reason == conflict)
}

fn is_suspended(object: &ClusterSync) -> bool {
    object.spec.as_ref().is_ok_and(|spec| spec.suspend)
}

// --- once things have settled --------------------------------------------------------------------------------------

impl Model {
    pub(super) fn judge_many(&self) {
        let state = self.state();
        for object in state.objects.values() {
            match object.deleting {
                true => {
                    let held = |(_, map): (&ObjectKey, &Map)| map.read.meta.deleting;
                    assert!(state.copies_of(object.uid()).any(held), "{} does not go", object.name);
                }
                false if is_suspended(object) => {}
                false => self.judge_object(object),
            }
        }
        for (key, map) in &state.maps {
            let Some(uid) = map.read.meta.mark.as_ref().and_then(|mark| mark.one_of_many()) else { continue };
            let stands = state.copies_of(uid).any(|(at, _)| at == key) && !map.read.meta.deleting;
            assert!(!stands || state.objects.contains_key(&uid) || self.is_wanted(key), "{key} is left behind");
        }
    }

    fn judge_object(&self, object: &ClusterSync) {
        let (state, spec, status) = (self.state(), object.spec.as_ref().unwrap(), &object.status);
        assert_eq!(status.observed_generation, Some(object.generation.into()), "{}", object.name);
        let ready = status.conditions.iter().find(|it| it.type_ == "Ready").expect("a condition");
        let selected = state.selected(spec);
        let standing: Vec<&ObjectKey> = state.copies_of(object.uid()).map(|(key, _)| key).collect();
        let Some(source) = state.maps.get(&spec.source) else {
            assert_eq!(ready.reason, Reason::SourceNotFound.as_str());
            return self.went_with_the_source(object);
        };
        if selected.is_empty() {
            let expected = if standing.is_empty() { Reason::NoNamespaceMatches } else { Reason::SelectionEmptied };
            assert_eq!(ready.reason, expected.as_str());
            return;
        }
        let (mut synced, mut failed) = (0, 0);
        for (space, _) in &selected {
            let key = ObjectKey { namespace: space.clone(), name: spec.copy_name.clone() };
            let failure = status.failures.iter().find(|failure| failure.namespace == **space);
            let map = state.maps.get(&key);
            let ours = standing.contains(&&key) && map.is_some_and(|map| !map.read.meta.deleting);
            match (failure, map) {
                (None, Some(map)) if ours => {
                    assert_eq!(map.read.hash, source.read.hash, "{key}");
                    synced += 1;
                }
                (None, _) => panic!("{key} is not there, and nothing says why; {status:?}"),
                (Some(failure), map) => {
                    failed += 1;
                    self.is_a_reason(object, spec, &key, &failure.reason, map);
                }
            }
        }
        let told = status.namespaces.expect("counts");
        let truth = (selected.len(), synced, 0, failed);
        let count = |number: i32| usize::try_from(number).unwrap();
        assert_eq!((count(told.selected), count(told.synced), count(told.pending), count(told.failed)), truth);
        assert_eq!(ready.status == "True", synced == selected.len());
        let wanted = |key: &ObjectKey| state.wants(object, key);
        for key in standing.into_iter().filter(|key| !wanted(key) && !state.maps[*key].read.meta.deleting) {
            // The old place goes once there is a copy in the new one.
            let moves = state.selected(spec).iter().any(|(space, _)| *space == key.namespace);
            assert!(self.is_wanted(key) || moves && failed > 0, "{key} is left behind");
        }
    }

    fn went_with_the_source(&self, object: &ClusterSync) {
        let (state, spec) = (self.state(), object.spec.as_ref().unwrap());
        let stays = |map: &Map| map.read.meta.deleting || map.read.meta.adopted;
        let left = state
            .copies_of(object.uid())
            .find(|(key, map)| !stays(map) && state.wants(object, key) && !state.selected(spec).is_empty());
        assert!(!spec.delete_with_source || left.is_none(), "{:?} should have gone", left.map(|(key, _)| key));
    }

    /// Whether what a status says of a copy that is not there is so.
    fn is_a_reason(&self, object: &ClusterSync, spec: &ClusterSpec, key: &ObjectKey, why: &str, map: Option<&Map>) {
        let (state, meta) = (self.state(), map.map(|map| &map.read.meta));
        let is = |reason: Reason| reason.as_str() == why;
        let so = if is(Reason::DestinationConflict) {
            let syncs = state.syncs.values().filter(|sync| !sync.deleting && sync.destination() == Some(key));
            let said =
                |sync: &Rc<crate::rules::record::Sync>| state.said.get(&sync.uid()).map(|(said, _)| said.reason());
            let holds = |sync: &Rc<Sync>| said(sync) != Some(Reason::DestinationConflict) || suspended(sync);
            let others = state.objects.values().filter(|it| it.uid() != object.uid() && state.wants(it, key));
            let holds_one = |it: &Rc<ClusterSync>| !waits(it, &key.namespace) || is_suspended(it);
            syncs.into_iter().any(holds) || others.into_iter().any(holds_one)
        } else if is(Reason::DestinationExists) {
            !spec.overwrite && meta.is_some()
        } else if is(Reason::DestinationControlled) {
            meta.is_some_and(|meta| meta.controlled)
        } else if is(Reason::DestinationImmutable) {
            map.is_some_and(|map| map.read.immutable)
        } else if is(Reason::CopyHeld) {
            // That one, or the one in an old place.
            let mut copies = state.copies_of(object.uid());
            meta.is_some_and(|meta| meta.deleting)
                || copies.any(|(at, map)| at.namespace == key.namespace && map.read.meta.deleting)
        } else {
            is(Reason::SyncCycle)
        };
        assert!(so, "{key}: {why}");
    }
}

// --- histories -----------------------------------------------------------------------------------------------------

fn events_of_both() -> impl Strategy<Value = Vec<Event>> {
    let at = || prop_oneof![2 => 0..2_usize, 1 => 0..6_usize];
    let object = || prop_oneof![2 => 0..1_usize, 1 => 0..OBJECTS];
    let copy = || prop_oneof![2 => SLOTS..SLOTS + 6, 1 => SLOTS..ALL];
    let many = prop_oneof![
        40 => copy().prop_map(Many::Act),
        40 => (copy(), 1..12_u8).prop_map(|(slot, steps)| Many::Run(slot, steps)),
        20 => (object(), any::<bool>()).prop_map(|(object, open)| Many::Count(object, open)),
        4 => (0..2_usize).prop_map(Many::Tell),
        12 => (0..2_usize).prop_map(Many::CatchUp),
        4 => copy().prop_map(Many::TimePasses),
        6 => (0..3_usize).prop_map(Many::HandOverSpace),
        3 => object().prop_map(Many::HandOverObject),
        8 => (object(), at(), any::<u8>(), any::<u8>())
            .prop_map(|(object, from, to, policy)| Many::Want { object, from, to, policy }),
        4 => object().prop_map(Many::Delete),
        6 => (0..3_usize, any::<bool>()).prop_map(|(space, on)| Many::Label(space, on)),
    ];
    let event = prop_oneof![
        60 => many.prop_map(Event::Many),
        // Somebody touches a copy; a replica starts anew.
        5 => (2..6_usize, 1..4_u8).prop_map(|(at, hash)| Event::Edit(at, hash)),
        2 => (0..2_usize).prop_map(Event::Restart),
        10 => (0..2_usize, 3..4_usize, 0..4_u8).prop_map(|(replica, stream, part)| Event::Hear(replica, stream, part)),
        50 => event(),
    ];
    let beginning = |policy, to| {
        let hear = (0..8).map(|number| Event::Hear(number / 4, number % 4, 3));
        let want = Many::Want { object: 0, from: 0, to, policy };
        let labels = [Many::Label(1, true), Many::Label(2, true), want].map(Event::Many);
        [Event::Edit(0, 1)].into_iter().chain(labels).chain(hear)
    };
    (any::<u8>(), any::<u8>(), prop::collection::vec(event, 1..150))
        .prop_map(move |(policy, to, events)| beginning(policy, to).chain(events).collect())
}

/// An object whose source is n0/x, and what all replicas see.
fn wanted(to: u8, policy: u8) -> Vec<Event> {
    let want = Many::Want { object: 0, from: 0, to, policy };
    [Event::Edit(0, 1), Event::Many(Many::Label(1, true)), Event::Many(want)].into_iter().chain(seen()).collect()
}

fn seen() -> impl Iterator<Item = Event> {
    (0..8).map(|number| Event::Hear(number / 4, number % 4, 3))
}

/// All that there is to do is done, as of what is seen.
fn done() -> impl Iterator<Item = Event> {
    let count = Event::Many(Many::Count(0, true));
    let copies = (SLOTS..ALL).map(|slot| Event::Many(Many::Run(slot, 9)));
    [count.clone()].into_iter().chain(seen()).chain(copies).chain(seen()).chain([count])
}

/// Somebody carries a copy with all its marks into another namespace: it holds nothing up.
#[test]
fn an_object_goes_though_somebody_duplicated_its_copy() {
    let duplicate = [Event::Duplicate(2, 4), Event::Many(Many::Delete(0))];
    play(wanted(0, 0).into_iter().chain(done()).chain(duplicate).collect());
}

/// Nobody runs while somebody changes a copy, and who starts then knows nothing.
#[test]
fn a_touch_that_nobody_saw_is_mended() {
    let touch = [Event::Edit(2, 3), Event::Restart(0), Event::Restart(1)];
    play(wanted(0, 0).into_iter().chain(done()).chain(touch).collect());
}

/// The source has changed, and no copy is written yet: none is counted.
#[test]
fn a_copy_is_counted_once_it_is_written() {
    let change = [Event::Edit(0, 2)].into_iter().chain(seen()).chain([Event::Many(Many::Count(0, true))]);
    play(wanted(0, 0).into_iter().chain(done()).chain(change).collect());
}

#[test]
fn an_edit_that_selects_nothing_removes_nothing() {
    let edit = [Event::Many(Many::Want { object: 0, from: 0, to: 12, policy: 0 })];
    let model = play(wanted(0, 0).into_iter().chain(done()).chain(edit).collect());
    assert!(model.state().maps.contains_key(&object_key("n1/x")));
}

/// An older sync comes to want a place where the copy of a younger object stands: it waits, and says so.
#[test]
fn who_stands_there_keeps_the_place_whatever_its_kind() {
    let elsewhere = Event::Want(0, 0, 5, 1);
    let older = (0..16).map(|_| Event::Many(Many::Label(2, false)));
    let comes = [Event::Want(0, 0, 2, 1)].into_iter().chain(seen()).chain([Event::Run(0, 9)]);
    let events = [elsewhere].into_iter().chain(older).chain(wanted(0, 0)).chain(done()).chain(comes);
    let model = play(events.collect());
    let mark = model.state().maps[&object_key("n1/x")].read.meta.mark.clone();
    assert!(mark.is_some_and(|mark| mark.sync.is_cluster_scoped()));
}

/// The watch of who holds the object does not show a copy yet when the object goes, and who starts then does not know that the copies are
/// to stay.
#[test]
fn a_copy_that_is_to_stay_stays_though_nobody_has_seen_it() {
    let many = |event| Event::Many(event);
    for handed_over in [false, true] {
        let mut events = if handed_over { vec![many(Many::HandOverSpace(1))] } else { Vec::new() };
        events.extend(wanted(0, 12).into_iter().chain([many(Many::Count(0, false))]).chain(seen()));
        let copies = (SLOTS..ALL).map(|slot| many(Many::Run(slot, 9)));
        events.extend(copies.chain([many(Many::Delete(0)), Event::Hear(0, 3, 3), Event::Hear(1, 3, 3)]));
        events.extend([many(Many::Count(0, false)), Event::Restart(0), Event::Restart(1)]);
        let model = play(events);
        let copy = model.state().maps.get(&object_key("n1/x")).expect("n1/x was to stay");
        assert!(copy.read.meta.mark.is_none() && model.state().objects.is_empty());
    }
}

/// Somebody gives a copy the content that it is to have next: it is marked anew, so that who counts the copies sees it, too.
#[test]
fn a_copy_that_already_holds_the_content_is_marked_anew_and_counts() {
    let want = |from, to| Event::Many(Many::Want { object: 0, from, to, policy: 0 });
    let many = |event| Event::Many(event);
    let count = || Event::Many(Many::Count(0, false));
    let labels = [Event::Many(Many::Label(1, true)), Event::Many(Many::Label(2, true))];
    let begins: Vec<Event> = [Event::Edit(0, 1)].into_iter().chain(labels).chain([want(0, 0)]).chain(seen()).collect();
    let moves =
        [Event::Edit(1, 0), want(1, 49), count(), count(), Event::Many(Many::CatchUp(0)), Event::Many(Many::Run(7, 2))];
    let same = [Event::Edit(5, 1), Event::Want(0, 0, 1, 17)];
    play(begins.iter().cloned().chain(moves).chain(same).collect());
    let handed_over = [many(Many::HandOverSpace(0)), Event::Edit(1, 1), Event::Edit(0, 0), many(Many::Count(0, false))];
    let moves = [many(Many::CatchUp(1)), many(Many::Run(8, 2)), want(1, 58), Event::Edit(4, 1)];
    let model = play(begins.into_iter().chain(handed_over).chain(moves).collect());
    let copy = &model.state().maps[&object_key("n2/x")];
    assert!(copy.read.as_marked);
}

/// A replica writes a copy, loses its shard, hears of its own write and of somebody's touch together, and gets the shard back: the
/// touch is not taken for a write of the other one.
#[test]
fn a_touch_while_a_shard_is_elsewhere_is_mended() {
    let many = |event| Event::Many(event);
    let begins = [Event::Edit(0, 1), many(Many::Label(2, true))].into_iter();
    let begins = begins.chain([many(Many::Want { object: 0, from: 0, to: 0, policy: 0 })]).chain(seen());
    let hand_over = || many(Many::HandOverSpace(2));
    let counted = [many(Many::Count(0, false)), many(Many::CatchUp(1))];
    let touched =
        [hand_over(), many(Many::Run(8, 3)), Event::Edit(4, 2), hand_over(), many(Many::CatchUp(1)), hand_over()];
    play(begins.chain(counted).chain(touched).collect());
}

proptest! {
    #![proptest_config(histories(400))]

    #[test]
    fn whatever_happens_to_both_kinds(events in events_of_both()) {
        play(events);
    }
}
