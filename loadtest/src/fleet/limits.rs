//! What a replica may use, kept to by the kernel: a control group for each.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use testbed::cgroups::{ControlGroups, HIERARCHIES};
use testbed::process::Command;

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

impl Limits {
    /// New control groups that hold a replica to them.
    ///
    /// # Errors
    /// When they cannot be made: that takes root and a writable hierarchy.
    pub(super) fn impose(self, replica: &str) -> anyhow::Result<ControlGroups> {
        let name = format!("testbed-{}-{replica}", std::process::id());
        let hierarchies = Path::new(HIERARCHIES);
        let unified = hierarchies.join("cgroup.controllers").exists();
        let hierarchy = |controller: &str| if unified { hierarchies.into() } else { hierarchies.join(controller) };
        let mut groups = ControlGroups::default();
        if let Some(millis) = self.cpu_millis {
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
        if let Some(mib) = self.memory_mib {
            let group = groups.join(&hierarchy("memory"), &name)?;
            let file = if unified { "memory.max" } else { "memory.limit_in_bytes" };
            set(&group, file, &(u64::from(mib) << 20).to_string())?;
        }
        Ok(groups)
    }
}

/// A command that joins these and then becomes `program`, whose arguments are to follow.
pub(super) fn within(groups: &ControlGroups, program: &Path) -> Command {
    let join = "for group in $LIMITS; do echo $$ >\"$group/cgroup.procs\" || exit 1; done; exec \"$0\" \"$@\"";
    let groups: Vec<_> = groups.paths().iter().map(|group| group.to_string_lossy().into_owned()).collect();
    Command::new("sh").args(["-c", join]).arg(program).env("LIMITS", groups.join(" "))
}

fn set(group: &Path, file: &str, value: &str) -> anyhow::Result<()> {
    if !group.join(file).exists() {
        bail!("the kernel has no {file} for control groups here");
    }
    fs::write(group.join(file), value).with_context(|| format!("{file} of {} cannot be {value}", group.display()))
}
