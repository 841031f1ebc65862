//! The clock by which leases are judged. Never the wall clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A monotonic clock. Its epoch is of no meaning; two clocks of different processes must not be compared.
#[derive(Clone, Debug)]
pub enum Clock {
    /// `CLOCK_BOOTTIME`. The common monotonic clock stops while a machine is suspended: a replica on a laptop that
    /// was shut, or in a virtual machine that was frozen, would believe its gate still open.
    Boot,
    /// Tokio's clock, which tests pause.
    Tokio(tokio::time::Instant),
    /// Nanoseconds that a test sets by hand.
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// The time now, since this clock's epoch.
    pub fn now(&self) -> Duration {
        match self {
            Self::Boot => {
                let time = clock_gettime(ClockId::Boottime);
                Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
            }
            Self::Tokio(epoch) => epoch.elapsed(),
            Self::Manual(nanos) => Duration::from_nanos(nanos.load(Ordering::SeqCst)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_clock_runs() {
        let before = Clock::Boot.now();
        std::thread::sleep(Duration::from_millis(2));
        assert!(Clock::Boot.now() >= before + Duration::from_millis(2));
    }

    #[tokio::test(start_paused = true)]
    async fn tokio_s_clock_follows_paused_time() {
        let clock = Clock::Tokio(tokio::time::Instant::now());
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(clock.now(), Duration::from_secs(60));
    }
}
