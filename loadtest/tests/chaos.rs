//! Some rounds of `make chaos`. The operator that runs is the one that cargo has built beside this test, as it does for
//! the whole workspace.
//!
//! `CHAOS_SEED=7 CHAOS_ROUNDS=30 cargo test --workspace --locked --test chaos` repeats a run.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "clippy excuses test functions, not their helpers")]

use std::env;
use std::io::Write as _;

use loadtest::chaos::{Settings, run};

const ROUNDS: usize = 6;

fn number(variable: &str) -> Option<u64> {
    let value = env::var(variable).ok().filter(|value| !value.is_empty())?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable} is no number: {value:?}")))
}

/// Not by eprintln, which the test runner would keep to itself.
fn say(line: &str) {
    std::io::stderr().write_all(format!("{line}\n").as_bytes()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_few_rounds_of_chaos() {
    if let Err(error) = testbed::bin_dir().await {
        say(&format!("SKIPPED a_few_rounds_of_chaos: {error:#}"));
        return;
    }
    let rounds = number("CHAOS_ROUNDS").map_or(ROUNDS, |rounds| usize::try_from(rounds).unwrap());
    let settings = Settings::new(rounds, number("CHAOS_SEED"));
    say(&format!("chaos: CHAOS_SEED={} CHAOS_ROUNDS={rounds}", settings.seed));
    if let Err(error) = run(&settings).await {
        panic!("{error:#}");
    }
}
