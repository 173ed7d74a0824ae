//! Redis loses its data or its process: numbering continues, cursors stay valid or become gaps, and no stored message
//! is lost.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use tidings_harness::{
    Client, ClientError, Cursor, ServerFrame, Stack,
    frames::{Ack, CaughtUp, Gap},
};
use tidings_shared::{ids::RoomId, log::keys};

const WAIT_TIMEOUT: Duration = Duration::from_secs(30);

/// Repeats a send with its client id until it is stored, as the protocol requires.
pub(crate) async fn send_until_stored(client: &Client, room: &str, text: &str) -> Result<Ack> {
    for _ in 0..120 {
        match client.send_as(room, text, text).await {
            Ok(ack) => return Ok(ack),
            Err(ClientError::Answered(error))
                if matches!(error.code.as_str(), "unavailable" | "overloaded") =>
            {
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
    anyhow::bail!("{text} was never stored")
}

async fn stored_contents(stack: &Stack, room: &str) -> Result<Vec<String>> {
    let page = stack.http("alice").messages(room, "limit=200").await?.expect(200).body;
    let messages = page["messages"].as_array().cloned().unwrap_or_default();
    ensure!(
        messages.iter().zip(1..).all(|(message, seq)| message["seq"] == json!(seq)),
        "the seqs have a hole: {page}"
    );
    Ok(messages.iter().map(|message| message["content"].as_str().unwrap_or_default().to_owned()).collect())
}

#[tokio::test]
async fn empty_redis_continues_numbering_in_new_epoch() -> Result<()> {
    let stack = Stack::builder().gateways(2).start().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let (alice, live) = (stack.connect_at(0, "alice").await?, stack.connect_at(1, "bob").await?);
    live.join_and_catch_up(&room).await?;
    let mut old_epoch = String::new();
    for n in 1..=5 {
        old_epoch = alice.send(&room, &n.to_string()).await?.epoch;
    }
    stack.shards().restart_empty().await?;
    let ack = send_until_stored(&alice, &room, "6").await?;
    ensure!(ack.seq == 6 && ack.epoch != old_epoch, "{ack:?}");
    // The live connection continues without a gap, because all its messages are at or below the base.
    let mut received = Vec::new();
    while received.len() < 6 {
        match live.next_of_log(WAIT_TIMEOUT).await? {
            ServerFrame::Message(message) => received.push(message.content),
            ServerFrame::CaughtUp(CaughtUp { epoch, .. }) => ensure!(epoch == ack.epoch),
            other => anyhow::bail!("{other:?}"),
        }
    }
    ensure!(received == ["1", "2", "3", "4", "5", "6"], "{received:?}");

    // A cursor at or below the base continues; a cursor above it gets a gap.
    let back = stack.connect_at(1, "bob").await?;
    back.join_after(&room, &Cursor { epoch: old_epoch.clone(), seq: 5 }).await?;
    ensure!(
        matches!(back.next_of_log(WAIT_TIMEOUT).await?, ServerFrame::Message(message) if message.seq == 6)
    );
    ensure!(
        matches!(back.next_of_log(WAIT_TIMEOUT).await?, ServerFrame::CaughtUp(at) if at.seq == 6 && at.epoch == ack.epoch)
    );
    let beyond = stack.connect_at(0, "bob").await?;
    beyond.join_after(&room, &Cursor { epoch: old_epoch, seq: 6 }).await?;
    match beyond.next_of_log(WAIT_TIMEOUT).await? {
        ServerFrame::Gap(Gap { after, head, .. }) => {
            ensure!((after, head.seq) == (5, 6) && head.epoch == ack.epoch)
        }
        other => anyhow::bail!("{other:?}"),
    }
    ensure!(stored_contents(&stack, &room).await? == ["1", "2", "3", "4", "5", "6"]);
    Ok(())
}

#[tokio::test]
async fn redis_restart_with_data_loses_no_message_and_no_cursor() -> Result<()> {
    let stack = Stack::builder().gateways(2).start().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let (alice, bob) = (stack.connect_at(0, "alice").await?, stack.connect_at(1, "bob").await?);
    bob.join_and_catch_up(&room).await?;
    for n in 1..=10 {
        send_until_stored(&alice, &room, &n.to_string()).await?;
        if n % 3 == 0 {
            stack.shards().restart().await?;
        }
    }
    let mut received = Vec::new();
    while received.len() < 10 {
        match bob.next_of_log(WAIT_TIMEOUT).await? {
            ServerFrame::Message(message) => received.push(message.seq),
            ServerFrame::CaughtUp(_) => {}
            other => anyhow::bail!("{other:?}"),
        }
    }
    ensure!(received == (1..=10).collect::<Vec<_>>(), "{received:?}");
    ensure!(stored_contents(&stack, &room).await?.len() == 10);
    Ok(())
}

// Covers: room:gap.
#[tokio::test]
async fn accepted_message_lost_with_redis_is_gap_and_resent_once() -> Result<()> {
    let stack = Stack::start().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let (alice, bob) = (stack.connect("alice").await?, stack.connect("bob").await?);
    bob.join_and_catch_up(&room).await?;
    send_until_stored(&alice, &room, "stored").await?;
    stack.persistence(0).kill();
    let accepted = json!({"type": "message:send", "room": room, "client_id": "lost", "content": "lost", "ack": "accepted", "attempt": 1});
    ensure!(alice.send_with(accepted).await?.seq == 2);
    for seq in 1..=2 {
        ensure!(
            matches!(bob.next_of_log(WAIT_TIMEOUT).await?, ServerFrame::Message(message) if message.seq == seq)
        );
    }
    stack.shards().restart_empty().await?;
    stack.persistence(0).restart().await?;
    let again = send_until_stored(&alice, &room, "lost").await?;
    ensure!(again.seq == 2 && !again.duplicate, "{again:?}");
    match bob.next_of_log(WAIT_TIMEOUT).await? {
        ServerFrame::Gap(gap) => ensure!(gap.after == 1, "{gap:?}"),
        other => anyhow::bail!("{other:?}"),
    }
    ensure!(stored_contents(&stack, &room).await? == ["stored", "lost"]);
    Ok(())
}

#[tokio::test]
async fn cut_pub_sub_heals_before_later_messages() -> Result<()> {
    let stack = Stack::builder().gateways(2).start().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let (alice, bob) = (stack.connect_at(0, "alice").await?, stack.connect_at(1, "bob").await?);
    bob.join_and_catch_up(&room).await?;
    let mut expected = Vec::new();
    for n in 1..=30 {
        send_until_stored(&alice, &room, &n.to_string()).await?;
        expected.push(n);
        if n % 7 == 0 {
            stack.shards().cut_pub_sub().await?;
        }
    }
    let mut received = Vec::new();
    while received.len() < expected.len() {
        match bob.next_of_log(WAIT_TIMEOUT).await? {
            ServerFrame::Message(message) => received.push(message.seq),
            other => anyhow::bail!("{other:?}"),
        }
    }
    ensure!(received == expected, "{received:?}");
    Ok(())
}

// Covers: unavailable.
#[tokio::test]
async fn redis_hang_refuses_sends_and_loses_or_doubles_nothing() -> Result<()> {
    let stack = Stack::builder().gateways(2).start().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let (alice, bob) = (stack.connect_at(0, "alice").await?, stack.connect_at(1, "bob").await?);
    bob.join_and_catch_up(&room).await?;
    send_until_stored(&alice, &room, "before").await?;
    stack.shards().pause()?;
    let refused = alice.send_as(&room, "during", "during").await.err();
    alice.ping().await?;
    stack.shards().resume()?;
    ensure!(refused.as_ref().is_some_and(|error| error.code() == "unavailable"), "{refused:?}");
    for text in ["during", "after"] {
        send_until_stored(&alice, &room, text).await?;
    }
    let mut received = Vec::new();
    while received.len() < 3 {
        match bob.next_of_log(WAIT_TIMEOUT).await? {
            ServerFrame::Message(message) => received.push(message.content),
            ServerFrame::CaughtUp(_) => {}
            other => anyhow::bail!("{other:?}"),
        }
    }
    ensure!(received == ["before", "during", "after"], "{received:?}");
    ensure!(stored_contents(&stack, &room).await? == received);
    Ok(())
}

#[tokio::test]
async fn stored_membership_overrides_older_redis_state() -> Result<()> {
    let stack = Stack::start().await?;
    let http = stack.http("alice");
    let room = http.new_room(&["bob", "carol"]).await?;
    http.put_member(&room, "bob", "vip").await?.expect(200);
    http.remove_member(&room, "carol").await?.expect(200);
    let id = RoomId::parse(&room)?;
    let client = redis::Client::open(stack.redis_of(&room).await?.url())?;
    let mut redis = client.get_multiplexed_async_connection().await?;
    let before: Vec<String> = redis::cmd("HGETALL").arg(keys::room(&id)).query_async(&mut redis).await?;
    http.remove_member(&room, "bob").await?.expect(200);
    http.put_member(&room, "carol", "member").await?.expect(200);
    // Simulates a power cut: Redis loses the last second of its writes.
    let mut restore = redis::pipe();
    restore
        .del(keys::room(&id))
        .ignore()
        .cmd("HSET")
        .arg(keys::room(&id))
        .arg(before)
        .ignore()
        .del(keys::tail(&id));
    let _: () = restore.query_async(&mut redis).await?;
    stack.shards().restart().await?;
    let connect = async |user| {
        for _ in 0..100 {
            if let Ok(client) = stack.connect(user).await {
                return Ok(client);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        stack.connect(user).await
    };
    let carol = connect("carol").await?;
    send_until_stored(&carol, &room, "here again").await?;
    ensure!(carol.join(&room).await?.role == "member");
    let bob = connect("bob").await?;
    let joined = bob.join(&room).await;
    ensure!(joined.as_ref().is_err_and(|error| error.code() == "not_found"), "{joined:?}");
    let sent = bob.send(&room, "still here").await;
    ensure!(sent.as_ref().is_err_and(|error| error.code() == "not_found"), "{sent:?}");
    Ok(())
}
