//! A user in 10,000 rooms, of which a connection joins only the 200 with the most recent activity.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tidings_harness::{Client, Cursor, ServerFrame, Stack};
use tidings_shared::{
    ids::{RoomId, UserId},
    log::{Layout, RedisConnection},
    people::{self, UserNotice},
};

const WAIT_TIMEOUT: Duration = Duration::from_secs(30);
/// A room and these rooms are the most that a user may be in.
const OTHER_ROOMS: usize = 9_999;

/// Inserts rooms of bob directly into the database. Their activity is later than that of all rooms before.
async fn insert_rooms(stack: &Stack) -> Result<()> {
    stack
        .database()
        .query(&format!(
            "INSERT INTO rooms (id, partition, kind, name, created_by) \
             SELECT 'many' || n, 0, 'private', 'Room ' || n, 'bob' FROM generate_series(1, {OTHER_ROOMS}) n; \
             INSERT INTO members (room_id, user_id, role) \
             SELECT 'many' || n, 'bob', 'owner' FROM generate_series(1, {OTHER_ROOMS}) n"
        ))
        .await?;
    Ok(())
}

async fn next_frame(client: &Client, kind: &str) -> Result<Value> {
    match client.wait_for(kind, WAIT_TIMEOUT).await? {
        ServerFrame::Other(value) => Ok(value),
        other => anyhow::bail!("{other:?}"),
    }
}

#[tokio::test]
async fn mention_beyond_joined_rooms_is_told_with_10000_rooms() -> Result<()> {
    let stack = Stack::builder().gateways(2).start().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&["bob"]).await?;
    insert_rooms(&stack).await?;
    let bobs = [stack.connect_at(0, "bob").await?, stack.connect_at(1, "bob").await?];
    for bob in &bobs {
        let joined = bob.join_mine().await?;
        ensure!(joined.rooms.len() == 200 && joined.more, "{} rooms", joined.rooms.len());
        ensure!(joined.rooms.iter().all(|joined| joined.room != room));
    }
    let body = json!({"client_id": "1", "content": "hi", "mentions": ["bob"]});
    alice.post(&format!("/rooms/{room}/messages"), body).await?.expect(201);
    for bob in &bobs {
        let told = next_frame(bob, "room:activity").await?;
        let from: Cursor = serde_json::from_value(told["from"].clone())?;
        ensure!((&told["room"], &told["seq"], from.seq) == (&json!(room), &json!(1), 0), "{told}");
        // The event is stored, so the list shows it. A client that joins from the cursor receives it.
        let page = stack.http("bob").my_rooms("limit=1").await?.expect(200).body;
        let first = &page["rooms"][0];
        ensure!(first["room"] == json!(room) && first["unread_mentions"] == 1, "{first}");
        bob.join_after(&room, &from).await?;
        let message = bob.wait_for("message:new", WAIT_TIMEOUT).await?;
        ensure!(matches!(message, ServerFrame::Message(message) if message.seq == 1));
    }
    Ok(())
}

// Covers: rooms:activity.
#[tokio::test]
async fn activity_of_many_rooms_is_told_by_one_summary() -> Result<()> {
    const NOTICES: usize = 100;
    let stack = Stack::builder().start().await?;
    let bob = stack.connect("bob").await?;
    let user = UserId::parse("bob")?;
    let notice = |number: usize| -> Result<UserNotice> {
        let room = RoomId::parse(&format!("r{number}"))?;
        Ok(UserNotice::Activity { room, frame: "{\"type\":\"room:activity\"}".into() })
    };
    let notices = (0..NOTICES).map(notice).collect::<Result<Vec<_>>>()?;
    let connection = redis::Client::open(stack.redis().url())?.get_multiplexed_async_connection().await?;
    let mut connection = RedisConnection::new(connection, Layout::Single);
    people::publish(&mut connection, notices.iter().map(|notice| (&user, notice))).await?;
    // One pipeline takes less than a few seconds, and a second has at most ten notices and one summary.
    let (mut told, mut summaries) = (0, 0);
    publish_end(&mut connection, &user).await?;
    loop {
        let frame = bob.next_event(WAIT_TIMEOUT).await?;
        let kind = frame.kind().to_owned();
        match kind.as_str() {
            "room:activity" => told += 1,
            "rooms:activity" => {
                summaries += 1;
                let expected = json!({"type": "rooms:activity", "after_ms": 1000});
                ensure!(matches!(&frame, ServerFrame::Other(frame) if *frame == expected), "{frame:?}");
            }
            "x:end" => break,
            _ => {}
        }
    }
    ensure!(summaries >= 1, "{told} notices and no summary");
    ensure!(
        told >= 10 && told <= (summaries + 1) * 10 && told < NOTICES,
        "{told} notices, {summaries} summaries"
    );
    // In a later second, notices are told again.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    people::publish(&mut connection, notices.first().map(|notice| (&user, notice))).await?;
    bob.wait_for("room:activity", WAIT_TIMEOUT).await.context("a later notice")?;
    Ok(())
}

async fn publish_end(connection: &mut RedisConnection, user: &UserId) -> Result<()> {
    let end = UserNotice::Frame("{\"type\":\"x:end\"}".into());
    Ok(people::publish(connection, [(user, &end)]).await?)
}
