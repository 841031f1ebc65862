//! How long a watch waits before it is opened again.

use std::time::Duration;

use kube::runtime::utils::Backoff;
use tokio::time::Instant;

use crate::environment::random;

/// How long to wait before a broken watch is opened again: 100 ms, doubling to 5 s. An API server that comes back after an
/// outage should not wait for us, and the whole fleet should not overrun it at once.
pub(crate) struct WatchBackoff {
    longest: Duration,
    next: Duration,
    last: Option<Instant>,
}

const SHORTEST: Duration = Duration::from_millis(100);
pub(super) const LONGEST: Duration = Duration::from_secs(5);

impl WatchBackoff {
    /// One that waits no longer than this.
    pub(crate) fn up_to(longest: Duration) -> Self {
        Self { longest, next: SHORTEST, last: None }
    }
}

impl Iterator for WatchBackoff {
    type Item = Duration;
    fn next(&mut self) -> Option<Duration> {
        let now = Instant::now();
        let quiet = self.longest * 3;
        if self.last.replace(now).is_some_and(|last| now - last > quiet) {
            self.next = SHORTEST;
        }
        let wait = self.next;
        self.next = (wait * 2).min(self.longest);
        Some(wait.mul_f64(random::random_range(0.5..1.0)))
    }
}

impl Backoff for WatchBackoff {
    /// kube calls this with every event that is no error, and its watcher says `Init` before each list that is refused. So
    /// only time without an error starts the backoff anew.
    fn reset(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn backoff_grows_while_errors_come_and_begins_anew_after_quiet() {
        let mut backoff = WatchBackoff::up_to(LONGEST);
        let mut waits = Vec::new();
        for _ in 0..10 {
            backoff.reset();
            let wait = backoff.next().unwrap();
            tokio::time::advance(wait).await;
            waits.push(wait);
        }
        assert!(waits[0] <= SHORTEST && waits[9] >= LONGEST / 2 && waits.iter().all(|wait| *wait <= LONGEST));
        tokio::time::advance(LONGEST * 4).await;
        assert!(backoff.next().unwrap() <= SHORTEST);
    }
}
