//! Copies that stand where their sync does not want them.

use crate::controller::cache::index::{Cache, OrphanedCopy};
use crate::rules::record::{ConfigMapMeta, ObjectKey, OwnerMark, Sync};
use crate::rules::uid::Uid;

/// So many copies that a sync is not known to have wanted are looked at, at a time.
const MOST_ORPHANED: usize = 16;

impl Cache {
    /// What stands at the destination of this sync, which goes or moves away, is an orphaned copy if it carries its mark.
    pub(super) fn note_orphaned(&self, sync: &Sync, deletion_observed: bool) {
        let orphan = sync.orphan();
        if let Some(key) = sync.destination()
            && self.mark_at(key) == Some(sync.uid())
        {
            self.add_orphaned_copy(
                sync.uid(),
                OrphanedCopy { key: key.clone(), wanted: true, deletion_observed, orphan },
            );
        }
        if deletion_observed && let Some(mut others) = self.orphaned_copies.get_mut(&sync.uid()) {
            for other in others.iter_mut() {
                (other.deletion_observed, other.orphan) = (true, orphan);
            }
        }
    }

    pub(super) fn mark_at(&self, key: &ObjectKey) -> Option<Uid> {
        self.configmaps.get(key).and_then(|meta| meta.mark.as_ref().and_then(|mark| mark.uid))
    }

    pub(super) fn add_orphaned_copy(&self, uid: Uid, orphaned_copy: OrphanedCopy) {
        let mut orphaned_copies = self.orphaned_copies.entry(uid).or_default();
        if let Some(other) = orphaned_copies.iter_mut().find(|other| other.key == orphaned_copy.key) {
            other.wanted |= orphaned_copy.wanted;
            if orphaned_copy.deletion_observed {
                (other.deletion_observed, other.orphan) = (true, orphaned_copy.orphan);
            }
        } else if orphaned_copies.len() < MOST_ORPHANED {
            orphaned_copies.push(orphaned_copy);
        } else if orphaned_copy.wanted {
            // Whoever forges marks pays for it alone.
            match orphaned_copies.iter_mut().find(|other| !other.wanted) {
                Some(other) => *other = orphaned_copy,
                None => orphaned_copies.push(orphaned_copy),
            }
        }
    }

    pub(super) fn forget_orphaned(&self, uid: Uid, key: &ObjectKey) {
        if let Some(mut orphaned_copies) = self.orphaned_copies.get_mut(&uid) {
            orphaned_copies.retain(|orphaned_copy| orphaned_copy.key != *key);
        }
        self.orphaned_copies.remove_if(&uid, |_, orphaned_copies| orphaned_copies.is_empty());
    }

    pub(super) fn unmark(&self, key: &ObjectKey, before: &ConfigMapMeta, others: &mut Vec<Uid>) {
        if let Some(uid) = before.mark.as_ref().and_then(OwnerMark::one_of_many) {
            self.forget_copy(uid, key);
            self.note_affected_copy(uid, key);
        } else if let Some(uid) = before.mark.as_ref().and_then(|mark| mark.uid) {
            self.forget_orphaned(uid, key);
            others.push(uid);
        }
    }
}
