//! Who is erased stays erased: nobody makes a member of them, whatever was under way.

use std::time::{Duration, Instant};

use crate::room_log::{PATIENCE, RoomLog, hold, hold_partition};
use anyhow::{Result, ensure};
use reqwest::Method;
use serde_json::json;
use tidings_harness::{Http, Stack};
use tidings_shared::{
    ids::UserId,
    log::{Entry, Minimum, stored::Stored},
};

async fn erase(user: &Http) -> Result<u16> {
    Ok(user.request(Method::DELETE, "/me", None).await?.status)
}

const MEMBERSHIPS: &str = "SELECT count(*) FROM members WHERE user_id = 'mallory'";
const ERASED: &str = "SELECT count(*) FROM users WHERE id = 'mallory' AND erased_at IS NOT NULL";

#[tokio::test]
async fn nobody_adds_whoever_is_erased_or_names_them_in_a_new_room() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&["mallory"]).await?;
    assert_eq!(erase(&stack.http("mallory")).await?, 204);
    let root = stack.http("root").with_token(&stack.admin_token("root"));
    for asker in [&alice, &root] {
        for role in ["member", "owner"] {
            ensure!(asker.put_member(&room, "mallory", role).await?.expect(404).code() == "not_found");
        }
        for kind in ["direct", "private", "public"] {
            let refused = asker.create_room(kind, &["mallory"]).await?.expect(404);
            ensure!(refused.body["field"] == "members", "{kind}: {}", refused.body);
        }
    }
    ensure!(stack.database().value("SELECT count(*) FROM rooms").await? == "1", "a room was left behind");
    ensure!(stack.database().value(MEMBERSHIPS).await? == "0");
    // So nobody hands on what they own to nobody.
    ensure!(alice.remove_member(&room, "alice").await?.expect(409).code() == "conflict");
    Ok(())
}

#[tokio::test]
async fn a_creation_that_was_under_way_is_before_an_erasure_or_not_at_all() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    for user in ["alice", "mallory"] {
        stack.http(user).my_rooms("").await?.expect(200);
    }
    // The creation is held behind the look at its members: then no erasure begins before it is through.
    let held = hold(&stack, "LOCK TABLE members IN SHARE MODE", 1.5).await?;
    let alice = stack.http("alice");
    let creating = tokio::spawn(async move { alice.create_room("private", &["mallory"]).await });
    stack.database().until_blocked().await?;
    assert_eq!(erase(&stack.http("mallory")).await?, 204);
    creating.await??.expect(201);
    held.await?;
    ensure!(stack.database().value(MEMBERSHIPS).await? == "0", "a room that the erasure did not see");
    Ok(())
}

#[tokio::test]
async fn an_addition_that_was_accepted_before_and_is_stored_late_is_taken_back() -> Result<()> {
    let stack = Stack::builder().gateways(0).persistence(2).start().await?;
    let room = RoomLog::new(&stack, 10_000).await?;
    room.send("m1").await?;
    stack.http("mallory").my_rooms("").await?.expect(200);
    let held = hold_partition(&stack, room.partition(), 2.0).await?;
    let (alice, id) = (stack.http("alice"), room.room.clone());
    let adding = tokio::spawn(async move { alice.put_member(id.as_str(), "mallory", "owner").await });
    let begun = Instant::now();
    while room.log.read(&room.room, None, tidings_shared::ids::Epoch(0), None, &[]).await?.head.seq.0 < 2 {
        ensure!(begun.elapsed() < PATIENCE, "nothing was accepted");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // In no room as far as PostgreSQL knows.
    assert_eq!(erase(&stack.http_at(1, "mallory")).await?, 204);
    held.await?;
    adding.await??.expect(200);
    ensure!(stack.database().value(MEMBERSHIPS).await? == "0", "a member for ever");
    Ok(())
}

#[tokio::test]
async fn whoever_is_added_after_their_erasure_by_a_node_that_did_not_know_leaves_again() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let room = RoomLog::new(&stack, 10_000).await?;
    stack.http("mallory").my_rooms("").await?.expect(200);
    assert_eq!(erase(&stack.http("mallory")).await?, 204);
    // Decided before the erasure began, and appended when it was done.
    let (mallory, body) =
        (UserId::parse("mallory")?, json!({"user": "mallory", "role": "owner", "by": "alice"}));
    let late = Entry {
        sender: Some(&room.alice),
        membership: Some((&mallory, "owner")),
        members_delta: 1,
        minimum: Minimum::Admin,
        ..Entry::new(&room.room, "member:added", body.to_string())
    };
    let accepted = room.log.append(&late).await?;
    ensure!(room.stored(&accepted).await == Stored::Here);
    stack.database().until(MEMBERSHIPS, "0").await?;
    stack.database().until(ERASED, "1").await?;
    let count = format!(
        "SELECT (member_count = (SELECT count(*) FROM members m WHERE m.room_id = r.id))::text FROM rooms r \
         WHERE r.id = '{}'",
        room.room
    );
    ensure!(stack.database().value(&count).await? == "true");
    Ok(())
}
