//! Patience of tests: a wait fails when nothing moves any more, not because the machine is slow.

use std::time::{Duration, Instant};

/// How often a long wait says what it waits for.
const TELL_EVERY: Duration = Duration::from_secs(30);

/// The patience of one wait: time that passes while what is seen changes does not count.
#[derive(Debug)]
pub struct Patience {
    what: String,
    limit: Duration,
    begun: Instant,
    told: Instant,
    seen: String,
    moved: Instant,
}

impl Patience {
    /// To wait for `what`, until nothing moves for the time `limit`.
    pub fn new(what: impl Into<String>, limit: Duration) -> Self {
        let now = Instant::now();
        Self { what: what.into(), limit, begun: now, told: now, seen: String::new(), moved: now }
    }

    /// Takes note of what is seen instead. A wait that is long says on standard error what it waits for.
    ///
    /// # Errors
    /// When nothing else was seen for the whole limit: what was waited for, and what is seen.
    pub fn look(&mut self, seen: String) -> Result<(), String> {
        self.look_at(Instant::now(), seen)
    }

    fn look_at(&mut self, now: Instant, seen: String) -> Result<(), String> {
        if seen != self.seen {
            (self.seen, self.moved) = (seen, now);
        }
        let Self { what, limit, seen, .. } = self;
        if now.duration_since(self.moved) > *limit {
            return Err(format!("nothing moved for {limit:?}: {what}\nlast seen: {seen}"));
        }
        if now.duration_since(self.told) > TELL_EVERY {
            self.told = now;
            eprintln!("waiting for {:.0?}: {what}; seen: {seen}", now.duration_since(self.begun));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_only_when_nothing_moves() {
        let mut patience = Patience::new("all copies are there", Duration::from_secs(10));
        let begun = Instant::now();
        for second in 0..100 {
            // A copy every 5 s.
            patience.look_at(begun + Duration::from_secs(second), format!("{} are there", second / 5)).unwrap();
        }
        let last = begun + Duration::from_secs(95);
        let mut look = |after: u64| patience.look_at(last + Duration::from_secs(after), "19 are there".to_owned());
        look(10).unwrap();
        let error = look(11).unwrap_err();
        assert!(error.contains("all copies are there") && error.ends_with("19 are there"), "{error}");
    }
}
