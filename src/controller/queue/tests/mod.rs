//! The queue in simulated time.

use std::time::Duration;

use crate::controller::queue::lanes::{DATA_FLOWS, STATUS_PACE, STATUS_PATIENCE};
use crate::controller::queue::*;
use crate::rules::key::CopyKey;
use crate::rules::record::{ConfigMapMeta, SlimArc};
use crate::rules::testing::{meta, object_key, uid, version};

fn open_queue() -> Queue {
    let queue = Queue::default();
    Shard::all().for_each(|shard| queue.open(shard));
    queue
}

impl KeyState {
    fn of_copy(key: ObjectKey, meta: SlimArc<ConfigMapMeta>) -> Self {
        let mut key_state = Self::default();
        key_state.copy.answer = Some((key, meta));
        key_state
    }
}

impl Queue {
    /// Keys in the lane for data, and keys in all.
    fn counts(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.depths()[0].1, state.items.len())
    }
}

fn push(queue: &Queue, number: u64, source: &str) {
    queue.push(Key::Object(uid(number)), Some(object_key(source)), &Cause { urgent: true, ..Cause::default() });
}

/// The next key, if there is one now.
async fn pop(queue: &Queue) -> Option<Job> {
    tokio::time::timeout(Duration::from_millis(1), queue.pop()).await.ok()
}

fn done(queue: &Queue, job: Job, outcome: Outcome) {
    queue.done(job.key, job.key_state, outcome, None, None);
}

