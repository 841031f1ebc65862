//! Chaos: replicas under a steady load on a real API server, one fault a round, and after each round the question
//! whether all is whole again and who wrote when it was no longer his turn.

mod clock;
mod faults;
mod history;
mod late;
mod load;
mod many;
mod plan;
mod proxy;
mod stage;
mod table;
mod whole;

use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use clap::Parser;

pub use clock::CLOCK;

use crate::{exit_code, unless_interrupted};
use faults::Outcome;
use plan::Fault;
use stage::Stage;
use table::{Row, Table};

/// How a run is to be.
#[derive(Clone, Debug, Parser)]
#[command(name = "chaos", version, about = "One random fault a round, on a real API server, under a steady load")]
pub struct Settings {
    /// Repeats the run with this seed [default: another one each time]
    #[arg(long, default_value_t = any_seed(), hide_default_value = true, value_name = "NUMBER")]
    pub seed: u64,
    /// How many rounds
    #[arg(long, default_value_t = 30, value_name = "NUMBER")]
    pub rounds: usize,
    /// The lease duration of the replicas
    #[arg(skip = LEASE)]
    pub lease: Duration,
}

/// Short, so that rounds are.
const LEASE: Duration = Duration::from_secs(4);
/// The load runs on after a fault, so that what was in flight meets changes.
const AFTERMATH: Duration = Duration::from_millis(700);

impl Settings {
    /// So many rounds with this seed, or with any.
    pub fn new(rounds: usize, seed: Option<u64>) -> Self {
        Self { seed: seed.unwrap_or_else(any_seed), rounds, lease: LEASE }
    }
}

fn any_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::from(now.subsec_nanos()) % 1_000_000
}

/// The whole program.
pub fn main() -> ExitCode {
    let settings = Settings::parse();
    let run = || -> anyhow::Result<()> {
        tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(unless_interrupted(run(&settings)))
    };
    exit_code("chaos", run())
}

/// All rounds. Progress goes to the standard output, a line a round.
///
/// # Errors
/// When something is not whole again, or a late write was not undone in time; the message has seed, round and objects.
pub async fn run(settings: &Settings) -> anyhow::Result<()> {
    let Settings { seed, rounds, lease } = settings;
    println!("chaos: SEED={seed} ROUNDS={rounds}, leases of {} s", lease.as_secs());
    let begun = Instant::now();
    let mut stage = Stage::set_up(settings).await.with_context(|| format!("seed {seed}, before the first round"))?;
    println!("{} replicas are whole after {:.1} s", stage.fleet.names().len(), begun.elapsed().as_secs_f64());
    let mut table = Table::default();
    for (number, fault) in (1..).zip(plan::plan(*seed, *rounds, *lease)) {
        let row = round(&mut stage, &fault).await;
        let row = row.with_context(|| {
            let kept = match stage.keep_evidence() {
                Ok(directory) => format!("the logs are in {}", directory.display()),
                Err(error) => format!("no logs could be kept: {error:#}"),
            };
            format!("SEED={seed}, round {number}, {fault} ({kept})")
        })?;
        println!("{}", row.line(number, &fault));
        table.add(&fault, row);
    }
    stage.end().await.with_context(|| format!("SEED={seed}, after the last round"))?;
    println!("\n{table}\n{rounds} rounds in {:.0} s; {}", begun.elapsed().as_secs_f64(), stage.history);
    Ok(())
}

async fn round(stage: &mut Stage, fault: &Fault) -> anyhow::Result<Row> {
    let begun = Instant::now();
    if let Outcome::Skipped(why) = stage.inflict(fault).await? {
        return Ok(Row::Skipped(why));
    }
    let over = Instant::now();
    tokio::time::sleep(AFTERMATH).await;
    let lates = stage.until_whole().await?;
    Ok(Row::Done { whole: over.elapsed(), took: begun.elapsed(), lates })
}
