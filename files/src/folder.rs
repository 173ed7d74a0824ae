//! The local folder of the content files. Replicas may share it, if its file system supports `flock`. Names
//! come from ids of files only, which have one form, so no request can name another path. A marker file shows that this is
//! the folder: without it, such as while a network file system is not mounted, a missing content file proves nothing.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tidings_shared::ids::FileId;
use uuid::Uuid;

use crate::content_name::{Derived, MARKER, object_name};
use crate::upload_file::UploadFile;

/// The folder of the content files.
#[derive(Clone)]
pub struct Folder {
    root: Arc<Path>,
}

impl Folder {
    pub fn new(root: PathBuf) -> Self {
        Self { root: root.into() }
    }

    /// Whether the marker is there.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn is_marked(&self) -> io::Result<bool> {
        self.root.join(MARKER).try_exists()
    }

    /// Makes the marker of a new folder.
    ///
    /// # Errors
    /// When the folder cannot be written to.
    pub fn mark(&self) -> io::Result<()> {
        File::create(self.root.join(MARKER))?.sync_all()?;
        sync_folder(&self.root)
    }

    /// Fails if the marker is missing.
    fn require_marker(&self) -> io::Result<()> {
        if self.is_marked()? {
            return Ok(());
        }
        Err(io::Error::other(format!("{} has no file `{MARKER}`: is it mounted?", self.root.display())))
    }

    /// The path of a content file.
    pub fn path_of(&self, file: &FileId) -> PathBuf {
        self.root.join(object_name(file))
    }

    /// Opens the content file of an upload. Creates an empty one if there is none. Its name survives a loss of power.
    pub fn open_upload(&self, file: &FileId) -> io::Result<UploadFile> {
        let path = self.path_of(file);
        let open = || File::options().read(true).write(true).open(&path);
        let opened = match open() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.require_marker()?;
                let folder = path.parent().unwrap_or(&self.root);
                std::fs::create_dir_all(folder)?;
                File::options().read(true).write(true).create(true).truncate(false).open(&path)?
            }
            opened => opened?,
        };
        // Also for an empty file that existed before: its creator may have been killed before it synced the folders.
        if opened.metadata()?.len() == 0 {
            path.ancestors().skip(1).take(3).try_for_each(sync_folder)?;
        }
        Ok(UploadFile::new(opened))
    }

    /// The number of bytes of an upload that would survive a loss of power now; 0 if no byte was received.
    pub fn durable_bytes(&self, file: &FileId) -> io::Result<u64> {
        match File::open(self.path_of(file)) {
            Ok(opened) => UploadFile::new(opened).durable_bytes(),
            Err(error) if error.kind() == ErrorKind::NotFound => self.require_marker().map(|()| 0),
            Err(error) => Err(error),
        }
    }

    /// Opens a content file, or something that is derived from it, to read it. None if there is none.
    ///
    /// # Errors
    /// When the folder is not there, or cannot be read.
    pub fn open(&self, file: &FileId, derived: Option<Derived>) -> io::Result<Option<File>> {
        let path = self.path_of(file);
        let path = derived.map_or_else(|| path.clone(), |derived| derived_path(&path, derived));
        match File::open(path) {
            Ok(opened) => Ok(Some(opened)),
            Err(error) if error.kind() == ErrorKind::NotFound => self.require_marker().map(|()| None),
            Err(error) => Err(error),
        }
    }

    /// Removes a content file, and what is derived from it. The removal survives a loss of power. Does nothing if there
    /// is no such file.
    pub fn remove(&self, file: &FileId) -> io::Result<()> {
        let path = self.path_of(file);
        let folder = path.parent().unwrap_or(&self.root);
        let entries = match std::fs::read_dir(folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return self.require_marker(),
            entries => entries?,
        };
        let mut is_any = false;
        for entry in entries {
            let entry = entry?.path();
            // A derived file, and one that a killed writer left, has the id of the file and a suffix.
            if entry.file_stem() == path.file_name() {
                is_any |= remove_file(&entry)?;
            }
        }
        if is_any { sync_folder(folder) } else { self.require_marker() }
    }

    /// The whole content of a file. None if there is none.
    ///
    /// # Errors
    /// When the content has more than `max_bytes`, or the folder cannot be read.
    pub fn read_all(&self, file: &FileId, max_bytes: u64) -> io::Result<Option<Bytes>> {
        let Some(content) = self.open(file, None)? else { return Ok(None) };
        let mut bytes = Vec::new();
        content.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > max_bytes {
            return Err(io::Error::other(format!("the content has more than {max_bytes} bytes")));
        }
        Ok(Some(bytes.into()))
    }

    /// Stores something that is derived from a content file. A reader sees the old bytes or all new ones.
    pub fn put(&self, file: &FileId, derived: Derived, bytes: &[u8]) -> io::Result<()> {
        self.require_marker()?;
        let path = derived_path(&self.path_of(file), derived);
        let folder = path.parent().unwrap_or(&self.root);
        std::fs::create_dir_all(folder)?;
        // Two writers may overlap, so each has a name of its own.
        let begun = path.with_extension(format!("{}-new", Uuid::now_v7()));
        let mut writer = File::create(&begun)?;
        writer.write_all(bytes)?;
        writer.sync_all()?;
        std::fs::rename(&begun, &path)?;
        sync_folder(folder)
    }

    /// Reads what [`Folder::put`] stored. None if there is none.
    pub fn read_derived(&self, file: &FileId, derived: Derived) -> io::Result<Option<Bytes>> {
        match std::fs::read(derived_path(&self.path_of(file), derived)) {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(error) if error.kind() == ErrorKind::NotFound => self.require_marker().map(|()| None),
            Err(error) => Err(error),
        }
    }
}

