//! The time that a change of a source or of a namespace takes: from the event that told of it to the last copy that this replica
//! owes it.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::time::Instant;

use crate::telemetry::instruments;

/// One change. Every key that is woken by it holds a share; when the last one is dropped, all copies
/// are there, and the time is told, unless one of them gave up.
#[derive(Debug)]
pub struct Fanout {
    since: Instant,
    /// The histogram of the time to each copy.
    each: Option<&'static str>,
    /// The histogram of the time to the last copy.
    last: &'static str,
    /// Whether any copy was written for it: an event that changed no content is no fan-out.
    wrote: AtomicBool,
    given_up: AtomicBool,
}

impl Fanout {
    /// A change of a source that was just seen.
    pub fn of_source() -> Self {
        Self::start(Some(instruments::PROPAGATION_SECONDS), instruments::FANOUT_DURATION_SECONDS)
    }

    /// A namespace that was just seen to come, or to change.
    pub fn of_namespace() -> Self {
        Self::start(None, instruments::NAMESPACE_SYNC_DURATION_SECONDS)
    }

    fn start(each: Option<&'static str>, last: &'static str) -> Self {
        Self { since: Instant::now(), each, last, wrote: AtomicBool::new(false), given_up: AtomicBool::new(false) }
    }

    /// A copy has it.
    pub fn reached_copy(&self) {
        self.wrote.store(true, Ordering::Relaxed);
        if let Some(each) = self.each {
            metrics::histogram!(each).record(self.since.elapsed().as_secs_f64());
        }
    }

    /// A copy will have it some other time, or from another replica.
    pub fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
    }
}

impl Drop for Fanout {
    fn drop(&mut self) {
        if *self.wrote.get_mut() && !*self.given_up.get_mut() {
            metrics::histogram!(self.last).record(self.since.elapsed().as_secs_f64());
        }
    }
}
