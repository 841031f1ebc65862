//! Each name once: a namespace that ten thousand records mention takes its bytes one time.

use ahash::RandomState;
use dashmap::DashSet;

use crate::rules::record::{Name, ObjectKey, Sync};

/// The pool of names.
#[derive(Default)]
pub(super) struct Interner {
    pool: DashSet<Name, RandomState>,
}

impl Interner {
    /// The one copy of a name.
    pub(super) fn intern_name(&self, name: &str) -> Name {
        if let Some(known) = self.pool.get(name) {
            return known.key().clone();
        }
        let name: Name = name.into();
        self.pool.insert(name.clone());
        name
    }

    /// The key, of pooled names.
    pub(super) fn intern(&self, key: &ObjectKey) -> ObjectKey {
        ObjectKey { namespace: self.intern_name(&key.namespace), name: self.intern_name(&key.name) }
    }

    /// A sync whose names are pooled.
    pub(super) fn intern_sync(&self, sync: &mut Sync) {
        sync.key = self.intern(&sync.key);
        if let Ok(spec) = &mut sync.spec {
            spec.source = self.intern(&spec.source);
            spec.destination = self.intern(&spec.destination);
        }
    }

    /// Lets go of names that nobody mentions any more.
    pub(super) fn tidy(&self) {
        self.pool.retain(|name| Name::strong_count(name) > Some(1));
    }
}
