//! Waiting for what will be, and for what must not be.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use tokio::time::sleep;

/// Ample: what is waited for mostly takes milliseconds, but the cores may be busy compiling.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(40);

/// `n` seconds.
pub const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Looks again and again until the answer is `Ok`; the last `Err` says what was seen when time was up.
#[track_caller]
pub fn eventually<T>(what: impl Into<String>, look: impl AsyncFnMut() -> Result<T, String>) -> impl Future<Output = T> {
    eventually_within(PATIENCE, what, look)
}

/// As [`eventually`], with more or less patience.
#[track_caller]
pub fn eventually_within<T>(
    patience: Duration,
    what: impl Into<String>,
    mut look: impl AsyncFnMut() -> Result<T, String>,
) -> impl Future<Output = T> {
    let (what, place) = (what.into(), std::panic::Location::caller());
    async move {
        let deadline = Instant::now() + patience;
        loop {
            match look().await {
                Ok(value) => return value,
                Err(seen) if Instant::now() > deadline => {
                    panic!("{place}: not within {patience:?}: {what}\nlast seen: {seen}")
                }
                Err(_) => sleep(PAUSE).await,
            }
        }
    }
}

/// Looks again and again, and fails as soon as the answer is another than it is now.
#[track_caller]
pub fn stays<T: PartialEq + Debug>(
    what: impl Into<String>,
    during: Duration,
    mut look: impl AsyncFnMut() -> T,
) -> impl Future<Output = T> {
    let (what, place) = (what.into(), std::panic::Location::caller());
    async move {
        let begun = Instant::now();
        let first = look().await;
        while begun.elapsed() < during {
            sleep(PAUSE).await;
            let now = look().await;
            assert_eq!(now, first, "{place}: after {:?} this was no longer so: {what}", begun.elapsed());
        }
        first
    }
}
