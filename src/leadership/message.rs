//! What goes into the state machine and what comes out.

use std::fmt;

use crate::leadership::record::{Phase, Record, SessionName, SessionRecord};
use crate::rules::shard::Shard;
use crate::rules::uid::Version;

/// What happened.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Input {
    /// Time went on.
    Tick,
    /// The watch is about to list all Leases anew. Said before the list is sent.
    Relisting,
    /// All Leases, as that list found them.
    Relisted(Vec<Record>),
    /// The watch showed a Lease.
    Observed(Record),
    /// The watch showed that a Lease was deleted. Its version is that of the deletion.
    Gone(Record),
    /// A request was answered, or never will be.
    Answered(Request, Answer),
    /// Nothing is in flight any more for a shard that is closing.
    Drained(Shard),
    /// This replica is to end: give everything up.
    Leave,
}

/// A request to the API server. Every replacement names a version: a PUT without the UID of a Lease that was deleted would
/// create it anew.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Request {
    /// Create our session's Lease.
    CreateSession {
        /// Ours.
        name: SessionName,
        /// The number of this renewal, the first being 1.
        renewal: u64,
    },
    /// Replace our session's Lease.
    Renew {
        /// Ours.
        name: SessionName,
        /// The version of the Lease that is replaced.
        version: Version,
        /// The number of this renewal.
        renewal: u64,
        /// Live or leaving.
        phase: Phase,
    },
    /// Replace a session's Lease, ours or another's, by one that says it has ended.
    EndSession(SessionRecord),
    /// Read our session's Lease, from the API server itself and not from a cache.
    LookAtSession(SessionName),
    /// Create a shard's Lease with no holder. A creation cannot say what it replaces: a replica whose watch lags might
    /// create what was created, held and deleted meanwhile. So a creation gives nothing; a swap follows when it was waited out.
    CreateShard(Shard, SessionName),
    /// Replace a shard's Lease by one with us as holder.
    TakeShard(Shard, Version, SessionName),
    /// Replace a shard's Lease by one without a holder and with the mark that we released it.
    ReleaseShard(Shard, Version, SessionName),
}

/// What became of a request.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Answer {
    /// It was done; this is the Lease's new version.
    Done(Version),
    /// Another write came before it (409), or what was to be replaced is gone.
    Conflict,
    /// The Lease that was to be looked at.
    Found(SessionRecord),
    /// The Lease that was to be looked at does not exist (404).
    Missing,
    /// Refused, or never answered: whether it was done is not known.
    Failed,
}

/// What to do now, in this order.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Action {
    /// Send this request; its answer comes back as [`Input::Answered`].
    Send(Request),
    /// The shard is ours.
    Open(Shard, GainReason),
    /// Stop dequeuing, let what is in flight end, answer with [`Input::Drained`].
    Close(Shard, LossReason),
    /// The shard is no longer ours: stop at once.
    Lose(Shard, LossReason),
    /// Our session is over; the next one has this name.
    Renamed(SessionName, Loss),
    /// etcd was restored from a backup: no version that was ever seen means anything. The watch has to list anew.
    Restored,
    /// The watch hangs: list and watch anew.
    Rewatch,
    /// All is given up.
    Left,
}

/// How a shard came to us.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum GainReason {
    /// Its holder released it.
    Released(SessionName),
    /// The session of its holder ended.
    Ended(SessionName),
    /// It named nobody, or a session that does not exist.
    Unowned,
    /// It named us, but not by a swap that we know of.
    Renewed,
}

/// Why a shard is ours no more.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum LossReason {
    /// Another replica is below its quota.
    Balance,
    /// This replica ends.
    Leaving,
    /// Its Lease was deleted or changed by someone else.
    Taken,
    /// Our session is over.
    SessionLost,
}

/// Why a session is over.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Loss {
    /// Someone ended it.
    Ended,
    /// Its Lease was deleted, or is another one of the same name.
    Deleted,
    /// Its Lease was changed in a way that we did not write.
    Changed,
    /// etcd was restored from a backup.
    Restored,
}

impl GainReason {
    /// Its name in logs and metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Released(_) => "released",
            Self::Ended(_) => "ended",
            Self::Unowned => "unowned",
            Self::Renewed => "renewed",
        }
    }
}

impl LossReason {
    /// Its name in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Balance => "balance",
            Self::Leaving => "leaving",
            Self::Taken => "taken",
            Self::SessionLost => "session_lost",
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ended => "another replica ended it",
            Self::Deleted => "its Lease was deleted",
            Self::Changed => "its Lease was changed by someone else",
            Self::Restored => "etcd was restored",
        })
    }
}
