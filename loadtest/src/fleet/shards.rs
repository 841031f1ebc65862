//! Who holds which shard, as the Leases tell anyone who asks.

use configmapsync_operator::core::shard::SHARDS;
use k8s_openapi::api::coordination::v1::Lease;

/// The Leases of shards are named so; two digits follow.
const LEASE: &str = "configmapsync-shard-";

/// The holder of each shard: the name of a session, if its Lease names one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shards {
    holders: Vec<Option<String>>,
}

impl Shards {
    pub(super) fn of(leases: &[Lease]) -> Self {
        let mut holders = vec![None; SHARDS];
        for lease in leases {
            let number =
                lease.metadata.name.as_deref().and_then(|name| name.strip_prefix(LEASE)?.parse::<usize>().ok());
            if let Some(place) = number.and_then(|number| holders.get_mut(number)) {
                let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone());
                *place = holder.filter(|holder| !holder.is_empty());
            }
        }
        Self { holders }
    }

    /// The holder of each shard, in order.
    pub fn holders(&self) -> impl Iterator<Item = Option<&str>> {
        self.holders.iter().map(Option::as_deref)
    }

    /// How many shards the replica of this name holds.
    pub fn held_by(&self, replica: &str) -> usize {
        self.holders().flatten().filter(|holder| is_session_of(holder, replica)).count()
    }

    /// How many shards nobody holds.
    pub fn unheld(&self) -> usize {
        self.holders().filter(Option::is_none).count()
    }

    /// The names of all sessions that hold shards.
    pub fn sessions(&self) -> Vec<String> {
        let mut sessions: Vec<String> = self.holders.iter().flatten().cloned().collect();
        sessions.sort();
        sessions.dedup();
        sessions
    }

    /// One character a shard, in order: the last character of its holder's replica's name (`replica-1-0123abcd` gives
    /// `1`), or a dot.
    pub fn map(&self) -> String {
        let letter = |holder: Option<&str>| {
            let number = holder.and_then(|holder| holder.strip_prefix("replica-")?.split('-').next()?.chars().last());
            number.unwrap_or(if holder.is_some() { '?' } else { '.' })
        };
        self.holders().map(letter).collect()
    }
}

/// Whether a session is one of the replica of this name: an end for the process, and perhaps one for the session, follow.
pub(super) fn is_session_of(session: &str, replica: &str) -> bool {
    session.strip_prefix(replica).is_some_and(|rest| rest.starts_with('-'))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::coordination::v1::LeaseSpec;

    use super::*;

    fn lease(name: &str, holder: Option<&str>) -> Lease {
        let mut lease = Lease::default();
        lease.metadata.name = Some(name.to_owned());
        lease.spec = Some(LeaseSpec { holder_identity: holder.map(str::to_owned), ..LeaseSpec::default() });
        lease
    }

    #[test]
    fn leases_tell_who_holds_what() {
        let shards = Shards::of(&[
            lease("configmapsync-shard-00", Some("replica-1-0123abcd")),
            lease("configmapsync-shard-63", Some("replica-12-0123abcd")),
            lease("configmapsync-shard-01", None),
            lease("configmapsync-shard-02", Some("")),
            lease("configmapsync-session-replica-1-0123abcd", Some("replica-1-0123abcd")),
            lease("configmapsync-shard-64", Some("replica-1-0123abcd")),
        ]);
        assert_eq!((shards.held_by("replica-1"), shards.held_by("replica-12"), shards.unheld()), (1, 1, 62));
        assert_eq!(shards.map(), format!("1{}2", ".".repeat(62)));
        assert_eq!(shards.sessions(), ["replica-1-0123abcd", "replica-12-0123abcd"]);
    }
}
