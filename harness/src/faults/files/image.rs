//! Images as phones and programs store them: turned, and with a position in their metadata. Also what readers must get:
//! the image without the position, still turned, and a preview that needs no turning.

use std::io::Cursor;
use std::ops::Range;

use anyhow::{Context, Result, ensure};
use flate2::Crc;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Rgb, RgbImage};
use rand::rngs::StdRng;
use rand::{Rng, RngCore};

/// The position in the metadata. Readers must not receive it.
const POSITION: &[u8] = b"position 48.2082 16.3738";
/// The sides of images in pixels. Some are longer than the longest side of a preview.
const SIDES: Range<u32> = 40..800;
const MAX_PREVIEW_SIDE: u32 = 640;
/// A preview may differ from its image by this much in the parts of a colour.
const COLOUR_TOLERANCE: u8 = 48;
/// Each pixel is lighter by a random number below this, so that an image has some bytes.
const NOISE: u8 = 16;
/// Length of the signature of a PNG with its first chunk, the header.
const PNG_HEAD_BYTES: usize = 33;

/// An image to upload.
pub(super) struct Photo {
    pub media_type: &'static str,
    pub upload: Vec<u8>,
    /// The bytes that readers must get: of the metadata only the orientation stays.
    pub clean: Vec<u8>,
    pub shown: ShownImage,
}

/// An image as a viewer shows it.
#[derive(Debug, Clone)]
pub(super) struct ShownImage {
    pub width: u32,
    pub height: u32,
    /// The colours of the four quarters.
    quarters: RgbImage,
}

impl Photo {
    pub fn random(rng: &mut StdRng) -> Result<Photo> {
        let (width, height) = (rng.random_range(SIDES), rng.random_range(SIDES));
        let mut colour = || Rgb([0; 3].map(|_: u8| rng.random_range(0..u8::MAX - NOISE)));
        // The top left quarter differs, so that a wrong turn is seen.
        let colours = [colour(), colour()];
        let mut noise = vec![0; (width * height) as usize];
        rng.fill_bytes(&mut noise);
        let mut noise = noise.into_iter().cycle();
        let pixels = RgbImage::from_fn(width, height, |x, y| {
            let lighter = noise.next().unwrap_or_default() % NOISE;
            Rgb(colours[usize::from(x >= width / 2 || y >= height / 2)].0.map(|part| part + lighter))
        });
        let (format, media_type) =
            [(ImageFormat::Jpeg, "image/jpeg"), (ImageFormat::Png, "image/png")][rng.random_range(0..2)];
        let mut plain = Cursor::new(Vec::new());
        pixels.write_to(&mut plain, format)?;
        let plain = plain.into_inner();
        let exif = rng.random_range(1..=8);
        let orientation = Orientation::from_exif(exif).context("an orientation")?;
        let write = if format == ImageFormat::Jpeg { write_jpeg } else { write_png };
        let (mut upload, clean) =
            (write(&plain, Some(&phone_exif(exif))), write(&plain, minimal_exif(exif).as_deref()));
        // Phones append a second image or a video, which can contain the position too.
        upload.extend_from_slice(POSITION);
        let mut quarters =
            DynamicImage::ImageRgb8(RgbImage::from_fn(2, 2, |x, y| colours[usize::from(x + y > 0)]));
        quarters.apply_orientation(orientation);
        let (width, height) = if exif < 5 { (width, height) } else { (height, width) };
        let shown = ShownImage { width, height, quarters: quarters.to_rgb8() };
        Ok(Photo { media_type, upload, clean, shown })
    }
}

impl ShownImage {
    /// Decodes a preview, and compares it with the image.
    pub fn check_preview(&self, preview: &[u8]) -> Result<()> {
        ensure!(!has_position(preview), "it contains the position");
        let mut decoder = ImageReader::new(Cursor::new(preview)).with_guessed_format()?.into_decoder()?;
        let orientation = decoder.orientation()?;
        ensure!(orientation == Orientation::NoTransforms, "a viewer turns it: {orientation:?}");
        let pixels = DynamicImage::from_decoder(decoder)?.to_rgb8();
        let longest = self.width.max(self.height);
        let side =
            |side: u32| if longest > MAX_PREVIEW_SIDE { side * MAX_PREVIEW_SIDE / longest } else { side };
        let (width, height) = pixels.dimensions();
        ensure!(
            // A side may be rounded up.
            width.abs_diff(side(self.width)) <= 1 && height.abs_diff(side(self.height)) <= 1,
            "it has {width} x {height} pixels, the image has {} x {}",
            self.width,
            self.height
        );
        for (x, y, expected) in self.quarters.enumerate_pixels() {
            let found = pixels.get_pixel((1 + 2 * x) * width / 4, (1 + 2 * y) * height / 4);
            let is_close = |(a, b): (&u8, &u8)| a.abs_diff(*b) <= COLOUR_TOLERANCE;
            ensure!(
                found.0.iter().zip(&expected.0).all(is_close),
                "the quarter {x} {y} is {found:?}, that of the image is {expected:?}"
            );
        }
        Ok(())
    }
}

pub(super) fn has_position(content: &[u8]) -> bool {
    content.windows(POSITION.len()).any(|window| window == POSITION)
}

/// EXIF data of a phone: the orientation, and the position in place of further entries.
fn phone_exif(orientation: u8) -> Vec<u8> {
    let mut tiff = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\0\0\0\0\0\0\0".to_vec();
    tiff[19] = orientation;
    [&tiff, POSITION].concat()
}

/// The EXIF data that the service writes. None for an image that needs no turning.
fn minimal_exif(orientation: u8) -> Option<Vec<u8>> {
    let mut tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\0\0\0\0\0\0\0\0".to_vec();
    tiff[18] = orientation;
    (orientation != 1).then_some(tiff)
}

/// A JPEG with this EXIF data, which is its first segment.
fn write_jpeg(plain: &[u8], exif: Option<&[u8]>) -> Vec<u8> {
    let segment = exif.map(|tiff| {
        let length = u16::try_from(tiff.len() + 8).unwrap_or(u16::MAX);
        [b"\xff\xe1", length.to_be_bytes().as_slice(), b"Exif\0\0", tiff].concat()
    });
    [&plain[..2], &segment.unwrap_or_default(), &plain[2..]].concat()
}

/// A PNG with this EXIF data in a chunk after its header.
fn write_png(plain: &[u8], exif: Option<&[u8]>) -> Vec<u8> {
    let (head, rest) = plain.split_at(PNG_HEAD_BYTES);
    let chunk = exif.map(|tiff| {
        let mut checksum = Crc::new();
        [b"eXIf", tiff].iter().for_each(|part| checksum.update(part));
        let length = u32::try_from(tiff.len()).unwrap_or(u32::MAX);
        [&length.to_be_bytes(), b"eXIf".as_slice(), tiff, &checksum.sum().to_be_bytes()].concat()
    });
    [head, &chunk.unwrap_or_default(), rest].concat()
}

#[cfg(test)]
mod tests;
