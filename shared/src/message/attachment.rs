//! A file that a message shows. Its bytes are elsewhere: behind a URL that the sender chose, or in the files service,
//! which gave the file its id.

mod parse;
#[cfg(feature = "openapi")]
mod schema;

use serde::{Deserialize, Serialize, Serializer, ser::SerializeMap};

use crate::ids::FileId;
pub use parse::AttachmentFields;

/// A file that a message shows. All fields are checked.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "AttachmentFields")]
pub struct Attachment {
    pub source: AttachmentSource,
    pub name: String,
    pub media_type: String,
    /// Size of the file, in bytes.
    pub size: u64,
    pub dimensions: Option<Dimensions>,
    /// A blurred preview of an image, as text (blurha.sh).
    pub blurhash: Option<String>,
}

/// Where the bytes of an attachment are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttachmentSource {
    /// Begins with `https://` or `http://`.
    Url(String),
    File(FileId),
}

/// Width and height of an image or a video, in pixels; both at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dimensions {
    pub width: u16,
    pub height: u16,
}

impl Attachment {
    /// Approximate size of the attachment in a message, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let source = match &self.source {
            AttachmentSource::Url(url) => url.len(),
            AttachmentSource::File(file) => file.as_str().len(),
        };
        self.name.len() + source + self.blurhash.as_ref().map_or(0, String::len)
    }
}

impl Serialize for Attachment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_map(None)?;
        fields.serialize_entry("name", &self.name)?;
        match &self.source {
            AttachmentSource::Url(url) => fields.serialize_entry("url", url)?,
            AttachmentSource::File(file) => fields.serialize_entry("file", file.as_str())?,
        }
        fields.serialize_entry("media_type", &self.media_type)?;
        fields.serialize_entry("size", &self.size)?;
        if let Some(Dimensions { width, height }) = self.dimensions {
            fields.serialize_entry("width", &width)?;
            fields.serialize_entry("height", &height)?;
        }
        if let Some(blurhash) = &self.blurhash {
            fields.serialize_entry("blurhash", blurhash)?;
        }
        fields.end()
    }
}
