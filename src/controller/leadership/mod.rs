//! Puts the state machine of leadership into effect: watches the Leases, sends its requests, opens and closes the gate. The rest
//! of a replica knows it as [`Leadership`], what it holds, and as [`LeadershipEvent`]s.

pub mod fleet_leader;
mod handle;
mod log;
mod task;

pub use handle::{Leadership, LeadershipEvent};
pub use task::{Settings, start};
