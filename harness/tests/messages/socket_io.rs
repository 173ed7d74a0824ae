//! Socket.IO 5 as its protocol page describes it, against the example that echoes: namespaces, events, acks, binary
//! attachments, and packets that break the rules.

use std::time::Duration;

use crate::example_server::{self, ExampleServer, next_but_ping, until_closed};
use anyhow::{Result, ensure};
use rstest::rstest;
use serde_json::Value;
use tidings_harness::engine_io::{EngineMessage, EnginePolling, EngineSocket};

/// Much longer than the example waits for the first namespace.
const WAIT_TIMEOUT: Duration = Duration::from_secs(20);

async fn check(behaviour: impl AsyncFn(&ExampleServer) -> Result<()>) -> Result<()> {
    example_server::check("socketio_echo", "/socket.io/", behaviour).await
}

async fn ensure_next(socket: &mut EngineSocket, expected: &str) -> Result<()> {
    let packet = next_but_ping(socket).await?;
    ensure!(packet.text() == expected, "{packet:?} in place of {expected}");
    Ok(())
}

/// Reads the answer to a connect: the text in front of its content, and an object with only a `sid`.
async fn ensure_connected(socket: &mut EngineSocket, before: &str) -> Result<()> {
    let packet = next_but_ping(socket).await?;
    let content = packet.text().strip_prefix(before).unwrap_or_default();
    let content: Value = serde_json::from_str(content).unwrap_or_default();
    let fields = content.as_object().map_or(0, serde_json::Map::len);
    ensure!(fields == 1 && content["sid"].is_string(), "{packet:?}");
    Ok(())
}

