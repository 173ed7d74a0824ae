//! Engine.IO 4 as its protocol page describes it, against the example that echoes: handshake, messages, heartbeats,
//! close and upgrade, over long polling and WebSocket.

use std::time::Duration;

use crate::example_server::{
    self, ExampleServer, MAX_PAYLOAD_BYTES, PING_INTERVAL, PING_TIMEOUT, next, next_but_ping, until_closed,
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
        "upgrades": upgrades, "maxPayload": MAX_PAYLOAD_BYTES,
        "pingInterval": PING_INTERVAL.as_millis(), "pingTimeout": PING_TIMEOUT.as_millis(),
    })
}

fn ensure_handshake(mut content: Value, upgrades: &[&str]) -> Result<()> {
    let sid = content.as_object_mut().and_then(|fields| fields.remove("sid"));
    ensure!(sid.as_ref().is_some_and(Value::is_string), "{sid:?} in {content}");
    ensure!(content == expected_handshake(upgrades), "{content}");
    Ok(())
}

fn ensure_refused(answer: &EngineAnswer, status: u16, code: u64) -> Result<()> {
    ensure!(answer.status == status && answer.code() == Some(code), "not {status} {code}: {answer:?}");
    ensure!(answer.content_type.starts_with("application/json"), "{answer:?}");
    Ok(())
}

/// Asserts that the session is not known any more.
async fn ensure_gone(polling: &EnginePolling) -> Result<()> {
    ensure_refused(&polling.get().await?, 400, 1)
}

