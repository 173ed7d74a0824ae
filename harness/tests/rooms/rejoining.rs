//! Joins of public rooms by users who were members before: a removal by others and the role `guest` outlive leaving.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tidings_harness::{Http, Stack, System};

async fn new_public_room(stack: &impl System) -> Result<String> {
    let members = json!([
        {"user": "ada", "role": "admin"}, {"user": "bob"}, {"user": "gus", "role": "guest"}
    ]);
    let room = stack.http("alice").post("/rooms", json!({"kind": "public", "members": members})).await?;
    Ok(room.expect(201).body["room"].as_str().context("a room")?.to_owned())
}

/// The user of `http` leaves and joins again. Returns the role after the join.
async fn leave_and_join(http: &Http, room: &str, user: &str) -> Result<String> {
    http.remove_member(room, user).await?.expect(200);
    let joined = http.put_member(room, user, "owner").await?.expect(200).body;
    let role = joined["role"].as_str().context("a role")?;
    ensure!(http.join_room(room, user).await?.expect(200).body["role"] == role, "{joined}");
    Ok(role.to_owned())
}

#[tokio::test]
async fn removed_member_joins_public_room_only_after_readdition() -> Result<()> {
    let stack = Stack::shared().await?;
    let room = new_public_room(&stack).await?;
    let (ada, bob) = (stack.http("ada"), stack.http("bob"));
    let root = stack.http("root").with_token(&stack.admin_token("root"));
    for (remover, lifter) in [(&ada, &stack.http("alice")), (&root, &ada), (&ada, &root)] {
        remover.remove_member(&room, "bob").await?.expect(200);
        bob.join_room(&room, "bob").await?.expect(403);
        ensure!(bob.put_member(&room, "bob", "guest").await?.expect(403).code() == "forbidden");
        bob.room(&room).await?.expect(404);
        lifter.put_member(&room, "bob", "member").await?.expect(200);
        ensure!(leave_and_join(&bob, &room, "bob").await? == "member");
    }
    Ok(())
}

#[tokio::test]
async fn guest_returns_to_public_room_as_guest_until_promoted() -> Result<()> {
    let stack = Stack::shared().await?;
    let room = new_public_room(&stack).await?;
    let (ada, bob, gus) = (stack.http("ada"), stack.http("bob"), stack.http("gus"));
    for _ in 0..2 {
        ensure!(leave_and_join(&gus, &room, "gus").await? == "guest");
        gus.send(&room, "g1", "may I?").await?.expect(403);
    }
    ada.put_member(&room, "bob", "guest").await?.expect(200);
    ensure!(leave_and_join(&bob, &room, "bob").await? == "guest");
    bob.send(&room, "b1", "may I?").await?.expect(403);
    ada.put_member(&room, "bob", "member").await?.expect(200);
    ensure!(leave_and_join(&bob, &room, "bob").await? == "member");
    bob.send(&room, "b1", "may I?").await?.expect(201);
    // Higher roles and roles of other names are not kept.
    ada.put_member(&room, "bob", "vip").await?.expect(200);
    ensure!(leave_and_join(&bob, &room, "bob").await? == "member");
    ensure!(leave_and_join(&ada, &room, "ada").await? == "member");
    Ok(())
}
