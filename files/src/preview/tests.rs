//! Previews of small images and of hostile ones, which the tests make themselves.

use image::codecs::gif::GifEncoder;
use image::codecs::jpeg::JpegEncoder;
use image::{Delay, Frame, Rgb, RgbImage, Rgba, RgbaImage};

use super::*;
use crate::metadata::strip;

/// The top left quarter is red, the rest is blue.
fn picture(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        if x < width / 2 && y < height / 2 { Rgb([220, 20, 20]) } else { Rgb([20, 20, 220]) }
    })
}

fn written(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut content = Cursor::new(Vec::new());
    image.into().write_to(&mut content, format).unwrap();
    content.into_inner()
}

fn preview_of(format: ImageFormat, content: &[u8]) -> Result<Preview, NoPreview> {
    let stripped = strip(format, content).ok_or(NoPreview::Undecodable)?;
    make(format, &stripped.content, stripped.orientation, stripped.extra_bytes)
}

fn decoded(preview: &Preview) -> RgbImage {
    image::load_from_memory(&preview.content).unwrap().to_rgb8()
}

/// Whether a pixel is rather red than blue.
fn is_red(image: &RgbImage, x: u32, y: u32) -> bool {
    let Rgb([red, _, blue]) = *image.get_pixel(x, y);
    red > blue
}

#[test]
fn each_format_gets_a_small_upright_preview() {
    for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::Gif, ImageFormat::WebP] {
        let preview = preview_of(format, &written(picture(1_000, 500), format)).unwrap();
        assert_eq!(preview.dimensions, Dimensions { width: 1_000, height: 500 }, "{format:?}");
        assert_eq!(preview.media_type, "image/jpeg");
        let small = decoded(&preview);
        assert_eq!(small.dimensions(), (640, 320), "{format:?}");
        assert!(is_red(&small, 10, 10) && !is_red(&small, 600, 10) && !is_red(&small, 10, 300));
        assert_eq!(preview.blurhash.unwrap().len(), 28);
    }
}

#[test]
fn small_image_is_not_enlarged_and_narrow_one_keeps_a_pixel() {
    let preview = preview_of(ImageFormat::Png, &written(picture(1, 1), ImageFormat::Png)).unwrap();
    assert_eq!(decoded(&preview).dimensions(), (1, 1));
    let preview = preview_of(ImageFormat::Png, &written(picture(9_000, 1), ImageFormat::Png)).unwrap();
    assert_eq!(decoded(&preview).dimensions(), (640, 1));
    assert_eq!(preview.dimensions, Dimensions { width: 9_000, height: 1 });
}

#[test]
fn orientation_turns_preview_and_dimensions() {
    let content = written(picture(80, 40), ImageFormat::Png);
    for (number, (width, height), red) in [
        (1, (80, 40), (5, 5)),
        (2, (80, 40), (75, 5)),
        (3, (80, 40), (75, 35)),
        (4, (80, 40), (5, 35)),
        (5, (40, 80), (5, 5)),
        (6, (40, 80), (35, 5)),
        (7, (40, 80), (35, 75)),
        (8, (40, 80), (5, 75)),
    ] {
        let orientation = Orientation::from_exif(number).unwrap();
        let preview = make(ImageFormat::Png, &content, orientation, 0).unwrap();
        assert_eq!(preview.dimensions, Dimensions { width, height }, "{number}");
        let small = decoded(&preview);
        assert_eq!(small.dimensions(), (u32::from(width), u32::from(height)));
        for (x, y) in [(5, 5), (u32::from(width) - 5, 5), (5, u32::from(height) - 5)] {
            assert_eq!(is_red(&small, x, y), (x, y) == red, "{number}: {x} {y}");
        }
    }
}

#[test]
fn transparent_image_stays_transparent_and_has_no_blurhash() {
    let mut image = RgbaImage::from_pixel(700, 10, Rgba([200, 0, 0, 255]));
    let opaque = preview_of(ImageFormat::Png, &written(image.clone(), ImageFormat::Png)).unwrap();
    assert!(opaque.media_type == "image/jpeg" && opaque.blurhash.is_some());
    image.pixels_mut().take(3_500).for_each(|pixel| pixel.0[3] = 0);
    let preview = preview_of(ImageFormat::Png, &written(image, ImageFormat::Png)).unwrap();
    assert!(preview.media_type == "image/png" && preview.blurhash.is_none());
    assert_eq!(image::load_from_memory(&preview.content).unwrap().to_rgba8().get_pixel(0, 0).0[3], 0);
}

