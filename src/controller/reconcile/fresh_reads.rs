//! What was read while a key was at work.

use tokio::time::Instant;

use crate::controller::reconcile::sources::Found;
use crate::kubernetes::reader::CopyRead;
use crate::rules::copy::facts::NamespaceState;
use crate::rules::record::{Name, ObjectKey};

/// What was read while a key was at work. Forgotten when its work ends.
#[derive(Default)]
pub struct FreshReads {
    /// The source, and when the GET was sent.
    pub source: Option<(Found, Instant)>,
    /// What was read at destinations: `None` for nothing there.
    pub copies: Vec<(ObjectKey, Option<CopyRead>)>,
    /// When the answer of the last read of a copy came.
    pub copies_read_at: Option<Instant>,
    /// Namespaces that were read, or of which a refusal told.
    pub namespaces: Vec<(Name, NamespaceState)>,
    /// Whether a missing source is to be asked for again.
    pub recheck: bool,
    /// Whether a person asks for an attempt now.
    pub asked: bool,
    /// How many conflicts about the copy there were in this look.
    pub conflicts: u32,
}

impl FreshReads {
    /// What was read at a destination.
    pub fn copy(&self, key: &ObjectKey) -> Option<&Option<CopyRead>> {
        self.copies.iter().find(|(at, _)| at == key).map(|(_, read)| read)
    }

    /// Notes what was read at a destination.
    pub fn put_copy(&mut self, key: ObjectKey, read: Option<CopyRead>) {
        self.forget_copy(&key);
        self.copies.push((key, read));
        self.copies_read_at = Some(Instant::now());
    }

    /// Takes out what was read at a destination.
    pub fn take_copy(&mut self, key: &ObjectKey) -> Option<CopyRead> {
        let at = self.copies.iter().position(|(at, _)| at == key)?;
        self.copies.swap_remove(at).1
    }

    /// What was read at a destination has been written over.
    pub fn forget_copy(&mut self, key: &ObjectKey) {
        self.copies.retain(|(at, _)| at != key);
    }

    /// Notes how it is with a namespace.
    pub fn put_namespace(&mut self, name: &Name, state: NamespaceState) {
        self.namespaces.retain(|(other, _)| other != name);
        self.namespaces.push((name.clone(), state));
    }
}
