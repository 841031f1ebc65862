//! From the API server's JSON to records. Decoding never fails for what an object holds: one undecodable object
//! would restart a whole stream for ever. It skips what is not kept, above all the contents of ConfigMaps.

use std::borrow::Cow;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::Resource;
use kube::core::{ClusterResourceScope, NamespaceResourceScope};
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::api::names;
use crate::rules::copy::content;
use crate::rules::lenient::{Field, Listed, Misfit, Shaped};
use crate::rules::record::{
    ConditionTold, Mark, Namespace, Others, Place, Seconds, Seen, Sync, Told, Version, generation,
};
use crate::rules::spec;
use crate::rules::spec::RawSpec;
use crate::rules::status::{CHANGED_BY_ADMISSION, CONDITIONS, ConditionText, Text};
use crate::rules::uid::Uid;

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
        let (metadata, body) = R::split(R::Raw::deserialize(deserializer)?);
        let version = match (Uid::parse(&metadata.uid), metadata.resource_version.parse()) {
            (Some(uid), Ok(rv)) => Some(Version { uid, rv }),
            _ => None,
        };
        // All that kube's watcher asks for.
        let resource_version = Some(metadata.resource_version.clone().into_owned());
        let meta = ObjectMeta { resource_version, ..ObjectMeta::default() };
        let record = version.map(|version| R::from_raw(metadata, version, body));
        Ok(Self { meta, record })
    }
}

/// How a record is made.
pub trait FromRaw: Sized {
    /// The fields of the object that are decoded.
    type Raw<'a>: Deserialize<'a>;
    /// Those beside the metadata.
    type Body<'a>;
    #[doc(hidden)]
    fn split<'a>(raw: Self::Raw<'a>) -> (Metadata<'a>, Self::Body<'a>);
    /// Makes it of its metadata and of what else was decoded.
    #[doc(hidden)]
    fn from_raw(metadata: Metadata<'_>, version: Version, body: Self::Body<'_>) -> Self;
}

/// An object of which nothing but the metadata is decoded.
#[doc(hidden)]
#[derive(Deserialize)]
pub struct RawMetadata<'a> {
    #[serde(borrow)]
    metadata: Metadata<'a>,
}

/// A sync: its spec and status, whatever they hold.
#[doc(hidden)]
#[derive(Deserialize)]
pub struct RawSync<'a> {
    #[serde(borrow)]
    metadata: Metadata<'a>,
    #[serde(borrow, default)]
    spec: Shaped<RawSpec<'a>>,
    #[serde(borrow, default)]
    status: Shaped<RawStatus<'a>>,
}

/// The fields of an object's metadata that anything here looks at.
#[doc(hidden)]
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub struct Metadata<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    namespace: Cow<'a, str>,
    #[serde(borrow)]
    uid: Cow<'a, str>,
    #[serde(borrow)]
    resource_version: Cow<'a, str>,
    generation: i64,
    #[serde(borrow)]
    creation_timestamp: Field<'a>,
    deletion_timestamp: Option<IgnoredAny>,
    #[serde(borrow)]
    finalizers: Listed<Field<'a>>,
    owner_references: Listed<Owner>,
    #[serde(borrow)]
    labels: Marks<'a>,
    #[serde(borrow)]
    annotations: Marks<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Owner {
    controller: Option<bool>,
}

/// Labels or annotations: ours by name, and whether there are others.
#[derive(Default)]
struct Marks<'a> {
    ours: Vec<(Cow<'a, str>, Field<'a>)>,
    others: bool,
}

/// How many annotations we write.
const OURS: usize = 7;

