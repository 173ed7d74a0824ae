//! RFC 6455 on the wire. The decoder's tests cover the details; these tests check the effects for the peer.

use crate::{
    client::{BINARY, CLOSE, PING, PONG, TEXT, frame, header},
    server::Fixture,
};

/// Violations, and the close codes that the peer must get.
fn violations() -> Vec<(&'static str, Vec<u8>, u16)> {
    vec![
        ("an unmasked frame", vec![TEXT, 2, b'h', b'i'], 1002),
        ("reserved bit 1", frame(TEXT | 0x40, b"hi"), 1002),
        ("reserved bit 2", frame(TEXT | 0x20, b"hi"), 1002),
        ("reserved bit 3", frame(PING | 0x10, b"hi"), 1002),
        ("a reserved data opcode", frame(0x83, b"hi"), 1002),
        ("a reserved control opcode", frame(0x8B, b"hi"), 1002),
        ("a fragmented ping", frame(0x09, b"hi"), 1002),
        ("a fragmented close", frame(0x08, b""), 1002),
        ("a ping of 126 bytes", frame(PING, &[b'x'; 126]), 1002),
        ("a length of 2 in 16 bits", vec![TEXT, 0x80 | 126, 0, 2], 1002),
        ("a length of 300 in 64 bits", vec![TEXT, 0x80 | 127, 0, 0, 0, 0, 0, 0, 1, 44], 1002),
        ("a length with its highest bit set", vec![TEXT, 0x80 | 127, 128, 0, 0, 0, 0, 1, 0, 0], 1002),
        ("a continuation without a message", frame(0x80, b"hi"), 1002),
        ("a new text within a fragmented one", [frame(0x01, b"a"), frame(TEXT, b"b")].concat(), 1002),
        ("a continuation after the end", [frame(TEXT, b"a"), frame(0x80, b"b")].concat(), 1002),
        ("binary", frame(BINARY, b"hi"), 1003),
        ("text that is not UTF-8", frame(TEXT, b"\xFF"), 1007),
        ("text that ends within a character", frame(TEXT, b"\xC3"), 1007),
        ("a surrogate over two fragments", [frame(0x01, b"\xED"), frame(0x80, b"\xA0\x80")].concat(), 1007),
        ("a text over the limit", header(TEXT, 65_537), 1009),
        ("fragments over the limit", [frame(0x01, &[b'x'; 65_000]), header(0x80, 537)].concat(), 1009),
        ("a length beyond memory", header(TEXT, usize::MAX >> 1), 1009),
        ("half a close code", frame(CLOSE, &[3]), 1002),
        ("a close code that must not be sent", frame(CLOSE, &1005u16.to_be_bytes()), 1002),
        ("an unassigned close code", frame(CLOSE, &2000u16.to_be_bytes()), 1002),
        ("a close reason that is not UTF-8", frame(CLOSE, b"\x03\xE8\xFF"), 1007),
    ]
}

#[tokio::test]
async fn violation_is_closed_with_its_code_and_ends_stream() {
    let mut fixture = Fixture::start();
    for (what, bytes, code) in violations() {
        let mut client = fixture.client().await;
        client.send_text("before").await;
        client.send(&bytes).await;
        assert_eq!(client.next_text().await, "before", "{what}");
        assert_eq!(client.close_code().await, code, "{what}");
        assert_eq!(client.next().await, None, "{what}");
        assert_eq!(fixture.next_report().await, format!("closed {code}"), "{what}");
    }
}

#[tokio::test]
async fn violation_is_found_when_bytes_arrive_one_by_one() {
    let fixture = Fixture::start();
    for (what, bytes, code) in violations().into_iter().filter(|(_, bytes, _)| bytes.len() < 1_000) {
        let mut client = fixture.client().await;
        client.send_dripping(&bytes).await;
        assert_eq!(client.close_code().await, code, "{what}");
    }
}

#[tokio::test]
async fn fragmented_message_arrives_whole_and_pings_are_answered() {
    let fixture = Fixture::start();
    let mut client = fixture.client().await;
    let bytes = [
        frame(0x01, "gr".as_bytes()),
        frame(PING, b"first"),
        frame(0x00, b"\xC3"),
        frame(PONG, b"unasked"),
        frame(PING, b""),
        frame(0x80, b"\xBC\xC3\x9F"),
    ];
    for drip in [false, true] {
        if drip {
            client.send_dripping(&bytes.concat()).await;
        } else {
            client.send(&bytes.concat()).await;
        }
        assert_eq!(client.next().await, Some((PONG, b"first".to_vec())));
        assert_eq!(client.next().await, Some((PONG, vec![])));
        assert_eq!(client.next_text().await, "grüß");
    }
}

#[tokio::test]
async fn messages_in_one_packet_are_answered_in_order() {
    let fixture = Fixture::start();
    let mut client = fixture.client().await;
    let texts: Vec<String> = (0..2_000).map(|number| format!("message {number}")).collect();
    let bytes: Vec<u8> = texts.iter().flat_map(|text| frame(TEXT, text.as_bytes())).collect();
    client.send(&bytes).await;
    for text in &texts {
        assert_eq!(&client.next_text().await, text);
    }
}

#[tokio::test]
async fn text_is_refused_before_its_frame_is_complete() {
    let fixture = Fixture::start();
    let mut client = fixture.client().await;
    let mut bytes = frame(TEXT, &[b"so far so good \xED\xA0".as_slice(), &[b'x'; 1_000]].concat());
    bytes.truncate(bytes.len() - 1_000);
    client.send(&bytes).await;
    assert_eq!(client.close_code().await, 1007);
}

#[tokio::test]
async fn message_of_exactly_the_limit_is_accepted() {
    let fixture = Fixture::start();
    let mut client = fixture.client().await;
    let text = "x".repeat(64 * 1024);
    client.send_text(&text).await;
    assert_eq!(client.next_text().await, text);
}

#[tokio::test]
async fn close_of_oversized_message_reaches_sending_peer() {
    let fixture = Fixture::start();
    let mut client = fixture.client().await;
    client.send(&header(TEXT, 1 << 40)).await;
    // If the server reset the connection, the close frame would be lost before the peer, which is still sending, reads
    // it.
    for _ in 0..100 {
        client.send(&[b'x'; 10_000]).await;
    }
    assert_eq!(client.close_code().await, 1009);
}
