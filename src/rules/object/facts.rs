//! All that a decision about an object rests on. What a replica knows, and how, is left behind here:
//! [`crate::rules::object::plan`] sees nothing else.

use crate::rules::copy::facts::{CopyFacts, Destination, Owner, Reported};
use crate::rules::record::Sync;

/// All that a decision about an object rests on.
#[derive(Clone, Debug)]
pub struct ObjectFacts<'a> {
    /// The object, by its newest version known.
    pub sync: &'a Sync,
    /// The copy that it wants. `None` while the spec makes no sense.
    pub copy: Option<CopyFacts<'a>>,
    /// Where else something stands that carries this object's mark.
    pub orphaned_copies: Vec<Destination<'a>>,
    /// Whether another object has had time to take over a copy that this one gives up.
    pub take_over_waited: bool,
}

impl Owner<'_> {
    /// The owner of a sync's copy.
    pub fn of(sync: &Sync) -> Owner<'_> {
        Owner { key: &sync.key, uid: sync.uid() }
    }
}

impl Reported {
    /// What the status of a sync says of its copy.
    pub fn by(sync: &Sync) -> Self {
        let status = &sync.status;
        Self {
            source: status.source,
            copy: status.copy,
            exists: status.destination_exists,
            changed_by_admission: status.changed_by_admission,
            of_this_spec: sync.is_observed(),
        }
    }
}