#[test]
fn only_first_frame_of_animation_is_shown() {
    let mut content = Vec::new();
    let mut encoder = GifEncoder::new(&mut content);
    for color in [[200, 0, 0, 255], [0, 0, 200, 255], [0, 0, 200, 255]] {
        let frame = RgbaImage::from_pixel(20, 20, Rgba(color));
        encoder.encode_frame(Frame::from_parts(frame, 0, 0, Delay::from_numer_denom_ms(100, 1))).unwrap();
    }
    drop(encoder);
    let preview = preview_of(ImageFormat::Gif, &content).unwrap();
    assert!(is_red(&decoded(&preview), 10, 10));
}

#[test]
fn bomb_is_refused_before_its_pixels_are_allocated() {
    // A PNG of 60,000 x 60,000 pixels in 57 bytes, and one whose sides are allowed.
    for (width, height) in [(60_000_u32, 60_000_u32), (16_384, 16_384), (1, u32::MAX >> 1)] {
        let mut content = written(picture(1, 1), ImageFormat::Png);
        content[16..20].copy_from_slice(&width.to_be_bytes());
        content[20..24].copy_from_slice(&height.to_be_bytes());
        let checksum = crc32fast::hash(&content[12..29]).to_be_bytes();
        content[29..33].copy_from_slice(&checksum);
        assert_eq!(preview_of(ImageFormat::Png, &content).unwrap_err(), NoPreview::TooLarge);
    }
    // A GIF and a JPEG with the largest sides that their headers can declare.
    let mut gif = written(picture(1, 1), ImageFormat::Gif);
    gif[6..10].copy_from_slice(&[0xFF; 4]);
    assert_eq!(preview_of(ImageFormat::Gif, &gif).unwrap_err(), NoPreview::TooLarge);
    let mut jpeg = written(picture(8, 8), ImageFormat::Jpeg);
    let frame = jpeg.windows(2).position(|bytes| bytes == [0xFF, 0xC0]).unwrap();
    for side in [u16::MAX, 16_000] {
        jpeg[frame + 5..frame + 7].copy_from_slice(&side.to_be_bytes());
        jpeg[frame + 7..frame + 9].copy_from_slice(&side.to_be_bytes());
        assert_eq!(preview_of(ImageFormat::Jpeg, &jpeg).unwrap_err(), NoPreview::TooLarge);
    }
    let small = written(picture(8, 8), ImageFormat::Jpeg);
    let costly = make(ImageFormat::Jpeg, &small, Orientation::NoTransforms, MAX_DECODE_BYTES);
    assert_eq!(costly.unwrap_err(), NoPreview::TooLarge);
    // A small WebP whose lossy frame is larger than its screen.
    let mut webp = b"RIFF\x30\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\x01\0\0\x01\0\0".to_vec();
    webp.extend_from_slice(b"VP8 \x0e\0\0\0\x10\0\0\x9d\x01\x2a\xff\x3f\xff\x3f\0\0\0\0");
    assert_eq!(preview_of(ImageFormat::WebP, &webp).unwrap_err(), NoPreview::TooLarge);
}

#[test]
fn damaged_and_foreign_content_has_no_preview_and_does_not_panic() {
    for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::Gif, ImageFormat::WebP] {
        let content = written(picture(50, 50), format);
        for length in 0..content.len() {
            // Some decoders show the part that is there.
            let _shown_or_not = preview_of(format, &content[..length]);
        }
        assert_eq!(preview_of(format, &content[..20]).unwrap_err(), NoPreview::Undecodable, "{format:?}");
        for at in 0..content.len() {
            let mut damaged = content.clone();
            damaged[at] ^= 0x55;
            let _shown_or_not = preview_of(format, &damaged);
        }
    }
    let polyglot = b"GIF89a/*<script>*/=1;alert(1)//";
    assert_eq!(preview_of(ImageFormat::Gif, polyglot).unwrap_err(), NoPreview::Undecodable);
}

#[test]
fn colour_profile_stays_if_it_fits_the_preview() {
    let profile = |space: &[u8], bytes: usize| {
        let mut profile = vec![0; bytes];
        profile[16..20].copy_from_slice(space);
        let mut content = Vec::new();
        let mut encoder = JpegEncoder::new(&mut content);
        image::ImageEncoder::set_icc_profile(&mut encoder, profile.clone()).unwrap();
        picture(20, 20).write_with_encoder(encoder).unwrap();
        let preview = preview_of(ImageFormat::Jpeg, &content).unwrap();
        let reader = ImageReader::with_format(Cursor::new(preview.content), ImageFormat::Jpeg);
        reader.into_decoder().unwrap().icc_profile().unwrap() == Some(profile)
    };
    assert!(profile(b"RGB ", 200));
    assert!(!profile(b"CMYK", 200) && !profile(b"RGB ", 100_000));
}
