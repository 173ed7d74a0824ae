//! The client side of permessage-deflate, with flate2. Only [`compress_with`] may keep a context between messages.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::client::{BINARY, Client, TEXT, frame};

/// The bit that marks a compressed message.
pub const COMPRESSED: u8 = 0x40;
const TAIL: [u8; 4] = [0, 0, 0xFF, 0xFF];

/// The payload of a compressed message.
pub fn compress(text: &[u8]) -> Vec<u8> {
    compress_with(&mut Compress::new(Compression::default(), false), text)
}

/// The payload of a compressed message, from a compressor that may keep its context.
pub fn compress_with(engine: &mut Compress, text: &[u8]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(text.len() + text.len() / 100 + 64);
    engine.compress_vec(text, &mut payload, FlushCompress::Sync).unwrap();
    assert_eq!(payload.split_off(payload.len() - 4), TAIL);
    payload
}

/// Inflates a payload like a client whose window has this many bits.
pub fn decompress(payload: &[u8], window_bits: u8) -> Vec<u8> {
    let mut engine = Decompress::new_with_window_bits(false, window_bits);
    let (whole, mut text) = ([payload, &TAIL].concat(), Vec::with_capacity(1024));
    // The pieces are small, because the window does not limit references to bytes of the current call.
    for piece in whole.chunks(16) {
        let mut rest = piece;
        while !rest.is_empty() || text.len() == text.capacity() {
            text.reserve(16);
            let mut output = [0; 16];
            let (before_in, before_out) = (engine.total_in(), engine.total_out());
            let status = engine.decompress(rest, &mut output, FlushDecompress::Sync).unwrap();
            assert_ne!(status, Status::StreamEnd);
            rest = &rest[usize::try_from(engine.total_in() - before_in).unwrap()..];
            let written = usize::try_from(engine.total_out() - before_out).unwrap();
            text.extend_from_slice(&output[..written]);
            if written == 0 && rest.is_empty() {
                break;
            }
        }
    }
    text
}

impl Client {
    /// Sends a text as one compressed frame.
    pub async fn send_compressed(&mut self, text: &str) {
        self.send(&frame(TEXT | COMPRESSED, &compress(text.as_bytes()))).await;
    }

    /// The next text, and whether it was compressed. Skips pings.
    pub async fn either_text(&mut self, window_bits: u8) -> (String, bool) {
        match self.next_message().await {
            Some((TEXT, payload)) => (String::from_utf8(payload).unwrap(), false),
            Some((first, payload)) if first == TEXT | COMPRESSED => {
                (String::from_utf8(decompress(&payload, window_bits)).unwrap(), true)
            }
            other => panic!("expected a text, got {other:?}"),
        }
    }

    /// The next binary message. Skips pings.
    pub async fn either_binary(&mut self) -> Vec<u8> {
        match self.next_message().await {
            Some((BINARY, payload)) => payload,
            Some((first, payload)) if first == BINARY | COMPRESSED => decompress(&payload, 15),
            other => panic!("expected a binary message, got {other:?}"),
        }
    }
}
