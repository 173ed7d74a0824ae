//! Removes the metadata of a GIF: keeps frames, their delays and the number of repetitions.

use image::metadata::Orientation;

use super::Stripped;

const IMAGE: u8 = 0x2C;
const EXTENSION: u8 = 0x21;
const TRAILER: u8 = 0x3B;
const GRAPHIC_CONTROL: u8 = 0xF9;
const APPLICATION: u8 = 0xFF;
/// Application extensions with the number of repetitions. Others contain XMP and the like.
const REPETITIONS: [&[u8]; 2] = [b"\x0bNETSCAPE2.0", b"\x0bANIMEXTS1.0"];
const SCREEN_BYTES: usize = 13;
const DESCRIPTOR_BYTES: usize = 10;

pub fn strip(content: &[u8]) -> Option<Stripped> {
    if !content.starts_with(b"GIF87a") && !content.starts_with(b"GIF89a") {
        return None;
    }
    let mut rest = content;
    let mut kept = Vec::with_capacity(content.len());
    let mut largest_frame = 0;
    let head = rest.get(10).map_or(SCREEN_BYTES, |flags| SCREEN_BYTES + table_bytes(*flags));
    kept.extend_from_slice(take(&mut rest, head));
    while let Some(kind) = rest.first() {
        let head = match *kind {
            IMAGE => {
                largest_frame = largest_frame.max(pixels_of(rest));
                DESCRIPTOR_BYTES + rest.get(9).map_or(0, |flags| table_bytes(*flags)) + 1
            }
            EXTENSION => 2,
            TRAILER => {
                kept.push(TRAILER);
                break;
            }
            _ => break,
        };
        let is_kept = match rest.get(1) {
            _ if *kind == IMAGE => true,
            Some(&GRAPHIC_CONTROL) => true,
            Some(&APPLICATION) => REPETITIONS.iter().any(|name| rest[2..].starts_with(name)),
            _ => false,
        };
        let length = head + blocks_length(rest.get(head..).unwrap_or_default());
        let block = take(&mut rest, length);
        if is_kept {
            kept.extend_from_slice(block);
        }
    }
    // The decoder has a frame and the whole screen in memory, each with four bytes for a pixel.
    let extra_bytes = largest_frame * 4;
    Some(Stripped { content: kept, orientation: Orientation::NoTransforms, extra_bytes })
}

/// The pixels of a frame, by its descriptor.
fn pixels_of(descriptor: &[u8]) -> u64 {
    let side = |at: usize| match descriptor.get(at..at + 2) {
        Some(&[low, high]) => u64::from(u16::from_le_bytes([low, high])),
        _ => 0,
    };
    side(5) * side(7)
}

/// Bytes of the table of colours that the flags announce.
fn table_bytes(flags: u8) -> usize {
    if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) }
}

/// Length of a sequence of blocks, with the empty one at its end. A block begins with its length.
fn blocks_length(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(length) = bytes.get(at) {
        at += 1 + usize::from(*length);
        if *length == 0 {
            break;
        }
    }
    at
}

/// Takes up to `length` bytes.
fn take<'a>(rest: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (taken, after) = rest.split_at(length.min(rest.len()));
    *rest = after;
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_and_trailing_bytes_are_removed() {
        let screen = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff";
        let repetitions = b"\x21\xff\x0bNETSCAPE2.0\x03\x01\0\0\0";
        let control = b"\x21\xf9\x04\0\0\0\0\0";
        let frame = b"\x2c\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0";
        let content = [
            screen.as_slice(),
            repetitions,
            b"\x21\xff\x0bXMP DataXMP\x03GPS\0",
            b"\x21\xfe\x04Anna\0",
            control,
            frame,
            b"\x21\x01\x0cplain text..\x02hi\0",
            b"\x3b/*<script>*/",
        ]
        .concat();
        let kept = strip(&content).unwrap().content;
        assert_eq!(kept, [screen.as_slice(), repetitions, control, frame, b"\x3b"].concat());
    }
}
