//! `image`: builds the operator's image without a container engine.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use testbed::image::operator;

/// Builds the operator's image as the Dockerfile does, without a container engine, and writes it as an OCI archive.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Where to write the archive
    #[arg(long, value_name = "FILE", default_value = "target/image/configmapsync-operator.tar")]
    output: PathBuf,
    /// The image's name with its tag
    #[arg(long, default_value = operator::NAME)]
    name: String,
    /// The checkout to build, if not the one that this program comes from
    #[arg(long, value_name = "DIRECTORY")]
    source: Option<PathBuf>,
    /// What it runs on: amd64, arm64, or both with a comma between them [default: this machine's architecture]
    #[arg(long = "arch", value_name = "ARCHITECTURES", value_delimiter = ',')]
    architectures: Vec<String>,
    /// The profile of Cargo.toml: dist is what is shipped; release is built quicker
    #[arg(long, default_value = "dist")]
    profile: String,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    match write(&cli).await {
        Ok(()) => {
            println!("{}", cli.output.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("image: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn write(cli: &Cli) -> anyhow::Result<()> {
    let source = cli.source.clone().map_or_else(operator::checkout, |source| Ok(source.canonicalize()?))?;
    operator::write(&source, &cli.name, &cli.architectures, &cli.profile, &cli.output).await
}
