//! Tests of the decoder: the rules of RFC 6455 that it enforces, the size limits, compression, and the same bytes split
//! in different ways.

use std::ops::ControlFlow;

use proptest::prelude::*;

use super::*;
use crate::transport::probe::{DecodedEvent, to_decoded_event};

const RULES: DecoderRules = DecoderRules { max_message_bytes: 1_000, accept_binary: true, deflate: true };

/// A masked client frame; `first` is its first byte.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..=125 => bytes.push(0x80 | u8::try_from(length).unwrap()),
        length @ 126..=0xFFFF => {
            bytes.push(0x80 | 126);
            bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
        length => {
            bytes.push(0x80 | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend(mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

/// Decodes `bytes` in pieces of these lengths, in a cycle. A length of 0 means all remaining bytes.
fn decode_in(
    rules: DecoderRules,
    bytes: &[u8],
    pieces: &[usize],
) -> (Vec<DecodedEvent>, Option<Violation>, Decoder) {
    let (mut decoder, mut inflater) = (Decoder::default(), Inflater::default());
    let mut seen = Vec::new();
    let mut rest = bytes;
    let mut pieces = pieces.iter().cycle();
    while !rest.is_empty() {
        let length = match pieces.next() {
            None | Some(0) => rest.len(),
            Some(length) => (*length).min(rest.len()),
        };
        let (piece, tail) = rest.split_at(length);
        rest = tail;
        let decoded = decoder.decode(rules, &mut inflater, &|| true, &mut piece.to_vec(), |event| {
            seen.extend((event != Event::Part).then(|| to_decoded_event(event)));
            ControlFlow::Continue(())
        });
        match decoded {
            Ok(used) => assert_eq!(used, length),
            Err(violation) => return (seen, Some(violation), decoder),
        }
    }
    (seen, None, decoder)
}

/// Decodes the bytes whole and byte by byte, and checks that the results are the same.
fn decode(rules: DecoderRules, bytes: &[u8]) -> (Vec<DecodedEvent>, Option<u16>) {
    let (whole, verdict, _) = decode_in(rules, bytes, &[0]);
    let (single, single_verdict, _) = decode_in(rules, bytes, &[1]);
    assert_eq!((&whole, verdict), (&single, single_verdict));
    (whole, verdict.map(|violation| violation.code))
}

fn text(text: &str) -> DecodedEvent {
    DecodedEvent::Text(text.to_owned())
}

#[test]
fn messages_of_every_length_encoding_are_decoded() {
    let rules = DecoderRules { max_message_bytes: 100_000, ..RULES };
    for length in [0, 1, 7, 8, 125, 126, 65_535, 65_536, 100_000] {
        let payload = "x".repeat(length);
        assert_eq!(decode(rules, &frame(0x81, payload.as_bytes())), (vec![text(&payload)], None));
    }
}

#[test]
fn fragments_form_one_message_around_control_frames() {
    let bytes = [
        frame(0x01, b"one "),
        frame(0x89, b"alive?"),
        frame(0x00, b""),
        frame(0x8A, b"yes"),
        frame(0x80, b"two"),
        frame(0x82, &[0xFF]),
    ];
    let expected = vec![
        DecodedEvent::Ping(b"alive?".to_vec()),
        DecodedEvent::Pong,
        text("one two"),
        DecodedEvent::Binary(vec![0xFF]),
    ];
    assert_eq!(decode(RULES, &bytes.concat()), (expected, None));
}

#[test]
fn character_may_be_split_over_fragments() {
    let (head, tail) = "κόσμε𝄞".as_bytes().split_at(3);
    let (middle, last) = tail.split_at(8);
    let bytes = [frame(0x01, head), frame(0x00, middle), frame(0x80, last)].concat();
    assert_eq!(decode(RULES, &bytes), (vec![text("κόσμε𝄞")], None));
}

#[test]
fn text_is_refused_at_first_invalid_byte() {
    let cases: [&[u8]; 5] = [b"\xC0", b"\xED\xA0", b"\xF4\x90", b"\xE0\x80", b"ok\xFF"];
    for payload in cases {
        // The frame announces more bytes and more fragments, but the decoder must not wait for them.
        let mut bytes = frame(0x01, &[payload, &[b'x'; 50]].concat());
        bytes.truncate(6 + payload.len());
        assert_eq!(decode(RULES, &bytes), (vec![], Some(1007)), "{payload:?}");
        assert_eq!(decode(RULES, &bytes[..bytes.len() - 1]), (vec![], None), "{payload:?} but the last byte");
    }
}

#[test]
fn text_ending_within_a_character_is_refused() {
    assert_eq!(decode(RULES, &frame(0x81, b"\xE2\x82")), (vec![], Some(1007)));
    let bytes = [frame(0x01, b"\xE2\x82"), frame(0x80, b"")].concat();
    assert_eq!(decode(RULES, &bytes), (vec![], Some(1007)));
}

#[test]
fn size_limit_covers_fragments_and_is_checked_at_header() {
    let at_limit = [frame(0x01, &[b'x'; 600]), frame(0x80, &[b'x'; 400])].concat();
    assert_eq!(decode(RULES, &at_limit), (vec![text(&"x".repeat(1_000))], None));

    let over = [frame(0x01, &[b'x'; 600]), frame(0x80, &[b'x'; 401])].concat();
    let header_end = over.len() - 401;
    assert_eq!(decode(RULES, &over[..header_end]), (vec![], Some(1009)));

    let huge = [0x81, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0];
    assert_eq!(decode(RULES, &huge), (vec![], Some(1009)));
}

#[test]
fn unaccepted_binary_is_refused_at_its_header() {
    let rules = DecoderRules { accept_binary: false, ..RULES };
    assert_eq!(decode(rules, &frame(0x82, &[0; 20])[..6]), (vec![], Some(1003)));
}

#[test]
fn close_frame_is_checked_by_code_and_reason() {
    assert_eq!(decode(RULES, &frame(0x88, b"")), (vec![DecodedEvent::Close(None)], None));
    for code in [1000, 1001, 1002, 1003, 1007, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999u16] {
        let payload = [&code.to_be_bytes()[..], "späße".as_bytes()].concat();
        assert_eq!(decode(RULES, &frame(0x88, &payload)), (vec![DecodedEvent::Close(Some(code))], None));
    }
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535u16] {
        assert_eq!(decode(RULES, &frame(0x88, &code.to_be_bytes())), (vec![], Some(1002)), "{code}");
    }
    assert_eq!(decode(RULES, &frame(0x88, &[3])), (vec![], Some(1002)), "half a code");
    assert_eq!(decode(RULES, &frame(0x88, &[3, 0xE8, 0xFF])), (vec![], Some(1007)), "reason not UTF-8");
}

#[test]
fn break_leaves_rest_of_chunk_unused() {
    let mut bytes = [frame(0x81, b"one"), frame(0x81, b"two")].concat();
    let (mut decoder, mut inflater) = (Decoder::default(), Inflater::default());
    let used = decoder.decode(RULES, &mut inflater, &|| true, &mut bytes, |_| ControlFlow::Break(()));
    assert_eq!(used, Ok(9));
    let mut seen = Vec::new();
    let used = decoder.decode(RULES, &mut inflater, &|| true, &mut bytes[9..], |event| {
        seen.push(event == Event::Text("two"));
        ControlFlow::Continue(())
    });
    assert_eq!((used, seen), (Ok(9), vec![true]));
}

#[test]
fn decoder_holds_no_memory_between_messages() {
    let bytes = [frame(0x01, b"one "), frame(0x89, b"?"), frame(0x80, b"two")].concat();
    for split in [0, 1, 2, 7] {
        let (_, verdict, decoder) = decode_in(RULES, &bytes, &[split]);
        assert_eq!(verdict, None);
        assert!(decoder.is_empty(), "in pieces of {split}");
    }
}

/// The payload of a compressed message.
fn deflated(text: &[u8]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(text.len() + 64);
    let mut engine = flate2::Compress::new(flate2::Compression::best(), false);
    engine.compress_vec(text, &mut payload, flate2::FlushCompress::Sync).unwrap();
    payload.truncate(payload.len() - 4);
    payload
}

#[test]
fn compressed_messages_and_fragments_are_inflated() {
    let words = "grüß dich, ".repeat(60);
    let payload = deflated(words.as_bytes());
    let (left, right) = payload.split_at(payload.len() / 2);
    let bytes = [
        frame(0xC1, &payload),
        frame(0x41, left),
        frame(0x89, b"?"),
        frame(0x00, b""),
        frame(0x80, right),
        frame(0x81, b"plain"),
        frame(0xC1, &[0]),
        frame(0xC2, &deflated(&[0xFF; 30])),
    ]
    .concat();
    let seen = vec![
        text(&words),
        DecodedEvent::Ping(b"?".to_vec()),
        text(&words),
        text("plain"),
        text(""),
        DecodedEvent::Binary(vec![0xFF; 30]),
    ];
    assert_eq!(decode(RULES, &bytes), (seen, None));
}

#[test]
fn compression_bit_is_valid_only_on_first_frame_if_negotiated() {
    let payload = deflated(b"hello hello hello");
    let without = DecoderRules { deflate: false, ..RULES };
    assert_eq!(decode(without, &frame(0xC1, &payload)), (vec![], Some(1002)));
    assert_eq!(decode(RULES, &frame(0xC9, b"")), (vec![], Some(1002)), "a ping");
    assert_eq!(decode(RULES, &frame(0xC8, b"")), (vec![], Some(1002)), "a close");
    assert_eq!(decode(RULES, &frame(0xE1, &payload)), (vec![], Some(1002)), "another bit");
    let again = [frame(0x41, &payload[..3]), frame(0xC0, &payload[3..])].concat();
    assert_eq!(decode(RULES, &again), (vec![], Some(1002)), "a continuation");
}

#[test]
fn compressed_text_is_checked_after_inflating() {
    assert_eq!(decode(RULES, &frame(0xC1, &deflated(&[b'a'; 1_000]))).1, None);
    assert_eq!(decode(RULES, &frame(0xC1, &deflated(&[b'a'; 1_001]))), (vec![], Some(1009)));
    assert_eq!(decode(RULES, &frame(0xC1, &deflated(b"\xED\xA0\x80"))), (vec![], Some(1007)), "a surrogate");
    assert_eq!(decode(RULES, &frame(0xC1, &deflated(b"gr\xC3"))), (vec![], Some(1007)), "half a character");
    assert_eq!(decode(RULES, &frame(0xC1, b"{\"type\":\"ping\"}")), (vec![], Some(1007)), "no DEFLATE");
    assert_eq!(decode(RULES, &frame(0xC1, b"")), (vec![], Some(1007)), "not even an empty one");
    assert_eq!(decode(RULES, &frame(0xC1, &deflated(b"half of it")[..6])), (vec![], Some(1007)), "cut off");
}

#[test]
fn compressed_payload_is_limited_before_it_is_stored() {
    // Incompressible data may become a little larger.
    assert_eq!(RULES.max_payload_bytes(true), 1_071);
    let header_end = frame(0xC1, &[0; 1_072]).len() - 1_072;
    assert_eq!(decode(RULES, &frame(0xC1, &[0; 1_072])[..header_end]), (vec![], Some(1009)));
    let fragments = [frame(0x41, &[0; 600]), frame(0x80, &[0; 472])].concat();
    assert_eq!(decode(RULES, &fragments[..fragments.len() - 472]), (vec![], Some(1009)));
}

#[test]
fn each_complete_frame_gives_one_event() {
    let bytes = [
        frame(0x01, b"a"),
        frame(0x00, b""),
        frame(0x89, b""),
        frame(0x00, b"b"),
        frame(0x80, b""),
        frame(0x8A, b""),
        frame(0x41, b""),
        frame(0x80, &[0]),
    ]
    .concat();
    for piece in [1, 3, bytes.len()] {
        let (mut decoder, mut inflater) = (Decoder::default(), Inflater::default());
        let mut events = 0;
        for chunk in bytes.clone().chunks_mut(piece) {
            let decoded = decoder.decode(RULES, &mut inflater, &|| true, chunk, |_| {
                events += 1;
                ControlFlow::Continue(())
            });
            assert_eq!(decoded, Ok(chunk.len()));
        }
        assert_eq!(events, 8, "in pieces of {piece}");
    }
}

fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        6 => prop::sample::select(vec![0x81, 0x01, 0x00, 0x80, 0x82, 0x02, 0x89, 0x8A, 0xC1, 0x41]),
        1 => Just(0x88),
        1 => any::<u8>(),
    ];
    let payload = prop_oneof![
        4 => "[a-zé€𝄞]{0,40}".prop_map(String::into_bytes),
        2 => prop::collection::vec(any::<u8>(), 0..30),
        1 => prop::collection::vec(any::<u8>(), 120..400),
        2 => "[a-zé€𝄞]{0,9}".prop_map(|text| deflated(text.repeat(70).as_bytes())),
        1 => (any::<u16>(), "[a-zé]{0,5}").prop_map(|(code, reason)| {
            [&code.to_be_bytes()[..], reason.as_bytes()].concat()
        }),
    ];
    (first, payload).prop_map(|(first, payload)| frame(first, &payload))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn result_does_not_depend_on_how_bytes_are_split(
        frames in prop::collection::vec(any_frame(), 0..8),
        mutations in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        cut in prop::option::of(any::<prop::sample::Index>()),
        pieces in prop::collection::vec(1..40usize, 1..8),
        accept_binary in any::<bool>(),
        deflate in any::<bool>(),
    ) {
        let mut bytes = frames.concat();
        if !bytes.is_empty() {
            for (at, value) in mutations {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
        }
        let rules = DecoderRules { max_message_bytes: 500, accept_binary, deflate };
        let (whole, verdict, _) = decode_in(rules, &bytes, &[0]);
        for pieces in [&pieces[..], &[1]] {
            let (seen, split_verdict, _) = decode_in(rules, &bytes, pieces);
            prop_assert_eq!(&seen, &whole);
            prop_assert_eq!(split_verdict, verdict);
        }
    }

    #[test]
    fn decoder_does_not_panic_on_any_bytes(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        pieces in prop::collection::vec(1..20usize, 1..5),
    ) {
        let (whole, verdict, _) = decode_in(RULES, &bytes, &[0]);
        let (seen, split_verdict, _) = decode_in(RULES, &bytes, &pieces);
        prop_assert_eq!((seen, split_verdict), (whole, verdict));
    }
}
