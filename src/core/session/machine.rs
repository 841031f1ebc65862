//! The state machine of one replica: fed with what the watch shows, the answers to its own requests and the time, it
//! says what to request, what to open and what to stop.

use std::time::Duration;

use super::message::{Action, Answer, Given, Input, Loss, Request, Taken};
use super::own::OwnSession;
use super::record::{Holder, Phase, Record, SessionName, SessionRecord, ShardRecord};
use super::timing::Timing;
use super::view::{Fleet, View};
use crate::core::assignment::assign;
use crate::core::shard::{Shard, Uid};

/// What a shard is to us.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Tenure {
    /// Nothing.
    None,
    /// A swap is on its way. When a list came in between, what it did not show may be lost on us: not opened then.
    Taking { listed: bool, how: Taken },
    /// Ours, by a swap that we made.
    Held(Uid, u64),
    /// Still ours, but only to end what is in flight.
    Closing(Uid, u64),
    /// Nothing is in flight; the Lease has to say so yet.
    Releasing { uid: Uid, version: u64, in_flight: bool },
}

/// One replica's side of the protocol.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Machine {
    timing: Timing,
    /// What the names of our sessions begin with; new for every start of a process.
    base: String,
    /// The number of our session, from 1.
    number: u64,
    pub(super) own: OwnSession,
    pub(super) view: View,
    pub(super) tenures: Vec<Tenure>,
    leaving: bool,
    left: bool,
}

impl Machine {
    /// A replica that just started. `base` must be new for every start of a process. `shards` is
    /// [`SHARDS`](crate::core::shard::SHARDS); fewer only where a model has to be exhausted.
    pub fn new(base: &str, timing: Timing, shards: usize, now: Duration) -> Self {
        Self {
            timing,
            base: base.to_owned(),
            number: 1,
            own: OwnSession::new(SessionName::new(base), now),
            view: View::new(timing.lease, shards),
            tenures: vec![Tenure::None; shards],
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
        matches!(self.tenures.get(shard.index()), Some(Tenure::Held(..)))
    }

    /// Whether it was told to leave.
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
        match input {
            Input::Tick => {}
            Input::Leave => {
                self.leaving = true;
                self.own.leave(now);
            }
            Input::Drained(shard) => self.drained(shard),
            Input::Relisting => self.own.floor = self.own.lease,
            Input::Relisted(records) => self.relisted(now, records, &mut actions),
            Input::Seen(Record::Shard(record)) => self.shard_seen(now, record, false, &mut actions),
            Input::Seen(Record::Session(record)) => self.session_seen(now, record, false, &mut actions),
            Input::Gone(Record::Shard(record)) => {
                self.shard_gone(now, record.shard, Some(record.version), &mut actions)
            }
            Input::Gone(Record::Session(record)) => self.session_gone(now, &record, &mut actions),
            Input::Answered(request, answer) => self.answered(now, request, answer, &mut actions),
        }
        self.decide(now, &mut actions);
        actions
    }

