//! Syncs that this replica saw go. A write of a former holder may reach the API server late, and make a copy whose sync
//! is gone. Who saw the sync go need not wait to sweep it, as for a copy that nobody knows anything about.

use std::collections::VecDeque;

use crate::rules::uid::Uid;
use parking_lot::{Mutex, MutexGuard};

/// So many are remembered, the last to go: 128 KiB.
const REMEMBERED: usize = 1 << 12;

/// UIDs of syncs that went, the newest last; and whether their copies are to stay.
#[derive(Default)]
pub(super) struct Tombstones {
    newest: Mutex<VecDeque<(Uid, bool)>>,
}

impl Tombstones {
    fn lock(&self) -> MutexGuard<'_, VecDeque<(Uid, bool)>> {
        self.newest.lock()
    }

    /// A sync went.
    pub(super) fn remember(&self, uid: Uid, orphan: bool) {
        let mut newest = self.lock();
        newest.push_back((uid, orphan));
        if newest.len() > REMEMBERED {
            newest.pop_front();
        }
    }

    /// Whether its copies are to stay, if it is one that went.
    pub(super) fn recall(&self, uid: Uid) -> Option<bool> {
        self.lock().iter().rev().find(|(gone, _)| *gone == uid).map(|(_, orphan)| *orphan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::uid;

    #[test]
    fn the_last_to_go_are_remembered() {
        let tombstones = Tombstones::default();
        tombstones.remember(uid(1), true);
        tombstones.remember(uid(2), false);
        assert_eq!([1, 2, 3].map(|n| tombstones.recall(uid(n))), [Some(true), Some(false), None]);
        (0..REMEMBERED).for_each(|n| tombstones.remember(uid(10 + n as u64), false));
        assert_eq!(tombstones.recall(uid(1)), None);
    }
}
