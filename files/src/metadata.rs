//! Removes metadata from images without decoding them: EXIF with its position and thumbnail, XMP, IPTC, comments, and
//! bytes after the image, such as the second image or the video that phones append. Each format has a list of what is
//! kept: what the pixels and their colours need. Of EXIF only the orientation stays. Pure, and accepts any bytes: a
//! truncated image stays a truncated image. Written here because `img-parts` panics for truncated images, overflows the
//! stack for nested chunks, and keeps what comes after the first scan of a JPEG.

mod exif;
mod gif;
mod jpeg;
mod png;
mod webp;

use image::ImageFormat;
use image::metadata::Orientation;

/// An image without metadata.
#[derive(Debug)]
pub struct Stripped {
    pub content: Vec<u8>,
    /// How a viewer turns the image.
    pub orientation: Orientation,
    /// Memory that a decoder needs beside the pixels and does not count, in bytes.
    pub extra_bytes: u64,
}

/// The image format of a sniffed media type; None if it is not one of the formats whose metadata is removed.
pub fn format_of(sniffed_type: &str) -> Option<ImageFormat> {
    match sniffed_type {
        "image/jpeg" => Some(ImageFormat::Jpeg),
        "image/png" => Some(ImageFormat::Png),
        "image/gif" => Some(ImageFormat::Gif),
        "image/webp" => Some(ImageFormat::WebP),
        _ => None,
    }
}

/// Removes the metadata of an image. None if the content does not begin as an image of this format, although its first
/// bytes looked like it.
pub fn strip(format: ImageFormat, content: &[u8]) -> Option<Stripped> {
    match format {
        ImageFormat::Jpeg => jpeg::strip(content),
        ImageFormat::Png => png::strip(content),
        ImageFormat::Gif => gif::strip(content),
        ImageFormat::WebP => webp::strip(content),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_are_accepted_and_never_grow_much() {
        let heads: [(ImageFormat, &[u8]); 4] = [
            (ImageFormat::Jpeg, b"\xff\xd8"),
            (ImageFormat::Png, b"\x89PNG\r\n\x1a\n"),
            (ImageFormat::Gif, b"GIF89a"),
            (ImageFormat::WebP, b"RIFF\xff\xff\xff\xffWEBP"),
        ];
        let mut seed = 7_u32;
        let mut random = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 24) as u8
        };
        for (format, head) in heads {
            assert!(strip(format, b"").is_none() && strip(format, &head[..head.len() - 1]).is_none());
            for length in 0..600 {
                let mut content = head.to_vec();
                // Many bytes are markers or small numbers, so that walkers get far.
                content.extend((0..length).map(|_| match random() {
                    byte @ 0..=80 => [0xFF, 0xE1, 0, 0x21, 0x2C, 1, 0xDA, 0x3B][usize::from(byte % 8)],
                    byte => byte,
                }));
                let stripped = strip(format, &content).unwrap();
                assert!(stripped.content.len() <= content.len() + 64, "{format:?} {content:?}");
                let again = strip(format, &stripped.content).unwrap();
                assert_eq!(again.content, stripped.content, "{format:?}: the second pass differs");
            }
        }
        assert!(strip(ImageFormat::Bmp, b"BM").is_none());
    }
}
