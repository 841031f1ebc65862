//! What the watch has shown of the fleet, and what this replica's own clock makes of it.
//!
//! Whether someone else has ended is judged by when *we* last saw the record change; no time that stands in a record is
//! ever compared with ours.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::leadership::message::GainReason;
use crate::leadership::record::{Holder, Phase, SessionName, SessionRecord, ShardRecord};
use crate::leadership::timing::LONGEST;
use crate::rules::shard::Shard;

/// A session as it was seen.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct SeenSession {
    pub(super) record: SessionRecord,
    /// When it was last seen to change while it had not ended.
    pub(super) changed: Duration,
    /// The longest duration that its records have named. A duration that somebody shortened by hand is not believed.
    pub(super) lease: Duration,
    /// No request to end it is sent before this.
    pub(super) retry: Duration,
}

/// A shard as it was seen.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct SeenShard {
    pub(super) record: Option<ShardRecord>,
    /// The highest resourceVersion seen, that of a deletion included.
    pub(super) highest: u64,
    /// When it was last seen to change, or the session it names was seen to vanish.
    pub(super) changed: Duration,
    /// How long it is waited out unless it was released.
    pub(super) wait: Duration,
    /// No request to take or release it is sent before this.
    pub(super) retry: Duration,
}

/// All sessions and shards as they were seen.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct View {
    /// The duration that is assumed where there is no record, or none with a sensible duration.
    lease: Duration,
    pub(super) sessions: BTreeMap<SessionName, SeenSession>,
    pub(super) shards: Vec<SeenShard>,
    /// The highest resourceVersion of all that was seen.
    pub(super) highest: u64,
    /// The resourceVersion of the predecessor's Lease, once seen.
    predecessor: Option<u64>,
    /// Until when the predecessor is taken to be at work.
    pub(super) preceded: Duration,
    /// When the first list was complete. Nothing is believed before that.
    pub(super) synced: Option<Duration>,
}

impl View {
    pub(super) fn new(lease: Duration, shards: usize) -> Self {
        let shard = SeenShard { record: None, highest: 0, changed: Duration::ZERO, wait: lease, retry: Duration::ZERO };
        Self {
            lease,
            sessions: BTreeMap::new(),
            shards: vec![shard; shards],
            highest: 0,
            predecessor: None,
            preceded: Duration::ZERO,
            synced: None,
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.lease, self.shards.len());
    }

    /// A list is complete. With the first one begins all waiting.
    pub(super) fn listed(&mut self, now: Duration) {
        self.synced.get_or_insert(now);
    }

    /// A record's duration, when it is one that a session of ours can have.
    fn believed(&self, lease: Option<Duration>) -> Duration {
        lease.filter(|lease| !lease.is_zero() && *lease <= LONGEST).unwrap_or(self.lease)
    }

    /// Takes the predecessor's Lease in. A Lease that was left behind and does not change delays nothing.
    pub(super) fn predecessor_seen(&mut self, now: Duration, rv: u64, lease: Option<Duration>) {
        if self.predecessor.replace(rv).is_some_and(|before| before != rv) {
            self.preceded = now + self.believed(lease);
        }
    }

    /// Takes a session's record in, which an event or a list has shown.
    pub(super) fn session_seen(&mut self, now: Duration, record: SessionRecord, listed: bool) {
        self.highest = self.highest.max(record.version.rv);
        let mut lease = self.believed(record.lease);
        let mut changed = now;
        if let Some(seen) = self.sessions.get(&record.name) {
            if seen.record.version.uid == record.version.uid && seen.record.version.rv >= record.version.rv {
                return;
            }
            lease = lease.max(seen.lease);
            // The end of a session is no sign of its life. But a list hides the signs before it: where somebody wrote the end
            // by hand, the session may have been at work just before.
            if record.phase == Phase::Ended && !listed {
                changed = seen.changed;
            }
        }
        let seen = SeenSession { record, changed, lease, retry: Duration::ZERO };
        self.sessions.insert(seen.record.name.clone(), seen);
    }

    /// A session's Lease vanished. Its holder may not know yet: the shards that name it are waited out from now.
    /// `rv` is that of the deletion; `None` when a list does not show it.
    pub(super) fn session_gone(&mut self, now: Duration, name: &SessionName, rv: Option<u64>) {
        self.highest = self.highest.max(rv.unwrap_or(0));
        if self.sessions.get(name).is_some_and(|seen| rv.is_some_and(|rv| seen.record.version.rv > rv)) {
            return;
        }
        let Some(gone) = self.sessions.remove(name) else { return };
        for shard in self.shards.iter_mut().filter(|shard| shard.names(name)) {
            shard.changed = now;
            shard.wait = shard.wait.max(gone.lease);
        }
    }

    /// Takes a shard's record in; false when it is nothing new.
    pub(super) fn shard_seen(&mut self, now: Duration, record: ShardRecord) -> bool {
        self.highest = self.highest.max(record.version.rv);
        let wait = self.wait(record.shard).max(self.believed(record.lease)).max(self.holder_s_lease(&record));
        let Some(seen) = self.shards.get_mut(record.shard.index()) else { return false };
        if record.version.rv <= seen.highest {
            return false;
        }
        *seen =
            SeenShard { highest: record.version.rv, record: Some(record), changed: now, wait, retry: Duration::ZERO };
        true
    }

