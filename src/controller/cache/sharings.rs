//! What is kept of what owners say.

use crate::controller::cache::maps::Map;
use crate::rules::record::{Name, ObjectKey, SlimArc};
use crate::rules::sharing::Sharing;

/// What owners say, beside what stands on the ConfigMaps that the cache holds.
#[derive(Default)]
pub(super) struct Sharings {
    /// `--consent=required`.
    pub(super) required: bool,
    /// By namespace, of those whose Namespace says something.
    pub(super) namespaces: Map<Name, SlimArc<Sharing>>,
    /// Of sources that the watch has not shown since an object named them, as a GET told, with the version that it told of. Only of
    /// those for which it matters.
    pub(super) read: Map<ObjectKey, (u64, Option<SlimArc<Sharing>>)>,
    /// Sources whose owners were told that what they say cannot be read, with the version that says so; 0: their Namespace does.
    pub(super) told: Map<ObjectKey, u64>,
}
