//! How many writes may be in flight. The number adapts to the server: an answer "too many
//! requests" halves it, slow answers shrink it, answers in time let it grow again, one by one. Requests beyond
//! the server's capacity only queue there. A replica cannot know that capacity: it depends on the server and on the other
//! replicas.
//!
//! What most namespaces show is the server's doing. What few of them show is their own (an admission webhook, a quota),
//! and is no evidence here. Silence is the server's only while the heartbeat is silent too.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ahash::RandomState;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::telemetry::instruments;

/// One halving covers all answers that were on their way when it happened.
const COOL_DOWN: Duration = Duration::from_millis(500);
/// An answer is slow if it took longer than this, and longer than this multiple of the fastest one. The second bound allows for a
/// distant server.
const SLOW: Duration = Duration::from_millis(100);
const SLOWER_THAN_FASTEST: u32 = 4;
/// What a slow answer takes off the limit, as a share of it.
const SHRINK: f64 = 0.03;
/// Slow answers alone do not bring it below this.
const FEW: f64 = 4.0;
/// The fastest answer is forgotten after one to two times this: the server may have moved away.
const FASTEST_WITHIN: Duration = Duration::from_secs(30);
/// How many namespaces are remembered, each by its last answer, and for how long.
const NAMESPACES: usize = 64;
const REMEMBERED_FOR: Duration = Duration::from_secs(30);
/// A write is late when it has waited for this multiple of the usual answer, and at least this long. It then holds no permit.
const LATE: u32 = 8;
const LATE_AT_LEAST: Duration = Duration::from_millis(300);
/// How many late writes, as a multiple of the permits, may be in flight beside the writes that hold a permit.
const LATE_WRITES: usize = 4;

/// Hands out permits for writes.
#[derive(Clone)]
pub struct Limiter {
    shared: Arc<Inner>,
}

struct Inner {
    state: Mutex<State>,
    freed: Notify,
    most: usize,
    hasher: RandomState,
}

struct State {
    /// How many may be in flight; between 1 and `most`. Fractions add up to the next whole one.
    limit: f64,
    in_flight: usize,
    /// Late writes, which gave their permit back.
    late: usize,
    fastest: Fastest,
    recent: VecDeque<Sign>,
    /// When the last heartbeat was sent that was answered in time.
    heartbeat: Option<Instant>,
    cooling_until: Option<Instant>,
}

/// The last answer to a write in one namespace.
#[derive(Clone, Copy)]
struct Sign {
    namespace: u64,
    at: Instant,
    /// How long it took; [`Duration::MAX`] where the write was turned away or failed.
    took: Duration,
}

/// The fastest answer of this period and of the one before.
struct Fastest {
    since: Instant,
    now: Duration,
    before: Duration,
}

/// The right to have one key's request in flight. Given back when dropped.
pub struct Permit {
    shared: Arc<Inner>,
    late: bool,
}

impl Limiter {
    /// At most `most` (at least 1) in flight.
    pub fn new(most: usize) -> Self {
        let most = most.max(1);
        let fastest = Fastest { since: Instant::now(), now: Duration::MAX, before: Duration::MAX };
        let state = State {
            limit: most as f64,
            in_flight: 0,
            late: 0,
            fastest,
            recent: VecDeque::with_capacity(NAMESPACES),
            heartbeat: None,
            cooling_until: None,
        };
        // The same seeds in every process: decisions must not depend on chance (`environment/random.rs`).
        let hasher = RandomState::with_seeds(11, 13, 17, 19);
        let limiter = Self { shared: Arc::new(Inner { state: Mutex::new(state), freed: Notify::new(), most, hasher }) };
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
                    return Permit { shared: self.shared.clone(), late: false };
                }
            }
            freed.await;
        }
    }

    /// An answer to a write in `namespace` came, after this time.
    pub fn answered(&self, namespace: &str, took: Duration) {
        let namespace = self.shared.hasher.hash_one(namespace);
        let mut state = self.shared.lock();
        let before = state.limit as usize;
        let now = Instant::now();
        state.fastest.note(now, took);
        state.note(Sign { namespace, at: now, took });
        let slow = SLOW.max(state.fastest.get().saturating_mul(SLOWER_THAN_FASTEST));
        if took <= slow {
            state.limit = (state.limit + 1.0 / state.limit).min(self.shared.most as f64);
        } else if state.usual(now) > slow {
            state.limit = state.limit.min(FEW).max(state.limit * (1.0 - SHRINK));
        }
        let limit = state.limit as usize;
        drop(state);
        if limit != before {
            metrics::gauge!(instruments::WRITERS_LIMIT).set(limit as f64);
        }
        if limit > before {
            self.shared.freed.notify_one();
        }
    }

    /// A write in `namespace` was turned away, failed or was not answered. Returns whether only the
    /// namespace fails: otherwise the server does, and half as many are sent from now on.
    pub fn failed(&self, namespace: &str, sent: Instant) -> bool {
        let namespace = self.shared.hasher.hash_one(namespace);
        let mut state = self.shared.lock();
        if state.heartbeat.is_some_and(|heartbeat| heartbeat > sent) {
            return true;
        }
        let now = Instant::now();
        state.note(Sign { namespace, at: now, took: Duration::MAX });
        let confined = state.usual(now) < Duration::MAX;
        if !confined {
            state.halve(now);
        }
        confined
    }

    /// A heartbeat was answered in time; it was sent then.
    pub fn heartbeat(&self, sent: Instant) {
        self.shared.lock().heartbeat = Some(sent);
    }

    /// Whether a heartbeat that was sent since then was answered in time.
    pub fn server_answers_since(&self, then: Instant) -> bool {
        self.shared.lock().heartbeat.is_some_and(|heartbeat| heartbeat > then)
    }

    /// Our own heartbeat is slow, or a connection broke: half as many from now on.
    pub fn halve(&self) {
        self.shared.lock().halve(Instant::now());
    }

    /// After how long a write without an answer is late.
    pub fn patience(&self) -> Duration {
        let usual = self.shared.lock().usual(Instant::now());
        usual.saturating_mul(LATE).max(LATE_AT_LEAST)
    }

    /// How many may be in flight now.
    pub fn limit(&self) -> usize {
        self.shared.lock().limit as usize
    }
}

