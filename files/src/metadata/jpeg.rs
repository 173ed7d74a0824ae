//! Removes the metadata of a JPEG: keeps tables, frames and scans, the colour profile and what tells the colour space.

use image::metadata::Orientation;
use memchr::memchr;

use super::{Stripped, exif};

const SOI: u8 = 0xD8;
const EOI: u8 = 0xD9;
const SOS: u8 = 0xDA;
const APP0: u8 = 0xE0;
const APP1: u8 = 0xE1;
const APP2: u8 = 0xE2;
const APP14: u8 = 0xEE;
const ICC: &[u8] = b"ICC_PROFILE\0";
const JFIF: &[u8] = b"JFIF\0";
/// A decoder visits all pixels for each scan, also for an empty one. Cameras and programs write about ten.
const MAX_SCANS: u32 = 32;
/// Length of JFIF data without its thumbnail.
const JFIF_BYTES: usize = 14;

pub fn strip(content: &[u8]) -> Option<Stripped> {
    let mut rest = content.strip_prefix(&[0xFF, SOI])?;
    let mut kept = Vec::with_capacity(content.len());
    kept.extend_from_slice(&[0xFF, SOI]);
    let (mut orientation, mut is_progressive, mut scans, mut samples) = (None, false, 0_u32, 0_u64);
    while let Some(marker) = next_marker(&mut rest) {
        match marker {
            EOI => {
                kept.extend_from_slice(&[0xFF, EOI]);
                break;
            }
            // Markers without a segment. They mean nothing outside of a scan.
            0x01 | 0xD0..=SOI => {}
            _ => {
                let Some(data) = segment(&mut rest) else { break };
                match marker {
                    // The end of JFIF data is a thumbnail, perhaps of an image before it was cropped.
                    APP0 if data.starts_with(JFIF) && data.len() >= JFIF_BYTES => {
                        push(&mut kept, marker, &[&data[..JFIF_BYTES - 2], &[0, 0]].concat());
                    }
                    APP1 if data.starts_with(exif::PREFIX) && orientation.is_none() => {
                        let found = exif::orientation(data).unwrap_or(Orientation::NoTransforms);
                        if let Some(tiff) = exif::minimal(found) {
                            push(&mut kept, marker, &[exif::PREFIX, &tiff].concat());
                        }
                        orientation = Some(found);
                    }
                    APP2 if data.starts_with(ICC) => push(&mut kept, marker, data),
                    APP14 if data.starts_with(b"Adobe") => push(&mut kept, marker, data),
                    // Frames, tables, and other segments that decoders read.
                    0xC0..=0xCF | 0xDB..=0xDF => {
                        is_progressive |= matches!(marker, 0xC2 | 0xC6 | 0xCA | 0xCE);
                        if !matches!(marker, 0xC4 | 0xC8 | 0xCC | 0xDB..=0xDF) {
                            samples = samples.max(samples_of(data));
                        }
                        push(&mut kept, marker, data);
                    }
                    SOS => {
                        scans += 1;
                        push(&mut kept, marker, data);
                        let (scan, after) = rest.split_at(scan_length(rest));
                        kept.extend_from_slice(scan);
                        rest = after;
                    }
                    _ => {}
                }
            }
        }
    }
    Some(Stripped {
        content: kept,
        orientation: orientation.unwrap_or(Orientation::NoTransforms),
        extra_bytes: match scans {
            ..=1 if !is_progressive => 0,
            // A decoder keeps the coefficients of all pixels, of two bytes each.
            ..=MAX_SCANS => samples * 2,
            _ => u64::MAX,
        },
    })
}

/// The number of samples of a frame: pixels times components.
fn samples_of(frame: &[u8]) -> u64 {
    let [_, h1, h2, w1, w2, components, ..] = frame else { return 0 };
    let (height, width) = (u16::from_be_bytes([*h1, *h2]), u16::from_be_bytes([*w1, *w2]));
    u64::from(height) * u64::from(width) * u64::from(*components)
}

/// The next marker. Skips bytes that belong to no segment, as decoders do.
fn next_marker(rest: &mut &[u8]) -> Option<u8> {
    loop {
        *rest = &rest[memchr(0xFF, rest)? + 1..];
        while let [0xFF, after @ ..] = *rest {
            *rest = after;
        }
        let (marker, after) = rest.split_first()?;
        *rest = after;
        if *marker != 0 {
            return Some(*marker);
        }
    }
}

