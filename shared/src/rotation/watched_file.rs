//! Files that belong together, such as a certificate and its key. A change is loaded when two reads in a row gave the
//! same content, because a file that is just being written has only a part of it. Content that cannot be loaded changes
//! nothing: the service keeps what it uses. Reads follow symbolic links, by which Kubernetes swaps the files of a volume.

use std::{fs::File, io::Read, path::PathBuf};

use aws_lc_rs::digest::{Context, SHA256};

/// Longest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// The name of a setting with the fingerprint of a value of it that is in use.
pub type LoadedFingerprints = Vec<(&'static str, String)>;
/// Reads and checks the files, puts their content to use, and returns the fingerprints. An error changes nothing.
type Load = Box<dyn Fn() -> Result<LoadedFingerprints, String> + Send>;

/// A group of files that is loaded as a whole.
pub struct WatchedFiles {
    /// Names the files in metrics and log lines.
    pub name: &'static str,
    paths: Vec<PathBuf>,
    load: Load,
    /// The hash of the content that was loaded last.
    applied: Option<[u8; 32]>,
    /// The hash of a changed content that was read once.
    candidate: Option<[u8; 32]>,
    failure: Option<String>,
}

/// What a check of the files has found.
#[derive(Debug, PartialEq, Eq)]
pub enum CheckOutcome {
    /// The files have the content that is in use.
    Current,
    /// The files have changed; the next check loads them if they stay the same.
    Changing,
    /// A changed content was loaded.
    Loaded(LoadedFingerprints),
    /// The files cannot be read or loaded. `is_new` is false if the last check failed for the same reason.
    Failed { cause: String, is_new: bool },
}

impl WatchedFiles {
    /// Creates a group of files. `load` reads and applies them all. Without paths, `load` runs once, at the start, to
    /// report the fingerprints.
    pub fn new(
        name: &'static str,
        paths: Vec<PathBuf>,
        load: impl Fn() -> Result<LoadedFingerprints, String> + Send + 'static,
    ) -> Self {
        Self { name, paths, load: Box::new(load), applied: None, candidate: None, failure: None }
    }

    /// Loads the files for the first time. The hash is taken before, so that a change in between is noticed later.
    pub fn load_first(&mut self) -> CheckOutcome {
        match self.read_hash() {
            Ok(hash) => self.load(hash),
            Err(cause) => self.fail(cause),
        }
    }

    /// Reads the files, and loads them if they have changed and did not change since the last check.
    pub fn check(&mut self) -> CheckOutcome {
        let hash = match self.read_hash() {
            Ok(hash) => hash,
            Err(cause) => return self.fail(cause),
        };
        if self.applied == Some(hash) {
            (self.candidate, self.failure) = (None, None);
            return CheckOutcome::Current;
        }
        if self.candidate != Some(hash) {
            self.candidate = Some(hash);
            return CheckOutcome::Changing;
        }
        self.load(hash)
    }

    fn load(&mut self, hash: [u8; 32]) -> CheckOutcome {
        match (self.load)() {
            Ok(loaded) => {
                (self.applied, self.candidate, self.failure) = (Some(hash), None, None);
                CheckOutcome::Loaded(loaded)
            }
            Err(cause) => self.fail(cause),
        }
    }

    fn fail(&mut self, cause: String) -> CheckOutcome {
        let is_new = self.failure.as_ref() != Some(&cause);
        self.failure = Some(cause.clone());
        CheckOutcome::Failed { cause, is_new }
    }

    fn read_hash(&self) -> Result<[u8; 32], String> {
        let mut context = Context::new(&SHA256);
        for path in &self.paths {
            let unreadable =
                |error: std::io::Error| format!("the file {} cannot be read: {error}", path.display());
            let mut bytes = Vec::new();
            let file = File::open(path).map_err(unreadable)?;
            file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
            if bytes.len() as u64 > MAX_FILE_BYTES {
                return Err(format!("the file {} is over {MAX_FILE_BYTES} bytes", path.display()));
            }
            // The length separates the contents, so that bytes that move from one file to another change the hash.
            context.update(&bytes.len().to_be_bytes());
            context.update(&bytes);
        }
        let mut hash = [0; 32];
        hash.copy_from_slice(context.finish().as_ref());
        Ok(hash)
    }
}

#[cfg(test)]
mod tests;
