//! `testbed up`: a control plane to play with; `testbed cluster`: a whole cluster with the operator on it.

mod installed;

use std::io::Read as _;
use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, Parser, Subcommand};
use testbed::{ControlPlane, Options};
use tokio::signal::unix::{SignalKind, signal};

/// A real Kubernetes control plane without containers.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Starts a control plane, prints the path of its kubeconfig and runs until it is interrupted; then all of it is removed
    Up(Up),
    /// Starts a cluster with a node and the operator as the shipped manifests install it, says how to talk to it and runs until
    /// it is interrupted; then all of it is removed. Needs root
    Cluster(installed::Arguments),
    /// Builds the control plane if it has not been built, and prints the directory with its programs
    Build,
}

#[derive(Args)]
struct Up {
    /// Where it keeps its files; must be empty or absent, and is removed at the end [default: a temporary directory]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Runs kube-scheduler too
    #[arg(long)]
    scheduler: bool,
    /// Writes no audit log
    #[arg(long)]
    no_audit: bool,
    /// One more flag for kube-apiserver, such as --api-server-flag=--max-requests-inflight=100; may be repeated
    #[arg(long, value_name = "FLAG", allow_hyphen_values = true)]
    api_server_flag: Vec<String>,
    /// Ends when standard input is closed, for scripts that hold the other end of a pipe
    #[arg(long)]
    until_stdin_closes: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Up(up) => run(up).await,
        Command::Cluster(arguments) => installed::run(arguments).await,
        Command::Build => testbed::bin_dir().await.map(|path| println!("{}", path.display())),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("testbed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(up: Up) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut closed = pin!(stdin_closes(up.until_stdin_closes));
    let options = Options {
        scheduler: up.scheduler,
        audit: !up.no_audit,
        api_server_flags: up.api_server_flag,
        dir: up.dir,
        ..Options::default()
    };
    let begun = Instant::now();
    let control_plane = tokio::select! {
        started = ControlPlane::start(options) => started?,
        _ = interrupt.recv() => return Ok(()),
        _ = terminate.recv() => return Ok(()),
        () = &mut closed => return Ok(()),
    };
    println!("{}", control_plane.kubeconfig().display());
    eprintln!(
        "testbed: ready after {:.1} s. In another terminal:\n\n  export KUBECONFIG={}\n  {}/kubectl get namespaces\n\n\
         testbed: logs are in {}; Ctrl-C ends it and removes everything.",
        begun.elapsed().as_secs_f64(),
        control_plane.kubeconfig().display(),
        control_plane.bin_dir().display(),
        control_plane.dir().display(),
    );
    loop {
        tokio::select! {
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            () = &mut closed => return Ok(()),
            () = tokio::time::sleep(Duration::from_secs(1)) => control_plane.check()?,
        }
    }
}

/// Is over when standard input ends; never, unless wanted.
pub(crate) async fn stdin_closes(wanted: bool) {
    if !wanted {
        return std::future::pending().await;
    }
    let (closed, receiver) = tokio::sync::oneshot::channel();
    // A thread of its own, since a read from a terminal cannot be cancelled and would keep the runtime from ending.
    std::thread::spawn(move || {
        let mut buffer = [0; 1024];
        while std::io::stdin().read(&mut buffer).is_ok_and(|length| length > 0) {}
        // Nobody listens any more when the program is on its way out already.
        let _ = closed.send(());
    });
    // The sender is dropped early only if the thread panics, which is an end of the input as well.
    let _ = receiver.await;
}
