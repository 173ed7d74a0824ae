//! Tests heartbeats and deadlines.

use std::time::Duration;

use crate::{
    client::{PING, PONG, frame},
    server::Fixture,
};

#[tokio::test]
async fn silent_peer_is_pinged_and_then_closed_with_4408() {
    let mut fixture = Fixture::start_with(|config| config.heartbeat = Duration::from_millis(500));
    let mut client = fixture.client().await;
    assert_eq!(client.next().await, Some((PING, vec![])));
    assert_eq!(client.close_code().await, 4408);
    assert_eq!(fixture.next_report().await, "closed 4408");
}

#[tokio::test]
async fn peer_that_answers_pings_stays_open() {
    let fixture = Fixture::start_with(|config| config.heartbeat = Duration::from_millis(500));
    let mut client = fixture.client().await;
    // Longer than the two intervals after which a silent peer is closed.
    for _ in 0..6 {
        assert_eq!(client.next().await, Some((PING, vec![])));
        client.send(&frame(PONG, b"")).await;
    }
    client.send_text("still here").await;
    assert_eq!(client.next_text().await, "still here");
}

#[tokio::test]
async fn paused_peer_is_not_closed_as_silent() {
    let mut fixture = Fixture::start_with(|config| config.heartbeat = Duration::from_millis(300));
    let mut client = fixture.client().await;
    client.send_text("!pause 2000").await;
    assert_eq!(fixture.next_report().await, "resumed");
    client.send_text("still here").await;
    assert_eq!(client.next_text().await, "still here");
}

#[tokio::test]
async fn deadline_fires_once_unless_cancelled() {
    let mut fixture = Fixture::start();
    let mut client = fixture.client().await;
    client.send_text("!deadline 100").await;
    client.send_text("!deadline never").await;
    client.send_text("!deadline 600").await;
    assert_eq!(client.next_text().await, "deadline");
    assert_eq!(fixture.next_report().await, "deadline");
    client.send_text("!deadline 200").await;
    client.send_text("!deadline never").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    drop(client);
    assert_eq!(fixture.next_report().await, "closed 1006", "a cancelled deadline does not fire");
}
