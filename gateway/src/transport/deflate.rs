//! Messages to bytes that are fewer (RFC 7692, 7.2.1): one compressor for all connections of a thread, made anew
//! for each message, so that no context is kept and none is held by a connection.
//! Pure: bytes in, bytes out. Made when it is first needed, some 0.4 MB; after that it stays.

use flate2::{Compress, Compression, FlushCompress};

/// Payloads shorter than this go out as they are, in bytes. A chat message of 340 bytes would lose 110, within the
/// same packet, for 16 µs here and 5 µs at each receiver; one of 530 loses a third.
pub(crate) const SHARED_FROM_BYTES: usize = 512;
/// The same for what goes to one connection only, which has to bear the whole cost: 50 µs for 2 KB less.
pub(crate) const LONE_FROM_BYTES: usize = 4096;

/// zlib's scale. For messages of up to some KB the levels above take the same time and less than 1 % off; level 1
/// takes half the time and half as much off.
const LEVEL: u32 = 3;
/// Room kept between messages, in bytes: what the protocol's frames need at most.
const KEPT_BYTES: usize = 128 * 1024;
/// Room beyond the payload: enough for the flush at the end of what has only just become no longer.
const SLACK_BYTES: usize = 16;

/// What a flushed stream ends with; neither sent nor received (RFC 7692, 7.2.1).
pub(super) const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];

/// See the module.
#[derive(Default)]
pub(crate) struct Deflater {
    engine: Option<Compress>,
    room: Vec<u8>,
}

impl Deflater {
    /// The payload of the compressed message; `None` when it is not shorter.
    pub(crate) fn deflate(&mut self, payload: &[u8]) -> Option<&[u8]> {
        let engine = self.engine.get_or_insert_with(|| Compress::new(Compression::new(LEVEL), false));
        engine.reset();
        let room_bytes = payload.len() + SLACK_BYTES;
        if self.room.len() < room_bytes || self.room.len() > room_bytes.max(KEPT_BYTES) {
            self.room = vec![0; room_bytes];
        }
        let room = &mut self.room[..room_bytes];
        engine.compress(payload, room, FlushCompress::Sync).ok()?;
        let written = usize::try_from(engine.total_out()).ok()?;
        // With room to spare nothing was left unflushed.
        let whole = written < room_bytes && engine.total_in() == payload.len() as u64;
        let deflated = room[..written].strip_suffix(&TAIL)?;
        (whole && deflated.len() < payload.len()).then_some(deflated)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::transport::inflate::Inflater;

    #[test]
    fn what_does_not_get_shorter_is_left_alone() {
        let mut deflater = Deflater::default();
        let mut noise = 1u32;
        let random: Vec<u8> = (0..5_000)
            .map(|_| {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (noise >> 24) as u8
            })
            .collect();
        for payload in [&b""[..], b"a", b"short", &random] {
            assert_eq!(deflater.deflate(payload), None, "{} bytes", payload.len());
        }
        assert!(deflater.deflate(&[b'a'; 600]).is_some(), "what failed before leaves nothing behind");
    }

    #[test]
    fn nothing_is_remembered_from_one_message_to_the_next() {
        let mut deflater = Deflater::default();
        let payload = b"the same words, the same words, and the same words again".repeat(20);
        let first = deflater.deflate(&payload).unwrap().to_vec();
        assert_eq!(deflater.deflate(&payload).unwrap(), first);
    }

    #[test]
    fn room_taken_by_a_giant_is_given_back() {
        let mut deflater = Deflater::default();
        assert!(deflater.deflate(&vec![b'a'; 4 * KEPT_BYTES]).is_some());
        assert!(deflater.deflate(&[b'a'; 600]).is_some());
        assert!(deflater.room.capacity() <= KEPT_BYTES);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_was_deflated_inflates_to_the_same(
            pieces in prop::collection::vec(("[a-zé€𝄞 ]{0,60}", 1..30usize), 0..12),
            noise in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut payload: Vec<u8> =
                pieces.iter().flat_map(|(text, times)| text.repeat(*times).into_bytes()).collect();
            payload.extend(noise);
            let (mut deflater, mut inflater) = (Deflater::default(), Inflater::default());
            for _ in 0..2 {
                if let Some(deflated) = deflater.deflate(&payload) {
                    prop_assert!(deflated.len() < payload.len());
                    prop_assert_eq!(inflater.inflate(deflated, payload.len()), Ok(&payload[..]));
                }
            }
        }
    }
}
