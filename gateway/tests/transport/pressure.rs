//! Tests peers that read slowly, sessions that pause reading, and frames to all connections.

use std::time::Duration;

use crate::{
    client::{TEXT, within_timeout},
    server::Fixture,
};

// Covers: 4413.
#[tokio::test]
async fn slow_reader_is_closed_with_4413_while_others_go_on() {
    // Queued shared frames, shared frames that are written at once, and frames for one connection.
    for flood in ["!flood", "!flood immediate", "!flood own"] {
        assert_slow_reader_is_closed(flood).await;
    }
}

#[tokio::test]
async fn slow_reader_stays_open_while_anything_is_written() {
    let mut fixture = Fixture::start_with(|config| config.stall_timeout = Duration::from_secs(1));
    let mut client = fixture.client().await;
    client.send_text("!flood").await;
    // The client reads for much longer than the timeout, and so slowly that the outbox is always full.
    for _ in 0..100 {
        for _ in 0..20 {
            assert_eq!(client.next_text().await.len(), 16 * 1024);
        }
        tokio::time::sleep(Duration::from_millis(40)).await;
        let queued = fixture.server.counters().totals().outbox_bytes;
        assert!(queued <= 192 * 1024, "{queued}");
    }
    assert_eq!(fixture.server.counters().totals().closes.get(&4413), None);
    // Then the client reads nothing any more.
    assert_eq!(fixture.next_report().await, "closed 4413");
}

async fn assert_slow_reader_is_closed(flood: &str) {
    let mut fixture = Fixture::start_with(|config| config.stall_timeout = Duration::from_millis(500));
    let mut slow = fixture.client().await;
    let mut other = fixture.client().await;
    slow.send_text(flood).await;
    assert_eq!(fixture.next_report().await, "closed 4413");
    other.send_text("still here").await;
    assert_eq!(other.next_text().await, "still here");
    // When the peer reads at last, it gets whole frames, then the close frame.
    loop {
        match slow.next_message().await {
            Some((TEXT, payload)) => assert_eq!(payload.len(), 16 * 1024),
            Some((_, payload)) => {
                assert_eq!(&payload[..2], 4413u16.to_be_bytes());
                break;
            }
            None => panic!("no close frame"),
        }
    }
    drop(slow);
    drop(other);
    let (counters, _) = fixture.stop().await;
    let totals = counters.totals();
    assert_eq!((totals.closes.get(&4413), totals.outbox_bytes), (Some(&1), 0));
}

#[tokio::test]
async fn immediate_and_queued_frames_keep_order_on_full_socket() {
    const FRAMES: usize = 3_000;
    let fixture = Fixture::start();
    let mut client = fixture.client().await;
    client.send_text(&format!("!immediate {FRAMES}")).await;
    // 24 MB exceed any socket buffer, so some frames are written only in part, and others must wait.
    tokio::time::sleep(Duration::from_millis(300)).await;
    for number in 1..=FRAMES {
        let text = client.next_text().await;
        assert_eq!((text.len(), text.parse()), (8192, Ok(number)));
    }
    drop(client);
    let (counters, _) = fixture.stop().await;
    let totals = counters.totals();
    assert_eq!((totals.messages_out, totals.outbox_bytes), (FRAMES as u64, 0));
}

#[tokio::test]
async fn session_can_send_more_than_outbox_holds() {
    let fixture = Fixture::start();
    let mut client = fixture.client().await;
    client.send_text("!pull 2000").await;
    for number in (1..=2_000).rev() {
        assert_eq!(client.next_text().await.parse(), Ok(number));
    }
}

#[tokio::test]
async fn messages_wait_in_order_while_reading_is_paused() {
    let mut fixture = Fixture::start();
    let mut client = fixture.client().await;
    // Some messages arrive in one packet with the pause, and one message arrives later.
    let frames = ["!note one", "!pause 300", "!note two", "!pause 300", "!note three"];
    let bytes: Vec<u8> = frames.iter().flat_map(|text| crate::client::frame(TEXT, text.as_bytes())).collect();
    client.send(&bytes).await;
    client.send_text("!note four").await;
    for expected in ["one", "resumed", "two", "resumed", "three", "four"] {
        assert_eq!(fixture.next_report().await, expected);
    }
}

#[tokio::test]
async fn session_may_send_to_all_connections_within_a_call() {
    let fixture = Fixture::start();
    let mut clients = Vec::new();
    for _ in 0..50 {
        clients.push(fixture.client().await);
    }
    clients[7].send_text("!all hello").await;
    for client in &mut clients {
        assert_eq!(client.next_text().await, "hello");
    }
    let totals = fixture.server.counters().totals();
    assert_eq!((totals.connections, totals.opened, totals.messages_in, totals.messages_out), (50, 50, 1, 50));
    // Frames that a client has read may still be counted for a moment.
    let empty_outboxes = async {
        while fixture.server.counters().totals().outbox_bytes > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within_timeout("empty outboxes", empty_outboxes).await;
}
