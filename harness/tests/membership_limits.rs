//! Bounds of rooms, of people in rooms, and of commands over HTTP.

use anyhow::{Result, ensure};
use serde_json::json;
use tidings_harness::Stack;

#[tokio::test]
async fn a_full_room_takes_nobody_until_somebody_goes() -> Result<()> {
    let stack =
        Stack::builder().gateways(0).persistence_env("TIDINGS_MAX_MEMBERS_PER_ROOM", 2).start().await?;
    let alice = stack.http("alice");
    let room = alice.create_room("public", &["bob"]).await?.expect(201).body["room"].clone();
    let room = room.as_str().unwrap_or_default();
    ensure!(alice.put_member(room, "carol", "member").await?.expect(413).code() == "too_large");
    stack.http("carol").join_room(room, "carol").await?.expect(413);
    alice.put_member(room, "bob", "vip").await?.expect(200);
    alice.remove_member(room, "bob").await?.expect(200);
    stack.http("carol").join_room(room, "carol").await?.expect(200);
    Ok(())
}

#[tokio::test]
async fn nobody_is_in_more_rooms_than_the_bound() -> Result<()> {
    let stack = Stack::builder().gateways(0).persistence_env("TIDINGS_MAX_ROOMS_PER_USER", 2).start().await?;
    let (alice, bob) = (stack.http("alice"), stack.http("bob"));
    let first = alice.new_room(&["bob"]).await?;
    let second = alice.new_room(&[]).await?;
    let third = alice.create_room("private", &[]).await?.expect(413);
    ensure!((third.code(), third.body["field"].as_str()) == ("too_large", Some("members")));
    bob.create_room("private", &["alice"]).await?.expect(413);
    alice.put_member(&second, "bob", "member").await?.expect(200);
    let others = stack.http("carol").create_room("public", &[]).await?.expect(201).body["room"].clone();
    bob.join_room(others.as_str().unwrap_or_default(), "bob").await?.expect(413);
    bob.remove_member(&first, "bob").await?.expect(200);
    bob.join_room(others.as_str().unwrap_or_default(), "bob").await?.expect(200);
    Ok(())
}

#[tokio::test]
async fn commands_over_http_are_bounded_per_user_and_tell_when_to_come_again() -> Result<()> {
    let stack = Stack::builder()
        .gateways(0)
        .persistence_env("TIDINGS_MESSAGES_PER_SECOND", 1)
        .persistence_env("TIDINGS_MESSAGES_BURST", 3)
        .start()
        .await?;
    let (alice, root) = (stack.http("alice"), stack.http("root").with_token(&stack.admin_token("root")));
    let room = alice.new_room(&["bob"]).await?;
    alice.send(&room, "a1", "one").await?.expect(201);
    alice.put_member(&room, "carol", "member").await?.expect(200);
    alice.change_room(&room, json!({"name": "Tea"})).await?.expect(200);
    let refused = alice.send(&room, "a2", "two").await?.expect(429);
    ensure!(refused.code() == "rate_limited", "{}", refused.body);
    ensure!(refused.body["retry_after_ms"].as_u64().is_some_and(|ms| (1..=1000).contains(&ms)));
    for refused in [
        alice.remove_member(&room, "carol").await?,
        alice.archive_room(&room).await?,
        alice.request(reqwest::Method::DELETE, &format!("/rooms/{room}/messages/1"), None).await?,
    ] {
        refused.expect(429);
    }
    // Each user for themselves; whoever acts for all of them is not counted; reading is free.
    stack.http("bob").send(&room, "b1", "hi").await?.expect(201);
    for n in 0..10 {
        root.put_member(&room, &format!("u{n}"), "member").await?.expect(200);
        alice.messages(&room, "").await?.expect(200);
    }
    let until = std::time::Instant::now();
    while alice.send(&room, "a2", "two").await?.status == 429 {
        ensure!(until.elapsed().as_secs() < 20, "never allowed again");
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    Ok(())
}
