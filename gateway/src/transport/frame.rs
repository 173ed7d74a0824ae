//! Server frames, encoded once and shared: cloning a `Frame` copies a pointer, not the payload.
//! Pure: bytes in, bytes out. What is built here is always one whole, unmasked, unfragmented frame.

use std::{fmt, io};

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Close codes the transport itself uses.
pub mod close_code {
    /// The peer went through the closing handshake without trouble.
    pub const NORMAL: u16 = 1000;
    /// The peer broke RFC 6455.
    pub const PROTOCOL_ERROR: u16 = 1002;
    /// The peer sent binary where only text is taken.
    pub const UNSUPPORTED: u16 = 1003;
    /// Never sent: the peer's close frame had no code.
    pub const NO_CODE: u16 = 1005;
    /// Never sent: the socket ended without a close frame.
    pub const ABNORMAL: u16 = 1006;
    /// Text that is not UTF-8.
    pub const INVALID_TEXT: u16 = 1007;
    /// A message over `max_message_bytes`.
    pub const TOO_BIG: u16 = 1009;
    /// The session failed.
    pub const INTERNAL: u16 = 1011;
    /// Nothing heard for two heartbeats.
    pub const SILENT: u16 = 4408;
    /// The outbox is over its bound: the peer reads too slowly.
    pub const TOO_SLOW: u16 = 4413;

    /// Whether a peer may put `code` into a close frame (RFC 6455, 7.4).
    pub(crate) fn may_be_received(code: u16) -> bool {
        matches!(code, 1000..=1003 | 1007..=1011 | 3000..=4999)
    }
}

const FIN: u8 = 0x80;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;

/// The longest header of an unmasked frame: 2 bytes and a 64 bit length.
const LONGEST_HEADER_BYTES: usize = 10;
/// The most a control frame may carry (RFC 6455, 5.5).
pub(crate) const CONTROL_PAYLOAD_BYTES: usize = 125;

/// One encoded server frame. Cheap to clone; send the same frame to any number of connections.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame(Bytes);

impl Frame {
    /// A text frame. The caller gives UTF-8: what is sent is not checked again.
    pub fn text(payload: impl AsRef<[u8]>) -> Frame {
        Frame::copied(TEXT, payload.as_ref())
    }

    /// A text frame whose payload `write` lays right behind the header, without a second copy.
    /// `expected_bytes` is a guess at the payload's length; a wrong guess costs an allocation only.
    pub fn text_with(expected_bytes: usize, write: impl FnOnce(&mut FrameBuffer)) -> Frame {
        let mut buffer = BytesMut::with_capacity(LONGEST_HEADER_BYTES + expected_bytes);
        buffer.put_bytes(0, LONGEST_HEADER_BYTES);
        let mut buffer = FrameBuffer(buffer);
        write(&mut buffer);
        let payload_bytes = buffer.len();
        let mut buffer = buffer.0;
        let (header, header_bytes) = header(TEXT, payload_bytes);
        let start = LONGEST_HEADER_BYTES - header_bytes;
        buffer.advance(start);
        buffer[..header_bytes].copy_from_slice(&header[..header_bytes]);
        Frame(buffer.freeze())
    }

    /// A binary frame.
    pub fn binary(payload: impl AsRef<[u8]>) -> Frame {
        Frame::copied(BINARY, payload.as_ref())
    }

    /// A ping; what is over 125 bytes is cut off.
    pub fn ping(payload: &[u8]) -> Frame {
        Frame::copied(PING, &payload[..payload.len().min(CONTROL_PAYLOAD_BYTES)])
    }

    /// A pong; what is over 125 bytes is cut off.
    pub(crate) fn pong(payload: &[u8]) -> Frame {
        Frame::copied(PONG, &payload[..payload.len().min(CONTROL_PAYLOAD_BYTES)])
    }

    /// A close frame; `reason` is cut at a character to fit 123 bytes. 1005 and 1006 stand for "no code":
    /// the frame is empty then.
    pub fn close(code: u16, reason: &str) -> Frame {
        if matches!(code, close_code::NO_CODE | close_code::ABNORMAL) {
            return Frame::copied(CLOSE, &[]);
        }
        let mut end = reason.len().min(CONTROL_PAYLOAD_BYTES - 2);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        let mut payload = Vec::with_capacity(2 + end);
        payload.extend_from_slice(&code.to_be_bytes());
        payload.extend_from_slice(&reason.as_bytes()[..end]);
        Frame::copied(CLOSE, &payload)
    }

    /// Length on the wire, header included, in bytes.
    #[allow(clippy::len_without_is_empty, reason = "a frame has a header: it is never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn into_bytes(self) -> Bytes {
        self.0
    }

    fn copied(opcode: u8, payload: &[u8]) -> Frame {
        let (header, header_bytes) = header(opcode, payload.len());
        let mut buffer = Vec::with_capacity(header_bytes + payload.len());
        buffer.extend_from_slice(&header[..header_bytes]);
        buffer.extend_from_slice(payload);
        Frame(Bytes::from(buffer))
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({} bytes)", self.0.len())
    }
}

/// The header of an unmasked, unfragmented frame and how many of its bytes count.
fn header(opcode: u8, payload_bytes: usize) -> ([u8; LONGEST_HEADER_BYTES], usize) {
    let mut header = [0; LONGEST_HEADER_BYTES];
    header[0] = FIN | opcode;
    if let Ok(short) = u8::try_from(payload_bytes)
        && short < 126
    {
        header[1] = short;
        return (header, 2);
    }
    if let Ok(medium) = u16::try_from(payload_bytes) {
        header[1] = 126;
        header[2..4].copy_from_slice(&medium.to_be_bytes());
        return (header, 4);
    }
    header[1] = 127;
    header[2..].copy_from_slice(&(payload_bytes as u64).to_be_bytes());
    (header, LONGEST_HEADER_BYTES)
}

/// The payload under construction in [`Frame::text_with`]. It can only grow.
pub struct FrameBuffer(BytesMut);

impl FrameBuffer {
    /// Appends to the payload.
    pub fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Bytes of payload so far.
    pub fn len(&self) -> usize {
        self.0.len() - LONGEST_HEADER_BYTES
    }

    /// Whether nothing was appended yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl io::Write for FrameBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Write for FrameBuffer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.put(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_written_in_place_equals_the_copied_one_at_every_header_length() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
            let payload = vec![b'x'; length];
            for guess in [0, length] {
                assert_eq!(
                    Frame::text_with(guess, |buffer| buffer.put(&payload)).into_bytes(),
                    Frame::text(&payload).into_bytes(),
                    "payload of {length} bytes"
                );
            }
        }
    }

    #[test]
    fn the_shortest_length_encoding_is_used() {
        assert_eq!(&Frame::text([b'x'; 125]).0[..2], [0x81, 125]);
        assert_eq!(&Frame::text([b'x'; 126]).0[..4], [0x81, 126, 0, 126]);
        assert_eq!(&Frame::binary(vec![0; 65_535]).0[..4], [0x82, 126, 255, 255]);
        assert_eq!(&Frame::binary(vec![0; 65_536]).0[..10], [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn a_long_close_reason_is_cut_at_a_character() {
        let frame = Frame::close(1001, &"é".repeat(100));
        assert_eq!(frame.0[1], 124, "two bytes of code and 61 characters of two bytes");
        assert!(std::str::from_utf8(&frame.0[4..]).is_ok());
    }

    #[test]
    fn a_close_without_a_code_is_empty() {
        assert_eq!(&Frame::close(close_code::NO_CODE, "gone").0[..], [0x88, 0]);
    }
}
