//! What the Leases of the fleet say, taken apart.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::rules::shard::Shard;
use crate::rules::uid::Version;

/// The identity of a session: new for every start of a process, and whenever a session was lost.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionName(Arc<str>);

impl SessionName {
    /// A name, as it stands in a Lease.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SessionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SessionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a session is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Phase {
    /// It takes shards.
    Live,
    /// It gives its shards up and is given none.
    Leaving,
    /// It is over: its holder has to stop, and others may go on to its shards.
    Ended,
}

/// The Lease of a session.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct SessionRecord {
    /// Whose it is.
    pub name: SessionName,
    /// metadata.uid and metadata.resourceVersion.
    pub version: Version,
    /// How long after its last change it has ended; `None` when the Lease says nothing sensible.
    pub lease: Option<Duration>,
    /// Where it is in its life.
    pub phase: Phase,
    /// The number of the renewal that wrote it: by it a holder knows its own renewals again.
    pub renewal: u64,
}

/// Who holds a shard, as its Lease says.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Holder {
    /// This session, or something that is none.
    Named(SessionName),
    /// Nobody: the holder gave it up and said so.
    Released(SessionName),
    /// Nobody, and no holder said so: cleared by hand.
    Cleared,
}

/// The Lease of a shard.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ShardRecord {
    /// Which shard.
    pub shard: Shard,
    /// metadata.uid and metadata.resourceVersion.
    pub version: Version,
    /// The holder's lease duration; `None` when the Lease says nothing sensible.
    pub lease: Option<Duration>,
    /// Who holds it.
    pub holder: Holder,
}

/// A Lease of the fleet.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Record {
    /// A session's.
    Session(SessionRecord),
    /// A shard's.
    Shard(ShardRecord),
    /// That of the operator which this one replaces: while it keeps changing, that one is at work.
    Predecessor {
        /// metadata.resourceVersion.
        rv: u64,
        /// Its duration; `None` when it says nothing sensible.
        lease: Option<Duration>,
    },
}
