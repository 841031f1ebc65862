//! What a shard is to this replica.

use crate::leadership::message::GainReason;
use crate::rules::uid::Version;

/// What a shard is to us.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum ShardState {
    /// Nothing.
    None,
    /// The Lease is being created. Any replica may take it then.
    Creating,
    /// A swap is on its way. When a list came in between, what it did not show may be lost on us: not opened then.
    Taking { listed: bool, how: GainReason },
    /// Ours, by a swap that we made.
    Held(Version),
    /// Still ours, but only until the writes in flight have ended.
    Closing(Version),
    /// No write is in flight. The Lease does not say so yet.
    Releasing { version: Version, in_flight: bool },
}
