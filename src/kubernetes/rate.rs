//! How many writes may be sent a second.

use std::time::Duration;

use tokio::time::Instant;

/// Spaces writes, so that no more than `per_second` are sent, in the order in which they come.
pub struct Rate {
    gap: Option<Duration>,
    /// When the next write may be sent. The write that waits for it holds the lock, which is given in order.
    next: tokio::sync::Mutex<Instant>,
}

/// How often a write that waits for its turn checks whether there is still something to wait for.
const LOOK: Duration = Duration::from_millis(100);

impl Rate {
    /// `per_second`: `None` for no cap.
    pub fn new(per_second: Option<std::num::NonZeroU32>) -> Self {
        let gap = per_second.map(|n| Duration::from_secs(1) / n.get());
        Self { gap, next: tokio::sync::Mutex::new(Instant::now()) }
    }

    /// Waits for this write's turn, or until it `is_off`: then no other write waits for it.
    pub async fn turn(&self, is_off: impl Fn() -> bool) {
        let Some(gap) = self.gap else { return };
        let mut next = self.next.lock().await;
        while Instant::now() < *next {
            if is_off() {
                return;
            }
            tokio::time::sleep_until((*next).min(Instant::now() + LOOK)).await;
        }
        *next = Instant::now() + gap;
    }
}

#[cfg(test)]
#[path = "tests/rate.rs"]
mod tests;
