//! A ConfigMapSync: its metadata, its spec, its status, whatever they hold.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use kube::core::NamespaceResourceScope;
use serde::Deserialize;

use crate::api::names;
use crate::kubernetes::decode::object::{FromRaw, Metadata, Object, resource};
use crate::rules::lenient::{Field, Listed, Shaped, WrongType};
use crate::rules::object::status::{CONDITIONS, ConditionContent, StatusContent};
use crate::rules::reason::Reason;
use crate::rules::record::{
    ForeignFields, ObjectKey, ObservedCondition, ObservedStatus, RareFields, Seconds, SlimArc, Sync, generation,
};
use crate::rules::spec::{self, RawSpec};
use crate::rules::uid::{Uid, Version};

/// A ConfigMapSync, as the watch sends it.
pub type SyncObject = Object<Sync>;
resource!(Sync, NamespaceResourceScope, "apps.kapendra.com", "v1", "ConfigMapSync", "configmapsyncs");

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

impl FromRaw for Sync {
    type Raw<'a> = RawSync<'a>;
    type Body<'a> = (Shaped<RawSpec<'a>>, Shaped<RawStatus<'a>>);
    fn split<'a>(raw: Self::Raw<'a>) -> (Metadata<'a>, Self::Body<'a>) {
        (raw.metadata, (raw.spec, raw.status))
    }
    fn from_raw(metadata: Metadata<'_>, version: Version, (spec, status): Self::Body<'_>) -> Self {
        let (created, requested) = (created(&metadata), requested(&metadata));
        let mut finalizers = metadata.finalizers.items().unwrap_or_default();
        let all = finalizers.len();
        finalizers.retain(|finalizer| finalizer.text() != Some(names::FINALIZER));
        let ours = finalizers.len() < all;
        // A status that cannot be read says nothing: it is written anew.
        let (observed, mut foreign) = read_status(status).unwrap_or_default();
        foreign.finalizers = finalizers.iter().filter_map(Field::text).map(str::to_owned).collect();
        foreign.requested = requested;
        let (spec, shape) = match spec::read(spec) {
            Ok((spec, shape)) => (Ok(spec), shape.map(SlimArc::new)),
            Err(invalid) => (Err(invalid), None),
        };
        let rare = RareFields { shape, foreign };
        let some = rare != RareFields::default();
        Self {
            key: ObjectKey::new(&*metadata.namespace, &*metadata.name),
            version,
            generation: generation(Some(metadata.generation)),
            created,
            deleting: metadata.deletion_timestamp.is_some(),
            finalizer: ours,
            rare: some.then(|| Box::new(rare)),
            spec,
            status: observed,
        }
    }
}

/// What a person writes into an annotation may be long; only the beginning counts.
const LONGEST_REQUEST: usize = 256;

/// The annotation by which a person asks for an attempt now.
pub(super) fn requested(metadata: &Metadata<'_>) -> Option<Box<str>> {
    let requested = metadata.annotations.get(names::ANNOTATION_REQUESTED_AT).filter(|value| !value.is_empty());
    requested.map(|value| cut(value, LONGEST_REQUEST).into())
}

/// metadata.creationTimestamp.
pub(super) fn created(metadata: &Metadata<'_>) -> Seconds {
    time(&metadata.creation_timestamp).and_then(seconds).unwrap_or(0)
}

