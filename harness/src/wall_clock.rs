//! Shifts the wall clock of one running process. A small preloaded library reads the offset from a file. The tool
//! libfaketime is not used, because a killed process leaves libfaketime's lock and file in shared memory behind.
//! Touches the build folder, where the library is built once, and the file with the offset.

use std::fs::{self, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

const LIBRARY_SOURCE: &str = include_str!("wall_clock/shift.c");

/// The wall clock of one process.
#[derive(Debug, Clone)]
pub struct WallClock {
    file: PathBuf,
}

impl WallClock {
    /// The clock of the process with this name and folder.
    pub fn of(folder: &Path, name: &str) -> WallClock {
        WallClock { file: folder.join(format!("{name}.clock")) }
    }

    /// Makes it possible to shift the clock. Must be called before the process starts.
    ///
    /// # Errors
    /// When there is no C compiler, or the folder cannot be written.
    pub fn prepare(&self) -> Result<()> {
        if !library_path()?.exists() {
            build_library()?;
        }
        Ok(fs::write(&self.file, 0_i64.to_ne_bytes())?)
    }

    /// Sets the clock at once to the machine's time plus this many seconds.
    ///
    /// # Errors
    /// When the clock was not prepared.
    pub fn shift(&self, seconds: i64) -> Result<()> {
        let nanoseconds = seconds.checked_mul(1_000_000_000).context("more than 292 years")?;
        // The file is overwritten and never truncated, because the process has mapped it.
        let file = OpenOptions::new().write(true).open(&self.file).context("a clock that was prepared")?;
        Ok(file.write_all_at(&nanoseconds.to_ne_bytes(), 0)?)
    }

    /// Makes the process of the command use this clock, if the clock was prepared.
    pub(crate) fn apply_to(&self, command: &mut Command) {
        if self.file.exists()
            && let Ok(library) = library_path()
        {
            command.env("LD_PRELOAD", library).env("WALL_CLOCK_FILE", &self.file);
        }
    }
}

/// The path of the library. It depends on the source text, so a changed source is built again.
fn library_path() -> Result<PathBuf> {
    let mut hasher = DefaultHasher::new();
    LIBRARY_SOURCE.hash(&mut hasher);
    let name = format!("wall-clock-{:016x}.so", hasher.finish());
    Ok(crate::folder::build_folder()?.join("tidings-harness").join(name))
}

fn build_library() -> Result<()> {
    let library = library_path()?;
    let parent = library.parent().context("the target folder")?;
    fs::create_dir_all(parent)?;
    let draft = tempfile::Builder::new().prefix("wall-clock-").tempdir_in(parent)?;
    let (source, built) = (draft.path().join("shift.c"), draft.path().join("shift.so"));
    fs::write(&source, LIBRARY_SOURCE)?;
    let done = Command::new("cc")
        .args(["-O2", "-shared", "-fPIC", "-o"])
        .args([&built, &source])
        .output()
        .context("run cc: a C compiler is needed, as it is for the services")?;
    ensure!(done.status.success(), "cc: {}", String::from_utf8_lossy(&done.stderr));
    // This may replace the library of another process, which is the same.
    fs::rename(&built, &library).context("move the library into place")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(clock: &WallClock) -> i64 {
        let mut command = Command::new("date");
        command.arg("+%s");
        clock.apply_to(&mut command);
        let output = command.output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
    }

    #[test]
    fn shifted_clock_affects_only_its_process() {
        let folder = crate::folder::Folder::new().unwrap();
        let (one, other) = (WallClock::of(folder.path(), "one"), WallClock::of(folder.path(), "other"));
        assert!(one.shift(60).is_err(), "not prepared");
        one.prepare().unwrap();
        let now = i64::try_from(crate::clock::now().as_secs()).unwrap();
        for seconds in [3600, -3600, 0] {
            one.shift(seconds).unwrap();
            assert!((date(&one) - now - seconds).abs() < 60, "{seconds}");
            assert!((date(&other) - now).abs() < 60);
        }
    }
}
