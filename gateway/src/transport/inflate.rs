//! Inflates compressed messages (RFC 7692, 7.2.2). All connections of a thread share one inflater, which is reset for
//! each message, so a message that refers to an earlier message is refused. This module is pure. It inflates at most
//! one byte more than the given limit, however large the whole message would be.

use flate2::{Decompress, FlushDecompress, Status};

use super::{deflate::FLUSH_TAIL, frame::close_code, header::Violation};

/// An empty final DEFLATE block, which the inflater gets after each message. The stream ends with this block only if
/// the message ended at a block boundary. If the stream does not end, the message is incomplete.
const EMPTY_FINAL_BLOCK: [u8; 2] = [0x03, 0x00];
/// Initial size of the buffer, in bytes. The buffer doubles when it is full.
const INITIAL_BUFFER_BYTES: usize = 4 * 1024;
/// Maximum size of the buffer that is kept between messages, in bytes: enough for a message of maximum size.
const MAX_KEPT_BUFFER_BYTES: usize = 64 * 1024 + 1;

/// The violation of a message that is too big after inflating, which is counted separately as a sign of an attack.
pub(crate) const TOO_BIG_INFLATED: Violation =
    Violation { code: close_code::TOO_BIG, reason: "message too big once inflated" };
/// The data is no valid DEFLATE stream, is incomplete, or refers to an earlier message. The code is 1007, as for
/// invalid text, because RFC 7692 defines no code for an invalid DEFLATE stream.
const INVALID_DEFLATE: Violation =
    Violation { code: close_code::INVALID_TEXT, reason: "not a whole DEFLATE stream of its own" };

/// The decompressor of a thread, and its output buffer. A new value holds no memory.
#[derive(Default)]
pub(crate) struct Inflater {
    engine: Option<Decompress>,
    /// The buffer, which has the inflated bytes at its front.
    buffer: Vec<u8>,
}

impl Inflater {
    /// Inflates the payload of a message. Fails if the result is longer than `max_bytes`, or if the payload is not a
    /// complete DEFLATE stream.
    pub(crate) fn inflate(&mut self, payload: &[u8], max_bytes: usize) -> Result<&[u8], Violation> {
        let engine = self.engine.get_or_insert_with(|| Decompress::new(false));
        if self.buffer.len() > MAX_KEPT_BUFFER_BYTES {
            self.buffer = Vec::new();
        }
        let mut run = InflateRun { engine, buffer: &mut self.buffer, filled: 0, max_bytes };
        run.inflate_message(payload)?;
        let filled = run.filled;
        Ok(&self.buffer[..filled])
    }

    /// The bytes that are kept for the next message.
    pub(crate) fn held_bytes(&self) -> usize {
        self.buffer.capacity()
    }
}

/// The state while one message is inflated.
struct InflateRun<'a> {
    engine: &'a mut Decompress,
    buffer: &'a mut Vec<u8>,
    /// Number of inflated bytes in the buffer.
    filled: usize,
    max_bytes: usize,
}

impl InflateRun<'_> {
    fn inflate_message(&mut self, payload: &[u8]) -> Result<(), Violation> {
        self.engine.reset(false);
        let mut rest = payload;
        // A peer may end a DEFLATE stream within a message (RFC 7692, 7.2.3.4): then another stream begins.
        while let (used, true) = self.feed(rest)? {
            rest = &rest[used..];
            self.engine.reset(false);
            if rest.is_empty() {
                return Ok(());
            }
        }
        if let (used, true) = self.feed(&FLUSH_TAIL)? {
            return if used == FLUSH_TAIL.len() { Ok(()) } else { Err(INVALID_DEFLATE) };
        }
        match self.feed(&EMPTY_FINAL_BLOCK)? {
            (used, true) if used == EMPTY_FINAL_BLOCK.len() => Ok(()),
            _ => Err(INVALID_DEFLATE),
        }
    }

    /// Inflates `input` up to its end or the end of a stream. Returns the number of used bytes, and whether the stream
    /// ended.
    fn feed(&mut self, input: &[u8]) -> Result<(usize, bool), Violation> {
        let mut used = 0;
        loop {
            if self.filled == self.buffer.len() {
                self.grow();
            }
            let (before_in, before_out) = (self.engine.total_in(), self.engine.total_out());
            let buffer = &mut self.buffer[self.filled..];
            let status = self.engine.decompress(&input[used..], buffer, FlushDecompress::Sync);
            let status = status.map_err(|_| INVALID_DEFLATE)?;
            used += as_count(self.engine.total_in() - before_in);
            self.filled += as_count(self.engine.total_out() - before_out);
            if self.filled > self.max_bytes {
                return Err(TOO_BIG_INFLATED);
            }
            if status == Status::StreamEnd {
                return Ok((used, true));
            }
            // Free space at the end shows that the input gives no more output.
            if self.filled < self.buffer.len() {
                return if used == input.len() { Ok((used, false)) } else { Err(INVALID_DEFLATE) };
            }
        }
    }

    /// Grows the buffer to at most `max_bytes + 1`. If the additional byte is filled, the message exceeds the limit.
    fn grow(&mut self) {
        let buffer_bytes = (2 * self.buffer.len()).max(INITIAL_BUFFER_BYTES).min(self.max_bytes + 1);
        self.buffer.reserve_exact(buffer_bytes - self.buffer.len());
        self.buffer.resize(buffer_bytes, 0);
    }
}

