//! All that a replica knows of the cluster, and the indexes to find it by. Written by the streams alone, read by
//! everyone. Each change answers with the syncs that have reason to look again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use ahash::{AHashSet, RandomState};
use dashmap::DashMap;
use smallvec::SmallVec;

use crate::controller::cache::dropped_versions::{GONE, Passed};
use crate::controller::cache::interner::Names;
use crate::controller::cache::syncs::Syncs;
use crate::controller::cache::tombstones::Departed;
use crate::rules::record::{Name, Namespace, Place, Seen, Shared, Sync};
use crate::rules::uid::Uid;

type Map<K, V> = DashMap<K, V, RandomState>;
/// Mostly one.
type Uids = SmallVec<[Uid; 1]>;

/// What a replica knows.
#[derive(Default)]
pub struct World {
    /// Every sync.
    pub(super) syncs: Syncs,
    /// The index that a fan-out needs: from a source to the syncs that copy it.
    pub(super) sources: Map<Place, Dependants>,
    /// From a place to the syncs that want their copy there.
    pub(super) destinations: Map<Place, Uids>,
    /// From a namespace to the syncs that want their copy in it.
    pub(super) homes: Map<Name, Uids>,
    /// ConfigMaps that are a source or a destination of some sync, or carry our marks.
    pub(super) configmaps: Map<Place, Shared<Seen>>,
    /// Every namespace.
    pub(super) namespaces: Map<Name, Namespace>,
    /// Copies that stand where their sync does not want them, by the UID on their mark.
    pub(super) leftovers: Map<Uid, Vec<Leftover>>,
    /// Syncs that went.
    pub(super) departed: Departed,
    /// Versions of ConfigMaps that concerned nobody when they came.
    pub(super) passed: Passed,
    /// Each name once, however many records mention it.
    pub(super) names: Names,
    /// The newest version that the stream of ConfigMaps told.
    pub(super) configmaps_rv: AtomicU64,
    /// Places that many want and that have another owner since their rivals were told last.
    pub(super) changed_hands: Mutex<AHashSet<Place>>,
}

#[derive(Default)]
pub(super) struct Dependants {
    pub(super) uids: Uids,
    /// Whether the stream has told, since the first of them came, whether the source is there.
    pub(super) heard: bool,
}

/// So many who want one place are looked at one by one, at each change of it.
const FEW_RIVALS: usize = 16;

/// So many copies that a sync is not known to have wanted are looked at, at a time.
const MOST_LEFTOVERS: usize = 16;

/// A copy that stands where its sync does not want it.
#[derive(Clone, Debug, PartialEq)]
pub struct Leftover {
    /// Where it stands.
    pub place: Place,
    /// Whether this replica saw its sync want the place. Anyone may write a sync's marks on what is his.
    pub wanted: bool,
    /// Whether this replica saw its sync go: then it need not wait to be swept.
    pub saw_go: bool,
    /// `deletionPolicy: Orphan` of the sync that went.
    pub orphan: bool,
}

/// What the stream knows of a source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SourceWord {
    /// It is there, with this resourceVersion.
    Version(u64),
    /// It is not there.
    Gone,
    /// No word since a sync named it: its last event came before that, and was let go.
    Unheard,
}

/// What changed about a sync.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// Nothing that is not known already.
    Nothing,
    /// Its status alone.
    Status,
    /// More than that.
    Wanted,
}

impl World {
    // --- the stream of syncs -------------------------------------------------------------------------------------

