//! Frames of a client, from any bytes: the first says what is let pass and how the rest arrives. However it is split,
//! and wherever the reader pauses, the same is understood, no message is over the bound, and no more is held for what
//! is not whole than what has arrived.

use tidings_gateway::transport::probe::{DecodeResult, DecodedEvent, DecoderRules, decode};

const MAX_MESSAGE_BYTES: usize = 1_000;
/// A vector doubles as it grows, a control frame has up to 125 bytes, and incompressible DEFLATE is a little longer.
const MAX_HELD_BYTES: usize = 2 * (MAX_MESSAGE_BYTES + 71) + 256;

pub fn run(data: &[u8]) {
    let Some((&told, bytes)) = data.split_first() else { return };
    let (accept_binary, deflate) = (told & 1 != 0, told & 2 != 0);
    let rules = DecoderRules { max_message_bytes: MAX_MESSAGE_BYTES, accept_binary, deflate };
    let whole = decode(rules, bytes, &[], false);
    for event in &whole.events {
        match event {
            DecodedEvent::Text(text) => assert!(text.len() <= MAX_MESSAGE_BYTES),
            DecodedEvent::Binary(bytes) => assert!(accept_binary && bytes.len() <= MAX_MESSAGE_BYTES),
            DecodedEvent::Ping(payload) => assert!(payload.len() <= 125),
            DecodedEvent::Close(code) => assert!(code.is_none_or(|code| (1000..5000).contains(&code))),
            DecodedEvent::Part | DecodedEvent::Pong => {}
        }
    }
    let steps = usize::from(told >> 2);
    for (pieces, pause) in [(vec![1], false), (vec![steps, 3], false), (vec![steps], true), (vec![0], true)] {
        let split = decode(rules, bytes, &pieces, pause);
        assert_same(&whole, &split);
        assert!(split.held_bytes <= MAX_HELD_BYTES.min(2 * bytes.len() + 256), "{}", split.held_bytes);
    }
}

fn assert_same(one: &DecodeResult, other: &DecodeResult) {
    assert_eq!((&one.events, one.violation), (&other.events, other.violation));
}
