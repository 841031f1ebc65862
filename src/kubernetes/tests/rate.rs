//! Tests of `rate.rs`.

use parking_lot::Mutex;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_rate_is_kept_over_a_second_and_what_is_off_waits_for_nothing() {
    let rate = Rate::new(std::num::NonZeroU32::new(10));
    let start = Instant::now();
    for _ in 0..21 {
        rate.turn(|| false).await;
    }
    assert_eq!(start.elapsed(), Duration::from_secs(2));
    rate.turn(|| true).await;
    assert_eq!(start.elapsed(), Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn writes_go_in_the_order_in_which_they_came() {
    let rate = Rate::new(std::num::NonZeroU32::new(1));
    let sent = Mutex::new(Vec::new());
    let write = async |number: u32| {
        // They come one after the other, as tasks of a queue do.
        tokio::time::sleep(Duration::from_millis(u64::from(number) * 7)).await;
        rate.turn(|| false).await;
        sent.lock().push(number);
    };
    let begun = Instant::now();
    futures::future::join_all((0..40).map(write)).await;
    assert_eq!(*sent.lock(), (0..40).collect::<Vec<_>>());
    assert!(begun.elapsed() >= Duration::from_secs(39), "{:?}", begun.elapsed());
}