impl Marks<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.ours.iter().find(|(name, _)| name == key).and_then(|(_, value)| value.text())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Marks<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Marks<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of strings")
            }
            fn visit_unit<E>(self) -> Result<Marks<'de>, E> {
                Ok(Marks::default())
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Marks<'de>, A::Error> {
                let mut marks = Marks::default();
                while let Some(key) = map.next_key::<Field<'de>>()? {
                    match key {
                        Field::Text(key) if content::is_ours(&key) => {
                            if marks.ours.is_empty() {
                                marks.ours.reserve(OURS);
                            }
                            marks.ours.push((key, map.next_value()?));
                        }
                        _ => {
                            marks.others = true;
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(marks)
            }
        }
        deserializer.deserialize_any(Entries)
    }
}

impl FromRaw for (Box<str>, Namespace) {
    type Raw<'a> = RawMetadata<'a>;
    type Body<'a> = ();
    fn split<'a>(raw: Self::Raw<'a>) -> (Metadata<'a>, Self::Body<'a>) {
        (raw.metadata, ())
    }
    fn from_raw(metadata: Metadata<'_>, version: Version, (): ()) -> Self {
        let terminating = metadata.deletion_timestamp.is_some();
        (metadata.name.into(), Namespace { uid: version.uid, terminating })
    }
}

impl FromRaw for (Place, Seen) {
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
        let seen = Seen {
            version,
            adopted: annotations.get(names::ANNOTATION_ADOPTED).is_some(),
            foreign_metadata: metadata.labels.others
                || annotations.others
                || !owners.is_empty()
                || !finalizers.is_empty(),
            controlled: owners.iter().any(|owner| owner.controller == Some(true)),
            deleting: metadata.deletion_timestamp.is_some(),
            marks_name_place: annotations.get(names::ANNOTATION_AT_NAMESPACE) == Some(&*metadata.namespace)
                && annotations
                    .get(names::ANNOTATION_AT)
                    .and_then(|at| at.split_once('/'))
                    .is_some_and(|(_, name)| name == metadata.name),
            seed_adopted: mark.is_none()
                && annotations.get(names::ANNOTATION_HASH).is_some()
                && annotations.get(names::ANNOTATION_SYNC).is_none(),
            mark,
        };
        (Place::new(&*metadata.namespace, &*metadata.name), seen)
    }
}

fn names_an_object(place: &Place) -> bool {
    spec::is_label(&place.namespace) && spec::is_name(&place.name)
}

/// Our marks. Those of the seed's operator are its labels; marks that make no sense are none.
fn mark(metadata: &Metadata<'_>) -> Option<Mark> {
    let (labels, annotations) = (&metadata.labels, &metadata.annotations);
    let at = annotations.get(names::ANNOTATION_AT).and_then(|at| at.split_once('/'));
    let at = at.filter(|(_, name)| *name == metadata.name).and_then(|(uid, _)| Uid::parse(uid));
    let Some(sync) = annotations.get(names::ANNOTATION_SYNC) else {
        let place = Place::new(labels.get(names::LABEL_SYNC_NAMESPACE)?, labels.get(names::LABEL_SYNC_NAME)?);
        let seeds = labels.get(names::LABEL_MANAGED_BY) == Some(names::MANAGED_BY) && names_an_object(&place);
        // One of ours that lost its annotation has the rest of them, which the seed's have not.
        return seeds.then_some(Mark { sync: place, uid: None, source_rv: 0, at });
    };
    let mut parts = sync.split('/');
    let (namespace, name, uid) = (parts.next()?, parts.next()?, Uid::parse(parts.next()?)?);
    // It goes into the path of a request: anyone may have written it.
    let sync = Some(Place::new(namespace, name)).filter(|sync| parts.next().is_none() && names_an_object(sync))?;
    let source = annotations.get(names::ANNOTATION_SOURCE).and_then(|source| source.rsplit('/').next());
    Some(Mark { sync, uid: Some(uid), source_rv: source.and_then(|rv| rv.parse().ok()).unwrap_or(0), at })
}

