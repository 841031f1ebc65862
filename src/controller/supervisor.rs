//! Long-lived tasks. One that ends before it is told to, by a panic or otherwise, ends the process: a replica that renews
//! its Lease and follows no watch is worse than none.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::FutureExt as _;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A task that panics drops its channels, and the tasks that read them end too. A task that ends without a panic waits this
/// long, so that the one that panicked is named.
const PANICS_FIRST: Duration = Duration::from_millis(100);

/// Starts long-lived tasks and notices when one ends early.
#[derive(Clone)]
pub struct Supervisor {
    tracker: TaskTracker,
    /// Ends every task.
    end: CancellationToken,
    /// Once the replica was told to stop, tasks may end.
    stop: CancellationToken,
    broken: CancellationToken,
    ended: Arc<OnceLock<&'static str>>,
}

impl Supervisor {
    /// Tasks run in `tracker`, until `end`; after `stop` they may end.
    pub fn new(tracker: TaskTracker, end: CancellationToken, stop: CancellationToken) -> Self {
        Self { tracker, end, stop, broken: CancellationToken::new(), ended: Arc::default() }
    }

    /// Starts a task that runs until the end.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn_on(&Handle::current(), name, task);
    }

    /// As [`Supervisor::spawn`], on another runtime.
    pub fn spawn_on(&self, runtime: &Handle, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let this = self.clone();
        let task = async move {
            let task = AssertUnwindSafe(fail_on_demand(name, task)).catch_unwind();
            let panicked = tokio::select! {
                biased;
                () = this.end.cancelled() => return,
                ended = task => ended.is_err(),
            };
            if !panicked {
                tokio::time::sleep(PANICS_FIRST).await;
            }
            if this.end.is_cancelled() || (this.stop.is_cancelled() && !panicked) {
                return;
            }
            tracing::error!(task = name, panicked, "a long-lived task ended: the process ends too");
            let _ = this.ended.set(name);
            this.broken.cancel();
        };
        self.tracker.spawn_on(task, runtime);
    }

    /// Waits until a task has ended early; its name.
    pub async fn broken(&self) -> &'static str {
        self.broken.cancelled().await;
        self.ended.get().copied().unwrap_or("unknown")
    }
}

/// The task; in a debug build one that panics after a second where `CONFIGMAPSYNC_FAILPOINT` names it.
async fn fail_on_demand(name: &'static str, task: impl Future<Output = ()>) {
    #[cfg(debug_assertions)]
    if std::env::var("CONFIGMAPSYNC_FAILPOINT").is_ok_and(|failing| failing == name) {
        let _ = tokio::time::timeout(Duration::from_secs(1), task).await;
        panic!("the failpoint {name}");
    }
    #[cfg(not(debug_assertions))]
    let _ = name;
    task.await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn supervisor() -> Supervisor {
        Supervisor::new(TaskTracker::new(), CancellationToken::new(), CancellationToken::new())
    }

    #[tokio::test]
    async fn a_task_that_panics_or_returns_is_named() {
        for panics in [true, false] {
            let supervisor = supervisor();
            supervisor.spawn("steady", std::future::pending());
            supervisor.spawn("brittle", async move { assert!(!panics, "on purpose") });
            assert_eq!(supervisor.broken().await, "brittle");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_task_that_panicked_is_named_and_not_one_that_ended_with_it() {
        let supervisor = supervisor();
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel::<()>();
        supervisor.spawn("listener", async move { while receiver.recv().await.is_some() {} });
        supervisor.spawn("panics", async move {
            drop(sender);
            tokio::time::sleep(PANICS_FIRST / 2).await;
            panic!("on purpose");
        });
        assert_eq!(supervisor.broken().await, "panics");
    }

    #[tokio::test]
    async fn after_the_stop_a_task_may_return() {
        let supervisor = supervisor();
        supervisor.stop.cancel();
        supervisor.spawn("done", async {});
        supervisor.tracker.close();
        supervisor.tracker.wait().await;
        assert!(supervisor.broken().now_or_never().is_none());
    }
}
