//! `room:activity`: users are told of messages that mention them and of messages in their direct rooms, on connections
//! that have not joined the room, and only if they may see the message.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use tidings_harness::{Client, ClientError, Cursor, Http, ServerFrame, Stack};

const WAIT_TIMEOUT: Duration = Duration::from_secs(20);

async fn send(http: &Http, room: &str, client_id: &str, mut fields: Value) -> Result<()> {
    (fields["client_id"], fields["content"]) = (json!(client_id), json!("x"));
    http.post(&format!("/rooms/{room}/messages"), fields).await?.expect(201);
    Ok(())
}

/// The next notice: its room, seq and `mention`, and the seq of the cursor.
async fn next_activity(client: &Client) -> Result<(String, [u64; 2], bool)> {
    match client.wait_for("room:activity", WAIT_TIMEOUT).await? {
        ServerFrame::Other(frame) => {
            let from: Cursor = serde_json::from_value(frame["from"].clone())?;
            let room = frame["room"].as_str().unwrap_or_default().to_owned();
            Ok((room, [frame["seq"].as_u64().unwrap_or_default(), from.seq], frame["mention"] == true))
        }
        other => bail!("{other:?}"),
    }
}

async fn expect_no_activity(client: &Client) -> Result<()> {
    client.ping().await?;
    match client.wait_for("room:activity", Duration::from_millis(500)).await {
        Err(ClientError::Silent(_)) => Ok(()),
        other => bail!("{other:?}"),
    }
}

// Covers: room:activity.
#[tokio::test]
async fn activity_reaches_only_who_may_see_it() -> Result<()> {
    let stack = Stack::shared().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&["bob", "carol", "dan"]).await?;
    let marker = alice.new_room(&["bob", "carol", "dan"]).await?;
    let bobs = [stack.connect_at(0, "bob").await?, stack.connect_at(1, "bob").await?];
    let (carol, dan) = (stack.connect("carol").await?, stack.connect("dan").await?);
    dan.join_and_catch_up(&room).await?;

    send(&alice, &room, "1", json!({})).await?;
    let private = json!({"mentions": ["bob"], "visible_to": {"users": ["bob"], "roles": []}});
    send(&alice, &room, "2", private).await?;
    for bob in &bobs {
        ensure!(next_activity(bob).await? == (room.clone(), [2, 1], true));
    }
    // Carol is removed, but the stored message still mentions her, so edits may do so too.
    send(&alice, &room, "3", json!({"mentions": ["carol", "dan"]})).await?;
    ensure!(next_activity(&carol).await? == (room.clone(), [3, 2], true));
    alice.remove_member(&room, "carol").await?.expect(200);
    let edit = json!({"content": "y", "mentions": ["bob", "carol", "dan"]});
    let path = format!("/rooms/{room}/messages/3");
    alice.request(Method::PATCH, &path, Some(edit)).await?.expect(200);
    for bob in &bobs {
        ensure!(next_activity(bob).await? == (room.clone(), [5, 4], true));
    }
    send(&alice, &marker, "1", json!({"mentions": ["carol", "dan"]})).await?;
    for client in [&carol, &dan] {
        // Dan has joined the room, so he gets the events and no notice.
        ensure!(next_activity(client).await? == (marker.clone(), [1, 0], true));
        expect_no_activity(client).await?;
    }
    for bob in &bobs {
        expect_no_activity(bob).await?;
    }
    Ok(())
}

#[tokio::test]
async fn direct_message_is_told_to_both_users_unless_private() -> Result<()> {
    let stack = Stack::shared().await?;
    let alice = stack.http("alice");
    let room = alice.create_room("direct", &["bob"]).await?.expect(201).body["room"].clone();
    let room = room.as_str().unwrap_or_default();
    let (bob, own) = (stack.connect("bob").await?, stack.connect("alice").await?);
    send(&alice, room, "1", json!({"visible_to": {"users": ["alice"], "roles": []}})).await?;
    send(&alice, room, "2", json!({})).await?;
    for client in [&bob, &own] {
        ensure!(next_activity(client).await? == (room.to_owned(), [2, 1], false));
    }
    // The next round knows the room.
    tokio::time::sleep(Duration::from_millis(200)).await;
    send(&stack.http("bob"), room, "3", json!({"mentions": ["alice"]})).await?;
    ensure!(next_activity(&bob).await? == (room.to_owned(), [3, 2], false));
    ensure!(next_activity(&own).await? == (room.to_owned(), [3, 2], true));
    for client in [&bob, &own] {
        expect_no_activity(client).await?;
    }
    Ok(())
}
