//! Server frames, encoded once and shared: cloning a `Frame` copies a pointer, not the payload. A frame that is long
//! enough has a compressed copy, which is made once when the first receiver on any thread needs it. Pure: bytes in,
//! bytes out. A frame built here is always whole, unmasked and unfragmented.

mod run;
mod walk;

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::deflate::{Deflater, MIN_COMPRESSED_SHARED_BYTES, MIN_COMPRESSED_UNSHARED_BYTES};
pub use run::FrameRun;
pub(crate) use walk::{FrameContent, first_frame};

/// Close codes that the transport itself uses.
pub mod close_code {
    /// The peer completed the closing handshake.
    pub const NORMAL: u16 = 1000;
    /// The peer broke RFC 6455.
    pub const PROTOCOL_ERROR: u16 = 1002;
    /// The peer sent a binary message, but only text is accepted.
    pub const UNSUPPORTED: u16 = 1003;
    /// Never sent, only reported: the peer's close frame had no code.
    pub const NO_CODE: u16 = 1005;
    /// Never sent, only reported: the socket ended without a close frame.
    pub const ABNORMAL: u16 = 1006;
    /// The peer sent text that is not UTF-8.
    pub const INVALID_TEXT: u16 = 1007;
    /// The peer sent a message that is larger than `max_message_bytes`.
    pub const TOO_BIG: u16 = 1009;
    /// The session panicked.
    pub const INTERNAL: u16 = 1011;
    /// No bytes arrived for two heartbeats.
    pub const SILENT: u16 = 4408;
    /// The outbox exceeded its limit: the peer reads too slowly.
    pub const TOO_SLOW: u16 = 4413;
    /// The peer exceeded the frame rate for too long.
    pub const RATE_LIMITED: u16 = 4429;

    /// All close codes of the transport. The counter of closes has a series for each from the start.
    pub const ALL: [u16; 11] = [
        NORMAL,
        PROTOCOL_ERROR,
        UNSUPPORTED,
        NO_CODE,
        ABNORMAL,
        INVALID_TEXT,
        TOO_BIG,
        INTERNAL,
        SILENT,
        TOO_SLOW,
        RATE_LIMITED,
    ];

