//! What a run prints: a line a round, and a table of all.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::late::Late;
use super::plan::Fault;

/// What came of a round.
pub enum Row {
    /// The fault was done.
    Done {
        /// From the end of the fault until all was whole.
        whole: Duration,
        /// All of the round.
        took: Duration,
        /// All were undone in time.
        lates: Vec<Late>,
    },
    /// It cannot be done here; why.
    Skipped(String),
}

impl Row {
    /// The line of this round, and one for each late write.
    pub fn line(&self, number: usize, fault: &Fault) -> String {
        match self {
            Self::Skipped(why) => format!("round {number:>2}  {fault}: SKIPPED, {why}"),
            Self::Done { whole, took, lates } => {
                let (refused, effective): (Vec<&Late>, Vec<&Late>) = lates.iter().partition(|late| late.refused);
                let mut line = format!(
                    "round {number:>2}  {:<56} whole after {:>5.2} s  late writes {}, refused {}  [{:.1} s]",
                    fault.to_string(),
                    whole.as_secs_f64(),
                    effective.len(),
                    refused.len(),
                    took.as_secs_f64()
                );
                for late in effective {
                    line.push_str(&format!("\n          late: {late}"));
                }
                line
            }
        }
    }
}

/// The rounds by kind of fault.
#[derive(Default)]
pub struct Table {
    kinds: BTreeMap<String, Kind>,
}

#[derive(Default)]
struct Kind {
    rounds: usize,
    skipped: usize,
    longest: Duration,
    lates: usize,
    refused: usize,
    longest_undoing: Duration,
}

impl Kind {
    fn add(&mut self, other: &Self) {
        self.rounds += other.rounds;
        self.skipped += other.skipped;
        self.longest = self.longest.max(other.longest);
        self.lates += other.lates;
        self.refused += other.refused;
        self.longest_undoing = self.longest_undoing.max(other.longest_undoing);
    }
}

impl Table {
    /// One more round.
    pub fn add(&mut self, fault: &Fault, row: Row) {
        let kind = match row {
            Row::Skipped(_) => Kind { rounds: 1, skipped: 1, ..Kind::default() },
            Row::Done { whole, lates, .. } => Kind {
                rounds: 1,
                longest: whole,
                longest_undoing: lates.iter().map(|late| late.undone).max().unwrap_or_default(),
                lates: lates.iter().filter(|late| !late.refused).count(),
                refused: lates.iter().filter(|late| late.refused).count(),
                ..Kind::default()
            },
        };
        self.kinds.entry(fault.kind()).or_default().add(&kind);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "fault                    rounds  skipped  longest to whole  late writes  longest undone  refused"
        )?;
        let mut all = Kind::default();
        self.kinds.values().for_each(|kind| all.add(kind));
        for (name, kind) in self.kinds.iter().map(|(name, kind)| (name.as_str(), kind)).chain([("all", &all)]) {
            writeln!(
                f,
                "{name:<24} {:>6} {:>8} {:>15.2} s {:>12} {:>13.2} s {:>8}",
                kind.rounds,
                kind.skipped,
                kind.longest.as_secs_f64(),
                kind.lates,
                kind.longest_undoing.as_secs_f64(),
                kind.refused
            )?;
        }
        Ok(())
    }
}
