//! What the probes ask: whether the watches are listed and fresh, and whether the dispatcher ticks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::controller::health::Health;
use crate::controller::leadership::Leadership;
use crate::controller::observe::Progress;
use crate::kubernetes::client::WatchActivity;

/// A watch that said nothing for this long is not fresh: the server sends a bookmark about every minute, and a
/// watch that is silent for 100 s is opened again.
const STALE: Duration = Duration::from_secs(180);
/// A loop that has not ticked for this long is stuck.
pub(super) const STUCK: Duration = Duration::from_secs(60);

pub(super) type Watches = Vec<(&'static str, Arc<Progress>)>;

/// What the probes ask.
pub(super) struct Probes {
    watches: Mutex<Option<(Watches, WatchActivity)>>,
    pub(super) leadership: Mutex<Option<Leadership>>,
    start: Instant,
    /// When the dispatcher last ticked, in milliseconds since the start; 0 before it began.
    ticked: AtomicU64,
}

impl Probes {
    pub(super) fn new() -> Self {
        Self {
            watches: Mutex::default(),
            leadership: Mutex::default(),
            start: Instant::now(),
            ticked: AtomicU64::new(0),
        }
    }

    pub(super) fn watch(&self, watches: Watches, activity: WatchActivity) {
        *self.watches.lock() = Some((watches, activity));
    }

    /// The dispatcher does not tick before all is listed, which may take long.
    pub(super) fn begin_anew(&self) {
        self.ticked.store(0, Ordering::Relaxed);
    }

    pub(super) fn tick(&self) {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.ticked.store(now.max(1), Ordering::Relaxed);
    }

    pub(super) fn report_to(self: Arc<Self>, health: &Health) {
        let probes = self.clone();
        health.live("loops", move || {
            let last = probes.ticked.load(Ordering::Relaxed);
            let age = probes.start.elapsed().saturating_sub(Duration::from_millis(last));
            if last == 0 || age < STUCK {
                return Ok(());
            }
            Err(format!("the dispatcher has not ticked for {} s", age.as_secs()))
        });
        let probes = self.clone();
        health.ready("streams", move || probes.streams_are_fresh());
        health.ready("leases", move || {
            let leadership = self.leadership.lock();
            leadership.as_ref().and_then(Leadership::lacks).map_or(Ok(()), Err)
        });
    }

    pub(super) fn streams_are_fresh(&self) -> Result<(), String> {
        let watches = self.watches.lock();
        let Some((watches, activity)) = &*watches else { return Err("not opened yet".to_owned()) };
        for (name, progress) in watches {
            let cause = progress.failure().map(|error| format!(": {error}")).unwrap_or_default();
            if !progress.is_listed() {
                return Err(format!("{name} are not listed yet{cause}"));
            }
            if progress.is_refused() {
                return Err(format!("{name} cannot be followed{cause}"));
            }
            let age = activity.age(name);
            if age > STALE {
                return Err(format!("nothing was heard of {name} for {} s{cause}", age.as_secs()));
            }
        }
        Ok(())
    }
}
