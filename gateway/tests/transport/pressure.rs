//! Peers that read slowly, sessions that read slowly, and fan-out.

use std::time::Duration;

use crate::{
    client::{TEXT, patiently},
    server::Fixture,
};

// Covers: 4413.
#[tokio::test]
async fn a_slow_reader_is_closed_with_4413_while_others_go_on() {
    // Queued, and written at once as far as goes.
    for flood in ["!flood", "!flood alone"] {
        closed_while_others_go_on(flood).await;
    }
}

async fn closed_while_others_go_on(flood: &str) {
    let mut fixture = Fixture::start();
    let mut slow = fixture.client().await;
    let mut other = fixture.client().await;
    slow.send_text(flood).await;
    assert_eq!(fixture.report().await, "closed 4413");
    other.send_text("still here").await;
    assert_eq!(other.text().await, "still here");
    // What it gets when it reads at last: whole frames, then the close frame.
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
    assert_eq!((counters.totals().slow_closes(), counters.totals().outbox_bytes), (1, 0));
}

#[tokio::test]
async fn frames_written_at_once_and_queued_ones_arrive_whole_and_in_order_through_a_socket_that_fills() {
    const FRAMES: usize = 3_000;
    let fixture = Fixture::start();
    let mut client = fixture.client().await;
    client.send_text(&format!("!alone {FRAMES}")).await;
    // 24 MB are more than any socket takes: frames are cut, and wait.
    tokio::time::sleep(Duration::from_millis(300)).await;
    for number in 1..=FRAMES {
        let text = client.text().await;
        assert_eq!((text.len(), text.parse()), (8192, Ok(number)));
    }
    drop(client);
    let (counters, _) = fixture.stop().await;
    let totals = counters.totals();
    assert_eq!((totals.messages_out, totals.outbox_bytes), (FRAMES as u64, 0));
}

#[tokio::test]
async fn a_session_can_send_more_than_the_outbox_holds_as_it_drains() {
    let fixture = Fixture::start();
    let mut client = fixture.client().await;
    client.send_text("!pull 2000").await;
    for number in (1..=2_000).rev() {
        assert_eq!(client.text().await.parse(), Ok(number));
    }
}

#[tokio::test]
async fn messages_wait_in_order_while_reading_is_paused() {
    let mut fixture = Fixture::start();
    let mut client = fixture.client().await;
    // The pause, what came in the same packet, and what comes later.
    let frames = ["!note one", "!pause 300", "!note two", "!pause 300", "!note three"];
    let bytes: Vec<u8> = frames.iter().flat_map(|text| crate::client::frame(TEXT, text.as_bytes())).collect();
    client.send(&bytes).await;
    client.send_text("!note four").await;
    for expected in ["one", "resumed", "two", "resumed", "three", "four"] {
        assert_eq!(fixture.report().await, expected);
    }
}

#[tokio::test]
async fn a_session_may_send_to_all_connections_from_within_a_call() {
    let fixture = Fixture::start();
    let mut clients = Vec::new();
    for _ in 0..50 {
        clients.push(fixture.client().await);
    }
    clients[7].send_text("!all hello").await;
    for client in &mut clients {
        assert_eq!(client.text().await, "hello");
    }
    let totals = fixture.server.counters().totals();
    assert_eq!((totals.connections, totals.opened, totals.messages_in, totals.messages_out), (50, 50, 1, 50));
    // What a client has read may not yet be off the count.
    let emptied = async {
        while fixture.server.counters().totals().outbox_bytes > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    patiently("the outboxes' emptying", emptied).await;
}