    /// A shard's Lease vanished; false when that is nothing new. `rv` is that of the deletion; `None` when a list
    /// does not show it: it may be younger than the list, and then an event follows that must be believed.
    pub(super) fn shard_gone(&mut self, now: Duration, shard: Shard, rv: Option<u64>) -> bool {
        self.highest = self.highest.max(rv.unwrap_or(0));
        let wait = self.wait(shard);
        let Some(seen) = self.shards.get_mut(shard.index()) else { return false };
        if seen.record.is_none() || rv.is_some_and(|rv| rv < seen.highest) {
            if rv.is_none() {
                // It may have come and gone since the last list, and its holder may not know yet.
                seen.changed = now;
            }
            return false;
        }
        let highest = rv.unwrap_or(0);
        *seen = SeenShard { record: None, highest, changed: now, wait, retry: Duration::ZERO };
        true
    }

    /// How long a change of this shard, as it stands, has to be waited out.
    fn wait(&self, shard: Shard) -> Duration {
        let record = self.shards.get(shard.index()).and_then(|seen| seen.record.as_ref());
        record.map_or(self.lease, |record| self.believed(record.lease).max(self.holder_s_lease(record)).max(self.lease))
    }

    fn holder_s_lease(&self, record: &ShardRecord) -> Duration {
        match &record.holder {
            Holder::Named(name) => self.sessions.get(name).map_or(Duration::ZERO, |seen| seen.lease),
            _ => Duration::ZERO,
        }
    }

    /// Whether a session's time is up by our clock: it may be ended.
    pub(super) fn is_overdue(&self, now: Duration, seen: &SeenSession) -> bool {
        let Some(synced) = self.synced else { return false };
        seen.record.phase != Phase::Ended && now >= (seen.changed + seen.lease).max(synced + self.lease)
    }

    /// Whether a session lives and is given shards.
    fn takes_shards(&self, now: Duration, seen: &SeenSession) -> bool {
        seen.record.phase == Phase::Live && !self.is_overdue(now, seen)
    }

    /// The sessions that are given shards, in order of their names.
    pub(super) fn takers(&self, now: Duration) -> Vec<SessionName> {
        self.sessions
            .values()
            .filter(|seen| self.takes_shards(now, seen))
            .map(|seen| seen.record.name.clone())
            .collect()
    }

    /// Who each shard names.
    pub(super) fn holders(&self) -> Vec<Option<SessionName>> {
        self.shards
            .iter()
            .map(|seen| match &seen.record.as_ref()?.holder {
                Holder::Named(name) => Some(name.clone()),
                _ => None,
            })
            .collect()
    }

    /// Since when a shard that we do not hold may be taken, which may lie ahead, and how it would come to us. `None`
    /// while it names another session that has not ended.
    pub(super) fn free_since(&self, shard: Shard, me: &SessionName) -> Option<(Duration, GainReason)> {
        let seen = self.shards.get(shard.index())?;
        let waited_out = seen.changed + seen.wait;
        // It can only be created, and a creation gives it to nobody.
        let Some(record) = &seen.record else { return Some((seen.changed, GainReason::Unowned)) };
        match &record.holder {
            Holder::Released(by) => Some((seen.changed, GainReason::Released(by.clone()))),
            Holder::Cleared => Some((waited_out, GainReason::Unowned)),
            Holder::Named(name) if name == me => Some((waited_out, GainReason::Renewed)),
            Holder::Named(name) => match self.sessions.get(name) {
                None => Some((waited_out, GainReason::Unowned)),
                Some(session) if session.record.phase == Phase::Ended => {
                    // A replica judged that it ended, or somebody wrote so by hand: our own clock has to agree.
                    Some((waited_out.max(session.changed + session.lease), GainReason::Ended(name.clone())))
                }
                Some(_) => None,
            },
        }
    }

    /// Whether no session that lives is named by this shard.
    fn is_unheld(&self, now: Duration, seen: &SeenShard) -> bool {
        match seen.record.as_ref().map(|record| &record.holder) {
            Some(Holder::Named(name)) => self
                .sessions
                .get(name)
                .is_none_or(|session| session.record.phase == Phase::Ended || self.is_overdue(now, session)),
            _ => true,
        }
    }

    /// What the fleet leader asks.
    pub(super) fn fleet(&self, now: Duration) -> Fleet {
        Fleet {
            synced: self.synced.is_some(),
            sessions: self.takers(now).len(),
            unheld: self.shards.iter().filter(|seen| self.is_unheld(now, seen)).count(),
            dead: self
                .sessions
                .values()
                .filter(|seen| self.is_dead(now, seen))
                .map(|seen| seen.record.clone())
                .collect(),
        }
    }

    /// Whether a session's Lease is of no use to any replica: it ended long ago, and no shard names it.
    fn is_dead(&self, now: Duration, seen: &SeenSession) -> bool {
        seen.record.phase == Phase::Ended
            && now >= seen.changed + seen.lease * 2
            && !self.shards.iter().any(|shard| shard.names(&seen.record.name))
    }
}

impl SeenShard {
    fn names(&self, name: &SessionName) -> bool {
        self.record.as_ref().is_some_and(|record| matches!(&record.holder, Holder::Named(holder) if holder == name))
    }
}

/// The fleet in a few figures, for its leader.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Fleet {
    /// Whether anything is known yet.
    pub synced: bool,
    /// Sessions that live and take shards.
    pub sessions: usize,
    /// Shards that no live session holds.
    pub unheld: usize,
    /// Sessions whose Leases may be deleted.
    pub dead: Vec<SessionRecord>,
}
