//! A user who becomes a member during a conversation receives all of it from that point on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::channel::UserChannel;
use anyhow::{Result, ensure};
use serde_json::json;
use tidings_harness::{Cursor, Stack};

const WAIT_TIMEOUT: Duration = Duration::from_secs(20);

#[tokio::test]
async fn member_added_mid_conversation_misses_nothing() -> Result<()> {
    let stack = Stack::start().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&[]).await?;
    let mut channel = UserChannel::subscribe(&stack, "bob").await?;
    // Alice sends until `stop_sending` is set.
    let (sent, stop_sending) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let sending = {
        let (alice, room, sent, stop_sending) =
            (alice.clone(), room.clone(), sent.clone(), stop_sending.clone());
        tokio::spawn(async move {
            while !stop_sending.load(Relaxed) {
                let n = sent.load(Relaxed);
                alice.send(&room, &format!("m{n}"), &n.to_string()).await?.expect(201);
                sent.fetch_add(1, Relaxed);
            }
            anyhow::Ok(())
        })
    };
    let until_sent = async |count: u64| -> Result<()> {
        let begun = Instant::now();
        while sent.load(Relaxed) < count {
            ensure!(begun.elapsed() < WAIT_TIMEOUT, "{} of {count} messages were sent", sent.load(Relaxed));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    };
    until_sent(20).await?;
    let adding = {
        let (alice, room) = (alice.clone(), room.clone());
        tokio::spawn(async move { alice.put_member(&room, "bob", "vip").await })
    };
    let added = channel.next_frame().await?;
    let from: Cursor = serde_json::from_value(added["from"].clone())?;
    let bob = stack.connect("bob").await?;
    let joined = bob.join_after(&room, &from).await?;
    ensure!((joined.role.as_str(), joined.members) == ("vip", 2), "{joined:?}");
    adding.await??.expect(200);
    until_sent(sent.load(Relaxed) + 20).await?;
    stop_sending.store(true, Relaxed);
    sending.await??;
    ensure!(from.seq >= 20, "bob was added too early: {from:?}");
    // Bob receives his own addition and all later messages.
    for seq in from.seq + 1..=sent.load(Relaxed) + 1 {
        let mut event = bob.next_of_log(WAIT_TIMEOUT).await?;
        if event.kind() == "room:caught_up" {
            event = bob.next_of_log(WAIT_TIMEOUT).await?;
        }
        ensure!(event.log_position() == Some((room.as_str(), seq)), "{seq}: {event:?}");
        ensure!((event.kind() == "member:added") == (seq == from.seq + 1), "{event:?}");
    }
    Ok(())
}

#[tokio::test]
async fn join_reports_changed_room_and_role() -> Result<()> {
    let stack = Stack::shared().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&["bob", "carol"]).await?;
    // The first message creates the room's hash.
    alice.send(&room, "m1", "hi").await?.expect(201);
    alice.change_room(&room, json!({"name": "Coffee"})).await?.expect(200);
    alice.put_member(&room, "bob", "guest").await?.expect(200);
    alice.remove_member(&room, "carol").await?.expect(200);
    let (bob, carol) = (stack.connect("bob").await?, stack.connect("carol").await?);
    let joined = bob.join(&room).await?;
    let described = (joined.name.as_deref(), joined.role.as_str(), joined.members, joined.head.seq);
    ensure!(described == (Some("Coffee"), "guest", 2, 4), "{joined:?}");
    ensure!(bob.send(&room, "may I?").await.is_err_and(|error| error.code() == "forbidden"));
    ensure!(carol.join(&room).await.is_err_and(|error| error.code() == "not_found"));
    alice.archive_room(&room).await?.expect(204);
    let alice = stack.connect("alice").await?;
    ensure!(alice.send(&room, "anybody?").await.is_err_and(|error| error.code() == "conflict"));
    Ok(())
}
