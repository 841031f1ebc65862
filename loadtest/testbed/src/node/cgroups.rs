//! The control groups of a node: one in each hierarchy, under which the kubelet makes those of its pods.

use std::fs;
use std::path::Path;

use anyhow::Context as _;

use crate::cgroups::{ControlGroups, HIERARCHIES};

/// New ones of this name.
pub(super) fn create(name: &str) -> anyhow::Result<ControlGroups> {
    let mut groups = ControlGroups::default();
    for entry in fs::read_dir(HIERARCHIES).context("there are no hierarchies of control groups")? {
        let hierarchy = entry?.path();
        // `cpu` and `cpuacct` are links to one directory on many machines.
        if hierarchy.is_symlink() || !hierarchy.join("cgroup.procs").exists() {
            continue;
        }
        let group = groups.join(&hierarchy, name)?;
        open_to_processes(&hierarchy, &group)?;
    }
    Ok(groups)
}

/// A group of the hierarchy `cpuset` takes no process before it has processors and memory.
fn open_to_processes(hierarchy: &Path, group: &Path) -> anyhow::Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if let Ok(all) = fs::read(hierarchy.join(file)) {
            fs::write(group.join(file), all).with_context(|| format!("cannot set {file} of {}", group.display()))?;
        }
    }
    Ok(())
}
