//! From the API server's JSON to records. Decoding never fails for what an object holds: one undecodable object
//! would restart a whole stream for ever. It skips what is not kept, above all the contents of ConfigMaps.

use std::borrow::Cow;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::Resource;
use kube::core::{ClusterResourceScope, NamespaceResourceScope};
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::api::configmapsync::{ConfigMapSyncStatus, ObjectVersion};
use crate::api::names;
use crate::core::records::{ConditionTold, Mark, Namespace, Place, Seen, Sync, Told, Version};
use crate::core::shard::Uid;
use crate::core::status::{CONDITIONS, ConditionText, Text};
use crate::core::{content, spec};

/// An object of a stream: a record, and the little metadata that kube's watcher asks for. `None`: the object has no
/// UID or version that we can read, which no API server sends.
#[derive(Clone, Debug)]
pub struct Object<R> {
    meta: ObjectMeta,
    /// What is kept of it.
    pub record: Option<R>,
}

/// A ConfigMapSync of the stream.
pub type SyncObject = Object<Sync>;
/// A ConfigMap's metadata: its place, and what is kept of it.
pub type ConfigMapObject = Object<(Place, Seen)>;
/// A namespace's metadata: its name, and what is kept of it.
pub type NamespaceObject = Object<(Box<str>, Namespace)>;

macro_rules! resource {
    ($record:ty, $scope:ty, $group:literal, $version:literal, $kind:literal, $plural:literal) => {
        impl Resource for Object<$record> {
            type DynamicType = ();
            type Scope = $scope;
            fn kind((): &()) -> Cow<'_, str> {
                $kind.into()
            }
            fn group((): &()) -> Cow<'_, str> {
                $group.into()
            }
            fn version((): &()) -> Cow<'_, str> {
                $version.into()
            }
            fn plural((): &()) -> Cow<'_, str> {
                $plural.into()
            }
            fn meta(&self) -> &ObjectMeta {
                &self.meta
            }
            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.meta
            }
        }
    };
}
resource!(Sync, NamespaceResourceScope, "apps.kapendra.com", "v1", "ConfigMapSync", "configmapsyncs");
resource!((Place, Seen), NamespaceResourceScope, "", "v1", "ConfigMap", "configmaps");
resource!((Box<str>, Namespace), ClusterResourceScope, "", "v1", "Namespace", "namespaces");

impl<'de, R> Deserialize<'de> for Object<R>
where
    R: FromRaw,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut raw = R::Raw::deserialize(deserializer)?;
        let metadata = std::mem::take(raw.as_mut());
        let version = match (Uid::parse(&metadata.uid), metadata.resource_version.parse()) {
            (Some(uid), Ok(rv)) => Some(Version { uid, rv }),
            _ => None,
        };
        let meta = ObjectMeta {
            name: Some(metadata.name.clone()),
            resource_version: Some(metadata.resource_version.clone()),
            ..ObjectMeta::default()
        };
        let record = version.map(|version| R::from_raw(metadata, version, raw));
        Ok(Self { meta, record })
    }
}

/// How a record is made.
pub trait FromRaw: Sized {
    /// The fields of the object that are decoded.
    type Raw: for<'de> Deserialize<'de> + AsMut<Metadata>;
    /// Makes it of its metadata and of what else was decoded.
    #[doc(hidden)]
    fn from_raw(metadata: Metadata, version: Version, raw: Self::Raw) -> Self;
}

/// An object of which nothing but the metadata is decoded.
#[doc(hidden)]
#[derive(Deserialize)]
pub struct RawMetadata {
    metadata: Metadata,
}

impl AsMut<Metadata> for RawMetadata {
    fn as_mut(&mut self) -> &mut Metadata {
        &mut self.metadata
    }
}

/// A sync: its spec and status, whatever they hold.
#[doc(hidden)]
#[derive(Deserialize)]
pub struct RawSync {
    metadata: Metadata,
    #[serde(default)]
    spec: Value,
    #[serde(default)]
    status: Value,
}

impl AsMut<Metadata> for RawSync {
    fn as_mut(&mut self) -> &mut Metadata {
        &mut self.metadata
    }
}