    /// A sync came or changed. Adds to `woken` everyone else whose case depends on it.
    pub fn sync_applied(&self, mut sync: Sync, woken: &mut Vec<Uid>) -> Change {
        let uid = sync.uid();
        let before = self.syncs.get(uid);
        if before.as_ref().is_some_and(|before| before.version.rv >= sync.version.rv) {
            return Change::Nothing;
        }
        self.names.intern_sync(&mut sync);
        if let Some(other) = self.syncs.named(&sync.key).filter(|other| other.uid() != uid) {
            self.forget(other.uid(), woken); // deleted and created again: the stream left out the end of the first
        }
        let same_wish = before.as_ref().is_some_and(|before| before.spec == sync.spec);
        let change = match &before {
            Some(before) if same_wish && before.deleting == sync.deleting && before.finalizer == sync.finalizer => {
                Change::Status
            }
            _ => Change::Wanted,
        };
        let sync = Shared::new(sync);
        if same_wish {
            self.syncs.put(&sync);
            return change;
        }
        // Whoever looks meanwhile finds the sync in the index, at its former place, at its new one or at both; which of
        // them it wants the record says.
        let owners = [before.as_deref(), Some(&*sync)].map(|sync| self.owner_at(sync));
        self.index(&sync, before.as_deref());
        self.syncs.put(&sync);
        if let Some(before) = &before {
            self.unindex(before, Some(&sync));
            if before.destination() != sync.destination() {
                self.strand(before, false);
            }
            self.neighbours(before, owners[0], woken);
        }
        self.neighbours(&sync, owners[1], woken);
        change
    }

    fn owner_at(&self, sync: Option<&Sync>) -> Option<Uid> {
        sync.and_then(Sync::destination).and_then(|place| self.owner(place)).map(|owner| owner.uid())
    }

    /// A sync went.
    pub fn sync_deleted(&self, sync: &Sync, woken: &mut Vec<Uid>) {
        self.forget(sync.uid(), woken);
    }

    /// A list of all syncs is complete: those that are not in it are gone.
    pub fn syncs_listed(&self, listed: &AHashSet<Uid>, woken: &mut Vec<Uid>) {
        let mut gone: Vec<Uid> = self.syncs.uids();
        gone.retain(|uid| !listed.contains(uid));
        gone.sort_unstable();
        for uid in gone {
            self.forget(uid, woken);
        }
    }

    fn forget(&self, uid: Uid, woken: &mut Vec<Uid>) {
        let owner = self.owner_at(self.syncs.get(uid).as_deref());
        let Some(sync) = self.syncs.remove(uid) else { return };
        self.departed.remember(uid, sync.orphan());
        self.unindex(&sync, None);
        self.strand(&sync, true);
        self.neighbours(&sync, owner, woken);
        woken.push(uid);
    }

    /// Puts a sync into the index, but for where it is found by what it wanted `before`.
    fn index(&self, sync: &Sync, before: Option<&Sync>) {
        let Ok(spec) = &sync.spec else { return };
        let before = before.and_then(|before| before.spec.as_ref().ok());
        let uid = sync.uid();
        if before.is_none_or(|before| before.source != spec.source) {
            let mut source = self.sources.entry(spec.source.clone()).or_default();
            if source.uids.is_empty() {
                source.heard = self.configmaps.contains_key(&spec.source);
            }
            put_in(&mut source.uids, uid, |uids| uids.len());
        }
        if before.is_none_or(|before| before.destination != spec.destination) {
            let age = |uid: Uid| self.syncs.get(uid).map_or((0, uid), |sync| (sync.created, uid));
            put_in(&mut self.destinations.entry(spec.destination.clone()).or_default(), uid, |uids| {
                uids.partition_point(|other| age(*other) < (sync.created, uid))
            });
        }
        if before.is_none_or(|before| before.destination.namespace != spec.destination.namespace) {
            put_in(&mut self.homes.entry(spec.destination.namespace.clone()).or_default(), uid, |uids| uids.len());
        }
        self.unstrand(uid, &spec.destination);
    }

