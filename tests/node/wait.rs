//! Waiting for what will be.

use std::time::{Duration, Instant};

use testbed::Patience;
use tokio::time::sleep;

/// Ample: pods take 10 s to be ready on an idle machine, but the cores may be busy compiling.
const PATIENCE: Duration = Duration::from_secs(180);
const PAUSE: Duration = Duration::from_millis(100);

/// Looks again and again until the answer is `Ok`, as long as what is seen instead changes, and tells how long that took.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Result<T, String>) -> (T, Duration) {
    let begun = Instant::now();
    let mut patience = Patience::new(what, PATIENCE);
    loop {
        match look().await {
            Ok(value) => return (value, begun.elapsed()),
            Err(seen) => patience.look(seen).unwrap_or_else(|why| panic!("{why}")),
        }
        sleep(PAUSE).await;
    }
}
