//! What the owners of sources say, where contents are read and copies are written.

use crate::controller::cache::Cache;
use crate::controller::reconcile::reconciler::Reconciler;
use crate::controller::reconcile::sources::Found;
use crate::rules::cluster::record::ClusterSpec;
use crate::rules::cluster::rollup::Failure;
use crate::rules::consent::Consent;
use crate::rules::copy::content::SourceContent;
use crate::rules::object::status::{self, StatusContent};
use crate::rules::reason::Reason;
use crate::rules::record::{Name, ObjectKey, Spec, Sync};
use crate::rules::sharing::Sharing;
use crate::rules::uid::Version;

impl Reconciler<'_> {
    /// What the owner of a source says to a copy, by the answer to a GET.
    pub(super) fn hear(&self, spec: &Spec, found: &Found) -> Consent {
        let cache = &self.context.cache;
        let Found::Content(content) = found else { return Consent::Missing };
        if cache.consent(spec.require_consent, &spec.source, None, &spec.destination.namespace).consent
            == Consent::Unknown
        {
            cache.note_sharing(&spec.source, content.version.rv, content.sharing.clone());
        }
        self.tell_owner_of(&spec.source, content.version, content.sharing.as_deref());
        self.consent_by(spec, content)
    }

    /// Whether a copy may be written from a content.
    pub(super) fn may_write(&self, sync: &Sync, content: &SourceContent) -> bool {
        sync.spec.as_ref().is_ok_and(|spec| self.consent_by(spec, content) == Consent::Given)
    }

    /// Says once, in the status that is written for it, that the namespace of a source was deleted and made again.
    pub(super) fn tell_of_namespace(&self, sync: &Sync, text: &StatusContent<'_>) {
        let (before, now) = (sync.status.source_namespace, text.source_namespace);
        if let (Ok(spec), Some(before), Some(now)) = (&sync.spec, before, now)
            && before != now
            && sync.is_observed()
        {
            let (namespace, name, shard) = (&*sync.key.namespace, &*sync.key.name, self.shard.index());
            let note = status::namespace_changed(&spec.source.namespace);
            tracing::warn!(namespace, name, shard, cause = note, "the namespace of a source was made again");
            self.context.events.warning(sync, Reason::SourceNamespaceChanged, note);
        }
    }

    /// Tells the owner of a source that what he says of sharing it cannot be read, where the watch shows that.
    pub(super) fn tell_owner(&self, source: &ObjectKey) {
        if let Some(meta) = self.context.cache.configmap(source) {
            self.tell_owner_of(source, meta.version, meta.sharing.as_deref());
        }
    }

    fn tell_owner_of(&self, source: &ObjectKey, version: Version, said: Option<&Sharing>) {
        if let Some(why) = self.context.cache.news_for_owner(source, version.rv, said) {
            let note = format!("{why}: where consent is needed, nothing is copied, and what was copied stays as it is");
            self.context.events.on_configmap(source, version.uid, Reason::SharingUnreadable, note);
        }
    }

    fn consent_by(&self, spec: &Spec, content: &SourceContent) -> Consent {
        let (cache, to) = (&self.context.cache, &spec.destination.namespace);
        cache.consent(spec.require_consent, &spec.source, Some(content.sharing.as_deref()), to).consent
    }
}

/// From which of the many namespaces of an object its source is withheld.
pub(super) struct Withheld<'a> {
    cache: &'a Cache,
    spec: &'a ClusterSpec,
    /// Whether consent is needed.
    pub(super) required: bool,
    /// What the owner says to all, where nothing of it depends on the namespace.
    to_all: Option<Consent>,
}

impl<'a> Withheld<'a> {
    pub(super) fn new(cache: &'a Cache, spec: &'a ClusterSpec) -> Self {
        let heard = cache.consent(spec.require_consent, &spec.source, None, &spec.source.namespace);
        Self { cache, spec, required: heard.required, to_all: (!heard.required).then_some(heard.consent) }
    }

    pub(super) fn is_from_nobody(&self) -> bool {
        self.to_all == Some(Consent::Given)
    }

    /// Whether it is withheld from this namespace.
    pub(super) fn is_from(&self, namespace: &Name) -> bool {
        let by_name = || self.cache.consent(self.required, &self.spec.source, None, namespace).consent;
        self.to_all.unwrap_or_else(by_name) != Consent::Given
    }

    /// What is told of a namespace from which it is withheld; `None`: it is not.
    pub(super) fn from(&self, namespace: &Name) -> Option<impl FnOnce() -> Failure> {
        let Self { spec, required, .. } = *self;
        self.is_from(namespace).then_some(move || Failure {
            namespace: namespace.clone(),
            reason: Reason::SourceNotShared,
            message: status::not_shared(&spec.source.to_string(), "this namespace", required),
            needs_person: false,
        })
    }
}