/// The path of something that is derived from the content file at `content`.
fn derived_path(content: &Path, derived: Derived) -> PathBuf {
    content.with_extension(derived.suffix())
}

/// Removes a file. Returns false if there was none.
fn remove_file(path: &Path) -> io::Result<bool> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Writes the names in a folder to the disk.
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Runs file operations on a thread that may block.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_created_once_found_again_and_removed() {
        let root = tempfile::tempdir().unwrap();
        let (folder, file) = (Folder::new(root.path().to_owned()), FileId::generate());
        folder.mark().unwrap();
        assert_eq!(folder.durable_bytes(&file).unwrap(), 0);
        folder.open_upload(&file).unwrap().append(b"hello").unwrap();
        assert_eq!(folder.durable_bytes(&file).unwrap(), 5);
        assert_eq!(folder.open_upload(&file).unwrap().durable_bytes().unwrap(), 5);
        let path = folder.path_of(&file);
        assert!(path.starts_with(root.path()) && path.ends_with(file.as_str()));
        assert_eq!(path.strip_prefix(root.path()).unwrap().components().count(), 3);
        folder.remove(&file).unwrap();
        folder.remove(&file).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn derived_bytes_are_replaced_and_removed_with_the_content() {
        let root = tempfile::tempdir().unwrap();
        let (folder, file) = (Folder::new(root.path().to_owned()), FileId::generate());
        assert!(folder.put(&file, Derived::Preview, b"x").is_err(), "without the marker");
        folder.mark().unwrap();
        assert_eq!(folder.read_all(&file, 10).unwrap(), None);
        assert_eq!(folder.read_derived(&file, Derived::Preview).unwrap(), None);
        folder.open_upload(&file).unwrap().append(b"hello").unwrap();
        assert_eq!(folder.read_all(&file, 5).unwrap().unwrap(), "hello");
        assert!(folder.read_all(&file, 4).is_err());
        folder.put(&file, Derived::Preview, b"first").unwrap();
        folder.put(&file, Derived::Preview, b"second").unwrap();
        assert_eq!(folder.read_derived(&file, Derived::Preview).unwrap().unwrap(), "second");
        let inner = folder.path_of(&file).parent().unwrap().to_owned();
        std::fs::write(folder.path_of(&file).with_extension("killed-new"), "half").unwrap();
        std::fs::write(inner.join("other"), "stays").unwrap();
        assert_eq!(std::fs::read_dir(&inner).unwrap().count(), 4);
        folder.remove(&file).unwrap();
        let left: Vec<_> =
            std::fs::read_dir(&inner).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["other"]);
    }

    #[test]
    fn folder_without_marker_answers_nothing_about_files() {
        let root = tempfile::tempdir().unwrap();
        let (folder, file) = (Folder::new(root.path().to_owned()), FileId::generate());
        assert!(!folder.is_marked().unwrap());
        assert!(folder.durable_bytes(&file).is_err());
        assert!(folder.open(&file, None).is_err());
        assert!(folder.remove(&file).is_err() && folder.read_all(&file, 1).is_err());
        assert!(folder.read_derived(&file, Derived::Preview).is_err());
        assert!(folder.open_upload(&file).is_err() && !folder.path_of(&file).exists());
        folder.mark().unwrap();
        assert!(folder.is_marked().unwrap() && folder.open(&file, None).unwrap().is_none());
        folder.remove(&file).unwrap();
    }
}
