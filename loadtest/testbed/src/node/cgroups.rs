//! The cgroups of a node: one in each hierarchy, under which the kubelet makes those of its pods.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::process;

const HIERARCHIES: &str = "/sys/fs/cgroup";

/// Removed when this is dropped, which has to be after the last process in them has ended.
#[derive(Debug)]
pub(super) struct Cgroups {
    paths: Vec<PathBuf>,
}

impl Cgroups {
    /// New ones of this name.
    pub(super) fn create(name: &str) -> anyhow::Result<Self> {
        let mut cgroups = Self { paths: Vec::new() };
        for entry in fs::read_dir(HIERARCHIES).context("there are no cgroup hierarchies")? {
            let hierarchy = entry?.path();
            // `cpu` and `cpuacct` are links to one directory on many machines.
            if hierarchy.is_symlink() || !hierarchy.join("cgroup.procs").exists() {
                continue;
            }
            let path = hierarchy.join(name);
            process::removed_at_exit(&path)?;
            fs::create_dir(&path).with_context(|| format!("cannot make the cgroup {}", path.display()))?;
            // A cgroup of this hierarchy takes no process before it has processors and memory.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                if let Ok(all) = fs::read(hierarchy.join(file)) {
                    fs::write(path.join(file), all)
                        .with_context(|| format!("cannot set {file} of {}", path.display()))?;
                }
            }
            cgroups.paths.push(path);
        }
        Ok(cgroups)
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(5);
        // The kernel lets go of a cgroup a moment after its last process; what is left the janitor tries again.
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
