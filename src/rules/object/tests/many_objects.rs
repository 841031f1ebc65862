//! Objects that want many copies, in the model: what people do to them, and what the holder of one does with its finalizer and its
//! status.

use std::rc::Rc;

use k8s_openapi::jiff::Timestamp;

use crate::api::clusterconfigmapsync::ClusterConfigMapSyncStatus;
use crate::rules::cluster::record::{ClusterSpec, ClusterSync, Expected, content_mark};
use crate::rules::cluster::rollup::{Rollup, Standing};
use crate::rules::cluster::selection::Selection;
use crate::rules::cluster::status;
use crate::rules::copy::content::hash_text;
use crate::rules::key::Key;
use crate::rules::object::tests::cluster::*;
use crate::rules::object::tests::many::*;
use crate::rules::object::tests::model::*;
use crate::rules::reason::Reason;
use crate::rules::record::{ForeignFields, Name, ObjectKey};
use crate::rules::shard::Shard;
use crate::rules::testing::*;
use crate::rules::uid::Uid;

/// What happens to objects that want many copies.
#[derive(Clone, Debug)]
pub(super) enum Many {
    /// A replica decides on a request about a copy, or carries out the one that it decided on.
    Act(usize),
    Run(usize, u8),
    /// Who holds an object works on it; and tells of what is still open, or not.
    Count(usize, bool),
    Tell(usize),
    /// All that happened reaches a replica.
    CatchUp(usize),
    TimePasses(usize),
    HandOverSpace(usize),
    HandOverObject(usize),
    Want {
        object: usize,
        from: usize,
        to: u8,
        policy: u8,
    },
    Delete(usize),
    Label(usize, bool),
}

impl Model {
    pub(super) fn event_of_many(&mut self, event: &Many) {
        match *event {
            Many::Act(slot) => self.act_on_copy(slot),
            Many::Run(slot, steps) => _ = self.run_copy(slot, steps.into()),
            Many::Count(object, open) => _ = self.work_on_object(object, open),
            Many::Tell(replica) => self.tell(replica),
            Many::CatchUp(replica) => {
                let now = self.now();
                let replica = &mut self.replicas[replica];
                (replica.maps, replica.syncs, replica.spaces, replica.objects) = (now, now, now, now);
                self.take_notes();
            }
            Many::TimePasses(slot) => self.time_passes(slot),
            Many::HandOverSpace(space) => {
                let known = self.state().spaces.get(SPACES[space]).map(|(uid, _)| Shard::of(*uid));
                known.into_iter().for_each(|shard| self.hand_over(shard));
            }
            Many::HandOverObject(object) => {
                let known = self.many.objects[object].map(Shard::of);
                known.into_iter().for_each(|shard| self.hand_over(shard));
            }
            Many::Want { object, from, to, policy } => self.want_many(object, PLACES[from], to, policy),
            Many::Delete(object) => self.delete_object(object),
            Many::Label(space, on) => self.change(|state, _| {
                let space = Name::from(SPACES[space]);
                _ = if on { state.fed.insert(space) } else { state.fed.remove(&space) };
            }),
        }
    }

    fn want_many(&mut self, object: usize, from: &str, to: u8, policy: u8) {
        let bit = |bit: u8| policy & (1 << bit) != 0;
        let spec = ClusterSpec {
            source: object_key(from),
            copy_name: if to & 1 == 0 { "x" } else { "y" }.into(),
            selection: selection(to >> 1),
            shape: None,
            overwrite: bit(0),
            orphan: bit(2) && bit(3),
            delete_with_source: bit(4),
            suspend: bit(5) && bit(6) && bit(7),
            require_consent: false,
        };
        let known = self.many.objects[object];
        let uid = self.change(|state, rv| {
            if let Some(object) = known.and_then(|uid| state.objects.get_mut(&uid)) {
                let object = Rc::make_mut(object);
                (object.version.rv, object.spec) = (rv, Ok(spec));
                object.generation += 1;
                return object.uid();
            }
            let new = ClusterSync {
                name: format!("all-{object}").into(),
                version: version(7000 + rv, rv),
                generation: 1,
                created: (rv / 8) as u32,
                deleting: false,
                finalizer: false,
                others: ForeignFields::default(),
                spec: Ok(spec),
                status: ClusterConfigMapSyncStatus::default(),
            };
            let uid = new.uid();
            state.objects.insert(uid, Rc::new(new));
            uid
        });
        if known != Some(uid) {
            for slot in (SLOTS..ALL).filter(|slot| Place::of(*slot).object == object) {
                self.outlives(slot);
            }
            (self.many.objects[object], self.many.answers[object]) = (Some(uid), None);
        }
    }

