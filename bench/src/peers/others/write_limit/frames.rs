//! The frames of RFC 6455 that a chat needs: unfragmented messages up to 64 KiB without extensions.

use anyhow::{Result, ensure};

pub(super) use tidings_harness::raw::opcode;

const MAX_PAYLOAD_BYTES: usize = 64 * 1024;

/// Parses the first frame: its opcode, its payload (unmasked in place), and the length of the whole frame in bytes.
/// `None` if the frame is incomplete.
pub(super) fn parse_frame(bytes: &mut [u8]) -> Result<Option<(u8, &[u8], usize)>> {
    let Some(&[first, second]) = bytes.first_chunk::<2>() else { return Ok(None) };
    ensure!(first & 0xf0 == 0x80, "a fragment, or an extension");
    ensure!(second & 0x80 != 0, "not masked");
    let (length, start) = match second & 0x7f {
        126 => match bytes.get(2..).and_then(<[u8]>::first_chunk::<2>) {
            Some(length) => (usize::from(u16::from_be_bytes(*length)), 4),
            None => return Ok(None),
        },
        127 => anyhow::bail!("over {MAX_PAYLOAD_BYTES} bytes"),
        length => (usize::from(length), 2),
    };
    let end = start + 4 + length;
    let Some(frame) = bytes.get_mut(start..end) else { return Ok(None) };
    let (mask, payload) = frame.split_at_mut(4);
    for (index, byte) in payload.iter_mut().enumerate() {
        *byte ^= mask[index % 4];
    }
    Ok(Some((first & 0x0f, payload, end)))
}

/// An unfragmented, unmasked message.
pub(super) fn server_frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    tidings_harness::raw::frame(0x80 | opcode, payload, None)
}

#[cfg(test)]
mod tests {
    use tidings_harness::raw::frame;

    use super::*;

    #[test]
    fn frames_are_read_one_by_one_when_complete() {
        for length in [0, 5, 125, 126, 4000] {
            let payload = vec![b'a'; length];
            let mut bytes = frame(0x81, &payload, Some([1, 2, 3, 4]));
            let whole = bytes.len();
            bytes.extend(frame(0x89, b"!", Some([5, 6, 7, 8])));
            assert!(parse_frame(&mut bytes.clone()[..whole - 1]).unwrap().is_none());
            let (opcode, read, taken) = parse_frame(&mut bytes).unwrap().unwrap();
            assert_eq!((opcode, read, taken), (opcode::TEXT, payload.as_slice(), whole));
            let (opcode, read, _) = parse_frame(&mut bytes[whole..]).unwrap().unwrap();
            assert_eq!((opcode, read), (opcode::PING, b"!".as_slice()));
        }
        assert!(parse_frame(&mut frame(0x81, b"a", None)).is_err(), "not masked");
    }
}
