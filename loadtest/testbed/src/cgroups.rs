//! Control groups of ours, one in each hierarchy that is asked for.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::process;

/// Where the kernel shows them.
pub const HIERARCHIES: &str = "/sys/fs/cgroup";

/// Removed when this is dropped, with the groups that others made in them, which has to be after the last process in them has
/// ended; by the janitor (see [`process`]) where that never happens.
#[derive(Debug, Default)]
pub struct ControlGroups {
    paths: Vec<PathBuf>,
}

impl ControlGroups {
    /// The group of this name in a hierarchy (a directory), made unless it is one of these already.
    ///
    /// # Errors
    /// When it cannot be made: that takes root and a writable hierarchy.
    pub fn join(&mut self, hierarchy: &Path, name: &str) -> anyhow::Result<PathBuf> {
        let path = hierarchy.join(name);
        if !self.paths.contains(&path) {
            process::removed_at_exit(&path)?;
            fs::create_dir(&path)
                .with_context(|| format!("the control group {} cannot be made: that takes root", path.display()))?;
            self.paths.push(path.clone());
        }
        Ok(path)
    }

    /// Their directories, in the order in which they were made.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }
}

impl Drop for ControlGroups {
    fn drop(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(5);
        // The kernel lets go of one a moment after its last process; what is left the janitor tries again.
        while self.paths.iter().filter(|path| !is_removed(path)).count() > 0 && Instant::now() < deadline {
            sleep(Duration::from_millis(20));
        }
    }
}

fn is_removed(path: &Path) -> bool {
    let Ok(entries) = fs::read_dir(path) else {
        return !path.exists();
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            is_removed(&entry.path());
        }
    }
    fs::remove_dir(path).is_ok()
}
