//! One test for each rule of the machine that a reader may look for.

use std::time::Duration;

use crate::leadership::*;
use crate::rules::shard::Shard;
use crate::rules::uid::{Uid, Version};

const SECOND: Duration = Duration::from_secs(1);

fn uid(n: u64) -> Uid {
    Uid::parse(&format!("00000000-0000-0000-8000-{n:012x}")).unwrap()
}

fn version(of: u64, rv: u64) -> Version {
    Version { uid: uid(of), rv }
}

fn session(name: &str, rv: u64, renewal: u64, phase: Phase, lease: u64) -> SessionRecord {
    let lease = Some(Duration::from_secs(lease));
    SessionRecord { name: SessionName::new(name), version: version(1, rv), lease, phase, renewal }
}

fn shard(rv: u64, holder: Holder) -> ShardRecord {
    ShardRecord { shard: zero(), version: version(2, rv), lease: Some(10 * SECOND), holder }
}

fn named(name: &str) -> Holder {
    Holder::Named(SessionName::new(name))
}

fn zero() -> Shard {
    Shard::new(0).unwrap()
}

/// One machine with one shard, whose renewals are all done and come back at once.
struct Bench {
    machine: Machine,
    now: Duration,
    version: u64,
    /// Requests other than renewals, and what was opened, closed or lost.
    said: Vec<Action>,
}

impl Bench {
    /// Its session is established, and the first list showed these Leases.
    fn new(mut listed: Vec<Record>) -> Self {
        let machine = Machine::new("me", Timing::default(), 1, Duration::ZERO);
        let mut bench = Self { machine, now: Duration::ZERO, version: 100, said: vec![] };
        bench.step(Input::Relisting);
        listed.push(Record::Session(session("me", bench.version, 1, Phase::Live, 10)));
        bench.step(Input::Relisted(listed));
        bench
    }

    fn step(&mut self, input: Input) {
        for action in self.machine.step(self.now, input) {
            let Action::Send(request) = &action else {
                self.said.push(action);
                continue;
            };
            let (Request::CreateSession { renewal, .. } | Request::Renew { renewal, .. }) = request else {
                self.said.push(action);
                continue;
            };
            self.version += 1;
            let name = self.machine.session().to_string();
            let record = session(&name, self.version, *renewal, Phase::Live, 10);
            self.step(Input::Answered(request.clone(), Answer::Done(version(1, self.version))));
            self.step(Input::Observed(Record::Session(record)));
        }
    }

    /// Time goes on in tenths of a second; says what was said meanwhile.
    fn wait(&mut self, time: Duration) -> Vec<Action> {
        let until = self.now + time;
        while self.now < until {
            self.now += SECOND / 10;
            self.step(Input::Tick);
        }
        std::mem::take(&mut self.said)
    }

    fn take(&mut self, rv: u64) -> Action {
        let request = Request::TakeShard(zero(), version(2, rv), self.machine.session().clone());
        Action::Send(request)
    }

    /// Answers the one request that was said.
    fn answer(&mut self, said: &[Action], answer: Answer) -> Vec<Action> {
        let [Action::Send(request)] = said else { panic!("not one request: {said:?}") };
        self.step(Input::Answered(request.clone(), answer));
        std::mem::take(&mut self.said)
    }

    fn hold(&mut self, said: &[Action]) {
        self.version += 1;
        let rv = self.version;
        let opened = self.answer(said, Answer::Done(version(2, rv)));
        assert!(matches!(opened[..], [Action::Open(..)]), "{opened:?}");
    }
}

#[test]
fn a_released_shard_is_taken_at_once() {
    let mut bench = Bench::new(vec![Record::Shard(shard(50, Holder::Released(SessionName::new("x"))))]);
    let said = bench.wait(SECOND / 10);
    assert_eq!(said, [bench.take(50)]);
    bench.hold(&said);
    assert!(bench.machine.holds(zero()) && bench.machine.gate_is_open(bench.now));
}

#[test]
fn what_nobody_released_is_waited_out() {
    for holder in [Holder::Cleared, named("joe")] {
        let mut bench = Bench::new(vec![Record::Shard(shard(50, holder))]);
        assert_eq!(bench.wait(99 * SECOND / 10), []);
        assert_eq!(bench.wait(SECOND / 5), [bench.take(50)]);
    }
}

#[test]
fn a_missing_shard_is_created_for_nobody_and_waited_out() {
    let mut bench = Bench::new(vec![]);
    let said = bench.wait(SECOND / 10);
    assert!(matches!(said[..], [Action::Send(Request::CreateShard(..))]), "{said:?}");
    assert_eq!(bench.answer(&said, Answer::Done(version(2, 500))), []);
    bench.version = 500;
    bench.step(Input::Observed(Record::Shard(shard(500, Holder::Cleared))));
    assert_eq!(bench.wait(99 * SECOND / 10), []);
    assert_eq!(bench.wait(SECOND / 5), [bench.take(500)]);
}

#[test]
fn a_session_is_judged_by_the_duration_in_its_record_and_ended_before_its_shards_are_taken() {
    let other = session("other", 60, 7, Phase::Live, 30);
    let mut bench = Bench::new(vec![Record::Session(other.clone()), Record::Shard(shard(50, named("other")))]);
    assert_eq!(bench.wait(299 * SECOND / 10), []);
    let said = bench.wait(SECOND / 5);
    assert_eq!(said, [Action::Send(Request::EndSession(SessionRecord { phase: Phase::Ended, ..other }))]);
    let said = bench.answer(&said, Answer::Done(version(1, 500)));
    assert_eq!(said, [bench.take(50)]);
}

