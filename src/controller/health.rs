//! What a replica says about its own health: a list of named checks that its loops fill in and the HTTP server reads out.
//!
//! A check answers from memory at once: it must not wait, lock for long, or ask the API server. Whether the API server
//! answers is no concern of liveness: an outage there must not restart the fleet.

use parking_lot::RwLock;
use std::fmt::Write as _;
use std::sync::Arc;

/// What a check answers: `Err` carries one sentence for the person who asks.
pub type Answer = Result<(), String>;

type Probe = Box<dyn Fn() -> Answer + Send + Sync>;

/// The checks of one replica; clones share them.
#[derive(Clone, Default)]
pub struct Health {
    checks: Arc<RwLock<Vec<Check>>>,
}

struct Check {
    question: Question,
    name: &'static str,
    probe: Probe,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// `/healthz`: do the loops tick? A failure means that a restart would help.
    Live,
    /// `/readyz`: are the caches filled and the watches fresh? Needs no leadership.
    Ready,
}

/// The outcome of all checks of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// No check failed (and, for readiness, there is at least one).
    pub ok: bool,
    /// One line a check, `[+]name ok` or `[-]name failed: why`, as the API server's own `/readyz?verbose` has it.
    pub text: String,
}

impl Health {
    /// Adds a check to `/healthz`.
    pub fn live(&self, name: &'static str, probe: impl Fn() -> Answer + Send + Sync + 'static) {
        self.add(Question::Live, name, Box::new(probe));
    }

    /// Adds a check to `/readyz`.
    pub fn ready(&self, name: &'static str, probe: impl Fn() -> Answer + Send + Sync + 'static) {
        self.add(Question::Ready, name, Box::new(probe));
    }

    fn add(&self, question: Question, name: &'static str, probe: Probe) {
        self.checks.write().push(Check { question, name, probe });
    }

    /// Asks every check of one kind. A replica that has said nothing yet is alive and not ready.
    #[must_use]
    pub fn report(&self, question: Question) -> Report {
        let checks = self.checks.read();
        let mut report = Report { ok: true, text: String::new() };
        let mut asked = 0;
        for check in checks.iter().filter(|check| check.question == question) {
            asked += 1;
            // Writing to a String cannot fail.
            let _ = match (check.probe)() {
                Ok(()) => writeln!(report.text, "[+]{} ok", check.name),
                Err(why) => {
                    report.ok = false;
                    writeln!(report.text, "[-]{} failed: {why}", check.name)
                }
            };
        }
        if asked == 0 && question == Question::Ready {
            report = Report { ok: false, text: "[-]start failed: the replica is still starting\n".into() };
        }
        report.text.push_str(if report.ok { "ok\n" } else { "failed\n" });
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_that_said_nothing_is_alive_and_not_ready() {
        let health = Health::default();
        assert_eq!(health.report(Question::Live), Report { ok: true, text: "ok\n".into() });
        let ready = health.report(Question::Ready);
        assert!(!ready.ok);
        assert!(ready.text.contains("still starting"), "{}", ready.text);
    }

    #[test]
    fn the_failing_check_is_named_beside_those_that_pass() {
        let health = Health::default();
        health.live("loops", || Ok(()));
        health.ready("caches", || Ok(()));
        health.ready("streams", || Err("configmaps: silent for 61 s".into()));
        assert!(health.report(Question::Live).ok);
        let ready = health.report(Question::Ready);
        assert!(!ready.ok);
        assert_eq!(ready.text, "[+]caches ok\n[-]streams failed: configmaps: silent for 61 s\nfailed\n");
    }
}