impl Inner {
    fn lock(&self) -> parking_lot::MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl State {
    fn note(&mut self, sign: Sign) {
        self.recent.retain(|other| other.namespace != sign.namespace);
        if self.recent.len() == NAMESPACES {
            self.recent.pop_front();
        }
        self.recent.push_back(sign);
    }

    /// The median of the last answers of the namespaces; zero where there are none.
    fn usual(&self, now: Instant) -> Duration {
        let mut took = [Duration::ZERO; NAMESPACES];
        let mut known = 0;
        for sign in self.recent.iter().filter(|sign| now - sign.at < REMEMBERED_FOR) {
            took[known] = sign.took;
            known += 1;
        }
        if known == 0 {
            return Duration::ZERO;
        }
        *took[..known].select_nth_unstable(known / 2).1
    }

    fn halve(&mut self, now: Instant) {
        if self.cooling_until.is_none_or(|until| until <= now) {
            self.limit = (self.limit / 2.0).max(1.0);
            self.cooling_until = Some(now + COOL_DOWN);
            metrics::gauge!(instruments::WRITERS_LIMIT).set(self.limit.floor());
        }
    }
}

impl Fastest {
    fn note(&mut self, now: Instant, took: Duration) {
        let age = now - self.since;
        if age >= FASTEST_WITHIN {
            let fresh = age < 2 * FASTEST_WITHIN;
            self.before = if fresh { self.now } else { Duration::MAX };
            self.now = Duration::MAX;
            self.since = now;
        }
        self.now = self.now.min(took);
    }

    fn get(&self) -> Duration {
        self.now.min(self.before)
    }
}

impl Permit {
    /// The write that it was for is late: gives the permit back though the write is in flight, unless there are too many
    /// such writes.
    pub fn give_back_early(&mut self) {
        let mut state = self.shared.lock();
        if self.late || state.late >= LATE_WRITES * self.shared.most {
            return;
        }
        self.late = true;
        state.late += 1;
        state.in_flight -= 1;
        drop(state);
        self.shared.freed.notify_one();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if self.late {
            state.late -= 1;
            return;
        }
        state.in_flight -= 1;
        drop(state);
        self.shared.freed.notify_one();
    }
}

/// The permit of one key at work. A key that waits for a read, or whose write is late, has none.
pub struct Turn {
    limiter: Limiter,
    permit: Option<Permit>,
}

impl Turn {
    /// With a permit already.
    pub fn new(limiter: Limiter, permit: Permit) -> Self {
        Self { limiter, permit: Some(permit) }
    }

    /// Waits for a permit, unless it has one.
    pub async fn take(&mut self) {
        if self.permit.as_ref().is_none_or(|permit| permit.late) {
            self.permit = None;
            self.permit = Some(self.limiter.acquire().await);
        }
    }

    /// Gives the permit back.
    pub fn give_back(&mut self) {
        self.permit = None;
    }

    /// The write in flight is late: see [`Permit::give_back_early`].
    pub fn mark_late(&mut self) {
        if let Some(permit) = &mut self.permit {
            permit.give_back_early();
        }
    }
}

#[cfg(test)]
#[path = "tests/limiter.rs"]
mod tests;
