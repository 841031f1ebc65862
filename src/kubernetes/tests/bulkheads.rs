//! Tests of `bulkheads.rs`.

use super::*;

fn door(namespace: &str) -> Door {
    Door { namespace: namespace.into(), resource: "configmaps", verb: "update" }
}

fn bulkheads() -> (Bulkheads, mpsc::UnboundedReceiver<Wake>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Bulkheads::new(sender), receiver)
}

#[tokio::test(start_paused = true)]
async fn one_write_at_a_time_goes_to_a_namespace_that_does_not_answer() {
    let (bulkheads, mut woken) = bulkheads();
    let (mut first, second) = (bulkheads.enter(door("a"), false).unwrap(), bulkheads.enter(door("a"), false).unwrap());
    first.mark_late();
    assert_eq!(bulkheads.enter(door("a"), true).err(), Some(BEHIND_ANOTHER), "not even when a person asks");
    assert!(bulkheads.enter(door("b"), false).is_ok());
    drop(second);
    first.end(Ended::Unanswered, "no answer within 4s");
    assert_eq!(bulkheads.enter(door("a"), false).err(), Some(FIRST_WAIT));
    assert!(bulkheads.enter(door("a"), true).is_ok(), "a person asked");
    tokio::time::advance(FIRST_WAIT).await;
    let again = bulkheads.enter(door("a"), false).unwrap();
    assert_eq!(again.timeout(), Some(ADMISSION_DEFAULT));
    again.end(Ended::Unanswered, "no answer within 12s");
    tokio::time::advance(FIRST_WAIT * 2).await;
    let again = bulkheads.enter(door("a"), false).unwrap();
    assert_eq!(again.timeout(), Some(ADMISSION_LONGEST));
    assert!(woken.try_recv().is_err());
    again.end(Ended::InTime, "");
    assert_eq!(woken.try_recv(), Ok(Wake::All("a".into())));
    assert!(bulkheads.enter(door("a"), false).is_ok_and(|entry| entry.timeout().is_none()));
}

#[tokio::test(start_paused = true)]
async fn writes_that_fail_together_are_one_attempt() {
    let (bulkheads, _woken) = bulkheads();
    let together: Vec<Entry> = (0..20).map(|_| bulkheads.enter(door("a"), false).unwrap()).collect();
    for mut entry in together {
        tokio::time::advance(Duration::from_millis(1)).await;
        entry.mark_late();
        entry.end(Ended::Unanswered, "no answer within 4s");
    }
    let wait = bulkheads.wait(&door("a")).unwrap();
    assert!(wait <= FIRST_WAIT, "{wait:?}");
    tokio::time::advance(wait).await;
    bulkheads.enter(door("a"), false).unwrap().end(Ended::Unanswered, "no answer within 12s");
    assert_eq!(bulkheads.wait(&door("a")), Some(FIRST_WAIT * 2));
}

#[tokio::test(start_paused = true)]
async fn slow_answers_let_one_after_the_other_in() {
    let (bulkheads, mut woken) = bulkheads();
    let mut entry = bulkheads.enter(door("a"), false).unwrap();
    entry.mark_late();
    entry.end(Ended::Late, "the answer took 3s");
    assert_eq!(woken.try_recv(), Ok(Wake::One("a".into())));
    let entry = bulkheads.enter(door("a"), false).unwrap();
    assert!(bulkheads.enter(door("a"), false).is_err());
    drop(entry);
    assert!(bulkheads.enter(door("a"), false).is_ok(), "one that is cut short lets the next one in");
}

#[tokio::test(start_paused = true)]
async fn what_is_the_servers_fault_sets_nobody_apart() {
    let (bulkheads, mut woken) = bulkheads();
    let mut entry = bulkheads.enter(door("a"), false).unwrap();
    entry.mark_late();
    entry.end(Ended::NotItsFault, "");
    assert_eq!(woken.try_recv(), Ok(Wake::All("a".into())));
    assert!(bulkheads.wait(&door("a")).is_none());
    bulkheads.enter(door("a"), false).unwrap().end(Ended::Throttled(FIRST_WAIT), "too many requests");
    assert_eq!(bulkheads.wait(&door("a")), Some(FIRST_WAIT));
    tokio::time::advance(FORGOTTEN_AFTER).await;
    bulkheads.tidy();
    assert!(bulkheads.shared.lock().is_empty(), "nobody writes there any more");
}
