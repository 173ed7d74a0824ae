//! A file as its row describes it. Pure.

use chrono::{DateTime, Utc};
use serde::Serialize;
use tidings_shared::ids::{FileId, RoomId, UserId};
use tidings_shared::message::Dimensions;
use utoipa::ToSchema;

/// The state of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FileState {
    /// The uploader has not completed the upload.
    Uploading,
    /// The file can be downloaded by those who see its message.
    Ready,
    /// The file is complete, and waits for an admin to release or reject it.
    Held,
    /// An admin rejected the file, and its content is removed.
    Rejected,
    /// The file is being removed. It exists for nobody.
    Removed,
}

impl FileState {
    pub const ALL: [Self; 5] = [Self::Uploading, Self::Ready, Self::Held, Self::Rejected, Self::Removed];

    /// The state in the table of files and in the labels of metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Uploading => "uploading",
            Self::Ready => "ready",
            Self::Held => "held",
            Self::Rejected => "rejected",
            Self::Removed => "removed",
        }
    }

    /// The state with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// A file without its content.
#[derive(Debug, Clone)]
pub struct StoredFile {
    pub id: FileId,
    pub room: RoomId,
    pub uploader: UserId,
    pub name: String,
    /// The media type that the uploader declared. After the completion: the type that the first bytes confirm.
    pub media_type: String,
    /// The media type that the first bytes of the content show; None if they show none.
    pub sniffed_type: Option<String>,
    /// The declared size in bytes. A complete upload has exactly this size.
    pub size: u64,
    /// The size of the stored content in bytes: smaller than `size` if metadata was removed from an image.
    pub content_size: u64,
    /// Whether the file is served from [`Derived::Clean`](crate::content_name::Derived) in place of the upload.
    pub is_cleaned: bool,
    /// Identifies the checked content in a bucket. None with a folder, and for an image that was cleaned.
    pub content_etag: Option<String>,
    /// SHA-256 of the upload, 64 hex digits in lower case.
    pub sha256: String,
    /// None if the file has no preview.
    pub image: Option<ImageDetails>,
    pub state: FileState,
    /// The id of the multipart upload in the bucket. None after the completion, and with a folder.
    pub upload_id: Option<String>,
    /// Whether no message is known yet that references the file.
    pub is_unreferenced: bool,
    pub created_at: DateTime<Utc>,
}

/// What is known about an image that has a preview.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageDetails {
    /// The media type of the preview.
    pub preview_type: String,
    /// The size of the whole image as a viewer shows it.
    pub dimensions: Dimensions,
    pub blurhash: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_is_found_by_its_name() {
        for state in FileState::ALL {
            assert_eq!(FileState::parse(state.name()), Some(state));
            assert_eq!(serde_json::to_value(state).unwrap(), state.name());
        }
        assert_eq!(FileState::parse("gone"), None);
    }
}
