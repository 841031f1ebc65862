//! How many writes may be in flight, and how many a second. The number adapts to the server: an answer "too many
//! requests" halves it, slow answers shrink it, answers in time let it grow again, one by one. What is in flight beyond
//! what the server is at work on only makes others wait, and how many that is, no replica can know: it depends on the
//! server, and on all the other replicas.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::instruments;

/// One halving covers all answers that were on their way when it happened.
const COOL_DOWN: Duration = Duration::from_millis(500);
/// An answer is slow that took longer than this, and longer than so many times the fastest one: a server may be far.
const SLOW: Duration = Duration::from_millis(100);
const SLOWER_THAN_FASTEST: u32 = 4;
/// What a slow answer takes off the limit, as a share of it.
const SHRINK: f64 = 0.03;
/// Slow answers alone do not bring it below this.
const FEW: f64 = 4.0;

/// Hands out permits for writes.
#[derive(Clone)]
pub struct Limiter {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    freed: Notify,
    most: usize,
}

struct State {
    /// How many may be in flight; between 1 and `most`. Fractions add up to the next whole one.
    limit: f64,
    in_flight: usize,
    fastest: Duration,
    cooling_until: Option<Instant>,
}

/// The right to have one key's requests in flight. Given back when dropped.
pub struct Permit {
    shared: Arc<Shared>,
}

impl Limiter {
    /// At most `most` (at least 1) in flight.
    pub fn new(most: usize) -> Self {
        let most = most.max(1);
        let state = State { limit: most as f64, in_flight: 0, fastest: Duration::MAX, cooling_until: None };
        let limiter = Self { shared: Arc::new(Shared { state: Mutex::new(state), freed: Notify::new(), most }) };
        metrics::gauge!(instruments::WRITERS_LIMIT).set(most as f64);
        limiter
    }

    /// Waits until one more may be in flight.
    pub async fn acquire(&self) -> Permit {
        loop {
            let freed = self.shared.freed.notified();
            {
                let mut state = self.shared.lock();
                if state.in_flight < state.limit as usize {
                    state.in_flight += 1;
                    return Permit { shared: self.shared.clone() };
                }
            }
            freed.await;
        }
    }

    /// An answer came, after this time.
    pub fn answered(&self, took: Duration) {
        let mut state = self.shared.lock();
        let before = state.limit as usize;
        state.fastest = state.fastest.min(took);
        if took > SLOW.max(state.fastest.saturating_mul(SLOWER_THAN_FASTEST)) {
            state.limit = state.limit.min(FEW).max(state.limit * (1.0 - SHRINK));
        } else {
            state.limit = (state.limit + 1.0 / state.limit).min(self.shared.most as f64);
        }
        let now = state.limit as usize;
        drop(state);
        if now != before {
            metrics::gauge!(instruments::WRITERS_LIMIT).set(now as f64);
        }
        if now > before {
            self.shared.freed.notify_one();
        }
    }

    /// The server is busy, or our own heartbeat is slow: half as many from now on.
    pub fn halve(&self) {
        let mut state = self.shared.lock();
        let now = Instant::now();
        if state.cooling_until.is_none_or(|until| until <= now) {
            state.limit = (state.limit / 2.0).max(1.0);
            state.cooling_until = Some(now + COOL_DOWN);
            metrics::gauge!(instruments::WRITERS_LIMIT).set(state.limit.floor());
        }
    }

    /// How many may be in flight now.
    pub fn limit(&self) -> usize {
        self.shared.lock().limit as usize
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // Nothing can panic while it is held, so a poisoned lock holds a whole state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.in_flight -= 1;
        drop(state);
        self.shared.freed.notify_one();
    }
}

/// Spaces writes so that no more than so many a second are sent.
pub struct Rate {
    gap: Option<Duration>,
    next: Mutex<Instant>,
}

impl Rate {
    /// `per_second`: `None` for no cap.
    pub fn new(per_second: Option<std::num::NonZeroU32>) -> Self {
        let gap = per_second.map(|n| Duration::from_secs(1) / n.get());
        Self { gap, next: Mutex::new(Instant::now()) }
    }

    /// Waits for this write's turn.
    pub async fn turn(&self) {
        let Some(gap) = self.gap else { return };
        let turn = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let turn = (*next).max(Instant::now());
            *next = turn + gap;
            turn
        };
        tokio::time::sleep_until(turn).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn busy_answers_halve_it_once_and_answers_in_time_bring_it_back() {
        let limiter = Limiter::new(32);
        limiter.halve();
        limiter.halve();
        assert_eq!(limiter.limit(), 16);
        tokio::time::advance(COOL_DOWN).await;
        limiter.halve();
        assert_eq!(limiter.limit(), 8);
        for _ in 0..2_000 {
            limiter.answered(SLOW);
        }
        assert_eq!(limiter.limit(), 32);
    }

    #[test]
    fn slow_answers_shrink_it_to_a_few_unless_the_server_is_far() {
        let limiter = Limiter::new(32);
        limiter.answered(Duration::from_millis(5));
        for _ in 0..32 {
            limiter.answered(SLOW * 2);
        }
        assert!((10..16).contains(&limiter.limit()), "a third, after as many as were out: {}", limiter.limit());
        for _ in 0..1_000 {
            limiter.answered(SLOW * 2);
        }
        assert_eq!(limiter.limit(), FEW as usize);
        limiter.halve();
        limiter.answered(SLOW * 2);
        assert_eq!(limiter.limit(), 2, "busy is less than slow");
        for _ in 0..2_000 {
            limiter.answered(SLOW);
        }
        assert_eq!(limiter.limit(), 32);
        let far = Limiter::new(32);
        (0..100).for_each(|_| far.answered(SLOW * 3));
        assert_eq!(far.limit(), 32);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_the_limit_are_out_and_each_one_comes_back() {
        let limiter = Limiter::new(2);
        let (first, _second) = (limiter.acquire().await, limiter.acquire().await);
        assert!(tokio::time::timeout(Duration::from_secs(1), limiter.acquire()).await.is_err());
        drop(first);
        assert!(tokio::time::timeout(Duration::from_secs(1), limiter.acquire()).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_is_kept_over_a_second() {
        let rate = Rate::new(std::num::NonZeroU32::new(10));
        let start = Instant::now();
        for _ in 0..21 {
            rate.turn().await;
        }
        assert_eq!(start.elapsed(), Duration::from_secs(2));
    }
}
