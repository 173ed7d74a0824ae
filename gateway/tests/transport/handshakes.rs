//! Who gets a WebSocket, and what the others are told.

use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest as _};

use crate::{
    client::{Client, TEXT, frame, handshake},
    server::Fixture,
};

#[tokio::test]
async fn a_proper_handshake_is_answered_with_the_accept_key() {
    let fixture = Fixture::start();
    let mut client = Client::raw(fixture.address(), handshake("/ws").as_bytes()).await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"));
    assert!(head.contains("\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{head}");
    assert!(!head.contains("sec-websocket-protocol"), "none was offered: {head}");
}

#[tokio::test]
async fn our_subprotocol_is_picked_from_those_offered() {
    let fixture = Fixture::start();
    for (offer, picked) in [("v0, tidings.v1", true), ("tidings.v2", false), ("TIDINGS.V1", false)] {
        let with_offer =
            handshake("/ws").replace("\r\n\r\n", &format!("\r\nSec-WebSocket-Protocol: {offer}\r\n\r\n"));
        let head = Client::raw(fixture.address(), with_offer.as_bytes()).await.head().await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert_eq!(head.contains("\r\nsec-websocket-protocol: tidings.v1\r\n"), picked, "{offer}: {head}");
    }
}

#[tokio::test]
async fn improper_handshakes_are_refused_with_the_fitting_status() {
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
        ("HTTP/1.0", good.replace("HTTP/1.1", "HTTP/1.0"), "400", "problem+json"),
        ("another path", good.replace("/ws", "/elsewhere"), "404", "problem+json"),
    ];
    for (what, request, status, header) in cases {
        let mut client = Client::raw(fixture.address(), request.as_bytes()).await;
        let head = client.head().await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{what}: {head}");
        assert!(head.to_lowercase().contains(header), "{what}: {head}");
    }
}

#[tokio::test]
async fn the_acceptors_refusal_is_sent_as_it_is() {
    let fixture = Fixture::start();
    let mut client = Client::raw(fixture.address(), handshake("/ws?refuse").as_bytes()).await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 401 Unauthorized\r\n"), "{head}");
    assert!(head.contains("\r\ncontent-type: text/plain\r\n"), "{head}");
    assert_eq!(client.rest().await, "who are you?");
}

#[tokio::test]
async fn a_full_worker_refuses_with_503_until_somebody_leaves() {
    let mut fixture = Fixture::with(|config| config.max_connections_per_worker = 2);
    let first = fixture.client().await;
    let _second = fixture.client().await;
    let mut third = Client::raw(fixture.address(), handshake("/ws").as_bytes()).await;
    let head = third.head().await;
    assert!(head.starts_with("HTTP/1.1 503 ") && !head.contains("retry-after"), "{head}");
    let problem = third.rest().await;
    assert!(problem.contains(r#""code":"overloaded""#), "{problem}");
    drop(first);
    assert_eq!(fixture.report().await, "closed 1006");
    fixture.client().await;
}

#[tokio::test]
async fn a_full_worker_does_not_ask_who_it_is_that_it_refuses() {
    let mut fixture = Fixture::with(|config| config.max_connections_per_worker = 1);
    let mut inside = fixture.client().await;
    // Whoever is asked waits at the gate, which stays shut.
    let head = Client::raw(fixture.address(), handshake("/ws?wait").as_bytes()).await.head().await;
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    inside.send_text("!note nothing was reported before").await;
    assert_eq!(fixture.report().await, "nothing was reported before");
}

#[tokio::test]
async fn a_worker_that_became_full_while_somebody_was_let_in_refuses_them() {
    let mut fixture = Fixture::with(|config| config.max_connections_per_worker = 2);
    let _inside = fixture.client().await;
    let mut coming = Client::raw(fixture.address(), handshake("/ws?wait").as_bytes()).await;
    assert_eq!(fixture.report().await, "somebody waits");
    let _faster = fixture.client().await;
    fixture.gate.add_permits(1);
    assert!(coming.head().await.starts_with("HTTP/1.1 503 "));
    let problem = coming.rest().await;
    assert!(problem.contains(r#""code":"overloaded""#), "{problem}");
    assert_eq!(fixture.server.counters().totals().connections, 2);
}

#[tokio::test]
async fn plain_http_shares_the_listener_and_the_workers_state() {
    let fixture = Fixture::start();
    let _client = fixture.client().await;
    let request = b"GET /count HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    let mut client = Client::raw(fixture.address(), request).await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 "));
    assert_eq!(client.rest().await, "1");
}

#[tokio::test]
async fn frames_sent_right_behind_the_handshake_are_not_lost() {
    let fixture = Fixture::start();
    let mut bytes = handshake("/ws?hello").into_bytes();
    bytes.extend(frame(TEXT, b"one"));
    bytes.extend(frame(TEXT, b"two"));
    let split = bytes.len() - 3;
    let mut client = Client::raw(fixture.address(), &bytes[..split]).await;
    assert!(client.head().await.starts_with("HTTP/1.1 101 "));
    assert_eq!(client.text().await, "hello", "what the session sends on opening comes first");
    assert_eq!(client.text().await, "one");
    client.send(&bytes[split..]).await;
    assert_eq!(client.text().await, "two");
}

#[tokio::test]
async fn a_request_pipelined_before_the_handshake_gets_its_answer_first() {
    let fixture = Fixture::start();
    let bytes = format!("GET /count HTTP/1.1\r\nHost: test\r\n\r\n{}", handshake("/ws"));
    let mut client = Client::raw(fixture.address(), bytes.as_bytes()).await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 "));
    assert!(client.head().await.contains("HTTP/1.1 101 "), "the count's body, then the upgrade");
    client.send_text("hello").await;
    assert_eq!(client.text().await, "hello");
}

#[tokio::test]
async fn a_foreign_client_library_gets_along_with_it() {
    use futures_util::{SinkExt as _, StreamExt as _};

    let mut fixture = Fixture::with(|config| config.accept_binary = true);
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
    assert_eq!(fixture.report().await, "closed 1005");
}
