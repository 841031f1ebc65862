//! Namespaces that are set apart. An admission webhook, a policy or a quota makes writes slow, silent or throttled in the
//! namespaces that it covers, and only there. A replica sends one write at a time to such a namespace, so that this never
//! takes the permits of other namespaces. The first write that is answered in time brings the namespace back.
//!
//! A door is a namespace with a kind of object and a verb: a webhook for deletions says nothing about updates.

use std::sync::Arc;
use std::time::Duration;

use ahash::AHashMap;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::rules::record::Name;
use crate::telemetry::instruments;

/// How long to wait after the first write without an answer; it doubles.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait between two attempts at one door.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// A door without a write for this long is forgotten: the namespace may be gone, or another replica may write to it.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(300);
/// A write that finds another one at the door looks again after this time at the latest; mostly the end of the other wakes it.
const BEHIND_ANOTHER: Duration = Duration::from_secs(10);
/// Admission may take this long by its default, with something on top.
const ADMISSION_DEFAULT: Duration = Duration::from_secs(12);
/// Admission may take this long at the most (`timeoutSeconds: 30`), with something on top.
const ADMISSION_LONGEST: Duration = Duration::from_secs(35);

/// A namespace, a kind of object, a verb.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Door {
    /// The namespace.
    pub namespace: Name,
    /// The resource, as in a URL.
    pub resource: &'static str,
    /// The verb.
    pub verb: &'static str,
}

/// Keys that waited at a door may try again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wake {
    /// All keys that write to this namespace: it is back.
    All(Name),
    /// One of them: the door is free.
    One(Name),
}

/// The doors that are set apart.
#[derive(Clone)]
pub struct Bulkheads {
    shared: Arc<Inner>,
}

struct Inner {
    doors: Mutex<AHashMap<Door, Apart>>,
    wake: mpsc::UnboundedSender<Wake>,
}

/// A door that is set apart.
#[derive(Debug, Default)]
struct Apart {
    /// Writes in flight that are late, or were sent since it was set apart.
    in_flight: u32,
    /// Attempts in a row that were not answered. Writes that were in flight together are one attempt.
    unanswered: u32,
    /// When the last of them ended.
    failed: Option<Instant>,
    /// Not before this time is another one sent.
    next: Option<Instant>,
    /// When a write ended here last.
    last: Option<Instant>,
    /// Whether the log says so.
    logged: bool,
}

/// How a write at a door ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// It was answered in time.
    InTime,
    /// It was answered, and late.
    Late,
    /// It was not answered, or admission failed.
    Unanswered,
    /// The server asked to come back after this time.
    Throttled(Duration),
    /// The failure is not this namespace's.
    NotItsFault,
}

/// A write at a door. To be ended by [`Entry::end`]; one that is dropped was cut short.
pub struct Entry {
    shared: Arc<Inner>,
    door: Door,
    entered: Instant,
    /// Whether it counts among those in flight.
    counted: bool,
    timeout: Option<Duration>,
}

impl Bulkheads {
    /// No namespace is set apart. `wake` wakes the keys that wait at a door.
    pub fn new(wake: mpsc::UnboundedSender<Wake>) -> Self {
        Inner::count(&AHashMap::new());
        Self { shared: Arc::new(Inner { doors: Mutex::default(), wake }) }
    }

    /// Lets a write in, or says how long to wait. `asked`: a person asked for an attempt now; another write that is in
    /// flight is waited for all the same.
    ///
    /// # Errors
    /// How long to wait.
    pub fn enter(&self, door: Door, asked: bool) -> Result<Entry, Duration> {
        let mut doors = self.shared.lock();
        let Some(apart) = doors.get_mut(&door) else {
            return Ok(self.entry(door, false, None));
        };
        if apart.in_flight > 0 {
            return Err(BEHIND_ANOTHER);
        }
        let now = Instant::now();
        if let Some(left) = apart.next.and_then(|next| next.checked_duration_since(now)).filter(|left| !left.is_zero())
            && !asked
        {
            return Err(left);
        }
        apart.in_flight += 1;
        let timeout = match apart.unanswered {
            0 | 1 => ADMISSION_DEFAULT,
            _ => ADMISSION_LONGEST,
        };
        Ok(self.entry(door, true, Some(timeout)))
    }

    fn entry(&self, door: Door, counted: bool, timeout: Option<Duration>) -> Entry {
        Entry { shared: self.shared.clone(), door, entered: Instant::now(), counted, timeout }
    }

