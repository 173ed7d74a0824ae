//! Engine.IO sessions over HTTP long polling and over WebSocket: handshakes, messages, heartbeats and closes.

use std::{sync::Arc, time::Duration};

use tidings_gateway::transport::TransportConfig;

use crate::{
    client::{BINARY, Client, frame, within_timeout},
    engine_client::{
        Answer, MAX_PAYLOAD, POLLING, PollingClient, WEBSOCKET, begin, begin_websocket, open_websocket,
        request, sid_of, with_engine,
    },
    server::Fixture,
};

/// Sets a heartbeat that is short enough for a test to wait for.
fn with_short_heartbeat(config: &mut TransportConfig) {
    with_engine(config);
    let engine = config.engine.as_mut().unwrap();
    engine.ping_interval = Duration::from_secs(1);
    engine.ping_timeout = Duration::from_secs(1);
}

#[tokio::test]
async fn polling_handshake_has_open_packet() {
    let fixture = Fixture::start_with(with_engine);
    for query in [POLLING, "transport=polling&EIO=4&t=abc"] {
        let answer = request(fixture.address(), "GET", query, "").await;
        assert!(answer.head.contains("content-type: text/plain; charset=utf-8\r\n"), "{answer:?}");
        let sid = sid_of(&answer.body);
        let expected = format!(
            r#"0{{"sid":"{sid}","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":{MAX_PAYLOAD}}}"#
        );
        assert_eq!(answer.parts(), (200, &*expected));
    }
    let totals = fixture.server.counters().totals();
    assert_eq!((totals.connections, totals.engine_polling, totals.engine_polling_opened), (2, 2, 2));
}

