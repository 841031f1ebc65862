//! What is done in which round: a pure function of the seed.

use std::fmt;
use std::time::Duration;

use configmapsync_operator::rules::shard::SHARDS;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};

/// Each replica's number is below this, and the fleet is never larger.
pub const MOST: usize = 5;
/// The fleet begins with so many, and is never smaller.
pub const FEWEST: usize = 3;

/// How far a wall clock is moved.
const MINUTES: i32 = 50;

/// How the network between a replica and the API server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    /// As it should be.
    Fair,
    /// Every piece, in both directions, comes so much later.
    Delay(Duration),
    /// Connections are closed, and new ones at once.
    Closed,
    /// Nothing comes through until it is fair again; then all that was on its way arrives.
    Held,
    /// Requests arrive; answers wait until it is fair again, and are lost then.
    HalfOpen,
    /// Each new request is answered with this status and not passed on.
    Refused(u16),
}

/// How long something lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// So long.
    For(Duration),
    /// Until others begin to take the replica's shards, and not a moment longer: what it sent before meets them at work.
    UntilTaken,
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::For(time) => write!(f, "for {}", seconds(time)),
            Self::UntilTaken => f.write_str("until others take over"),
        }
    }
}

fn seconds(time: &Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// What a hand does to the fleet's Leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hand {
    /// Clears the holder of a shard.
    Clear,
    /// Names a holder that nobody knows.
    Foreign,
    /// Names another replica of the fleet.
    Rename,
    /// Deletes a shard's Lease.
    DeleteShard,
    /// Deletes a session's Lease.
    DeleteSession,
    /// Deletes all.
    DeleteAll,
}

/// What is done in one round. Replicas and shards are given by number, times by their length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL; started again after a while.
    Kill(usize, Duration),
    /// SIGSTOP, and SIGCONT after longer than a lease, in the middle of a fan-out.
    Pause(usize, Span),
    /// The network of one replica.
    Network(usize, Weather, Span),
    /// The API server is killed, and started again after a while.
    ApiServer(Duration),
    /// The same with etcd.
    Etcd(Duration),
    /// A hand in the Leases: of the shard, or of the replica that has it.
    Leases(Hand, usize),
    /// The wall clock of a replica jumps by minutes, and back.
    Clock(usize, i32, Duration),
    /// One replica more.
    Up(usize),
    /// One less, by SIGTERM.
    Down(usize),
}

