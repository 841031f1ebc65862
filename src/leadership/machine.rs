//! The state machine of one replica: fed with what the watch shows, the answers to its own requests and the time, it
//! says what to request, what to open and what to stop.

use std::time::Duration;

use crate::leadership::message::{Action, Answer, Input, Loss, LossReason, Request};
use crate::leadership::own_session::OwnSession;
use crate::leadership::record::{Phase, Record, SessionName, SessionRecord};
use crate::leadership::shard_state::ShardState;
use crate::leadership::timing::Timing;
use crate::leadership::view::{Fleet, View};
use crate::rules::shard::Shard;

/// One replica's side of the protocol.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Machine {
    pub(super) timing: Timing,
    /// What the names of our sessions begin with; new for every start of a process.
    base: String,
    /// The number of our session, from 1.
    number: u64,
    pub(super) own: OwnSession,
    pub(super) view: View,
    pub(super) shards: Vec<ShardState>,
    pub(super) leaving: bool,
    left: bool,
}

impl Machine {
    /// A replica that just started. `base` must be new for every start of a process. `shards` is
    /// [`SHARDS`](crate::rules::shard::SHARDS); fewer only where a model has to be exhausted.
    pub fn new(base: &str, timing: Timing, shards: usize, now: Duration) -> Self {
        Self {
            timing,
            base: base.to_owned(),
            number: 1,
            own: OwnSession::new(SessionName::new(base), now),
            view: View::new(timing.lease, shards),
            shards: vec![ShardState::None; shards],
            leaving: false,
            left: false,
        }
    }

    /// Our session's name, for now.
    pub fn session(&self) -> &SessionName {
        &self.own.name
    }

    /// Until when a request may be sent under our gate: it closes at this moment. `None`: it is closed.
    pub fn gate(&self) -> Option<Duration> {
        self.own.gate(&self.timing)
    }

    /// Whether the gate is open.
    pub fn gate_is_open(&self, now: Duration) -> bool {
        self.gate().is_some_and(|closes| now < closes)
    }

    /// Whether a shard is held and not closing.
    pub fn holds(&self, shard: Shard) -> bool {
        matches!(self.shards.get(shard.index()), Some(ShardState::Held(..)))
    }

    /// Whether it is leaving.
    pub fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// The fleet in a few figures.
    pub fn fleet(&self, now: Duration) -> Fleet {
        self.view.fleet(now)
    }

