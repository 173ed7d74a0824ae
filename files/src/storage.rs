//! Where the contents of files are, and what is derived from them, such as previews.

use std::io;

use bytes::Bytes;
use tidings_shared::ids::FileId;

use crate::folder::{Folder, blocking};

/// What the service itself makes from the content of a file. Its name is the id of the file and a suffix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Derived {
    /// A small image of an image.
    Preview,
}

impl Derived {
    /// The suffix of the name.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Preview => "preview",
        }
    }
}

/// The storage of the contents.
#[derive(Clone)]
pub enum Storage {
    Folder(Folder),
}

impl Storage {
    /// The whole content of a file. None if there is none.
    ///
    /// # Errors
    /// When the content has more than `max_bytes`, or the storage fails.
    pub async fn read_all(&self, file: &FileId, max_bytes: u64) -> io::Result<Option<Bytes>> {
        let id = file.clone();
        match self {
            Self::Folder(folder) => {
                let folder = folder.clone();
                blocking(move || folder.read_all(&id, max_bytes)).await
            }
        }
    }

    /// Stores something that is derived from the content of a file, or replaces it. The file may be removed meanwhile, so
    /// the caller must look at its row afterwards, and call [`Storage::remove`] if it is gone.
    pub async fn put(&self, file: &FileId, derived: Derived, bytes: Bytes) -> io::Result<()> {
        let id = file.clone();
        match self {
            Self::Folder(folder) => {
                let folder = folder.clone();
                blocking(move || folder.put(&id, derived, &bytes)).await
            }
        }
    }

    /// Reads what [`Storage::put`] stored. None if there is none.
    pub async fn read_derived(&self, file: &FileId, derived: Derived) -> io::Result<Option<Bytes>> {
        let id = file.clone();
        match self {
            Self::Folder(folder) => {
                let folder = folder.clone();
                blocking(move || folder.read_derived(&id, derived)).await
            }
        }
    }

    /// Removes the content of a file, and what is derived from it. Does nothing if there is none.
    pub async fn remove(&self, file: &FileId) -> io::Result<()> {
        let id = file.clone();
        match self {
            Self::Folder(folder) => {
                let folder = folder.clone();
                blocking(move || folder.remove(&id)).await
            }
        }
    }

    /// Whether the storage has the marker that shows that it is the one of the stored files.
    pub async fn is_marked(&self) -> io::Result<bool> {
        match self {
            Self::Folder(folder) => {
                let folder = folder.clone();
                blocking(move || folder.is_marked()).await
            }
        }
    }

    /// Makes the marker of a new storage.
    pub async fn mark(&self) -> io::Result<()> {
        match self {
            Self::Folder(folder) => {
                let folder = folder.clone();
                blocking(move || folder.mark()).await
            }
        }
    }

    /// The number of bytes of an upload that were received, and that a loss of power would not lose.
    pub async fn durable_bytes(&self, file: &FileId) -> io::Result<u64> {
        let id = file.clone();
        match self {
            Self::Folder(folder) => {
                let folder = folder.clone();
                blocking(move || folder.durable_bytes(&id)).await
            }
        }
    }
}
