//! How long to wait before something is tried again: the seed's table.

use std::time::Duration;

/// The longest wait between two attempts.
pub const LONGEST: Duration = Duration::from_secs(600);
/// A missing source is looked for again this often. A safety net: its creation is seen at once.
pub const SOURCE_MISSING: Duration = Duration::from_secs(300);
/// With `sourceMissingPolicy: Delete` a missing source is asked for once more after this time, so that a source that
/// is replaced (deleted and created again) does not take a thousand copies along.
pub const SOURCE_MISSING_TWICE: Duration = Duration::from_secs(10);
/// A copy whose object goes, and that another object wants, is left for that one to take over for this time.
pub const TAKE_OVER: Duration = Duration::from_secs(10);
/// A copy whose sync nobody saw go is swept after this time.
pub const SWEEP: Duration = Duration::from_secs(300);

/// Which waits: they depend on what failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Schedule {
    /// Reading, or writing the sync itself: from 30 s.
    Api,
    /// Writing the copy: from 1 min.
    Write,
}

/// How long to wait after the `attempt`th failure in a row (the first is 1): doubling, 10 min at most.
pub fn after(schedule: Schedule, attempt: u32) -> Duration {
    let first = Duration::from_secs(match schedule {
        Schedule::Api => 30,
        Schedule::Write => 60,
    });
    first.saturating_mul(1 << attempt.saturating_sub(1).min(10)).min(LONGEST)
}

/// How long to wait after the `attempt`th conflict (409) or lost race in a row: these are no failures, and the next
/// event mostly comes first. From 50 ms, 10 s at most.
pub fn after_conflict(attempt: u32) -> Duration {
    Duration::from_millis(50).saturating_mul(1 << attempt.saturating_sub(1).min(8)).min(Duration::from_secs(10))
}

/// How long to leave a copy alone that somebody keeps changing, after the `times`th repair too many (the first is 0): 10 s,
/// a minute, then 5 minutes each time.
pub fn contested(times: u32) -> Duration {
    Duration::from_secs(match times {
        0 => 10,
        1 => 60,
        _ => 300,
    })
}

/// `wait`, longer by up to a tenth, so that what failed together is not tried again together. `dice`: 0 to 1.
pub fn jittered(wait: Duration, dice: f64) -> Duration {
    wait.mul_f64(1.0 + dice.clamp(0.0, 1.0) / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(Schedule::Api, &[30, 60, 120, 240, 480, 600, 600])]
    #[case(Schedule::Write, &[60, 120, 240, 480, 600, 600])]
    fn the_seeds_table(#[case] schedule: Schedule, #[case] seconds: &[u64]) {
        let waits: Vec<u64> = (1..).take(seconds.len()).map(|attempt| after(schedule, attempt).as_secs()).collect();
        assert_eq!(waits, seconds);
        assert_eq!(after(schedule, u32::MAX), LONGEST);
    }

    #[test]
    fn short_waits_stay_in_bounds() {
        assert_eq!(after_conflict(1), Duration::from_millis(50));
        assert_eq!(after_conflict(u32::MAX), Duration::from_secs(10));
        assert_eq!(contested(0), Duration::from_secs(10));
        assert_eq!(contested(u32::MAX), Duration::from_secs(300));
        assert_eq!(jittered(Duration::from_secs(10), 1.0), Duration::from_secs(11));
    }
}
