//! The part of RFC 6455 that a client of a correct server needs: writes masked frames and parses the server's frames.

/// Opcodes (RFC 6455, 5.2).
pub mod opcode {
    pub const TEXT: u8 = 0x1;
    pub const CLOSE: u8 = 0x8;
    pub const PING: u8 = 0x9;
    pub const PONG: u8 = 0xa;
}

/// Appends a complete frame. Its mask is zero: unmasking it costs the server as much as any other mask, and masking
/// costs the generator nothing.
pub fn append_frame(into: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    into.push(0x80 | opcode);
    match payload.len() {
        length @ 0..=125 => into.push(0x80 | length as u8),
        length @ 126..=0xffff => {
            into.push(0x80 | 126);
            into.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            into.push(0x80 | 127);
            into.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    into.extend_from_slice(&[0; 4]);
    into.extend_from_slice(payload);
}

/// Parses the first frame: its opcode, its payload, and the length of the whole frame in bytes. `None` if the frame is
/// incomplete.
pub fn parse_frame(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    let (start, length): (usize, usize) = match second & 0x7f {
        126 => (4, usize::from(u16::from_be_bytes(*bytes.get(2..4)?.first_chunk()?))),
        127 => (10, usize::try_from(u64::from_be_bytes(*bytes.get(2..10)?.first_chunk()?)).ok()?),
        short => (2, usize::from(short)),
    };
    let end = start.checked_add(length)?;
    Some((first & 0x0f, bytes.get(start..end)?, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frame_of_any_length_is_read_only_when_complete() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
            let mut masked = Vec::new();
            append_frame(&mut masked, opcode::TEXT, &vec![b'x'; length]);
            // Turns the client's frame into a server's frame: clears the mask bit and leaves out the four bytes of the
            // mask.
            let head = masked.len() - length - 4;
            let mut sent = masked[..head].to_vec();
            sent[1] &= 0x7f;
            sent.extend(std::iter::repeat_n(b'x', length));
            for cut in [0, 1, head.min(sent.len() - 1), sent.len() - 1] {
                assert_eq!(parse_frame(&sent[..cut]), None, "{length} cut at {cut}");
            }
            sent.push(b'y');
            let (opcode, payload, end) = parse_frame(&sent).unwrap();
            assert_eq!((opcode, payload.len(), end), (opcode::TEXT, length, sent.len() - 1));
        }
    }
}
