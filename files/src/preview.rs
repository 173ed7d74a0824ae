//! Makes the preview of an image: a small image without metadata, the size of the whole image as a viewer shows it, and
//! a blurhash. Pure, and blocks for up to some seconds. The content comes from a user, so its header is checked before
//! memory is allocated: a small file may declare billions of pixels. Only the first frame of an animation is decoded.

mod encode;

use std::io::Cursor;

use image::error::ImageError;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};
use tidings_shared::message::Dimensions;

/// The longest side of an image that is decoded, in pixels.
pub const MAX_SIDE: u32 = 16_384;
/// The memory that the decoder of one image may need, in bytes: a photo of 50 megapixels needs 143 MiB.
pub const MAX_DECODE_BYTES: u64 = 160 << 20;
/// The longest side of a preview, in pixels: twice the 320 pixels that clients show, for high-density screens.
pub const PREVIEW_SIDE: u32 = 640;

/// The preview of an image.
#[derive(Debug)]
pub struct Preview {
    pub content: Vec<u8>,
    pub media_type: &'static str,
    /// The size of the whole image, turned as its orientation says.
    pub dimensions: Dimensions,
    /// None for an image with transparent parts, because the placeholder would show through them.
    pub blurhash: Option<String>,
}

/// Why an image has no preview.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPreview {
    /// Decoding would need too much memory.
    TooLarge,
    /// The content is damaged, or has a format that the decoder does not support.
    Undecodable,
}

impl From<ImageError> for NoPreview {
    fn from(error: ImageError) -> Self {
        if matches!(error, ImageError::Limits(_)) { Self::TooLarge } else { Self::Undecodable }
    }
}

/// Makes the preview of an image that a viewer turns by `orientation`. Both this and `extra_bytes` come from
/// [`crate::metadata::strip`].
pub fn make(
    format: ImageFormat,
    content: &[u8],
    orientation: Orientation,
    extra_bytes: u64,
) -> Result<Preview, NoPreview> {
    let mut reader = ImageReader::with_format(Cursor::new(content), format);
    reader.limits(limits());
    let mut decoder = reader.into_decoder()?;
    if working_bytes(format, decoder.total_bytes()).saturating_add(extra_bytes) > MAX_DECODE_BYTES {
        return Err(NoPreview::TooLarge);
    }
    let (width, height) = decoder.dimensions();
    let profile = decoder.icc_profile().ok().flatten();
    let image = shrink(DynamicImage::from_decoder(decoder)?, orientation);
    let (width, height) = if is_turned(orientation) { (height, width) } else { (width, height) };
    let (width, height) =
        u16::try_from(width).ok().zip(u16::try_from(height).ok()).ok_or(NoPreview::TooLarge)?;
    if width == 0 || height == 0 {
        return Err(NoPreview::Undecodable);
    }
    let (content, media_type) = encode::encode(&image, profile)?;
    let blurhash = encode::blurhash(&image);
    Ok(Preview { content, media_type, dimensions: Dimensions { width, height }, blurhash })
}

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_DECODE_BYTES);
    limits
}

/// The memory that decoding needs at the same time for its output and for copies of it, in bytes. The limits of the
/// decoders do not count all of it.
fn working_bytes(format: ImageFormat, output_bytes: u64) -> u64 {
    match format {
        // An animation needs the frame and the canvas. A WebP frame may exist twice: with transparency and without.
        ImageFormat::WebP => output_bytes.saturating_mul(3),
        _ => output_bytes,
    }
}

/// Makes the image small first, because turning needs a copy.
fn shrink(image: DynamicImage, orientation: Orientation) -> DynamicImage {
    let is_large = image.width() > PREVIEW_SIDE || image.height() > PREVIEW_SIDE;
    let mut small = if is_large { image.thumbnail(PREVIEW_SIDE, PREVIEW_SIDE) } else { image };
    small.apply_orientation(orientation);
    small
}

fn is_turned(orientation: Orientation) -> bool {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    matches!(orientation, Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH)
}

#[cfg(test)]
mod tests;
