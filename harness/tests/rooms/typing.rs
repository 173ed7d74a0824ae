//! Typing: its receivers, its rate, and its end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::hearing::{
    connect_and_join, connect_as, expect_ok, frames_of_types, frames_until_message, frames_until_quiet,
    new_room_with, refusal_code, typing_frame,
};
use crate::room_log::hold;
use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tidings_harness::Stack;
use tidings_shared::{
    ids::RoomId,
    log::keys::{self, Partition},
};

const TYPING_FRAMES: &[&str] = &["typing:start", "typing:stop"];

// Covers: typing:start, typing:stop.
#[tokio::test]
async fn typing_reaches_only_other_joined_members_with_name() -> Result<()> {
    let stack = Stack::shared().await?;
    let room =
        new_room_with(&stack, "alice", &[("bob", "member"), ("gus", "guest"), ("carol", "member")]).await?;
    let alice = connect_as(&stack, 0, "alice", "Alice A.").await?;
    alice.join_and_catch_up(&room).await?;
    let second = connect_and_join(&stack, 1, "alice", &room).await?;
    let others =
        [connect_and_join(&stack, 0, "bob", &room).await?, connect_and_join(&stack, 1, "gus", &room).await?];
    let not_joined = stack.connect_at(1, "carol").await?;

    expect_ok(&alice, typing_frame(&room, true)).await?;
    expect_ok(&alice, typing_frame(&room, false)).await?;
    alice.send(&room, "end").await?;
    let expected = [
        json!({"type": "typing:start", "room": room, "user": {"id": "alice", "name": "Alice A."}, "expires_ms": 2000}),
        json!({"type": "typing:stop", "room": room, "user": {"id": "alice"}}),
    ];
    for other in &others {
        let received = frames_of_types(&frames_until_message(other, "end").await?, TYPING_FRAMES);
        ensure!(received == expected, "{received:?}");
    }
    for own in [&alice, &second] {
        let received = frames_of_types(&frames_until_message(own, "end").await?, TYPING_FRAMES);
        ensure!(received.is_empty(), "{received:?}");
    }
    let received = frames_of_types(&frames_until_quiet(&not_joined).await?, TYPING_FRAMES);
    ensure!(received.is_empty(), "{received:?}");
    // Typing is not part of the log.
    let late = stack.connect_at(1, "bob").await?;
    ensure!(late.join(&room).await?.head.seq == 1, "typing used a seq of the log");
    Ok(())
}

