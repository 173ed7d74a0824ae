//! Frames of RFC 6455, as far as chat needs them: unfragmented messages, no extensions.

use anyhow::{Result, ensure};

pub(super) use tidings_harness::raw::opcode;

const PAYLOAD_BYTES: usize = 64 * 1024;

/// The first complete frame: its opcode, its payload (unmasked in place), its total length.
pub(super) fn next(bytes: &mut [u8]) -> Result<Option<(u8, &[u8], usize)>> {
    let Some(&[first, second]) = bytes.first_chunk::<2>() else { return Ok(None) };
    ensure!(first & 0xf0 == 0x80, "a fragment, or an extension");
    ensure!(second & 0x80 != 0, "not masked");
    let (length, start) = match second & 0x7f {
        126 => match bytes.get(2..).and_then(<[u8]>::first_chunk::<2>) {
            Some(length) => (usize::from(u16::from_be_bytes(*length)), 4),
            None => return Ok(None),
        },
        127 => anyhow::bail!("over {PAYLOAD_BYTES} bytes"),
        length => (usize::from(length), 2),
    };
    let end = start + 4 + length;
    let Some(frame) = bytes.get_mut(start..end) else { return Ok(None) };
    let (mask, payload) = frame.split_at_mut(4);
    for (place, byte) in payload.iter_mut().enumerate() {
        *byte ^= mask[place % 4];
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
            assert!(next(&mut bytes.clone()[..whole - 1]).unwrap().is_none());
            let (opcode, read, taken) = next(&mut bytes).unwrap().unwrap();
            assert_eq!((opcode, read, taken), (opcode::TEXT, payload.as_slice(), whole));
            let (opcode, read, _) = next(&mut bytes[whole..]).unwrap().unwrap();
            assert_eq!((opcode, read), (opcode::PING, b"!".as_slice()));
        }
        assert!(next(&mut frame(0x81, b"a", None)).is_err(), "not masked");
    }
}