    /// Takes a sync out of the index, but for where it is found by what it wants `now`.
    fn unindex(&self, sync: &Sync, now: Option<&Sync>) {
        let Ok(spec) = &sync.spec else { return };
        let now = now.and_then(|now| now.spec.as_ref().ok());
        let uid = sync.uid();
        if now.is_none_or(|now| now.source != spec.source)
            && let Some(mut source) = self.sources.get_mut(&spec.source)
        {
            source.uids.retain(|other| *other != uid);
        }
        if let Some((place, source)) = self.sources.remove_if(&spec.source, |_, source| source.uids.is_empty())
            && source.heard
            && !self.configmaps.contains_key(&place)
        {
            // It is gone. Who names it next must not take it to be as its status says.
            self.passed.remember(&place, GONE);
        }
        if now.is_none_or(|now| now.destination != spec.destination) {
            take_out(&self.destinations, &spec.destination, uid);
        }
        if now.is_none_or(|now| now.destination.namespace != spec.destination.namespace) {
            take_out(&self.homes, &spec.destination.namespace, uid);
        }
        for place in [&spec.source, &spec.destination] {
            let unmarked = |seen: &Shared<Seen>| seen.mark.as_ref().is_none_or(|mark| mark.uid.is_none());
            if !self.concerns_a_sync(place)
                && let Some((_, seen)) = self.configmaps.remove_if(place, |_, seen| unmarked(seen))
            {
                self.passed.remember(place, seen.version.rv);
            }
        }
    }

    /// Those whose case depends on where this sync reads and writes: who wants the same place or left a copy there, and,
    /// since a ring may have closed or opened, who is downstream. `owner`: who owned the place before.
    fn neighbours(&self, sync: &Sync, owner: Option<Uid>, woken: &mut Vec<Uid>) {
        let Ok(spec) = &sync.spec else { return };
        let mut downstream = vec![spec.destination.clone()];
        let mut seen: AHashSet<Uid> = AHashSet::new();
        self.rivals(&spec.destination, owner, |uid| _ = seen.insert(uid));
        // Whose copy stands there, though it wants it no more: it was left for this sync to take over.
        seen.extend(self.mark_at(&spec.destination));
        while let Some(place) = downstream.pop() {
            let dependants = self.sources.get(&place).map(|source| source.uids.clone()).unwrap_or_default();
            for uid in dependants {
                if seen.insert(uid)
                    && let Some(next) = self.syncs.get(uid).and_then(|sync| sync.destination().cloned())
                {
                    downstream.push(next);
                }
            }
        }
        seen.remove(&sync.uid());
        let begin = woken.len();
        woken.extend(seen);
        woken[begin..].sort_unstable();
    }

    /// What stands at the destination of this sync, which goes or moves away, is a leftover if it carries its mark.
    fn strand(&self, sync: &Sync, saw_go: bool) {
        let orphan = sync.orphan();
        if let Some(place) = sync.destination()
            && self.mark_at(place) == Some(sync.uid())
        {
            self.add_leftover(sync.uid(), Leftover { place: place.clone(), wanted: true, saw_go, orphan });
        }
        if saw_go && let Some(mut others) = self.leftovers.get_mut(&sync.uid()) {
            for other in others.iter_mut() {
                (other.saw_go, other.orphan) = (true, orphan);
            }
        }
    }

    fn mark_at(&self, place: &Place) -> Option<Uid> {
        self.configmaps.get(place).and_then(|seen| seen.mark.as_ref().and_then(|mark| mark.uid))
    }

    fn add_leftover(&self, uid: Uid, leftover: Leftover) {
        let mut leftovers = self.leftovers.entry(uid).or_default();
        if let Some(other) = leftovers.iter_mut().find(|other| other.place == leftover.place) {
            other.wanted |= leftover.wanted;
            if leftover.saw_go {
                (other.saw_go, other.orphan) = (true, leftover.orphan);
            }
        } else if leftovers.len() < MOST_LEFTOVERS {
            leftovers.push(leftover);
        } else if leftover.wanted {
            // Whoever forges marks pays for it alone.
            match leftovers.iter_mut().find(|other| !other.wanted) {
                Some(other) => *other = leftover,
                None => leftovers.push(leftover),
            }
        }
    }

