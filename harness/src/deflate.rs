//! Compresses and inflates the WebSocket messages of a client (RFC 7692), each independently of the others (no context
//! takeover). The clients of a thread share one compressor and one inflater.

use std::cell::RefCell;
use std::io::{Error, Result};

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// The extension offer of a client.
pub const OFFER: &str = "permessage-deflate; client_max_window_bits";
/// The bit of a frame's first byte that marks a compressed message.
pub const COMPRESSED: u8 = 0x40;

/// The end of every flushed DEFLATE block, which the sender leaves out (RFC 7692, 7.2.1).
const SYNC_FLUSH_TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
const SPARE_CAPACITY_BYTES: usize = 4 * 1024;
/// Limit of an inflated message. No message of the server is larger.
const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

thread_local! {
    static COMPRESS: RefCell<Compress> = RefCell::new(Compress::new(Compression::default(), false));
    static DECOMPRESS: RefCell<Decompress> = RefCell::new(Decompress::new(false));
}

/// Compresses a message. Returns the payload of its frame.
///
/// # Panics
/// Never: the compressor accepts every input.
pub fn deflated(text: &[u8]) -> Vec<u8> {
    COMPRESS.with_borrow_mut(|engine| {
        engine.reset();
        let mut payload = Vec::new();
        while payload.len() == payload.capacity() {
            payload.reserve(text.len() / 2 + SPARE_CAPACITY_BYTES);
            let used = usize::try_from(engine.total_in()).unwrap_or(usize::MAX);
            engine.compress_vec(&text[used..], &mut payload, FlushCompress::Sync).expect("the stream is new");
        }
        payload.truncate(payload.len() - SYNC_FLUSH_TAIL.len());
        payload
    })
}

/// Inflates the payload of a compressed message.
///
/// # Errors
/// When the payload is not a complete DEFLATE stream, or the message is larger than 16 MiB.
pub fn inflated(payload: &[u8]) -> Result<Vec<u8>> {
    let whole = [payload, &SYNC_FLUSH_TAIL].concat();
    DECOMPRESS.with_borrow_mut(|engine| {
        engine.reset(false);
        let mut text = Vec::new();
        while text.len() == text.capacity() {
            if text.len() > MAX_MESSAGE_BYTES {
                return Err(Error::other("a compressed message inflates to more than 16 MiB"));
            }
            text.reserve(whole.len() * 4 + SPARE_CAPACITY_BYTES);
            let used = usize::try_from(engine.total_in()).unwrap_or(usize::MAX);
            let status = engine.decompress_vec(&whole[used..], &mut text, FlushDecompress::Sync);
            if status.map_err(Error::other)? == Status::StreamEnd {
                return Err(Error::other("a compressed message ends its stream"));
            }
        }
        if engine.total_in() == whole.len() as u64 {
            Ok(text)
        } else {
            Err(Error::other("a compressed message was not read to its end"))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deflated_message_inflates_to_itself_at_every_size() {
        for size in [0, 1, 100, 5_000, 70_000, 1_000_000] {
            let text = b"now and then and now and then ".repeat(size / 30 + 1)[..size].to_vec();
            assert_eq!(inflated(&deflated(&text)).unwrap(), text, "{size} bytes");
        }
        let noise: Vec<u8> = (0..50_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        assert_eq!(inflated(&deflated(&noise)).unwrap(), noise);
    }

    #[test]
    fn invalid_deflate_data_is_an_error() {
        assert!(inflated(b"{\"type\":\"pong\"}").is_err());
        assert!(inflated(&[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]).is_err(), "a stream of its own end");
    }
}