#[tokio::test]
async fn polling_handshake_names_session_and_heartbeats() -> Result<()> {
    check(async |server| {
        let answer = EngineAnswer::of(Method::GET, &server.url("EIO=4&transport=polling"), &[]).await?;
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
            let answer = EngineAnswer::of(method.clone(), &server.url(query), &[]).await?;
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
        let answer = EngineAnswer::of(Method::GET, &url, &origin).await?;
        ensure!(answer.allowed_origin.as_deref() == Some("https://chat.example"), "{answer:?}");
        let preflight = [origin[0], ("access-control-request-method", "POST")];
        let answer = EngineAnswer::of(Method::OPTIONS, &url, &preflight).await?;
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

#[tokio::test]
async fn answered_pings_keep_a_polling_session() -> Result<()> {
    check(async |server| {
        let polling = EnginePolling::open(&server.base).await?;
        for _ in 0..3 {
            let polled = polling.get().await?;
            ensure!((polled.status, polled.body.as_str()) == (200, "2"), "{polled:?}");
            let posted = polling.post("3").await?;
            ensure!(posted.status == 200, "{posted:?}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn silent_polling_session_is_closed() -> Result<()> {
    check(async |server| {
        let polling = EnginePolling::open(&server.base).await?;
        tokio::time::sleep(PING_INTERVAL + PING_TIMEOUT).await;
        ensure_gone(&polling).await
    })
    .await
}

#[tokio::test]
async fn answered_pings_keep_a_websocket() -> Result<()> {
    check(async |server| {
        let mut socket = server.socket().await?;
        for _ in 0..3 {
            let ping = next(&mut socket).await?;
            ensure!(ping.text() == "2", "{ping:?}");
            socket.send("3").await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn silent_websocket_is_closed() -> Result<()> {
    check(async |server| {
        let mut socket = server.socket().await?;
        let ping = next(&mut socket).await?;
        ensure!(ping.text() == "2", "{ping:?}");
        until_closed(&mut socket).await
    })
    .await
}

#[tokio::test]
async fn close_packet_ends_the_waiting_poll_with_noop() -> Result<()> {
    check(async |server| {
        let polling = EnginePolling::open(&server.base).await?;
        let closing = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            polling.post("1").await
        };
        let (polled, posted) = tokio::try_join!(polling.get(), closing)?;
        ensure!((polled.status, polled.body.as_str()) == (200, "6"), "{polled:?}");
        ensure!(posted.status == 200, "{posted:?}");
        ensure_gone(&polling).await
    })
    .await
}

#[tokio::test]
async fn close_packet_ends_the_websocket() -> Result<()> {
    check(async |server| {
        let mut socket = server.socket().await?;
        socket.send("1").await?;
        until_closed(&mut socket).await
    })
    .await
}

/// Opens the WebSocket of a session, and probes it.
async fn probed(polling: &EnginePolling) -> Result<EngineSocket> {
    let mut socket = EngineSocket::open(&polling.socket_url()).await?;
    socket.send("2probe").await?;
    let probe = next_but_ping(&mut socket).await?;
    ensure!(probe.text() == "3probe", "{probe:?}");
    Ok(socket)
}

async fn ensure_echo(socket: &mut EngineSocket, text: &str) -> Result<()> {
    socket.send(text).await?;
    loop {
        let echoed = next_but_ping(socket).await?;
        // The packet that would have ended a waiting poll may come on the WebSocket.
        if echoed.text() != "6" {
            ensure!(echoed.text() == text, "{echoed:?}");
            return Ok(());
        }
    }
}

#[tokio::test]
async fn upgrade_ends_polls_with_noop_and_moves_the_session() -> Result<()> {
    check(async |server| {
        let polling = EnginePolling::open(&server.base).await?;
        let mut socket = probed(&polling).await?;
        let polled = polling.get().await?;
        ensure!((polled.status, polled.body.as_str()) == (200, "6"), "{polled:?}");
        socket.send("5").await?;
        ensure_echo(&mut socket, "4hello").await?;
        ensure_gone(&polling).await?;
        ensure!(polling.post("4hello").await?.status == 400, "a poll of an upgraded session was accepted");
        ensure_echo(&mut socket, "4again").await
    })
    .await
}

#[tokio::test]
async fn packets_queued_before_the_upgrade_follow_on_the_websocket() -> Result<()> {
    check(async |server| {
        let polling = EnginePolling::open(&server.base).await?;
        ensure!(polling.post("4one\x1e4two\x1ebAQID").await?.status == 200);
        let mut socket = probed(&polling).await?;
        socket.send("5").await?;
        socket.send("4three").await?;
        let mut echoed = Vec::new();
        while echoed.len() < 4 {
            match next_but_ping(&mut socket).await? {
                EngineMessage::Text(packet) if packet == "6" => {}
                EngineMessage::Closed(closed) => bail!("{closed} after {echoed:?}"),
                packet => echoed.push(packet),
            }
        }
        let text = |text: &str| EngineMessage::Text(text.to_owned());
        let binary = EngineMessage::Binary(vec![1, 2, 3]);
        ensure!(echoed == [text("4one"), text("4two"), binary, text("4three")], "{echoed:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn second_websocket_of_a_session_is_closed() -> Result<()> {
    check(async |server| {
        let polling = EnginePolling::open(&server.base).await?;
        let mut socket = probed(&polling).await?;
        socket.send("5").await?;
        ensure_echo(&mut socket, "4hello").await?;
        // The handshake is refused, or the WebSocket is closed.
        if let Ok(mut second) = EngineSocket::open(&polling.socket_url()).await {
            until_closed(&mut second).await?;
        }
        ensure_echo(&mut socket, "4again").await
    })
    .await
}

#[tokio::test]
async fn failed_probe_leaves_the_polling_session_open() -> Result<()> {
    check(async |server| {
        let polling = EnginePolling::open(&server.base).await?;
        let mut socket = EngineSocket::open(&polling.socket_url()).await?;
        socket.send("4hello").await?;
        until_closed(&mut socket).await?;
        ensure!(polling.post("4polled").await?.status == 200);
        let polled = polling.get().await?;
        ensure!(polled.packets().any(|packet| packet == "4polled"), "{polled:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn unfinished_upgrade_closes_only_its_websocket() -> Result<()> {
    check(async |server| {
        let polling = EnginePolling::open(&server.base).await?;
        let mut socket = probed(&polling).await?;
        let answering = async {
            // Keeps the session alive while the upgrade is not finished.
            for _ in 0..8 {
                let polled = polling.get().await?;
                ensure!(polled.status == 200, "{polled:?}");
                if polled.packets().any(|packet| packet == "2") {
                    polling.post("3").await?;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            anyhow::Ok(())
        };
        tokio::try_join!(until_closed(&mut socket), answering)?;
        ensure!(polling.post("4polled").await?.status == 200);
        Ok(())
    })
    .await
}