    fn delete_object(&mut self, object: usize) {
        let Some(uid) = self.many.objects[object] else { return };
        self.change(|state, rv| match state.objects.get_mut(&uid) {
            Some(object) if object.finalizer => {
                let object = Rc::make_mut(object);
                (object.deleting, object.version.rv) = (true, rv);
            }
            _ => _ = state.objects.remove(&uid),
        });
    }

    /// The object by its newest version that its holder knows.
    pub(super) fn known_object(&self, object: usize) -> Option<Rc<ClusterSync>> {
        let uid = self.many.objects[object]?;
        let replica = &self.replicas[self.holder(&Key::Object(uid))];
        let observed = self.history[replica.objects].objects.get(&uid)?;
        let answered = self.many.answers[object].as_ref();
        answered.filter(|it| it.version.rv >= observed.version.rv).or(Some(observed)).cloned()
    }

    /// A write of the object itself, which carries its version: on a conflict the event is waited for.
    pub(super) fn write_object(&mut self, number: usize, object: &ClusterSync, edit: impl FnOnce(&mut ClusterSync)) {
        let uid = object.uid();
        let written = self.change(|state, rv| {
            let now = Rc::make_mut(state.objects.get_mut(&uid).filter(|now| now.version == object.version)?);
            now.version.rv = rv;
            edit(now);
            let now = Rc::new(now.clone());
            if now.deleting && !now.finalizer {
                state.objects.remove(&uid);
            }
            Some(now)
        });
        let (holder, now) = (self.holder(&Key::Object(uid)), self.now());
        match written {
            Some(object) => self.many.answers[number] = Some(object),
            None => {
                self.many.answers[number] = None;
                self.replicas[holder].objects = now;
                self.take_notes();
            }
        }
    }
}

fn selection(which: u8) -> Selection {
    let feed = |value: &str, excluded: &[&str]| {
        let selector = serde_json::json!({"matchLabels": {"feed": value}});
        Selection::by_labels(&serde_json::from_value(selector).unwrap(), excluded).unwrap()
    };
    match which % 8 {
        0..=2 => feed("yes", &[]),
        3 => feed("yes", &["n1"]),
        4 => Selection::by_name(["n1", "n2"].map(Name::from), &[]),
        5 => Selection::by_name(["n2", "nowhere"].map(Name::from), &["*0"]),
        6 => feed("no", &[]),
        _ => Selection::by_name(["nowhere"].map(Name::from), &[]),
    }
}

impl Model {
    /// Who holds an object works on it. `open`: what is still to be done is told. Gives whether something was written.
    pub(super) fn work_on_object(&mut self, number: usize, open: bool) -> bool {
        let Some(object) = self.known_object(number) else { return false };
        let spec = object.spec.as_ref().unwrap();
        match object.deleting {
            true => self.finalize(number, &object, open),
            false if spec.suspend => false,
            false if !object.finalizer => {
                self.write_object(number, &object, |object| object.finalizer = true);
                true
            }
            false => self.count(number, &object, spec, open),
        }
    }

    fn finalize(&mut self, number: usize, object: &ClusterSync, open: bool) -> bool {
        if !object.finalizer {
            return false;
        }
        let view = self.view_of_object(object.uid());
        let left = view.standing(object.uid());
        if left.is_empty() && object.orphan() && self.state().copies_of(object.uid()).next().is_some() {
            // A list tells of a copy that the watch does not show yet: it is waited for.
            let (holder, now) = (self.holder(&Key::Object(object.uid())), self.now());
            (self.replicas[holder].maps, self.replicas[holder].spaces) = (now, now);
            self.take_notes();
            return true;
        }
        if left.is_empty() {
            self.leaves_nothing(object);
            self.write_object(number, object, |object| object.finalizer = false);
            return true;
        }
        let failure = |key: &&&ObjectKey| view.failure(object.uid(), &key.namespace);
        let held = left.iter().find(|key| failure(key).is_some_and(|failure| failure.reason == Reason::CopyHeld));
        let standing = Standing::Deleting { removing: left.len(), held: held.map(|key| key.to_string()) };
        open && self.write_standing(number, object, &standing)
    }

