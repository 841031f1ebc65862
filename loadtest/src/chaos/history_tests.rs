use serde_json::json;

use super::*;

const UID: &str = "11111111-2222-3333-4444-555555555555";

/// A granted request of a replica.
fn request(verb: &str, resource: &str, place: (&str, &str), sent: Value, answer: Value) -> AuditEvent {
    AuditEvent {
        time: Timestamp::UNIX_EPOCH,
        latency: std::time::Duration::from_millis(3),
        user: String::new(),
        user_agent: "configmapsync-operator/0.1.0 (replica-1-7)".to_owned(),
        verb: verb.to_owned(),
        group: String::new(),
        resource: resource.to_owned(),
        subresource: String::new(),
        namespace: place.0.to_owned(),
        name: place.1.to_owned(),
        code: 200,
        uri: String::new(),
        stage: String::new(),
        sent,
        answer,
    }
}

fn what(request: &AuditEvent) -> Option<(Option<u64>, Event)> {
    let mut history = History::default();
    history.event(request)
}

fn version(version: &str) -> Value {
    json!({ "metadata": { "name": "configmapsync-shard-07", "uid": UID, "resourceVersion": version } })
}

#[test]
fn only_a_replica_that_names_itself_takes_a_shard() {
    let take = |holder: &str| {
        let sent = json!({ "metadata": { "resourceVersion": "5" }, "spec": { "holderIdentity": holder } });
        request("update", "leases", ("system", "configmapsync-shard-07"), sent, version("6"))
    };
    let (at, event) = what(&take("replica-1-7-0123abcd-2")).unwrap();
    assert_eq!((at, event.by.as_deref()), (Some(6), Some("replica-1-7")));
    assert_eq!(event.what, What::Tenure(Shard::new(7).unwrap()));
    assert_eq!(what(&take("replica-1-77-0123abcd")), None);
    let by_hand = AuditEvent { user_agent: "kubectl/v1.36.3".to_owned(), ..take("replica-1-7-0123abcd") };
    assert_eq!(what(&by_hand), None);
}

#[test]
fn a_copy_tells_its_sync_and_what_it_holds() {
    let sent = json!({
        "metadata": { "resourceVersion": "5", "name": "c", "annotations": {
            ANNOTATION_SYNC: format!("chaos/c/{UID}"), ANNOTATION_SOURCE: "chaos/wide/uid/4",
        } },
        "data": load::content("wide", 3),
    });
    let put = |answer| request("update", "configmaps", ("chaos-1", "c"), sent.clone(), version(answer));
    let place = ("chaos-1".to_owned(), "c".to_owned());
    let written = What::Copy { place, sync: Some(UID.to_owned()), edition: Some(3), version: 6 };
    assert_eq!(what(&put("6")).map(|(_, event)| event.what), Some(written));
    assert_eq!(what(&put("5")), None, "it changed nothing");
    assert_eq!(what(&AuditEvent { code: 500, ..put("6") }), None);
    let refused = what(&AuditEvent { code: 409, answer: json!({ "kind": "Status" }), ..put("6") });
    assert!(refused.is_some_and(|(at, event)| at.is_none() && event.refused));
}

#[test]
fn a_sync_goes_with_its_finalizer() {
    let life = |finalizers: Value, deleted: Value| {
        let answer = json!({
            "metadata": { "uid": UID, "resourceVersion": "6", "finalizers": finalizers, "deletionTimestamp": deleted },
            "spec": { "configMapName": "wide" },
        });
        match what(&request("patch", "configmapsyncs", ("chaos", "c"), Value::Null, answer)).unwrap().1.what {
            What::Sync { life, .. } => life,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(life(json!([]), Value::Null), Life::New);
    assert_eq!(life(json!([FINALIZER]), Value::Null), Life::Live);
    assert_eq!(life(json!([FINALIZER]), json!("2026-01-01T00:00:00Z")), Life::Deleting);
    assert_eq!(life(json!([]), json!("2026-01-01T00:00:00Z")), Life::Gone);
}
