//! permessage-deflate on the wire. The transport's unit tests cover the reading of offers and inflating; these tests
//! check that connections do what was negotiated.

use std::{collections::BTreeSet, time::Duration};

use flate2::{Compress, Compression};

use crate::{
    client::{BINARY, CLOSE, Client, PING, PONG, TEXT, frame, handshake, header},
    deflate::{COMPRESSED, compress, compress_with, decompress},
    server::{BANNER, Fixture, noise},
};

const OFFER: &str = "permessage-deflate; client_max_window_bits";
const AGREED: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

async fn deflating_client(fixture: &Fixture) -> Client {
    let (client, agreed) = Client::open_offering(fixture.address(), OFFER).await;
    assert_eq!(agreed, AGREED);
    client
}

/// Text with repeated words.
fn words(length: usize) -> String {
    let mut text = "we meet at eight, or at nine, and then we eat. ".repeat(length / 40 + 1);
    text.truncate(length);
    text
}

#[tokio::test]
async fn connection_follows_negotiated_answer_for_every_offer() {
    let fixture = Fixture::start();
    let with_bits = |bits: u8| (format!("{AGREED}; server_max_window_bits={bits}"), bits);
    let cases = [
        ("permessage-deflate", (AGREED.to_owned(), 15)),
        (OFFER, (AGREED.to_owned(), 15)),
        ("permessage-deflate; client_max_window_bits=9", (AGREED.to_owned(), 15)),
        (
            "permessage-deflate; client_no_context_takeover; server_no_context_takeover",
            (AGREED.to_owned(), 15),
        ),
        ("permessage-deflate; server_max_window_bits=15", with_bits(15)),
        ("permessage-deflate; server_max_window_bits=12", with_bits(12)),
        ("permessage-deflate; server_max_window_bits=10; client_max_window_bits", with_bits(10)),
        ("permessage-deflate; server_max_window_bits=9", with_bits(9)),
        (
            "permessage-deflate; server_max_window_bits=16, permessage-deflate; server_max_window_bits=11",
            with_bits(11),
        ),
        ("permessage-deflate; unheard_of, permessage-deflate", (AGREED.to_owned(), 15)),
        ("x-webkit-deflate-frame", (String::new(), 15)),
        ("permessage-deflate; server_max_window_bits=7", (String::new(), 15)),
    ];
    for (offer, (expected, bits)) in cases {
        let (mut client, agreed) = Client::open_offering(fixture.address(), offer).await;
        assert_eq!(agreed, expected, "{offer}");
        for length in [600, 1_024, 1_025, 5_000, 40_000] {
            let text = words(length);
            client.send_text(&format!("!share {text}")).await;
            let (echo, compressed) = client.either_text(bits).await;
            assert_eq!(echo, text, "{offer}");
            let fits_window = bits == 15 || length <= 1 << bits;
            assert_eq!(compressed, !agreed.is_empty() && fits_window, "{offer}: {length} bytes");
        }
        if !agreed.is_empty() {
            client.send_compressed("hello").await;
            assert_eq!(client.next_text().await, "hello", "{offer}");
        }
    }
}

#[tokio::test]
async fn disabled_compression_is_not_negotiated() {
    let fixture = Fixture::start_with(|config| config.deflate = false);
    let (mut client, agreed) = Client::open_offering(fixture.address(), OFFER).await;
    assert_eq!(agreed, "");
    client.send_text(&format!("!share {}", words(5_000))).await;
    assert_eq!(client.next_text().await, words(5_000));
    client.send_compressed("hello").await;
    assert_eq!(client.close_code().await, 1002);
}

#[tokio::test]
async fn messages_of_every_size_pass_whole_and_in_fragments() {
    let fixture = Fixture::start_with(|config| {
        config.accept_binary = true;
        config.max_message_bytes = 128 * 1024;
        config.outbox_bytes = 1024 * 1024;
    });
    let mut client = deflating_client(&fixture).await;
    for size in [0, 16, 64, 256, 1_024, 4_096, 8_192, 16_384, 32_768, 65_536, 131_072] {
        for text in [words(size), noise(size)] {
            let payload = compress(text.as_bytes());
            client.send(&frame(TEXT | COMPRESSED, &payload)).await;
            assert_eq!(client.either_text(15).await.0, text, "{size} bytes");

            client.send(&frame(BINARY | COMPRESSED, &payload)).await;
            assert_eq!(client.either_binary().await, text.as_bytes(), "{size} bytes");

            for piece in [1, 64, 1_000, 32_768].into_iter().filter(|piece| payload.len() / piece < 2_000) {
                let mut bytes = Vec::new();
                let pieces = payload.chunks(piece).count();
                for (index, part) in payload.chunks(piece).enumerate() {
                    let first = if index == 0 { 0x01 | COMPRESSED } else { 0 };
                    let fin = if index + 1 == pieces { 0x80 } else { 0 };
                    bytes.extend(frame(first | fin, part));
                }
                client.send(&bytes).await;
                assert_eq!(client.either_text(15).await.0, text, "{size} bytes by {piece}");
            }
        }
    }
    let totals = fixture.server.counters().totals();
    assert!(totals.compressed_out > 0 && totals.saved_bytes > 100_000, "{totals:?}");
}

