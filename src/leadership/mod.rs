//! Who may write: sessions, shard Leases, gate and hand-over, as the state machine of one replica, with no I/O and no clock.
//! It needs nothing of the rest but uid and shard. `kubernetes/leases` reads and writes the Leases, `controller/leadership` runs it.
//!
//! Each replica has a session, a Lease that it renews; each shard has a Lease that names the session of its holder and
//! is written only when it changes hands. [`Machine`] is fed with what the watch on all those Leases shows, with the
//! answers to its own requests and with a monotonic time, and says what to do.
//!
//! What must never happen: two replicas with an open gate for one shard. It rests on this: whoever takes a shard that
//! was not released to it has waited, by its own clock and since it saw the last sign of the holder, for as long as the
//! holder's gate can be open; and a holder counts its gate from a renewal that has come back on the watch, so that
//! everything that happened to its shards before that renewal has come before it.

pub mod assignment;
mod machine;
mod message;
mod own_session;
mod record;
mod shard_state;
mod shards;
#[cfg(test)]
mod tests;
mod timing;
mod view;

pub use machine::Machine;
pub use message::{Action, Answer, GainReason, Input, Loss, LossReason, Request};
pub use record::{Holder, Phase, Record, SessionName, SessionRecord, ShardRecord};
pub use timing::{LONGEST, Timing};
pub use view::Fleet;