#[test]
fn a_duration_that_a_hand_made_shorter_is_not_believed() {
    let other = session("other", 60, 7, Phase::Live, 10);
    let mut bench = Bench::new(vec![Record::Session(other), Record::Shard(shard(50, named("other")))]);
    bench.wait(11 * SECOND / 10);
    bench.step(Input::Observed(Record::Session(session("other", 61, 7, Phase::Live, 1))));
    assert_eq!(bench.wait(99 * SECOND / 10), []);
}

#[test]
fn a_shard_whose_answer_got_lost_is_swapped_again_after_a_whole_lease() {
    let mut bench = Bench::new(vec![Record::Shard(shard(50, Holder::Released(SessionName::new("x"))))]);
    let said = bench.wait(SECOND / 10);
    bench.answer(&said, Answer::Failed);
    bench.step(Input::Observed(Record::Shard(shard(70, named("me")))));
    assert_eq!(bench.wait(99 * SECOND / 10), []);
    let said = bench.wait(SECOND / 5);
    assert_eq!(said, [bench.take(70)]);
    bench.hold(&said);
}

#[test]
fn a_holder_never_fights() {
    let held = || {
        let mut bench = Bench::new(vec![Record::Shard(shard(50, Holder::Released(SessionName::new("x"))))]);
        let said = bench.wait(SECOND / 10);
        bench.hold(&said);
        bench.version = 900;
        bench
    };
    let mut bench = held();
    bench.step(Input::Observed(Record::Shard(shard(900, named("other")))));
    assert_eq!(bench.said, [Action::Lose(zero(), LossReason::Taken)]);
    let mut bench = held();
    bench.step(Input::Gone(Record::Shard(shard(900, named("me")))));
    assert_eq!(bench.said[0], Action::Lose(zero(), LossReason::Taken));
    let mut bench = held();
    bench.step(Input::Observed(Record::Session(session("me", 900, 1, Phase::Ended, 10))));
    assert!(matches!(bench.said[..], [Action::Lose(..), Action::Renamed(_, Loss::Ended)]), "{:?}", bench.said);
}

#[test]
fn the_gate_counts_from_a_renewal_that_came_back() {
    let mut machine = Machine::new("me", Timing::default(), 1, Duration::ZERO);
    let said = machine.step(Duration::ZERO, Input::Tick);
    let [Action::Send(request)] = &said[..] else { panic!("{said:?}") };
    machine.step(SECOND, Input::Answered(request.clone(), Answer::Done(version(1, 5))));
    assert_eq!(machine.gate(), None);
    machine.step(2 * SECOND, Input::Observed(Record::Session(session("me", 5, 1, Phase::Live, 10))));
    assert_eq!(machine.gate(), Some(5 * SECOND), "10 s from when it was sent, less 4 s and 1 s");
    assert!(machine.gate_is_open(4 * SECOND) && !machine.gate_is_open(5 * SECOND));
}

#[test]
fn a_lease_that_is_older_than_we_wrote_it_means_that_etcd_was_restored() {
    let mut bench = Bench::new(vec![]);
    bench.wait(5 * SECOND);
    bench.step(Input::Relisting);
    bench.step(Input::Relisted(vec![Record::Session(session("me", 90, 1, Phase::Live, 10))]));
    assert!(matches!(bench.said[..], [Action::Restored, Action::Renamed(_, Loss::Restored)]), "{:?}", bench.said);
}

#[test]
fn leaving_drains_before_it_releases_and_ends_the_session_last() {
    let mut bench = Bench::new(vec![Record::Shard(shard(50, Holder::Released(SessionName::new("x"))))]);
    let said = bench.wait(SECOND / 10);
    bench.hold(&said);
    bench.step(Input::Leave);
    assert_eq!(bench.wait(SECOND), [Action::Close(zero(), LossReason::Leaving)]);
    bench.step(Input::Drained(zero()));
    let said = std::mem::take(&mut bench.said);
    assert!(matches!(said[..], [Action::Send(Request::ReleaseShard(..))]), "{said:?}");
    let said = bench.answer(&said, Answer::Done(version(2, 900)));
    assert!(matches!(&said[..], [Action::Send(Request::EndSession(ended))] if ended.name.as_str() == "me"), "{said:?}");
    assert_eq!(bench.answer(&said, Answer::Done(version(1, 901))), [Action::Left]);
}

#[test]
fn nothing_is_taken_while_the_predecessor_is_at_work() {
    let predecessor = |rv| Record::Predecessor { rv, lease: Some(15 * SECOND) };
    let mut bench = Bench::new(vec![predecessor(1), Record::Shard(shard(49, Holder::Cleared))]);
    bench.step(Input::Observed(predecessor(2)));
    bench.step(Input::Observed(Record::Shard(shard(50, Holder::Released(SessionName::new("x"))))));
    assert_eq!(bench.wait(149 * SECOND / 10), []);
    assert_eq!(bench.wait(SECOND / 5), [bench.take(50)]);
}
