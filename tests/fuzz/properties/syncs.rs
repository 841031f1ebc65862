//! ConfigMapSyncs: their specs, their statuses, and what is said back to them.

use configmapsync_operator::api::names::{ANNOTATION_REQUESTED_AT, FINALIZER, KUBE_ROOT_CA};
use configmapsync_operator::kubernetes::decode::SyncObject;
use configmapsync_operator::rules::copy::verdict::{Failed, Stall, Verdict};
use configmapsync_operator::rules::lenient::Shaped;
use configmapsync_operator::rules::object::status::{self, StatusContent};
use configmapsync_operator::rules::reason::Reason;
use configmapsync_operator::rules::record::{ForeignFields, InvalidSpec, ObjectKey, Spec, Sync};
use configmapsync_operator::rules::spec::{RawSpec, read};
use configmapsync_operator::rules::uid::Version;
use serde_json::Value;

use super::served::{UID, asks_for_one, escaped, is_dns_label, is_dns_name, object, served};

/// A ConfigMapSync.
pub fn sync(bytes: &[u8]) {
    let _ = serde_json::from_slice::<SyncObject>(bytes);
    let Some(object) = object(bytes) else { return };
    let mut object = served(object);
    keep_times_that_the_server_takes(&mut object);
    let text = object.to_string();
    let sync = decoded(&text);
    assert_eq!(sync, decoded(&escaped(&object)), "another spelling says the same");
    let metadata = &object["metadata"];
    assert_eq!(
        (Some(&*sync.key.name), Some(&*sync.key.namespace)),
        (metadata["name"].as_str(), metadata["namespace"].as_str())
    );
    assert_eq!(Some(sync.version.rv), metadata["resourceVersion"].as_str().and_then(|rv| rv.parse().ok()));
    assert_eq!(sync.deleting, !metadata["deletionTimestamp"].is_null());
    finalizers_are_told_apart(&sync, &metadata["finalizers"]);
    assert_eq!(sync.orphan(), is_to_stay(&object["spec"]), "only a plain Delete deletes");
    a_spec_makes_sense(sync.spec.as_ref(), text.len());
    let requested = sync.rare.as_ref().and_then(|rare| rare.foreign.requested.as_deref()).unwrap_or_default();
    let written = metadata["annotations"][ANNOTATION_REQUESTED_AT].as_str().unwrap_or_default();
    assert!(requested.len() <= 256 && written.starts_with(requested), "{requested:?}");
    assert!(!requested.is_empty() || written.is_empty());
    let size = size(&sync);
    assert!(size <= 8 * text.len() + 512, "{size} bytes are kept of {}", text.len());
    // A few of them for each input: all would be slow, and another input is told others.
    let verdicts = verdicts(&sync);
    for at in (text.len()..).take(3) {
        let (source, destination) = [(true, true), (false, true), (false, false)][at % 3];
        a_status_is_written_once(&object, &sync, &verdicts[at % verdicts.len()], source, destination);
    }
}

/// A spec alone.
pub fn spec(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(raw) = serde_json::from_str::<Shaped<RawSpec<'_>>>(text) else { return };
    let spec = read(raw);
    a_spec_makes_sense(spec.as_ref().map(|(spec, _)| spec), text.len());
    let Ok(value) = serde_json::from_str::<Value>(text) else { return };
    let respelt = escaped(&value);
    assert_eq!(spec, read(serde_json::from_str(&respelt).unwrap()), "another spelling says the same");
    let orphan = spec.as_ref().map_or_else(|unusable| unusable.orphan, |(spec, _)| spec.orphan);
    assert_eq!(orphan, is_to_stay(&value), "only a plain Delete deletes");
}

fn decoded(text: &str) -> Sync {
    let object: SyncObject = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    object.record.unwrap_or_else(|| panic!("no record of {text}"))
}

/// The schema wants RFC 3339 of a condition's time: four digits are a year.
fn keep_times_that_the_server_takes(object: &mut Value) {
    let conditions = object.get_mut("status").and_then(|status| status.get_mut("conditions"));
    for condition in conditions.and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(time) = condition.get_mut("lastTransitionTime")
            && time.as_str().is_some_and(|time| !time.starts_with(|c: char| c.is_ascii_digit()))
        {
            *time = Value::Null;
        }
    }
}

fn a_spec_makes_sense(spec: Result<&Spec, &InvalidSpec>, input: usize) {
    match spec {
        Ok(spec) => {
            for ObjectKey { namespace, name } in [&spec.source, &spec.destination] {
                assert!(is_dns_label(namespace), "{namespace:?}");
                assert!(is_dns_name(name), "{name:?}");
                asks_for_one(namespace, "configmaps", name);
            }
            assert_ne!(spec.source.name, KUBE_ROOT_CA);
        }
        // One byte may take six to be shown.
        Err(unusable) => {
            assert!((1..=200 + 6 * input).contains(&unusable.why.len()), "{}", unusable.why);
            assert!(unusable.why.chars().count() <= 1_001, "{}", unusable.why);
        }
    }
}

/// Whether the copy outlives a sync with this spec. A word that nobody knows deletes nothing.
fn is_to_stay(spec: &Value) -> bool {
    !matches!(&spec["deletionPolicy"], Value::Null)
        && !["", "Delete"].map(Value::from).contains(&spec["deletionPolicy"])
}

