//! An erased user stays erased and never becomes a member again, even if requests about the user are in progress.

use std::time::{Duration, Instant};

use crate::room_log::{RoomLog, WAIT_TIMEOUT, hold, hold_partition};
use anyhow::{Result, ensure};
use reqwest::Method;
use serde_json::json;
use tidings_harness::{Http, Stack};
use tidings_shared::{
    ids::UserId,
    log::{Entry, stored::Stored},
    role::MinRole,
};

async fn erase(user: &Http) -> Result<u16> {
    Ok(user.request(Method::DELETE, "/me", None).await?.status)
}

const COUNT_MEMBERSHIPS: &str = "SELECT count(*) FROM members WHERE user_id = 'mallory'";
const COUNT_ERASED: &str = "SELECT count(*) FROM users WHERE id = 'mallory' AND erased_at IS NOT NULL";

#[tokio::test]
async fn erased_user_cannot_be_added_or_named_in_new_room() -> Result<()> {
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
    ensure!(stack.database().value(COUNT_MEMBERSHIPS).await? == "0");
    // The erased user could not become an owner, so alice is the last owner and cannot leave.
    ensure!(alice.remove_member(&room, "alice").await?.expect(409).code() == "conflict");
    Ok(())
}

#[tokio::test]
async fn erasure_waits_for_pending_room_creation() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    for user in ["alice", "mallory"] {
        stack.http(user).my_rooms("").await?.expect(200);
    }
    // The lock stops the creation after it has checked its members. No erasure begins before the creation is done.
    let held = hold(&stack, "LOCK TABLE members IN SHARE MODE", 1.5).await?;
    let alice = stack.http("alice");
    let creating = tokio::spawn(async move { alice.create_room("private", &["mallory"]).await });
    stack.database().until_blocked().await?;
    assert_eq!(erase(&stack.http("mallory")).await?, 204);
    creating.await??.expect(201);
    held.await?;
    ensure!(stack.database().value(COUNT_MEMBERSHIPS).await? == "0", "the erasure missed a room");
    Ok(())
}

#[tokio::test]
async fn accepted_addition_stored_after_erasure_is_reverted() -> Result<()> {
    let stack = Stack::builder().gateways(0).persistence(2).start().await?;
    let room = RoomLog::new(&stack, 10_000).await?;
    room.send("m1").await?;
    stack.http("mallory").my_rooms("").await?.expect(200);
    let held = hold_partition(&stack, room.partition(), 2.0).await?;
    let (alice, id) = (stack.http("alice"), room.room.clone());
    let adding = tokio::spawn(async move { alice.put_member(id.as_str(), "mallory", "owner").await });
    let begun = Instant::now();
    while room.log.read(&room.room, None, tidings_shared::ids::Epoch(0), None, &[]).await?.head.seq.0 < 2 {
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "nothing was accepted");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // PostgreSQL does not know of the membership yet.
    assert_eq!(erase(&stack.http_at(1, "mallory")).await?, 204);
    held.await?;
    adding.await??.expect(200);
    ensure!(stack.database().value(COUNT_MEMBERSHIPS).await? == "0", "the erased user stayed a member");
    Ok(())
}

#[tokio::test]
async fn addition_by_stale_node_after_erasure_is_reverted() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let room = RoomLog::new(&stack, 10_000).await?;
    stack.http("mallory").my_rooms("").await?.expect(200);
    assert_eq!(erase(&stack.http("mallory")).await?, 204);
    // This change was decided before the erasure began, and is appended after it.
    let (mallory, body) =
        (UserId::parse("mallory")?, json!({"user": "mallory", "role": "owner", "by": "alice"}));
    let late = Entry {
        sender: Some(&room.alice),
        membership: Some((&mallory, "owner")),
        members_delta: 1,
        min_role: MinRole::Admin,
        ..Entry::new(&room.room, "member:added", body.to_string())
    };
    let accepted = room.log.append(&late).await?;
    ensure!(room.wait_stored(&accepted).await == Stored::AsAccepted);
    stack.database().until(COUNT_MEMBERSHIPS, "0").await?;
    stack.database().until(COUNT_ERASED, "1").await?;
    let count = format!(
        "SELECT (member_count = (SELECT count(*) FROM members m WHERE m.room_id = r.id))::text FROM rooms r \
         WHERE r.id = '{}'",
        room.room
    );
    ensure!(stack.database().value(&count).await? == "true");
    Ok(())
}
