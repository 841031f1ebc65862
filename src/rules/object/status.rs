//! What is said on a sync: the status that each verdict about its copy makes.

use std::borrow::Cow;
use std::hash::{BuildHasher as _, Hash as _, Hasher as _};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

use crate::api::configmapsync::{ConfigMapSyncStatus, ObjectVersion};
use crate::rules::copy::verdict::{Stall, Verdict};
use crate::rules::reason::Reason;
use crate::rules::record::{ObjectKey, Seconds, Sync};
use crate::rules::uid::{Uid, Version};

/// The condition types that we write, in the order in which they stand in a status.
pub const CONDITIONS: [&str; 4] = ["Synced", "SourceAvailable", "Ready", "Stalled"];

/// Where `Ready` stands among them.
const READY: usize = 2;

/// What a person can do about two keys that would have one name.
pub fn key_conflict_way_out() -> &'static str {
    "nothing is written until spec.keys selects one of them, or gives one another name"
}

impl Stall {
    fn message(&self, sync: &Sync) -> String {
        let destination = sync.destination().map(ObjectKey::to_string).unwrap_or_default();
        match self {
            Self::InvalidSpec(why) => format!("the spec cannot be carried out: {why}"),
            Self::Cycle(cycle) => format!(
                "the ConfigMap would be copied onto itself: {}; change or delete one sync of this ring",
                cycle.iter().map(ObjectKey::to_string).collect::<Vec<_>>().join(" → ")
            ),
            Self::KeyConflict(which) => format!("{which}; {}", key_conflict_way_out()),
            Self::DestinationConflict(owner) => {
                let owner = owner.owner_name();
                format!("{destination} is the copy of {owner}; it is taken over when that one lets go")
            }
            Self::Guarded(guard) => guard.message(sync.destination()),
            Self::DestinationExists => format!(
                "{destination} exists and conflictPolicy is Fail; delete it, set spec.destinationName, or set conflictPolicy to Overwrite"
            ),
            Self::DestinationControlled => {
                format!(
                    "{destination} belongs to a controller (ownerReferences); it is left alone: set spec.destinationName"
                )
            }
            Self::DestinationImmutable => {
                format!(
                    "{destination} is immutable and was not written by this operator; delete it or set spec.destinationName"
                )
            }
            Self::Contested(manager) => {
                format!("{destination} is changed again and again by {manager:?}; stop that one, or suspend this sync")
            }
        }
    }
}

/// A status without its times: what decides whether one must be written.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StatusContent<'a> {
    /// status.syncStatus.
    pub sync_status: Cow<'a, str>,
    /// status.message.
    pub message: Cow<'a, str>,
    /// status.sourceExists.
    pub source_exists: bool,
    /// status.destinationExists.
    pub destination_exists: bool,
    /// status.retryCount.
    pub retry_count: u32,
    /// status.observedGeneration.
    pub observed_generation: Option<i64>,
    /// status.source.
    pub source: Option<Version>,
    /// status.sourceNamespaceUid. It alone is no reason to write a status.
    pub source_namespace: Option<Uid>,
    /// status.copy.
    pub copy: Option<Version>,
    /// status.lastHandledRequest; empty where there is none.
    pub last_handled_request: Cow<'a, str>,
    /// For each of [`CONDITIONS`]: status, reason and message, where it stands there.
    pub conditions: [Option<ConditionContent<'a>>; 4],
}

/// A condition without its times.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConditionContent<'a> {
    /// `True`, `False` or `Unknown`.
    pub status: Cow<'a, str>,
    /// One word for programs.
    pub reason: Cow<'a, str>,
    /// A sentence for people.
    pub message: Cow<'a, str>,
}

impl StatusContent<'_> {
    /// A hash of the fields that decide whether the status is written. Equal content has an equal digest within a process.
    /// Messages of a sync that is in order are left out, so that a new wording does not rewrite every status of a fleet.
    pub fn digest(&self) -> u64 {
        let in_order = self.conditions[READY].as_ref().is_some_and(|ready| ready.status == "True");
        let Self { sync_status, message, source_exists, destination_exists, retry_count, .. } = self;
        let Self { observed_generation, source, copy, last_handled_request, conditions, .. } = self;
        let mut hasher = ahash::RandomState::with_seeds(2, 3, 5, 7).build_hasher();
        (sync_status, source_exists, destination_exists, retry_count, observed_generation).hash(&mut hasher);
        (source, copy, last_handled_request, (!in_order).then_some(message)).hash(&mut hasher);
        for condition in conditions {
            let counts = condition.as_ref().map(|it| (&it.status, &it.reason, (!in_order).then_some(&it.message)));
            counts.hash(&mut hasher);
        }
        hasher.finish()
    }
}

