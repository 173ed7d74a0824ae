//! A private temporary folder of a test.

use std::path::Path;

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
