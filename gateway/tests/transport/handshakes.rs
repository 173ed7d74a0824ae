//! Tests which handshakes are accepted, and how the others are refused.

use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest as _};

use crate::{
    client::{Client, TEXT, frame, handshake},
    server::Fixture,
};

#[tokio::test]
async fn valid_handshake_is_answered_with_accept_key() {
    let fixture = Fixture::start();
    let mut client = Client::connect_and_send(fixture.address(), handshake("/ws").as_bytes()).await;
    let head = client.read_head().await;
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"));
    assert!(head.contains("\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{head}");
    assert!(!head.contains("sec-websocket-protocol"), "no subprotocol was offered: {head}");
}

#[tokio::test]
async fn supported_subprotocol_is_picked_from_offers() {
    let fixture = Fixture::start();
    for (offer, picked) in [("v0, tidings.v1", true), ("tidings.v2", false), ("TIDINGS.V1", false)] {
        let with_offer =
            handshake("/ws").replace("\r\n\r\n", &format!("\r\nSec-WebSocket-Protocol: {offer}\r\n\r\n"));
        let head = Client::connect_and_send(fixture.address(), with_offer.as_bytes()).await.read_head().await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert_eq!(head.contains("\r\nsec-websocket-protocol: tidings.v1\r\n"), picked, "{offer}: {head}");
    }
}

#[tokio::test]
async fn invalid_handshake_is_refused_with_matching_status() {
    let fixture = Fixture::start();
    let good = handshake("/ws");
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let cases = [
        ("wrong version", good.replace("Version: 13", "Version: 8"), "426", "sec-websocket-version: 13"),
        ("no version", good.replace("Sec-WebSocket-Version: 13\r\n", ""), "426", "sec-websocket-version: 13"),
        ("no upgrade header", good.replace("Upgrade: WebSocket\r\n", ""), "426", "upgrade: websocket"),
        ("another upgrade", good.replace("Upgrade: WebSocket", "Upgrade: h2c"), "426", "upgrade: websocket"),
        (
            "no connection header",
            good.replace("Connection: keep-alive, Upgrade\r\n", ""),
            "400",
            "problem+json",
        ),
        ("no key", good.replace(key, ""), "400", "problem+json"),
        ("two keys", good.replace(key, &key.repeat(2)), "400", "problem+json"),
        ("a short key", good.replace("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ="), "400", "problem+json"),
        ("a key that is no base64", good.replace("dGhl", "!!!!"), "400", "problem+json"),
        ("a body", good.replace("\r\n\r\n", "\r\nContent-Length: 3\r\n\r\nabc"), "400", "problem+json"),
        ("another method", good.replace("GET", "POST"), "405", "allow: get"),
        (
            "a plain POST",
            "POST /ws HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\n{}".into(),
            "405",
            "allow: get",
        ),
        ("a plain GET", "GET /ws HTTP/1.1\r\nHost: test\r\n\r\n".into(), "426", "connection: upgrade"),
        ("another version", good.replace("Version: 13", "Version: 8"), "426", "connection: close, upgrade"),
        ("HTTP/1.0", good.replace("HTTP/1.1", "HTTP/1.0"), "400", "problem+json"),
        ("another path", good.replace("/ws", "/elsewhere"), "404", "problem+json"),
    ];
    for (what, request, status, header) in cases {
        let mut client = Client::connect_and_send(fixture.address(), request.as_bytes()).await;
        let head = client.read_head().await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{what}: {head}");
        assert!(head.to_lowercase().contains(header), "{what}: {head}");
        assert!(head.contains("\r\nx-content-type-options: nosniff\r\n"), "{what}: {head}");
    }
}

#[tokio::test]
async fn refusal_of_acceptor_is_sent_unchanged() {
    let fixture = Fixture::start();
    let mut client = Client::connect_and_send(fixture.address(), handshake("/ws?refuse").as_bytes()).await;
    let head = client.read_head().await;
    assert!(head.starts_with("HTTP/1.1 401 Unauthorized\r\n"), "{head}");
    assert!(head.contains("\r\ncontent-type: text/plain\r\n"), "{head}");
    assert_eq!(client.read_rest().await, "a token is needed");
}

#[tokio::test]
async fn full_worker_refuses_with_503_until_a_connection_ends() {
    let mut fixture = Fixture::start_with(|config| config.max_connections_per_worker = 2);
    let first = fixture.client().await;
    let _second = fixture.client().await;
    let mut third = Client::connect_and_send(fixture.address(), handshake("/ws").as_bytes()).await;
    let head = third.read_head().await;
    assert!(head.starts_with("HTTP/1.1 503 ") && !head.contains("retry-after"), "{head}");
    let problem = third.read_rest().await;
    assert!(problem.contains(r#""code":"overloaded""#), "{problem}");
    drop(first);
    assert_eq!(fixture.next_report().await, "closed 1006");
    fixture.client().await;
}

#[tokio::test]
async fn full_worker_refuses_without_asking_acceptor() {
    let mut fixture = Fixture::start_with(|config| config.max_connections_per_worker = 1);
    let mut open = fixture.client().await;
    // If the handshake reached the acceptor, it would wait for a permit of `gate`, which has none.
    let head =
        Client::connect_and_send(fixture.address(), handshake("/ws?wait").as_bytes()).await.read_head().await;
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    open.send_text("!note nothing was reported before").await;
    assert_eq!(fixture.next_report().await, "nothing was reported before");
}

#[tokio::test]
async fn worker_that_fills_during_handshake_refuses_it() {
    let mut fixture = Fixture::start_with(|config| config.max_connections_per_worker = 2);
    let _inside = fixture.client().await;
    let mut waiting = Client::connect_and_send(fixture.address(), handshake("/ws?wait").as_bytes()).await;
    assert_eq!(fixture.next_report().await, "handshake waits");
    let _faster = fixture.client().await;
    fixture.gate.add_permits(1);
    assert!(waiting.read_head().await.starts_with("HTTP/1.1 503 "));
    let problem = waiting.read_rest().await;
    assert!(problem.contains(r#""code":"overloaded""#), "{problem}");
    assert_eq!(fixture.server.counters().totals().connections, 2);
}

#[tokio::test]
async fn plain_http_shares_listener_and_worker_state() {
    let fixture = Fixture::start();
    let _client = fixture.client().await;
    let request = b"GET /count HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    let mut client = Client::connect_and_send(fixture.address(), request).await;
    assert!(client.read_head().await.starts_with("HTTP/1.1 200 "));
    assert_eq!(client.read_rest().await, "1");
}

#[tokio::test]
async fn frames_directly_after_handshake_are_not_lost() {
    let fixture = Fixture::start();
    let mut bytes = handshake("/ws?hello").into_bytes();
    bytes.extend(frame(TEXT, b"one"));
    bytes.extend(frame(TEXT, b"two"));
    let split = bytes.len() - 3;
    let mut client = Client::connect_and_send(fixture.address(), &bytes[..split]).await;
    assert!(client.read_head().await.starts_with("HTTP/1.1 101 "));
    assert_eq!(client.next_text().await, "hello", "the frame that the session sends on opening comes first");
    assert_eq!(client.next_text().await, "one");
    client.send(&bytes[split..]).await;
    assert_eq!(client.next_text().await, "two");
}

#[tokio::test]
async fn request_pipelined_before_handshake_is_answered_first() {
    let fixture = Fixture::start();
    let bytes = format!("GET /count HTTP/1.1\r\nHost: test\r\n\r\n{}", handshake("/ws"));
    let mut client = Client::connect_and_send(fixture.address(), bytes.as_bytes()).await;
    assert!(client.read_head().await.starts_with("HTTP/1.1 200 "));
    assert!(
        client.read_head().await.contains("HTTP/1.1 101 "),
        "the answer of /count comes before the upgrade"
    );
    client.send_text("hello").await;
    assert_eq!(client.next_text().await, "hello");
}

#[tokio::test]
async fn other_client_library_works() {
    use futures_util::{SinkExt as _, StreamExt as _};

    let mut fixture = Fixture::start_with(|config| config.accept_binary = true);
    let request = format!("ws://{}/ws", fixture.address()).into_client_request().unwrap();
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    for length in [0, 1, 125, 126, 65_535, 65_536] {
        let text = Message::text("é".repeat(length / 2));
        socket.send(text.clone()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), text);
        let binary = Message::binary(vec![0xFF; length]);
        socket.send(binary.clone()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), binary);
    }
    socket.close(None).await.unwrap();
    while let Some(message) = socket.next().await {
        assert!(message.unwrap().is_close());
    }
    assert_eq!(fixture.next_report().await, "closed 1005");
}