#[tokio::test(start_paused = true)]
async fn what_an_answer_told_is_no_news_when_a_stream_tells_it() {
    let queue = open_queue();
    let observed = |rv| {
        queue.push(
            Key::Object(uid(1)),
            Some(object_key("a/x")),
            &Cause { observed: Some(version(7, rv)), ..Cause::default() },
        )
    };
    for (outcome, left) in [(Outcome::Status, 1), (Outcome::Rest(None), 0)] {
        let written = |rv| KeyState::of_copy(object_key("b/x"), SlimArc::new(meta(7, rv)));
        push(&queue, 1, "a/x");
        let job = pop(&queue).await.unwrap();
        queue.done(job.key, written(30), outcome, None, None);
        observed(30);
        assert_eq!(queue.counts(), (0, left), "it is not looked at again");
        observed(31);
        let job = pop(&queue).await.expect("somebody else has written");
        assert!(job.key_state.is_empty());
        [29, 30].into_iter().for_each(observed);
        queue.done(job.key, written(30), Outcome::Rest(None), None, None);
        assert_eq!(queue.counts(), (0, 0), "it came before the answer");
        push(&queue, 1, "a/x");
        let job = pop(&queue).await.unwrap();
        [30, 31].into_iter().for_each(observed);
        queue.done(job.key, written(30), Outcome::Rest(None), None, None);
        assert_eq!(queue.counts(), (1, 1), "somebody else has written");
        let job = pop(&queue).await.unwrap();
        queue.done(job.key, job.key_state, Outcome::Rest(None), None, None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_waits_once_and_works_alone_and_a_change_meanwhile_runs_it_again() {
    let queue = open_queue();
    push(&queue, 1, "a/x");
    push(&queue, 1, "a/x");
    let job = pop(&queue).await.unwrap();
    push(&queue, 1, "a/x");
    assert!(pop(&queue).await.is_none(), "it is at work");
    done(&queue, job, Outcome::Rest(None));
    let job = pop(&queue).await.unwrap();
    done(&queue, job, Outcome::Rest(None));
    assert!(pop(&queue).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_small_source_does_not_wait_for_a_big_one() {
    let queue = open_queue();
    (0..100).for_each(|number| push(&queue, number, "big/x"));
    push(&queue, 100, "small/x");
    pop(&queue).await.unwrap();
    assert_eq!(pop(&queue).await.unwrap().key, Key::Object(uid(100)));
}

/// So many keys of which the copy was just written.
async fn with_statuses(keys: u64) -> Queue {
    let queue = open_queue();
    (0..keys).for_each(|number| push(&queue, number, "a/x"));
    let mut jobs = Vec::new();
    for _ in 0..keys {
        jobs.push(queue.pop().await);
    }
    jobs.into_iter().for_each(|job| done(&queue, job, Outcome::Status));
    queue
}

#[tokio::test(start_paused = true)]
async fn while_copies_wait_statuses_are_paced_and_get_more_when_they_have_waited_long() {
    let queue = with_statuses(50).await;
    (100..400).for_each(|number| push(&queue, number, "a/x"));
    let statuses = async |turns: usize| {
        let mut count = 0;
        for _ in 0..turns {
            count += usize::from(queue.pop().await.lane == Lane::Status);
        }
        count
    };
    assert_eq!(statuses(16).await, 1);
    tokio::time::advance(STATUS_PACE).await;
    assert_eq!(statuses(16).await, 1);
    queue.share_pace(3);
    tokio::time::advance(STATUS_PACE).await;
    assert_eq!(statuses(16).await, 1);
    tokio::time::advance(STATUS_PACE * 2).await;
    assert_eq!(statuses(16).await, 0, "the others do some meanwhile");
    tokio::time::advance(STATUS_PACE).await;
    assert_eq!(statuses(16).await, 1);
    tokio::time::advance(STATUS_PATIENCE).await;
    let many = statuses(64).await;
    assert!((8..=9).contains(&many), "one turn in eight: {many}");
    assert_eq!(statuses(300 + 50 - 144).await, 46 - many, "alone, it gets every turn");
}

#[tokio::test(start_paused = true)]
async fn right_after_a_copy_statuses_are_paced_and_soon_all_of_them_are_at_work() {
    let queue = with_statuses(12).await;
    let start = Instant::now();
    for at in 0..12 {
        queue.pop().await;
        assert_eq!(start.elapsed(), (STATUS_PACE * at).min(DATA_FLOWS), "number {at}");
    }
}

#[tokio::test(start_paused = true)]
async fn statuses_are_paced_while_another_replica_writes_copies() {
    let queue = with_statuses(12).await;
    let start = Instant::now();
    for at in 0..6 {
        queue.pop().await;
        assert_eq!(start.elapsed(), STATUS_PACE * at, "number {at}");
        queue.copy_written();
    }
    for at in 6..12 {
        queue.pop().await;
        assert_eq!(start.elapsed(), (STATUS_PACE * at).min(STATUS_PACE * 5 + DATA_FLOWS), "number {at}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_after_a_failure_is_ended_by_what_is_urgent_alone() {
    let queue = open_queue();
    push(&queue, 1, "a/x");
    let job = pop(&queue).await.unwrap();
    done(&queue, job, Outcome::Retry(Duration::from_secs(60)));
    queue.push(Key::Object(uid(1)), None, &Cause::default());
    assert!(pop(&queue).await.is_none(), "its own status came back");
    push(&queue, 1, "a/x");
    let job = pop(&queue).await.unwrap();
    done(&queue, job, Outcome::Retry(Duration::from_secs(60)));
    let start = Instant::now();
    queue.pop().await;
    assert_eq!(start.elapsed(), Duration::from_secs(60));
}

#[tokio::test(start_paused = true)]
async fn a_closed_shard_drops_what_waits_and_tells_when_its_work_has_ended() {
    let queue = open_queue();
    let shard = Shard::of(uid(1));
    let other = (2..).find(|number| Shard::of(uid(*number)) != shard).unwrap();
    push(&queue, 1, "a/x");
    let job = pop(&queue).await.unwrap();
    push(&queue, other, "a/x");
    let mut drained = queue.close(shard);
    assert!(drained.try_recv().is_err(), "one is at work");
    push(&queue, 1, "a/x");
    done(&queue, job, Outcome::Status);
    assert!(drained.await.is_ok());
    assert_eq!(pop(&queue).await.map(|job| job.key), Some(Key::Object(uid(other))));
    push(&queue, 1, "a/x");
    assert!(pop(&queue).await.is_none(), "it is not held");
    assert!(queue.close(shard).await.is_ok(), "nothing is at work");
}

#[tokio::test(start_paused = true)]
async fn a_copys_key_waits_for_the_shard_of_its_namespace_and_beside_its_objects_key() {
    let queue = Queue::default();
    let object = uid(1);
    let copies = (1..)
        .map(|number| Key::Copy(SlimArc::new(CopyKey { object, namespace: uid(number << 40 | 1), name: "n".into() })));
    let copy = { copies }.find(|copy| copy.shard() != Key::Object(object).shard()).unwrap();
    queue.open(copy.shard());
    let push = |key| queue.push(key, Some(object_key("a/x")), &Cause::default());
    [Key::Object(object), copy.clone()].into_iter().for_each(push);
    let job = pop(&queue).await.unwrap();
    assert_eq!(
        (job.key.clone(), pop(&queue).await.map(|job| job.key)),
        (copy.clone(), None),
        "the object's shard is not held"
    );
    done(&queue, job, Outcome::Rest(None));
    queue.open(Key::Object(object).shard());
    [Key::Object(object), copy.clone()].into_iter().for_each(push);
    let drained = queue.close(copy.shard());
    assert_eq!(pop(&queue).await.map(|job| job.key), Some(Key::Object(object)), "the copy's key is dropped");
    assert!(drained.await.is_ok());
}
