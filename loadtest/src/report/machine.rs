//! What a run ran on. Paths of this machine have no place in a file that is committed.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

use serde::{Deserialize, Serialize};

/// What a run ran on, and how it was called.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Surroundings {
    /// When it began, RFC 3339.
    pub started: String,
    /// How it was called.
    pub command: String,
    /// The commit of the sources, and whether they were changed since.
    pub commit: String,
    /// The version of operator and load test.
    pub version: String,
    /// Whether both were built with optimizations.
    pub optimized: bool,
    /// The version of the API server.
    pub kubernetes: String,
    /// The processor.
    pub processor: String,
    /// How many of its cores this process may use.
    pub cores: usize,
    /// Main memory.
    pub memory_mib: u64,
    /// The operating system's kernel.
    pub kernel: String,
}

impl Surroundings {
    /// Looks around.
    pub fn look() -> Self {
        let arguments: Vec<String> = env::args().skip(1).collect();
        let first_of = |file: &str, key: &str| {
            let text = fs::read_to_string(file).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
            line.trim_start_matches([' ', '\t', ':']).to_owned()
        };
        let memory = first_of("/proc/meminfo", "MemTotal");
        Self {
            started: format!("{:.0}", jiff::Timestamp::now()),
            command: masked(&format!("loadtest {}", arguments.join(" "))).trim_end().to_owned(),
            commit: commit().unwrap_or_else(|| "unknown".to_owned()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            optimized: !cfg!(debug_assertions),
            kubernetes: String::new(),
            processor: first_of("/proc/cpuinfo", "model name"),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_mib: memory.trim_end_matches(" kB").parse::<u64>().unwrap_or_default() / 1024,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
        }
    }
}

fn commit() -> Option<String> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(["-C", env!("CARGO_MANIFEST_DIR")]).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let head = git(&["rev-parse", "--short=12", "HEAD"])?;
    // Only what was measured: reports of earlier runs do not make the sources others.
    let changed =
        git(&["status", "--porcelain", "--untracked-files=no", "--", ":/src", ":/loadtest/src", ":/Cargo.lock"])?;
    Some(if changed.is_empty() { head } else { format!("{head} and changes") })
}

/// The text without the paths of this machine.
pub fn masked(text: &str) -> String {
    let home = env::var("HOME").unwrap_or_default();
    let here = env::current_dir().map(|path| path.display().to_string()).unwrap_or_default();
    let build = env::current_exe().ok();
    let build = build.as_deref().and_then(Path::parent).map(|path| path.display().to_string()).unwrap_or_default();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(|path| path.display().to_string());
    let temporary = env::temp_dir().display().to_string();
    let mut masked = text.to_owned();
    for (path, name) in [
        (build, "TARGET"),
        (sources.unwrap_or_default(), "PROJECT"),
        (here, "."),
        (home, "HOME"),
        (temporary, "TEMPORARY"),
    ] {
        if path.len() > 1 {
            masked = masked.replace(&path, name);
        }
    }
    masked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_this_machine_are_masked() {
        let text = masked(&format!("loadtest --out {}/runs", env!("CARGO_MANIFEST_DIR")));
        assert_eq!(text, "loadtest --out PROJECT/loadtest/runs");
    }

    #[test]
    fn the_machine_is_known() {
        let around = Surroundings::look();
        assert!(around.cores > 0 && around.memory_mib > 0 && !around.kernel.is_empty(), "{around:?}");
    }
}
