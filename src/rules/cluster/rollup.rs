//! How it stands with all copies of an object together.

use crate::api::clusterconfigmapsync::NamespaceCounts;
use crate::rules::reason::Reason;
use crate::rules::record::Name;
use crate::rules::uid::{Uid, Version};

/// So many failures are told in a status.
pub const MOST_FAILURES: usize = 10;

/// How it stands with an object.
#[derive(Clone, PartialEq, Debug)]
pub enum Standing {
    /// The spec makes no sense; the sentence says why.
    InvalidSpec(String),
    /// Two keys of the source would have one name in the copies; which, in a sentence.
    KeyConflict(String),
    /// There is no such source.
    SourceMissing(Rollup),
    /// The source is shared with none of the selected namespaces; or, where consent is needed, there is no source.
    NotShared {
        /// Whether consent is needed.
        required: bool,
        /// How many copies stand.
        standing: usize,
        /// The counts.
        rollup: Rollup,
    },
    /// The copies would take more bytes together than they may: nothing is written.
    TooLarge {
        /// How many bytes they would take.
        bytes: u64,
        /// The counts.
        rollup: Rollup,
    },
    /// Nothing is selected, but so many copies stand: they stay.
    SelectionEmptied(usize),
    /// It is being deleted.
    Deleting {
        /// How many copies are still to be removed.
        removing: usize,
        /// A copy that somebody's finalizer holds, if there is one.
        held: Option<String>,
    },
    /// Its copies are counted.
    Counted {
        /// The source that they are compared with.
        source: Version,
        /// SHA-256 of what it holds, in hexadecimal.
        content_hash: String,
        /// The UID of its namespace, if the watch shows it.
        source_namespace: Option<Uid>,
        /// The counts.
        rollup: Rollup,
    },
}

/// The copies of an object, counted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rollup {
    /// Selected namespaces whose copy is in order.
    pub synced: usize,
    /// Selected namespaces whose copy is still to be written.
    pub pending: usize,
    /// Selected namespaces whose copy failed, by name.
    pub failures: Vec<Failure>,
    /// How many of all that failed did because the source is not shared with them.
    pub not_shared: usize,
    /// How many more failed whose names are not known, or not told.
    pub more_failures: usize,
    /// Namespaces that would be selected, but are excluded or protected.
    pub excluded: usize,
    /// Copies that are still to be removed.
    pub removing: usize,
}

/// A namespace whose copy failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// The namespace.
    pub namespace: Name,
    /// Why.
    pub reason: Reason,
    /// Why, in a sentence.
    pub message: String,
    /// Whether only a person can mend it.
    pub needs_person: bool,
}

impl Rollup {
    /// How many namespaces are selected.
    pub fn selected(&self) -> usize {
        self.synced + self.pending + self.failed()
    }

    /// How many copies failed.
    pub fn failed(&self) -> usize {
        self.failures.len() + self.more_failures
    }

    /// The source is not shared with one more namespace. The first ones are told by name.
    pub fn note_not_shared(&mut self, failure: impl FnOnce() -> Failure) {
        self.not_shared += 1;
        match self.not_shared <= MOST_FAILURES {
            true => self.failures.push(failure()),
            false => self.more_failures += 1,
        }
    }

    /// As they stand in a status.
    pub fn counts(&self) -> NamespaceCounts {
        let count = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
        NamespaceCounts {
            selected: count(self.selected()),
            synced: count(self.synced),
            pending: count(self.pending),
            failed: count(self.failed()),
            excluded: count(self.excluded),
            removing: count(self.removing),
        }
    }

    /// Whether nothing is left to do that anybody knows of.
    pub fn is_settled(&self) -> bool {
        self.pending == 0 && self.removing == 0
    }
}