/// A WebSocket whose main namespace is connected.
async fn connected(server: &ExampleServer) -> Result<EngineSocket> {
    let mut socket = server.socket().await?;
    socket.send("40").await?;
    ensure_connected(&mut socket, "40").await?;
    ensure_next(&mut socket, r#"42["auth",{}]"#).await?;
    Ok(socket)
}

#[rstest]
#[case("40", "40", r#"42["auth",{}]"#)]
#[case(r#"40{"token":"123"}"#, "40", r#"42["auth",{"token":"123"}]"#)]
#[case("40/custom,", "40/custom,", r#"42/custom,["auth",{}]"#)]
#[case("40/custom", "40/custom,", r#"42/custom,["auth",{}]"#)]
#[case(r#"40/custom,{"token":"abc"}"#, "40/custom,", r#"42/custom,["auth",{"token":"abc"}]"#)]
#[tokio::test]
async fn namespace_connects_with_its_auth(
    #[case] connect: &str,
    #[case] before: &str,
    #[case] event: &str,
) -> Result<()> {
    check(async |server| {
        let mut socket = server.socket().await?;
        socket.send(connect).await?;
        ensure_connected(&mut socket, before).await?;
        ensure_next(&mut socket, event).await
    })
    .await
}

#[tokio::test]
async fn unknown_namespace_is_refused() -> Result<()> {
    check(async |server| {
        let mut socket = server.socket().await?;
        socket.send("40/random,").await?;
        ensure_next(&mut socket, r#"44/random,{"message":"Invalid namespace"}"#).await?;
        socket.send("40").await?;
        ensure_connected(&mut socket, "40").await
    })
    .await
}

#[rstest]
#[case("4abc")]
#[case("4")]
#[case("49")]
#[case("40{")]
#[tokio::test]
async fn malformed_first_packet_closes_the_connection(#[case] packet: &str) -> Result<()> {
    check(async |server| {
        let mut socket = server.socket().await?;
        socket.send(packet).await?;
        until_closed(&mut socket).await
    })
    .await
}

#[tokio::test]
async fn connection_without_namespace_is_closed() -> Result<()> {
    check(async |server| {
        let mut socket = server.socket().await?;
        let ended =
            async { while !matches!(socket.next_answering_pings().await, EngineMessage::Closed(_)) {} };
        Ok(tokio::time::timeout(WAIT_TIMEOUT, ended).await?)
    })
    .await
}

#[tokio::test]
async fn disconnected_namespace_leaves_the_connection_open() -> Result<()> {
    check(async |server| {
        let mut socket = connected(server).await?;
        socket.send("41").await?;
        let packet = example_server::next(&mut socket).await?;
        ensure!(packet.text() == "2", "{packet:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn namespaces_of_one_connection_are_independent() -> Result<()> {
    check(async |server| {
        let mut socket = connected(server).await?;
        socket.send("40/custom,").await?;
        ensure_connected(&mut socket, "40/custom,").await?;
        ensure_next(&mut socket, r#"42/custom,["auth",{}]"#).await?;
        socket.send(r#"42/custom,["message","to custom"]"#).await?;
        ensure_next(&mut socket, r#"42/custom,["message-back","to custom"]"#).await?;
        socket.send("41/custom,").await?;
        socket.send(r#"42["message","to main"]"#).await?;
        ensure_next(&mut socket, r#"42["message-back","to main"]"#).await
    })
    .await
}

#[rstest]
#[case(r#"42["message",1,"2",{"3":[true]}]"#, r#"42["message-back",1,"2",{"3":[true]}]"#)]
#[case(r#"42["message"]"#, r#"42["message-back"]"#)]
#[case(r#"42456["message-with-ack",1,"2",{"3":[false]}]"#, r#"43456[1,"2",{"3":[false]}]"#)]
#[case(r#"420["message-with-ack"]"#, "430[]")]
#[tokio::test]
async fn event_is_echoed_or_acked(#[case] event: &str, #[case] answer: &str) -> Result<()> {
    check(async |server| {
        let mut socket = connected(server).await?;
        socket.send(event).await?;
        ensure_next(&mut socket, answer).await
    })
    .await
}

const ATTACHMENTS: [&[u8]; 2] = [&[1, 2, 3], &[4, 5, 6]];

#[rstest]
#[case(
    r#"452-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#,
    r#"452-["message-back",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#
)]
#[case(
    r#"452-789["message-with-ack",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#,
    r#"462-789[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#
)]
#[tokio::test]
async fn binary_attachments_are_echoed_in_order(#[case] event: &str, #[case] answer: &str) -> Result<()> {
    check(async |server| {
        let mut socket = connected(server).await?;
        socket.send(event).await?;
        for attachment in ATTACHMENTS {
            socket.send_binary(attachment).await?;
        }
        ensure_next(&mut socket, answer).await?;
        for attachment in ATTACHMENTS {
            let packet = next_but_ping(&mut socket).await?;
            ensure!(packet == EngineMessage::Binary(attachment.to_vec()), "{packet:?}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn polling_carries_events_and_attachments() -> Result<()> {
    check(async |server| {
        let polling = EnginePolling::open(&server.base).await?;
        let event = r#"451-["message",{"_placeholder":true,"num":0}]"#;
        let posted = polling.post(&format!("40\x1e{event}\x1ebAQID")).await?;
        ensure!((posted.status, posted.body.as_str()) == (200, "ok"), "{posted:?}");
        let mut packets = Vec::new();
        while packets.len() < 4 {
            let polled = polling.get().await?;
            ensure!(polled.status == 200, "{polled:?} after {packets:?}");
            packets.extend(polled.packets().filter(|packet| *packet != "2").map(ToOwned::to_owned));
        }
        ensure!(packets[0].starts_with(r#"40{"sid":"#), "{packets:?}");
        let echoed = [r#"42["auth",{}]"#, r#"451-["message-back",{"_placeholder":true,"num":0}]"#, "bAQID"];
        ensure!(packets[1..] == echoed, "{packets:?}");
        Ok(())
    })
    .await
}

#[rstest]
#[case::packet_type("49")]
#[case::payload("42{}")]
#[case::empty_payload("42[]")]
#[case::ack_id(r#"42abc["message-with-ack",1,"2",{"3":[false]}]"#)]
#[case::json(r#"42["message""#)]
#[tokio::test]
async fn malformed_packet_closes_the_connection(#[case] packet: &str) -> Result<()> {
    check(async |server| {
        let mut socket = connected(server).await?;
        socket.send(packet).await?;
        until_closed(&mut socket).await
    })
    .await
}

#[tokio::test]
async fn text_in_place_of_an_attachment_closes_the_connection() -> Result<()> {
    check(async |server| {
        let mut socket = connected(server).await?;
        socket.send(r#"451-["message",{"_placeholder":true,"num":0}]"#).await?;
        socket.send(r#"42["message"]"#).await?;
        let packet = next_but_ping(&mut socket).await?;
        ensure!(matches!(packet, EngineMessage::Closed(_)), "{packet:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn unannounced_attachment_closes_the_connection() -> Result<()> {
    check(async |server| {
        let mut socket = connected(server).await?;
        socket.send_binary(&[1, 2, 3]).await?;
        until_closed(&mut socket).await
    })
    .await
}
