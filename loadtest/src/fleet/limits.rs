//! What a replica may use, kept to by the kernel: a control group for each.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use testbed::process::{self, Command};

const HIERARCHIES: &str = "/sys/fs/cgroup";

/// Limits of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Thousandths of a processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_millis: Option<u32>,
    /// Memory, in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mib: Option<u32>,
}

/// The control groups of one replica. They are removed when this is dropped, which has to be after its end.
#[derive(Debug)]
pub(super) struct ControlGroups(Vec<PathBuf>);

impl ControlGroups {
    /// New ones.
    ///
    /// # Errors
    /// When they cannot be made: that takes root and a writable hierarchy.
    pub(super) fn create(replica: &str, limits: Limits) -> anyhow::Result<Self> {
        let name = format!("testbed-{}-{replica}", std::process::id());
        let unified = Path::new(HIERARCHIES).join("cgroup.controllers").exists();
        let hierarchy = |controller: &str| if unified { String::new() } else { controller.to_owned() };
        let mut groups = Self(Vec::new());
        if let Some(millis) = limits.cpu_millis {
            let microseconds = u64::from(millis) * 100;
            let group = groups.join(&hierarchy("cpu"), &name)?;
            match unified {
                true => set(&group, "cpu.max", &format!("{microseconds} 100000"))?,
                false => {
                    set(&group, "cpu.cfs_period_us", "100000")?;
                    set(&group, "cpu.cfs_quota_us", &microseconds.to_string())?;
                }
            }
        }
        if let Some(mib) = limits.memory_mib {
            let group = groups.join(&hierarchy("memory"), &name)?;
            let file = if unified { "memory.max" } else { "memory.limit_in_bytes" };
            set(&group, file, &(u64::from(mib) << 20).to_string())?;
        }
        Ok(groups)
    }

    fn join(&mut self, hierarchy: &str, name: &str) -> anyhow::Result<PathBuf> {
        let group = Path::new(HIERARCHIES).join(hierarchy).join(name);
        if !self.0.contains(&group) {
            process::removed_at_exit(&group)?;
            fs::create_dir(&group)
                .with_context(|| format!("limits need root and control groups: {} cannot be made", group.display()))?;
            self.0.push(group.clone());
        }
        Ok(group)
    }

    /// A command that joins them and then becomes `program`, whose arguments are to follow.
    pub(super) fn enter(&self, program: &Path) -> Command {
        let join = "for group in $LIMITS; do echo $$ >\"$group/cgroup.procs\" || exit 1; done; exec \"$0\" \"$@\"";
        let groups: Vec<_> = self.0.iter().map(|group| group.to_string_lossy().into_owned()).collect();
        Command::new("sh").args(["-c", join]).arg(program).env("LIMITS", groups.join(" "))
    }
}

fn set(group: &Path, file: &str, value: &str) -> anyhow::Result<()> {
    if !group.join(file).exists() {
        bail!("the kernel has no {file} for control groups here");
    }
    fs::write(group.join(file), value).with_context(|| format!("{file} of {} cannot be {value}", group.display()))
}

impl Drop for ControlGroups {
    fn drop(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(5);
        // The kernel lets go of one a moment after its last process; what is left the janitor tries again.
        while self.0.iter().any(|group| fs::remove_dir(group).is_err() && group.exists()) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
