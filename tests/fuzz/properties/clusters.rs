//! ClusterConfigMapSyncs: what they select, and what is said back to them.

use configmapsync_operator::api::names::FINALIZER;
use configmapsync_operator::kubernetes::decode::ClusterSyncObject;
use configmapsync_operator::rules::cluster::record::{ClusterSpec, ClusterSync};
use configmapsync_operator::rules::cluster::rollup::{Rollup, Standing};
use configmapsync_operator::rules::cluster::selection::{Labels, Selected};
use configmapsync_operator::rules::cluster::spec::read;
use configmapsync_operator::rules::cluster::status::status;
use configmapsync_operator::rules::record::Name;
use configmapsync_operator::rules::uid::{Uid, Version};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::served::{UID, escaped, is_dns_label, is_dns_name, object, served};

/// What the API server takes as the message of a condition.
const LONGEST_MESSAGE: usize = 32 * 1024;

/// In characters, what is said of a spec that makes no sense.
const LONGEST_WHY: usize = 1_001;

/// A ClusterConfigMapSync.
pub fn cluster_sync(bytes: &[u8]) {
    let _ = serde_json::from_slice::<ClusterSyncObject>(bytes);
    let Some(object) = object(bytes) else { return };
    let mut object = served(object);
    // The API server keeps it to the schema, but for specs from before a rule.
    object.as_object_mut().unwrap().remove("status");
    object["metadata"].as_object_mut().unwrap().remove("namespace");
    let text = object.to_string();
    let sync = decoded(&text);
    assert_eq!(sync, decoded(&escaped(&object)), "another spelling says the same");
    assert_eq!(Some(&*sync.name), object["metadata"]["name"].as_str());
    let finalizers = object["metadata"]["finalizers"].as_array();
    assert_eq!(sync.finalizer, finalizers.is_some_and(|all| all.contains(&json!(FINALIZER))));
    let deletes =
        matches!(&object["spec"]["deletionPolicy"], Value::Null) || object["spec"]["deletionPolicy"] == "Delete";
    match &sync.spec {
        Ok(spec) => makes_sense(spec, &object["spec"]),
        Err(invalid) => {
            assert!((1..=LONGEST_WHY).contains(&invalid.why.chars().count()), "{}", invalid.why);
            assert_eq!(read(object["spec"].clone()).err().as_ref(), Some(invalid));
        }
    }
    assert_eq!(sync.orphan(), !deletes, "only a plain Delete deletes");
    a_status_is_written_once(sync);
}

fn decoded(text: &str) -> ClusterSync {
    serde_json::from_str::<ClusterSyncObject>(text).unwrap().record.unwrap()
}

fn makes_sense(spec: &ClusterSpec, written: &Value) {
    assert!(is_dns_label(&spec.source.namespace) && is_dns_name(&spec.source.name), "{:?}", spec.source);
    assert!(is_dns_name(&spec.copy_name), "{:?}", spec.copy_name);
    let named =
        written["namespaces"].as_array().map(|names| names.iter().filter_map(Value::as_str).collect::<Vec<_>>());
    let excluded: Vec<&str> =
        written["excludeNamespaces"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let wants_labels = written["namespaceSelector"]["matchLabels"].as_object().is_some_and(|labels| !labels.is_empty());
    let labels = [Labels::default(), Labels::new([("team".into(), "blue".into()), ("old".into(), "".into())])];
    for name in ["a", "team-a", "kube-system", "x-sandbox"].map(Name::from) {
        for labels in &labels {
            let is = spec.selection.of(&name, labels, false);
            assert_eq!(is, spec.selection.of(&name, labels, false));
            if let Some(named) = &named {
                assert_eq!(is == Selected::No, !named.contains(&&*name), "{named:?}");
            }
            if is == Selected::Yes {
                assert!(!excluded.contains(&&*name), "{name} is excluded");
                let by_its_name = written["namespaceSelector"].to_string().contains("kubernetes.io/metadata.name");
                assert!(!wants_labels || !labels.is_empty() || by_its_name, "labels are asked for, and it has none");
            }
            // Protection takes away and never gives; whoever is named is named.
            let protected = spec.selection.of(&name, labels, true);
            assert!(protected == is || named.is_none() && (is, protected) == (Selected::Yes, Selected::Excluded));
        }
    }
}

fn a_status_is_written_once(mut sync: ClusterSync) {
    let source = Version { uid: Uid::parse(UID).unwrap(), rv: 9 };
    let content_hash = "ab".repeat(32);
    let rollup = Rollup { synced: 3, pending: 1, ..Rollup::default() };
    let standings = match &sync.spec {
        Err(invalid) => vec![Standing::InvalidSpec(invalid.why.to_string())],
        Ok(_) => vec![
            Standing::Counted { source, content_hash, rollup, source_namespace: None },
            Standing::SelectionEmptied(7),
            Standing::Deleting { removing: 2, held: None },
        ],
    };
    for standing in standings {
        let told = status(&sync, &standing, Timestamp::UNIX_EPOCH);
        for condition in &told.conditions {
            assert!(condition.message.len() <= LONGEST_MESSAGE, "{} bytes", condition.message.len());
        }
        sync.status = told.clone();
        assert_eq!(status(&sync, &standing, Timestamp::from_second(9).unwrap()), told, "it says nothing new");
    }
}