    fn unstrand(&self, uid: Uid, place: &Place) {
        if let Some(mut leftovers) = self.leftovers.get_mut(&uid) {
            leftovers.retain(|leftover| leftover.place != *place);
        }
        self.leftovers.remove_if(&uid, |_, leftovers| leftovers.is_empty());
    }

    // --- the stream of ConfigMaps --------------------------------------------------------------------------------

    /// A ConfigMap came or changed. Adds to `sources` those that copy it, to `others` everyone else concerned.
    pub fn configmap_applied(&self, place: Place, seen: Seen, sources: &mut Vec<Uid>, others: &mut Vec<Uid>) {
        self.configmaps_rv.fetch_max(seen.version.rv, Ordering::AcqRel);
        let marked = seen.mark.as_ref().and_then(|mark| mark.uid);
        if marked.is_none() && !self.concerns_a_sync(&place) {
            self.passed.remember(&place, seen.version.rv);
            if let Some((_, before)) = self.configmaps.remove(&place) {
                self.unmark(&place, &before, others); // our marks were taken off
            }
            return;
        }
        let place = self.names.intern(&place);
        let mut seen = seen;
        if let Some(mark) = &mut seen.mark {
            mark.sync = self.names.intern(&mark.sync);
        }
        let owner = self.owner(&place).map(|owner| owner.uid());
        let before = self.configmaps.insert(place.clone(), Shared::new(seen));
        if let Some(before) = &before
            && before.mark.as_ref().and_then(|mark| mark.uid) != marked
        {
            self.unmark(&place, before, others);
        }
        if let Some(uid) = marked
            && self.syncs.get(uid).is_none_or(|sync| sync.destination() != Some(&place))
        {
            let departed = self.departed.recall(uid).filter(|_| !self.syncs.contains(uid));
            let (saw_go, orphan) = (departed.is_some(), departed.unwrap_or(false));
            self.add_leftover(uid, Leftover { place: place.clone(), wanted: false, saw_go, orphan });
            others.push(uid);
        }
        self.concerned(&place, owner, sources, others);
    }

    /// A ConfigMap went.
    pub fn configmap_deleted(&self, place: &Place, rv: u64, sources: &mut Vec<Uid>, others: &mut Vec<Uid>) {
        self.configmaps_rv.fetch_max(rv, Ordering::AcqRel);
        let owner = self.owner(place).map(|owner| owner.uid());
        if let Some((_, before)) = self.configmaps.remove(place) {
            self.unmark(place, &before, others);
        }
        if !self.concerns_a_sync(place) {
            self.passed.remember(place, GONE);
        }
        self.concerned(place, owner, sources, others);
    }

    /// All ConfigMaps are about to be listed.
    pub fn configmaps_listing(&self) {
        self.passed.list_begins();
    }

