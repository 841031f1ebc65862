//! What the shards are to this replica: taking, holding, closing, releasing.

use std::time::Duration;

use crate::leadership::protocol::assignment::assign;
use crate::leadership::protocol::machine::Machine;
use crate::leadership::protocol::message::{Action, Answer, Given, Request, Taken};
use crate::leadership::protocol::record::{Holder, ShardRecord};
use crate::rules::shard::Shard;
use crate::rules::uid::Uid;

/// What a shard is to us.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Tenure {
    /// Nothing.
    None,
    /// The Lease is being created, for whoever may take it then.
    Creating,
    /// A swap is on its way. When a list came in between, what it did not show may be lost on us: not opened then.
    Taking { listed: bool, how: Taken },
    /// Ours, by a swap that we made.
    Held(Uid, u64),
    /// Still ours, but only to end what is in flight.
    Closing(Uid, u64),
    /// Nothing is in flight; the Lease has to say so yet.
    Releasing { uid: Uid, version: u64, in_flight: bool },
}

impl Machine {
    pub(super) fn shard_seen(&mut self, now: Duration, record: ShardRecord, listed: bool, actions: &mut Vec<Action>) {
        let (shard, uid, version) = (record.shard, record.uid, record.version);
        let ours = matches!(&record.holder, Holder::Named(name) if *name == self.own.name);
        if !self.view.shard_seen(now, record) {
            return;
        }
        let Some(tenure) = self.tenures.get_mut(shard.index()) else { return };
        match tenure {
            Tenure::None | Tenure::Creating | Tenure::Taking { .. } => {}
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

    pub(super) fn shard_gone(&mut self, now: Duration, shard: Shard, version: Option<u64>, actions: &mut Vec<Action>) {
        if !self.view.shard_gone(now, shard, version) {
            return;
        }
        let Some(tenure) = self.tenures.get_mut(shard.index()) else { return };
        match tenure {
            Tenure::None | Tenure::Creating | Tenure::Taking { .. } => {}
            Tenure::Held(..) | Tenure::Closing(..) => {
                *tenure = Tenure::None;
                actions.push(Action::Lose(shard, Given::Taken));
            }
            Tenure::Releasing { .. } => *tenure = Tenure::None,
        }
    }

    pub(super) fn drained(&mut self, shard: Shard) {
        if let Some(tenure) = self.tenures.get_mut(shard.index())
            && let Tenure::Closing(uid, version) = *tenure
        {
            *tenure = Tenure::Releasing { uid, version, in_flight: false };
        }
    }

    /// The answer to a creation: the Lease is there and names nobody, and is waited out from now.
    pub(super) fn created(&mut self, now: Duration, shard: Shard, answer: &Answer) {
        self.tenures[shard.index()] = Tenure::None;
        if let Answer::Done(uid, version) = *answer {
            let lease = Some(self.timing.lease);
            self.view.shard_seen(now, ShardRecord { shard, uid, version, lease, holder: Holder::Cleared });
        } else {
            self.view.shards[shard.index()].retry = now + self.timing.period;
        }
    }

    /// The answer to a swap of ours: the only thing that opens a shard.
    pub(super) fn taken(&mut self, now: Duration, shard: Shard, answer: &Answer, actions: &mut Vec<Action>) {
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

    pub(super) fn released(&mut self, now: Duration, shard: Shard, answer: &Answer) {
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

    pub(super) fn release_shards(&mut self, now: Duration, actions: &mut Vec<Action>) {
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

    /// Takes what is free and meant for us, and closes what is meant for others.
    pub(super) fn move_shards(&mut self, now: Duration, actions: &mut Vec<Action>) {
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
                Tenure::None if now >= self.view.preceded => {
                    let seen = &self.view.shards[shard.index()];
                    let wait = if mine { Duration::ZERO } else { self.timing.anyone };
                    let Some((since, how)) = self.view.free_since(shard, &me) else { continue };
                    if now < since + wait || now < seen.retry {
                        continue;
                    }
                    let (tenure, request) = match &seen.record {
                        None => (Tenure::Creating, Request::CreateShard(shard, me.clone())),
                        Some(record) => (
                            Tenure::Taking { listed: false, how },
                            Request::TakeShard(shard, record.uid, record.version, me.clone()),
                        ),
                    };
                    self.tenures[shard.index()] = tenure;
                    actions.push(Action::Send(request));
                }
                _ => {}
            }
        }
    }
}