    /// As `count` of `controller/reconcile/cluster_sync.rs`.
    fn count(&mut self, number: usize, object: &ClusterSync, spec: &ClusterSpec, open: bool) -> bool {
        let view = self.view_of_object(object.uid());
        let expected = match view.expected_by_status(object, spec) {
            Some(expected) => Some((expected, object.status.content_hash.clone())),
            None => {
                let streamed = view.streamed(&spec.source).map(|meta| meta.version.rv);
                let cached = view.replica.cache.get(&spec.source).filter(|(version, ..)| streamed == Some(version.rv));
                let truth = self.state().maps.get(&spec.source).map(|map| (map.read.meta.version, map.read.hash));
                let found = cached.map(|(version, hash, _)| (*version, *hash)).or(truth);
                found.map(|(source, hash)| (Expected { source, content: content_mark(&hash) }, hash_text(&hash, false)))
            }
        };
        let rollup = view.roll_up(object, spec, expected.as_ref().map(|(expected, _)| *expected));
        let Some((expected, content_hash)) = expected else {
            return self.write_standing(number, object, &Standing::SourceMissing(rollup));
        };
        let standing = view.standing(object.uid()).len();
        if rollup.selected() == 0 && standing > 0 {
            return self.write_standing(number, object, &Standing::SelectionEmptied(standing));
        }
        let told = rollup.is_settled() || open;
        let standing = Standing::Counted { source: expected.source, content_hash, rollup, source_namespace: None };
        told && self.write_standing(number, object, &standing)
    }

    pub(super) fn view_of_object(&self, uid: Uid) -> View<'_> {
        let replica = &self.replicas[self.holder(&Key::Object(uid))];
        View { history: &self.history, replica, remembered: &self.nothing }
    }

    fn write_standing(&mut self, number: usize, object: &ClusterSync, standing: &Standing) -> bool {
        let status = status::status(object, standing, Timestamp::UNIX_EPOCH);
        if status == object.status {
            return false;
        }
        self.is_true(object, standing, &status);
        self.write_object(number, object, |object| object.status = status);
        true
    }

    /// All that there is to do about the objects themselves. Gives whether there was anything.
    pub(super) fn settle_objects(&mut self) -> bool {
        let mut acted = false;
        for object in 0..OBJECTS {
            acted |= self.work_on_object(object, true);
        }
        acted
    }
}

impl View<'_> {
    /// As `roll_up` of `controller/reconcile/cluster_sync.rs`.
    fn roll_up(&self, object: &ClusterSync, spec: &ClusterSpec, expected: Option<Expected>) -> Rollup {
        let uid = object.uid();
        let (mut rollup, mut stands, mut open) = (Rollup::default(), 0, Vec::new());
        for space in self.all_selected(spec) {
            let key = ObjectKey { namespace: space.clone(), name: spec.copy_name.clone() };
            let record = self.replica.many.record(uid, &key);
            stands += usize::from(record.is_some() && self.is_standing(&key));
            let holds_it = match (record, expected) {
                (Some(record), Some(expected)) => record.content == expected.content,
                (record, None) => record.is_some(),
                (None, _) => false,
            };
            let namespace = self.history[self.replica.spaces].spaces[&space].0;
            let in_place = self.streamed(&key).is_some_and(|meta| {
                !meta.deleting && meta.mark.as_ref().is_some_and(|mark| mark.at == Some(namespace))
            });
            match self.failure(uid, &space) {
                Some(failure) => rollup.failures.push(failure),
                None if holds_it && in_place => rollup.synced += 1,
                None => open.push(space),
            }
        }
        for space in open {
            match self.stall_of(object, &space, expected) {
                Some(failure) => rollup.failures.push(failure),
                None => rollup.pending += 1,
            }
        }
        rollup.failures.sort_unstable_by(|a, b| a.namespace.cmp(&b.namespace));
        rollup.removing = self.standing(uid).len().saturating_sub(stands);
        rollup
    }
}
