//! The time that a change of a source takes: from the event that told of it to the last copy that this replica owes it.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::time::Instant;

use crate::telemetry::instruments;

/// One change of one source. Every key that is woken by it holds a share; when the last one is dropped, all copies
/// are there, and the time is told, unless one of them gave up.
#[derive(Debug)]
pub struct Fanout {
    since: Instant,
    /// Whether any copy was written for it: an event that changed no content is no fan-out.
    wrote: AtomicBool,
    given_up: AtomicBool,
}

impl Fanout {
    /// A change that was just seen.
    pub fn start() -> Self {
        Self { since: Instant::now(), wrote: AtomicBool::new(false), given_up: AtomicBool::new(false) }
    }

    /// A copy has it.
    pub fn reached_copy(&self) {
        self.wrote.store(true, Ordering::Relaxed);
        metrics::histogram!(instruments::PROPAGATION_SECONDS).record(self.since.elapsed().as_secs_f64());
    }

    /// A copy will have it some other time, or from another replica.
    pub fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
    }
}

impl Drop for Fanout {
    fn drop(&mut self) {
        if *self.wrote.get_mut() && !*self.given_up.get_mut() {
            metrics::histogram!(instruments::FANOUT_DURATION_SECONDS).record(self.since.elapsed().as_secs_f64());
        }
    }
}
