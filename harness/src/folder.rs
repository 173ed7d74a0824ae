//! The temporary folder of a test, and the build folder.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

/// A folder that is removed on drop. If this process is killed, the watchdog removes the folder.
#[derive(Debug)]
pub struct Folder(TempDir);

impl Folder {
    /// Makes a new folder with a short name (socket paths are limited to 107 bytes).
    ///
    /// # Errors
    /// When the system's temporary folder cannot be written.
    pub fn new() -> Result<Folder> {
        let folder = tempfile::Builder::new().prefix("tidings-").tempdir().context("make a temp folder")?;
        crate::watchdog::watch_folder(folder.path())?;
        Ok(Folder(folder))
    }

    /// The path of the folder.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

/// The build folder of the running program (`target/debug`). For a test, this is the parent of the test's folder.
///
/// # Errors
/// When the path of the running program is unknown.
pub fn build_folder() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let folder = program.parent().context("the program has no folder")?;
    let deeper = folder.ends_with("deps") || folder.ends_with("examples");
    Ok(if deeper { folder.parent().unwrap_or(folder) } else { folder }.to_owned())
}
