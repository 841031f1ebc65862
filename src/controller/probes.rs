//! What the probes ask: whether the streams are listed and fresh, and whether the dispatcher goes round.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::controller::health::Health;
use crate::controller::ingest::Progress;
use crate::kubernetes::client::Pulses;
use crate::leadership::Tenures;

/// A stream that said nothing for this long is not fresh: the server sends a bookmark about every minute, and a
/// watch that is silent for 100 s is opened again.
const STALE: Duration = Duration::from_secs(180);
/// A loop that has not ticked for this long is stuck.
pub(super) const STUCK: Duration = Duration::from_secs(60);

pub(super) type Streams = Vec<(&'static str, Arc<Progress>)>;

/// What the probes ask.
pub(super) struct Vitals {
    streams: Mutex<Option<(Streams, Pulses)>>,
    pub(super) tenures: Mutex<Option<Tenures>>,
    start: Instant,
    /// When the dispatcher last went round, in milliseconds since the start; 0 before it began.
    ticked: AtomicU64,
}

impl Vitals {
    pub(super) fn new() -> Self {
        Self { streams: Mutex::default(), tenures: Mutex::default(), start: Instant::now(), ticked: AtomicU64::new(0) }
    }

    pub(super) fn watch(&self, streams: Streams, pulses: Pulses) {
        *self.streams.lock().unwrap_or_else(PoisonError::into_inner) = Some((streams, pulses));
    }

    /// Nothing is dispatched before all is listed; that takes as long as it takes.
    pub(super) fn begin_anew(&self) {
        self.ticked.store(0, Ordering::Relaxed);
    }

    pub(super) fn tick(&self) {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.ticked.store(now.max(1), Ordering::Relaxed);
    }

    pub(super) fn report_to(self: Arc<Self>, health: &Health) {
        let vitals = self.clone();
        health.live("loops", move || {
            let last = vitals.ticked.load(Ordering::Relaxed);
            let age = vitals.start.elapsed().saturating_sub(Duration::from_millis(last));
            if last == 0 || age < STUCK {
                return Ok(());
            }
            Err(format!("the dispatcher has not ticked for {} s", age.as_secs()))
        });
        let vitals = self.clone();
        health.ready("streams", move || vitals.streams_are_fresh());
        health.ready("leases", move || {
            let tenures = self.tenures.lock().unwrap_or_else(PoisonError::into_inner);
            tenures.as_ref().and_then(Tenures::lacks).map_or(Ok(()), Err)
        });
    }

    pub(super) fn streams_are_fresh(&self) -> Result<(), String> {
        let streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((streams, pulses)) = &*streams else { return Err("not opened yet".to_owned()) };
        for (name, progress) in streams {
            let trouble = progress.trouble().map(|trouble| format!(": {trouble}")).unwrap_or_default();
            if !progress.is_listed() {
                return Err(format!("{name} are not listed yet{trouble}"));
            }
            if progress.is_refused() {
                return Err(format!("{name} cannot be followed{trouble}"));
            }
            let age = pulses.age(name);
            if age > STALE {
                return Err(format!("nothing was heard of {name} for {} s{trouble}", age.as_secs()));
            }
        }
        Ok(())
    }
}
