//! What a node needs of the machine, beyond what a control plane does.

use std::{env, fs};

/// Why no node can stand on this machine, in one line, if none can: it is the reason with which a test is skipped.
pub(super) fn missing() -> Option<String> {
    if env::var_os("KUBEBUILDER_ASSETS").is_some_and(|value| !value.is_empty()) {
        return Some("needs the test bed's own kubelet: unset KUBEBUILDER_ASSETS".to_owned());
    }
    if !rustix::process::geteuid().is_root() {
        return Some(
            "needs root, to make namespaces and cgroups: run it with sudo or in a container with all rights".to_owned(),
        );
    }
    if !fs::exists("/sys/fs/cgroup/memory/cgroup.procs").unwrap_or(false) {
        return Some(
            "needs the cgroup hierarchies of version 1 under /sys/fs/cgroup: version 2 has not been tried".to_owned(),
        );
    }
    let filesystems = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let missing = ["overlay", "tmpfs"]
        .into_iter()
        .find(|name| !filesystems.lines().any(|line| line.split_whitespace().next_back() == Some(name)));
    if let Some(name) = missing {
        return Some(format!("needs the kernel's file system {name}: modprobe {name}"));
    }
    let ours = ["net", "mnt", "pid", "ipc", "uts"].into_iter();
    let mut absent = ours.filter(|name| !fs::exists(format!("/proc/self/ns/{name}")).unwrap_or(false));
    absent.next().map(|name| format!("needs a kernel with {name} namespaces"))
}
