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
fn the_copy_of_an_object_with_many_is_told_by_its_namespace() {
    let sent = json!({
        "metadata": { "resourceVersion": "5", "name": "many", "annotations": {
            ANNOTATION_SYNC: "/many/99999999-2222-3333-4444-555555555555", ANNOTATION_AT: format!("{UID}/many"),
            ANNOTATION_SOURCE: "chaos/many/uid/4",
        } },
        "data": load::content("many", 3),
    });
    let place = ("many-1".to_owned(), "many".to_owned());
    let put = request("update", "configmaps", ("many-1", "many"), sent, version("6"));
    let written = What::Copy { place, sync: Some(UID.to_owned()), edition: Some(3), version: 6 };
    assert_eq!(what(&put).map(|(_, event)| event.what), Some(written));
    let labelled = |labels: Value| {
        let answer = json!({ "metadata": { "name": "many-1", "uid": UID, "resourceVersion": "7", "labels": labels } });
        what(&request("patch", "namespaces", ("", "many-1"), Value::Null, answer)).unwrap().1.what
    };
    let sync = |life| What::Sync { uid: UID.to_owned(), source: "many".to_owned(), life };
    assert_eq!(labelled(json!({ "chaos.kapendra.com/many": "yes" })), sync(Life::Live));
    assert_eq!(labelled(json!({})), sync(Life::Gone));
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