fn cut(text: &str, longest: usize) -> &str {
    let end = (0..=longest.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}

fn time(field: &Field<'_>) -> Result<Timestamp, WrongType> {
    field.text().and_then(|time| time.parse().ok()).ok_or(WrongType)
}

fn seconds(time: Timestamp) -> Result<Seconds, WrongType> {
    time.as_second().try_into().map_err(|_| WrongType)
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
    source_namespace_uid: Field<'a>,
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
    fn version(self) -> Result<Option<Version>, WrongType> {
        let (uid, rv) = (self.uid.into_text()?, self.resource_version.into_text()?);
        Ok(Version::parse(&uid, &rv))
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

/// What is kept of a status, and the fields of others in it.
fn read_status(status: Shaped<RawStatus<'_>>) -> Result<(ObservedStatus, ForeignFields), WrongType> {
    let Some(status) = status.object()? else { return Ok(Default::default()) };
    let version = |version: Shaped<RawVersion<'_>>| version.object()?.map_or(Ok(None), RawVersion::version);
    let retries = status.retry_count.number()?.unwrap_or(0);
    let mut text = StatusContent {
        sync_status: status.sync_status.into_text()?,
        message: status.message.into_text()?,
        source_exists: status.source_exists.bool()?,
        destination_exists: status.destination_exists.bool()?,
        retry_count: i32::try_from(retries).map_err(|_| WrongType)?.try_into().unwrap_or(0),
        observed_generation: status.observed_generation.number()?,
        source: version(status.source)?,
        source_namespace: status.source_namespace_uid.text().and_then(Uid::parse),
        copy: version(status.copy)?,
        last_handled_request: status.last_handled_request.into_text()?,
        conditions: [const { None }; 4],
    };
    let (mut ours, mut foreign, mut twice) = ([None; 4], Vec::new(), false);
    for condition in status.conditions.items()? {
        let condition = condition.object()?.ok_or(WrongType)?;
        let (kind, turned) = (condition.kind.into_text()?, time(&condition.last_transition_time)?);
        let observed_generation = condition.observed_generation.number()?;
        let says = ConditionContent {
            status: condition.status.into_text()?,
            reason: condition.reason.into_text()?,
            message: condition.message.into_text()?,
        };
        match CONDITIONS.iter().position(|ours| *ours == kind) {
            Some(at) if text.conditions[at].is_some() => twice = true,
            Some(at) => {
                ours[at] = Some(ObservedCondition { is_true: says.status == "True", since: seconds(turned)? });
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
        text.sync_status.to_mut().push('\0'); // one of our conditions twice: no status of ours
    }
    let last_sync = match status.last_sync_time {
        Field::Absent => None,
        last => Some(seconds(time(&last)?)?),
    };
    let observed = ObservedStatus {
        observed_generation: generation(text.observed_generation),
        source: text.source,
        source_namespace: text.source_namespace,
        copy: text.copy,
        source_exists: text.source_exists,
        destination_exists: text.destination_exists,
        retry_count: text.retry_count,
        last_sync,
        changed_by_admission: text.conditions[3]
            .as_ref()
            .is_some_and(|stalled| stalled.status == "True" && stalled.reason == Reason::ChangedByAdmission.as_str()),
        conditions: ours,
        digest: text.digest(),
    };
    let handled = Some(&*text.last_handled_request).filter(|it| !it.is_empty()).map(Into::into);
    Ok((observed, ForeignFields { conditions: foreign, handled, ..ForeignFields::default() }))
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
            assert_eq!(sync.rare.map(|rare| rare.foreign.finalizers), Some(vec!["x/y".to_owned()]));
            assert_eq!((sync.version.rv, sync.created), (7, 1_737_628_245));
        }
        assert!(sync(json!({"metadata": metadata})).spec.is_err());
    }

    #[test]
    fn keys_and_metadata_are_decoded_also_inside_a_watch_event_whose_object_comes_first() {
        use kube::core::WatchEvent;
        let object = json!({"metadata": {"name": "s", "namespace": "n", "uid": UID, "resourceVersion": "7"},
            "spec": {"sourceNamespace": "a", "destinationNamespace": "b", "configMapName": "c",
                "keys": {"exclude": ["*.key"]}, "metadata": {"labels": {"team": "blue"}}}});
        for event in [
            format!(r#"{{"object": {object}, "type": "ADDED"}}"#),
            format!(r#"{{"type": "ADDED", "object": {object}}}"#),
        ] {
            let WatchEvent::Added(decoded) = serde_json::from_str::<WatchEvent<SyncObject>>(&event).unwrap() else {
                panic!("{event}")
            };
            let sync = decoded.record.unwrap();
            let shape = sync.shape().unwrap();
            assert_eq!((shape.name_of("a.key"), shape.name_of("a.crt")), (None, Some("a.crt")));
            assert_eq!(shape.notes(&Default::default()).names(), "label:team");
        }
    }

    #[test]
    fn a_status_reads_back_with_the_digest_it_was_written_with() {
        use crate::rules::copy::verdict::{Stall, Verdict};
        use crate::rules::object::status::{Known, object, text};
        use crate::rules::testing;
        let before = testing::sync("a/s", 1, "a/x", "b/x");
        let verdicts = [
            Verdict::InOrder { source: testing::version(2, 20), copy: testing::version(3, 30) },
            Verdict::SourceMissing,
            Verdict::Stalled(Stall::DestinationExists),
        ];
        for verdict in verdicts {
            let text = text(&verdict, &before, Known::of(true, true));
            let status = object(&text, &before, 5);
            let read = serde_json::to_string(&status).unwrap();
            let (read, _) = read_status(serde_json::from_str(&read).unwrap()).unwrap();
            assert_eq!(read.digest, text.digest(), "{verdict:?}");
        }
    }
}
