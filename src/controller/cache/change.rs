//! What a watch told, and what that changed.

/// What changed about a sync.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// Nothing that is not known already.
    Nothing,
    /// Its status alone.
    Status,
    /// More than that.
    Wanted,
}

/// How a watch told of a ConfigMap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Told {
    /// A list has it: what was done to it before is not known.
    Listed,
    /// It came or changed, in a namespace whose shard this replica holds: it knows its own writes.
    ChangedHere,
    /// It came or changed, in a namespace whose shard another replica holds.
    ChangedElsewhere,
}