impl FromRaw for Sync {
    type Raw<'a> = RawSync<'a>;
    type Body<'a> = (Shaped<RawSpec<'a>>, Shaped<RawStatus<'a>>);
    fn split<'a>(raw: Self::Raw<'a>) -> (Metadata<'a>, Self::Body<'a>) {
        (raw.metadata, (raw.spec, raw.status))
    }
    fn from_raw(metadata: Metadata<'_>, version: Version, (spec, status): Self::Body<'_>) -> Self {
        let mut finalizers = metadata.finalizers.items().unwrap_or_default();
        let all = finalizers.len();
        finalizers.retain(|finalizer| finalizer.text() != Some(names::FINALIZER));
        let ours = finalizers.len() < all;
        // A status that makes no sense is one that says nothing: it is written anew.
        let (told, mut others) = told(status).unwrap_or_default();
        others.finalizers = finalizers.iter().filter_map(Field::text).map(str::to_owned).collect();
        let requested = metadata.annotations.get(names::ANNOTATION_REQUESTED_AT).filter(|value| !value.is_empty());
        others.requested = requested.map(|value| cut(value, LONGEST_REQUEST).into());
        let some = others != Others::default();
        Self {
            key: Place::new(&*metadata.namespace, &*metadata.name),
            version,
            generation: generation(Some(metadata.generation)),
            created: time(&metadata.creation_timestamp).and_then(seconds).unwrap_or(0),
            deleting: metadata.deletion_timestamp.is_some(),
            finalizer: ours,
            others: some.then(|| Box::new(others)),
            spec: spec::read(spec),
            status: told,
        }
    }
}

/// What a person writes into an annotation may be long; only the beginning counts.
const LONGEST_REQUEST: usize = 256;

fn cut(text: &str, longest: usize) -> &str {
    let end = (0..=longest.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}

fn time(field: &Field<'_>) -> Result<Timestamp, Misfit> {
    field.text().and_then(|time| time.parse().ok()).ok_or(Misfit)
}

fn seconds(time: Timestamp) -> Result<Seconds, Misfit> {
    time.as_second().try_into().map_err(|_| Misfit)
}

/// A status as it stands there.
#[doc(hidden)]
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub struct RawStatus<'a> {
    #[serde(borrow)]
    last_sync_time: Field<'a>,
    #[serde(borrow)]
    sync_status: Field<'a>,
    #[serde(borrow)]
    message: Field<'a>,
    #[serde(borrow)]
    source_exists: Field<'a>,
    #[serde(borrow)]
    destination_exists: Field<'a>,
    #[serde(borrow)]
    retry_count: Field<'a>,
    #[serde(borrow)]
    observed_generation: Field<'a>,
    #[serde(borrow)]
    source: Shaped<RawVersion<'a>>,
    #[serde(borrow)]
    copy: Shaped<RawVersion<'a>>,
    #[serde(borrow)]
    last_handled_request: Field<'a>,
    #[serde(borrow)]
    conditions: Listed<Shaped<RawCondition<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct RawVersion<'a> {
    #[serde(borrow)]
    uid: Field<'a>,
    #[serde(borrow)]
    resource_version: Field<'a>,
}

impl RawVersion<'_> {
    fn version(self) -> Result<Option<Version>, Misfit> {
        let (uid, rv) = (self.uid.into_text()?, self.resource_version.into_text()?);
        Ok(Uid::parse(&uid).zip(rv.parse().ok()).map(|(uid, rv)| Version { uid, rv }))
    }
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct RawCondition<'a> {
    #[serde(borrow, rename = "type")]
    kind: Field<'a>,
    #[serde(borrow)]
    status: Field<'a>,
    #[serde(borrow)]
    reason: Field<'a>,
    #[serde(borrow)]
    message: Field<'a>,
    #[serde(borrow)]
    last_transition_time: Field<'a>,
    #[serde(borrow)]
    observed_generation: Field<'a>,
}

