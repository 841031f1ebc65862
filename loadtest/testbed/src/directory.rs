//! Temporary directories that go with their value, or else with this process.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::{keys, process};

/// A directory that only its owner can enter (it holds tokens and keys), removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
}

impl Directory {
    /// A new one in the system's place for temporary files.
    pub(crate) fn temporary() -> anyhow::Result<Self> {
        let name = format!("testbed-{}-{:08x}", std::process::id(), u32::from_ne_bytes(keys::random()?));
        Self::at(&std::path::absolute(std::env::temp_dir())?.join(name))
    }

    /// This path, which must be empty or absent: it is removed with all that is in it at the end.
    pub(crate) fn at(path: &Path) -> anyhow::Result<Self> {
        let path = std::path::absolute(path)?;
        if fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_some()) {
            bail!("{} is not empty: name a directory that is, since all of it is removed at the end", path.display());
        }
        // Told to the janitor first, so that there is no moment at which it stands and would stay.
        process::removed_at_exit(&path)?;
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("cannot create the directory {}", path.display()))?;
        Ok(Self { path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file that only its owner can read, because the directory can be entered by no one else.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> anyhow::Result<PathBuf> {
        let path = self.path.join(name);
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // The janitor tries again at the end of the process.
        let _ = fs::remove_dir_all(&self.path);
    }
}