/// The difference of two byte counters, which fits in a `usize` because it is at most the length of a slice.
fn as_count(difference: u64) -> usize {
    usize::try_from(difference).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::DeflateEncoder};
    use proptest::prelude::*;

    use super::*;

    const MAX_BYTES: usize = 64 * 1024;

    fn inflate(payload: &[u8]) -> Result<String, Violation> {
        Inflater::default().inflate(payload, MAX_BYTES).map(|text| String::from_utf8_lossy(text).into_owned())
    }

    fn hello() -> Result<String, Violation> {
        Ok("Hello".to_owned())
    }

    #[test]
    fn examples_of_rfc_are_inflated() {
        assert_eq!(inflate(&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]), hello(), "7.2.3.1");
        let stored = [0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00];
        assert_eq!(inflate(&stored), hello(), "7.2.3.3: not compressed");
        assert_eq!(
            inflate(&[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00]),
            hello(),
            "7.2.3.4: a last block"
        );
        let two = [0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00];
        assert_eq!(inflate(&two), hello(), "7.2.3.5: two blocks");
        assert_eq!(inflate(&[0x00]), Ok(String::new()), "7.2.3.6: an empty message");
        assert_eq!(inflate(&[0x01]), Ok(String::new()), "an empty message in a last block");
        assert_eq!(inflate(&[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]), hello(), "a stream that ended");
    }

    #[test]
    fn message_with_reference_to_earlier_one_is_refused() {
        let mut inflater = Inflater::default();
        assert!(inflater.inflate(&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], MAX_BYTES).is_ok());
        // 7.2.3.2: the second "Hello" of a peer that keeps its context.
        assert_eq!(inflater.inflate(&[0xf2, 0x00, 0x11, 0x00, 0x00], MAX_BYTES), Err(INVALID_DEFLATE));
    }

    #[test]
    fn incomplete_or_invalid_stream_is_refused() {
        let whole = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
        for end in 0..whole.len() - 1 {
            assert_eq!(inflate(&whole[..end]), Err(INVALID_DEFLATE), "cut at {end}");
        }
        for payload in
            [&b"{\"type\":\"ping\"}"[..], &[0xFF; 9], &[0x06], &[0x00, 0x09, 0x00, 0xf6, 0xff, 0x48]]
        {
            assert_eq!(inflate(payload), Err(INVALID_DEFLATE), "{payload:?}");
        }
        let behind_the_end = [&whole[..], &[0xFF, 0xFF]].concat();
        assert_eq!(inflate(&behind_the_end), Err(INVALID_DEFLATE));
    }

    #[test]
    fn limit_holds_to_the_byte_and_bomb_costs_no_more() {
        let deflated = |bytes: usize| {
            let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(&vec![b'a'; bytes]).unwrap();
            encoder.finish().unwrap()
        };
        let mut inflater = Inflater::default();
        assert_eq!(inflater.inflate(&deflated(MAX_BYTES), MAX_BYTES).map(<[u8]>::len), Ok(MAX_BYTES));
        assert_eq!(inflater.inflate(&deflated(MAX_BYTES + 1), MAX_BYTES), Err(TOO_BIG_INFLATED));
        let bomb = deflated(64 * 1024 * 1024);
        assert!(bomb.len() < MAX_BYTES + 1, "a message that may be received: {}", bomb.len());
        for mut inflater in [inflater, Inflater::default()] {
            assert_eq!(inflater.inflate(&bomb, MAX_BYTES), Err(TOO_BIG_INFLATED));
            assert!(inflater.buffer.capacity() <= MAX_BYTES + 1, "held {}", inflater.buffer.capacity());
            assert_eq!(inflater.inflate(&[0x00], MAX_BYTES), Ok(&b""[..]), "the next message is inflated");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn inflater_neither_panics_nor_exceeds_limit(
            payload in prop::collection::vec(any::<u8>(), 0..300),
            max_bytes in 0..3_000usize,
        ) {
            if let Ok(text) = Inflater::default().inflate(&payload, max_bytes) {
                prop_assert!(text.len() <= max_bytes);
            }
        }
    }
}