    fn relisted(&mut self, now: Duration, records: Vec<Record>, actions: &mut Vec<Action>) {
        let mut sessions = Vec::new();
        let mut listed = vec![false; self.tenures.len()];
        // The list is one moment: shards first, so that a renewal that comes back in it opens no gate for a shard
        // that it shows to be lost.
        for record in records {
            match record {
                Record::Session(record) => sessions.push(record),
                Record::Shard(record) => {
                    if let Some(listed) = listed.get_mut(record.shard.index()) {
                        *listed = true;
                    }
                    self.shard_seen(now, record, true, actions);
                }
            }
        }
        for shard in Shard::all().take(self.tenures.len()) {
            if !listed[shard.index()] {
                self.shard_gone(now, shard, None, actions);
            }
            if let Some(Tenure::Taking { listed, .. }) = self.tenures.get_mut(shard.index()) {
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
        if let Some((uid, version)) = self.own.floor.take() {
            let ours = sessions.iter().find(|record| record.name == self.own.name);
            if !ours.is_some_and(|record| record.uid != uid || record.version >= version) {
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
        self.view.session_gone(now, &record.name, Some(record.version));
        let ours = record.name == self.own.name && self.own.lease.is_none_or(|(uid, _)| uid == record.uid);
        if ours {
            self.lose_session(now, Loss::Deleted, actions);
        }
    }

    /// Our session is over: everything stops at once, and a new session begins. What is known of others is kept,
    /// unless no version means anything any more.
    fn lose_session(&mut self, now: Duration, loss: Loss, actions: &mut Vec<Action>) {
        for shard in Shard::all().take(self.tenures.len()) {
            let tenure = std::mem::replace(&mut self.tenures[shard.index()], Tenure::None);
            if matches!(tenure, Tenure::Held(..) | Tenure::Closing(..)) {
                actions.push(Action::Lose(shard, Given::SessionLost));
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

    fn shard_seen(&mut self, now: Duration, record: ShardRecord, listed: bool, actions: &mut Vec<Action>) {
        let (shard, uid, version) = (record.shard, record.uid, record.version);
        let ours = matches!(&record.holder, Holder::Named(name) if *name == self.own.name);
        if !self.view.shard_seen(now, record) {
            return;
        }
        let Some(tenure) = self.tenures.get_mut(shard.index()) else { return };
        match tenure {
            Tenure::None | Tenure::Taking { .. } => {}
            // Changed by a hand, and it still names us. In a list the changes before the last one are not seen, and
            // another may have held it in between.
            Tenure::Held(held, at) | Tenure::Closing(held, at) if ours && !listed && *held == uid => *at = version,
            Tenure::Held(..) | Tenure::Closing(..) => {
                *tenure = Tenure::None;
                actions.push(Action::Lose(shard, Given::Taken));
            }
            Tenure::Releasing { uid: held, version: at, .. } if ours && *held == uid => *at = version,
            Tenure::Releasing { .. } => *tenure = Tenure::None,
        }
    }

    fn shard_gone(&mut self, now: Duration, shard: Shard, version: Option<u64>, actions: &mut Vec<Action>) {
        if !self.view.shard_gone(now, shard, version) {
            return;
        }
        let Some(tenure) = self.tenures.get_mut(shard.index()) else { return };
        match tenure {
            Tenure::None | Tenure::Taking { .. } => {}
            Tenure::Held(..) | Tenure::Closing(..) => {
                *tenure = Tenure::None;
                actions.push(Action::Lose(shard, Given::Taken));
            }
            Tenure::Releasing { .. } => *tenure = Tenure::None,
        }
    }

    fn drained(&mut self, shard: Shard) {
        if let Some(tenure) = self.tenures.get_mut(shard.index())
            && let Tenure::Closing(uid, version) = *tenure
        {
            *tenure = Tenure::Releasing { uid, version, in_flight: false };
        }
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
                let done = matches!(answer, Answer::Done(..));
                if let Err(loss) = self.own.answered(now, &self.timing, &request, answer) {
                    self.lose_session(now, loss, actions);
                } else if done {
                    self.own.lease = None;
                }
            }
            Request::EndSession(ended) => {
                if let Answer::Done(uid, version) = answer {
                    self.view.session_seen(now, SessionRecord { uid, version, ..ended.clone() }, false);
                }
            }
            Request::CreateShard(shard, by) | Request::TakeShard(shard, _, _, by) if *by == self.own.name => {
                self.taken(now, *shard, &answer, actions);
            }
            Request::ReleaseShard(shard, _, _, by) if *by == self.own.name => self.released(now, *shard, &answer),
            // Of a session that is over.
            _ => {}
        }
    }

    /// The answer to a swap of ours: the only thing that opens a shard.
    fn taken(&mut self, now: Duration, shard: Shard, answer: &Answer, actions: &mut Vec<Action>) {
        let index = shard.index();
        let Tenure::Taking { listed, how } = std::mem::replace(&mut self.tenures[index], Tenure::None) else { return };
        let Answer::Done(uid, version) = *answer else {
            // Whether it was done is not known after a failure: the watch will show it, and then it is waited out.
            self.view.shards[index].retry = now + self.timing.period;
            return;
        };
        let record = ShardRecord {
            shard,
            uid,
            version,
            lease: Some(self.timing.lease),
            holder: Holder::Named(self.own.name.clone()),
        };
        // The watch may have been faster, and may have shown more than our swap.
        let changed_since = self.view.shards[index].highest > version;
        self.view.shard_seen(now, record);
        if listed || changed_since {
            return;
        }
        if self.leaving {
            self.tenures[index] = Tenure::Releasing { uid, version, in_flight: false };
        } else {
            self.tenures[index] = Tenure::Held(uid, version);
            actions.push(Action::Open(shard, how));
        }
    }

    fn released(&mut self, now: Duration, shard: Shard, answer: &Answer) {
        let Tenure::Releasing { in_flight, .. } = &mut self.tenures[shard.index()] else { return };
        *in_flight = false;
        if let Answer::Done(uid, version) = *answer {
            self.tenures[shard.index()] = Tenure::None;
            let holder = Holder::Released(self.own.name.clone());
            self.view.shard_seen(now, ShardRecord { shard, uid, version, lease: Some(self.timing.lease), holder });
        } else {
            self.view.shards[shard.index()].retry = now + self.timing.period / 4;
        }
    }

    /// What follows from all that is known.
    fn decide(&mut self, now: Duration, actions: &mut Vec<Action>) {
        let given_up = self.leaving && self.tenures.iter().all(|tenure| *tenure == Tenure::None);
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
        if self.view.synced.is_some() && self.gate_is_open(now) {
            self.end_sessions(now, actions);
            self.move_shards(now, actions);
        }
    }

    fn release_shards(&mut self, now: Duration, actions: &mut Vec<Action>) {
        for shard in Shard::all().take(self.tenures.len()) {
            match &mut self.tenures[shard.index()] {
                Tenure::Held(uid, version) if self.leaving => {
                    self.tenures[shard.index()] = Tenure::Closing(*uid, *version);
                    actions.push(Action::Close(shard, Given::Leaving));
                }
                Tenure::Releasing { uid, version, in_flight }
                    if !*in_flight && now >= self.view.shards[shard.index()].retry =>
                {
                    *in_flight = true;
                    let by = self.own.name.clone();
                    actions.push(Action::Send(Request::ReleaseShard(shard, *uid, *version, by)));
                }
                _ => {}
            }
        }
    }

    /// Sessions whose time is up are told so in their Leases before anyone goes on to their shards: a late renewal of
    /// theirs fails then, and if it comes first it wins.
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

    /// Takes what is free and meant for us, and closes what is meant for others.
    fn move_shards(&mut self, now: Duration, actions: &mut Vec<Action>) {
        if self.leaving {
            return;
        }
        let me = self.own.name.clone();
        let owners = assign(&self.view.takers(now), &self.view.holders());
        for (shard, owner) in Shard::all().zip(owners) {
            let mine = owner.as_ref() == Some(&me);
            match self.tenures[shard.index()] {
                Tenure::Held(uid, version) if owner.is_some() && !mine => {
                    self.tenures[shard.index()] = Tenure::Closing(uid, version);
                    actions.push(Action::Close(shard, Given::Balance));
                }
                Tenure::None => {
                    let seen = &self.view.shards[shard.index()];
                    let wait = if mine { Duration::ZERO } else { self.timing.anyone };
                    let Some((since, how)) = self.view.free_since(shard, &me) else { continue };
                    if now < since + wait || now < seen.retry {
                        continue;
                    }
                    let request = match &seen.record {
                        None => Request::CreateShard(shard, me.clone()),
                        Some(record) => Request::TakeShard(shard, record.uid, record.version, me.clone()),
                    };
                    self.tenures[shard.index()] = Tenure::Taking { listed: false, how };
                    actions.push(Action::Send(request));
                }
                _ => {}
            }
        }
    }
}
