//! Direct rooms: both users are members, so neither may change the messages of the other.

use anyhow::{Result, ensure};
use reqwest::Method;
use serde_json::json;
use tidings_harness::Stack;

#[tokio::test]
async fn neither_user_of_direct_room_changes_the_others_messages() -> Result<()> {
    let stack = Stack::shared().await?;
    let (alice, bob) = (stack.http("alice"), stack.http("bob"));
    let created = alice.create_room("direct", &["bob"]).await?.expect(201).body;
    ensure!(created["role"] == "member", "{created}");
    let room = created["room"].as_str().unwrap_or_default();
    bob.send(room, "b1", "of bob").await?.expect(201);
    bob.send(room, "b2", "gone").await?.expect(201);
    alice.send(room, "a1", "of alice").await?.expect(201);
    let path = |seq: u64| format!("/rooms/{room}/messages/{seq}");
    bob.request(Method::DELETE, &path(2), None).await?.expect(200);
    for (user, other) in [(&alice, 1), (&bob, 3)] {
        let edit = Some(json!({"content": "changed"}));
        ensure!(user.request(Method::PATCH, &path(other), edit).await?.expect(403).code() == "forbidden");
        user.request(Method::DELETE, &path(other), None).await?.expect(403);
        for seq in 1..=3 {
            user.get(&format!("{}/versions", path(seq))).await?.expect(403);
        }
        user.change_room(room, json!({"name": "Ours"})).await?.expect(403);
        user.archive_room(room).await?.expect(403);
    }
    let socket = stack.connect("alice").await?;
    socket.join_and_catch_up(room).await?;
    ensure!(socket.delete(room, 1).await.is_err_and(|error| error.code() == "forbidden"));
    alice.request(Method::PATCH, &path(3), Some(json!({"content": "changed"}))).await?.expect(200);
    Ok(())
}

#[tokio::test]
async fn admin_scope_moderates_direct_room_and_deleter_is_shown() -> Result<()> {
    let stack = Stack::shared().await?;
    let (alice, bob) = (stack.http("alice"), stack.http("bob"));
    let root = stack.http("root").with_token(&stack.admin_token("root"));
    let room = alice.create_room("direct", &["bob"]).await?.expect(201).body["room"].clone();
    let room = room.as_str().unwrap_or_default();
    bob.send(room, "b1", "rude").await?.expect(201);
    bob.send(room, "b2", "sorry").await?.expect(201);
    let path = |seq: u64| format!("/rooms/{room}/messages/{seq}");
    root.request(Method::DELETE, &path(1), None).await?.expect(200);
    bob.request(Method::DELETE, &path(2), None).await?.expect(200);
    let versions = root.get(&format!("{}/versions", path(1))).await?.expect(200).body;
    ensure!(versions["versions"][0]["content"] == "rude", "{versions}");
    // Whoever reads the message later sees who deleted it, on each way.
    let page = alice.messages(room, "").await?.expect(200).body["messages"].clone();
    let events = alice.events(room, "after=0").await?.expect(200).body["events"].clone();
    for (place, by) in [(0, "root"), (1, "bob")] {
        let message = alice.get(&path(place + 1)).await?.expect(200).body;
        let place = usize::try_from(place)?;
        ensure!(message["deleted_by"] == by, "{message}");
        ensure!(page[place]["deleted_by"] == by && events[place]["deleted_by"] == by, "{page} {events}");
    }
    Ok(())
}
