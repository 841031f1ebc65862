//! What is said on an object that wants many copies.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

use crate::api::clusterconfigmapsync::{ClusterConfigMapSyncStatus, NamespaceFailure};
use crate::rules::cluster::record::ClusterSync;
use crate::rules::cluster::rollup::{MOST_FAILURES, Rollup, Standing};
use crate::rules::object::status::{CONDITIONS, key_conflict_way_out, not_shared};
use crate::rules::reason::Reason;
use crate::rules::uid::Version;

/// The status that a standing makes of an object. Times stay as they were where nothing turned: a status that says nothing new
/// equals the one before.
pub fn status(object: &ClusterSync, standing: &Standing, now: Timestamp) -> ClusterConfigMapSyncStatus {
    let before = &object.status;
    let mut status = content(object, standing);
    status.observed_generation = Some(object.generation.into());
    status.last_handled_request =
        object.others.requested.clone().or_else(|| object.others.handled.clone()).map(String::from);
    for condition in &mut status.conditions {
        condition.observed_generation = status.observed_generation;
        let same = before.conditions.iter().find(|it| it.type_ == condition.type_ && it.status == condition.status);
        condition.last_transition_time = same.map_or(Time(now), |same| same.last_transition_time.clone());
    }
    status.conditions.extend(object.others.conditions.iter().cloned());
    for failure in &mut status.failures {
        let same = |it: &&NamespaceFailure| it.namespace == failure.namespace && it.reason == failure.reason;
        failure.since = before.failures.iter().find(same).and_then(|same| same.since.clone()).or(Some(Time(now)));
    }
    // The oldest first, in an order that does not change.
    let age = |failure: &NamespaceFailure| failure.since.as_ref().map(|since| since.0);
    status.failures.sort_by(|a, b| (age(a), &a.namespace).cmp(&(age(b), &b.namespace)));
    status.failures.truncate(MOST_FAILURES);
    status.last_sync_time.clone_from(&before.last_sync_time);
    // An operator that knew nothing of the field wrote the status: that alone is no reason to write it anew.
    let without = ClusterConfigMapSyncStatus { source_namespace_uid: String::new(), ..status.clone() };
    if without == *before {
        return without;
    }
    if status.sync_status == "Success" && status != *before {
        status.last_sync_time = Some(Time(now));
    }
    status
}

/// Whether a status gives one of these reasons for how it stands with the source.
pub fn says_of_source(status: &ClusterConfigMapSyncStatus, reasons: &[Reason]) -> bool {
    let told = status.conditions.iter().find(|it| it.type_ == CONDITIONS[1]);
    told.is_some_and(|told| reasons.iter().any(|reason| reason.as_str() == told.reason))
}

/// The status without its times.
fn content(object: &ClusterSync, standing: &Standing) -> ClusterConfigMapSyncStatus {
    let before = &object.status;
    // What the status says of the source and of the copies stays, where the standing is not about them.
    let kept = ClusterConfigMapSyncStatus {
        sync_status: "Failed".to_owned(),
        source: before.source.clone(),
        // Another spec may have named another one.
        source_namespace_uid: match before.observed_generation == Some(object.generation.into()) {
            true => before.source_namespace_uid.clone(),
            false => String::new(),
        },
        // That of another spec would be taken for that of this one.
        content_hash: object.content_hash().unwrap_or_default().to_owned(),
        copies: before.copies.clone(),
        namespaces: before.namespaces,
        ..ClusterConfigMapSyncStatus::default()
    };
    match standing {
        Standing::InvalidSpec(why) => {
            let message = format!("the spec cannot be carried out: {why}");
            not_ready(kept, Reason::InvalidSpec, message, None, true)
        }
        Standing::KeyConflict(which) => {
            let message = format!("{which}; {}", key_conflict_way_out());
            let status = ClusterConfigMapSyncStatus { content_hash: String::new(), ..kept };
            not_ready(status, Reason::KeyConflict, message, Some(true), true)
        }
        Standing::SourceMissing(rollup) => {
            let source = object.spec.as_ref().map(|spec| spec.source.to_string()).unwrap_or_default();
            let what = if rollup.synced > 0 { "; the last copies are kept" } else { "" };
            let message =
                format!("source ConfigMap {source} does not exist{what}; it is synced as soon as it is created");
            let status = ClusterConfigMapSyncStatus { source: None, ..counted(kept, rollup) };
            not_ready(status, Reason::SourceNotFound, message, Some(false), false)
        }
        Standing::NotShared { required, standing, rollup } => {
            let source = object.spec.as_ref().map(|spec| spec.source.to_string()).unwrap_or_default();
            let what = if *standing > 0 { format!("; {} still stand", copies(*standing)) } else { String::new() };
            let message = format!("{}{what}", not_shared(&source, "a selected namespace", *required));
            let status =
                ClusterConfigMapSyncStatus { source: None, content_hash: String::new(), ..counted(kept, rollup) };
            let mut status = not_ready(status, Reason::SourceNotShared, message.clone(), Some(false), false);
            for condition in status.conditions.iter_mut().filter(|it| it.type_ == CONDITIONS[1]) {
                (condition.reason, condition.message) = (Reason::SourceNotShared.as_str().to_owned(), message.clone());
            }
            status
        }
        Standing::TooLarge { bytes, rollup } => {
            let message = format!(
                "the copies would take {} bytes, more than --max-fanout-bytes allows, and so none is written; make the source \
                 smaller, select fewer namespaces, or raise the limit",
                number(usize::try_from(*bytes).unwrap_or(usize::MAX))
            );
            not_ready(counted(kept, rollup), Reason::TooLarge, message, Some(true), true)
        }
        Standing::SelectionEmptied(standing) => {
            let stand =
                if *standing == 1 { "1 copy stands".to_owned() } else { format!("{} stand", copies(*standing)) };
            let message = format!(
                "nothing is selected, and so nothing is removed: {stand}; delete the object to remove what stands, or mend the selection"
            );
            let status = counted(kept, &Rollup::default());
            not_ready(status, Reason::SelectionEmptied, message, Some(true), true)
        }
        Standing::Deleting { removing, held } => {
            let held =
                held.as_ref().map(|copy| format!("; {copy} waits for a finalizer of somebody else's, take it off"));
            let message = format!("{} still to be removed{}", copies(*removing), held.unwrap_or_default());
            let status = counted(kept, &Rollup { removing: *removing, ..Rollup::default() });
            let status = ClusterConfigMapSyncStatus { sync_status: "InProgress".to_owned(), ..status };
            not_ready(status, Reason::CopiesPending, message, None, false)
        }
        Standing::Counted { source, content_hash, source_namespace, rollup } => {
            let source_namespace_uid = source_namespace.map(|uid| uid.to_string());
            let status = ClusterConfigMapSyncStatus {
                source_namespace_uid: source_namespace_uid.unwrap_or_else(|| kept.source_namespace_uid.clone()),
                source: Some((*source).into()),
                content_hash: content_hash.clone(),
                ..counted(kept, rollup)
            };
            of_copies(status, *source, rollup)
        }
    }
}

