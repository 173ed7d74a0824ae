//! The requests of this process that are receiving content. A client that lost its connection asks for the offset. This
//! cancels the request that still waits for bytes of the lost connection, so that the client can resume at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tidings_shared::ids::FileId;
use tokio_util::sync::CancellationToken;

/// The running requests by their file.
#[derive(Clone, Default)]
pub struct ActiveUploads(Arc<Mutex<HashMap<FileId, CancellationToken>>>);

impl ActiveUploads {
    /// Registers a request until the guard is dropped. The caller must hold the lock of the content file.
    pub fn register(&self, file: &FileId) -> ActiveUpload {
        let cancelled = CancellationToken::new();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(file.clone(), cancelled.clone());
        ActiveUpload { uploads: self.clone(), file: file.clone(), cancelled }
    }

    /// Cancels the request that is receiving this file. Returns false if there is none.
    pub fn cancel(&self, file: &FileId) -> bool {
        let found = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(file).cloned();
        if let Some(cancelled) = &found {
            cancelled.cancel();
        }
        found.is_some()
    }
}

/// A registered request.
pub struct ActiveUpload {
    uploads: ActiveUploads,
    file: FileId,
    /// Set when the request must end.
    pub cancelled: CancellationToken,
}

impl Drop for ActiveUpload {
    fn drop(&mut self) {
        self.uploads.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registered_request_is_cancelled_until_its_guard_is_dropped() {
        let (uploads, file) = (ActiveUploads::default(), FileId::generate());
        assert!(!uploads.cancel(&file));
        let active = uploads.register(&file);
        assert!(!uploads.cancel(&FileId::generate()) && !active.cancelled.is_cancelled());
        assert!(uploads.cancel(&file) && active.cancelled.is_cancelled());
        drop(active);
        assert!(!uploads.cancel(&file));
    }
}
