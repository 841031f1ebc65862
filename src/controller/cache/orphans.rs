//! Copies that stand where their sync does not want them.

use crate::controller::cache::index::{Leftover, World};
use crate::rules::record::{Place, Seen, Sync};
use crate::rules::uid::Uid;

/// So many copies that a sync is not known to have wanted are looked at, at a time.
const MOST_LEFTOVERS: usize = 16;

impl World {
    /// What stands at the destination of this sync, which goes or moves away, is a leftover if it carries its mark.
    pub(super) fn strand(&self, sync: &Sync, saw_go: bool) {
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

    pub(super) fn mark_at(&self, place: &Place) -> Option<Uid> {
        self.configmaps.get(place).and_then(|seen| seen.mark.as_ref().and_then(|mark| mark.uid))
    }

    pub(super) fn add_leftover(&self, uid: Uid, leftover: Leftover) {
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

    pub(super) fn unstrand(&self, uid: Uid, place: &Place) {
        if let Some(mut leftovers) = self.leftovers.get_mut(&uid) {
            leftovers.retain(|leftover| leftover.place != *place);
        }
        self.leftovers.remove_if(&uid, |_, leftovers| leftovers.is_empty());
    }

    pub(super) fn unmark(&self, place: &Place, before: &Seen, others: &mut Vec<Uid>) {
        if let Some(uid) = before.mark.as_ref().and_then(|mark| mark.uid) {
            self.unstrand(uid, place);
            others.push(uid);
        }
    }
}
