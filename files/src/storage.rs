//! The storage of file contents and of files derived from them, such as previews.

use std::io;

use bytes::Bytes;
use tidings_shared::ids::FileId;

use crate::bucket::Bucket;
pub use crate::content_name::Derived;
use crate::folder::{Folder, blocking};

/// The storage of the contents.
#[derive(Clone)]
pub enum Storage {
    Folder(Folder),
    Bucket(Bucket),
}

impl Storage {
    /// Reads the whole content of a file. Returns None if there is none, or if a bucket has it with another etag.
    ///
    /// # Errors
    /// When the content has more than `max_bytes`, or the storage fails.
    pub async fn read_all(
        &self,
        file: &FileId,
        etag: Option<&str>,
        max_bytes: u64,
    ) -> io::Result<Option<Bytes>> {
        match self {
            Self::Folder(folder) => {
                on_thread(folder, file, move |folder, id| folder.read_all(id, max_bytes)).await
            }
            Self::Bucket(bucket) => bucket.read_all(file, etag, max_bytes).await,
        }
    }

    /// Stores something that is derived from the content of a file, or replaces it. The file may be removed meanwhile,
    /// so the caller must look at its row afterwards, and call [`Storage::remove`] if it is gone.
    pub async fn put(&self, file: &FileId, derived: Derived, bytes: Bytes) -> io::Result<()> {
        match self {
            Self::Folder(folder) => {
                on_thread(folder, file, move |folder, id| folder.put(id, derived, &bytes)).await
            }
            Self::Bucket(bucket) => bucket.put(file, derived, bytes).await,
        }
    }

    /// Removes the content of a file, and what is derived from it. Does nothing if there is none.
    pub async fn remove(&self, file: &FileId) -> io::Result<()> {
        match self {
            Self::Folder(folder) => on_thread(folder, file, Folder::remove).await,
            Self::Bucket(bucket) => bucket.remove(file).await,
        }
    }

    /// Removes a file whose upload may still be open. Ends the upload before it removes the content, so that a
    /// concurrent completion either fails, or has its content removed.
    pub async fn remove_with_upload(&self, file: &FileId, upload: Option<&str>) -> io::Result<()> {
        if let (Self::Bucket(bucket), Some(upload)) = (self, upload) {
            bucket.end_upload(file, upload).await?;
        }
        self.remove(file).await
    }

    /// Whether the storage has the marker.
    pub async fn is_marked(&self) -> io::Result<bool> {
        match self {
            Self::Folder(folder) => {
                let folder = folder.clone();
                blocking(move || folder.is_marked()).await
            }
            Self::Bucket(bucket) => bucket.is_marked().await,
        }
    }

    /// Makes the marker of a new storage.
    pub async fn mark(&self) -> io::Result<()> {
        match self {
            Self::Folder(folder) => {
                let folder = folder.clone();
                blocking(move || folder.mark()).await
            }
            Self::Bucket(bucket) => bucket.mark().await,
        }
    }
}

async fn on_thread<T: Send + 'static>(
    folder: &Folder,
    file: &FileId,
    work: impl FnOnce(&Folder, &FileId) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (folder, file) = (folder.clone(), file.clone());
    blocking(move || work(&folder, &file)).await
}