    /// Whether a peer may put `code` into a close frame (RFC 6455, 7.4, and the codes that IANA has registered since).
    pub(crate) fn may_be_received(code: u16) -> bool {
        matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

const FIN: u8 = 0x80;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;

/// Reserved bit 1: the message is compressed (RFC 7692, 6).
pub(crate) const COMPRESSED_BIT: u8 = 0x40;
/// The longest header of an unmasked frame: 2 bytes and a 64 bit length.
const MAX_HEADER_BYTES: usize = 10;
/// Maximum payload of a control frame (RFC 6455, 5.5).
pub(crate) const MAX_CONTROL_PAYLOAD_BYTES: usize = 125;

/// One encoded server frame. Cheap to clone, so that the same frame can be sent to any number of connections.
#[derive(Clone)]
pub struct Frame {
    pub(crate) bytes: Bytes,
    /// The compressed copy, made when first needed; `None` if the frame is too short to be compressed, or has one
    /// receiver.
    compressed_copy: Option<Arc<CompressedCopy>>,
    /// Whether the frame is written at once: see [`Frame::to_immediate`].
    pub(crate) immediate: bool,
}

/// The compressed copy of a frame, or the result that it would not be shorter (the inner `None`).
type CompressedCopy = OnceLock<Option<Bytes>>;

impl Frame {
    /// A text frame for any number of receivers. The payload must be UTF-8; it is not checked again.
    pub fn text(payload: impl AsRef<[u8]>) -> Frame {
        let payload = payload.as_ref();
        let compressed_copy = (payload.len() >= MIN_COMPRESSED_SHARED_BYTES).then(Arc::default);
        Frame { compressed_copy, ..Frame::from_payload(TEXT, payload) }
    }

    /// A text frame for one receiver.
    pub fn text_for_one(payload: impl AsRef<[u8]>) -> Frame {
        Frame::from_payload(TEXT, payload.as_ref())
    }

    /// A text frame for one receiver. `append` writes the payload directly behind the header, without a second copy.
    /// `append` gets a `dyn BufMut`, because it must not remove the bytes that are reserved for the header.
    /// `expected_bytes` is a guess of the payload's length; a wrong guess only costs an allocation.
    pub fn text_with(expected_bytes: usize, append: impl FnOnce(&mut dyn BufMut)) -> Frame {
        let mut buffer = BytesMut::with_capacity(MAX_HEADER_BYTES + expected_bytes);
        buffer.put_bytes(0, MAX_HEADER_BYTES);
        append(&mut buffer);
        let (header, header_bytes) = encode_header(FIN | TEXT, buffer.len() - MAX_HEADER_BYTES);
        let start = MAX_HEADER_BYTES - header_bytes;
        buffer.advance(start);
        buffer[..header_bytes].copy_from_slice(&header[..header_bytes]);
        Frame { bytes: buffer.freeze(), compressed_copy: None, immediate: false }
    }

    /// Returns the same frame, marked to be written to each socket at once, without the receiver's queue and task.
    /// Should be used only for a frame that no other frame follows soon, because several frames are better queued and
    /// written together.
    #[must_use]
    pub fn to_immediate(&self) -> Frame {
        Frame { immediate: true, ..self.clone() }
    }

    /// A binary frame. Receivers share no compressed copy of it.
    pub fn binary(payload: impl AsRef<[u8]>) -> Frame {
        Frame::from_payload(BINARY, payload.as_ref())
    }

    /// A ping. The payload is cut at 125 bytes.
    pub fn ping(payload: &[u8]) -> Frame {
        Frame::from_payload(PING, &payload[..payload.len().min(MAX_CONTROL_PAYLOAD_BYTES)])
    }

    /// A pong. The payload is cut at 125 bytes.
    pub fn pong(payload: &[u8]) -> Frame {
        Frame::from_payload(PONG, &payload[..payload.len().min(MAX_CONTROL_PAYLOAD_BYTES)])
    }

    /// A close frame. `reason` is cut at a character to fit 123 bytes. For 1005 and 1006 the frame has no payload.
    pub fn close(code: u16, reason: &str) -> Frame {
        if matches!(code, close_code::NO_CODE | close_code::ABNORMAL) {
            return Frame::from_payload(CLOSE, &[]);
        }
        let mut end = reason.len().min(MAX_CONTROL_PAYLOAD_BYTES - 2);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        let mut payload = Vec::with_capacity(2 + end);
        payload.extend_from_slice(&code.to_be_bytes());
        payload.extend_from_slice(&reason.as_bytes()[..end]);
        Frame::from_payload(CLOSE, &payload)
    }

    /// Length on the wire, header included, in bytes.
    #[allow(clippy::len_without_is_empty, reason = "a frame has a header: it is never empty")]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The length of the uncompressed payload, in bytes.
    pub(crate) fn payload_bytes(&self) -> usize {
        self.bytes.len() - self.header_bytes()
    }

    /// The uncompressed payload, without the header.
    pub fn payload(&self) -> &[u8] {
        &self.bytes[self.header_bytes()..]
    }

    /// The bytes on the wire: header and uncompressed payload.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// Whether compression may save more than it costs.
    pub(crate) fn is_worth_compressing(&self) -> bool {
        self.compressed_copy.is_some() || self.payload_bytes() >= MIN_COMPRESSED_UNSHARED_BYTES
    }

    /// The same message as a compressed frame; `None` if the compressed frame is not shorter. The first caller makes
    /// the compressed copy and calls `count`. A caller on another thread waits, which is faster than to compress again.
    /// A frame for one receiver has no copy, so each call compresses it.
    pub(crate) fn to_compressed(&self, deflater: &mut Deflater, count: impl FnOnce()) -> Option<Bytes> {
        let make = || {
            count();
            let deflated = deflater.deflate(self.payload())?;
            Some(encode_frame(self.bytes[0] | COMPRESSED_BIT, deflated))
        };
        match &self.compressed_copy {
            Some(compressed_copy) => compressed_copy.get_or_init(make).clone(),
            None => make(),
        }
    }

    fn header_bytes(&self) -> usize {
        match self.bytes[1] {
            126 => 4,
            127 => MAX_HEADER_BYTES,
            _ => 2,
        }
    }

    fn from_payload(opcode: u8, payload: &[u8]) -> Frame {
        Frame { bytes: encode_frame(FIN | opcode, payload), compressed_copy: None, immediate: false }
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({} bytes)", self.bytes.len())
    }
}

/// Encodes a frame. `first` is its first byte, with the flags and the opcode.
fn encode_frame(first: u8, payload: &[u8]) -> Bytes {
    let (header, header_bytes) = encode_header(first, payload.len());
    let mut buffer = Vec::with_capacity(header_bytes + payload.len());
    buffer.extend_from_slice(&header[..header_bytes]);
    buffer.extend_from_slice(payload);
    Bytes::from(buffer)
}

/// The header of an unmasked frame, and the header's length. `first` is the header's first byte.
fn encode_header(first: u8, payload_bytes: usize) -> ([u8; MAX_HEADER_BYTES], usize) {
    let mut header = [0; MAX_HEADER_BYTES];
    header[0] = first;
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
    (header, MAX_HEADER_BYTES)
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        thread,
    };

    use super::*;
    use crate::transport::inflate::Inflater;

    #[test]
    fn frame_written_in_place_equals_copied_frame() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
            let payload = vec![b'x'; length];
            for guess in [0, length] {
                assert_eq!(
                    Frame::text_with(guess, |buffer| buffer.put_slice(&payload)).into_bytes(),
                    Frame::text(&payload).into_bytes(),
                    "payload of {length} bytes"
                );
            }
        }
    }

    #[test]
    fn frame_uses_shortest_length_encoding() {
        assert_eq!(&Frame::text([b'x'; 125]).bytes[..2], [0x81, 125]);
        assert_eq!(&Frame::text([b'x'; 126]).bytes[..4], [0x81, 126, 0, 126]);
        assert_eq!(&Frame::binary(vec![0; 65_535]).bytes[..4], [0x82, 126, 255, 255]);
        assert_eq!(&Frame::binary(vec![0; 65_536]).bytes[..10], [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
        for length in [0, 125, 126, 65_535, 65_536] {
            assert_eq!(Frame::text(vec![b'x'; length]).payload_bytes(), length);
        }
    }

    #[test]
    fn long_close_reason_is_cut_at_a_character() {
        let frame = Frame::close(1001, &"é".repeat(100));
        assert_eq!(frame.bytes[1], 124, "two bytes of code and 61 characters of two bytes");
        assert!(std::str::from_utf8(&frame.bytes[4..]).is_ok());
    }

    #[test]
    fn close_without_code_is_empty() {
        assert_eq!(&Frame::close(close_code::NO_CODE, "gone").bytes[..], [0x88, 0]);
    }

    #[test]
    fn compressed_copy_is_made_once_for_all_threads() {
        let frame = Frame::text("the same words over and over ".repeat(40));
        let made = AtomicUsize::new(0);
        let copies: Vec<Bytes> = thread::scope(|scope| {
            let ask = || {
                let frame = frame.clone();
                let count = || _ = made.fetch_add(1, Ordering::Relaxed);
                frame.to_compressed(&mut Deflater::default(), count).unwrap()
            };
            let asking: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
            asking.into_iter().map(|asked| asked.join().unwrap()).collect()
        });
        assert_eq!(made.into_inner(), 1);
        assert!(
            copies.iter().all(|compressed_copy| compressed_copy.as_ptr() == copies[0].as_ptr()),
            "all threads share the bytes"
        );
        assert_eq!(copies[0][0], 0xC1);
        let inflated = Inflater::default().inflate(&copies[0][2..], 10_000).unwrap().to_vec();
        assert_eq!(inflated, frame.bytes[4..]);
    }

    #[test]
    fn short_or_unshared_frame_has_no_compressed_copy() {
        assert!(Frame::text([b'x'; MIN_COMPRESSED_SHARED_BYTES - 1]).compressed_copy.is_none());
        assert!(Frame::text([b'x'; MIN_COMPRESSED_SHARED_BYTES]).compressed_copy.is_some());
        assert!(
            Frame::text_with(0, |buffer| buffer.put_slice(&[b'x'; MIN_COMPRESSED_SHARED_BYTES]))
                .compressed_copy
                .is_none()
        );
    }
}
