//! Compressed messages to what they were (RFC 7692, 7.2.2): one for all connections of a thread, made anew for each
//! message, so that a peer that keeps its context is found out.
//! Pure: bytes in, bytes out. It promises to hold no more than the bound it is given and one byte, however much
//! the message would come to.

use flate2::{Decompress, FlushDecompress, Status};

use super::deflate::TAIL;

/// An empty last block: a stream that stands between two blocks ends with it, and no other does.
const LAST_BLOCK: [u8; 2] = [0x03, 0x00];
/// Room to begin with; it doubles as it fills.
const FIRST_ROOM_BYTES: usize = 4 * 1024;
/// Room kept between messages, in bytes: a whole message of the protocol.
const KEPT_BYTES: usize = 64 * 1024 + 1;

/// Why a message cannot be inflated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InflateError {
    /// It comes to more than the bound.
    TooBig,
    /// It is no DEFLATE, not whole, or leans on an earlier message.
    Broken,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Inflater {
    engine: Option<Decompress>,
    /// All of it is room, what is inflated stands at its front.
    room: Vec<u8>,
}

impl Inflater {
    /// What the payload of a compressed message was, at most `max_bytes` of it.
    pub(crate) fn inflate(&mut self, payload: &[u8], max_bytes: usize) -> Result<&[u8], InflateError> {
        let engine = self.engine.get_or_insert_with(|| Decompress::new(false));
        if self.room.len() > KEPT_BYTES {
            self.room = Vec::new();
        }
        let mut run = Run { engine, room: &mut self.room, filled: 0, max_bytes };
        run.message(payload)?;
        let filled = run.filled;
        Ok(&self.room[..filled])
    }

    /// What is kept for the next message, in bytes.
    pub(crate) fn held_bytes(&self) -> usize {
        self.room.capacity()
    }
}

/// The inflating of one message.
struct Run<'a> {
    engine: &'a mut Decompress,
    room: &'a mut Vec<u8>,
    filled: usize,
    max_bytes: usize,
}

impl Run<'_> {
    fn message(&mut self, payload: &[u8]) -> Result<(), InflateError> {
        self.engine.reset(false);
        let mut rest = payload;
        // A peer may end streams within a message (7.2.3.4): the next one begins anew.
        while let (used, true) = self.feed(rest)? {
            rest = &rest[used..];
            self.engine.reset(false);
            if rest.is_empty() {
                return Ok(());
            }
        }
        if let (used, true) = self.feed(&TAIL)? {
            return if used == TAIL.len() { Ok(()) } else { Err(InflateError::Broken) };
        }
        match self.feed(&LAST_BLOCK)? {
            (used, true) if used == LAST_BLOCK.len() => Ok(()),
            _ => Err(InflateError::Broken),
        }
    }

    /// Inflates all of `input`, or as far as a stream's end: how much was used, and whether it ended.
    fn feed(&mut self, input: &[u8]) -> Result<(usize, bool), InflateError> {
        let mut used = 0;
        loop {
            if self.filled == self.room.len() {
                self.grow();
            }
            let (before_in, before_out) = (self.engine.total_in(), self.engine.total_out());
            let room = &mut self.room[self.filled..];
            let status = self.engine.decompress(&input[used..], room, FlushDecompress::Sync);
            let status = status.map_err(|_| InflateError::Broken)?;
            used += as_count(self.engine.total_in() - before_in);
            self.filled += as_count(self.engine.total_out() - before_out);
            if self.filled > self.max_bytes {
                return Err(InflateError::TooBig);
            }
            if status == Status::StreamEnd {
                return Ok((used, true));
            }
            // With room to spare there was nothing more to be had from what was given.
            if self.filled < self.room.len() {
                return if used == input.len() { Ok((used, false)) } else { Err(InflateError::Broken) };
            }
        }
    }

    /// One byte more than the bound at most: that byte tells that the message goes over it.
    fn grow(&mut self) {
        let room_bytes = (2 * self.room.len()).max(FIRST_ROOM_BYTES).min(self.max_bytes + 1);
        self.room.reserve_exact(room_bytes - self.room.len());
        self.room.resize(room_bytes, 0);
    }
}

/// Differences of counts within one slice.
fn as_count(difference: u64) -> usize {
    usize::try_from(difference).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::DeflateEncoder};
    use proptest::prelude::*;

    use super::*;

    const MAX: usize = 64 * 1024;

    fn inflate(payload: &[u8]) -> Result<String, InflateError> {
        Inflater::default().inflate(payload, MAX).map(|text| String::from_utf8_lossy(text).into_owned())
    }

    fn hello() -> Result<String, InflateError> {
        Ok("Hello".to_owned())
    }

    #[test]
    fn the_examples_of_the_rfc_are_read() {
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
        assert_eq!(inflate(&[0x00]), Ok(String::new()), "7.2.3.6: nothing");
        assert_eq!(inflate(&[0x01]), Ok(String::new()), "nothing, in a last block");
        assert_eq!(inflate(&[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]), hello(), "ended without more");
    }

    #[test]
    fn what_leans_on_an_earlier_message_is_refused() {
        let mut inflater = Inflater::default();
        assert!(inflater.inflate(&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], MAX).is_ok());
        // 7.2.3.2: the second "Hello" of a peer that kept its context.
        assert_eq!(inflater.inflate(&[0xf2, 0x00, 0x11, 0x00, 0x00], MAX), Err(InflateError::Broken));
    }

    #[test]
    fn what_is_not_whole_or_no_deflate_is_refused() {
        let whole = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
        for end in 0..whole.len() - 1 {
            assert_eq!(inflate(&whole[..end]), Err(InflateError::Broken), "cut at {end}");
        }
        for payload in
            [&b"{\"type\":\"ping\"}"[..], &[0xFF; 9], &[0x06], &[0x00, 0x09, 0x00, 0xf6, 0xff, 0x48]]
        {
            assert_eq!(inflate(payload), Err(InflateError::Broken), "{payload:?}");
        }
        let behind_the_end = [&whole[..], &[0xFF, 0xFF]].concat();
        assert_eq!(inflate(&behind_the_end), Err(InflateError::Broken));
    }

    #[test]
    fn the_bound_is_kept_to_the_byte_and_a_bomb_costs_no_more() {
        let deflated = |bytes: usize| {
            let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(&vec![b'a'; bytes]).unwrap();
            encoder.finish().unwrap()
        };
        let mut inflater = Inflater::default();
        assert_eq!(inflater.inflate(&deflated(MAX), MAX).map(<[u8]>::len), Ok(MAX));
        assert_eq!(inflater.inflate(&deflated(MAX + 1), MAX), Err(InflateError::TooBig));
        let bomb = deflated(64 * 1024 * 1024);
        assert!(bomb.len() < MAX + 1, "a message that may be received: {}", bomb.len());
        for mut inflater in [inflater, Inflater::default()] {
            assert_eq!(inflater.inflate(&bomb, MAX), Err(InflateError::TooBig));
            assert!(inflater.room.capacity() <= MAX + 1, "held {}", inflater.room.capacity());
            assert_eq!(inflater.inflate(&[0x00], MAX), Ok(&b""[..]), "the next message is not harmed");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_bytes_make_it_panic_or_go_over_the_bound(
            payload in prop::collection::vec(any::<u8>(), 0..300),
            max_bytes in 0..3_000usize,
        ) {
            if let Ok(text) = Inflater::default().inflate(&payload, max_bytes) {
                prop_assert!(text.len() <= max_bytes);
            }
        }
    }
}
