//! Polls and POSTs of an Engine.IO session that come at the same time, are cancelled or repeated.

use std::time::Duration;

use crate::{
    engine_client::{Answer, PollingClient, with_engine},
    server::Fixture,
};

#[tokio::test]
async fn second_poll_ends_session() {
    let mut fixture = Fixture::start_with(with_engine);
    let client = PollingClient::open(&fixture).await;
    let (first, second) = (client.begin_poll().await, client.begin_poll().await);
    // The polls reach the session in any order.
    let (first, second) = tokio::join!(Answer::read(first), Answer::read(second));
    let mut answers = [(first.status(), first.body), (second.status(), second.body)];
    answers.sort();
    assert_eq!(answers[0], (200, "1".to_owned()));
    assert_eq!(answers[1], (400, r#"{"code":3,"message":"Bad request"}"#.to_owned()));
    client.expect_gone().await;
    assert_eq!(fixture.next_report().await, "closed 1002");
}

#[tokio::test]
async fn cancelled_poll_ends_session() {
    let mut fixture = Fixture::start_with(with_engine);
    let client = PollingClient::open(&fixture).await;
    let waiting = client.begin_poll().await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    drop(waiting);
    assert_eq!(fixture.next_report().await, "closed 1006");
    client.expect_gone().await;
}

#[tokio::test]
async fn repeated_poll_ends_session_because_its_packets_may_be_lost() {
    let mut fixture = Fixture::start_with(with_engine);
    let client = PollingClient::open(&fixture).await;
    for time in ["x1", "x2"] {
        client.send("4hello").await;
        assert_eq!(client.request_at(time, "GET", "").await.parts(), (200, "4hello"));
    }
    client.send("4after the lost answer").await;
    assert_eq!(client.request_at("x2", "GET", "").await.status(), 400);
    client.expect_gone().await;
    assert_eq!(fixture.next_report().await, "closed 1006");
}

#[tokio::test]
async fn repeated_post_is_taken_once() {
    let fixture = Fixture::start_with(with_engine);
    let client = PollingClient::open(&fixture).await;
    for time in ["x1", "x1", "x2"] {
        assert_eq!(client.request_at(time, "POST", "4hello").await.parts(), (200, "ok"));
    }
    assert_eq!(client.receive().await, "4hello\u{1e}4hello");
}
