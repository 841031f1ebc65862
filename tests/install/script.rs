//! Running a script of `deploy/` as a user would.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use crate::harness::Bed;

/// How a script ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code.
    pub code: Option<i32>,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl Ended {
    /// It ended well and complained of nothing.
    #[track_caller]
    pub fn well(self) -> String {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self.out
    }

    /// It ended with this code and one sentence that has all these words.
    #[track_caller]
    pub fn badly(self, code: i32, words: &[&str]) -> String {
        assert_eq!(self.code, Some(code), "{self:#?}");
        let errors: Vec<&str> = self.err.lines().filter(|line| line.starts_with("error: ")).collect();
        assert_eq!(errors.len(), 1, "one sentence: {self:#?}");
        for word in words {
            assert!(errors[0].contains(word), "no word of {word:?} in {self:#?}");
        }
        self.err
    }
}

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A command in the repository, with the bed's kubectl on the PATH, without a terminal.
pub fn command(bed: &Bed, program: &str) -> tokio::process::Command {
    let kubectl = PathBuf::from(bed.cluster().kubectl().get_program());
    let path = format!("{}:{}", kubectl.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let mut command = tokio::process::Command::new("setsid");
    command.args(["--wait", program]).current_dir(root()).env("PATH", path).env_remove("KUBECTL");
    command.env("KUBECONFIG", bed.cluster().kubeconfig()).env("KUBERC", "off");
    command.env("KUBECACHEDIR", bed.cluster().dir().join("kubectl-cache"));
    command
}

/// Runs it to its end.
pub async fn ended(mut command: tokio::process::Command) -> Ended {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(180), command.output()).await;
    let output = output.expect("the script ends within 180 s").unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// `deploy/install.sh` with these arguments.
pub async fn install(bed: &Bed, args: &[&str]) -> Ended {
    let mut command = command(bed, "deploy/install.sh");
    command.args(args);
    ended(command).await
}
