//! Sessions, shard Leases, gate and hand-over: the state machine of one replica, with no I/O and no clock.

mod timing;

pub use timing::{LONGEST, Timing};
