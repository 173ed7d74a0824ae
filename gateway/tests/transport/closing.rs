//! How connections end: by either side, by accident, by a stop.

use std::{sync::Arc, time::Duration};

use crate::{
    client::{CLOSE, Client, TEXT, frame, handshake, patiently},
    server::Fixture,
};

// Covers: 1000.
#[tokio::test]
async fn a_peers_close_is_echoed_and_the_stream_ended() {
    let mut fixture = Fixture::start();
    let mut client = fixture.client().await;
    let bytes = [frame(CLOSE, b"\x0F\xA1bye"), frame(TEXT, b"!note nobody hears this")].concat();
    client.send(&bytes).await;
    assert_eq!(client.next().await, Some((CLOSE, 4001u16.to_be_bytes().to_vec())));
    assert_eq!(client.next().await, None);
    assert_eq!(fixture.report().await, "closed 4001");
    drop(client);
    let (counters, reports) = fixture.stop().await;
    assert_eq!(reports, Vec::<String>::new(), "closed is told once, and nothing after it");
    assert_eq!(counters.totals().connections, 0);
}

#[tokio::test]
async fn a_close_without_a_code_is_echoed_without_one() {
    let mut fixture = Fixture::start();
    let mut client = fixture.client().await;
    client.send(&frame(CLOSE, b"")).await;
    assert_eq!(client.next().await, Some((CLOSE, vec![])));
    assert_eq!(fixture.report().await, "closed 1005");
}

#[tokio::test]
async fn our_close_comes_behind_what_is_queued_and_waits_for_the_answer() {
    let mut fixture = Fixture::start();
    let mut client = fixture.client().await;
    client.send_text("!close 4403").await;
    for number in 1..=3 {
        assert_eq!(client.text().await, format!("last {number}"));
    }
    assert_eq!(client.next().await, Some((CLOSE, b"\x11\x33as told".to_vec())));
    assert_eq!(fixture.report().await, "closed 4403");
    // What was under way when the peer had not yet seen our close is dropped.
    client.send_text("!note nobody hears this").await;
    client.send(&frame(CLOSE, &4403u16.to_be_bytes())).await;
    client.end().await;
    let (_, reports) = fixture.stop().await;
    assert_eq!(reports, Vec::<String>::new());
}

#[tokio::test]
async fn a_peer_that_does_not_answer_our_close_is_dropped_after_the_limit() {
    let fixture = Fixture::with(|config| config.close_timeout = Duration::from_millis(500));
    let mut client = fixture.client().await;
    client.send_text("!close 4403").await;
    assert_eq!(client.close_code().await, 4403);
    client.end().await;
    let (counters, _) = fixture.stop().await;
    assert_eq!(counters.totals().closes.get(&4403), Some(&1));
}

#[tokio::test]
async fn a_peer_that_vanishes_is_told_as_1006() {
    let mut fixture = Fixture::start();
    drop(fixture.client().await);
    assert_eq!(fixture.report().await, "closed 1006");
}

#[tokio::test]
async fn a_session_that_panics_takes_only_its_own_connection_along() {
    let mut fixture = Fixture::start();
    let mut other = fixture.client().await;
    let mut client = fixture.client().await;
    client.send_text("!panic").await;
    client.end().await;
    assert_eq!(fixture.report().await, "closed 1011");
    other.send_text("still here").await;
    assert_eq!(other.text().await, "still here");
    drop(other);
    let (counters, _) = fixture.stop().await;
    assert_eq!(counters.totals().connections, 0);
}