#[tokio::test]
async fn typing_starts_of_user_are_sent_once_per_100_ms() -> Result<()> {
    let stack = Stack::shared().await?;
    let room = new_room_with(&stack, "alice", &[("bob", "member")]).await?;
    let bob = connect_and_join(&stack, 0, "bob", &room).await?;
    let mut typists = Vec::new();
    for _ in 0..4 {
        typists.push(stack.connect("alice").await?);
    }
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        for typist in &typists {
            typist.send_json(&typing_frame(&room, true)).await?;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    expect_ok(&typists[0], typing_frame(&room, true)).await?;
    let elapsed = begun.elapsed();
    bob.send(&room, "end").await?;
    let received = frames_of_types(&frames_until_message(&bob, "end").await?, TYPING_FRAMES);
    let max_frames = elapsed.as_millis() / 100 + 1;
    ensure!((received.len() as u128) <= max_frames, "{} starts in {elapsed:?}", received.len());
    ensure!(received.len() >= 5, "{} starts in {elapsed:?}", received.len());
    Ok(())
}

#[tokio::test]
async fn stop_overrides_start_and_message_cancels_start() -> Result<()> {
    let stack = Stack::shared().await?;
    let room = new_room_with(&stack, "alice", &[("bob", "member")]).await?;
    let (alice, bob) = (
        connect_and_join(&stack, 0, "alice", &room).await?,
        connect_and_join(&stack, 0, "bob", &room).await?,
    );
    alice.send_json(&typing_frame(&room, true)).await?;
    expect_ok(&alice, typing_frame(&room, false)).await?;
    alice.send(&room, "1").await?;
    let received = frames_of_types(&frames_until_message(&bob, "1").await?, TYPING_FRAMES);
    ensure!(matches!(&received[..], [stop] if stop["type"] == "typing:stop"), "{received:?}");

    // Both commands are answered. A typing start that is not published before the message is not published at all.
    let (start, message) = tokio::join!(expect_ok(&alice, typing_frame(&room, true)), alice.send(&room, "2"));
    start?;
    message?;
    frames_until_message(&bob, "2").await?;
    let received = frames_of_types(&frames_until_quiet(&bob).await?, TYPING_FRAMES);
    ensure!(received.is_empty(), "{received:?}");
    Ok(())
}

#[tokio::test]
async fn typing_by_guest_non_member_or_in_archive_is_refused() -> Result<()> {
    let stack = Stack::shared().await?;
    let room = new_room_with(&stack, "alice", &[("gus", "guest")]).await?;
    let alice = connect_and_join(&stack, 0, "alice", &room).await?;
    ensure!(refusal_code(&stack.connect("gus").await?, typing_frame(&room, true)).await? == "forbidden");
    ensure!(
        refusal_code(&connect_and_join(&stack, 0, "gus", &room).await?, typing_frame(&room, false)).await?
            == "forbidden"
    );
    ensure!(refusal_code(&stack.connect("eve").await?, typing_frame(&room, true)).await? == "not_found");
    ensure!(refusal_code(&alice, typing_frame("no-such-room", true)).await? == "not_found");
    expect_ok(&alice, typing_frame(&room, true)).await?;
    stack.http("alice").archive_room(&room).await?.expect(204);
    ensure!(refusal_code(&alice, typing_frame(&room, true)).await? == "conflict");
    Ok(())
}

#[tokio::test]
async fn removed_member_is_not_shown_typing_after_removal() -> Result<()> {
    let stack = Stack::shared().await?;
    let room = new_room_with(&stack, "alice", &[("bob", "member"), ("mal", "member")]).await?;
    let bob = connect_and_join(&stack, 1, "bob", &room).await?;
    let mal = stack.connect("mal").await?;
    let typist = tokio::spawn({
        let room = room.clone();
        async move {
            // Mal sends typing until it is refused because of the removal.
            loop {
                match mal.ask(typing_frame(&room, true)).await {
                    Ok(_) => {}
                    Err(error) => return error.code().to_owned(),
                }
            }
        }
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    let path = format!("/rooms/{room}/members/mal");
    stack.http("alice").request(reqwest::Method::DELETE, &path, None).await?.expect(200);
    ensure!(typist.await? == "not_found");
    bob.send(&room, "end").await?;
    let received = frames_until_message(&bob, "end").await?;
    let removed = received.iter().position(|frame: &Value| frame["type"] == "member:removed");
    let removed = removed.ok_or_else(|| anyhow::anyhow!("{received:?}"))?;
    ensure!(
        !frames_of_types(&received[..removed], TYPING_FRAMES).is_empty(),
        "no typing arrived before the removal"
    );
    ensure!(frames_of_types(&received[removed..], TYPING_FRAMES).is_empty(), "{received:?}");
    Ok(())
}

#[tokio::test]
async fn typing_in_rooms_of_locked_partitions_delays_no_others() -> Result<()> {
    let stack = Stack::start().await?;
    let bob = stack.connect("bob").await?;
    let mut locked = BTreeMap::new();
    for _ in 0..6 {
        let room = new_room_with(&stack, "bob", &[]).await?;
        bob.send(&room, "first").await?;
        locked.insert(Partition::of(&RoomId::parse(&room)?).0, room);
    }
    let free = loop {
        let room = new_room_with(&stack, "alice", &[("carol", "member")]).await?;
        if !locked.contains_key(&Partition::of(&RoomId::parse(&room)?).0) {
            break room;
        }
    };
    let alice = connect_and_join(&stack, 0, "alice", &free).await?;
    let partitions: Vec<String> = locked.keys().map(ToString::to_string).collect();
    let rows = format!("SELECT FROM partitions WHERE partition IN ({}) FOR UPDATE", partitions.join(","));
    let hold = hold(&stack, &rows, 9.0).await?;
    // Rooms without their hashes in Redis must be seeded again.
    for room in locked.values() {
        stack.shards().command::<()>(redis::cmd("DEL").arg(keys::room(&RoomId::parse(room)?))).await?;
    }
    for room in locked.values() {
        bob.send_json(&typing_frame(room, true)).await?;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    tokio::time::timeout(Duration::from_secs(3), expect_ok(&alice, typing_frame(&free, true))).await??;
    hold.await?;
    // The rooms are usable again.
    for room in locked.values() {
        expect_ok(&bob, typing_frame(room, false)).await?;
    }
    Ok(())
}
