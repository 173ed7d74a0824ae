//! Engine.IO 4 as its protocol page describes it, against the example that echoes: handshake and messages, over long
//! polling and WebSocket.

use std::time::Duration;

use crate::example_server::{
    self, ExampleServer, MAX_PAYLOAD_BYTES, ensure_gone, ensure_refused, next, next_but_ping, until_closed,
};
use anyhow::{Result, bail, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use tidings_harness::ClientError;
use tidings_harness::engine_io::{EngineAnswer, EngineMessage, EnginePolling, EngineSocket};

async fn check(behaviour: impl AsyncFn(&ExampleServer) -> Result<()>) -> Result<()> {
    example_server::check("engineio_echo", "/engine.io/", behaviour).await
}

/// The content of the open packet without the id of the session.
fn expected_handshake(upgrades: &[&str]) -> Value {
    json!({
        "upgrades": upgrades, "pingInterval": 300, "pingTimeout": 200, "maxPayload": MAX_PAYLOAD_BYTES,
    })
}

fn ensure_handshake(mut content: Value, upgrades: &[&str]) -> Result<()> {
    let sid = content.as_object_mut().and_then(|fields| fields.remove("sid"));
    ensure!(sid.as_ref().is_some_and(Value::is_string), "{sid:?} in {content}");
    ensure!(content == expected_handshake(upgrades), "{content}");
    Ok(())
}

#[tokio::test]
async fn polling_handshake_names_session_and_heartbeats() -> Result<()> {
    check(async |server| {
        let answer = EngineAnswer::fetch(Method::GET, &server.url("EIO=4&transport=polling"), &[]).await?;
        ensure!(answer.status == 200, "{answer:?}");
        ensure!(answer.content_type.eq_ignore_ascii_case("text/plain; charset=UTF-8"), "{answer:?}");
        ensure_handshake(EnginePolling::open(&server.base).await?.handshake, &["websocket"])
    })
    .await
}

#[tokio::test]
async fn path_without_slash_opens_a_session() -> Result<()> {
    check(async |server| {
        EnginePolling::open(server.base.trim_end_matches('/')).await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn wrong_handshake_requests_are_refused_with_codes() -> Result<()> {
    check(async |server| {
        for (method, query, code) in [
            (Method::GET, "transport=polling", 5),
            (Method::GET, "EIO=abc&transport=polling", 5),
            (Method::GET, "EIO=3&transport=polling", 5),
            (Method::GET, "EIO=4", 0),
            (Method::GET, "EIO=4&transport=abc", 0),
            (Method::POST, "EIO=4&transport=polling", 2),
            (Method::PUT, "EIO=4&transport=polling", 2),
            (Method::GET, "EIO=4&transport=polling&sid=abc", 1),
            (Method::POST, "EIO=4&transport=polling&sid=abc", 1),
        ] {
            let answer = EngineAnswer::fetch(method.clone(), &server.url(query), &[]).await?;
            ensure_refused(&answer, 400, code).map_err(|error| error.context(format!("{method} {query}")))?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn wrong_websocket_handshakes_are_refused_over_http() -> Result<()> {
    check(async |server| {
        for (query, code) in [
            ("transport=websocket", 5),
            ("EIO=abc&transport=websocket", 5),
            ("EIO=4", 0),
            ("EIO=4&transport=abc", 0),
            ("EIO=4&transport=websocket&sid=abc", 1),
        ] {
            match EngineSocket::open(&server.socket_url(query)).await {
                Err(ClientError::Refused { status: 400, body, .. }) if body["code"] == code => {}
                Err(error) => bail!("{query}: {error}"),
                Ok(_) => bail!("{query} was accepted"),
            }
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn changed_session_id_is_unknown() -> Result<()> {
    check(async |server| {
        let polling = EnginePolling::open(&server.base).await?;
        let ids = (0..polling.sid.len()).map(|at| {
            let other = if polling.sid.as_bytes()[at] == b'A' { "B" } else { "A" };
            format!("{}{other}{}", &polling.sid[..at], &polling.sid[at + 1..])
        });
        for sid in ids {
            let changed = polling.with_sid(sid);
            ensure_refused(&changed.post("4hello").await?, 400, 1)?;
        }
        ensure!(polling.post("4hello").await?.status == 200, "the session is gone");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn origin_is_allowed_with_credentials() -> Result<()> {
    check(async |server| {
        let origin = [("origin", "https://chat.example")];
        let url = server.url("EIO=4&transport=polling");
        let answer = EngineAnswer::fetch(Method::GET, &url, &origin).await?;
        ensure!(answer.allowed_origin.as_deref() == Some("https://chat.example"), "{answer:?}");
        let preflight = [origin[0], ("access-control-request-method", "POST")];
        let answer = EngineAnswer::fetch(Method::OPTIONS, &url, &preflight).await?;
        ensure!((200..300).contains(&answer.status), "{answer:?}");
        ensure!(answer.allowed_origin.as_deref() == Some("https://chat.example"), "{answer:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn websocket_handshake_names_session_without_upgrades() -> Result<()> {
    check(async |server| {
        let mut socket = EngineSocket::open(&server.socket_url("EIO=4&transport=websocket")).await?;
        let open = next(&mut socket).await?;
        ensure!(open.text().starts_with('0'), "{open:?}");
        ensure_handshake(serde_json::from_str(&open.text()[1..])?, &[])
    })
    .await
}

#[tokio::test]
async fn polled_packets_are_echoed_in_one_payload() -> Result<()> {
    check(async |server| {
        for payload in ["4hello", "4test1\x1e4test2\x1e4test3", "4hello\x1ebAQIDBA==", "4€\x1e4🙂"] {
            let polling = EnginePolling::open(&server.base).await?;
            let posted = polling.post(payload).await?;
            ensure!((posted.status, posted.body.as_str()) == (200, "ok"), "{posted:?}");
            let polled = polling.get().await?;
            ensure!((polled.status, polled.body.as_str()) == (200, payload), "{polled:?}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn waiting_poll_is_answered_by_the_next_packet() -> Result<()> {
    check(async |server| {
        let polling = EnginePolling::open(&server.base).await?;
        let posting = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            polling.post("4late").await
        };
        let (polled, posted) = tokio::try_join!(polling.get(), posting)?;
        ensure!(posted.status == 200 && polled.body == "4late", "{posted:?} {polled:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn payload_above_the_limit_is_refused_with_413() -> Result<()> {
    check(async |server| {
        let polling = EnginePolling::open(&server.base).await?;
        let largest = format!("4{}", "a".repeat(MAX_PAYLOAD_BYTES - 1));
        let posted = polling.post(&largest).await?;
        ensure!(posted.status == 200, "{} {}", posted.status, posted.body);
        ensure!(polling.get().await?.body == largest, "another echo");
        let polling = EnginePolling::open(&server.base).await?;
        match polling.post(&format!("{largest}a")).await {
            Ok(answer) => ensure!(answer.status == 413, "{answer:?}"),
            // The server may close the connection before it has read the whole body.
            Err(error) => ensure!(error.to_string().contains("error sending request"), "{error:#}"),
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn malformed_polled_packet_closes_the_session() -> Result<()> {
    check(async |server| {
        for payload in ["abc", "", "4hello\x1e", "b?", "9"] {
            let polling = EnginePolling::open(&server.base).await?;
            let posted = polling.post(payload).await?;
            ensure!(posted.status == 400, "{payload:?}: {posted:?}");
            ensure_gone(&polling).await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn second_parallel_poll_closes_the_session() -> Result<()> {
    check(async |server| {
        let polling = EnginePolling::open(&server.base).await?;
        let second = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            polling.get().await
        };
        let (first, second) = tokio::try_join!(polling.get(), second)?;
        ensure!((first.status, first.body.as_str()) == (200, "1"), "{first:?}");
        ensure!(second.status == 400, "{second:?}");
        ensure_gone(&polling).await
    })
    .await
}

#[tokio::test]
async fn cancelled_poll_closes_the_session() -> Result<()> {
    check(async |server| {
        let polling = EnginePolling::open(&server.base).await?;
        let cancelled = tokio::time::timeout(Duration::from_millis(100), polling.get()).await;
        ensure!(cancelled.is_err(), "{cancelled:?}");
        // The server sees the end of the connection a moment later.
        tokio::time::sleep(Duration::from_millis(100)).await;
        ensure_gone(&polling).await
    })
    .await
}

#[tokio::test]
async fn websocket_echoes_text_and_binary() -> Result<()> {
    check(async |server| {
        let mut socket = server.socket().await?;
        for text in ["4hello", "4", "4€🙂"] {
            socket.send(text).await?;
            let echoed = next_but_ping(&mut socket).await?;
            ensure!(echoed.text() == text, "{echoed:?}");
        }
        socket.send_binary(&[1, 2, 3, 4]).await?;
        let echoed = next_but_ping(&mut socket).await?;
        ensure!(echoed == EngineMessage::Binary(vec![1, 2, 3, 4]), "{echoed:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn malformed_websocket_packet_closes_the_session() -> Result<()> {
    check(async |server| {
        for packet in ["abc", "", "9"] {
            let mut socket = server.socket().await?;
            socket.send(packet).await?;
            until_closed(&mut socket).await?;
        }
        Ok(())
    })
    .await
}
