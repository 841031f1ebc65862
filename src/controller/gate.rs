//! Who answers writers that ask whether they may write: leadership, or nobody.

use std::time::Duration;

use tokio::sync::watch;

use crate::controller::leadership::Leadership;
use crate::kubernetes::writer::Gate;
use crate::rules::shard::Shard;

impl Gate for Leadership {
    fn may_write(&self, shard: Shard) -> bool {
        Leadership::may_write(self, shard)
    }
    fn request_timeout(&self) -> Duration {
        Leadership::request_timeout(self)
    }
    fn surely_over(&self) -> Duration {
        self.timing().request + self.timing().margin
    }
    fn opens(&self) -> Option<watch::Receiver<bool>> {
        Some(self.gate_opens())
    }
}

/// The gate of a replica that only observes: nothing is ever sent.
pub(super) struct Observer;

impl Gate for Observer {
    fn may_write(&self, _: Shard) -> bool {
        false
    }
    fn request_timeout(&self) -> Duration {
        Duration::ZERO
    }
    fn surely_over(&self) -> Duration {
        Duration::ZERO
    }
}