#[tokio::test]
async fn plain_and_compressed_messages_and_control_frames_alternate() {
    let fixture = Fixture::start();
    let mut client = deflating_client(&fixture).await;
    let payload = compress("grüß dich ".repeat(50).as_bytes());
    let (left, right) = payload.split_at(7);
    for _ in 0..3 {
        client.send_text("plain").await;
        assert_eq!(client.next_text().await, "plain");
        let bytes = [frame(0x41, left), frame(PING, b"?"), frame(0x00, b""), frame(0x80, right)].concat();
        client.send_dripping(&bytes).await;
        assert_eq!(client.next_message().await, Some((PONG, b"?".to_vec())));
        assert_eq!(client.either_text(15).await.0, "grüß dich ".repeat(50));
    }
}

#[tokio::test]
async fn shared_frame_is_compressed_once_for_all_workers() {
    let fixture = Fixture::start_with(|config| config.workers = 3);
    let mut payloads = BTreeSet::new();
    for _ in 0..20 {
        let (mut compressing, mut plain) = (deflating_client(&fixture).await, fixture.client().await);
        compressing.send_text("!banner").await;
        plain.send_text("!banner").await;
        let (first, payload) = compressing.next_message().await.unwrap();
        assert_eq!(first, TEXT | COMPRESSED);
        assert_eq!(decompress(&payload, 15), BANNER.repeat(40).as_bytes());
        payloads.insert(payload);
        assert_eq!(plain.next_text().await, BANNER.repeat(40));
    }
    assert_eq!(payloads.len(), 1);
    let totals = fixture.server.counters().totals();
    assert_eq!((totals.compressed, totals.compressed_out), (1, 20));
    let saved = BANNER.len() * 40 + 4 - payloads.first().unwrap().len() - 2;
    assert_eq!(totals.saved_bytes, 20 * saved as u64);
}

#[tokio::test]
async fn short_or_incompressible_frame_is_sent_plain() {
    let fixture = Fixture::start();
    let mut client = deflating_client(&fixture).await;
    let cases = [
        (format!("!share {}", words(511)), false),
        (format!("!share {}", words(512)), true),
        // A frame for one connection has a higher minimum size.
        (words(4_095), false),
        (words(4_096), true),
    ];
    for (text, is_compressed) in cases {
        client.send_text(&text).await;
        let (echo, compressed) = client.either_text(15).await;
        assert_eq!((echo.as_str(), compressed), (text.trim_start_matches("!share "), is_compressed));
    }
    // These 600 characters have more than 10 bits each, so compression hardly saves a byte.
    let dense: String = (0..600u32).map(|n| char::from_u32(0x4E00 + n * 7_919 % 20_000).unwrap()).collect();
    let before = fixture.server.counters().totals();
    client.send_text(&format!("!share {dense}")).await;
    let (echo, compressed) = client.either_text(15).await;
    assert_eq!(echo, dense);
    let after = fixture.server.counters().totals();
    assert_eq!(after.compressed - before.compressed, 1, "compression was tried once");
    assert_eq!(after.compressed_out - before.compressed_out, u64::from(compressed));
}

