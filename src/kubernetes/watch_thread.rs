//! Where the watches of a replica run: on a thread of their own, which rests while they are busy. Waking for an event costs
//! as much as decoding it, or more. So the thread reads together what comes within a moment, as a network card does with
//! its interrupts, and no worker is woken beside it.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::kubernetes::client::Server;

/// How long the thread rests, and the longest that an event waits for it. None of these events decides who may write:
/// Leases are watched elsewhere.
const REST: Duration = Duration::from_millis(10);
/// The watches are busy when one event follows another within this time. An event that comes alone is read at once.
const BUSY: Duration = Duration::from_millis(20);

/// Starts the thread; it ends with `end`. A simulation has one thread for everything.
///
/// # Errors
/// When the system refuses.
pub fn start(server: &Server, tracker: &TaskTracker, end: CancellationToken) -> io::Result<Handle> {
    if matches!(server, Server::Within(_)) {
        return Ok(Handle::current());
    }
    let runtime = Builder::new_current_thread().enable_all().on_thread_unpark(rest(REST, BUSY)).build()?;
    let handle = runtime.handle().clone();
    tracker.spawn_blocking(move || {
        runtime.block_on(end.cancelled());
        // A task may still wait for the name server.
        runtime.shutdown_background();
    });
    Ok(handle)
}

fn rest(rest: Duration, busy: Duration) -> impl Fn() {
    let woken = Mutex::new(None::<Instant>);
    move || {
        let mut woken = woken.lock();
        if woken.is_some_and(|last| last.elapsed() < busy) {
            thread::sleep(rest);
        }
        *woken = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_runs_there_is_elsewhere_and_ends_with_the_end() {
        let (tracker, end) = (TaskTracker::new(), CancellationToken::new());
        let server = Server::Remote(Box::new(kube::Config::new(http::Uri::from_static("http://localhost"))));
        let handle = start(&server, &tracker, end.clone()).unwrap();
        let there = tracker.spawn_on(async { thread::current().id() }, &handle).await.unwrap();
        assert_ne!(there, thread::current().id());
        tracker.spawn_on(std::future::pending::<()>(), &handle);
        end.cancel();
        tracker.close();
        tracker.wait().await;
    }
}
