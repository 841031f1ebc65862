//! All that a replica knows of the cluster, and the indexes to find it by. Written by the streams alone, read by
//! everyone. Each change answers with the syncs that have reason to look again.

mod questions;
mod syncs;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};

use ahash::{AHashSet, RandomState};
use dashmap::DashMap;
use smallvec::SmallVec;

use self::syncs::Syncs;
use super::departed::Departed;
use super::names::Names;
use super::passed::{GONE, Passed};
use crate::core::records::{Name, Namespace, Place, Seen, Shared, Sync};
use crate::core::shard::Uid;

type Map<K, V> = DashMap<K, V, RandomState>;
/// Mostly one.
type Uids = SmallVec<[Uid; 1]>;

/// What a replica knows.
#[derive(Default)]
pub struct World {
    /// Every sync.
    syncs: Syncs,
    /// The index that a fan-out needs: from a source to the syncs that copy it.
    sources: Map<Place, Dependants>,
    /// From a place to the syncs that want their copy there.
    destinations: Map<Place, Uids>,
    /// From a namespace to the syncs that want their copy in it.
    homes: Map<Name, Uids>,
    /// ConfigMaps that are a source or a destination of some sync, or carry our marks.
    configmaps: Map<Place, Shared<Seen>>,
    /// Every namespace.
    namespaces: Map<Name, Namespace>,
    /// Copies that stand where their sync does not want them, by the UID on their mark.
    leftovers: Map<Uid, Vec<Leftover>>,
    /// Syncs that went.
    departed: Departed,
    /// Versions of ConfigMaps that concerned nobody when they came.
    passed: Passed,
    /// Each name once, however many records mention it.
    names: Names,
    /// The newest version that the stream of ConfigMaps told.
    configmaps_rv: AtomicU64,
}

#[derive(Default)]
struct Dependants {
    uids: Uids,
    /// Whether the stream has told, since the first of them came, whether the source is there.
    heard: bool,
}

/// A copy that stands where its sync does not want it.
#[derive(Clone, Debug, PartialEq)]
pub struct Leftover {
    /// Where it stands.
    pub place: Place,
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
        if let Some(before) = before.filter(|_| !same_wish) {
            self.unindex(&before);
            self.strand(&before, false);
            self.neighbours(&before, woken);
        }
        self.syncs.put(&sync);
        if !same_wish {
            self.index(&sync);
            self.neighbours(&sync, woken);
        }
        change
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
        let Some(sync) = self.syncs.remove(uid) else { return };
        self.departed.remember(uid, sync.orphan());
        self.unindex(&sync);
        self.strand(&sync, true);
        self.neighbours(&sync, woken);
        woken.push(uid);
    }

    fn index(&self, sync: &Sync) {
        let Ok(spec) = &sync.spec else { return };
        let uid = sync.uid();
        let mut source = self.sources.entry(spec.source.clone()).or_default();
        if source.uids.is_empty() {
            source.heard = self.configmaps.contains_key(&spec.source);
        }
        put_in(&mut source.uids, uid);
        drop(source);
        put_in(&mut self.destinations.entry(spec.destination.clone()).or_default(), uid);
        put_in(&mut self.homes.entry(spec.destination.namespace.clone()).or_default(), uid);
        self.unstrand(uid, &spec.destination);
    }

    fn unindex(&self, sync: &Sync) {
        let Ok(spec) = &sync.spec else { return };
        let uid = sync.uid();
        if let Some(mut source) = self.sources.get_mut(&spec.source) {
            source.uids.retain(|other| *other != uid);
        }
        if let Some((place, source)) = self.sources.remove_if(&spec.source, |_, source| source.uids.is_empty())
            && source.heard
            && !self.configmaps.contains_key(&place)
        {
            // It is gone. Who names it next must not take it to be as its status says.
            self.passed.remember(&place, GONE);
        }
        take_out(&self.destinations, &spec.destination, uid);
        take_out(&self.homes, &spec.destination.namespace, uid);
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
    /// since a ring may have closed or opened, who is downstream.
    fn neighbours(&self, sync: &Sync, woken: &mut Vec<Uid>) {
        let Ok(spec) = &sync.spec else { return };
        let mut downstream = vec![spec.destination.clone()];
        let mut seen: AHashSet<Uid> = AHashSet::new();
        if let Some(rivals) = self.destinations.get(&spec.destination) {
            seen.extend(rivals.iter().copied());
        }
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
            self.add_leftover(sync.uid(), Leftover { place: place.clone(), saw_go, orphan });
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
        match leftovers.iter_mut().find(|other| other.place == leftover.place) {
            Some(other) if leftover.saw_go => *other = leftover,
            Some(_) => {}
            None => leftovers.push(leftover),
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
            self.add_leftover(uid, Leftover { place: place.clone(), saw_go, orphan });
            others.push(uid);
        }
        self.concerned(&place, sources, others);
    }

    /// A ConfigMap went.
    pub fn configmap_deleted(&self, place: &Place, rv: u64, sources: &mut Vec<Uid>, others: &mut Vec<Uid>) {
        self.configmaps_rv.fetch_max(rv, Ordering::AcqRel);
        if let Some((_, before)) = self.configmaps.remove(place) {
            self.unmark(place, &before, others);
        }
        if !self.concerns_a_sync(place) {
            self.passed.remember(place, GONE);
        }
        self.concerned(place, sources, others);
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

    fn concerned(&self, place: &Place, sources: &mut Vec<Uid>, others: &mut Vec<Uid>) {
        if let Some(mut entry) = self.sources.get_mut(place) {
            entry.heard = true;
            sources.extend(&entry.uids);
        }
        if let Some(wanting) = self.destinations.get(place) {
            others.extend(wanting.iter());
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

/// A list grows by an eighth: one that doubles is half empty at times, and together they hold every sync.
fn put_in(uids: &mut Uids, uid: Uid) {
    if uids.len() == uids.capacity() {
        uids.reserve_exact(uids.len() / 8 + 1);
    }
    uids.push(uid);
}

fn take_out<K: Eq + std::hash::Hash>(map: &Map<K, Uids>, key: &K, uid: Uid) {
    if let Some(mut uids) = map.get_mut(key) {
        uids.retain(|other| *other != uid);
    }
    map.remove_if(key, |_, uids| uids.is_empty());
}
