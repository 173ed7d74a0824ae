//! Parses and checks the header of a client frame (RFC 6455, 5.2). Pure: a prefix of the stream gives a header, a
//! violation, or the result that more bytes are needed. A header or violation found in a prefix stays the same when
//! more bytes follow, so the decoder does not depend on how the bytes are split.

use super::frame::{COMPRESSED_BIT, MAX_CONTROL_PAYLOAD_BYTES, close_code};

/// A violation of the protocol or its limits by the client: the code and reason with which the connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Violation {
    pub code: u16,
    pub reason: &'static str,
}

impl Violation {
    /// A violation with the close code 1002, protocol error.
    pub(crate) const fn protocol(reason: &'static str) -> Violation {
        Violation { code: close_code::PROTOCOL_ERROR, reason }
    }
}

/// The kind of a frame. `Continuation` is a later fragment of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    /// Whether the frame is a control frame, which may come between the fragments of a message.
    pub(crate) fn is_control(self) -> bool {
        matches!(self, Opcode::Close | Opcode::Ping | Opcode::Pong)
    }
}

/// The checked header of a client frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub fin: bool,
    /// Whether the frame is the first frame of a compressed message.
    pub compressed: bool,
    pub opcode: Opcode,
    pub mask: [u8; 4],
    pub payload_bytes: usize,
}

/// The longest client header: 2 bytes, a 64 bit length, the mask.
pub(crate) const MAX_HEADER_BYTES: usize = 14;

/// The reserved bits 2 and 3.
const RESERVED_BITS: u8 = 0x30;

/// Parses the header at the start of `bytes`, and returns it with its length. Returns `None` if more bytes are needed.
/// `deflate` is true if compression was negotiated.
pub(crate) fn parse(bytes: &[u8], deflate: bool) -> Result<Option<(Header, usize)>, Violation> {
    let Some(&first) = bytes.first() else { return Ok(None) };
    let compressed = first & COMPRESSED_BIT != 0;
    if first & RESERVED_BITS != 0 || compressed && !deflate {
        return Err(Violation::protocol("reserved bits must be 0"));
    }
    let fin = first & 0x80 != 0;
    let opcode = match first & 0x0F {
        0x0 => Opcode::Continuation,
        0x1 => Opcode::Text,
        0x2 => Opcode::Binary,
        0x8 => Opcode::Close,
        0x9 => Opcode::Ping,
        0xA => Opcode::Pong,
        _ => return Err(Violation::protocol("unknown opcode")),
    };
    if compressed && !matches!(opcode, Opcode::Text | Opcode::Binary) {
        return Err(Violation::protocol("only the first frame of a message says that it is compressed"));
    }
    if opcode.is_control() && !fin {
        return Err(Violation::protocol("a control frame must not be fragmented"));
    }

    let Some(&second) = bytes.get(1) else { return Ok(None) };
    if second & 0x80 == 0 {
        return Err(Violation::protocol("client frames must be masked"));
    }
    let short = usize::from(second & 0x7F);
    if opcode.is_control() && short > MAX_CONTROL_PAYLOAD_BYTES {
        return Err(Violation::protocol("a control frame carries at most 125 bytes"));
    }
    let (payload_bytes, mask_at) = match short {
        126 => {
            let Some(&[high, low]) = bytes.get(2..4) else { return Ok(None) };
            let length = u16::from_be_bytes([high, low]);
            if length < 126 {
                return Err(Violation::protocol("length not in its shortest form"));
            }
            (usize::from(length), 4)
        }
        127 => {
            let Some(length) = bytes.get(2..10).and_then(|field| field.try_into().ok()) else {
                return Ok(None);
            };
            let length = u64::from_be_bytes(length);
            if length >> 63 != 0 {
                return Err(Violation::protocol("length with its highest bit set"));
            }
            if length <= u64::from(u16::MAX) {
                return Err(Violation::protocol("length not in its shortest form"));
            }
            // A length beyond the address space exceeds any limit, so saturating gives the same result.
            (usize::try_from(length).unwrap_or(usize::MAX), 10)
        }
        short => (short, 2),
    };
    let Some(mask) = bytes.get(mask_at..mask_at + 4).and_then(|field| field.try_into().ok()) else {
        return Ok(None);
    };
    Ok(Some((Header { fin, compressed, opcode, mask, payload_bytes }, mask_at + 4)))
}

/// Unmasks `payload`, which starts `offset` bytes into the frame's payload.
pub(crate) fn unmask(payload: &mut [u8], mask: [u8; 4], offset: usize) {
    let mut rotated_mask = mask;
    rotated_mask.rotate_left(offset % 4);
    let word = u64::from_ne_bytes([
        rotated_mask[0],
        rotated_mask[1],
        rotated_mask[2],
        rotated_mask[3],
        rotated_mask[0],
        rotated_mask[1],
        rotated_mask[2],
        rotated_mask[3],
    ]);
    let (words, tail) = payload.as_chunks_mut::<8>();
    for chunk in words {
        *chunk = (u64::from_ne_bytes(*chunk) ^ word).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(rotated_mask.iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefix_of_valid_header_needs_more_bytes() {
        let headers: [&[u8]; 3] = [
            &[0x81, 0x85, 1, 2, 3, 4],
            &[0x82, 0xFE, 1, 0, 1, 2, 3, 4],
            &[0x02, 0xFF, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4],
        ];
        for header in headers {
            for end in 0..header.len() {
                assert_eq!(parse(&header[..end], false), Ok(None));
            }
            let (parsed, used) = parse(header, false).unwrap().unwrap();
            assert_eq!((parsed.mask, used), ([1, 2, 3, 4], header.len()));
        }
    }

    #[test]
    fn bit_1_is_valid_on_first_data_frame_if_negotiated() {
        for first in 0..=u8::MAX {
            let good = matches!(first & 0x0F, 0..=2) || first & 0x8F >= 0x88 && first & 0x0F <= 0xA;
            let plain = good && first & 0x70 == 0;
            let marked = first & 0x70 == 0x40 && matches!(first & 0x0F, 1..=2);
            assert_eq!(parse(&[first], false).is_ok(), plain, "{first:#x} without");
            assert_eq!(parse(&[first], true).is_ok(), plain || marked, "{first:#x} with");
        }
    }

    #[test]
    fn unmasking_in_pieces_equals_unmasking_at_once() {
        let mask = [0x11, 0x22, 0x33, 0x44];
        let mut whole: Vec<u8> = (0..61).collect();
        unmask(&mut whole, mask, 0);
        for split in 0..=61 {
            let mut pieces: Vec<u8> = (0..61).collect();
            let (head, tail) = pieces.split_at_mut(split);
            unmask(head, mask, 0);
            unmask(tail, mask, split);
            assert_eq!(pieces, whole, "split at {split}");
        }
    }
}
