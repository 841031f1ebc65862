//! Leases of the fleet.

use std::time::Duration;

use configmapsync_operator::api::dns::is_subdomain;
use configmapsync_operator::api::names::PREFIX;
use configmapsync_operator::kubernetes::leases::{LeaseObject, Parser};
use configmapsync_operator::leadership::{Holder, LONGEST, Phase, Record};
use configmapsync_operator::rules::shard::SHARDS;
use configmapsync_operator::rules::uid::Version;
use serde_json::{Map, Value, json};

use super::served::{object, served};

/// A Lease.
pub fn lease(bytes: &[u8]) {
    if let Ok(lease) = serde_json::from_slice::<LeaseObject>(bytes) {
        Parser::default().record(&lease.0);
    }
    let Some(object) = object(bytes) else { return };
    let object = typed(served(object));
    let LeaseObject(lease) = serde_json::from_value(object.clone()).unwrap_or_else(|error| panic!("{error}: {object}"));
    let mut parser = Parser::default();
    let record = parser.record(&lease);
    assert_eq!(record, parser.record(&lease), "what was said once is parsed the same");
    let (metadata, spec) = (&object["metadata"], &object["spec"]);
    let name = metadata["name"].as_str().unwrap();
    let text = |field: &str| metadata[field].as_str().unwrap();
    let at = Version::parse(text("uid"), text("resourceVersion")).unwrap();
    let mark = |name: &str| metadata["annotations"][format!("{PREFIX}{name}")].as_str().filter(|mark| !mark.is_empty());
    let duration = match &record {
        Some(Record::Session(session)) => {
            assert_eq!(format!("configmapsync-session-{}", session.name), name);
            assert_eq!(session.version, at);
            assert_eq!(session.renewal, mark("renewal").and_then(|text| text.parse().ok()).unwrap_or(0));
            let phase = match mark("phase") {
                Some("leaving") => Phase::Leaving,
                Some("ended") => Phase::Ended,
                _ => Phase::Live,
            };
            assert_eq!(session.phase, phase, "whose Lease makes no sense lives until its time is up");
            session.lease
        }
        Some(Record::Shard(shard)) => {
            assert!(shard.shard.index() < SHARDS);
            assert_eq!(format!("configmapsync-shard-{:02}", shard.shard.index()), name);
            assert_eq!(shard.version, at);
            // What no session can be named is nobody.
            let holder = spec["holderIdentity"].as_str().filter(|name| is_subdomain(name));
            let released_by = mark("released-by").filter(|name| is_subdomain(name));
            match &shard.holder {
                Holder::Named(session) => assert_eq!(Some(session.as_str()), holder),
                Holder::Released(session) => assert_eq!((Some(session.as_str()), None), (released_by, holder)),
                Holder::Cleared => assert_eq!((released_by, holder), (None, None)),
            }
            shard.lease
        }
        Some(Record::Predecessor { rv, lease }) => {
            assert_eq!((*rv, name), (at.rv, "3fe4c69f.kapendra.com"));
            *lease
        }
        None => {
            let number = name.strip_prefix("configmapsync-shard-");
            let is_shard = number.is_some_and(|it| (0..SHARDS).any(|shard| format!("{shard:02}") == it));
            assert!(!is_shard && !name.starts_with("configmapsync-session-"), "{name} is one of the fleet's");
            return;
        }
    };
    let written = spec["leaseDurationSeconds"].as_u64().map(Duration::from_secs);
    assert_eq!(duration, written.filter(|it| (Duration::from_secs(1)..=LONGEST).contains(it)));
}

/// A Lease's metadata has the server's types, and of its times only the server's own: see `found.rs`.
fn typed(mut object: Value) -> Value {
    object["apiVersion"] = json!("coordination.k8s.io/v1");
    object["kind"] = json!("Lease");
    if let Value::Object(metadata) = &mut object["metadata"] {
        metadata.retain(|key, _| {
            ["name", "namespace", "uid", "resourceVersion", "labels", "annotations"].contains(&&**key)
        });
        for field in ["labels", "annotations"] {
            if let Some(entries) = metadata.get_mut(field).and_then(Value::as_object_mut) {
                let texts = std::mem::take(entries).into_iter().filter(|(_, value)| value.is_string());
                *entries = texts.collect::<Map<_, _>>();
            }
        }
    }
    object
}
