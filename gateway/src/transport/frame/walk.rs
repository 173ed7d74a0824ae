//! Reads encoded server frames again, so that HTTP long polling can send what was queued for a socket. Pure.

use super::{BINARY, CLOSE, FIN, MAX_HEADER_BYTES, TEXT};

/// The content of an uncompressed server frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FrameContent<'a> {
    Text(&'a [u8]),
    Binary(&'a [u8]),
    Close,
    /// A ping or pong.
    Control,
}

/// The first frame in `bytes`, and its length with its header. `None` if `bytes` do not start with a whole frame.
pub(crate) fn first_frame(bytes: &[u8]) -> Option<(FrameContent<'_>, usize)> {
    let (payload_bytes, start) = match *bytes.get(1)? {
        126 => (usize::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?)), 4),
        127 => {
            let length = u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?);
            (usize::try_from(length).ok()?, MAX_HEADER_BYTES)
        }
        short => (usize::from(short), 2),
    };
    let end = start.checked_add(payload_bytes)?;
    let payload = bytes.get(start..end)?;
    let content = match bytes[0] ^ FIN {
        TEXT => FrameContent::Text(payload),
        BINARY => FrameContent::Binary(payload),
        CLOSE => FrameContent::Close,
        _ => FrameContent::Control,
    };
    Some((content, end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::frame::Frame;

    #[test]
    fn frames_are_read_back_in_order() {
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            let payload = vec![b'x'; length];
            let bytes = [
                Frame::text(&payload).into_bytes(),
                Frame::binary(&payload).into_bytes(),
                Frame::ping(b"p").into_bytes(),
                Frame::close(1000, "bye").into_bytes(),
            ]
            .concat();
            let mut rest = &bytes[..];
            for expected in [
                FrameContent::Text(&payload),
                FrameContent::Binary(&payload),
                FrameContent::Control,
                FrameContent::Close,
            ] {
                let (content, used) = first_frame(rest).unwrap();
                assert_eq!(content, expected);
                rest = &rest[used..];
            }
            assert_eq!(first_frame(rest), None);
        }
    }

    #[test]
    fn part_of_a_frame_is_no_frame() {
        let frame = Frame::text([b'x'; 200]).into_bytes();
        for end in 0..frame.len() {
            assert_eq!(first_frame(&frame[..end]), None);
        }
    }
}
