//! Writes previews, and computes blurhashes.

use image::codecs::{jpeg::JpegEncoder, png::PngEncoder};
use image::imageops::FilterType;
use image::{DynamicImage, ImageEncoder};

use super::NoPreview;

const JPEG_QUALITY: u8 = 80;
/// Larger colour profiles, such as those of printers, are left out.
const MAX_PROFILE_BYTES: usize = 64 * 1024;
/// The side of the image whose blurhash is computed, in pixels. More pixels change the result little.
const BLURHASH_SIDE: u32 = 32;
/// The components of a blurhash along the longer and the shorter side. They give a text of 28 characters.
const COMPONENTS: (u32, u32) = (4, 3);

/// Writes a preview with the colour profile of its image: as JPEG, or as PNG if parts of it are transparent. Returns
/// its media type too.
pub fn encode(image: &DynamicImage, profile: Option<Vec<u8>>) -> Result<(Vec<u8>, &'static str), NoPreview> {
    let mut content = Vec::new();
    // A profile of another colour space, such as CMYK, was of use to the decoder only.
    let profile =
        profile.filter(|it| it.len() <= MAX_PROFILE_BYTES && it.get(16..20) == Some(b"RGB ".as_slice()));
    if is_transparent(image) {
        let mut encoder = PngEncoder::new(&mut content);
        if let Some(profile) = profile {
            let _kept_if_supported = encoder.set_icc_profile(profile);
        }
        image.to_rgba8().write_with_encoder(encoder)?;
        return Ok((content, "image/png"));
    }
    let mut encoder = JpegEncoder::new_with_quality(&mut content, JPEG_QUALITY);
    if let Some(profile) = profile {
        let _kept_if_supported = encoder.set_icc_profile(profile);
    }
    image.to_rgb8().write_with_encoder(encoder)?;
    Ok((content, "image/jpeg"))
}

/// The blurhash of an image without transparent parts.
pub fn blurhash(image: &DynamicImage) -> Option<String> {
    if is_transparent(image) {
        return None;
    }
    let tiny = image.resize_exact(BLURHASH_SIDE, BLURHASH_SIDE, FilterType::Triangle).to_rgba8();
    let (longer, shorter) = COMPONENTS;
    let (x, y) = if image.width() >= image.height() { (longer, shorter) } else { (shorter, longer) };
    blurhash::encode(x, y, BLURHASH_SIDE, BLURHASH_SIDE, &tiny).ok()
}

fn is_transparent(image: &DynamicImage) -> bool {
    image.color().has_alpha() && image.to_rgba8().pixels().any(|pixel| pixel.0[3] < u8::MAX)
}
