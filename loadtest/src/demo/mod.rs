//! The demo: the main job on a real control plane, told as a story that ends with an error when a part of it did not
//! happen.

mod crew;
mod many;
mod one;
mod pods;
mod stage;
mod story;
mod takeover;

use std::process::ExitCode;

use clap::Parser;
use clap::builder::BoolishValueParser;

use crate::{exit_code, interrupted, logs};
use stage::Stage;

/// Shows the operator at work on a real Kubernetes cluster, in a minute or two.
///
/// A cluster with a node is started for it and removed at the end, and replicas are pods of the shipped Deployment; where no
/// node can stand, a control plane, and replicas are processes. With KUBECONFIG set, that cluster is used instead, with
/// processes, and what the demo made there is deleted again.
#[derive(Clone, Debug, Parser)]
#[command(name = "demo", version)]
struct Arguments {
    /// How many replicas of the operator run
    #[arg(long, default_value_t = 3, value_name = "NUMBER", value_parser = clap::value_parser!(u8).range(2..=9))]
    replicas: u8,
    /// How many namespaces one source is copied into
    #[arg(long, default_value_t = 1000, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=9999))]
    namespaces: u16,
    /// Runs replicas as processes also where a node could stand; PROCESSES=1 does the same
    #[arg(long, env = "PROCESSES", num_args = 0..=1, require_equals = true, default_value = "false")]
    #[arg(default_missing_value = "true", action = clap::ArgAction::Set, value_parser = BoolishValueParser::new())]
    #[arg(hide_default_value = true, hide_possible_values = true, hide_env = true)]
    processes: bool,
    /// How long shards outlive a dead process, in seconds; pods run as shipped, with 10
    #[arg(long, default_value_t = 4, value_name = "SECONDS", value_parser = clap::value_parser!(u8).range(2..=60))]
    lease_duration: u8,
    /// Leaves all of it standing until Ctrl-C, and says how to talk to it; KEEP=1 does the same
    #[arg(long, env = "KEEP", num_args = 0..=1, require_equals = true, default_value = "false")]
    #[arg(default_missing_value = "true", action = clap::ArgAction::Set, value_parser = BoolishValueParser::new())]
    #[arg(hide_default_value = true, hide_possible_values = true, hide_env = true)]
    keep: bool,
}

/// The whole program.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let run = || -> anyhow::Result<()> {
        tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(until_end(&arguments))
    };
    exit_code("demo", run())
}

async fn until_end(arguments: &Arguments) -> anyhow::Result<()> {
    let mut stop = Box::pin(interrupted()?);
    let mut stage = tokio::select! {
        stage = Stage::set(arguments.clone(), logs("demo-logs")?) => stage?,
        () = &mut stop => anyhow::bail!("interrupted"),
    };
    let told = tokio::select! {
        told = story::tell(&mut stage) => told,
        () = &mut stop => Err(anyhow::anyhow!("interrupted")),
    };
    if told.is_ok() && arguments.keep {
        stage.explain();
        stop.await;
        stage.screen.say("Ending.");
    }
    let cleared = stage.clear().await;
    told.and(cleared)
}