/// What a status tells beside the verdict.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// Whether the source is there, as far as that may be told.
    pub source_exists: bool,
    /// Whether the copy is there.
    pub destination_exists: bool,
    /// Whether the copy needs consent.
    pub required: bool,
    /// The UID of the source's namespace.
    pub source_namespace: Option<Uid>,
}

impl Known {
    /// Of a copy that needs no consent.
    pub fn of(source_exists: bool, destination_exists: bool) -> Self {
        Self { source_exists, destination_exists, required: false, source_namespace: None }
    }
}

/// What a status says where the owner of `source` does not share it with `namespace`; or, where consent is needed, where there
/// is no source: the two have the same words.
pub fn not_shared(source: &str, namespace: &str, required: bool) -> String {
    use crate::api::names::{ANNOTATION_SHARE, ANNOTATION_SHARE_WITH};
    match required {
        true => format!(
            "there is no ConfigMap {source} whose owner shares it with {namespace}; it is copied as soon as its owner names that \
             namespace in the annotation {ANNOTATION_SHARE} or {ANNOTATION_SHARE_WITH}, on it or on its Namespace"
        ),
        false => {
            format!("ConfigMap {source} is shared with nobody: its owner set the annotation {ANNOTATION_SHARE} to none")
        }
    }
}

/// What is said of a source's namespace that was deleted and made again.
pub fn namespace_changed(namespace: &str) -> String {
    format!(
        "the source's namespace {namespace} was deleted and made again, and what is in it may be another owner's; what it holds is copied"
    )
}

/// The status that `verdict` makes of `sync`. Where the verdict is not about them, `status.source` and `status.copy`
/// stay as they were: they tell the versions of the last write or check.
pub fn text(verdict: &Verdict, sync: &Sync, known: Known) -> StatusContent<'static> {
    let Known { source_exists, destination_exists, required, source_namespace } = known;
    let reported = &sync.status;
    // What admission made of a copy is no version that a later status may pass on.
    let passed_on = |version: Option<Version>| version.filter(|_| !reported.changed_by_admission);
    let foreign = sync.rare.as_ref().map(|rare| &rare.foreign);
    let request = foreign.and_then(|foreign| foreign.requested.clone().or_else(|| foreign.handled.clone()));
    // Another spec may have wanted other keys of the same source: its comparison counts for this one no more.
    let same_shape = sync.shape().is_none() || sync.is_observed();
    let text = StatusContent {
        sync_status: "Failed".into(),
        message: Cow::Borrowed(""),
        source_exists,
        destination_exists,
        retry_count: 0,
        observed_generation: Some(sync.generation.into()),
        source: passed_on(reported.source).filter(|_| same_shape),
        // Another spec may have named another one.
        source_namespace: reported.source_namespace.filter(|_| sync.is_observed()),
        copy: passed_on(reported.copy),
        last_handled_request: request.map_or(Cow::Borrowed(""), |request| Cow::Owned(request.into())),
        conditions: [None, None, None, None],
    };
    let not_ready = |message: String, available: ConditionContent<'static>, stalled| StatusContent {
        conditions: [
            Some(condition("False", verdict.reason(), message.clone())),
            Some(available),
            Some(condition("False", Reason::NotReady, message.clone())),
            stalled,
        ],
        message: message.into(),
        ..text.clone()
    };
    let available = || {
        if source_exists {
            condition("True", Reason::SourceFound, "Source ConfigMap exists and accessible")
        } else {
            condition("Unknown", Reason::NotChecked, "The source has not been looked at")
        }
    };
    let (source, destination) = match &sync.spec {
        Ok(spec) => (spec.source.to_string(), &*spec.destination.namespace),
        Err(_) => (String::new(), ""),
    };
    match verdict {
        Verdict::InOrder { source, copy } => StatusContent {
            sync_status: "Success".into(),
            message: "ConfigMap synced successfully".into(),
            source_exists: true,
            destination_exists: true,
            source: Some(*source),
            source_namespace: source_namespace.or(text.source_namespace),
            copy: Some(*copy),
            conditions: [
                Some(condition("True", Reason::SyncSucceeded, "ConfigMap synced successfully")),
                Some(condition("True", Reason::SourceFound, "Source ConfigMap exists and accessible")),
                Some(condition("True", Reason::AllComponentsReady, "All sync components are functioning properly")),
                None,
            ],
            ..text
        },
        Verdict::SourceMissing => {
            let what = if destination_exists { "; the last copy is kept" } else { "" };
            let message =
                format!("source ConfigMap {source} does not exist{what}; it is synced as soon as it is created");
            let missing = condition("False", Reason::SourceNotFound, message.clone());
            StatusContent { source_exists: false, source: None, ..not_ready(message, missing, None) }
        }
        Verdict::SourceNotShared => {
            let what = if destination_exists { "; the last copy is kept" } else { "" };
            let message = format!("{}{what}", not_shared(&source, &format!("the namespace {destination}"), required));
            let missing = condition("False", Reason::SourceNotShared, message.clone());
            StatusContent { source_exists: false, source: None, ..not_ready(message, missing, None) }
        }
        Verdict::NamespaceMissing => {
            let message = format!("namespace {destination} does not exist; the copy is made as soon as it is created");
            not_ready(message, available(), None)
        }
        Verdict::NamespaceTerminating => {
            let message = format!("namespace {destination} is being deleted; nothing can be copied into it");
            not_ready(message, available(), None)
        }
        Verdict::Stalled(stall) => {
            let stalled = condition("True", stall.reason(), stall.message(sync));
            not_ready(stall.message(sync), available(), Some(stalled))
        }
        Verdict::Failed(failed) => {
            let message = failed.message.clone();
            let available = match failed.reason {
                Reason::FetchError => condition("False", failed.reason, message.clone()),
                _ => available(),
            };
            StatusContent { retry_count: failed.attempt, ..not_ready(message, available, None) }
        }
        Verdict::Changed { source, copy, what } => {
            let message = format!(
                "admission changed the copy: {what}; it is left as it is. Exempt {destination} from the policy or webhook \
                 that does so, then set the annotation {}",
                crate::api::names::ANNOTATION_REQUESTED_AT
            );
            let stalled = condition("True", verdict.reason(), message.clone());
            StatusContent { source: Some(*source), copy: Some(*copy), ..not_ready(message, available(), Some(stalled)) }
        }
        Verdict::CopyHeld(copy) => {
            let message = format!("waiting for {copy} to go: a finalizer of somebody else's is on it");
            StatusContent { sync_status: "InProgress".into(), ..not_ready(message, available(), None) }
        }
    }
}

