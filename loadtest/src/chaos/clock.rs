//! Wall clocks that can be moved: each replica is the operator with the package `movable-clock`.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// The variable of the environment that names the file of a replica's clock.
pub const CLOCK: &str = "CHAOS_CLOCK";
/// The program that reads it.
pub(super) const PROGRAM: &str = "replica";

/// A directory with a file for each clock.
#[derive(Debug)]
pub struct Clocks {
    directory: PathBuf,
}

impl Clocks {
    /// Clocks with their files in this directory.
    ///
    /// # Errors
    /// Where clocks cannot be moved.
    pub fn in_directory(directory: &Path) -> anyhow::Result<Self> {
        anyhow::ensure!(cfg!(target_os = "linux"), "wall clocks can be moved on Linux alone");
        Ok(Self { directory: directory.to_owned() })
    }

    /// What a replica is to be started with.
    pub fn environment(&self, replica: &str) -> Vec<(&'static str, OsString)> {
        vec![(CLOCK, self.file(replica).into())]
    }

    /// Moves the replica's wall clock so far from the real time, within a second.
    ///
    /// # Errors
    /// When the clock's file cannot be written.
    pub fn set(&self, replica: &str, minutes: i32) -> anyhow::Result<()> {
        // By a rename: it is never seen half written.
        let (file, new) = (self.file(replica), self.directory.join("clock.new"));
        let seconds = i64::from(minutes) * 60;
        fs::write(&new, format!("{seconds}\n")).and_then(|()| fs::rename(&new, &file)).context("cannot set a clock")
    }

    fn file(&self, replica: &str) -> PathBuf {
        self.directory.join(format!("{replica}.clock"))
    }
}
