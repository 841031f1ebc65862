//! What is still to be done so that nothing of an owner's stands at a destination.

use crate::rules::copy::facts::{CopyState, Destination, NamespaceState, Owner, Reported};
use crate::rules::copy::guard::Act;
use crate::rules::copy::ownership::{Claim, claim, stands_where_written};
use crate::rules::copy::step::{DestinationStep, Next};
use crate::rules::copy::verdict::Verdict;
use crate::rules::record::ConfigMapMeta;

/// For whom, and how, copies are removed.
#[derive(Clone, Copy, Debug)]
pub struct Removal<'a> {
    /// Whose copies they are.
    pub owner: Owner<'a>,
    /// What the owner's status says of the copy that it wants.
    pub reported: Reported,
    /// The copies stay, without our marks.
    pub orphan: bool,
    /// The owner is being deleted.
    pub deleting: bool,
}

impl Removal<'_> {
    /// What comes next for the copy at the destination that the owner's spec names; `None`: nothing of it is left.
    pub fn of_wanted(&self, destination: &Destination<'_>) -> Option<Next> {
        self.next(destination, true)
    }

    /// What comes next for a copy elsewhere; `None`: nothing of it is left.
    pub fn of_orphaned(&self, destination: &Destination<'_>) -> Option<Next> {
        self.next(destination, false)
    }

    fn next(&self, destination: &Destination<'_>, wanted: bool) -> Option<Next> {
        let meta = match destination.copy {
            CopyState::Absent => return None,
            // A watch alone is no proof that a copy is missing, where something speaks for it: the status names it, or, since
            // a status may lag behind, our finalizer is on an owner that goes.
            CopyState::Unknown if wanted && (self.deleting || self.reported.exists) => {
                return Next::look_for(destination);
            }
            CopyState::Unknown => return None,
            CopyState::Cached(meta) => meta,
            CopyState::Read(read) => &read.meta,
        };
        let namespace = match destination.namespace {
            NamespaceState::Unknown => return Some(Next::read_namespace(destination)),
            NamespaceState::Absent | NamespaceState::Terminating => return None, // all in it goes by itself
            NamespaceState::Live(namespace) | NamespaceState::Refusing(namespace) => namespace,
        };
        // It stays, with our marks. One that outlives its owner has to lose them now: later nobody knows that it was to stay.
        if destination.guard(Act::Remove).is_some() && !(self.orphan && self.deleting) {
            return None;
        }
        match claim(meta, self.owner, namespace, wanted) {
            Claim::Ours | Claim::Inherited => {}
            Claim::Restored if !destination.is_read() => return Some(Next::read_copy(destination)),
            Claim::Restored if destination.is_as_marked() => {}
            Claim::Foreign if wanted && self.reported.names_unmarked(meta) => {}
            // Its annotations are ours to take off, its content is not.
            Claim::Foreign if wanted && meta.seed_adopted => {
                return Some(Next::Do(remove(destination, meta, true).into()));
            }
            Claim::Restored | Claim::AnotherSyncs | Claim::Foreign => {
                // A watch that lags may show what stood there before the copy was made.
                let unread = matches!(destination.copy, CopyState::Cached(_));
                return (wanted && self.deleting && unread).then(|| Next::read_copy(destination));
            }
        }
        if meta.deleting && !(self.orphan || meta.adopted) {
            return Some(Next::Settled(Verdict::CopyHeld(destination.key.clone())));
        }
        Some(Next::Do(remove(destination, meta, self.orphan).into()))
    }
}

/// What was there before us stays, without our marks; what we made goes.
fn remove(destination: &Destination<'_>, meta: &ConfigMapMeta, orphan: bool) -> DestinationStep {
    match destination.copy {
        _ if !(orphan || meta.adopted) => DestinationStep::Remove(destination.key.clone(), meta.version),
        CopyState::Read(_) => DestinationStep::Unmark(destination.key.clone()),
        _ => DestinationStep::ReadCopy(destination.key.clone()),
    }
}

/// The next step for a copy whose owner is gone, or no longer wants this destination and cannot say so: by a GET of the
/// owner, which the caller made. `None`: it is left alone.
pub fn sweep(destination: &Destination<'_>, orphan: bool) -> Option<DestinationStep> {
    match (destination.copy.meta(), destination.namespace.uid()) {
        (Some(meta), Some(namespace))
            if (orphan || destination.guard(Act::Remove).is_none())
                && !destination.wanted_by_another
                && !meta.deleting
                && meta.mark.as_ref().is_some_and(|mark| stands_where_written(mark, namespace)) =>
        {
            Some(remove(destination, meta, orphan))
        }
        _ => None,
    }
}
