//! Tests of `parse.rs`.

use super::*;
use crate::kubernetes::leases::format;
use crate::leadership::Request;
use rstest::rstest;
use serde_json::{Value, json};

const UID: &str = "11111111-2222-3333-4444-555555555555";

fn parsed(name: &str, annotations: Value, spec: Value) -> (Option<Record>, usize) {
    let lease = serde_json::from_value(json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": { "name": name, "uid": UID, "resourceVersion": "7", "annotations": annotations },
        "spec": spec,
    }))
    .unwrap();
    let mut parser = Parser::default();
    let record = parser.record(&lease);
    assert_eq!(parser.record(&lease), record);
    (record, parser.said.len())
}

#[rstest]
#[case(json!({}), Holder::Cleared, None, 2)]
#[case(json!({ "holderIdentity": "", "leaseDurationSeconds": -10 }), Holder::Cleared, None, 2)]
#[case(json!({ "holderIdentity": "joe", "leaseDurationSeconds": 10, "renewTime": "9999-12-31T23:59:59.999999Z" }),
    Holder::Named(SessionName::new("joe")), Some(Duration::from_secs(10)), 0)]
#[case(json!({ "holderIdentity": "../configmaps#", "leaseDurationSeconds": 10 }),
    Holder::Cleared, Some(Duration::from_secs(10)), 2)]
#[case(json!({ "holderIdentity": 5, "leaseDurationSeconds": "ten" }), Holder::Cleared, None, 2)]
#[case(json!({ "holderIdentity": "joe", "leaseDurationSeconds": 99_999_999 }),
    Holder::Named(SessionName::new("joe")), None, 1)]
fn nonsense_in_a_shard_s_lease_is_said_once(
    #[case] spec: Value,
    #[case] holder: Holder,
    #[case] lease: Option<Duration>,
    #[case] said: usize,
) {
    let (record, complaints) = parsed("configmapsync-shard-07", json!({}), spec);
    let shard = Shard::new(7).unwrap();
    let version = Version::parse(UID, "7").unwrap();
    assert_eq!(record, Some(Record::Shard(ShardRecord { shard, version, lease, holder })));
    assert_eq!(complaints, said);
}

#[test]
fn nonsense_in_a_session_s_lease_is_a_session_still() {
    let (record, complaints) = parsed("configmapsync-session-x", Value::Null, json!({ "renewTime": 5 }));
    let Some(Record::Session(session)) = record else { panic!("{record:?}") };
    assert_eq!((session.phase, session.renewal, session.lease), (Phase::Live, 0, None));
    assert_eq!(complaints, 4);
}

#[rstest]
#[case("configmapsync-fleet-leader")]
#[case("configmapsync-shard-64")]
#[case("configmapsync-shard-7")]
#[case("configmapsync-shard-+7")]
fn other_leases_are_none_of_ours(#[case] name: &str) {
    assert_eq!(parsed(name, json!({}), json!({})).0, None);
}

#[test]
fn the_seed_s_operator_is_known_by_its_lease() {
    let spec = json!({ "holderIdentity": "", "leaseDurationSeconds": 15 });
    let lease = Some(Duration::from_secs(15));
    assert_eq!(parsed(PREDECESSOR, json!({}), spec), (Some(Record::Predecessor { rv: 7, lease }), 0));
}

#[test]
fn what_is_written_is_read_back() {
    let (version, name, shard) = (Version::parse(UID, "3").unwrap(), SessionName::new("a-1"), Shard::new(7).unwrap());
    let lease = Duration::from_secs(10);
    let session = SessionRecord { name: name.clone(), version, lease: Some(lease), phase: Phase::Ended, renewal: 9 };
    let held = |holder| Record::Shard(ShardRecord { shard, version, lease: Some(lease), holder });
    for (request, record) in [
        (
            Request::Renew { name: name.clone(), version, renewal: 9, phase: Phase::Leaving },
            Record::Session(SessionRecord { phase: Phase::Leaving, ..session.clone() }),
        ),
        (Request::EndSession(session.clone()), Record::Session(session)),
        (Request::TakeShard(shard, version, name.clone()), held(Holder::Named(name.clone()))),
        (Request::ReleaseShard(shard, version, name.clone()), held(Holder::Released(name))),
    ] {
        let written = format::lease(&request, lease, jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(Parser::default().record(&written), Some(record), "{written:?}");
    }
}
