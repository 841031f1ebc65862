//! The times of coordination, all derived from the lease duration so that they always fit each other.

use std::time::Duration;

/// The shortest lease: below it, the whole seconds of a Lease and the latency of an API server leave no room.
const SHORTEST: Duration = Duration::from_secs(1);

/// The longest lease, and the longest duration in a record that is believed: what is dead blocks its shards this long.
pub const LONGEST: Duration = Duration::from_secs(600);

/// The times by which sessions are kept, judged and written under.
///
/// With a lease of duration D: renewals every D/5, requests of the writers end within 2/5 D, the margin is D/10. So
/// the gate is open until D/2 after the last renewal that came back, and one lost renewal (two periods and a latency
/// between two that arrive) does not close it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Timing {
    /// How long after its last change a session is judged to have ended.
    pub lease: Duration,
    /// The time between two renewals.
    pub period: Duration,
    /// The time within which each request of a writer has to end.
    pub request: Duration,
    /// The time within which each request to a Lease has to end.
    pub lease_request: Duration,
    /// What the gate adds for the drift of clocks and for the time a request may lie in network buffers, since
    /// `?timeout=` counts from receipt.
    pub margin: Duration,
    /// After this time any replica may take a free shard, whichever replica it was meant for.
    pub anyone: Duration,
}

impl Timing {
    /// Derives all times from the lease duration, or says in a sentence why that cannot be.
    ///
    /// # Errors
    /// The duration is not in whole seconds (a Lease stores whole seconds), too short or too long.
    pub fn new(lease: Duration) -> Result<Self, String> {
        if lease.subsec_nanos() != 0 {
            return Err(format!("the lease duration must be in whole seconds, as a Lease stores it, but is {lease:?}"));
        }
        if !(SHORTEST..=LONGEST).contains(&lease) {
            return Err(format!("the lease duration must be from {SHORTEST:?} to {LONGEST:?}, but is {lease:?}"));
        }
        Ok(Self {
            lease,
            period: lease / 5,
            request: lease * 2 / 5,
            lease_request: lease / 5,
            margin: lease / 10,
            anyone: lease / 5,
        })
    }

    /// How long after a renewal was sent the gate stays open: `lease - request - margin`.
    pub fn open_for(&self) -> Duration {
        self.lease.saturating_sub(self.request).saturating_sub(self.margin)
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(10),
            period: Duration::from_secs(2),
            request: Duration::from_secs(4),
            lease_request: Duration::from_secs(2),
            margin: Duration::from_secs(1),
            anyone: Duration::from_secs(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[test]
    fn the_default_is_ten_seconds() {
        assert_eq!(Timing::new(Duration::from_secs(10)), Ok(Timing::default()));
    }

    #[rstest]
    #[case(Duration::ZERO, "must be from 1s to 600s")]
    #[case(Duration::from_millis(1500), "whole seconds")]
    #[case(Duration::from_secs(601), "must be from 1s to 600s")]
    fn nonsense_is_refused_with_a_sentence(#[case] lease: Duration, #[case] says: &str) {
        let refusal = Timing::new(lease).unwrap_err();
        assert!(refusal.contains(says), "{refusal}");
    }

    #[rstest]
    fn one_lost_renewal_never_closes_the_gate(#[values(1, 2, 3, 10, 15, 60, 600)] seconds: u64) {
        let timing = Timing::new(Duration::from_secs(seconds)).unwrap();
        assert!(timing.open_for() > 2 * timing.period);
        assert!(timing.open_for() + timing.request + timing.margin <= timing.lease);
    }
}
