//! Running a script of `deploy/` as a user would, on any cluster.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use testbed::Access;

/// Ample: a script waits for pods, and the cores may be busy compiling.
const PATIENCE: Duration = Duration::from_secs(300);

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

/// A command in the repository, with the cluster's kubectl on the PATH, without a terminal.
pub fn command(cluster: &Access, program: &str) -> tokio::process::Command {
    let mut command = tokio::process::Command::from(cluster.command("setsid"));
    command.args(["--wait", program]).current_dir(root());
    command
}

/// Runs it to its end.
pub async fn ended(mut command: tokio::process::Command) -> Ended {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await;
    let output = output.expect("the script ends in time").unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// `deploy/install.sh` with these arguments.
pub async fn install(cluster: &Access, args: &[&str]) -> Ended {
    let mut command = command(cluster, "deploy/install.sh");
    command.args(args);
    ended(command).await
}
