//! The programs of the control plane: where they are, built first when they are not there yet.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use tokio::sync::OnceCell;

use crate::directory::Directory;
use crate::process::{self, Command, Output};

static BIN_DIR: OnceCell<PathBuf> = OnceCell::const_new();

/// The directory with etcd, kube-apiserver, kubectl and their like, from `KUBEBUILDER_ASSETS` or built from source. `K8S`
/// chooses an older version than the newest, as `build.sh` says.
///
/// The first call on a machine takes 5 to 10 minutes on two cores, and says on standard error how far it is; later ones
/// take milliseconds. Calls at the same time, also of several processes, build once.
///
/// # Errors
/// When neither the programs nor what is needed to build them is there; the message says what to install.
pub async fn bin_dir() -> anyhow::Result<&'static Path> {
    Ok(BIN_DIR.get_or_try_init(|| run_script("kubernetes")).await?)
}

/// The directory with containerd and what else runs the containers of a node; built first like [`bin_dir`], in one to two
/// minutes. Debian's packages runc and nftables are installed where they are missing.
pub(crate) async fn node_bin_dir() -> anyhow::Result<&'static Path> {
    static NODE_BIN_DIR: OnceCell<PathBuf> = OnceCell::const_new();
    Ok(NODE_BIN_DIR.get_or_try_init(|| run_script("node")).await?)
}

async fn run_script(what: &str) -> anyhow::Result<PathBuf> {
    path_from(&Path::new(env!("CARGO_MANIFEST_DIR")).join("build.sh"), &[what]).await
}

/// The path that a script of ours prints as its last line, once it has built what is there. What it is doing goes where our
/// standard error goes.
pub(crate) async fn path_from(script: &Path, args: &[&str]) -> anyhow::Result<PathBuf> {
    let answer = Directory::temporary()?;
    let stdout = answer.path().join("stdout");
    // A child like any other, so that an interrupted test run does not leave a compiler running for minutes.
    let command =
        Command::new("bash").arg(script).args(args).stdout(Output::File(stdout.clone())).stderr(Output::Inherit);
    let status = process::spawn(&command)?.wait().await?;
    if !status.success() {
        bail!("{} failed ({status}): what is missing is said above", script.display());
    }
    let answer = std::fs::read_to_string(&stdout).with_context(|| format!("{} gave no answer", script.display()))?;
    let path = answer.lines().last().with_context(|| format!("{} named no path", script.display()))?;
    Ok(PathBuf::from(path))
}

/// Whether the programs come from `KUBEBUILDER_ASSETS`, and so may be of another version or incomplete.
pub(crate) fn are_given() -> bool {
    std::env::var_os("KUBEBUILDER_ASSETS").is_some_and(|value| !value.is_empty())
}

/// The version of the API server in this directory, major and minor, if it tells one.
pub(crate) fn version(bin_dir: &Path) -> anyhow::Result<Option<(u32, u32)>> {
    let program = bin_dir.join("kube-apiserver");
    let answer = std::process::Command::new(&program).arg("--version").output();
    let answer = answer.with_context(|| format!("{} does not start", program.display()))?;
    Ok(parse_version(&String::from_utf8_lossy(&answer.stdout)))
}

fn parse_version(answer: &str) -> Option<(u32, u32)> {
    let mut numbers = answer.trim().strip_prefix("Kubernetes v")?.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_what_the_api_server_says() {
        assert_eq!(parse_version("Kubernetes v1.30.14\n"), Some((1, 30)));
        assert_eq!(parse_version("Kubernetes v1.36.0-rc.1\n"), Some((1, 36)));
        assert_eq!(parse_version("flag needs an argument"), None);
    }
}
