//! Tests of `limiter.rs`.

use super::*;

const HERE: &str = "here";

#[tokio::test(start_paused = true)]
async fn busy_answers_halve_it_once_and_answers_in_time_bring_it_back() {
    let limiter = Limiter::new(32);
    assert!(!limiter.failed(HERE, Instant::now()));
    assert!(!limiter.failed(HERE, Instant::now()));
    assert_eq!(limiter.limit(), 16);
    tokio::time::advance(COOL_DOWN).await;
    limiter.halve();
    assert_eq!(limiter.limit(), 8);
    for _ in 0..2_000 {
        limiter.answered(HERE, SLOW);
    }
    assert_eq!(limiter.limit(), 32);
}

#[test]
fn slow_answers_shrink_it_to_a_few_unless_the_server_is_far() {
    let limiter = Limiter::new(32);
    limiter.answered(HERE, Duration::from_millis(5));
    for _ in 0..32 {
        limiter.answered(HERE, SLOW * 2);
    }
    assert!((10..16).contains(&limiter.limit()), "a third, after as many as were out: {}", limiter.limit());
    for _ in 0..1_000 {
        limiter.answered(HERE, SLOW * 2);
    }
    assert_eq!(limiter.limit(), FEW as usize);
    limiter.halve();
    limiter.answered(HERE, SLOW * 2);
    assert_eq!(limiter.limit(), 2, "busy is less than slow");
    for _ in 0..2_000 {
        limiter.answered(HERE, SLOW);
    }
    assert_eq!(limiter.limit(), 32);
    let far = Limiter::new(32);
    (0..100).for_each(|_| far.answered(HERE, SLOW * 3));
    assert_eq!(far.limit(), 32);
}

#[tokio::test(start_paused = true)]
async fn what_few_namespaces_show_is_no_evidence() {
    let limiter = Limiter::new(32);
    for round in 0..100 {
        for namespace in 0..20 {
            limiter.answered(&format!("healthy-{namespace}"), Duration::from_millis(5));
        }
        for namespace in 0..10 {
            let name = format!("sick-{namespace}");
            match round % 3 {
                0 => limiter.answered(&name, Duration::from_secs(3)),
                _ => assert!(limiter.failed(&name, Instant::now()), "confined"),
            }
        }
    }
    assert_eq!(limiter.limit(), 32);
    assert_eq!(limiter.patience(), LATE_AT_LEAST);
    for namespace in 0..20 {
        limiter.failed(&format!("healthy-{namespace}"), Instant::now());
    }
    assert_eq!(limiter.limit(), 16, "most of them: it is the server");
}

#[tokio::test(start_paused = true)]
async fn silence_is_the_servers_while_the_heartbeat_is_silent_too() {
    let limiter = Limiter::new(32);
    let sent = Instant::now();
    tokio::time::advance(Duration::from_secs(1)).await;
    limiter.heartbeat(Instant::now());
    tokio::time::advance(Duration::from_secs(3)).await;
    assert!(limiter.failed(HERE, sent));
    assert_eq!(limiter.limit(), 32);
    assert!(!limiter.failed(HERE, Instant::now()), "nothing was heard since this one was sent");
    assert_eq!(limiter.limit(), 16);
}

#[tokio::test(start_paused = true)]
async fn the_fastest_answer_fades() {
    let limiter = Limiter::new(32);
    limiter.answered(HERE, Duration::from_millis(2));
    let moved = Duration::from_millis(120);
    (0..1_000).for_each(|_| limiter.answered(HERE, moved));
    assert_eq!(limiter.limit(), FEW as usize);
    for _ in 0..3 {
        tokio::time::advance(FASTEST_WITHIN).await;
        (0..1_000).for_each(|_| limiter.answered(HERE, moved));
    }
    assert_eq!(limiter.limit(), 32);
}

#[tokio::test(start_paused = true)]
async fn no_more_than_the_limit_are_out_and_each_one_comes_back() {
    let limiter = Limiter::new(2);
    let (first, _second) = (limiter.acquire().await, limiter.acquire().await);
    assert!(tokio::time::timeout(Duration::from_secs(1), limiter.acquire()).await.is_err());
    drop(first);
    assert!(tokio::time::timeout(Duration::from_secs(1), limiter.acquire()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_late_write_gives_its_place_back_but_not_every_one() {
    let limiter = Limiter::new(1);
    let mut late = Vec::new();
    for _ in 0..LATE_WRITES {
        let mut permit = limiter.acquire().await;
        permit.give_back_early();
        assert!(permit.late);
        late.push(permit);
    }
    let mut one_more = limiter.acquire().await;
    one_more.give_back_early();
    assert!(!one_more.late, "there are too many late ones");
    assert!(tokio::time::timeout(Duration::from_secs(1), limiter.acquire()).await.is_err());
    drop(late);
    drop(one_more);
    limiter.acquire().await;
}
