//! Reading Leases. A Lease with a malformed field is still a Lease: the field is logged once and left out, and the protocol waits
//! for as long as the lease could last.

use std::collections::HashSet;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::DynamicObject;
use tracing::warn;

use crate::api::dns::is_subdomain;
use crate::kubernetes::leases::format::{CREATED_BY, PHASE, RELEASED_BY, RENEWAL, SESSION, SHARD, annotation, phase};
use crate::leadership::{Holder, LONGEST, Phase, Record, SessionName, SessionRecord, ShardRecord};
use crate::rules::shard::Shard;
use crate::rules::uid::Version;

/// The Lease of the seed's operator, which may still run when ours is started beside it.
const PREDECESSOR: &str = "3fe4c69f.kapendra.com";

/// How many complaints are remembered. Then all are forgotten, and may be logged once more.
const REMEMBERED: usize = 1000;

/// Reads Leases and complains once about each nonsense in each.
#[derive(Debug, Default)]
pub struct Parser {
    said: HashSet<(String, &'static str)>,
}

/// The version of an object with these metadata.
pub fn version(metadata: &ObjectMeta) -> Option<Version> {
    Version::parse(metadata.uid.as_deref()?, metadata.resource_version.as_deref()?)
}

fn mark<'a>(lease: &'a DynamicObject, name: &str) -> Option<&'a str> {
    lease.metadata.annotations.as_ref()?.get(&annotation(name)).map(String::as_str).filter(|text| !text.is_empty())
}

fn holder(lease: &DynamicObject) -> Option<&str> {
    lease.data["spec"]["holderIdentity"].as_str().filter(|holder| !holder.is_empty())
}

impl Parser {
    /// What a Lease says; `None` when it is none of the fleet's sessions and shards.
    pub fn record(&mut self, lease: &DynamicObject) -> Option<Record> {
        let name = lease.metadata.name.as_deref()?;
        if name.starts_with(SESSION) {
            self.session(lease).map(Record::Session)
        } else if name.starts_with(SHARD) {
            self.shard(lease).map(Record::Shard)
        } else if name == PREDECESSOR {
            let Version { rv, .. } = version(&lease.metadata)?;
            Some(Record::Predecessor { rv, lease: self.duration(lease) })
        } else {
            None
        }
    }

    /// What a session's Lease says.
    pub fn session(&mut self, lease: &DynamicObject) -> Option<SessionRecord> {
        let name = SessionName::new(lease.metadata.name.as_deref()?.strip_prefix(SESSION)?);
        let version = version(&lease.metadata)?;
        if holder(lease) != Some(name.as_str()) {
            self.complain(lease, "a session's Lease does not name its session as its holder");
        }
        let phase = mark(lease, PHASE).and_then(phase).unwrap_or_else(|| {
            self.complain(
                lease,
                "a session's Lease does not say whether it lives; taken for live until its time is up",
            );
            Phase::Live
        });
        let renewal = mark(lease, RENEWAL).and_then(|text| text.parse().ok()).unwrap_or_else(|| {
            self.complain(lease, "a session's Lease has no number of its renewal");
            0
        });
        Some(SessionRecord { name, version, lease: self.duration(lease), phase, renewal })
    }

    fn shard(&mut self, lease: &DynamicObject) -> Option<ShardRecord> {
        let number = lease.metadata.name.as_deref()?.strip_prefix(SHARD)?;
        let shard = Some(number)
            .filter(|number| number.len() == 2 && number.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|number| Shard::new(number.parse().ok()?));
        let Some(shard) = shard else {
            self.complain(lease, "a Lease with the name of a shard that does not exist; left alone");
            return None;
        };
        let version = version(&lease.metadata)?;
        let named = [holder(lease), mark(lease, RELEASED_BY)];
        if named.iter().flatten().any(|name| !is_subdomain(name)) {
            self.complain(lease, "a shard's Lease names something that is no session; waited out");
        }
        let [holder, released] = named.map(|name| name.filter(|name| is_subdomain(name)));
        let holder = match (holder, released) {
            (Some(holder), _) => Holder::Named(SessionName::new(holder)),
            (None, Some(by)) => Holder::Released(SessionName::new(by)),
            (None, None) if mark(lease, CREATED_BY).is_some() => Holder::Cleared,
            (None, None) => {
                self.complain(lease, "a shard's Lease has no holder and nobody released it; waited out");
                Holder::Cleared
            }
        };
        Some(ShardRecord { shard, version, lease: self.duration(lease), holder })
    }

    fn duration(&mut self, lease: &DynamicObject) -> Option<Duration> {
        let seconds = lease.data["spec"]["leaseDurationSeconds"].as_u64();
        let duration = seconds.map(Duration::from_secs).filter(|lease| !lease.is_zero() && *lease <= LONGEST);
        if duration.is_none() {
            self.complain(lease, "a Lease without a sensible duration; our own stands in");
        }
        duration
    }

    fn complain(&mut self, lease: &DynamicObject, what: &'static str) {
        let name = lease.metadata.name.as_deref().unwrap_or_default();
        let uid = lease.metadata.uid.as_deref().unwrap_or_default();
        if self.said.len() >= REMEMBERED {
            self.said.clear();
        }
        if self.said.insert((format!("{name}/{uid}"), what)) {
            warn!(lease = name, cause = what, "a Lease is not in the form that replicas write");
        }
    }
}

#[cfg(test)]
#[path = "tests/parse.rs"]
mod tests;