fn of_copies(mut status: ClusterConfigMapSyncStatus, source: Version, rollup: &Rollup) -> ClusterConfigMapSyncStatus {
    let (selected, failed) = (rollup.selected(), rollup.failed());
    let hold = match rollup.synced == selected {
        true if selected == 1 => format!("1 copy holds version {}", source.rv),
        true => format!("{} hold version {}", copies(selected), source.rv),
        false => format!("{} of {} copies hold version {}", number(rollup.synced), number(selected), source.rv),
    };
    if failed > 0 {
        let them =
            if failed == 1 { "1 namespace has none".to_owned() } else { format!("{} have none", namespaces(failed)) };
        let message = format!("{hold}; {them}, see failures");
        let stalled = rollup.failures.iter().all(|failure| failure.needs_person);
        return not_ready(status, Reason::SomeCopiesFailed, message, Some(true), stalled);
    }
    if rollup.pending > 0 {
        let message = format!("{hold}; {} still to be written", copies(rollup.pending));
        status.sync_status = "InProgress".to_owned();
        return not_ready(status, Reason::CopiesPending, message, Some(true), false);
    }
    let (reason, message) = match selected {
        0 => (Reason::NoNamespaceMatches, "no namespace is selected; a copy is made as soon as one is".to_owned()),
        _ => (Reason::AllCopiesInOrder, hold),
    };
    status.sync_status = "Success".to_owned();
    status.message.clone_from(&message);
    status.conditions = vec![
        condition(CONDITIONS[0], true, Reason::SyncSucceeded, message.clone()),
        available(true),
        condition(CONDITIONS[2], true, reason, message),
    ];
    status
}

fn counted(status: ClusterConfigMapSyncStatus, rollup: &Rollup) -> ClusterConfigMapSyncStatus {
    let failure = |failure: &crate::rules::cluster::rollup::Failure| NamespaceFailure {
        namespace: failure.namespace.to_string(),
        reason: failure.reason.as_str().to_owned(),
        message: failure.message.clone(),
        since: None,
    };
    ClusterConfigMapSyncStatus {
        copies: format!("{}/{}", rollup.synced, rollup.selected()),
        namespaces: Some(rollup.counts()),
        failures: rollup.failures.iter().map(failure).collect(),
        ..status
    }
}

/// `source_is_there`: `None` where nobody has looked.
fn not_ready(
    status: ClusterConfigMapSyncStatus,
    reason: Reason,
    message: String,
    source_is_there: Option<bool>,
    stalled: bool,
) -> ClusterConfigMapSyncStatus {
    let mut conditions = vec![
        condition(CONDITIONS[0], false, reason, message.clone()),
        source_is_there.map_or_else(
            || Condition {
                status: "Unknown".to_owned(),
                ..condition(CONDITIONS[1], false, Reason::NotChecked, NOT_CHECKED.to_owned())
            },
            available,
        ),
        condition(CONDITIONS[2], false, reason, message.clone()),
    ];
    if stalled {
        conditions.push(condition(CONDITIONS[3], true, reason, message.clone()));
    }
    ClusterConfigMapSyncStatus { message, conditions, ..status }
}

const NOT_CHECKED: &str = "The source has not been looked at";

fn available(is_there: bool) -> Condition {
    match is_there {
        true => {
            condition(CONDITIONS[1], true, Reason::SourceFound, "Source ConfigMap exists and accessible".to_owned())
        }
        false => condition(CONDITIONS[1], false, Reason::SourceNotFound, "Source ConfigMap does not exist".to_owned()),
    }
}

fn condition(type_: &str, is_true: bool, reason: Reason, message: String) -> Condition {
    Condition {
        type_: type_.to_owned(),
        status: if is_true { "True" } else { "False" }.to_owned(),
        reason: reason.as_str().to_owned(),
        message,
        last_transition_time: Time(Timestamp::UNIX_EPOCH),
        observed_generation: None,
    }
}

fn copies(count: usize) -> String {
    if count == 1 { "1 copy".to_owned() } else { format!("{} copies", number(count)) }
}

fn namespaces(count: usize) -> String {
    format!("{} namespaces", number(count))
}

/// A number with commas.
pub fn number(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
#[path = "tests/status.rs"]
mod tests;
