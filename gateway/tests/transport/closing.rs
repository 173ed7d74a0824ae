//! Tests how connections end: closed by either side, by an error, by a stop or by a drain.

use std::{sync::Arc, time::Duration};

use crate::{
    client::{CLOSE, Client, TEXT, frame, handshake, within_timeout},
    server::Fixture,
};

// Covers: 1000.
#[tokio::test]
async fn close_of_peer_is_echoed_and_ends_stream() {
    let mut fixture = Fixture::start();
    let mut client = fixture.client().await;
    let bytes = [frame(CLOSE, b"\x0F\xA1bye"), frame(TEXT, b"!note this is dropped")].concat();
    client.send(&bytes).await;
    assert_eq!(client.next().await, Some((CLOSE, 4001u16.to_be_bytes().to_vec())));
    assert_eq!(client.next().await, None);
    assert_eq!(fixture.next_report().await, "closed 4001");
    drop(client);
    let (counters, reports) = fixture.stop().await;
    assert_eq!(reports, Vec::<String>::new(), "on_closed is called once, and nothing after it");
    assert_eq!(counters.totals().connections, 0);
}

#[tokio::test]
async fn close_without_code_is_echoed_without_code() {
    let mut fixture = Fixture::start();
    let mut client = fixture.client().await;
    client.send(&frame(CLOSE, b"")).await;
    assert_eq!(client.next().await, Some((CLOSE, vec![])));
    assert_eq!(fixture.next_report().await, "closed 1005");
}

#[tokio::test]
async fn close_follows_queued_frames_and_waits_for_answer() {
    let mut fixture = Fixture::start();
    let mut client = fixture.client().await;
    client.send_text("!close 4403").await;
    for number in 1..=3 {
        assert_eq!(client.next_text().await, format!("last {number}"));
    }
    assert_eq!(client.next().await, Some((CLOSE, b"\x11\x33as requested".to_vec())));
    assert_eq!(fixture.next_report().await, "closed 4403");
    // A message that the peer sent before it saw the close frame is dropped.
    client.send_text("!note this is dropped").await;
    client.send(&frame(CLOSE, &4403u16.to_be_bytes())).await;
    client.expect_end().await;
    let (_, reports) = fixture.stop().await;
    assert_eq!(reports, Vec::<String>::new());
}

#[tokio::test]
async fn unanswered_close_drops_peer_after_timeout() {
    let fixture = Fixture::start_with(|config| config.close_timeout = Duration::from_millis(500));
    let mut client = fixture.client().await;
    client.send_text("!close 4403").await;
    assert_eq!(client.close_code().await, 4403);
    client.expect_end().await;
    let (counters, _) = fixture.stop().await;
    assert_eq!(counters.totals().closes.get(&4403), Some(&1));
}

#[tokio::test]
async fn lost_peer_is_reported_as_1006() {
    let mut fixture = Fixture::start();
    drop(fixture.client().await);
    assert_eq!(fixture.next_report().await, "closed 1006");
}

#[tokio::test]
async fn panicking_session_ends_only_its_own_connection() {
    let mut fixture = Fixture::start();
    let mut other = fixture.client().await;
    let mut client = fixture.client().await;
    client.send_text("!panic").await;
    client.expect_end().await;
    assert_eq!(fixture.next_report().await, "closed 1011");
    other.send_text("still here").await;
    assert_eq!(other.next_text().await, "still here");
    drop(other);
    let (counters, _) = fixture.stop().await;
    assert_eq!(counters.totals().connections, 0);
}

// Covers: 1012.
#[tokio::test]
async fn stop_closes_all_connections_with_given_code() {
    let fixture = Fixture::start();
    let address = fixture.address();
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(fixture.client().await);
    }
    let keep_alive = Client::connect_and_send(address, b"GET /count HTTP/1.1\r\nHost: test\r\n\r\n").await;
    let stop = tokio::spawn(fixture.stop());
    for client in &mut clients {
        assert_eq!(client.close_code().await, 1001);
        client.send(&frame(CLOSE, &1001u16.to_be_bytes())).await;
        client.expect_end().await;
    }
    let (counters, reports) = stop.await.unwrap();
    drop(keep_alive);
    assert_eq!(reports, vec!["closed 1001"; 20]);
    assert_eq!(counters.totals().closes.get(&1001), Some(&20));
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "the server does not listen any more");
}

