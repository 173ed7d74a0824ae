//! A private temporary folder of a test, and the build folder.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

/// A folder that is removed on drop, and by the watchdog if the process is killed.
#[derive(Debug)]
pub struct Folder(TempDir);

impl Folder {
    /// Makes a new folder with a short name (socket paths are limited to 107 bytes).
    ///
    /// # Errors
    /// When the temp folder cannot be written.
    pub fn new() -> Result<Folder> {
        let folder = tempfile::Builder::new().prefix("tidings-").tempdir().context("make a temp folder")?;
        crate::watchdog::sweep(folder.path())?;
        Ok(Folder(folder))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

/// The build folder of the running program (`target/debug`), also for tests, which are in a subfolder.
pub(crate) fn target() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let folder = program.parent().context("the program has no folder")?;
    let deeper = folder.ends_with("deps") || folder.ends_with("examples");
    Ok(if deeper { folder.parent().unwrap_or(folder) } else { folder }.to_owned())
}
