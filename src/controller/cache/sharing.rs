//! What owners say of sharing their ConfigMaps, as far as the watches told it, and the question that rests on it.

use crate::controller::cache::index::{Cache, SourceVersion};
use crate::rules::cluster::selection::Labels;
use crate::rules::consent::{Question, Said, judge};
use crate::rules::copy::facts::ConsentFacts;
use crate::rules::record::{Name, ObjectKey, SlimArc};
use crate::rules::sharing::Sharing;
use crate::rules::uid::Uid;

impl Cache {
    /// Whether all copies need consent.
    #[must_use]
    pub fn requiring_consent(mut self, required: bool) -> Self {
        self.sharings.required = required;
        self
    }

    /// What the owner of a source says to a copy of it in the namespace `to`. `required`: its spec requires consent. `in_hand`: what the
    /// answer told that its content comes from; without it, what the watches told counts.
    pub fn consent(
        &self,
        required: bool,
        source: &ObjectKey,
        in_hand: Option<Option<&Sharing>>,
        to: &Name,
    ) -> ConsentFacts {
        let required = required || self.sharings.required;
        let watched = self.configmap(source);
        let read = if in_hand.is_none() && watched.is_none() { self.read_sharing(source) } else { None };
        let said = match (in_hand, &watched, &read) {
            (Some(said), ..) => Said::Known(said),
            (None, Some(meta), _) => Said::Known(meta.sharing.as_deref()),
            (None, None, Some(said)) => Said::Known(said.as_deref()),
            (None, None, None) => Said::Unknown,
        };
        let namespace = self.sharings.namespaces.get(&source.namespace).map(|said| said.value().clone());
        let none = Labels::default();
        let labels = self.cluster.labels.get(to);
        let labels = labels.as_ref().map_or(&none, |labels| labels.value());
        let consent = judge(&Question { required, source: said, namespace: namespace.as_deref(), to, labels });
        let source_namespace = self.namespace(&source.namespace).map(|namespace| namespace.uid);
        ConsentFacts { required, consent, source_namespace, refused_twice: false }
    }

    /// What a GET told of a source, if the watch has told of nothing newer.
    fn read_sharing(&self, source: &ObjectKey) -> Option<Option<SlimArc<Sharing>>> {
        if self.sharings.read.is_empty() {
            return None;
        }
        let (rv, said) = self.sharings.read.get(source)?.value().clone();
        let outdated = matches!(self.source(source), SourceVersion::Version(newer) if newer > rv);
        (!outdated).then_some(said)
    }

    /// A GET told what the owner of a source says. It is kept where the watch does not show the source.
    pub fn note_sharing(&self, source: &ObjectKey, rv: u64, sharing: Option<SlimArc<Sharing>>) {
        if !self.configmaps.contains_key(source) && self.sources.contains_key(source) {
            self.sharings.read.insert(self.interner.intern(source), (rv, sharing));
        }
    }

    /// What the owner of a source has to be told, once for each version: that what he says cannot be read, and why.
    pub fn news_for_owner(&self, source: &ObjectKey, rv: u64, said: Option<&Sharing>) -> Option<String> {
        let of_namespace = self.sharings.namespaces.get(&source.namespace).map(|said| said.value().clone());
        match said.or(of_namespace.as_deref()) {
            Some(Sharing::Unreadable(why)) => {
                let by = if said.is_some() { rv } else { 0 };
                let told = self.sharings.told.insert(self.interner.intern(source), by);
                (told != Some(by)).then(|| why.to_string())
            }
            _ => {
                self.forget_told(source);
                None
            }
        }
    }

    /// The watch shows this ConfigMap, or nobody copies it any more.
    pub(super) fn forget_read_sharing(&self, source: &ObjectKey) {
        if !self.sharings.read.is_empty() {
            self.sharings.read.remove(source);
        }
    }

    /// Its owner has nothing to be told, or nobody copies this ConfigMap any more.
    pub(super) fn forget_told(&self, source: &ObjectKey) {
        if !self.sharings.told.is_empty() {
            self.sharings.told.remove(source);
        }
    }

    /// A Namespace says this. Whether it said something else before.
    pub(super) fn namespace_shares(&self, name: &str, sharing: Option<Sharing>) -> bool {
        let changed = self.sharings.namespaces.get(name).map(|said| (**said).clone()) != sharing;
        if changed {
            match sharing {
                Some(said) => {
                    self.sharings.namespaces.insert(self.interner.intern_name(name), SlimArc::new(said));
                }
                None => _ = self.sharings.namespaces.remove(name),
            }
        }
        changed
    }

    /// Adds the objects that copy from a namespace.
    pub(super) fn affected_by_sharing(&self, name: &str, affected: &mut Vec<Uid>) {
        let begin = affected.len();
        for source in self.sources.iter().filter(|source| source.key().namespace == name) {
            affected.extend(&source.uids);
        }
        affected[begin..].sort_unstable();
    }

    /// Adds the ConfigMapSyncs into a namespace whose labels changed, where an owner may share by labels.
    pub(super) fn affected_by_labels(&self, name: &str, affected: &mut Vec<Uid>) {
        let Some(uids) = self.by_namespace.get(name).map(|uids| uids.clone()) else { return };
        let asks = |uid: &Uid| {
            self.sharings.required
                || self.sync(*uid).is_some_and(|sync| sync.spec.as_ref().is_ok_and(|spec| spec.require_consent))
        };
        affected.extend(uids.into_iter().filter(asks));
    }
}
