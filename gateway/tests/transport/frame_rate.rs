//! Tests peers that send too many frames: they are read more slowly at first, and closed if they continue.

use std::{
    num::NonZeroU32,
    time::{Duration, Instant},
};

use tidings_gateway::transport::FrameRate;

use crate::{
    client::{CLOSE, PING, PONG, TEXT, frame},
    server::Fixture,
};

/// Starts a server that accepts this many frames per second and this many at once from each peer.
fn limited_fixture(per_second: u32, burst: u32, grace: Duration) -> Fixture {
    let of = |count| NonZeroU32::new(count).unwrap();
    Fixture::start_with(|config| {
        config.frame_rate = Some(FrameRate { per_second: of(per_second), burst: of(burst), grace });
    })
}

const LONG_GRACE: Duration = Duration::from_secs(600);

#[tokio::test]
async fn burst_is_served_at_once_and_rest_later_in_order() {
    let fixture = limited_fixture(40, 100, LONG_GRACE);
    let mut client = fixture.client().await;
    let began = Instant::now();
    let texts: Vec<String> = (0..220).map(|number| format!("message {number}")).collect();
    let bytes: Vec<u8> = texts.iter().flat_map(|text| frame(TEXT, text.as_bytes())).collect();
    client.send(&bytes).await;
    for text in &texts[..100] {
        assert_eq!(&client.next_text().await, text);
    }
    assert!(fixture.server.counters().totals().messages_in < 220, "only the burst is read at once");
    for text in &texts[100..] {
        assert_eq!(&client.next_text().await, text);
    }
    // The other 120 frames need about 3 s at 40 frames per second. The test asserts only 1 s, because the transport's
    // clock has coarse ticks.
    assert!(began.elapsed() >= Duration::from_secs(1), "after {:?}", began.elapsed());
    let totals = fixture.server.counters().totals();
    assert!(totals.frame_rate_holds >= 2, "{totals:?}");
    assert_eq!(totals.frame_rate_closes, 0);
}

#[tokio::test]
async fn others_are_served_while_flood_is_paused() {
    let fixture = limited_fixture(5, 10, LONG_GRACE);
    let (mut flood, mut other) = (fixture.client().await, fixture.client().await);
    flood.send(&frame(TEXT, b"flood").repeat(500)).await;
    for _ in 0..10 {
        assert_eq!(flood.next_text().await, "flood");
    }
    other.send_text("still here").await;
    assert_eq!(other.next_text().await, "still here");
    assert!(fixture.server.counters().totals().messages_in < 100, "the flood is held back");
}

#[tokio::test]
async fn lasting_flood_of_pings_or_fragments_is_closed_with_4429() {
    let fragments = [frame(0x01, b""), frame(0x00, b"").repeat(20_000)].concat();
    for (what, flood) in [("pings", frame(PING, b"?").repeat(20_000)), ("fragments", fragments)] {
        let mut fixture = limited_fixture(50, 100, Duration::from_secs(2));
        let mut client = fixture.client().await;
        client.send(&flood).await;
        let mut pongs = 0;
        let code = loop {
            match client.next().await.unwrap() {
                (PONG, payload) => {
                    assert_eq!(payload, b"?");
                    pongs += 1;
                }
                (PING, _) => {}
                (CLOSE, payload) => break u16::from_be_bytes(*payload.first_chunk().unwrap()),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(code, 4429, "{what}");
        assert_eq!(fixture.next_report().await, "closed 4429");
        // The burst of 100 pings and the pings of two seconds are answered: far fewer than were sent, even if the clock
        // is late.
        assert!(pongs < 1_000, "{pongs} {what} were answered");
        assert_eq!(fixture.server.counters().totals().frame_rate_closes, 1);
    }
}

#[tokio::test]
async fn bursts_with_pauses_are_never_closed() {
    let fixture = limited_fixture(50, 20, Duration::from_secs(1));
    let mut client = fixture.client().await;
    for _ in 0..2 {
        client.send(&frame(TEXT, b"burst").repeat(40)).await;
        for _ in 0..40 {
            assert_eq!(client.next_text().await, "burst");
        }
        tokio::time::sleep(Duration::from_secs(4)).await;
    }
    client.send_text("still here").await;
    assert_eq!(client.next_text().await, "still here");
    assert!(fixture.server.counters().totals().frame_rate_holds >= 2);
}

#[tokio::test]
async fn paused_flood_is_not_silent_and_can_close() {
    let of = |count| NonZeroU32::new(count).unwrap();
    let mut fixture = Fixture::start_with(|config| {
        config.heartbeat = Duration::from_millis(200);
        config.frame_rate = Some(FrameRate { per_second: of(1), burst: of(1), grace: LONG_GRACE });
    });
    let mut client = fixture.client().await;
    // At this rate each message takes a second, which is longer than two heartbeats.
    for number in 0..3 {
        client.send_text(&format!("message {number}")).await;
    }
    client.send(&frame(CLOSE, &1000u16.to_be_bytes())).await;
    for number in 0..3 {
        assert_eq!(client.next_text().await, format!("message {number}"));
    }
    assert_eq!(client.close_code().await, 1000);
    assert_eq!(fixture.next_report().await, "closed 1000");
}

#[tokio::test]
async fn stop_does_not_wait_for_paused_flood() {
    let fixture = limited_fixture(1, 1, LONG_GRACE);
    let mut client = fixture.client().await;
    client.send(&frame(TEXT, b"flood").repeat(100)).await;
    assert_eq!(client.next_text().await, "flood");
    let stop = tokio::spawn(fixture.stop());
    assert_eq!(client.close_code().await, 1001);
    client.send(&frame(CLOSE, &1001u16.to_be_bytes())).await;
    client.expect_end().await;
    let (counters, _) = stop.await.unwrap();
    assert_eq!(counters.totals().closes.get(&1001), Some(&1));
}
