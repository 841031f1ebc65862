//! Wall clocks that can be moved: libfaketime, which each replica is started with. Monotonic clocks are left alone.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail};
use tokio::process::Command;

/// Debian's package, and where it puts the library.
const PACKAGE: &str = "libfaketime";
const INSTALLED: &str = "usr/lib";
const LIBRARY: &str = "faketime/libfaketime.so.1";

/// The library, and a directory with a file for each clock.
#[derive(Debug)]
pub struct Clocks {
    library: PathBuf,
    directory: PathBuf,
}

impl Clocks {
    /// With the library that is installed, or else with one that is downloaded into `cache`. The clocks' files go into
    /// `directory`.
    ///
    /// # Errors
    /// When neither is to be had.
    pub async fn find(cache: &Path, directory: &Path) -> anyhow::Result<Self> {
        let library = match library(Path::new("/")).or_else(|| library(cache)) {
            Some(library) => library,
            None => download(cache).await.with_context(|| format!("{PACKAGE} (Debian) is not installed"))?,
        };
        Ok(Self { library, directory: directory.to_owned() })
    }

    /// What a replica is to be started with.
    pub fn environment(&self, replica: &str) -> Vec<(&'static str, OsString)> {
        vec![
            ("LD_PRELOAD", self.library.clone().into()),
            ("FAKETIME_TIMESTAMP_FILE", self.file(replica).into()),
            // How long the file is believed, in seconds.
            ("FAKETIME_CACHE_DURATION", "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
            // The older name.
            ("DONT_FAKE_MONOTONIC", "1".into()),
        ]
    }

    /// Moves the replica's wall clock so far from the real time, within a second.
    ///
    /// # Errors
    /// When the clock's file cannot be written.
    pub fn set(&self, replica: &str, minutes: i32) -> anyhow::Result<()> {
        // By a rename: it is never seen half written.
        let (file, new) = (self.file(replica), self.directory.join("clock.new"));
        fs::write(&new, format!("{minutes:+}m\n")).and_then(|()| fs::rename(&new, &file)).context("cannot set a clock")
    }

    fn file(&self, replica: &str) -> PathBuf {
        self.directory.join(format!("{replica}.clock"))
    }
}

/// The library below `root`, in the directory of this machine's architecture.
fn library(root: &Path) -> Option<PathBuf> {
    let directory = root.join(INSTALLED).join(format!("{}-linux-gnu", std::env::consts::ARCH));
    Some(directory.join(LIBRARY)).filter(|library| library.is_file())
}

async fn download(cache: &Path) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(cache)?;
    let script = format!("apt-get download {PACKAGE} && dpkg-deb -x {PACKAGE}_*.deb . && rm {PACKAGE}_*.deb");
    let output = Command::new("sh")
        .args(["-c", &script])
        .current_dir(cache)
        .stdin(Stdio::null())
        .output()
        .await
        .context("no shell")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        bail!("`apt-get download {PACKAGE}`: {}", said.trim().lines().last().unwrap_or("failed"));
    }
    library(cache).with_context(|| format!("the package {PACKAGE} has no {LIBRARY}"))
}
