//! What the shards are to this replica: taking, holding, closing, releasing.

use std::time::Duration;

use crate::leadership::assignment::assign;
use crate::leadership::machine::Machine;
use crate::leadership::message::{Action, Answer, LossReason, Request};
use crate::leadership::record::{Holder, ShardRecord};
use crate::leadership::shard_state::ShardState;
use crate::rules::shard::Shard;

impl Machine {
    pub(super) fn shard_seen(&mut self, now: Duration, record: ShardRecord, listed: bool, actions: &mut Vec<Action>) {
        let (shard, version) = (record.shard, record.version);
        let ours = matches!(&record.holder, Holder::Named(name) if *name == self.own.name);
        if !self.view.shard_seen(now, record) {
            return;
        }
        let Some(state) = self.shards.get_mut(shard.index()) else { return };
        match state {
            ShardState::None | ShardState::Creating | ShardState::Taking { .. } => {}
            // Somebody edited it, and it still names us. A list does not show the changes before the last one: another replica
            // may have held it in between.
            ShardState::Held(held) | ShardState::Closing(held) if ours && !listed && held.uid == version.uid => {
                *held = version;
            }
            ShardState::Held(..) | ShardState::Closing(..) => {
                *state = ShardState::None;
                actions.push(Action::Lose(shard, LossReason::Taken));
            }
            ShardState::Releasing { version: held, .. } if ours && held.uid == version.uid => *held = version,
            ShardState::Releasing { .. } => *state = ShardState::None,
        }
    }

    pub(super) fn shard_gone(&mut self, now: Duration, shard: Shard, rv: Option<u64>, actions: &mut Vec<Action>) {
        if !self.view.shard_gone(now, shard, rv) {
            return;
        }
        let Some(state) = self.shards.get_mut(shard.index()) else { return };
        match state {
            ShardState::None | ShardState::Creating | ShardState::Taking { .. } => {}
            ShardState::Held(..) | ShardState::Closing(..) => {
                *state = ShardState::None;
                actions.push(Action::Lose(shard, LossReason::Taken));
            }
            ShardState::Releasing { .. } => *state = ShardState::None,
        }
    }

    pub(super) fn drained(&mut self, shard: Shard) {
        if let Some(state) = self.shards.get_mut(shard.index())
            && let ShardState::Closing(version) = *state
        {
            *state = ShardState::Releasing { version, in_flight: false };
        }
    }

    /// The answer to a creation: the Lease exists and names nobody. It is waited out from now on.
    pub(super) fn created(&mut self, now: Duration, shard: Shard, answer: &Answer) {
        self.shards[shard.index()] = ShardState::None;
        if let Answer::Done(version) = *answer {
            let lease = Some(self.timing.lease);
            self.view.shard_seen(now, ShardRecord { shard, version, lease, holder: Holder::Cleared });
        } else {
            self.view.shards[shard.index()].retry = now + self.timing.period;
        }
    }

    /// The answer to a swap of ours: the only thing that opens a shard.
    pub(super) fn taken(&mut self, now: Duration, shard: Shard, answer: &Answer, actions: &mut Vec<Action>) {
        let index = shard.index();
        let ShardState::Taking { listed, how } = std::mem::replace(&mut self.shards[index], ShardState::None) else {
            return;
        };
        let Answer::Done(version) = *answer else {
            // Whether it was done is not known after a failure: the watch will show it, and then it is waited out.
            self.view.shards[index].retry = now + self.timing.period;
            return;
        };
        let record = ShardRecord {
            shard,
            version,
            lease: Some(self.timing.lease),
            holder: Holder::Named(self.own.name.clone()),
        };
        // The watch may have been faster, and may have shown more than our swap.
        let changed_since = self.view.shards[index].highest > version.rv;
        self.view.shard_seen(now, record);
        if listed || changed_since {
            return;
        }
        if self.leaving {
            self.shards[index] = ShardState::Releasing { version, in_flight: false };
        } else {
            self.shards[index] = ShardState::Held(version);
            actions.push(Action::Open(shard, how));
        }
    }

    pub(super) fn released(&mut self, now: Duration, shard: Shard, answer: &Answer) {
        let ShardState::Releasing { in_flight, .. } = &mut self.shards[shard.index()] else { return };
        *in_flight = false;
        if let Answer::Done(version) = *answer {
            self.shards[shard.index()] = ShardState::None;
            let holder = Holder::Released(self.own.name.clone());
            self.view.shard_seen(now, ShardRecord { shard, version, lease: Some(self.timing.lease), holder });
        } else {
            self.view.shards[shard.index()].retry = now + self.timing.period / 4;
        }
    }

    pub(super) fn release_shards(&mut self, now: Duration, actions: &mut Vec<Action>) {
        for shard in Shard::all().take(self.shards.len()) {
            match &mut self.shards[shard.index()] {
                ShardState::Held(version) if self.leaving => {
                    self.shards[shard.index()] = ShardState::Closing(*version);
                    actions.push(Action::Close(shard, LossReason::Leaving));
                }
                ShardState::Releasing { version, in_flight }
                    if !*in_flight && now >= self.view.shards[shard.index()].retry =>
                {
                    *in_flight = true;
                    let by = self.own.name.clone();
                    actions.push(Action::Send(Request::ReleaseShard(shard, *version, by)));
                }
                _ => {}
            }
        }
    }

    /// Takes free shards that are meant for us, and closes shards that are meant for others.
    pub(super) fn move_shards(&mut self, now: Duration, actions: &mut Vec<Action>) {
        if self.leaving {
            return;
        }
        let me = self.own.name.clone();
        let owners = assign(&self.view.takers(now), &self.view.holders());
        for (shard, owner) in Shard::all().zip(owners) {
            let mine = owner.as_ref() == Some(&me);
            match self.shards[shard.index()] {
                ShardState::Held(version) if owner.is_some() && !mine => {
                    self.shards[shard.index()] = ShardState::Closing(version);
                    actions.push(Action::Close(shard, LossReason::Balance));
                }
                ShardState::None if now >= self.view.preceded => {
                    let seen = &self.view.shards[shard.index()];
                    let wait = if mine { Duration::ZERO } else { self.timing.anyone };
                    let Some((since, how)) = self.view.free_since(shard, &me) else { continue };
                    if now < since + wait || now < seen.retry {
                        continue;
                    }
                    let (state, request) = match &seen.record {
                        None => (ShardState::Creating, Request::CreateShard(shard, me.clone())),
                        Some(record) => (
                            ShardState::Taking { listed: false, how },
                            Request::TakeShard(shard, record.version, me.clone()),
                        ),
                    };
                    self.shards[shard.index()] = state;
                    actions.push(Action::Send(request));
                }
                _ => {}
            }
        }
    }
}
