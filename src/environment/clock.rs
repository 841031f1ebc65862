//! The clock by which leases are judged, which is never the wall clock; and the wall clock, which people read.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

thread_local! {
    static WALL: Cell<Option<Timestamp>> = const { Cell::new(None) };
}

/// A monotonic clock. Its epoch is of no meaning; two clocks of different processes must not be compared.
#[derive(Clone, Debug)]
pub enum Clock {
    /// `CLOCK_BOOTTIME`. The common monotonic clock stops while a machine is suspended: a replica on a laptop that
    /// was shut, or in a virtual machine that was frozen, would believe its gate still open.
    Boot,
    /// Tokio's clock, which tests pause.
    Tokio(Instant),
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

/// What the wall clock shows. No lease is judged by it.
pub fn wall() -> Timestamp {
    WALL.get().unwrap_or_else(Timestamp::now)
}

/// From now on, the wall clock of this thread stands at `time`. For a simulation.
pub fn set_wall(time: Timestamp) {
    WALL.set(Some(time));
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
        let clock = Clock::Tokio(Instant::now());
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(clock.now(), Duration::from_secs(60));
    }
}
