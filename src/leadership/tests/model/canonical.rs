//! What makes the world finite. Times are kept relative to now, and only as far back as anything follows from them;
//! versions, UIDs and numbers of renewals are only ever compared, so they are numbered anew without changing their order.

use std::time::Duration;

use crate::leadership::machine::Machine;
use crate::leadership::shard_state::ShardState;
use crate::leadership::tests::model::scenario::Scenario;
use crate::leadership::tests::model::world::{NOW, Replica, TICK, World, uid};
use crate::leadership::{Answer, Record, Request, SessionName};
use crate::rules::uid::Uid;

/// A number of which only the order counts.
enum Number<'a> {
    Version(&'a mut u64),
    Uid(&'a mut Uid),
    Renewal(&'a SessionName, &'a mut u64),
}

impl Replica {
    /// Its clock has gone on by so many ticks.
    pub(super) fn age(&mut self, ticks: u8) {
        let passed = TICK * u32::from(ticks);
        times(&mut self.machine, &mut |time, _| *time = time.saturating_sub(passed));
        self.busy.iter_mut().for_each(|left| *left = left.saturating_sub(ticks));
        self.ran = false;
        self.paused = self.paused.saturating_sub(1);
        self.lagging = self.lagging.saturating_sub(1);
    }
}

impl World {
    /// The same world in the form that all worlds have from which the same follows.
    pub(super) fn canonical(mut self, scenario: &Scenario) -> Self {
        // Nothing follows from what is longer ago: the longest lease, and the time after which a shard is anyone's.
        let long_ago = NOW - TICK * u32::from(scenario.longest() + 2);
        for replica in self.replicas.iter_mut().flatten() {
            times(&mut replica.machine, &mut |time, deadline| {
                *time = (*time).max(if deadline { NOW } else { long_ago });
            });
        }
        self.flights.retain(|flight| !(flight.done && flight.closed));
        self.flights.sort_by_key(|flight| flight.process);
        self.renumber();
        self
    }

    fn renumber(&mut self) {
        let (mut versions, mut uids, mut renewals) = (vec![0], vec![uid(0)], vec![]);
        self.numbers(&mut |number| match number {
            Number::Version(version) => versions.push(*version),
            Number::Uid(uid) => uids.push(*uid),
            Number::Renewal(name, renewal) => renewals.push((name.clone(), *renewal)),
        });
        versions.sort_unstable();
        versions.dedup();
        uids.sort_unstable();
        uids.dedup();
        renewals.sort_unstable();
        renewals.dedup();
        self.numbers(&mut |number| match number {
            Number::Version(version) => *version = versions.partition_point(|other| other < version) as u64,
            Number::Uid(of) => *of = uid(uids.partition_point(|other| other < of)),
            Number::Renewal(name, renewal) => {
                let before = |(other, number): &&(SessionName, u64)| other == name && *number < *renewal && *number > 0;
                if *renewal > 0 {
                    *renewal = 1 + renewals.iter().filter(before).count() as u64;
                }
            }
        });
        self.store.version = versions.len() as u64 - 1;
    }

    fn numbers(&mut self, f: &mut impl FnMut(Number<'_>)) {
        for record in self.store.sessions.values_mut() {
            f(Number::Version(&mut record.version.rv));
            f(Number::Uid(&mut record.version.uid));
            f(Number::Renewal(&record.name, &mut record.renewal));
        }
        for record in self.store.shards.values_mut() {
            f(Number::Version(&mut record.version.rv));
            f(Number::Uid(&mut record.version.uid));
        }
        for flight in &mut self.flights {
            requested(&mut flight.request, f);
        }
        for replica in self.replicas.iter_mut().flatten() {
            known(&mut replica.machine, f);
            for (request, answer) in &mut replica.answers {
                requested(request, f);
                match answer {
                    Answer::Done(version) => {
                        f(Number::Version(&mut version.rv));
                        f(Number::Uid(&mut version.uid));
                    }
                    Answer::Found(record) => {
                        f(Number::Version(&mut record.version.rv));
                        f(Number::Uid(&mut record.version.uid));
                        f(Number::Renewal(&record.name, &mut record.renewal));
                    }
                    Answer::Conflict | Answer::Missing | Answer::Failed => {}
                }
            }
            for (record, _) in &mut replica.events {
                match record {
                    Record::Session(record) => {
                        f(Number::Version(&mut record.version.rv));
                        f(Number::Uid(&mut record.version.uid));
                        f(Number::Renewal(&record.name, &mut record.renewal));
                    }
                    Record::Shard(record) => {
                        f(Number::Version(&mut record.version.rv));
                        f(Number::Uid(&mut record.version.uid));
                    }
                    Record::Predecessor { .. } => {}
                }
            }
        }
    }
}

fn requested(request: &mut Request, f: &mut impl FnMut(Number<'_>)) {
    match request {
        Request::CreateSession { name, renewal } => f(Number::Renewal(name, renewal)),
        Request::Renew { name, version, renewal, .. } => {
            f(Number::Version(&mut version.rv));
            f(Number::Uid(&mut version.uid));
            f(Number::Renewal(name, renewal));
        }
        Request::EndSession(record) => {
            f(Number::Version(&mut record.version.rv));
            f(Number::Uid(&mut record.version.uid));
            f(Number::Renewal(&record.name, &mut record.renewal));
        }
        Request::TakeShard(_, version, _) | Request::ReleaseShard(_, version, _) => {
            f(Number::Version(&mut version.rv));
            f(Number::Uid(&mut version.uid));
        }
        Request::LookAtSession(_) | Request::CreateShard(..) => {}
    }
}

fn known(machine: &mut Machine, f: &mut impl FnMut(Number<'_>)) {
    let own = &mut machine.own;
    for version in own.lease.iter_mut().chain(&mut own.floor) {
        f(Number::Version(&mut version.rv));
        f(Number::Uid(&mut version.uid));
    }
    own.in_flight.iter_mut().for_each(|version| f(Number::Version(version)));
    own.sent.iter_mut().for_each(|(renewal, _)| f(Number::Renewal(&own.name, renewal)));
    f(Number::Renewal(&own.name, &mut own.last));
    f(Number::Renewal(&own.name, &mut own.done));
    f(Number::Version(&mut machine.view.highest));
    for seen in machine.view.sessions.values_mut() {
        f(Number::Version(&mut seen.record.version.rv));
        f(Number::Uid(&mut seen.record.version.uid));
        f(Number::Renewal(&seen.record.name, &mut seen.record.renewal));
    }
    for seen in &mut machine.view.shards {
        f(Number::Version(&mut seen.highest));
        if let Some(record) = &mut seen.record {
            f(Number::Version(&mut record.version.rv));
            f(Number::Uid(&mut record.version.uid));
        }
    }
    for state in &mut machine.shards {
        match state {
            ShardState::Held(version) | ShardState::Closing(version) | ShardState::Releasing { version, .. } => {
                f(Number::Version(&mut version.rv));
                f(Number::Uid(&mut version.uid));
            }
            ShardState::None | ShardState::Creating | ShardState::Taking { .. } => {}
        }
    }
}

/// All times that a machine keeps; true with those that only say from when on something may be done.
fn times(machine: &mut Machine, f: &mut impl FnMut(&mut Duration, bool)) {
    let own = &mut machine.own;
    own.sent.iter_mut().for_each(|(_, sent)| f(sent, false));
    own.confirmed.iter_mut().for_each(|sent| f(sent, false));
    f(&mut own.due, true);
    f(&mut own.retry, true);
    f(&mut own.rewatch, true);
    let view = &mut machine.view;
    for seen in view.sessions.values_mut() {
        f(&mut seen.changed, false);
        f(&mut seen.retry, true);
    }
    for seen in &mut view.shards {
        f(&mut seen.changed, false);
        f(&mut seen.retry, true);
    }
    f(&mut view.preceded, true);
    view.synced.iter_mut().for_each(|synced| f(synced, false));
}