    /// Takes one input in and says what to do now. `now` never goes back.
    pub fn step(&mut self, now: Duration, input: Input) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.left {
            return actions;
        }
        let routine = self.is_routine(&input);
        match input {
            Input::Tick => {}
            Input::Leave => {
                self.leaving = true;
                self.own.leave(now);
            }
            Input::Drained(shard) => self.drained(shard),
            Input::Relisting => self.own.floor = self.own.lease,
            Input::Relisted(records) => self.relisted(now, records, &mut actions),
            Input::Observed(Record::Shard(record)) => self.shard_seen(now, record, false, &mut actions),
            Input::Observed(Record::Session(record)) => self.session_seen(now, record, false, &mut actions),
            Input::Observed(Record::Predecessor { rv, lease }) => self.view.predecessor_seen(now, rv, lease),
            Input::Gone(Record::Predecessor { .. }) => {}
            Input::Gone(Record::Shard(record)) => {
                self.shard_gone(now, record.shard, Some(record.version.rv), &mut actions)
            }
            Input::Gone(Record::Session(record)) => self.session_gone(now, &record, &mut actions),
            Input::Answered(request, answer) => self.answered(now, request, answer, &mut actions),
        }
        self.decide(now, routine, &mut actions);
        actions
    }

    /// Whether this is a mere renewal of someone else's session: most of what a watch shows, and nothing follows from
    /// it that the next tick would not do as well.
    fn is_routine(&self, input: &Input) -> bool {
        let Input::Observed(Record::Session(record)) = input else { return false };
        let seen = self.view.sessions.get(&record.name);
        record.name != self.own.name && seen.is_some_and(|seen| seen.record.phase == record.phase)
    }

    fn relisted(&mut self, now: Duration, records: Vec<Record>, actions: &mut Vec<Action>) {
        let mut sessions = Vec::new();
        let mut listed = vec![false; self.shards.len()];
        // The list is one moment: shards first, so that a renewal that comes back in it opens no gate for a shard
        // that it shows to be lost.
        for record in records {
            match record {
                Record::Session(record) => sessions.push(record),
                Record::Predecessor { rv, lease } => self.view.predecessor_seen(now, rv, lease),
                Record::Shard(record) => {
                    if let Some(listed) = listed.get_mut(record.shard.index()) {
                        *listed = true;
                    }
                    self.shard_seen(now, record, true, actions);
                }
            }
        }
        for shard in Shard::all().take(self.shards.len()) {
            if !listed[shard.index()] {
                self.shard_gone(now, shard, None, actions);
            }
            if let Some(ShardState::Taking { listed, .. }) = self.shards.get_mut(shard.index()) {
                *listed = true;
            }
        }
        let gone: Vec<SessionName> = self
            .view
            .sessions
            .keys()
            .filter(|name| !sessions.iter().any(|listed| listed.name == **name))
            .cloned()
            .collect();
        for name in gone {
            self.view.session_gone(now, &name, None);
        }
        self.view.listed(now);
        if let Some(floor) = self.own.floor.take() {
            let ours = sessions.iter().find(|record| record.name == self.own.name);
            if !ours.is_some_and(|record| record.version.uid != floor.uid || record.version.rv >= floor.rv) {
                self.lose_session(now, Loss::Restored, actions);
                return;
            }
        }
        for record in sessions {
            self.session_seen(now, record, true, actions);
        }
    }

    fn session_seen(&mut self, now: Duration, record: SessionRecord, listed: bool, actions: &mut Vec<Action>) {
        let ours = record.name == self.own.name;
        let verdict = if ours { self.own.seen(&record) } else { Ok(()) };
        let renewal = record.renewal;
        self.view.session_seen(now, record, listed);
        match verdict {
            Ok(()) if ours => self.own.confirm(renewal),
            Ok(()) => {}
            Err(loss) => self.lose_session(now, loss, actions),
        }
    }

    fn session_gone(&mut self, now: Duration, record: &SessionRecord, actions: &mut Vec<Action>) {
        self.view.session_gone(now, &record.name, Some(record.version.rv));
        let ours = record.name == self.own.name && self.own.lease.is_none_or(|lease| lease.uid == record.version.uid);
        if ours {
            self.lose_session(now, Loss::Deleted, actions);
        }
    }

    /// Our session is over: everything stops at once, and a new session begins. What is known of others is kept,
    /// unless no version means anything any more.
    fn lose_session(&mut self, now: Duration, loss: Loss, actions: &mut Vec<Action>) {
        for shard in Shard::all().take(self.shards.len()) {
            let state = std::mem::replace(&mut self.shards[shard.index()], ShardState::None);
            if matches!(state, ShardState::Held(..) | ShardState::Closing(..)) {
                actions.push(Action::Lose(shard, LossReason::SessionLost));
            }
        }
        if matches!(loss, Loss::Restored | Loss::Deleted) {
            self.view.clear();
            actions.push(Action::Restored);
        }
        if self.leaving {
            (self.own.lease, self.own.in_flight) = (None, None);
            return;
        }
        self.number += 1;
        self.own = OwnSession::new(SessionName::new(&format!("{}-{}", self.base, self.number)), now);
        actions.push(Action::Renamed(self.own.name.clone(), loss));
    }

    fn answered(&mut self, now: Duration, request: Request, answer: Answer, actions: &mut Vec<Action>) {
        match &request {
            Request::CreateSession { name, .. } | Request::Renew { name, .. } | Request::LookAtSession(name)
                if *name == self.own.name =>
            {
                if let Err(loss) = self.own.answered(now, &self.timing, &request, answer) {
                    self.lose_session(now, loss, actions);
                }
            }
            Request::EndSession(ended) if ended.name == self.own.name => {
                let done = matches!(answer, Answer::Done(_));
                if let Err(loss) = self.own.answered(now, &self.timing, &request, answer) {
                    self.lose_session(now, loss, actions);
                } else if done {
                    self.own.lease = None;
                }
            }
            Request::EndSession(ended) => {
                if let Answer::Done(version) = answer {
                    self.view.session_seen(now, SessionRecord { version, ..ended.clone() }, false);
                }
            }
            Request::CreateShard(shard, by) if *by == self.own.name => self.created(now, *shard, &answer),
            Request::TakeShard(shard, _, by) if *by == self.own.name => {
                self.taken(now, *shard, &answer, actions);
            }
            Request::ReleaseShard(shard, _, by) if *by == self.own.name => self.released(now, *shard, &answer),
            // Of a session that is over.
            _ => {}
        }
    }

    /// What follows from all that is known.
    fn decide(&mut self, now: Duration, routine: bool, actions: &mut Vec<Action>) {
        let given_up = self.leaving && self.shards.iter().all(|state| *state == ShardState::None);
        if given_up && self.own.lease.is_none() && self.own.in_flight.is_none() {
            self.left = true;
            actions.push(Action::Left);
            return;
        }
        let highest = self.view.highest;
        let request = if given_up {
            self.own.end_request(now, &self.timing, highest)
        } else {
            self.own.next_request(now, &self.timing, highest)
        };
        actions.extend(request.map(Action::Send));
        if self.own.wants_rewatch(now, &self.timing) {
            actions.push(Action::Rewatch);
        }
        self.release_shards(now, actions);
        if !routine && self.view.synced.is_some() && self.gate_is_open(now) {
            self.end_sessions(now, actions);
            self.move_shards(now, actions);
        }
    }

    /// Writes the end of overdue sessions into their Leases, before any replica takes their shards. A late renewal of such a
    /// session then fails; a renewal that comes first wins.
    fn end_sessions(&mut self, now: Duration, actions: &mut Vec<Action>) {
        let overdue: Vec<SessionName> = self
            .view
            .sessions
            .values()
            .filter(|seen| self.view.is_overdue(now, seen) && now >= seen.retry && seen.record.name != self.own.name)
            .map(|seen| seen.record.name.clone())
            .collect();
        for name in overdue {
            if let Some(seen) = self.view.sessions.get_mut(&name) {
                seen.retry = now + self.timing.period;
                actions.push(Action::Send(Request::EndSession(SessionRecord {
                    phase: Phase::Ended,
                    ..seen.record.clone()
                })));
            }
        }
    }
}
