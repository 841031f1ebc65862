//! A key in the queue: why it came, the lane it waits in, what became of it.

use std::sync::Arc;
use std::time::Duration;

use crate::controller::queue::fanout::Fanout;
use crate::controller::reconcile::key_state::KeyState;
use crate::rules::key::Key;
use crate::rules::uid::Version;

/// Which lane a key waits in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lane {
    /// Copies; and whatever has not been looked at yet.
    Data,
    /// The end of a sync whose copy has gone: its finalizer.
    Ends,
    /// Finalizers and statuses.
    Status,
}

/// Why a key is put into the queue.
#[derive(Clone, Debug, Default)]
pub struct Cause {
    /// The change of a source that it is part of.
    pub fanout: Option<Arc<Fanout>>,
    /// Whether it ends a wait after a failure: what the key waits for may have come. (A status that came back is no
    /// such reason.)
    pub urgent: bool,
    /// The version that a watch told, if that is why.
    pub observed: Option<Version>,
    /// Whether the key waits for [`crate::controller::queue::PACE`] first: many such causes come in a row, and one look does for all.
    pub paced: bool,
}

/// What became of a key's work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Nothing is left to do until something changes, or until that time has passed.
    Rest(Option<Duration>),
    /// The copy has gone, and the finalizer is to follow.
    Ends,
    /// What is left is a status, or the finalizer.
    Status,
    /// It failed, or was refused: again after this time, or sooner when something changes.
    Retry(Duration),
    /// As `Rest`, but what happened meanwhile waits for [`crate::controller::queue::PACE`], unless it is urgent.
    Paced(Option<Duration>),
}

/// A key, and what is remembered of it.
#[derive(Debug)]
pub struct Job {
    /// The key.
    pub key: Key,
    /// The lane that it waited in.
    pub lane: Lane,
    /// What is remembered of it.
    pub key_state: KeyState,
    /// The change of a source that it is part of.
    pub fanout: Option<Arc<Fanout>>,
}
