//! A membership notice that arrives before the record of its change, as it may when the room and the user are in
//! different shards. With one Redis, the test publishes such a notice itself.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tidings_harness::{Client, Stack};
use tidings_shared::{
    ids::{RoomId, Seq},
    people::UserNotice,
};

const WAIT_TIMEOUT: Duration = Duration::from_secs(20);
/// The record of a notice must be published within this time. It is half of the time for which a gateway waits.
const RECORD_DEADLINE: Duration = Duration::from_millis(500);
/// On a busy machine, a record may be too late.
const MAX_ATTEMPTS: u64 = 20;

/// Publishes a notice for bob of a change at this seq of the room.
async fn publish_notice(stack: &Stack, room: &str, seq: u64) -> Result<()> {
    let frame = "{\"type\":\"x:test\"}".into();
    let notice = UserNotice::Membership { room: RoomId::parse(room)?, seq: Seq(seq), frame };
    let mut redis = redis::Client::open(stack.redis().url())?.get_multiplexed_async_connection().await?;
    let mut command = redis::cmd("PUBLISH");
    let receivers: u64 = command.arg("user:bob").arg(notice.encode()).query_async(&mut redis).await?;
    ensure!(receivers == 1, "{receivers} nodes are subscribed to the channel of bob");
    Ok(())
}

/// The types of the next frames that are messages or the frame of the notice.
async fn next_kinds(bob: &Client) -> Result<[String; 2]> {
    let mut kinds = [String::new(), String::new()];
    for kind in &mut kinds {
        while !["message:new", "x:test"].contains(&kind.as_str()) {
            *kind = bob.next_event(WAIT_TIMEOUT).await?.kind().to_owned();
        }
    }
    Ok(kinds)
}

#[tokio::test]
async fn membership_notice_follows_its_later_record() -> Result<()> {
    let stack = Stack::builder().gateways(1).start().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&["bob"]).await?;
    let bob = stack.connect("bob").await?;
    bob.join_and_catch_up(&room).await?;
    for seq in 1..=MAX_ATTEMPTS {
        publish_notice(&stack, &room, seq).await?;
        let published_at = Instant::now();
        alice.send(&room, &seq.to_string(), "text").await?.expect(201);
        let sent_after = published_at.elapsed();
        let kinds = next_kinds(&bob).await?;
        if sent_after < RECORD_DEADLINE {
            ensure!(kinds == ["message:new", "x:test"], "{kinds:?}");
            return Ok(());
        }
    }
    anyhow::bail!("no record was published in time");
}

#[tokio::test]
async fn membership_notice_without_record_is_delivered() -> Result<()> {
    let stack = Stack::builder().gateways(1).start().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let bob = stack.connect("bob").await?;
    bob.join_and_catch_up(&room).await?;
    publish_notice(&stack, &room, 100).await?;
    bob.wait_for("x:test", WAIT_TIMEOUT).await?;
    // The room is still live.
    stack.http("alice").send(&room, "1", "text").await?.expect(201);
    bob.wait_for("message:new", WAIT_TIMEOUT).await?;
    Ok(())
}
