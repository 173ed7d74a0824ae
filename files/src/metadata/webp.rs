//! Removes the metadata of a WebP: keeps frames, their transparency and the colour profile.

use image::metadata::Orientation;

use super::{Stripped, exif};

/// Chunks that stay as they are.
const KEPT: [&[u8; 4]; 7] = [b"VP8 ", b"VP8L", b"VP8X", b"ANIM", b"ANMF", b"ALPH", b"ICCP"];
const EXIF: &[u8; 4] = b"EXIF";
const HEAD_BYTES: usize = 12;
/// The flags in a chunk `VP8X` that announce metadata.
const EXIF_FLAG: u8 = 0x08;
const XMP_FLAG: u8 = 0x04;

/// Bytes of an animation frame before its chunks.
const FRAME_HEAD_BYTES: usize = 16;
/// Memory for a pixel of a lossy frame: three planes and what is known about its blocks.
const LOSSY_PIXEL_BYTES: u64 = 3;

pub fn strip(content: &[u8]) -> Option<Stripped> {
    let head = content.get(..HEAD_BYTES)?;
    if !head.starts_with(b"RIFF") || !head.ends_with(b"WEBP") {
        return None;
    }
    // The size of the file counts from the name of the format.
    let size = u32::from_le_bytes(*head[4..].first_chunk()?) as usize;
    let end = size.saturating_add(8).clamp(HEAD_BYTES, content.len());
    let mut rest = &content[HEAD_BYTES..end];
    let mut kept = Vec::with_capacity(content.len());
    kept.extend_from_slice(head);
    let (mut orientation, mut flags_at, mut frame_pixels) = (None, None, 0_u64);
    while let [kind @ .., a, b, c, d] = rest.get(..8).unwrap_or_default() {
        let length = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
        let padded = length.saturating_add(length % 2).saturating_add(8);
        let Some(kind) = kind.first_chunk::<4>() else { break };
        let (chunk, after) = rest.split_at(padded.min(rest.len()));
        rest = after;
        if kind == EXIF && orientation.is_none() {
            let data = chunk.get(8..length.saturating_add(8)).unwrap_or_default();
            let found = exif::orientation(data).unwrap_or(Orientation::NoTransforms);
            if let Some(tiff) = exif::minimal(found) {
                kept.extend_from_slice(EXIF);
                kept.extend_from_slice(&u32::try_from(tiff.len()).unwrap_or_default().to_le_bytes());
                kept.extend_from_slice(&tiff);
            }
            orientation = Some(found);
        } else if KEPT.contains(&kind) {
            frame_pixels = frame_pixels.max(lossy_pixels(kind, chunk.get(8..).unwrap_or_default()));
            if kind == b"VP8X" && chunk.len() > 8 {
                flags_at = flags_at.or(Some(kept.len() + 8));
            }
            kept.extend_from_slice(chunk);
        }
    }
    let orientation = orientation.unwrap_or(Orientation::NoTransforms);
    if let Some(flags) = flags_at.and_then(|at| kept.get_mut(at)) {
        *flags &= !(EXIF_FLAG | XMP_FLAG);
        if orientation != Orientation::NoTransforms {
            *flags |= EXIF_FLAG;
        }
    }
    let size = u32::try_from(kept.len() - 8).unwrap_or(u32::MAX);
    kept[4..8].copy_from_slice(&size.to_le_bytes());
    Some(Stripped { content: kept, orientation, extra_bytes: frame_pixels * LOSSY_PIXEL_BYTES })
}

/// The number of pixels of the lossy frame in a chunk. The decoder allocates them before it compares them with the size
/// of the image.
fn lossy_pixels(kind: &[u8; 4], data: &[u8]) -> u64 {
    let mut rest = match kind {
        b"VP8 " => return frame_pixels(data),
        b"ANMF" => data.get(FRAME_HEAD_BYTES..).unwrap_or_default(),
        _ => return 0,
    };
    let mut largest = 0_u64;
    while let [kind @ .., a, b, c, d] = rest.get(..8).unwrap_or_default() {
        let length = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
        let padded = length.saturating_add(length % 2).saturating_add(8);
        let (chunk, after) = rest.split_at(padded.min(rest.len()));
        if kind == b"VP8 " {
            largest = largest.max(frame_pixels(chunk.get(8..).unwrap_or_default()));
        }
        rest = after;
    }
    largest
}

/// The number of pixels that the header of a lossy frame declares.
fn frame_pixels(frame: &[u8]) -> u64 {
    let [_, _, _, _, _, _, w1, w2, h1, h2, ..] = frame else { return 0 };
    let side = |low: u8, high: u8| u64::from(u16::from_le_bytes([low, high]) & 0x3FFF);
    side(*w1, *w2) * side(*h1, *h2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
        let mut bytes = kind.to_vec();
        bytes.extend_from_slice(&u32::try_from(data.len()).unwrap().to_le_bytes());
        bytes.extend_from_slice(data);
        bytes.resize(bytes.len() + data.len() % 2, 0);
        bytes
    }

    fn file(chunks: &[Vec<u8>]) -> Vec<u8> {
        let chunks = chunks.concat();
        let size = u32::try_from(chunks.len() + 4).unwrap().to_le_bytes();
        [b"RIFF".as_slice(), &size, b"WEBP", &chunks].concat()
    }

    #[test]
    fn metadata_and_trailing_bytes_are_removed() {
        let turned = exif::minimal(Orientation::Rotate270).unwrap();
        let exif = [exif::PREFIX, &turned, b"GPS"].concat();
        let mut content = file(&[
            chunk(b"VP8X", b"\x2c\0\0\0\0\0\0\0\0\0"),
            chunk(b"ICCP", b"odd"),
            chunk(b"VP8 ", b"pixels"),
            chunk(b"EXIF", &exif),
            chunk(b"XMP ", b"GPS"),
            chunk(b"priv", b"private"),
        ]);
        content.extend_from_slice(b"a video with GPS");
        let stripped = strip(&content).unwrap();
        let expected = file(&[
            chunk(b"VP8X", b"\x28\0\0\0\0\0\0\0\0\0"),
            chunk(b"ICCP", b"odd"),
            chunk(b"VP8 ", b"pixels"),
            chunk(b"EXIF", &turned),
        ]);
        assert_eq!(stripped.content, expected);
        assert_eq!(stripped.orientation, Orientation::Rotate270);
        assert_eq!(stripped.extra_bytes, 0);
        let frame = b"\x10\0\0\x9d\x01\x2a\xff\x3f\0\x02";
        let hidden =
            [[0; FRAME_HEAD_BYTES].as_slice(), &chunk(b"ALPH", b"odd"), &chunk(b"VP8 ", frame)].concat();
        for chunks in [chunk(b"VP8 ", frame), chunk(b"ANMF", &hidden)] {
            assert_eq!(strip(&file(&[chunks])).unwrap().extra_bytes, 16_383 * 512 * LOSSY_PIXEL_BYTES);
        }
        let upright = file(&[chunk(b"VP8X", b"\x0c\0\0\0\0\0\0\0\0\0"), chunk(b"XMP ", b"GPS")]);
        let expected = file(&[chunk(b"VP8X", b"\0\0\0\0\0\0\0\0\0\0")]);
        assert_eq!(strip(&upright).unwrap().content, expected);
    }
}
