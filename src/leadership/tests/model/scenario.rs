//! What a check explores: who is there, what may go wrong, and which rule is broken.

use std::time::Duration;

use crate::leadership::Timing;
use crate::leadership::tests::model::mutants::Mutant;
use crate::leadership::tests::model::steps::Step;
use crate::leadership::tests::model::world::TICK;

/// The margin, in ticks.
const MARGIN: u8 = 1;
/// The time of a request, in ticks, of a writer's as well as of a Lease's.
pub(super) const REQUEST: u8 = 1;

/// What may go wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// A request is still under way when its sender gave it up, or never arrives.
    Delay,
    /// A request is carried out and its answer gets lost.
    LostAnswer,
    /// A request is carried out twice, the second time whenever it likes.
    Duplicate,
    /// A replica hears nothing and does nothing for a while; its writers go on.
    Pause,
    /// A watch lags.
    Lag,
    /// What a watch shows that lags comes one by one.
    Trickle,
    /// A process ends, without a word.
    Crash,
    /// A shard's Lease is cleared by hand.
    Clear,
    /// A shard's Lease is made to name another by hand.
    Rename,
    /// A shard's Lease is deleted by hand.
    Delete,
    /// A session's Lease is deleted by hand.
    DeleteSession,
    /// A session is ended, or its duration shortened, by hand.
    EditSession,
}

/// What a check explores.
#[derive(Clone, Debug)]
pub(super) struct Scenario {
    pub(super) name: &'static str,
    /// The lease duration of each replica, in ticks.
    pub(super) leases: &'static [u8],
    /// So many of them run at first; the others are started later, and so is what crashed.
    pub(super) running: usize,
    pub(super) shards: usize,
    /// So many ticks of peace come first; at 0, there is no Lease yet.
    pub(super) peace: u8,
    /// What happens then, as far as it can, before anything may.
    pub(super) first: &'static [Step],
    pub(super) kinds: &'static [Fault],
    /// So many faults.
    pub(super) faults: u8,
    /// So many replicas may be told to leave.
    pub(super) leaves: u8,
    /// So many times may a clock lose or gain a tick on the others. This much of the margin is not the network's then.
    pub(super) slips: u8,
    /// Whether writers always have a request out, and each takes as long as it may. Else none ever has.
    pub(super) busy: bool,
    /// Whether a renewal may come back within its tick.
    pub(super) swift: bool,
    pub(super) mutant: Option<Mutant>,
}

impl Scenario {
    pub(super) fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    pub(super) fn may(&self, fault: Fault) -> bool {
        self.kinds.contains(&fault)
    }

    /// The longest lease duration, in ticks.
    pub(super) fn longest(&self) -> u8 {
        self.leases.iter().copied().max().unwrap_or(0)
    }

    pub(super) fn timing(&self, replica: usize) -> Timing {
        let request = if self.is(Mutant::NoRequestTime) { Duration::ZERO } else { TICK * u32::from(REQUEST) };
        let margin = if self.is(Mutant::NoMargin) { Duration::ZERO } else { TICK * u32::from(MARGIN) };
        Timing {
            lease: TICK * u32::from(self.leases[replica]),
            period: TICK,
            request,
            lease_request: TICK,
            margin,
            anyone: TICK,
        }
    }

    /// For so many ticks may a writer's request be carried out, that in which it is sent included.
    pub(super) fn in_flight(&self) -> u8 {
        let times = if self.is(Mutant::ClientRetries) { 2 } else { 1 };
        1 + REQUEST * times + MARGIN - self.slips
    }
}
