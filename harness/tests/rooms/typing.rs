//! Typing: whom it reaches, how often, and what ends it.

use std::time::{Duration, Instant};

use crate::hearing::{
    archive, connect_as, heard_until, heard_until_quiet, joined, of_types, ok, refused, room_with, typing,
};
use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tidings_harness::Stack;

const TYPING: &[&str] = &["typing:start", "typing:stop"];

// Covers: typing:start, typing:stop.
#[tokio::test]
async fn typing_reaches_the_others_who_joined_with_the_typists_name_and_nobody_else() -> Result<()> {
    let stack = Stack::builder().gateways(2).start().await?;
    let room =
        room_with(&stack, "alice", &[("bob", "member"), ("gus", "guest"), ("carol", "member")]).await?;
    let alice = connect_as(&stack, 0, "alice", "Alice A.").await?;
    alice.join_and_catch_up(&room).await?;
    let second = joined(&stack, 1, "alice", &room).await?;
    let others = [joined(&stack, 0, "bob", &room).await?, joined(&stack, 1, "gus", &room).await?];
    let not_joined = stack.connect_at(1, "carol").await?;

    ok(&alice, typing(&room, true)).await?;
    ok(&alice, typing(&room, false)).await?;
    alice.send(&room, "end").await?;
    let expected = [
        json!({"type": "typing:start", "room": room, "user": {"id": "alice", "name": "Alice A."}, "expires_ms": 2000}),
        json!({"type": "typing:stop", "room": room, "user": {"id": "alice"}}),
    ];
    for other in &others {
        let heard = of_types(&heard_until(other, "end").await?, TYPING);
        ensure!(heard == expected, "{heard:?}");
    }
    for own in [&alice, &second] {
        let heard = of_types(&heard_until(own, "end").await?, TYPING);
        ensure!(heard.is_empty(), "{heard:?}");
    }
    let heard = of_types(&heard_until_quiet(&not_joined).await?, TYPING);
    ensure!(heard.is_empty(), "{heard:?}");
    // It is not of the log.
    let late = stack.connect_at(1, "bob").await?;
    ensure!(late.join(&room).await?.head.seq == 1, "typing took a place in the log");
    Ok(())
}

#[tokio::test]
async fn starts_of_one_person_go_out_once_in_100_ms_from_all_their_connections_together() -> Result<()> {
    let stack = Stack::builder().gateway_env("TIDINGS_TYPING_PER_SECOND", 10_000).start().await?;
    let room = room_with(&stack, "alice", &[("bob", "member")]).await?;
    let bob = joined(&stack, 0, "bob", &room).await?;
    let mut typists = Vec::new();
    for _ in 0..4 {
        typists.push(stack.connect("alice").await?);
    }
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        for typist in &typists {
            typist.send_json(&typing(&room, true)).await?;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    ok(&typists[0], typing(&room, true)).await?;
    let elapsed = begun.elapsed();
    bob.send(&room, "end").await?;
    let heard = of_types(&heard_until(&bob, "end").await?, TYPING);
    let most = elapsed.as_millis() / 100 + 1;
    ensure!((heard.len() as u128) <= most, "{} starts in {elapsed:?}", heard.len());
    ensure!(heard.len() >= 5, "{} starts in {elapsed:?}", heard.len());
    Ok(())
}

#[tokio::test]
async fn a_stop_right_after_a_start_wins_and_a_message_takes_back_a_start() -> Result<()> {
    let stack = Stack::start().await?;
    let room = room_with(&stack, "alice", &[("bob", "member")]).await?;
    let (alice, bob) = (joined(&stack, 0, "alice", &room).await?, joined(&stack, 0, "bob", &room).await?);
    alice.send_json(&typing(&room, true)).await?;
    ok(&alice, typing(&room, false)).await?;
    alice.send(&room, "1").await?;
    let heard = of_types(&heard_until(&bob, "1").await?, TYPING);
    ensure!(matches!(&heard[..], [stop] if stop["type"] == "typing:stop"), "{heard:?}");

    // Both are answered, and the start, which would come behind the message, is not heard of.
    let (start, message) = tokio::join!(ok(&alice, typing(&room, true)), alice.send(&room, "2"));
    start?;
    message?;
    let heard = of_types(&heard_until_quiet(&bob).await?, TYPING);
    ensure!(heard.is_empty(), "{heard:?}");
    Ok(())
}

#[tokio::test]
async fn guests_strangers_and_archived_rooms_are_refused() -> Result<()> {
    let stack = Stack::start().await?;
    let room = room_with(&stack, "alice", &[("gus", "guest")]).await?;
    let alice = joined(&stack, 0, "alice", &room).await?;
    ensure!(refused(&stack.connect("gus").await?, typing(&room, true)).await? == "forbidden");
    ensure!(refused(&joined(&stack, 0, "gus", &room).await?, typing(&room, false)).await? == "forbidden");
    ensure!(refused(&stack.connect("eve").await?, typing(&room, true)).await? == "not_found");
    ensure!(refused(&alice, typing("no-such-room", true)).await? == "not_found");
    ok(&alice, typing(&room, true)).await?;
    archive(&stack, &room).await?;
    ensure!(refused(&alice, typing(&room, true)).await? == "conflict");
    Ok(())
}

#[tokio::test]
async fn a_removed_member_is_not_seen_typing_after_the_event_that_says_so() -> Result<()> {
    let stack = Stack::builder().gateways(2).gateway_env("TIDINGS_TYPING_PER_SECOND", 10_000).start().await?;
    let room = room_with(&stack, "alice", &[("bob", "member"), ("mal", "member")]).await?;
    let bob = joined(&stack, 1, "bob", &room).await?;
    let mal = stack.connect("mal").await?;
    let typist = tokio::spawn({
        let room = room.clone();
        async move {
            // On until it is refused: not a member any more.
            loop {
                match mal.ask(typing(&room, true)).await {
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
    let heard = heard_until(&bob, "end").await?;
    let removed = heard.iter().position(|frame: &Value| frame["type"] == "member:removed");
    let removed = removed.ok_or_else(|| anyhow::anyhow!("{heard:?}"))?;
    ensure!(!of_types(&heard[..removed], TYPING).is_empty(), "nobody was seen typing before");
    ensure!(of_types(&heard[removed..], TYPING).is_empty(), "{heard:?}");
    Ok(())
}
