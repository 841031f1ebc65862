//! Our own session: its renewals, what has come back of them, and the gate that follows.

use std::collections::VecDeque;
use std::time::Duration;

use crate::leadership::message::{Answer, Loss, Request};
use crate::leadership::record::{Phase, SessionName, SessionRecord};
use crate::leadership::timing::Timing;
use crate::rules::uid::Version;

/// How many renewals are remembered that have not come back. The gates of older ones are long closed.
const REMEMBERED: usize = 8;

/// Our own session.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct OwnSession {
    pub(super) name: SessionName,
    pub(super) phase: Phase,
    /// The Lease, once it is known to exist: the highest version of it that was answered or seen.
    pub(super) lease: Option<Version>,
    /// When the renewals were sent whose events have not come back, oldest first.
    pub(super) sent: VecDeque<(u64, Duration)>,
    /// The number of the last renewal sent.
    pub(super) last: u64,
    /// The highest renewal known to have been done.
    pub(super) done: u64,
    /// When the last renewal was sent whose event has come back. The gate counts from here.
    pub(super) confirmed: Option<Duration>,
    /// A request is out, and was sent when this was the highest resourceVersion seen of any Lease.
    pub(super) in_flight: Option<u64>,
    /// A renewal met a conflict: look before anything else.
    in_doubt: bool,
    /// When the next renewal is due.
    pub(super) due: Duration,
    /// No request is sent before this, since the last one failed.
    pub(super) retry: Duration,
    /// The watch is not asked to begin again before this.
    pub(super) rewatch: Duration,
    /// The version when the watch last began to list: what it lists must not be older.
    pub(super) floor: Option<Version>,
}

impl OwnSession {
    pub(super) fn new(name: SessionName, now: Duration) -> Self {
        Self {
            name,
            phase: Phase::Live,
            lease: None,
            sent: VecDeque::new(),
            last: 0,
            done: 0,
            confirmed: None,
            in_flight: None,
            in_doubt: false,
            due: now,
            retry: now,
            rewatch: now,
            floor: None,
        }
    }

    /// Until when a request may be sent under our gate; `None` while no renewal has come back.
    pub(super) fn gate(&self, timing: &Timing) -> Option<Duration> {
        self.confirmed.map(|sent| sent + timing.open_for())
    }

    /// Says from now on that we are leaving, at once.
    pub(super) fn leave(&mut self, now: Duration) {
        self.phase = Phase::Leaving;
        self.due = now;
    }

    /// The next request of our own session, if it is due.
    pub(super) fn next_request(&mut self, now: Duration, timing: &Timing, highest: u64) -> Option<Request> {
        if self.in_flight.is_some() || now < self.due || now < self.retry {
            return None;
        }
        self.in_flight = Some(highest);
        if self.in_doubt {
            return Some(Request::LookAtSession(self.name.clone()));
        }
        self.due = now + timing.period;
        self.last += 1;
        if self.sent.len() == REMEMBERED {
            self.sent.pop_front();
        }
        self.sent.push_back((self.last, now));
        let (name, renewal) = (self.name.clone(), self.last);
        Some(match self.lease {
            None => Request::CreateSession { name, renewal },
            Some(version) => Request::Renew { name, version, renewal, phase: self.phase },
        })
    }

    /// The request that ends our session, as soon as none is out.
    pub(super) fn end_request(&mut self, now: Duration, timing: &Timing, highest: u64) -> Option<Request> {
        if self.in_flight.is_some() || now < self.retry {
            return None;
        }
        let version = self.lease?;
        self.in_flight = Some(highest);
        if self.in_doubt {
            return Some(Request::LookAtSession(self.name.clone()));
        }
        Some(Request::EndSession(SessionRecord {
            name: self.name.clone(),
            version,
            lease: Some(timing.lease),
            phase: Phase::Ended,
            renewal: self.last,
        }))
    }

    /// The answer to a request of our own session.
    pub(super) fn answered(
        &mut self,
        now: Duration,
        timing: &Timing,
        request: &Request,
        answer: Answer,
    ) -> Result<(), Loss> {
        let before = self.in_flight.take();
        match (request, answer) {
            // A version that is not above the highest one before the request: etcd counts anew.
            (_, Answer::Done(version)) if before.is_some_and(|before| version.rv <= before) => Err(Loss::Restored),
            (Request::CreateSession { renewal, .. } | Request::Renew { renewal, .. }, Answer::Done(version)) => {
                self.learn(version, *renewal);
                Ok(())
            }
            (Request::CreateSession { .. } | Request::Renew { .. } | Request::EndSession(_), Answer::Conflict) => {
                self.in_doubt = true;
                self.due = now;
                Ok(())
            }
            (Request::LookAtSession(_), Answer::Found(record)) => {
                self.in_doubt = false;
                self.due = now;
                self.shown(&record)
            }
            (Request::LookAtSession(_), Answer::Missing) => Err(Loss::Restored),
            _ => {
                self.due = now;
                self.retry = now + timing.period / 4;
                Ok(())
            }
        }
    }

    /// What a GET found: an answer to us was lost, somebody edited the Lease, or the session is over.
    fn shown(&mut self, record: &SessionRecord) -> Result<(), Loss> {
        if self.lease.is_some_and(|lease| lease.uid == record.version.uid && record.version.rv < lease.rv) {
            return Err(Loss::Restored);
        }
        self.seen(record)
    }

    /// An event of our own Lease, or what a list or a GET found.
    pub(super) fn seen(&mut self, record: &SessionRecord) -> Result<(), Loss> {
        if self.lease.is_some_and(|lease| lease.uid != record.version.uid) {
            return Err(Loss::Deleted);
        }
        if record.phase == Phase::Ended {
            return Err(Loss::Ended);
        }
        if self.lease.is_some_and(|lease| lease.rv >= record.version.rv) {
            return Ok(());
        }
        // It is newer than anything we know. Only renewals of ours have such numbers. Somebody who edits another field leaves
        // the last number as it is, and the session goes on from there: the next renewal proves that nobody ended it.
        if record.renewal < self.done || record.renewal > self.last {
            return Err(Loss::Changed);
        }
        self.learn(record.version, record.renewal);
        Ok(())
    }

    fn learn(&mut self, version: Version, renewal: u64) {
        let known = self.lease.map_or(0, |lease| lease.rv);
        self.lease = Some(Version { rv: known.max(version.rv), ..version });
        self.done = self.done.max(renewal);
    }

    /// The watch has shown this renewal, so it has shown all changes before it too.
    pub(super) fn confirm(&mut self, renewal: u64) {
        while let Some((number, sent)) = self.sent.front().copied().filter(|(number, _)| *number <= renewal) {
            if number == renewal {
                self.confirmed = self.confirmed.max(Some(sent));
            }
            self.sent.pop_front();
        }
    }

    /// Whether a renewal was done long ago and its event has not come back: the watch hangs.
    pub(super) fn wants_rewatch(&mut self, now: Duration, timing: &Timing) -> bool {
        let overdue = self
            .sent
            .front()
            .is_some_and(|(number, sent)| *number <= self.done && now >= *sent + timing.period * 3 / 2);
        let wants = overdue && now >= self.rewatch;
        if wants {
            self.rewatch = now + timing.lease;
        }
        wants
    }
}
