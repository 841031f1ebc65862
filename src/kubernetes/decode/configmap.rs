//! A ConfigMap's metadata, and our marks on it.

use k8s_openapi::jiff::Timestamp;
use kube::core::NamespaceResourceScope;

use crate::api::{dns, names};
use crate::kubernetes::decode::object::{FromRaw, Marks, Metadata, Object, RawMetadata, resource};
use crate::rules::cluster::record::{CopyRecord, parse_content_mark};
use crate::rules::copy::guard;
use crate::rules::copy::shape::{name_sum, written_names};
use crate::rules::record::{ConfigMapMeta, ObjectKey, OwnerMark, SlimArc};
use crate::rules::sharing::Sharing;
use crate::rules::uid::{Uid, Version};

/// A ConfigMap's metadata.
pub type ConfigMapObject = Object<ConfigMapRecord>;
resource!(ConfigMapRecord, NamespaceResourceScope, "", "v1", "ConfigMap", "configmaps");

/// What a watch tells of a ConfigMap.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigMapRecord {
    /// Its namespace and name.
    pub key: ObjectKey,
    /// What is kept of it.
    pub meta: ConfigMapMeta,
    /// What its marks say of its content, where it is one of many copies of an object.
    pub content: Option<CopyRecord>,
}

impl FromRaw for ConfigMapRecord {
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
            foreign_metadata: has_foreign_notes(&metadata.labels, annotations)
                || !owners.is_empty()
                || !finalizers.is_empty(),
            controlled: owners.iter().any(|owner| owner.controller == Some(true)),
            deleting: metadata.deletion_timestamp.is_some(),
            protected: guard::protects(annotations.get(names::ANNOTATION_PROTECT)),
            shaped: annotations.get(names::ANNOTATION_SHAPED).is_some(),
            marks_name_it: annotations.get(names::ANNOTATION_AT_NAMESPACE) == Some(&*metadata.namespace)
                && annotations
                    .get(names::ANNOTATION_AT)
                    .and_then(|at| at.split_once('/'))
                    .is_some_and(|(_, name)| name == metadata.name),
            seed_adopted: mark.is_none()
                && annotations.get(names::ANNOTATION_HASH).is_some()
                && annotations.get(names::ANNOTATION_SYNC).is_none(),
            mark,
            sharing: sharing(annotations).map(SlimArc::new),
        };
        let one_of_many = meta.mark.as_ref().is_some_and(|mark| mark.sync.is_cluster_scoped());
        let written = annotations.get(names::ANNOTATION_LAST_SYNC).and_then(|time| time.parse().ok());
        let written = written.map_or(0, |time: Timestamp| time.as_second());
        let content = one_of_many.then(|| CopyRecord {
            content: annotations.get(names::ANNOTATION_HASH).map_or(0, parse_content_mark),
            written: written.try_into().unwrap_or(0),
            rv: version.rv,
            proven: false,
        });
        Self { key: ObjectKey::new(&*metadata.namespace, &*metadata.name), meta, content }
    }
}

/// What the owner of an object with these annotations says of sharing it.
pub(super) fn sharing(annotations: &Marks<'_>) -> Option<Sharing> {
    Sharing::read(annotations.get(names::ANNOTATION_SHARE), annotations.get(names::ANNOTATION_SHARE_WITH))
}

/// Whether labels or annotations are on it that we did not write.
fn has_foreign_notes(labels: &Marks<'_>, annotations: &Marks<'_>) -> bool {
    match annotations.get(names::ANNOTATION_SHAPED) {
        None => labels.others || annotations.others,
        Some(written) => [(labels, "labels"), (annotations, "annotations")]
            .iter()
            .any(|(all, field)| all.sum != name_sum(written_names(written, field))),
    }
}

/// Whether it is the key of an object: of a ConfigMapSync, or, without a namespace, of a ClusterConfigMapSync.
fn names_an_object(key: &ObjectKey) -> bool {
    (key.is_cluster_scoped() || dns::is_label(&key.namespace)) && dns::is_subdomain(&key.name)
}

/// Our marks. Those of the seed's operator are its labels; marks that make no sense are none.
fn mark(metadata: &Metadata<'_>) -> Option<OwnerMark> {
    let (labels, annotations) = (&metadata.labels, &metadata.annotations);
    let at = annotations.get(names::ANNOTATION_AT).and_then(|at| at.split_once('/'));
    let at = at.filter(|(_, name)| *name == metadata.name).and_then(|(uid, _)| Uid::parse(uid));
    let Some(sync) = annotations.get(names::ANNOTATION_SYNC) else {
        let key = ObjectKey::new(labels.get(names::LABEL_SYNC_NAMESPACE)?, labels.get(names::LABEL_SYNC_NAME)?);
        let seeds = labels.get(names::LABEL_MANAGED_BY) == Some(names::MANAGED_BY)
            && names_an_object(&key)
            && !key.is_cluster_scoped();
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
            serde_json::from_value::<ConfigMapObject>(object).unwrap().record.unwrap().meta
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
        let many = meta(json!({}), json!({names::ANNOTATION_SYNC: format!("/all/{UID}")}));
        assert!(many.mark.unwrap().sync.is_cluster_scoped());
        let seed = json!({names::LABEL_SYNC_NAME: "s", names::LABEL_SYNC_NAMESPACE: "", names::LABEL_MANAGED_BY: names::MANAGED_BY});
        assert!(
            meta(seed, json!({names::ANNOTATION_HASH: "h"})).mark.is_none(),
            "the seed's operator had no such kind"
        );
        let seed = json!({names::LABEL_SYNC_NAME: "s", names::LABEL_SYNC_NAMESPACE: "a", names::LABEL_MANAGED_BY: names::MANAGED_BY});
        assert_eq!(meta(seed, json!({names::ANNOTATION_HASH: "h"})).mark.unwrap().uid, None);
        assert!(meta(json!({}), json!({names::ANNOTATION_HASH: "h"})).seed_adopted);
    }

    #[test]
    fn labels_and_annotations_that_we_wrote_are_not_foreign() {
        let foreign = |labels: Value, annotations: Value, written: &str| {
            let mut annotations = annotations;
            annotations[names::ANNOTATION_SHAPED] = json!(written);
            let object = json!({"metadata": {"name": "cm", "namespace": "n", "uid": UID, "resourceVersion": "7",
                "labels": labels, "annotations": annotations}});
            let meta = serde_json::from_value::<ConfigMapObject>(object).unwrap().record.unwrap().meta;
            assert!(meta.shaped);
            meta.foreign_metadata
        };
        let two = json!({"team": "blue", "tier": "1", names::LABEL_SYNC_NAME: "s"});
        assert!(!foreign(json!({}), json!({}), ""));
        assert!(!foreign(two.clone(), json!({"team": "x"}), "label:tier,label:team,annotation:team"));
        for (labels, annotations, written) in [
            (two.clone(), json!({}), "label:team"),
            (two.clone(), json!({}), "label:team,annotation:tier"),
            (json!({"team": "blue"}), json!({}), "label:team,label:tier"),
            (json!({}), json!({"note": "mine"}), ""),
        ] {
            assert!(foreign(labels, annotations, written), "{written}");
        }
    }
}
