//! Writing Leases: names, labels and annotations, and the whole object for each request.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{ApiResource, DynamicObject};
use serde_json::{Map, Value, json};

use crate::api::names::{LABEL_MANAGED_BY, MANAGED_BY, PREFIX};
use crate::leadership::{Phase, Request, SessionName};
use crate::rules::shard::Shard;
use crate::rules::uid::Version;

/// Names of session Leases begin so; the session's identity follows.
pub(super) const SESSION: &str = "configmapsync-session-";
/// Names of shard Leases begin so; two digits follow.
pub(super) const SHARD: &str = "configmapsync-shard-";

/// Annotations, after the prefix of all our names.
pub(super) const PHASE: &str = "phase";
pub(super) const RENEWAL: &str = "renewal";
pub(super) const RELEASED_BY: &str = "released-by";
pub(super) const CREATED_BY: &str = "created-by";
pub(super) const NOTE: &str = "refusals";
pub(super) const DIGEST: &str = "copies";

/// The longest identity: kube-leader-election uses it as a field manager, which may have 128 characters, and the
/// number of the session may follow it.
const LONGEST_NAME: usize = 100;

/// The identity of a replica that starts now: what people call it, cut to what the name of a Lease can hold, and a
/// random end, so that a process that comes back under its old name is another session.
pub fn identity(name: &str, random: u32) -> String {
    let clean: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .take(LONGEST_NAME)
        .collect();
    let clean = clean.trim_matches('-');
    format!("{}-{random:08x}", if clean.is_empty() { "replica" } else { clean })
}

pub(super) fn session_lease(name: &SessionName) -> String {
    format!("{SESSION}{name}")
}

pub(super) fn shard_lease(shard: Shard) -> String {
    format!("{SHARD}{shard}")
}

pub(super) fn annotation(name: &str) -> String {
    format!("{PREFIX}{name}")
}

fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Live => "live",
        Phase::Leaving => "leaving",
        Phase::Ended => "ended",
    }
}

pub(super) fn phase(text: &str) -> Option<Phase> {
    [Phase::Live, Phase::Leaving, Phase::Ended].into_iter().find(|phase| phase_name(*phase) == text)
}

/// The Lease that a request writes. The time of a renewal is for people: no replica judges by it.
pub(super) fn lease(request: &Request, lease: Duration, now: jiff::Timestamp) -> DynamicObject {
    match request {
        Request::CreateSession { name, renewal } => session(name, None, Phase::Live, *renewal, lease, now),
        Request::Renew { name, version, renewal, phase } => session(name, Some(*version), *phase, *renewal, lease, now),
        Request::EndSession(ended) => {
            let at = Some(ended.version);
            session(&ended.name, at, Phase::Ended, ended.renewal, ended.lease.unwrap_or(lease), now)
        }
        Request::LookAtSession(name) => session(name, None, Phase::Live, 0, lease, now),
        Request::CreateShard(of, by) => shard(*of, None, Mark::Created(by), lease, now),
        Request::TakeShard(of, version, by) => shard(*of, Some(*version), Mark::Held(by), lease, now),
        Request::ReleaseShard(of, version, by) => shard(*of, Some(*version), Mark::Released(by), lease, now),
    }
}

fn session(
    name: &SessionName,
    at: Option<Version>,
    phase: Phase,
    renewal: u64,
    lease: Duration,
    now: jiff::Timestamp,
) -> DynamicObject {
    let mut spec = spec(lease, now);
    spec.insert("holderIdentity".to_owned(), name.as_str().into());
    let annotations = [(PHASE, phase_name(phase).to_owned()), (RENEWAL, renewal.to_string())];
    object(session_lease(name), at, "session", &annotations, spec)
}

/// What a shard's Lease says about a session.
enum Mark<'a> {
    Created(&'a SessionName),
    Held(&'a SessionName),
    Released(&'a SessionName),
}

fn shard(of: Shard, at: Option<Version>, mark: Mark<'_>, lease: Duration, now: jiff::Timestamp) -> DynamicObject {
    let mut spec = spec(lease, now);
    let annotations = match mark {
        Mark::Created(by) => vec![(CREATED_BY, by.to_string())],
        Mark::Released(by) => vec![(RELEASED_BY, by.to_string())],
        Mark::Held(by) => {
            spec.insert("holderIdentity".to_owned(), by.as_str().into());
            spec.insert("acquireTime".to_owned(), micro_time(now).into());
            vec![]
        }
    };
    object(shard_lease(of), at, "shard", &annotations, spec)
}

fn spec(lease: Duration, now: jiff::Timestamp) -> Map<String, Value> {
    let mut spec = Map::new();
    spec.insert("leaseDurationSeconds".to_owned(), lease.as_secs().into());
    spec.insert("renewTime".to_owned(), micro_time(now).into());
    spec
}

/// As metav1.MicroTime wants it: exactly six digits.
fn micro_time(now: jiff::Timestamp) -> String {
    format!("{now:.6}")
}

fn object(
    name: String,
    at: Option<Version>,
    kind: &str,
    annotations: &[(&str, String)],
    spec: Map<String, Value>,
) -> DynamicObject {
    let mut object = DynamicObject::new(&name, &ApiResource::erase::<Lease>(&()));
    object.metadata.uid = at.map(|at| at.uid.to_string());
    object.metadata.resource_version = at.map(|at| at.rv.to_string());
    object.metadata.labels =
        Some([(annotation("lease"), kind.to_owned()), (LABEL_MANAGED_BY.to_owned(), MANAGED_BY.to_owned())].into());
    object.metadata.annotations =
        Some(annotations.iter().map(|(name, value)| (annotation(name), value.clone())).collect());
    object.data = json!({ "spec": spec });
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("manager-7d9c-x2x", "manager-7d9c-x2x-0000abcd")]
    #[case("Some.Host_1", "some-host-1-0000abcd")]
    #[case("…", "replica-0000abcd")]
    fn an_identity_names_a_lease(#[case] name: &str, #[case] expected: &str) {
        assert_eq!(identity(name, 0xabcd), expected);
    }

    #[test]
    fn a_long_name_is_cut() {
        let identity = identity(&"long-".repeat(60), u32::MAX);
        assert!(identity.len() + SESSION.len() + "-18446744073709551615".len() <= 253);
        assert!(identity.len() <= 128 && identity.starts_with("long-long-") && identity.ends_with("-ffffffff"));
    }
}