/// The fields of an object's metadata that anything here looks at.
#[doc(hidden)]
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub struct Metadata {
    name: String,
    namespace: String,
    uid: String,
    resource_version: String,
    generation: i64,
    creation_timestamp: Option<String>,
    deletion_timestamp: Option<IgnoredAny>,
    finalizers: Vec<String>,
    owner_references: Vec<Owner>,
    labels: Marks,
    annotations: Marks,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Owner {
    controller: Option<bool>,
}

/// Labels or annotations: ours by name, and whether there are others.
#[derive(Default)]
struct Marks {
    ours: Vec<(String, String)>,
    others: bool,
}

impl Marks {
    fn get(&self, key: &str) -> Option<&str> {
        self.ours.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

impl<'de> Deserialize<'de> for Marks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Marks;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of strings")
            }
            fn visit_unit<E>(self) -> Result<Marks, E> {
                Ok(Marks::default())
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Marks, A::Error> {
                let mut marks = Marks::default();
                while let Some(key) = map.next_key::<String>()? {
                    if content::is_ours(&key) {
                        marks.ours.push((key, map.next_value()?));
                    } else {
                        marks.others = true;
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(marks)
            }
        }
        deserializer.deserialize_any(Entries)
    }
}

impl FromRaw for (Box<str>, Namespace) {
    type Raw = RawMetadata;
    fn from_raw(metadata: Metadata, version: Version, _: RawMetadata) -> Self {
        let terminating = metadata.deletion_timestamp.is_some();
        (metadata.name.into(), Namespace { uid: version.uid, terminating })
    }
}

impl FromRaw for (Place, Seen) {
    type Raw = RawMetadata;
    fn from_raw(metadata: Metadata, version: Version, _: RawMetadata) -> Self {
        let mark = mark(&metadata);
        let annotations = &metadata.annotations;
        let seen = Seen {
            version,
            adopted: annotations.get(names::ANNOTATION_ADOPTED).is_some(),
            foreign_metadata: metadata.labels.others
                || annotations.others
                || !metadata.owner_references.is_empty()
                || !metadata.finalizers.is_empty(),
            controlled: metadata.owner_references.iter().any(|owner| owner.controller == Some(true)),
            deleting: metadata.deletion_timestamp.is_some(),
            seed_adopted: mark.is_none()
                && annotations.get(names::ANNOTATION_HASH).is_some()
                && annotations.get(names::ANNOTATION_SYNC).is_none(),
            mark: mark.map(Box::new),
        };
        (Place::new(metadata.namespace, metadata.name), seen)
    }
}

/// Our marks. Those of the seed's operator are its labels; marks that make no sense are none.
fn mark(metadata: &Metadata) -> Option<Mark> {
    let (labels, annotations) = (&metadata.labels, &metadata.annotations);
    let Some(sync) = annotations.get(names::ANNOTATION_SYNC) else {
        let place = Place::new(labels.get(names::LABEL_SYNC_NAMESPACE)?, labels.get(names::LABEL_SYNC_NAME)?);
        let seeds = labels.get(names::LABEL_MANAGED_BY) == Some(names::MANAGED_BY);
        return seeds.then_some(Mark { sync: place, uid: None, source_rv: 0, at: None });
    };
    let mut parts = sync.split('/');
    let (namespace, name, uid) = (parts.next()?, parts.next()?, Uid::parse(parts.next()?)?);
    let source = annotations.get(names::ANNOTATION_SOURCE).and_then(|source| source.rsplit('/').next());
    let at = annotations.get(names::ANNOTATION_AT).and_then(|at| at.split_once('/'));
    Some(Mark {
        sync: Place::new(namespace, name),
        uid: Some(uid),
        source_rv: source.and_then(|rv| rv.parse().ok()).unwrap_or(0),
        at: at.filter(|(_, name)| *name == metadata.name).and_then(|(uid, _)| Uid::parse(uid)),
    })
}

impl FromRaw for Sync {
    type Raw = RawSync;
    fn from_raw(metadata: Metadata, version: Version, body: RawSync) -> Self {
        let (ours, others): (Vec<_>, Vec<_>) = metadata.finalizers.into_iter().partition(|f| f == names::FINALIZER);
        Self {
            key: Place::new(metadata.namespace, metadata.name),
            version,
            generation: metadata.generation,
            created: seconds(metadata.creation_timestamp.as_deref()).unwrap_or(0),
            deleting: metadata.deletion_timestamp.is_some(),
            finalizer: !ours.is_empty(),
            other_finalizers: (!others.is_empty()).then(|| others.into_iter().map(String::into_boxed_str).collect()),
            spec: spec::read(&body.spec),
            // A status that makes no sense is one that says nothing: it is written anew.
            status: serde_json::from_value(body.status).map(|status| told(&status)).unwrap_or_default(),
        }
    }
}

fn seconds(time: Option<&str>) -> Option<i64> {
    time?.parse::<Timestamp>().ok().map(Timestamp::as_second)
}

/// What is kept of a status.
pub fn told(status: &ConfigMapSyncStatus) -> Told {
    let version = |v: &Option<ObjectVersion>| {
        let v = v.as_ref()?;
        Some(Version { uid: Uid::parse(&v.uid)?, rv: v.resource_version.parse().ok()? })
    };
    let find = |kind: &str| status.conditions.iter().find(|condition| condition.type_ == kind);
    let mut text = Text {
        sync_status: status.sync_status.clone().into(),
        message: status.message.clone(),
        source_exists: status.source_exists,
        destination_exists: status.destination_exists,
        retry_count: u32::try_from(status.retry_count).unwrap_or(0),
        observed_generation: status.observed_generation,
        source: version(&status.source),
        copy: version(&status.copy),
        conditions: CONDITIONS.map(|kind| find(kind).map(condition_text)),
    };
    let foreign = status.conditions.iter().filter(|condition| !CONDITIONS.contains(&condition.type_.as_str()));
    let foreign: Box<[Condition]> = foreign.cloned().collect();
    if status.conditions.len() != text.conditions.iter().flatten().count() + foreign.len() {
        text.message.push('\0'); // one of ours twice: not what we write
    }
    Told {
        observed_generation: text.observed_generation,
        source: text.source,
        copy: text.copy,
        source_exists: text.source_exists,
        destination_exists: text.destination_exists,
        retry_count: text.retry_count,
        last_sync: status.last_sync_time.as_ref().map(|time| time.0.as_second()),
        conditions: CONDITIONS.map(|kind| {
            find(kind).map(|condition| ConditionTold {
                is_true: condition.status == "True",
                since: condition.last_transition_time.0.as_second(),
            })
        }),
        foreign_conditions: foreign,
        digest: text.digest(),
    }
}

fn condition_text(condition: &Condition) -> ConditionText {
    ConditionText {
        status: condition.status.clone().into(),
        reason: condition.reason.clone().into(),
        message: condition.message.clone().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sync(value: Value) -> Sync {
        serde_json::from_value::<SyncObject>(value).unwrap().record.unwrap()
    }

    const UID: &str = "11111111-2222-3333-4444-555555555555";

    #[test]
    fn whatever_a_sync_holds_it_is_decoded() {
        let metadata = json!({"name": "s", "namespace": "n", "uid": UID, "resourceVersion": "7",
            "creationTimestamp": "2025-01-23T10:30:45Z", "finalizers": ["x/y", names::FINALIZER], "managedFields": [{}]});
        for (spec, status) in [
            (json!(null), json!(null)),
            (json!("x"), json!([])),
            (json!({"sourceNamespace": [1]}), json!({"conditions": 3})),
        ] {
            let sync = sync(json!({"metadata": metadata, "spec": spec, "status": status}));
            assert!(sync.spec.is_err());
            assert_eq!((sync.status.copy, sync.status.observed_generation), (None, None));
            assert!(sync.finalizer);
            assert_eq!(sync.other_finalizers.as_deref(), Some(&["x/y".into()][..]));
            assert_eq!((sync.version.rv, sync.created), (7, 1_737_628_245));
        }
        assert!(sync(json!({"metadata": metadata})).spec.is_err());
    }

    #[test]
    fn a_status_reads_back_with_the_digest_it_was_written_with() {
        use crate::core::status::{Stall, Verdict, object, text};
        use crate::core::testing;
        let before = testing::sync("a/s", 1, "a/x", "b/x");
        let verdicts = [
            Verdict::InOrder { source: testing::version(2, 20), copy: testing::version(3, 30) },
            Verdict::SourceMissing,
            Verdict::Stalled(Stall::DestinationExists),
        ];
        for verdict in verdicts {
            let text = text(&verdict, &before, true, true);
            let status = object(&text, &before.status, 5);
            let read: ConfigMapSyncStatus = serde_json::from_str(&serde_json::to_string(&status).unwrap()).unwrap();
            assert_eq!(told(&read).digest, text.digest(), "{verdict:?}");
        }
    }

    #[test]
    fn marks_are_read_and_nonsense_is_no_mark() {
        let seen = |labels: Value, annotations: Value| {
            let object = json!({"metadata": {"name": "cm", "namespace": "n", "uid": UID, "resourceVersion": "7",
                "labels": labels, "annotations": annotations}, "data": {"k": "v"}});
            serde_json::from_value::<ConfigMapObject>(object).unwrap().record.unwrap().1
        };
        let ours = seen(
            json!(null),
            json!({names::ANNOTATION_SYNC: format!("a/s/{UID}"), names::ANNOTATION_SOURCE: format!("a/x/{UID}/42"),
                names::ANNOTATION_AT: format!("{UID}/cm")}),
        );
        let mark = ours.mark.unwrap();
        assert_eq!((mark.uid, mark.source_rv, mark.at), (Uid::parse(UID), 42, Uid::parse(UID)));
        assert!(!ours.foreign_metadata);
        let elsewhere = seen(
            json!({}),
            json!({names::ANNOTATION_SYNC: format!("a/s/{UID}"), names::ANNOTATION_AT: format!("{UID}/other")}),
        );
        assert_eq!(elsewhere.mark.unwrap().at, None);
        assert!(seen(json!({"team": "blue"}), json!({names::ANNOTATION_SYNC: "nonsense"})).mark.is_none());
        let seed = json!({names::LABEL_SYNC_NAME: "s", names::LABEL_SYNC_NAMESPACE: "a", names::LABEL_MANAGED_BY: names::MANAGED_BY});
        assert_eq!(seen(seed, json!({names::ANNOTATION_HASH: "h"})).mark.unwrap().uid, None);
        assert!(seen(json!({}), json!({names::ANNOTATION_HASH: "h"})).seed_adopted);
    }
}