    /// A list of all ConfigMaps is complete: those that are not in it are gone, and there has been word of every source.
    pub fn configmaps_listed(&self, listed: &AHashSet<Uid>, sources: &mut Vec<Uid>, others: &mut Vec<Uid>) {
        let gone = |entry: &dashmap::mapref::multiple::RefMulti<'_, Place, Shared<Seen>>| {
            (!listed.contains(&entry.version.uid)).then(|| (entry.key().clone(), entry.version.rv))
        };
        let mut gone: Vec<(Place, u64)> = self.configmaps.iter().filter_map(|entry| gone(&entry)).collect();
        gone.sort_unstable_by_key(|(_, rv)| *rv);
        for (place, rv) in gone {
            self.configmap_deleted(&place, rv, sources, others);
        }
        self.passed.list_ends();
        let begin = sources.len();
        for mut entry in self.sources.iter_mut() {
            if !std::mem::replace(&mut entry.heard, true) && !self.configmaps.contains_key(entry.key()) {
                sources.extend(&entry.uids); // until now there was no word of it; now it is known to be gone
            }
        }
        sources[begin..].sort_unstable();
        // A copy of which only our own answer told may have gone before the stream could show it.
        let begin = others.len();
        for entry in self.destinations.iter().filter(|entry| !self.configmaps.contains_key(entry.key())) {
            others.extend(entry.value());
        }
        others[begin..].sort_unstable();
    }

    fn unmark(&self, place: &Place, before: &Seen, others: &mut Vec<Uid>) {
        if let Some(uid) = before.mark.as_ref().and_then(|mark| mark.uid) {
            self.unstrand(uid, place);
            others.push(uid);
        }
    }

    fn concerned(&self, place: &Place, owner: Option<Uid>, sources: &mut Vec<Uid>, others: &mut Vec<Uid>) {
        if let Some(mut entry) = self.sources.get_mut(place) {
            entry.heard = true;
            sources.extend(&entry.uids);
        }
        self.rivals(place, owner, |uid| others.push(uid));
    }

    /// Those who want a place and have reason to look again at once. Where they are many, that is who owns it; the others
    /// have reason only when it changed hands, and are told together, by [`World::changed_hands`].
    fn rivals(&self, place: &Place, owner_before: Option<Uid>, mut visit: impl FnMut(Uid)) {
        let Some(wanting) = self.destinations.get(place) else { return };
        if wanting.len() <= FEW_RIVALS {
            return wanting.iter().copied().for_each(visit);
        }
        drop(wanting);
        let owner = self.owner(place).map(|owner| owner.uid());
        owner.into_iter().for_each(&mut visit);
        if owner != owner_before {
            self.changed_hands.lock().unwrap_or_else(PoisonError::into_inner).insert(place.clone());
        }
    }

    fn concerns_a_sync(&self, place: &Place) -> bool {
        self.destinations.contains_key(place) || self.sources.contains_key(place)
    }

    // --- the stream of namespaces --------------------------------------------------------------------------------

    /// A namespace came or changed.
    pub fn namespace_applied(&self, name: &str, namespace: Namespace, woken: &mut Vec<Uid>) {
        let name = self.names.intern_name(name);
        if self.namespaces.insert(name.clone(), namespace) != Some(namespace) {
            self.at_home(&name, woken);
        }
    }

    /// A namespace went.
    pub fn namespace_deleted(&self, name: &str, woken: &mut Vec<Uid>) {
        if let Some((name, _)) = self.namespaces.remove(name) {
            self.at_home(&name, woken);
        }
    }

    /// A list of all namespaces is complete.
    pub fn namespaces_listed(&self, listed: &AHashSet<Uid>, woken: &mut Vec<Uid>) {
        let gone = self.namespaces.iter().filter(|entry| !listed.contains(&entry.uid));
        let mut gone: Vec<Name> = gone.map(|entry| entry.key().clone()).collect();
        gone.sort_unstable();
        for name in gone {
            self.namespace_deleted(&name, woken);
        }
    }

    fn at_home(&self, name: &Name, woken: &mut Vec<Uid>) {
        if let Some(uids) = self.homes.get(name) {
            woken.extend(uids.iter());
        }
        // What stands there without being wanted is cleared away only in a namespace that is known.
        let stands_here = |leftover: &Leftover| leftover.place.namespace == *name;
        let begin = woken.len();
        let leftovers = self.leftovers.iter().filter(|entry| entry.value().iter().any(stands_here));
        woken.extend(leftovers.map(|entry| *entry.key()));
        woken[begin..].sort_unstable();
    }
}

/// Puts a UID in where `at` says. A list grows by an eighth: one that doubles is half empty at times, and
/// together they hold every sync.
fn put_in(uids: &mut Uids, uid: Uid, at: impl Fn(&Uids) -> usize) {
    if uids.len() == uids.capacity() {
        uids.reserve_exact(uids.len() / 8 + 1);
    }
    uids.insert(at(uids), uid);
}

fn take_out<K: Eq + std::hash::Hash>(map: &Map<K, Uids>, key: &K, uid: Uid) {
    if let Some(mut uids) = map.get_mut(key) {
        uids.retain(|other| *other != uid);
    }
    map.remove_if(key, |_, uids| uids.is_empty());
}
