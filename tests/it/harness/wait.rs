//! Waiting for what will be, and for what must not be.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use testbed::Patience;
use tokio::time::sleep;

/// What is waited for mostly takes milliseconds, but the cores may be busy with anything.
const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(40);

/// `n` seconds.
pub const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Looks again and again until the answer is `Ok`, as long as what is seen instead changes.
#[track_caller]
pub fn eventually<T>(what: impl Into<String>, look: impl AsyncFnMut() -> Result<T, String>) -> impl Future<Output = T> {
    eventually_within(PATIENCE, what, look)
}

/// As [`eventually`], with another patience with what stands still.
#[track_caller]
pub fn eventually_within<T>(
    patience: Duration,
    what: impl Into<String>,
    mut look: impl AsyncFnMut() -> Result<T, String>,
) -> impl Future<Output = T> {
    let (what, place) = (what.into(), std::panic::Location::caller());
    async move {
        let mut patience = Patience::new(what, patience);
        loop {
            match look().await {
                Ok(value) => return value,
                Err(seen) => patience.look(seen).unwrap_or_else(|why| panic!("{place}: {why}")),
            }
            sleep(PAUSE).await;
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
