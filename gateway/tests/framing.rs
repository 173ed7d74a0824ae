//! Our framing against an implementation that is not ours (tungstenite), both ways: random messages, fragments, masks,
//! compressed and broken streams, arriving in random pieces. No socket: bytes in memory.

#![allow(clippy::unwrap_used, reason = "everything here is a test or part of one")]

#[path = "framing/strategies.rs"]
mod strategies;
#[path = "framing/theirs.rs"]
mod theirs;

use proptest::prelude::*;
use strategies::{FrameOut, MAX, any_bytes, any_frames_out, any_messages, any_mutations, any_pieces};
use theirs::{frames, read, written};
use tidings_gateway::transport::{
    Frame,
    probe::{self, Seen, Terms, decode},
};
use tokio_tungstenite::tungstenite::protocol::Role;

const TERMS: Terms = Terms { max_message_bytes: MAX, accept_binary: true, deflate: false };

/// What the messages are, without fragments that do not end one.
fn messages(seen: Vec<Seen>) -> Vec<Seen> {
    seen.into_iter().filter(|seen| *seen != Seen::Part).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_they_write_as_a_client_we_read_as_it_was_meant(
        messages_out in any_messages(),
        pieces in any_pieces(),
        pause in any::<bool>(),
    ) {
        let (bytes, expected) = written(&messages_out);
        let verdict = decode(TERMS, &bytes, &pieces, pause);
        prop_assert_eq!(verdict.violation, None);
        prop_assert_eq!(messages(verdict.seen), expected);
    }

    #[test]
    fn what_we_write_as_a_server_they_read_as_it_was_meant(
        frames_out in any_frames_out(),
        pieces in any_pieces(),
    ) {
        let (mut bytes, mut expected) = (Vec::new(), Vec::new());
        for frame in frames_out {
            let (frame, meant) = match frame {
                FrameOut::Text(text) => (Frame::text(&text), Seen::Text(text)),
                FrameOut::Once(text) => (Frame::text_once(&text), Seen::Text(text)),
                FrameOut::With(text, guess) => {
                    (Frame::text_with(guess, |buffer| buffer.put(text.as_bytes())), Seen::Text(text))
                }
                FrameOut::Binary(bytes) => (Frame::binary(&bytes), Seen::Binary(bytes)),
                FrameOut::Ping(payload) => (Frame::ping(&payload), Seen::Ping(payload)),
                FrameOut::Pong(payload) => (probe::pong(&payload), Seen::Pong),
            };
            prop_assert_eq!(frame.len(), probe::wire(frame.clone()).len());
            bytes.extend_from_slice(&probe::wire(frame));
            expected.push(meant);
        }
        bytes.extend_from_slice(&probe::wire(Frame::close(4413, "too slow")));
        expected.push(Seen::Close(Some(4413)));
        let (seen, refused) = read(&bytes, &pieces, Role::Client, 1 << 20);
        prop_assert_eq!(refused, None);
        prop_assert_eq!(seen, expected);
    }

    // They let more pass than we do (lengths that are not in their shortest form, close codes); never less.
    #[test]
    fn whatever_we_let_pass_they_understand_in_the_same_way(
        messages_out in any_messages(),
        mutations in any_mutations(),
        pieces in any_pieces(),
    ) {
        let (mut bytes, _) = written(&messages_out);
        for (at, value) in mutations {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
        }
        let ours = decode(TERMS, &bytes, &pieces, false);
        let (theirs, refused) = read(&bytes, &pieces, Role::Server, MAX);
        // Behind a close they read no more, and we are not asked to.
        let mut ours_seen = messages(ours.seen);
        if let Some(close) = ours_seen.iter().position(|seen| matches!(seen, Seen::Close(_))) {
            ours_seen.truncate(close + 1);
            prop_assert_eq!(theirs, ours_seen);
        } else {
            prop_assert!(theirs.starts_with(&ours_seen), "{:?} and {:?}", theirs, ours_seen);
            prop_assert!(ours.violation.is_some() || refused.is_none(), "they refuse what we took: {:?}", refused);
            prop_assert!(ours.violation.is_some() || theirs == ours_seen);
        }
    }

    #[test]
    fn nothing_but_noise_is_never_understood_in_two_ways(bytes in any_bytes(), pieces in any_pieces()) {
        let ours = decode(TERMS, &bytes, &pieces, false);
        let (theirs, _) = read(&bytes, &pieces, Role::Server, MAX);
        let mut ours_seen = messages(ours.seen);
        if let Some(close) = ours_seen.iter().position(|seen| matches!(seen, Seen::Close(_))) {
            ours_seen.truncate(close + 1);
        }
        prop_assert!(theirs.starts_with(&ours_seen), "{:?} and {:?}", theirs, ours_seen);
    }

    // Their frames, our compression: they have none of their own.
    #[test]
    fn compressed_messages_are_read_whatever_their_fragments_and_masks(
        texts in prop::collection::vec(("[a-zé€𝄞 ]{1,20}", 5..40usize), 1..5),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        masks in prop::collection::vec(any::<[u8; 4]>(), 1..5),
        pieces in any_pieces(),
    ) {
        let (mut bytes, mut expected) = (Vec::new(), Vec::new());
        for (text, times) in texts {
            let text = text.repeat(times);
            let Some(payload) = probe::deflate(text.as_bytes()) else { continue };
            bytes.extend(frames(&payload, &cuts, &masks, true));
            expected.push(Seen::Text(text));
        }
        let verdict = decode(Terms { deflate: true, ..TERMS }, &bytes, &pieces, false);
        prop_assert_eq!(verdict.violation, None);
        prop_assert_eq!(messages(verdict.seen), expected);
    }
}
