//! Who says that something is not to be touched, by what the watches told.

use crate::controller::cache::index::Cache;
use crate::rules::copy::facts::NamespaceState;
use crate::rules::copy::guard::{Act, Forbidden, Guard, guard};
use crate::rules::record::ObjectKey;
use crate::rules::uid::Uid;

impl Cache {
    /// Namespaces that the operator does not touch.
    #[must_use]
    pub fn forbidding(mut self, forbidden: Forbidden) -> Self {
        self.forbidden = forbidden;
        self
    }

    /// Whether a flag forbids a namespace.
    pub fn forbids(&self, namespace: &str) -> bool {
        self.forbidden.names(namespace)
    }

    /// What is known of a namespace.
    pub fn namespace_state(&self, name: &str) -> NamespaceState {
        self.namespace(name).map_or(NamespaceState::Unknown, NamespaceState::from)
    }

    /// The keys of all ConfigMaps that carry the marks of an object and are to go with it.
    pub fn removable_copies(&self, uid: Uid) -> Vec<ObjectKey> {
        let mut keys = self.standing_copies(uid);
        keys.retain(|key| self.may_remove(key));
        keys
    }

    /// Whether nobody says no to the removal of a copy.
    pub(in crate::controller::cache) fn may_remove(&self, at: &ObjectKey) -> bool {
        self.guard(Act::Remove, at).is_none()
    }

    /// Who says no to this, if anybody does, as far as the watches told.
    pub fn guard(&self, act: Act, at: &ObjectKey) -> Option<Guard> {
        let (namespace, forbidden) = (self.namespace_state(&at.namespace), self.forbids(&at.namespace));
        guard(act, at, namespace, self.configmaps.get(at).as_deref().map(|meta| &**meta), forbidden)
    }
}