fn finalizers_are_told_apart(sync: &Sync, finalizers: &Value) {
    let all: Vec<&str> = finalizers.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let theirs: Vec<&str> = all.iter().copied().filter(|finalizer| *finalizer != FINALIZER).collect();
    let kept = others(sync).finalizers;
    assert_eq!(kept, theirs);
    assert_eq!(sync.finalizer, all.len() > theirs.len());
}

/// How many bytes of text a record keeps.
fn size(sync: &Sync) -> usize {
    let place = |place: &ObjectKey| place.namespace.len() + place.name.len();
    let spec = match &sync.spec {
        Ok(spec) => place(&spec.source) + place(&spec.destination),
        Err(unusable) => unusable.why.len(),
    };
    let ForeignFields { finalizers, conditions, requested, handled } = others(sync);
    let finalizers: usize = finalizers.iter().map(String::len).sum();
    let conditions: usize =
        conditions.iter().map(|it| it.type_.len() + it.status.len() + it.reason.len() + it.message.len()).sum();
    let words = [requested, handled].into_iter().flatten().map(|word| word.len()).sum::<usize>();
    place(&sync.key) + spec + finalizers + conditions + words
}

/// Verdicts of all kinds, with words of the sync's own.
fn verdicts(sync: &Sync) -> Vec<Verdict> {
    let version = Version { uid: sync.uid(), rv: u64::MAX };
    let words = match &sync.spec {
        Ok(spec) => spec.source.to_string(),
        Err(unusable) => unusable.why.to_string(),
    };
    let failed = |reason| Verdict::Failed(Failed { reason, message: words.clone(), attempt: 3 });
    vec![
        Verdict::InOrder { source: sync.version, copy: version },
        Verdict::SourceMissing,
        Verdict::NamespaceMissing,
        Verdict::NamespaceTerminating,
        Verdict::Stalled(Stall::InvalidSpec(words.clone())),
        Verdict::Stalled(Stall::Cycle(vec![sync.key.clone(), sync.key.clone()])),
        Verdict::Stalled(Stall::KeyConflict(words.clone())),
        Verdict::Stalled(Stall::DestinationConflict(sync.key.clone())),
        Verdict::Stalled(Stall::Contested(words.clone())),
        failed(Reason::FetchError),
        failed(Reason::UpdateFailed),
        Verdict::Changed { source: version, copy: sync.version, what: words.clone() },
        Verdict::CopyHeld(sync.key.clone()),
    ]
}

/// A status that was written reads back as what it said, keeps what others said, and is not written again.
fn a_status_is_written_once(object: &Value, before: &Sync, verdict: &Verdict, source: bool, destination: bool) {
    const NOW: u32 = 1_800_000_000;
    let text = status::text(verdict, before, status::Known::of(source, destination));
    let written = status::object(&text, before, NOW);
    let mut object = object.clone();
    object["status"] = serde_json::to_value(&written).unwrap();
    let after = decoded(&object.to_string());
    assert_eq!(after.status.digest, text.digest(), "{verdict:?}: {written:?}");
    assert_eq!(after, decoded(&escaped(&object)));
    reads_back(&after, &text, before);
    let again = status::text(verdict, &after, status::Known::of(source, destination));
    assert_eq!(again.digest(), after.status.digest, "{verdict:?} is written again and again");
    let mut later = status::object(&again, &after, NOW + 1);
    if later.sync_status == "Success" {
        assert_ne!(later.last_sync_time, written.last_sync_time);
        later.last_sync_time.clone_from(&written.last_sync_time);
    }
    // By their JSON, which has whole seconds: see `found.rs`.
    assert_eq!(serde_json::to_string(&later).unwrap(), serde_json::to_string(&written).unwrap(), "a time moved");
}

fn reads_back(after: &Sync, text: &StatusContent<'_>, before: &Sync) {
    let told = &after.status;
    assert_eq!((told.source, told.copy), (text.source, text.copy));
    assert_eq!((told.source_exists, told.destination_exists), (text.source_exists, text.destination_exists));
    assert_eq!((told.retry_count, told.observed_generation), (text.retry_count, before.generation));
    for (kept, said) in told.conditions.iter().zip(&text.conditions) {
        assert_eq!(kept.map(|kept| kept.is_true), said.as_ref().map(|said| said.status == "True"));
    }
    let (mut theirs, mut kept) = (others(before), others(after));
    assert_eq!(kept.handled.take().as_deref().unwrap_or_default(), &*text.last_handled_request);
    assert_eq!(kept.requested.as_deref().unwrap_or(text.last_handled_request.as_ref()), &*text.last_handled_request);
    theirs.handled = None;
    for condition in theirs.conditions.iter_mut().chain(&mut kept.conditions) {
        let time = &mut condition.last_transition_time.0;
        // Whole seconds: see `found.rs`.
        *time = serde_json::from_value(serde_json::json!(format!("{}", time.strftime("%Y-%m-%dT%H:%M:%SZ")))).unwrap();
    }
    assert_eq!(kept, theirs, "what others put there stays");
    assert_eq!((after.uid(), after.request()), (before.uid(), None), "{UID}");
}

fn others(sync: &Sync) -> ForeignFields {
    sync.rare.as_ref().map(|rare| rare.foreign.clone()).unwrap_or_default()
}
