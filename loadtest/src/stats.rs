//! Figures of many times.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How long single copies took, in seconds. The k-th percentile is the smallest time that k percent do not exceed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Latency {
    /// The fastest.
    pub min: f64,
    /// Half of them took no longer.
    pub p50: f64,
    /// 90 % took no longer.
    pub p90: f64,
    /// 99 % took no longer.
    pub p99: f64,
    /// The slowest.
    pub max: f64,
}

impl Latency {
    /// The figures of these times.
    pub fn of(times: impl IntoIterator<Item = Duration>) -> Self {
        let seconds = sorted(times);
        let [min, p50, p90, p99, max] = [0.0, 0.5, 0.9, 0.99, 1.0].map(|share| percentile(&seconds, share));
        Self { min, p50, p90, p99, max }
    }
}

/// The times in which each hundredth of all had come, in seconds, from the first to the last.
pub fn hundredths(times: impl IntoIterator<Item = Duration>) -> Vec<f32> {
    let seconds = sorted(times);
    (1..=100).map(|share| percentile(&seconds, f64::from(share) / 100.0) as f32).collect()
}

/// In seconds, the shortest first.
fn sorted(times: impl IntoIterator<Item = Duration>) -> Vec<f64> {
    let mut seconds: Vec<f64> = times.into_iter().map(|time| time.as_secs_f64()).collect();
    seconds.sort_unstable_by(f64::total_cmp);
    seconds
}

/// Of a sorted list, by nearest rank.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

/// The one in the middle; between the two in the middle of an even number.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let (low, high) = ((sorted.len().saturating_sub(1)) / 2, sorted.len() / 2);
    let at = |place: usize| sorted.get(place).copied().unwrap_or_default();
    (at(low) + at(high)) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_were_seen() {
        let latency = Latency::of((1..=1000).rev().map(Duration::from_secs));
        assert_eq!(latency, Latency { min: 1.0, p50: 500.0, p90: 900.0, p99: 990.0, max: 1000.0 });
        assert_eq!(Latency::of([Duration::from_secs(7)]).p50, 7.0);
        assert_eq!(Latency::of([]), Latency::default());
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!([median(&[3.0, 1.0, 2.0]), median(&[4.0, 1.0, 2.0, 3.0]), median(&[])], [2.0, 2.5, 0.0]);
    }
}
