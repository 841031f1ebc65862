//! The demo and the load test: a fleet of operator processes on a control plane of the test bed's own, with work given to
//! it and watched from outside. What is measured here is what a user of the API sees; the operator's own word about
//! itself (its metrics) only stands beside it.

#[cfg(feature = "reports")]
pub mod chaos;
pub mod copies;
pub mod demo;
pub mod distance;
#[cfg(feature = "reports")]
pub mod events;
pub mod fleet;
#[cfg(feature = "reports")]
pub mod measure;
pub mod objects;
#[cfg(feature = "reports")]
pub mod report;
pub mod screen;
pub mod stats;
pub mod writers;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

/// Fails with Ctrl-C or SIGTERM, if it is not over before.
#[cfg(feature = "reports")]
async fn unless_interrupted(run: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let stop = interrupted()?;
    tokio::select! {
        run = run => run,
        () = stop => anyhow::bail!("interrupted"),
    }
}

/// How a program ends, with its error on the screen.
fn exit_code(program: &str, run: anyhow::Result<()>) -> ExitCode {
    match run {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\n{program}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Ends with Ctrl-C or SIGTERM.
fn interrupted() -> anyhow::Result<impl Future<Output = ()>> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Beside the build's own files, so that logs outlive the control plane and are in nobody's way.
fn logs(name: &str) -> anyhow::Result<PathBuf> {
    let here = std::env::current_exe().context("this program cannot tell where it is")?;
    let target = here.parent().and_then(|profile| profile.parent());
    Ok(target.context("this program is not where cargo builds it")?.join(name))
}