#[tokio::test]
async fn violation_of_extension_is_closed_with_its_code() {
    let mut fixture = Fixture::start();
    let mut context_keeping = Compress::new(Compression::default(), false);
    compress_with(&mut context_keeping, words(2_000).as_bytes());
    let with_context = compress_with(&mut context_keeping, words(2_000).as_bytes());
    let bomb = compress(&vec![b'a'; 8 * 1024 * 1024]);
    let text = compress(words(300).as_bytes());
    let first = TEXT | COMPRESSED;
    let cases = [
        ("a marked continuation", [frame(0x41, &text[..9]), frame(0xC0, &text[9..])].concat(), 1002),
        ("a marked ping", frame(PING | COMPRESSED, b""), 1002),
        ("a marked close", frame(CLOSE | COMPRESSED, b""), 1002),
        ("another reserved bit", frame(first | 0x20, &text), 1002),
        ("compressed binary", frame(BINARY | COMPRESSED, &text), 1003),
        ("no DEFLATE", frame(first, b"{\"type\":\"ping\"}"), 1007),
        ("half a stream", frame(first, &text[..text.len() / 2]), 1007),
        ("an empty payload", frame(first, b""), 1007),
        ("a kept context", frame(first, &with_context), 1007),
        ("text that is not UTF-8", frame(first, &compress(b"gr\xC3\xC3")), 1007),
        ("text that ends within a character", frame(first, &compress(b"gr\xC3")), 1007),
        ("a bomb", frame(first, &bomb), 1009),
        ("a bomb in fragments", [frame(0x41, &bomb[..100]), frame(0x80, &bomb[100..])].concat(), 1009),
        ("one byte too many", frame(first, &compress(&vec![b'a'; 64 * 1024 + 1])), 1009),
        ("a payload that is too big on the wire", header(first, 64 * 1024 + 600), 1009),
    ];
    for (what, bytes, code) in cases {
        let mut client = deflating_client(&fixture).await;
        client.send_compressed("before").await;
        client.send(&bytes).await;
        assert_eq!(client.next_text().await, "before", "{what}");
        assert_eq!(client.close_code().await, code, "{what}");
        assert_eq!(client.next().await, None, "{what}");
        assert_eq!(fixture.next_report().await, format!("closed {code}"), "{what}");
    }
    assert_eq!(fixture.server.counters().totals().inflate_limit_closes, 3);
    let mut client = deflating_client(&fixture).await;
    let largest = words(64 * 1024);
    client.send_compressed(&largest).await;
    assert_eq!(client.either_text(15).await, (largest, true));
}

#[tokio::test]
async fn messages_after_close_are_not_inflated_and_close_is_found() {
    let first = TEXT | COMPRESSED;
    let broken = compress(words(300).as_bytes()).split_off(9);
    let bomb = compress(&vec![b'a'; 8 * 1024 * 1024]);
    let dropped = [
        frame(first, &broken),
        frame(first, &bomb),
        frame(0x41, &broken[..5]),
        frame(0x80, &broken[5..]),
        frame(TEXT, b"!note this is dropped"),
    ]
    .concat();
    let end = frame(CLOSE, &4403u16.to_be_bytes());
    // The dropped frames arrive once in one packet with the frame that closes the connection, and once later.
    for late in [false, true] {
        let mut fixture = Fixture::start_with(|config| config.close_timeout = Duration::from_secs(600));
        let mut client = deflating_client(&fixture).await;
        let close = frame(TEXT, b"!close 4403");
        if late {
            client.send(&close).await;
            assert_eq!(fixture.next_report().await, "closed 4403");
            client.send(&[&dropped[..], &end].concat()).await;
        } else {
            client.send(&[&close[..], &dropped, &end].concat()).await;
            assert_eq!(fixture.next_report().await, "closed 4403");
        }
        assert_eq!(client.close_code().await, 4403);
        // The peer keeps its socket open, so only its close frame can end the connection.
        client.expect_end().await;
        let (counters, reports) = fixture.stop().await;
        assert_eq!((counters.totals().inflate_limit_closes, reports), (0, vec![]), "late: {late}");
    }
}

#[tokio::test]
async fn slow_reader_of_compressed_frames_is_closed_with_4413() {
    let mut fixture = Fixture::start_with(|config| config.stall_timeout = Duration::from_millis(500));
    let mut slow = deflating_client(&fixture).await;
    let mut other = deflating_client(&fixture).await;
    slow.send_text("!noise").await;
    assert_eq!(fixture.next_report().await, "closed 4413");
    other.send_compressed("still here").await;
    assert_eq!(other.next_text().await, "still here");
    loop {
        match slow.next_message().await {
            Some((first, payload)) if first == TEXT | COMPRESSED => {
                assert!(decompress(&payload, 15) == noise(16 * 1024).as_bytes());
            }
            Some((_, payload)) => {
                assert_eq!(&payload[..2], 4413u16.to_be_bytes());
                break;
            }
            None => panic!("no close frame"),
        }
    }
    drop((slow, other));
    let (counters, _) = fixture.stop().await;
    let totals = counters.totals();
    assert_eq!((totals.closes.get(&4413), totals.outbox_bytes, totals.compressed), (Some(&1), 0, 1));
}

#[tokio::test]
async fn first_frame_of_session_may_be_compressed() {
    let fixture = Fixture::start();
    let greeting = "a".repeat(5_000);
    let request = handshake(&format!("/ws?{greeting}"))
        .replace("\r\n\r\n", &format!("\r\nSec-WebSocket-Extensions: {OFFER}\r\n\r\n"));
    let mut client = Client::connect_and_send(fixture.address(), request.as_bytes()).await;
    assert!(client.read_head().await.contains(AGREED));
    assert_eq!(client.either_text(15).await, (greeting, true));
}
