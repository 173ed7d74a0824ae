//! Engine.IO sessions that move from HTTP long polling to a WebSocket. The requests and the WebSocket of a session reach
//! different workers.

use std::time::Duration;

use crate::{
    client::{PING, PONG, TEXT, frame},
    engine_client::{Answer, PollingClient, with_engine},
    server::Fixture,
};

#[tokio::test]
async fn upgraded_session_uses_only_its_websocket() {
    let mut fixture = Fixture::start_with(with_engine);
    for _ in 0..6 {
        let client = PollingClient::open(&fixture).await;
        let mut socket = client.upgrade().await;
        client.expect_gone().await;
        let mut second = client.websocket().await;
        assert_eq!(second.close_code().await, 1000);
        second.expect_end().await;
        socket.send_text("4hello").await;
        assert_eq!(socket.next_text().await, "4hello");
        drop(socket);
        assert_eq!(fixture.next_report().await, "closed 1006");
    }
    let totals = fixture.server.counters().totals();
    assert_eq!((totals.opened, totals.engine_polling_opened, totals.engine_upgrades), (6, 6, 6));
    assert_eq!((totals.connections, totals.engine_polling, totals.engine_websocket), (0, 0, 0));
}

#[tokio::test]
async fn waiting_poll_is_answered_when_probe_succeeds() {
    let fixture = Fixture::start_with(with_engine);
    let client = PollingClient::open(&fixture).await;
    let waiting = client.begin_poll().await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut socket = client.websocket().await;
    socket.send_text("2probe").await;
    assert_eq!(socket.next_text().await, "3probe");
    assert_eq!(Answer::read(waiting).await.parts(), (200, "6"));
    assert_eq!(client.receive().await, "6", "a later poll does not wait either");
    client.send("4posted during the upgrade").await;
    socket.send_text("5").await;
    assert_eq!(
        socket.next_text().await,
        "4posted during the upgrade",
        "queued packets follow on the WebSocket"
    );
}

#[tokio::test]
async fn frames_behind_upgrade_packet_are_not_lost() {
    let fixture = Fixture::start_with(with_engine);
    let client = PollingClient::open(&fixture).await;
    let mut socket = client.websocket().await;
    let probe = [frame(PING, b"x"), frame(TEXT, b"2probe")].concat();
    let (head, tail) = probe.split_at(9);
    socket.send(head).await;
    socket.send(tail).await;
    assert_eq!(socket.next().await, Some((PONG, b"x".to_vec())));
    assert_eq!(socket.next_text().await, "3probe");
    let bytes = [frame(TEXT, b"5"), frame(TEXT, b"4one"), frame(TEXT, b"4two")].concat();
    let split = bytes.len() - 3;
    socket.send(&bytes[..split]).await;
    assert_eq!(socket.next_text().await, "4one");
    socket.send(&bytes[split..]).await;
    assert_eq!(socket.next_text().await, "4two");
}

#[tokio::test]
async fn failed_upgrade_leaves_session_polling() {
    let fixture = Fixture::start_with(with_engine);
    let client = PollingClient::open(&fixture).await;
    for first in ["abc", "5", "2", "4hello"] {
        let mut socket = client.websocket().await;
        socket.send_text(first).await;
        assert_eq!(socket.close_code().await, 1000, "{first}");
        socket.expect_end().await;
    }
    let mut probed = client.websocket().await;
    probed.send_text("2probe").await;
    assert_eq!(probed.next_text().await, "3probe");
    let mut second = client.websocket().await;
    assert_eq!(second.close_code().await, 1000, "one upgrade at a time");
    probed.send_text("4hello").await;
    assert_eq!(probed.close_code().await, 1000);
    client.send("4still polling").await;
    assert_eq!(client.receive().await, "4still polling");
    client.upgrade().await;
}

#[tokio::test]
async fn upgrade_that_is_not_completed_in_time_is_closed() {
    let fixture = Fixture::start_with(|config| {
        with_engine(config);
        config.engine.as_mut().unwrap().ping_timeout = Duration::from_secs(1);
    });
    let client = PollingClient::open(&fixture).await;
    let mut socket = client.websocket().await;
    assert_eq!(socket.close_code().await, 1000);
    client.send("4hello").await;
    assert_eq!(client.receive().await, "4hello");
}

#[tokio::test]
async fn session_that_closes_during_upgrade_is_not_moved() {
    let mut fixture = Fixture::start_with(with_engine);
    let client = PollingClient::open(&fixture).await;
    let mut socket = client.websocket().await;
    client.send("1").await;
    assert_eq!(fixture.next_report().await, "closed 1005");
    socket.send_text("2probe").await;
    assert_eq!(socket.close_code().await, 1000);
}