/// What is kept of a status, and what else is in it.
fn told(status: Shaped<RawStatus<'_>>) -> Result<(Told, Others), Misfit> {
    let Some(status) = status.object()? else { return Ok(Default::default()) };
    let version = |version: Shaped<RawVersion<'_>>| version.object()?.map_or(Ok(None), RawVersion::version);
    let retries = status.retry_count.number()?.unwrap_or(0);
    let mut text = Text {
        sync_status: status.sync_status.into_text()?,
        message: status.message.into_text()?,
        source_exists: status.source_exists.bool()?,
        destination_exists: status.destination_exists.bool()?,
        retry_count: i32::try_from(retries).map_err(|_| Misfit)?.try_into().unwrap_or(0),
        observed_generation: status.observed_generation.number()?,
        source: version(status.source)?,
        copy: version(status.copy)?,
        last_handled_request: status.last_handled_request.into_text()?,
        conditions: [const { None }; 4],
    };
    let (mut ours, mut foreign, mut twice) = ([None; 4], Vec::new(), false);
    for condition in status.conditions.items()? {
        let condition = condition.object()?.ok_or(Misfit)?;
        let (kind, turned) = (condition.kind.into_text()?, time(&condition.last_transition_time)?);
        let observed_generation = condition.observed_generation.number()?;
        let says = ConditionText {
            status: condition.status.into_text()?,
            reason: condition.reason.into_text()?,
            message: condition.message.into_text()?,
        };
        match CONDITIONS.iter().position(|ours| *ours == kind) {
            Some(at) if text.conditions[at].is_some() => twice = true,
            Some(at) => {
                ours[at] = Some(ConditionTold { is_true: says.status == "True", since: seconds(turned)? });
                text.conditions[at] = Some(says);
            }
            None => foreign.push(Condition {
                type_: kind.into_owned(),
                status: says.status.into_owned(),
                reason: says.reason.into_owned(),
                message: says.message.into_owned(),
                last_transition_time: Time(turned),
                observed_generation,
            }),
        }
    }
    if twice {
        text.message.to_mut().push('\0'); // one of ours twice: not what we write
    }
    let last_sync = match status.last_sync_time {
        Field::Absent => None,
        last => Some(seconds(time(&last)?)?),
    };
    let told = Told {
        observed_generation: generation(text.observed_generation),
        source: text.source,
        copy: text.copy,
        source_exists: text.source_exists,
        destination_exists: text.destination_exists,
        retry_count: text.retry_count,
        last_sync,
        changed_by_admission: text.conditions[3]
            .as_ref()
            .is_some_and(|stalled| stalled.status == "True" && stalled.reason == CHANGED_BY_ADMISSION),
        conditions: ours,
        digest: text.digest(),
    };
    let handled = Some(&*text.last_handled_request).filter(|it| !it.is_empty()).map(Into::into);
    Ok((told, Others { conditions: foreign, handled, ..Others::default() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

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
            assert_eq!((sync.status.copy, sync.status.observed_generation), (None, 0));
            assert!(sync.finalizer);
            assert_eq!(sync.others.map(|others| others.finalizers), Some(vec!["x/y".to_owned()]));
            assert_eq!((sync.version.rv, sync.created), (7, 1_737_628_245));
        }
        assert!(sync(json!({"metadata": metadata})).spec.is_err());
    }

    #[test]
    fn a_status_reads_back_with_the_digest_it_was_written_with() {
        use crate::rules::status::{Stall, Verdict, object, text};
        use crate::rules::testing;
        let before = testing::sync("a/s", 1, "a/x", "b/x");
        let verdicts = [
            Verdict::InOrder { source: testing::version(2, 20), copy: testing::version(3, 30) },
            Verdict::SourceMissing,
            Verdict::Stalled(Stall::DestinationExists),
        ];
        for verdict in verdicts {
            let text = text(&verdict, &before, true, true);
            let status = object(&text, &before, 5);
            let read = serde_json::to_string(&status).unwrap();
            let (read, _) = told(serde_json::from_str(&read).unwrap()).unwrap();
            assert_eq!(read.digest, text.digest(), "{verdict:?}");
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
