//! A ConfigMap's metadata, and our marks on it.

use kube::core::NamespaceResourceScope;

use crate::api::{dns, names};
use crate::kubernetes::decode::object::{FromRaw, Metadata, Object, RawMetadata, resource};
use crate::rules::record::{ConfigMapMeta, ObjectKey, OwnerMark, Version};
use crate::rules::uid::Uid;

/// A ConfigMap's metadata: its key, and what is kept of it.
pub type ConfigMapObject = Object<(ObjectKey, ConfigMapMeta)>;
resource!((ObjectKey, ConfigMapMeta), NamespaceResourceScope, "", "v1", "ConfigMap", "configmaps");

impl FromRaw for (ObjectKey, ConfigMapMeta) {
    type Raw<'a> = RawMetadata<'a>;
    type Body<'a> = ();
    fn split<'a>(raw: Self::Raw<'a>) -> (Metadata<'a>, Self::Body<'a>) {
        (raw.metadata, ())
    }
    fn from_raw(metadata: Metadata<'_>, version: Version, (): ()) -> Self {
        let mark = mark(&metadata);
        let annotations = &metadata.annotations;
        let owners = metadata.owner_references.items().unwrap_or_default();
        let finalizers = metadata.finalizers.items().unwrap_or_default();
        let meta = ConfigMapMeta {
            version,
            adopted: annotations.get(names::ANNOTATION_ADOPTED).is_some(),
            foreign_metadata: metadata.labels.others
                || annotations.others
                || !owners.is_empty()
                || !finalizers.is_empty(),
            controlled: owners.iter().any(|owner| owner.controller == Some(true)),
            deleting: metadata.deletion_timestamp.is_some(),
            marks_name_it: annotations.get(names::ANNOTATION_AT_NAMESPACE) == Some(&*metadata.namespace)
                && annotations
                    .get(names::ANNOTATION_AT)
                    .and_then(|at| at.split_once('/'))
                    .is_some_and(|(_, name)| name == metadata.name),
            seed_adopted: mark.is_none()
                && annotations.get(names::ANNOTATION_HASH).is_some()
                && annotations.get(names::ANNOTATION_SYNC).is_none(),
            mark,
        };
        (ObjectKey::new(&*metadata.namespace, &*metadata.name), meta)
    }
}

fn names_an_object(key: &ObjectKey) -> bool {
    dns::is_label(&key.namespace) && dns::is_subdomain(&key.name)
}

/// Our marks. Those of the seed's operator are its labels; marks that make no sense are none.
fn mark(metadata: &Metadata<'_>) -> Option<OwnerMark> {
    let (labels, annotations) = (&metadata.labels, &metadata.annotations);
    let at = annotations.get(names::ANNOTATION_AT).and_then(|at| at.split_once('/'));
    let at = at.filter(|(_, name)| *name == metadata.name).and_then(|(uid, _)| Uid::parse(uid));
    let Some(sync) = annotations.get(names::ANNOTATION_SYNC) else {
        let key = ObjectKey::new(labels.get(names::LABEL_SYNC_NAMESPACE)?, labels.get(names::LABEL_SYNC_NAME)?);
        let seeds = labels.get(names::LABEL_MANAGED_BY) == Some(names::MANAGED_BY) && names_an_object(&key);
        // One of ours that lost its annotation has the rest of them, which the seed's have not.
        return seeds.then_some(OwnerMark { sync: key, uid: None, source_rv: 0, at });
    };
    let mut parts = sync.split('/');
    let (namespace, name, uid) = (parts.next()?, parts.next()?, Uid::parse(parts.next()?)?);
    // It goes into the path of a request: anyone may have written it.
    let sync = Some(ObjectKey::new(namespace, name)).filter(|sync| parts.next().is_none() && names_an_object(sync))?;
    let source = annotations.get(names::ANNOTATION_SOURCE).and_then(|source| source.rsplit('/').next());
    Some(OwnerMark { sync, uid: Some(uid), source_rv: source.and_then(|rv| rv.parse().ok()).unwrap_or(0), at })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const UID: &str = "11111111-2222-3333-4444-555555555555";

    #[test]
    fn marks_are_read_and_nonsense_is_no_mark() {
        let meta = |labels: Value, annotations: Value| {
            let object = json!({"metadata": {"name": "cm", "namespace": "n", "uid": UID, "resourceVersion": "7",
                "labels": labels, "annotations": annotations}, "data": {"k": "v"}});
            serde_json::from_value::<ConfigMapObject>(object).unwrap().record.unwrap().1
        };
        let ours = meta(
            json!(null),
            json!({names::ANNOTATION_SYNC: format!("a/s/{UID}"), names::ANNOTATION_SOURCE: format!("a/x/{UID}/42"),
                names::ANNOTATION_AT: format!("{UID}/cm")}),
        );
        let mark = ours.mark.unwrap();
        assert_eq!((mark.uid, mark.source_rv, mark.at), (Uid::parse(UID), 42, Uid::parse(UID)));
        assert!(!ours.foreign_metadata);
        let elsewhere = meta(
            json!({}),
            json!({names::ANNOTATION_SYNC: format!("a/s/{UID}"), names::ANNOTATION_AT: format!("{UID}/other")}),
        );
        assert_eq!(elsewhere.mark.unwrap().at, None);
        assert!(meta(json!({"team": "blue"}), json!({names::ANNOTATION_SYNC: "nonsense"})).mark.is_none());
        let seed = json!({names::LABEL_SYNC_NAME: "s", names::LABEL_SYNC_NAMESPACE: "a", names::LABEL_MANAGED_BY: names::MANAGED_BY});
        assert_eq!(meta(seed, json!({names::ANNOTATION_HASH: "h"})).mark.unwrap().uid, None);
        assert!(meta(json!({}), json!({names::ANNOTATION_HASH: "h"})).seed_adopted);
    }
}