#[tokio::test]
async fn path_without_last_slash_is_served() {
    let fixture = Fixture::start_with(with_engine);
    let request = format!("GET /engine.io?{POLLING} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    let answer = Answer::read(Client::connect_and_send(fixture.address(), request.as_bytes()).await).await;
    assert_eq!(answer.status(), 200, "{answer:?}");
}

#[tokio::test]
async fn invalid_request_is_refused_with_code_of_protocol() {
    let fixture = Fixture::start_with(with_engine);
    let cases = [
        ("GET", "EIO=4", 0),
        ("GET", "EIO=4&transport=abc", 0),
        ("GET", "transport=polling", 5),
        ("GET", "EIO=abc&transport=polling", 5),
        ("GET", "EIO=3&transport=polling", 5),
        ("GET", "EIO=4&transport=websocket", 3),
        ("POST", POLLING, 2),
        ("PUT", POLLING, 2),
        ("GET", "EIO=4&transport=polling&sid=abc", 1),
        ("POST", "EIO=4&transport=polling&sid=", 1),
    ];
    for (method, query, code) in cases {
        let answer = request(fixture.address(), method, query, "").await;
        assert_eq!(answer.status(), 400, "{method} {query}: {answer:?}");
        assert!(answer.head.contains("content-type: application/json\r\n"), "{answer:?}");
        assert!(answer.body.starts_with(&format!(r#"{{"code":{code},"#)), "{method} {query}: {answer:?}");
    }
    for query in
        ["transport=websocket", "EIO=3&transport=websocket", "EIO=4", POLLING, &format!("{WEBSOCKET}&sid=x")]
    {
        let answer = Answer::read(begin_websocket(fixture.address(), query).await).await;
        assert_eq!(answer.status(), 400, "{query}: {answer:?}");
    }
    assert_eq!(fixture.server.counters().totals().opened, 0);
}

#[tokio::test]
async fn full_worker_refuses_polling_handshake() {
    let fixture = Fixture::start_with(|config| {
        with_engine(config);
        config.workers = 1;
        config.max_connections_per_worker = 1;
    });
    let _open = PollingClient::open(&fixture).await;
    let answer = request(fixture.address(), "GET", POLLING, "").await;
    assert_eq!(answer.status(), 503, "{answer:?}");
    assert!(answer.body.contains(r#""code":"overloaded""#), "{answer:?}");
}

#[tokio::test]
async fn polling_sessions_cannot_take_the_places_of_websockets() {
    let fixture = Fixture::start_with(|config| {
        with_engine(config);
        config.workers = 1;
        config.max_polling_sessions_per_worker = 1;
    });
    let open = PollingClient::open(&fixture).await;
    let answer = request(fixture.address(), "GET", POLLING, "").await;
    assert_eq!(answer.status(), 503, "{answer:?}");
    assert!(answer.body.contains(r#""code":"overloaded""#), "{answer:?}");
    let _websocket = open_websocket(fixture.address(), WEBSOCKET).await;
    open.send("4hello").await;
    assert_eq!(open.receive().await, "4hello");
}

#[tokio::test]
async fn polling_session_echoes_text_and_binary() {
    let fixture = Fixture::start_with(with_engine);
    let client = PollingClient::open(&fixture).await;
    client.send("4hello").await;
    assert_eq!(client.receive().await, "4hello");
    client.send("bAQIDBA==").await;
    assert_eq!(client.receive().await, "bAQIDBA==");
    client.send("4one\u{1e}bAQIDBA\u{1e}3\u{1e}4é").await;
    assert_eq!(client.receive().await, "4one\u{1e}bAQIDBA==\u{1e}4é");
    let waiting = client.begin_poll().await;
    client.send("4late").await;
    assert_eq!(Answer::read(waiting).await.parts(), (200, "4late"));
}

#[tokio::test]
async fn long_queue_is_split_over_polls_in_order() {
    let fixture = Fixture::start_with(with_engine);
    let client = PollingClient::open(&fixture).await;
    client.send("4!pull 30").await;
    let mut received = Vec::new();
    while received.len() < 30 {
        let body = client.receive().await;
        let packets: Vec<&str> = body.split('\u{1e}').collect();
        assert!(body.len() <= MAX_PAYLOAD || packets.len() == 1, "{} bytes", body.len());
        received.extend(packets.iter().map(|packet| packet[1..].parse::<usize>().unwrap()));
    }
    assert_eq!(received, (1..=30).rev().collect::<Vec<usize>>());
}

#[tokio::test]
async fn invalid_request_ends_session() {
    let mut fixture = Fixture::start_with(with_engine);
    for invalid in ["abc", "", "2", "4hello\u{1e}", "b!"] {
        let client = PollingClient::open(&fixture).await;
        let answer = client.post(invalid).await;
        assert_eq!(answer.parts(), (400, r#"{"code":3,"message":"Bad request"}"#), "{invalid}");
        client.expect_gone().await;
        assert_eq!(fixture.next_report().await, "closed 1002");
    }
    let client = PollingClient::open(&fixture).await;
    assert_eq!(request(client.address, "PUT", &client.query, "abc").await.status(), 400);
    client.expect_gone().await;
    assert_eq!(fixture.next_report().await, "closed 1002");
}

#[tokio::test]
async fn too_long_body_is_refused_and_session_goes_on() {
    let fixture = Fixture::start_with(with_engine);
    let client = PollingClient::open(&fixture).await;
    let long = format!("4{}", "x".repeat(MAX_PAYLOAD));
    let head = begin(client.address, "POST", &client.query, "", &long).await.read_head().await;
    assert!(head.starts_with("HTTP/1.1 413 "), "{head}");
    client.send("4hello").await;
    assert_eq!(client.receive().await, "4hello");
}

#[tokio::test]
async fn ping_follows_interval_and_silent_session_is_gone() {
    let mut fixture = Fixture::start_with(with_short_heartbeat);
    let client = PollingClient::open(&fixture).await;
    for _ in 0..3 {
        assert_eq!(client.receive().await, "2");
        client.send("3").await;
    }
    let silent = PollingClient::open(&fixture).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(silent.poll().await.status(), 400);
    assert_eq!(fixture.next_report().await, "closed 4408");
}

#[tokio::test]
async fn websocket_pings_and_closes_silent_peer() {
    let mut fixture = Fixture::start_with(with_short_heartbeat);
    let mut client = open_websocket(fixture.address(), WEBSOCKET).await;
    assert!(client.next_text().await.starts_with("0{"));
    for _ in 0..3 {
        assert_eq!(client.next_text().await, "2");
        client.send_text("3").await;
    }
    assert_eq!(client.close_code().await, 4408);
    assert_eq!(fixture.next_report().await, "closed 4408");
}

#[tokio::test]
async fn close_packet_is_answered_to_poll() {
    let mut fixture = Fixture::start_with(with_engine);
    for poll_first in [true, false] {
        let client = PollingClient::open(&fixture).await;
        let waiting = if poll_first { Some(client.begin_poll().await) } else { None };
        tokio::time::sleep(Duration::from_millis(200)).await;
        client.send("1").await;
        assert_eq!(fixture.next_report().await, "closed 1005");
        let answer = match waiting {
            Some(waiting) => Answer::read(waiting).await,
            None => client.poll().await,
        };
        assert_eq!(answer.parts(), (200, "6"));
        client.expect_gone().await;
    }
}

#[tokio::test]
async fn close_of_session_follows_queued_packets() {
    let mut fixture = Fixture::start_with(with_engine);
    let client = PollingClient::open(&fixture).await;
    client.send("4!close 4403").await;
    assert_eq!(fixture.next_report().await, "closed 4403");
    assert_eq!(client.receive().await, "4last 1\u{1e}4last 2\u{1e}4last 3\u{1e}1");
    client.expect_gone().await;
}

#[tokio::test]
async fn panicking_session_ends_only_itself() {
    let mut fixture = Fixture::start_with(with_engine);
    let other = PollingClient::open(&fixture).await;
    let client = PollingClient::open(&fixture).await;
    let waiting = client.begin_poll().await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(client.post("4!panic").await.status(), 400);
    assert_eq!(fixture.next_report().await, "closed 1011");
    assert_eq!(Answer::read(waiting).await.status(), 400);
    client.expect_gone().await;
    other.send("4still here").await;
    assert_eq!(other.receive().await, "4still here");
}

#[tokio::test]
async fn paused_session_takes_post_after_resume() {
    let mut fixture = Fixture::start_with(with_engine);
    let client = PollingClient::open(&fixture).await;
    client.send("4!pause 300\u{1e}4hello").await;
    assert_eq!(fixture.next_report().await, "resumed");
    assert_eq!(client.receive().await, "4hello");
}

#[tokio::test]
async fn websocket_session_echoes_and_closes() {
    let mut fixture = Fixture::start_with(with_engine);
    let mut client = open_websocket(fixture.address(), WEBSOCKET).await;
    let open = client.next_text().await;
    assert!(open.contains(r#""upgrades":[],"#), "{open}");
    client.send_text("4hello").await;
    assert_eq!(client.next_text().await, "4hello");
    client.send(&frame(BINARY, &[1, 2, 3, 4])).await;
    assert_eq!(client.next_message().await, Some((BINARY, vec![1, 2, 3, 4])));
    let totals = fixture.server.counters().totals();
    assert_eq!((totals.engine_websocket, totals.engine_websocket_opened, totals.engine_polling), (1, 1, 0));
    client.send_text("1").await;
    assert_eq!(client.close_code().await, 0);
    assert_eq!(fixture.next_report().await, "closed 1005");

    let mut invalid = open_websocket(fixture.address(), WEBSOCKET).await;
    invalid.send_text("abc").await;
    assert_eq!(invalid.close_code().await, 1002);
    assert_eq!(fixture.next_report().await, "closed 1002");

    let mut plain = fixture.client().await;
    plain.send(&frame(BINARY, &[1])).await;
    assert_eq!(plain.close_code().await, 1003, "a WebSocket without Engine.IO takes only text");
}

#[tokio::test]
async fn stop_ends_polling_sessions() {
    let fixture = Fixture::start_with(|config| {
        with_engine(config);
        config.close_timeout = Duration::from_secs(1);
    });
    let polling = PollingClient::open(&fixture).await;
    // This session never polls again, so it ends at the close timeout.
    let _absent = PollingClient::open(&fixture).await;
    let waiting = polling.begin_poll().await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let stop = tokio::spawn(fixture.stop());
    assert_eq!(Answer::read(waiting).await.parts(), (200, "1"));
    let (counters, reports) = within_timeout("the stop", stop).await.unwrap();
    assert_eq!(reports, ["closed 1001", "closed 1001"]);
    let totals = counters.totals();
    assert_eq!((totals.connections, totals.engine_polling, totals.outbox_bytes), (0, 0, 0));
}

#[tokio::test]
async fn drain_notifies_polling_sessions() {
    let fixture = Fixture::start_with(with_engine);
    let counters = Arc::clone(fixture.server.counters());
    let client = PollingClient::open(&fixture).await;
    let server = fixture.server;
    let stop = tokio::spawn(async move {
        server.drain(Duration::from_secs(2)).await;
        server.stop(1001, "the drain time is over", Duration::from_secs(60)).await
    });
    let notice = client.receive().await;
    assert!(notice.starts_with("4leave after "), "{notice}");
    let refused = request(client.address, "GET", POLLING, "").await;
    assert_eq!(refused.status(), 503, "{refused:?}");
    assert_eq!(client.receive().await, "1");
    within_timeout("the stop", stop).await.unwrap().unwrap();
    assert_eq!(counters.totals().closes.get(&1012), Some(&1));
}

#[tokio::test]
async fn cross_origin_scripts_may_read_answers() {
    let fixture = Fixture::start_with(with_engine);
    let origin = "Origin: https://chat.example\r\n";
    let allowed = "access-control-allow-origin: https://chat.example\r\n";
    let credentials = "access-control-allow-credentials: true\r\n";
    let answer = Answer::read(begin(fixture.address(), "GET", POLLING, origin, "").await).await;
    assert!(answer.head.contains(allowed) && answer.head.contains(credentials), "{answer:?}");
    let wanted = format!("{origin}Access-Control-Request-Headers: authorization\r\n");
    let preflight = Answer::read(begin(fixture.address(), "OPTIONS", POLLING, &wanted, "").await).await;
    assert_eq!(preflight.status(), 204, "{preflight:?}");
    assert!(preflight.head.contains(allowed), "{preflight:?}");
    assert!(preflight.head.contains("access-control-allow-headers: authorization\r\n"), "{preflight:?}");
    let plain = request(fixture.address(), "GET", POLLING, "").await;
    assert!(!plain.head.contains("access-control-allow-origin"), "{plain:?}");
}