    /// Forgets doors without writes. To be called now and then.
    pub fn tidy(&self) {
        let mut doors = self.shared.lock();
        let before = doors.len();
        doors.retain(|_, apart| apart.in_flight > 0 || apart.last.is_none_or(|last| last.elapsed() < FORGOTTEN_AFTER));
        if doors.len() < before {
            Inner::count(&doors);
        }
    }

    /// How long a write at this door would have to wait, if it would have to.
    pub fn wait(&self, door: &Door) -> Option<Duration> {
        let doors = self.shared.lock();
        let apart = doors.get(door)?;
        if apart.in_flight > 0 {
            return Some(BEHIND_ANOTHER);
        }
        apart.next?.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, AHashMap<Door, Apart>> {
        self.doors.lock()
    }

    fn count(doors: &AHashMap<Door, Apart>) {
        let mut namespaces: Vec<&Name> =
            doors.iter().filter(|(_, it)| it.logged).map(|(door, _)| &door.namespace).collect();
        namespaces.sort_unstable();
        namespaces.dedup();
        metrics::gauge!(instruments::NAMESPACES_SET_APART).set(namespaces.len() as f64);
    }

    fn wake(&self, wake: Wake) {
        // The receiver is gone only while the replica goes down.
        let _ = self.wake.send(wake);
    }
}

impl Entry {
    /// For how long an answer is waited for, where that is longer than usual.
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// The write is late: until it ends, no other is sent to this door.
    pub fn mark_late(&mut self) {
        if !std::mem::replace(&mut self.counted, true) {
            self.shared.lock().entry(self.door.clone()).or_default().in_flight += 1;
        }
    }

    /// The write has ended. `why`: in words for people.
    pub fn end(mut self, ended: Ended, why: &str) {
        let mut doors = self.shared.lock();
        let was_apart = doors.contains_key(&self.door);
        match ended {
            // A failure that most namespaces show, or an answer in time at a door that is not set apart.
            Ended::InTime | Ended::NotItsFault if !was_apart => return,
            _ => {}
        }
        let apart = doors.entry(self.door.clone()).or_default();
        if std::mem::take(&mut self.counted) {
            apart.in_flight = apart.in_flight.saturating_sub(1);
        }
        let free = apart.in_flight == 0;
        let now = Instant::now();
        apart.last = Some(now);
        let namespace = self.door.namespace.clone();
        match ended {
            Ended::InTime => {
                let logged = apart.logged;
                doors.remove(&self.door);
                if logged {
                    tracing::info!(
                        namespace = &*namespace,
                        resource = self.door.resource,
                        verb = self.door.verb,
                        "a namespace answers in time again: it is no longer set apart"
                    );
                    Inner::count(&doors);
                }
                self.shared.wake(Wake::All(namespace));
                return;
            }
            Ended::NotItsFault => {
                if !apart.logged && free {
                    doors.remove(&self.door);
                    self.shared.wake(Wake::All(namespace));
                }
                return;
            }
            Ended::Late => (apart.unanswered, apart.next) = (0, None),
            // It was on its way when another one failed, so it tells nothing new.
            Ended::Unanswered if apart.failed.is_some_and(|failed| self.entered < failed) => {}
            Ended::Unanswered => {
                let wait = FIRST_WAIT.saturating_mul(1 << apart.unanswered.min(6)).min(LONGEST_WAIT);
                (apart.unanswered, apart.next) = (apart.unanswered.saturating_add(1), Some(now + wait));
                apart.failed = Some(now);
            }
            Ended::Throttled(wait) => apart.next = Some(now + wait),
        }
        if !std::mem::replace(&mut apart.logged, true) {
            tracing::warn!(
                namespace = &*namespace,
                resource = self.door.resource,
                verb = self.door.verb,
                cause = why,
                "a namespace is set apart: one write at a time is sent to it until one is answered in time"
            );
            Inner::count(&doors);
        }
        if free && ended == Ended::Late {
            self.shared.wake(Wake::One(namespace));
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if !self.counted {
            return;
        }
        let mut doors = self.shared.lock();
        if let Some(apart) = doors.get_mut(&self.door) {
            apart.in_flight = apart.in_flight.saturating_sub(1);
            if !apart.logged && apart.in_flight == 0 {
                doors.remove(&self.door);
            }
        }
    }
}

#[cfg(test)]
#[path = "tests/bulkheads.rs"]
mod tests;