#[tokio::test]
async fn stop_ends_after_its_wait_and_opens_nothing() {
    let fixture = Fixture::start_with(|config| config.close_timeout = Duration::from_secs(600));
    let address = fixture.address();
    let mut silent = fixture.client().await;
    let stop = tokio::spawn(fixture.server.stop(1012, "restart", Duration::from_secs(2)));
    assert_eq!(silent.close_code().await, 1012);
    let head = Client::connect_and_send(address, handshake("/ws").as_bytes()).await.read_head().await;
    assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("\r\nretry-after: 1\r\n"), "{head}");
    within_timeout("the stop", stop).await.unwrap().unwrap();
}

#[tokio::test]
async fn handshake_in_progress_is_refused_when_stop_begins() {
    let mut fixture = Fixture::start();
    let mut open = fixture.client().await;
    let mut waiting = Client::connect_and_send(fixture.address(), handshake("/ws?wait").as_bytes()).await;
    assert_eq!(fixture.next_report().await, "handshake waits");
    let gate = Arc::clone(&fixture.gate);
    let stop = tokio::spawn(fixture.stop());
    assert_eq!(open.close_code().await, 1001);
    gate.add_permits(1);
    let head = waiting.read_head().await;
    assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("\r\nretry-after: 1\r\n"), "{head}");
    let problem = waiting.read_rest().await;
    assert!(problem.contains(r#""code":"unavailable""#), "{problem}");
    drop((open, waiting));
    let (counters, _) = stop.await.unwrap();
    assert_eq!(counters.totals().opened, 1);
}

#[tokio::test]
async fn drain_notifies_all_and_requests_close_of_those_who_stay() {
    let fixture = Fixture::start_with(|config| config.workers = 2);
    let counters = Arc::clone(fixture.server.counters());
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(fixture.client().await);
    }
    clients[3].send_text("!owe").await;
    clients[3].send_text("noted").await;
    assert_eq!(clients[3].next_text().await, "noted");
    let (address, server) = (fixture.address(), fixture.server);
    let stop = tokio::spawn(async move {
        server.drain(Duration::from_secs(5)).await;
        server.stop(1001, "the drain time is over", Duration::from_secs(60)).await
    });
    let mut delays = Vec::new();
    for client in &mut clients {
        let text = client.next_text().await;
        delays.push(text.strip_prefix("leave after ").unwrap().parse::<i64>().unwrap());
    }
    delays.sort_unstable();
    // The connections leave within 4 of the 5 seconds, each in the middle of its quarter of the 4 seconds.
    let apart: Vec<i64> = delays.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(apart.iter().all(|apart| (500..=1500).contains(apart)), "{delays:?}");
    let head = Client::connect_and_send(address, handshake("/ws").as_bytes()).await.read_head().await;
    assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("\r\nretry-after: 1\r\n"), "{head}");
    // Until the end the connection is served as before.
    clients[3].send_text("still here").await;
    assert_eq!(clients[3].next_text().await, "still here");
    for (client, code) in clients.iter_mut().zip([1012, 1012, 1012, 1001]) {
        assert_eq!(client.close_code().await, code);
        client.send(&frame(CLOSE, &code.to_be_bytes())).await;
    }
    within_timeout("the stop", stop).await.unwrap().unwrap();
    let totals = counters.totals();
    assert_eq!((totals.drain_notified, totals.drain_overstayed, totals.drain_cut), (4, 4, 1));
    assert_eq!((totals.closes.get(&1012), totals.closes.get(&1001)), (Some(&3), Some(&1)));
}
