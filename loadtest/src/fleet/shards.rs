//! Who holds which shard, as the Leases tell anyone who asks.

use anyhow::Context as _;
use configmapsync_operator::rules::shard::SHARDS;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::ListParams;

/// The Leases of shards are named so; two digits follow.
pub const SHARD_LEASE: &str = "configmapsync-shard-";
/// The Leases of sessions are named so; the session's name follows.
pub const SESSION_LEASE: &str = "configmapsync-session-";

/// The holder of each shard: the name of a session, if its Lease names one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shards {
    holders: Vec<Option<String>>,
}

impl Shards {
    /// Asks for the Leases of the operator's namespace.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub async fn read(leases: &Api<Lease>) -> anyhow::Result<Self> {
        let leases = leases.list(&ListParams::default()).await.context("cannot list the Leases")?;
        Ok(Self::of(&leases.items))
    }

    fn of(leases: &[Lease]) -> Self {
        let mut holders = vec![None; SHARDS];
        for lease in leases {
            let number =
                lease.metadata.name.as_deref().and_then(|name| name.strip_prefix(SHARD_LEASE)?.parse::<usize>().ok());
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

    /// Whether every shard has a holder among these replicas, and none among `former`, the names of sessions.
    pub fn all_held_by(&self, replicas: &[String], former: &[String]) -> bool {
        self.holders().all(|holder| {
            holder.is_some_and(|holder| {
                replicas.iter().any(|replica| is_session_of(holder, replica))
                    && !former.iter().any(|name| name == holder)
            })
        })
    }

    /// Whether these replicas hold all shards, and none of them more than one more than another.
    pub fn are_even(&self, replicas: &[String]) -> bool {
        let held = || replicas.iter().map(|replica| self.held_by(replica));
        self.all_held_by(replicas, &[]) && held().max().unwrap_or(0) - held().min().unwrap_or(0) <= 1
    }

    /// One character a shard, in order: the number of its holder among `replicas`, from 1 on and with letters from 10 on; a
    /// dot where nobody holds it, and `x` where one of the sessions `former` still does.
    pub fn map(&self, replicas: &[String], former: &[String]) -> String {
        let letter = |holder: Option<&str>| {
            let Some(holder) = holder else { return '.' };
            if former.iter().any(|name| name == holder) {
                return 'x';
            }
            let place = replicas.iter().position(|replica| is_session_of(holder, replica));
            place.and_then(|place| char::from_digit(u32::try_from(place + 1).ok()?, 36)).unwrap_or('?')
        };
        self.holders().map(letter).collect()
    }
}

/// Whether a session is one of the replica of this name: an end for the process, and perhaps one for the session, follow.
pub fn is_session_of(session: &str, replica: &str) -> bool {
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
        let replicas = ["replica-1", "replica-12"].map(str::to_owned);
        assert_eq!(shards.map(&replicas, &[]), format!("1{}2", ".".repeat(62)));
        assert_eq!(shards.map(&replicas[1..], &["replica-1-0123abcd".to_owned()]), format!("x{}1", ".".repeat(62)));
        assert_eq!(shards.sessions(), ["replica-1-0123abcd", "replica-12-0123abcd"]);
    }

    #[test]
    fn even_is_within_one_and_nobody_else() {
        let replicas = ["replica-1", "replica-2"].map(str::to_owned);
        let held = |first: usize| {
            let holder = |shard| if shard < first { "replica-1-0123abcd" } else { "replica-2-0123abcd" };
            let leases: Vec<Lease> =
                (0..SHARDS).map(|shard| lease(&format!("{SHARD_LEASE}{shard:02}"), Some(holder(shard)))).collect();
            Shards::of(&leases)
        };
        assert!(held(32).are_even(&replicas));
        assert!(!held(33).are_even(&replicas), "31 and 33");
        assert!(!held(32).are_even(&replicas[..1]));
        assert!(!held(32).all_held_by(&replicas, &["replica-2-0123abcd".to_owned()]));
    }
}
