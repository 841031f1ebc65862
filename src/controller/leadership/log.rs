//! What leadership tells people: log lines that show a take-over in order, and metrics.

use std::time::Duration;

use metrics::{counter, gauge, histogram};
use tracing::{info, warn};

use crate::leadership::{Action, Answer, Fleet, GainReason, Phase, Request, SessionName, Timing};
use crate::rules::shard::SHARDS;
use crate::telemetry::instruments::{LEASE_RENEWAL_SECONDS, LEASE_RENEWALS_TOTAL, SHARD_HANDOVERS_TOTAL, SHARDS_HELD};

/// What was logged last, so that it is not logged again.
pub(super) struct LeadershipLog {
    timing: Timing,
    held: Option<u32>,
    open: bool,
    spare: bool,
}

impl LeadershipLog {
    pub(super) fn new(timing: Timing) -> Self {
        Self { timing, held: None, open: false, spare: false }
    }

    pub(super) fn published(&mut self, held: u32, open: bool) {
        if self.held != Some(held) {
            gauge!(SHARDS_HELD).set(held);
            self.held = Some(held);
        }
        if self.open != open {
            self.open = open;
            if open {
                info!(shards = held, "the gate is open: the watch shows the renewals of the session");
            } else {
                warn!(shards = held, "the gate is closed: the watch has not shown a renewal of the session in time");
            }
        }
    }

    pub(super) fn fleet(&mut self, fleet: &Fleet) {
        let spare = self.held == Some(0) && fleet.unheld == 0 && fleet.sessions > SHARDS;
        if spare && !self.spare {
            info!(shards = SHARDS, "standing by: there are more replicas than shards, and each shard has a holder");
        }
        self.spare = spare;
    }

    pub(super) fn stopped(&mut self) {
        gauge!(SHARDS_HELD).set(0);
        info!("leadership has ended");
    }

    pub(super) fn answered(&self, request: &Request, answer: &Answer, took: Duration) {
        match request {
            Request::CreateSession { .. } | Request::Renew { .. } => {
                counter!(LEASE_RENEWALS_TOTAL, "result" => result(answer)).increment(1);
                histogram!(LEASE_RENEWAL_SECONDS).record(took);
                if took * 2 > self.timing.period {
                    warn!(seconds = took.as_secs_f64(), "the renewal of the session was slow");
                }
            }
            Request::EndSession(ended) => {
                info!(session = %ended.name, result = result(answer), "wrote the end of a session into its Lease");
            }
            Request::ReleaseShard(shard, _, by) => {
                info!(shard = shard.index(), holder = %by, result = result(answer), "wrote the release of a shard into its Lease");
            }
            // When several replicas reach for one shard, all but one meet a conflict.
            Request::CreateShard(shard, by) | Request::TakeShard(shard, _, by)
                if !matches!(answer, Answer::Done(_)) =>
            {
                info!(shard = shard.index(), holder = %by, result = result(answer), "the shard was not taken: its Lease changed meanwhile, or the request failed");
            }
            _ => {}
        }
    }

    pub(super) fn action(&self, action: &Action) {
        match action {
            Action::Open(shard, how) => {
                counter!(SHARD_HANDOVERS_TOTAL, "reason" => how.as_str()).increment(1);
                info!(
                    shard = shard.index(),
                    holder = before(how).map(SessionName::as_str),
                    cause = how.as_str(),
                    "took a shard"
                );
            }
            Action::Close(shard, why) => {
                counter!(SHARD_HANDOVERS_TOTAL, "reason" => why.as_str()).increment(1);
                info!(
                    shard = shard.index(),
                    cause = why.as_str(),
                    "closing a shard: no new writes; those in flight end"
                );
            }
            Action::Lose(shard, why) => {
                counter!(SHARD_HANDOVERS_TOTAL, "reason" => why.as_str()).increment(1);
                warn!(shard = shard.index(), cause = why.as_str(), "lost a shard");
            }
            Action::Renamed(name, loss) => {
                warn!(session = %name, cause = %loss, "lost the session; beginning a new one")
            }
            Action::Restored => warn!(
                "the Lease of this replica's session is gone, or older than this replica wrote it, as after a restore of etcd: everything is listed again"
            ),
            Action::Rewatch => {
                warn!("the API server confirmed a renewal that the watch does not show: the watch is opened again")
            }
            Action::Left => info!("all shards are given up and the session has ended"),
            Action::Send(Request::EndSession(ended)) if ended.phase == Phase::Ended => {
                info!(session = %ended.name, "ending a session: its lease has ended, or it is this replica's own");
            }
            Action::Send(Request::CreateSession { name, .. }) => info!(session = %name, "beginning a session"),
            Action::Send(_) => {}
        }
    }
}

fn before(how: &GainReason) -> Option<&SessionName> {
    match how {
        GainReason::Released(by) | GainReason::Ended(by) => Some(by),
        GainReason::Unowned | GainReason::Renewed => None,
    }
}

fn result(answer: &Answer) -> &'static str {
    match answer {
        Answer::Done(_) => "done",
        Answer::Conflict => "conflict",
        Answer::Found(_) => "found",
        Answer::Missing => "missing",
        Answer::Failed => "failed",
    }
}
