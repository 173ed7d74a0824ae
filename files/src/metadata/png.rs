//! Removes the metadata of a PNG: keeps the chunks that pixels, colours and animations need.

use image::metadata::Orientation;

use super::{Stripped, exif};

const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
/// Chunks that stay as they are.
const KEPT: [&[u8; 4]; 17] = [
    b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"cHRM", b"gAMA", b"iCCP", b"sBIT", b"sRGB", b"cICP",
    b"mDCV", b"cLLI", b"bKGD", b"pHYs", b"acTL", b"fcTL",
];
const FRAME_DATA: &[u8; 4] = b"fdAT";
const EXIF: &[u8; 4] = b"eXIf";
/// Length, type and checksum of a chunk.
const FRAME_BYTES: usize = 12;

pub fn strip(content: &[u8]) -> Option<Stripped> {
    let mut rest = content.strip_prefix(SIGNATURE)?;
    let mut kept = Vec::with_capacity(content.len());
    kept.extend_from_slice(SIGNATURE);
    let mut orientation = None;
    while let [a, b, c, d, kind @ ..] = rest
        && let Some(kind) = kind.first_chunk::<4>()
    {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        // A decoder shows the part of a truncated chunk.
        let (chunk, after) = rest.split_at(length.saturating_add(FRAME_BYTES).min(rest.len()));
        rest = after;
        if kind == EXIF && orientation.is_none() {
            let data = chunk.get(8..chunk.len().saturating_sub(4)).unwrap_or_default();
            let found = exif::orientation(data).unwrap_or(Orientation::NoTransforms);
            if let Some(tiff) = exif::minimal(found) {
                push(&mut kept, EXIF, &tiff);
            }
            orientation = Some(found);
        } else if KEPT.contains(&kind) || kind == FRAME_DATA {
            kept.extend_from_slice(chunk);
        }
        if kind == b"IEND" {
            break;
        }
    }
    let orientation = orientation.unwrap_or(Orientation::NoTransforms);
    Some(Stripped { content: kept, orientation, extra_bytes: 0 })
}

fn push(kept: &mut Vec<u8>, kind: &[u8; 4], data: &[u8]) {
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
    kept.extend_from_slice(&length.to_be_bytes());
    kept.extend_from_slice(kind);
    kept.extend_from_slice(data);
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(kind);
    checksum.update(data);
    kept.extend_from_slice(&checksum.finalize().to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        push(&mut bytes, kind, data);
        bytes
    }

    #[test]
    fn metadata_and_trailing_bytes_are_removed() {
        let exif = [&exif::minimal(Orientation::Rotate180).unwrap(), b"GPS".as_slice()].concat();
        let content = [
            SIGNATURE,
            &chunk(b"IHDR", b"header"),
            &chunk(b"iCCP", b"profile"),
            &chunk(b"tEXt", b"Author\0Anna"),
            &chunk(b"iTXt", b"XML:com.adobe.xmp GPS"),
            &chunk(b"eXIf", &exif),
            &chunk(b"prVt", b"private"),
            &chunk(b"IDAT", b"pixels"),
            &chunk(b"fdAT", b"frame"),
            &chunk(b"zTXt", b"Raw profile type exif"),
            &chunk(b"IEND", b""),
            b"PK\x03\x04 an archive",
        ]
        .concat();
        let stripped = strip(&content).unwrap();
        let expected = [
            SIGNATURE,
            &chunk(b"IHDR", b"header"),
            &chunk(b"iCCP", b"profile"),
            &chunk(b"eXIf", &exif::minimal(Orientation::Rotate180).unwrap()),
            &chunk(b"IDAT", b"pixels"),
            &chunk(b"fdAT", b"frame"),
            &chunk(b"IEND", b""),
        ]
        .concat();
        assert_eq!(stripped.content, expected);
        assert_eq!(stripped.orientation, Orientation::Rotate180);
    }

    #[test]
    fn truncated_chunk_of_pixels_is_kept_and_of_text_is_not() {
        let head = [SIGNATURE, &chunk(b"IHDR", b"header")].concat();
        for (kind, is_kept) in [(b"IDAT", true), (b"tEXt", false), (b"eXIf", false)] {
            let part = chunk(kind, b"0123456789")[..14].to_vec();
            let kept = strip(&[head.clone(), part.clone()].concat()).unwrap().content;
            assert_eq!(kept, if is_kept { [head.clone(), part].concat() } else { head.clone() });
        }
    }
}
