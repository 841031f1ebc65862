//! Who may write: sessions and shard Leases, by a protocol that is a pure state machine ([`protocol`]), put into effect on
//! the API server. The rest of a replica knows it as [`Leadership`], what it holds, and as [`LeadershipEvent`]s.

pub mod fleet_leader;
mod handle;
pub mod leases;
mod log;
pub mod protocol;
mod task;

pub use handle::{Leadership, LeadershipEvent};
pub use task::{Settings, start};