impl Fault {
    /// A word for the table of all rounds.
    pub fn kind(&self) -> String {
        match self {
            Self::Kill(..) => "kill".to_owned(),
            Self::Pause(..) => "pause".to_owned(),
            Self::Network(_, weather, _) => match weather {
                Weather::Fair => "network, fair".to_owned(),
                Weather::Delay(_) => "network, delay".to_owned(),
                Weather::Closed => "network, closed".to_owned(),
                Weather::Held => "network, held".to_owned(),
                Weather::HalfOpen => "network, half-open".to_owned(),
                Weather::Refused(status) => format!("network, {status}"),
            },
            Self::ApiServer(_) => "API server".to_owned(),
            Self::Etcd(_) => "etcd".to_owned(),
            Self::Leases(hand, _) => match hand {
                Hand::Clear => "Leases, cleared".to_owned(),
                Hand::Foreign => "Leases, foreign".to_owned(),
                Hand::Rename => "Leases, renamed".to_owned(),
                Hand::DeleteShard => "Leases, shard deleted".to_owned(),
                Hand::DeleteSession => "Leases, session deleted".to_owned(),
                Hand::DeleteAll => "Leases, all deleted".to_owned(),
            },
            Self::Clock(..) => "clock".to_owned(),
            Self::Up(_) => "scale up".to_owned(),
            Self::Down(_) => "scale down".to_owned(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(replica, away) => write!(f, "replica-{replica} killed, again after {}", seconds(away)),
            Self::Pause(replica, span) => write!(f, "replica-{replica} stopped {span}"),
            Self::Network(replica, weather, span) => {
                write!(f, "replica-{replica} {span}: ")?;
                match weather {
                    Weather::Fair => f.write_str("network as it is"),
                    Weather::Delay(delay) => write!(f, "network slower by {}", seconds(delay)),
                    Weather::Closed => f.write_str("connections closed"),
                    Weather::Held => f.write_str("nothing comes through"),
                    Weather::HalfOpen => f.write_str("answers lost"),
                    Weather::Refused(status) => write!(f, "answered {status}"),
                }
            }
            Self::ApiServer(away) => write!(f, "API server killed, again after {}", seconds(away)),
            Self::Etcd(away) => write!(f, "etcd killed, again after {}", seconds(away)),
            Self::Leases(hand, shard) => match hand {
                Hand::Clear => write!(f, "shard {shard}: holder cleared"),
                Hand::Foreign => write!(f, "shard {shard}: holder unknown"),
                Hand::Rename => write!(f, "shard {shard}: another replica named"),
                Hand::DeleteShard => write!(f, "shard {shard}: Lease deleted"),
                Hand::DeleteSession => write!(f, "session with shard {shard}: Lease deleted"),
                Hand::DeleteAll => f.write_str("all Leases deleted"),
            },
            Self::Clock(replica, minutes, time) => {
                write!(f, "replica-{replica}: wall clock {minutes:+} min for {}", seconds(time))
            }
            Self::Up(replica) => write!(f, "replica-{replica} started"),
            Self::Down(replica) => write!(f, "replica-{replica} ended"),
        }
    }
}

/// The kinds of faults, each with its equal share of the rounds.
const KINDS: usize = 19;

/// The rounds. Kinds come as from a deck of cards that is shuffled anew when it is used up.
pub fn plan(seed: u64, rounds: usize, lease: Duration) -> Vec<Fault> {
    let mut dice = StdRng::seed_from_u64(seed);
    let mut running: Vec<usize> = (1..=FEWEST).collect();
    let mut deck = Vec::new();
    (0..rounds)
        .map(|_| {
            if deck.is_empty() {
                deck = (0..KINDS).collect();
                deck.shuffle(&mut dice);
            }
            fault(deck.pop().unwrap_or_default(), &mut running, &mut dice, lease)
        })
        .collect()
}

fn fault(kind: usize, running: &mut Vec<usize>, dice: &mut StdRng, lease: Duration) -> Fault {
    let victim = running[dice.random_range(0..running.len())];
    let shard = dice.random_range(0..SHARDS);
    let any = lease.mul_f64(dice.random_range(0.1..1.6));
    let long = lease.mul_f64(dice.random_range(1.1..1.6));
    let span = if dice.random() { Span::UntilTaken } else { Span::For(long) };
    let network = |weather| Fault::Network(victim, weather, Span::For(long));
    let hand = |hand| Fault::Leases(hand, shard);
    match kind {
        0 => Fault::Kill(victim, any),
        1 | 2 => Fault::Pause(victim, span),
        3 => network(Weather::Delay(lease.mul_f64(dice.random_range(0.05..0.3)))),
        4 => network(Weather::Closed),
        5 => Fault::Network(victim, Weather::Held, span),
        6 => network(Weather::HalfOpen),
        7 => network(Weather::Refused(429)),
        8 => network(Weather::Refused(503)),
        9 => Fault::ApiServer(any),
        10 => Fault::Etcd(any),
        11 => hand([Hand::Clear, Hand::Foreign][dice.random_range(0..2)]),
        12 => hand(Hand::Rename),
        13 => hand([Hand::DeleteShard, Hand::DeleteSession][dice.random_range(0..2)]),
        14 => hand(Hand::DeleteAll),
        15 => Fault::Clock(victim, MINUTES, long),
        16 => Fault::Clock(victim, -MINUTES, long),
        _ if running.len() == FEWEST || running.len() < MOST && dice.random() => {
            let replica = (1..=MOST).find(|number| !running.contains(number)).unwrap_or(MOST);
            running.push(replica);
            Fault::Up(replica)
        }
        _ => {
            running.retain(|replica| *replica != victim);
            Fault::Down(victim)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const LEASE: Duration = Duration::from_secs(4);

    #[test]
    fn a_seed_says_it_all() {
        assert_eq!(plan(7, 50, LEASE), plan(7, 50, LEASE));
        assert_ne!(plan(7, 50, LEASE), plan(8, 50, LEASE));
        assert_eq!(plan(7, 6, LEASE), plan(7, 50, LEASE)[..6], "more rounds begin with the same");
    }

    #[test]
    fn every_kind_comes_up_and_the_fleet_keeps_its_size() {
        let mut running: BTreeSet<usize> = (1..=FEWEST).collect();
        let mut kinds = BTreeSet::new();
        for fault in plan(1, 500, LEASE) {
            kinds.insert(fault.kind());
            match fault {
                Fault::Up(replica) => assert!(running.insert(replica)),
                Fault::Down(replica) => assert!(running.remove(&replica)),
                Fault::Kill(replica, _) | Fault::Pause(replica, _) | Fault::Network(replica, ..) => {
                    assert!(running.contains(&replica));
                }
                _ => {}
            }
            assert!((FEWEST..=MOST).contains(&running.len()));
        }
        assert_eq!(kinds.len(), 19, "{kinds:?}");
    }
}
