//! What runs on this machine.

use std::fs;
use std::path::Path;

/// The processes whose command line names a file in this directory, each with that line.
pub fn naming(dir: &Path) -> Vec<(u32, Vec<u8>)> {
    let dir = dir.to_str().unwrap();
    let pids =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<u32>().ok());
    pids.map(|pid| (pid, fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()))
        .filter(|(_, words)| String::from_utf8_lossy(words).contains(dir))
        .collect()
}
