//! Compares the transport's framing with an independent implementation (tungstenite) in both directions: random
//! messages, fragments, masks, compressed and broken streams, which arrive in random pieces. Uses bytes in memory, no
//! socket.

#![allow(clippy::unwrap_used, reason = "everything here is a test or part of one")]

#[path = "framing/reference.rs"]
mod reference;
#[path = "framing/strategies.rs"]
mod strategies;

use proptest::prelude::*;
use reference::{encode_fragments, encode_messages, read_events};
use strategies::{
    FrameOut, MAX_MESSAGE_BYTES, any_bytes, any_frames_out, any_messages, any_mutations, any_pieces,
};
use tidings_gateway::transport::{
    Frame,
    probe::{self, DecodedEvent, DecoderRules, decode},
};
use tokio_tungstenite::tungstenite::protocol::Role;

const RULES: DecoderRules =
    DecoderRules { max_message_bytes: MAX_MESSAGE_BYTES, accept_binary: true, deflate: false };

/// The messages, without the events of fragments that do not end a message.
fn without_parts(events: Vec<DecodedEvent>) -> Vec<DecodedEvent> {
    events.into_iter().filter(|event| *event != DecodedEvent::Part).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn client_frames_of_tungstenite_are_decoded_as_meant(
        messages_out in any_messages(),
        pieces in any_pieces(),
        pause in any::<bool>(),
    ) {
        let (bytes, expected) = encode_messages(&messages_out);
        let result = decode(RULES, &bytes, &pieces, pause);
        prop_assert_eq!(result.violation, None);
        prop_assert_eq!(without_parts(result.events), expected);
    }

    #[test]
    fn server_frames_are_decoded_by_tungstenite_as_meant(
        frames_out in any_frames_out(),
        pieces in any_pieces(),
    ) {
        let (mut bytes, mut expected) = (Vec::new(), Vec::new());
        for frame in frames_out {
            let (frame, event) = match frame {
                FrameOut::Text(text) => (Frame::text(&text), DecodedEvent::Text(text)),
                FrameOut::ForOne(text) => (Frame::text_for_one(&text), DecodedEvent::Text(text)),
                FrameOut::With(text, guess) => {
                    let frame = Frame::text_with(guess, |buffer| buffer.put_slice(text.as_bytes()));
                    (frame, DecodedEvent::Text(text))
                }
                FrameOut::Binary(bytes) => (Frame::binary(&bytes), DecodedEvent::Binary(bytes)),
                FrameOut::Ping(payload) => (Frame::ping(&payload), DecodedEvent::Ping(payload)),
                FrameOut::Pong(payload) => (Frame::pong(&payload), DecodedEvent::Pong),
            };
            prop_assert_eq!(frame.len(), frame.clone().into_bytes().len());
            bytes.extend_from_slice(&frame.into_bytes());
            expected.push(event);
        }
        bytes.extend_from_slice(&Frame::close(4413, "too slow").into_bytes());
        expected.push(DecodedEvent::Close(Some(4413)));
        let (events, refused) = read_events(&bytes, &pieces, Role::Client, 1 << 20);
        prop_assert_eq!(refused, None);
        prop_assert_eq!(events, expected);
    }

    // Tungstenite accepts every stream that the transport accepts, and some streams that the transport refuses (because
    // of lengths that are not in their shortest form, or close codes).
    #[test]
    fn accepted_streams_are_decoded_alike_by_tungstenite(
        messages_out in any_messages(),
        mutations in any_mutations(),
        pieces in any_pieces(),
    ) {
        let (mut bytes, _) = encode_messages(&messages_out);
        for (at, value) in mutations {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
        }
        let transport = decode(RULES, &bytes, &pieces, false);
        let (reference, refused) = read_events(&bytes, &pieces, Role::Server, MAX_MESSAGE_BYTES);
        // Tungstenite reads nothing after a close frame, so later events are not compared.
        let mut transport_events = without_parts(transport.events);
        if let Some(close) = transport_events.iter().position(|event| matches!(event, DecodedEvent::Close(_))) {
            transport_events.truncate(close + 1);
            prop_assert_eq!(reference, transport_events);
        } else {
            prop_assert!(reference.starts_with(&transport_events), "{:?} and {:?}", reference, transport_events);
            prop_assert!(transport.violation.is_some() || refused.is_none(), "tungstenite refuses what the transport accepted: {:?}", refused);
            prop_assert!(transport.violation.is_some() || reference == transport_events);
        }
    }

    #[test]
    fn random_bytes_are_decoded_alike_by_tungstenite(bytes in any_bytes(), pieces in any_pieces()) {
        let transport = decode(RULES, &bytes, &pieces, false);
        let (reference, _) = read_events(&bytes, &pieces, Role::Server, MAX_MESSAGE_BYTES);
        let mut transport_events = without_parts(transport.events);
        if let Some(close) = transport_events.iter().position(|event| matches!(event, DecodedEvent::Close(_))) {
            transport_events.truncate(close + 1);
        }
        prop_assert!(reference.starts_with(&transport_events), "{:?} and {:?}", reference, transport_events);
    }

    // Tungstenite builds the frames, and the transport compresses, because tungstenite has no compression.
    #[test]
    fn compressed_messages_are_decoded_with_any_fragments_and_masks(
        texts in prop::collection::vec(("[a-zé€𝄞 ]{1,20}", 5..40usize), 1..5),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        masks in prop::collection::vec(any::<[u8; 4]>(), 1..5),
        pieces in any_pieces(),
    ) {
        let (mut bytes, mut expected) = (Vec::new(), Vec::new());
        for (text, times) in texts {
            let text = text.repeat(times);
            let Some(payload) = probe::deflate(text.as_bytes()) else { continue };
            bytes.extend(encode_fragments(&payload, &cuts, &masks, true));
            expected.push(DecodedEvent::Text(text));
        }
        let result = decode(DecoderRules { deflate: true, ..RULES }, &bytes, &pieces, false);
        prop_assert_eq!(result.violation, None);
        prop_assert_eq!(without_parts(result.events), expected);
    }
}