// Covers: 1012.
#[tokio::test]
async fn a_stop_closes_everybody_with_the_given_code_and_ends() {
    let fixture = Fixture::start();
    let address = fixture.address();
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(fixture.client().await);
    }
    let keep_alive = Client::raw(address, b"GET /count HTTP/1.1\r\nHost: test\r\n\r\n").await;
    let stop = tokio::spawn(fixture.stop());
    for client in &mut clients {
        assert_eq!(client.close_code().await, 1001);
        client.send(&frame(CLOSE, &1001u16.to_be_bytes())).await;
        client.end().await;
    }
    let (counters, reports) = stop.await.unwrap();
    drop(keep_alive);
    assert_eq!(reports, vec!["closed 1001"; 20]);
    assert_eq!(counters.totals().closes.get(&1001), Some(&20));
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn a_stop_does_not_wait_longer_than_told_and_opens_nothing_new() {
    let fixture = Fixture::with(|config| config.close_timeout = Duration::from_secs(600));
    let address = fixture.address();
    let mut deaf = fixture.client().await;
    let stop = tokio::spawn(fixture.server.stop(1012, "restart", Duration::from_secs(2)));
    assert_eq!(deaf.close_code().await, 1012);
    let head = Client::raw(address, handshake("/ws").as_bytes()).await.head().await;
    assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("\r\nretry-after: 1\r\n"), "{head}");
    patiently("the stop", stop).await.unwrap().unwrap();
}

#[tokio::test]
async fn who_is_being_let_in_as_a_stop_begins_is_sent_away_as_from_a_node_that_stops() {
    let mut fixture = Fixture::start();
    let mut inside = fixture.client().await;
    let mut coming = Client::raw(fixture.address(), handshake("/ws?wait").as_bytes()).await;
    assert_eq!(fixture.report().await, "somebody waits");
    let gate = Arc::clone(&fixture.gate);
    let stop = tokio::spawn(fixture.stop());
    assert_eq!(inside.close_code().await, 1001);
    gate.add_permits(1);
    let head = coming.head().await;
    assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("\r\nretry-after: 1\r\n"), "{head}");
    let problem = coming.rest().await;
    assert!(problem.contains(r#""code":"unavailable""#), "{problem}");
    drop((inside, coming));
    let (counters, _) = stop.await.unwrap();
    assert_eq!(counters.totals().opened, 1);
}

#[tokio::test]
async fn a_drain_tells_everybody_when_to_leave_and_calls_upon_those_who_stay() {
    let fixture = Fixture::with(|config| config.workers = 2);
    let counters = Arc::clone(fixture.server.counters());
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(fixture.client().await);
    }
    clients[3].send_text("!owe").await;
    clients[3].send_text("noted").await;
    assert_eq!(clients[3].text().await, "noted");
    let (address, server) = (fixture.address(), fixture.server);
    let stop = tokio::spawn(async move {
        server.drain(Duration::from_secs(5)).await;
        server.stop(1001, "the time is up", Duration::from_secs(60)).await
    });
    let mut told = Vec::new();
    for client in &mut clients {
        let text = client.text().await;
        told.push(text.strip_prefix("leave after ").unwrap().parse::<i64>().unwrap());
    }
    told.sort_unstable();
    // Over four of five seconds, each in the middle of its quarter.
    let apart: Vec<i64> = told.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(apart.iter().all(|apart| (500..=1500).contains(apart)), "{told:?}");
    let head = Client::raw(address, handshake("/ws").as_bytes()).await.head().await;
    assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("\r\nretry-after: 1\r\n"), "{head}");
    // Until then all goes on as ever.
    clients[3].send_text("still here").await;
    assert_eq!(clients[3].text().await, "still here");
    for (client, code) in clients.iter_mut().zip([1012, 1012, 1012, 1001]) {
        assert_eq!(client.close_code().await, code);
        client.send(&frame(CLOSE, &code.to_be_bytes())).await;
    }
    patiently("the stop", stop).await.unwrap().unwrap();
    let totals = counters.totals();
    assert_eq!((totals.drain_told, totals.drain_overstayed, totals.drain_cut), (4, 4, 1));
    assert_eq!((totals.closes.get(&1012), totals.closes.get(&1001)), (Some(&3), Some(&1)));
}
