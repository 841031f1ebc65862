//! Waiting for what will be.

use std::time::{Duration, Instant};

use tokio::time::sleep;

/// Ample: pods take 10 s to be ready on an idle machine, but the cores may be busy compiling.
const PATIENCE: Duration = Duration::from_secs(180);
const PAUSE: Duration = Duration::from_millis(100);

/// Looks again and again until the answer is `Ok`, and tells how long that took; the last `Err` says what was seen when time
/// was up.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Result<T, String>) -> (T, Duration) {
    let begun = Instant::now();
    loop {
        match look().await {
            Ok(value) => return (value, begun.elapsed()),
            Err(seen) if begun.elapsed() > PATIENCE => panic!("not within {PATIENCE:?}: {what}\nlast seen: {seen}"),
            Err(_) => sleep(PAUSE).await,
        }
    }
}