/// The data of a segment, without its length. None if the content ends before.
fn segment<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u16::from_be_bytes(*rest.first_chunk()?);
    rest.split_off(..usize::from(length))?.get(2..)
}

fn push(kept: &mut Vec<u8>, marker: u8, data: &[u8]) {
    let length = u16::try_from(data.len() + 2).unwrap_or(u16::MAX);
    kept.extend_from_slice(&[0xFF, marker]);
    kept.extend_from_slice(&length.to_be_bytes());
    kept.extend_from_slice(data);
}

/// Length of the coded data of a scan, up to the next marker.
fn scan_length(rest: &[u8]) -> usize {
    let mut at = 0;
    while let Some(found) = memchr(0xFF, &rest[at..]) {
        at += found;
        match rest.get(at + 1) {
            Some(0 | 0xD0..=0xD7) => at += 2,
            Some(0xFF) => at += 1,
            Some(_) => return at,
            None => break,
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment_of(marker: u8, data: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        push(&mut bytes, marker, data);
        bytes
    }

    #[test]
    fn metadata_and_trailing_bytes_are_removed() {
        let exif = [exif::PREFIX, &exif::minimal(Orientation::Rotate90).unwrap(), b"GPS 48.2, 16.3"].concat();
        let jfif = b"JFIF\0\x01\x02\0\0\x01\0\x01\x01\x01THU";
        let scan = b"\x01\xff\0\x02\xff\xd0\x03";
        let content = [
            b"\xff\xd8".as_slice(),
            &segment_of(APP0, jfif),
            &segment_of(APP1, &exif),
            &segment_of(APP1, b"http://ns.adobe.com/xap/1.0/\0exif:GPSLatitude"),
            &segment_of(APP2, b"ICC_PROFILE\0\x01\x01profile"),
            &segment_of(APP2, b"MPF\0GPS"),
            &segment_of(0xED, b"Photoshop 3.0\0Vienna"),
            &segment_of(APP14, b"Adobe\0d\0\0\0\0\x01"),
            &segment_of(0xFE, b"comment of Anna"),
            b"garbage",
            &segment_of(0xC0, b"frame"),
            &segment_of(SOS, b"scan"),
            scan,
            &segment_of(APP1, &exif),
            b"\xff\xff\xd9",
            b"\xff\xd8 a second image with GPS",
        ]
        .concat();
        let stripped = strip(&content).unwrap();
        let expected = [
            b"\xff\xd8".as_slice(),
            &segment_of(APP0, b"JFIF\0\x01\x02\0\0\x01\0\x01\0\0"),
            &segment_of(APP1, &[exif::PREFIX, &exif::minimal(Orientation::Rotate90).unwrap()].concat()),
            &segment_of(APP2, b"ICC_PROFILE\0\x01\x01profile"),
            &segment_of(APP14, b"Adobe\0d\0\0\0\0\x01"),
            &segment_of(0xC0, b"frame"),
            &segment_of(SOS, b"scan"),
            scan,
            b"\xff\xd9",
        ]
        .concat();
        assert_eq!(stripped.content, expected);
        assert_eq!(stripped.orientation, Orientation::Rotate90);
        assert_eq!(stripped.extra_bytes, 0);
    }

    #[test]
    fn truncated_image_keeps_its_scan_and_no_metadata() {
        let exif = [exif::PREFIX, b"MM\0*GPS"].concat();
        let head = [b"\xff\xd8".as_slice(), &segment_of(APP1, &exif)].concat();
        let scan =
            [segment_of(0xC2, b"\x08\0\x02\x01\0\x03"), segment_of(SOS, b"scan"), b"\x01\x02\xff".to_vec()]
                .concat();
        let stripped = strip(&[head.clone(), scan.clone()].concat()).unwrap();
        assert_eq!(stripped.content, [b"\xff\xd8".to_vec(), scan].concat());
        assert_eq!(stripped.extra_bytes, 2 * 256 * 3 * 2);
        let scans = [segment_of(0xC2, b"frame"), segment_of(SOS, b"scan").repeat(33)].concat();
        assert_eq!(strip(&[head.clone(), scans].concat()).unwrap().extra_bytes, u64::MAX);
        for length in 2..head.len() {
            assert_eq!(strip(&head[..length]).unwrap().content, b"\xff\xd8");
        }
    }
}
