//! The progress of an import, in a small file. Without the file an import has the same result, but takes longer.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// The number of finished lines of each imported file. The key is the path of the file as the operator gave it.
#[derive(Debug, Default)]
pub struct Checkpoint {
    path: Option<PathBuf>,
    done: BTreeMap<String, u64>,
}

impl Checkpoint {
    /// Reads the checkpoint file at `path`. A missing file means no progress. Without a path no progress is saved.
    pub fn open(path: Option<PathBuf>) -> anyhow::Result<Self> {
        let Some(path) = path else { return Ok(Self::default()) };
        let done = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .with_context(|| format!("{} is not a checkpoint", path.display()))?,
            Err(error) if error.kind() == ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        Ok(Self { path: Some(path), done })
    }

    /// How many lines at the start of this file are finished.
    #[must_use]
    pub fn finished_lines(&self, file: &Path) -> u64 {
        self.done.get(&file.to_string_lossy().into_owned()).copied().unwrap_or(0)
    }

    /// Saves that the first `lines` lines of this file are finished. The checkpoint file is replaced atomically.
    pub fn save(&mut self, file: &Path, lines: u64) -> anyhow::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        self.done.insert(file.to_string_lossy().into_owned(), lines);
        let draft = path.with_extension("new");
        std::fs::write(&draft, serde_json::to_vec(&self.done)?)
            .with_context(|| draft.display().to_string())?;
        std::fs::rename(&draft, path).with_context(|| path.display().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saved_progress_is_read_back() {
        let path = std::env::temp_dir().join(format!("tidings-checkpoint-{}", uuid::Uuid::now_v7()));
        let file = Path::new("a.jsonl");
        let mut checkpoint = Checkpoint::open(Some(path.clone())).unwrap();
        assert_eq!(checkpoint.finished_lines(file), 0);
        checkpoint.save(file, 500).unwrap();
        assert_eq!(Checkpoint::open(Some(path.clone())).unwrap().finished_lines(file), 500);
        std::fs::write(&path, "nonsense").unwrap();
        assert!(Checkpoint::open(Some(path.clone())).is_err());
        std::fs::remove_file(path).unwrap();
        assert_eq!(Checkpoint::open(None).unwrap().finished_lines(file), 0);
    }
}
