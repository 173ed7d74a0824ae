//! The bodies of requests and answers.

use std::time::Duration;

use actix_web::web;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tidings_persistence::http::body::read_bytes;
use tidings_persistence::http::problem::Problem;
use tidings_persistence::query::json::wire_time;
use tidings_shared::command_fields::{object, required};
use tidings_shared::error::{ErrorCode, Refusal};
use tidings_shared::ids::{FileId, RoomId, is_bidi_control};
use tidings_shared::limits::MAX_ATTACHMENT_NAME_CHARS;
use tidings_shared::message::{Attachment, AttachmentSource, check_text};
use tidings_shared::openapi::TimeForm;
use utoipa::ToSchema;

use super::upload::Upload;
use crate::file::{FileState, StoredFile};
use crate::media::is_media_type;

/// Longest body of a request with fields.
const MAX_BODY_BYTES: usize = 8 * 1024;
const BODY_TIMEOUT: Duration = Duration::from_secs(20);
const SHA256_HEX_CHARS: usize = 64;

/// What a client declares about a new file.
#[derive(Debug, ToSchema)]
#[schema(as = NewFile)]
pub struct NewFileForm {
    /// Without control characters.
    #[schema(min_length = 1, max_length = 255)]
    pub name: String,
    /// `type/subtype`, without parameters.
    #[schema(max_length = 255, pattern = "^[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+$")]
    pub media_type: String,
    /// In bytes.
    #[schema(minimum = 1)]
    pub size: i64,
    /// SHA-256 of the content as hex digits.
    #[schema(pattern = "^[0-9a-fA-F]{64}$")]
    pub sha256: String,
}

#[derive(Deserialize)]
struct NewFileFields<'a> {
    #[serde(borrow, default)]
    name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    media_type: Option<&'a RawValue>,
    #[serde(borrow, default)]
    size: Option<&'a RawValue>,
    #[serde(borrow, default)]
    sha256: Option<&'a RawValue>,
}

impl NewFileForm {
    /// Reads and checks a body.
    pub async fn read(payload: web::Payload) -> Result<Self, Problem> {
        let bytes = read_bytes(payload, MAX_BODY_BYTES, BODY_TIMEOUT).await?;
        let text = std::str::from_utf8(&bytes)
            .map_err(|_| Problem::new(ErrorCode::BadRequest, "the body is not UTF-8"))?;
        Ok(Self::parse(text)?)
    }

    fn parse(text: &str) -> Result<Self, Refusal> {
        let fields: NewFileFields<'_> = object(text)?;
        let name: String = required(fields.name, "name", "a string")?;
        check_text(&name, "name", MAX_ATTACHMENT_NAME_CHARS)?;
        if name.trim().is_empty() || name.chars().any(|c| c.is_control() || is_bidi_control(c)) {
            let rule = "`name` must not be empty or hold control characters or bidi controls";
            return Err(Refusal::bad_field("name", rule));
        }
        let media_type: String = required(fields.media_type, "media_type", "a string")?;
        if !is_media_type(&media_type) {
            return Err(Refusal::bad_field("media_type", "`media_type` must be `type/subtype`"));
        }
        let size: i64 = required(fields.size, "size", "a number of bytes")?;
        if size < 1 {
            return Err(Refusal::bad_field("size", "`size` must be at least 1"));
        }
        let sha256: String = required(fields.sha256, "sha256", "a string")?;
        if sha256.len() != SHA256_HEX_CHARS || !sha256.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(Refusal::bad_field("sha256", "`sha256` must be 64 hex digits"));
        }
        Ok(Self { name, media_type, size, sha256: sha256.to_ascii_lowercase() })
    }
}

/// A file.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = File)]
pub struct FileAnswer {
    #[schema(value_type = FileId)]
    pub id: String,
    #[schema(value_type = RoomId)]
    pub room: String,
    pub name: String,
    /// The declared type. After the completion: the type that the first bytes confirm.
    pub media_type: String,
    /// Of the upload, in bytes. The content may be smaller: see `attachment`.
    pub size: u64,
    /// Of the upload.
    pub sha256: String,
    pub state: FileState,
    #[schema(value_type = TimeForm)]
    pub created_at: String,
    /// Only while the upload is not complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub upload: Option<Upload>,
    /// The attachment for a message. Only of a complete file.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub attachment: Option<Attachment>,
}

impl FileAnswer {
    /// The answer about a file. `upload` is where it is sent; None if the upload has ended.
    pub fn of(file: &StoredFile, upload: Option<Upload>) -> Self {
        let is_complete = matches!(file.state, FileState::Ready | FileState::Held);
        let attachment = is_complete.then(|| Attachment {
            source: AttachmentSource::File(file.id.clone()),
            name: file.name.clone(),
            media_type: file.media_type.clone(),
            size: file.content_size,
            dimensions: file.image.as_ref().map(|image| image.dimensions),
            blurhash: file.image.as_ref().and_then(|image| image.blurhash.clone()),
        });
        Self {
            id: file.id.to_string(),
            room: file.room.to_string(),
            name: file.name.clone(),
            media_type: file.media_type.clone(),
            size: file.size,
            sha256: file.sha256.clone(),
            state: file.state,
            created_at: wire_time(&file.created_at),
            upload,
            attachment,
        }
    }
}

/// A download URL.
#[derive(Debug, Serialize, ToSchema)]
pub struct Address {
    pub url: String,
    #[schema(value_type = TimeForm)]
    pub expires_at: String,
}

/// A file that waits for an admin.
#[derive(Debug, Serialize, ToSchema)]
pub struct HeldFile {
    #[serde(flatten)]
    pub file: FileAnswer,
    /// The URL from which an admin downloads the content.
    pub url: String,
    #[schema(value_type = tidings_shared::ids::UserId)]
    pub uploader: String,
}

/// Files that wait for an admin, those that wait longest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct HeldFiles {
    pub files: Vec<HeldFile>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_field_is_refused_and_named() {
        let valid =
            serde_json::json!({"name": "a", "media_type": "a/b", "size": 1, "sha256": "aB".repeat(32)});
        let form = NewFileForm::parse(&valid.to_string()).unwrap();
        assert_eq!(form.sha256, "ab".repeat(32));
        for (field, wrong) in [
            ("name", serde_json::json!("")),
            ("name", serde_json::json!(" ")),
            ("name", serde_json::json!("a\nb")),
            ("name", serde_json::json!("a\u{202e}gnp.exe")),
            ("name", serde_json::json!("x".repeat(256))),
            ("name", serde_json::json!(null)),
            ("media_type", serde_json::json!("image")),
            ("media_type", serde_json::json!("a/b\r\nX: y")),
            ("size", serde_json::json!(0)),
            ("size", serde_json::json!(-1)),
            ("size", serde_json::json!(1.5)),
            ("size", serde_json::json!("1")),
            ("sha256", serde_json::json!("ab")),
            ("sha256", serde_json::json!("xy".repeat(32))),
        ] {
            let mut form = valid.clone();
            form[field] = wrong;
            let refusal = NewFileForm::parse(&form.to_string()).unwrap_err();
            assert_eq!(refusal.field.as_deref(), Some(field), "{form}");
        }
        assert!(NewFileForm::parse("[]").is_err() && NewFileForm::parse("").is_err());
    }
}