fn condition(status: &'static str, reason: Reason, message: impl Into<Cow<'static, str>>) -> ConditionContent<'static> {
    ConditionContent { status: status.into(), reason: reason.as_str().into(), message: message.into() }
}

/// The status object for a text. A condition's lastTransitionTime moves only when its status does, and conditions of
/// types that are not ours are passed on.
pub fn object(text: &StatusContent<'_>, sync: &Sync, now: Seconds) -> ConfigMapSyncStatus {
    let reported = &sync.status;
    let foreign = sync.rare.iter().flat_map(|rare| rare.foreign.conditions.iter().cloned());
    let time = |seconds: Seconds| Time(Timestamp::from_second(seconds.into()).unwrap_or_default());
    let conditions =
        CONDITIONS.iter().zip(&text.conditions).zip(&reported.conditions).filter_map(|((kind, now_is), was)| {
            let now_is = now_is.as_ref()?;
            let since = match was {
                Some(was) if was.is_true == (now_is.status == "True") => was.since,
                _ => now,
            };
            Some(Condition {
                type_: (*kind).to_owned(),
                status: now_is.status.clone().into_owned(),
                reason: now_is.reason.clone().into_owned(),
                message: now_is.message.clone().into_owned(),
                last_transition_time: time(since),
                observed_generation: text.observed_generation,
            })
        });
    ConfigMapSyncStatus {
        last_sync_time: if text.sync_status == "Success" { Some(now) } else { reported.last_sync }.map(time),
        sync_status: text.sync_status.clone().into_owned(),
        message: text.message.clone().into_owned(),
        source_exists: text.source_exists,
        destination_exists: text.destination_exists,
        retry_count: i32::try_from(text.retry_count).unwrap_or(i32::MAX),
        observed_generation: text.observed_generation,
        source: text.source.map(Into::into),
        source_namespace_uid: text.source_namespace.map(|uid| uid.to_string()),
        copy: text.copy.map(Into::into),
        last_handled_request: Some(text.last_handled_request.clone().into_owned()).filter(|it| !it.is_empty()),
        conditions: conditions.chain(foreign).collect(),
    }
}

impl From<Version> for ObjectVersion {
    fn from(version: Version) -> Self {
        Self { uid: version.uid.to_string(), resource_version: version.rv.to_string() }
    }
}

#[cfg(test)]
#[path = "tests/status.rs"]
mod tests;
