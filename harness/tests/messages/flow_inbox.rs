//! A messenger's list of chats: ordered by activity, with unread counts that a read lowers on every device, and read
//! receipts for the sender.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};
use tidings_harness::{Client, ServerFrame, Stack};

const WAIT_TIMEOUT: Duration = Duration::from_secs(20);

async fn next_json(client: &Client, kind: &str) -> Result<Value> {
    match client.wait_for(kind, WAIT_TIMEOUT).await? {
        ServerFrame::Other(frame) => Ok(frame),
        frame => bail!("{frame:?}"),
    }
}

/// For each room: its id, its unread count and its read mark.
fn summary(rooms: &Value) -> Vec<(String, u64, u64)> {
    let number = |value: &Value| value.as_u64().unwrap_or(u64::MAX);
    let line = |room: &Value| {
        (
            room["room"].as_str().unwrap_or_default().to_owned(),
            number(&room["unread"]),
            number(&room["read_seq"]),
        )
    };
    rooms["rooms"].as_array().into_iter().flatten().map(line).collect()
}

#[tokio::test]
async fn join_mine_joins_all_chats_and_new_chat_needs_no_reconnect() -> Result<()> {
    let stack = Stack::shared().await?;
    let mut rooms = Vec::new();
    for _ in 0..3 {
        rooms.push(stack.http("ann").new_room(&["ben"]).await?);
    }
    let ben = stack.connect_at(1, "ben").await?;
    let joined = ben.join_mine().await?;
    ensure!(joined.rooms.len() == 3 && joined.failed.is_empty() && !joined.more, "{joined:?}");

    // The first message of a new direct chat arrives at once.
    let direct = json!({"kind": "direct", "members": [{"user": "ben"}]});
    let direct = stack.http("ann").post("/rooms", direct).await?.expect(201).body;
    let direct = direct["room"].as_str().unwrap_or_default();
    let added = next_json(&ben, "room:added").await?;
    ensure!(
        (added["room"].as_str(), added["kind"].as_str(), added["role"].as_str())
            == (Some(direct), Some("direct"), Some("member")),
        "{added}"
    );
    let ann = stack.connect_at(0, "ann").await?;
    ann.send(direct, "psst").await?;
    ben.join_after(direct, &serde_json::from_value(added["from"].clone())?).await?;
    ensure!(ben.wait_for("message:new", WAIT_TIMEOUT).await?.log_position() == Some((direct, 1)));
    Ok(())
}

#[tokio::test]
async fn read_on_one_device_reaches_other_devices_and_sender() -> Result<()> {
    let stack = Stack::shared().await?;
    let quiet = stack.http("ann").new_room(&["ben"]).await?;
    let busy = stack.http("ann").new_room(&["ben"]).await?;
    let ann = stack.connect_at(0, "ann").await?;
    ann.join_many(&[&quiet, &busy]).await?;
    ann.send(&quiet, "first").await?;
    tokio::time::sleep(Duration::from_millis(20)).await;
    for n in 0..3 {
        ann.send(&busy, &n.to_string()).await?;
    }
    let http = stack.http("ben");
    let list = http.my_rooms("").await?.expect(200).body;
    ensure!(summary(&list) == [(busy.clone(), 3, 0), (quiet.clone(), 1, 0)], "{list}");
    ensure!(list["rooms"][0]["last_message"]["content"] == "2" && list["rooms"][0]["unread_capped"] == false);

    let (phone, laptop) = (stack.connect_at(0, "ben").await?, stack.connect_at(1, "ben").await?);
    phone.join_mine().await?;
    phone.read(&busy, 2).await?;
    // The sender gets the receipt, and so does ben's other device, which joined no room.
    let seen = next_json(&ann, "receipt:read").await?;
    ensure!(
        seen["room"] == busy.as_str() && seen["marks"][0]["user"] == "ben" && seen["marks"][0]["seq"] == 2,
        "{seen}"
    );
    ensure!(seen["marks"][0]["at"].is_string());
    let mine = next_json(&laptop, "receipt:read").await?;
    ensure!(mine["room"] == busy.as_str() && mine["marks"][0]["seq"] == 2, "{mine}");
    let list = http.my_rooms("").await?.expect(200).body;
    ensure!(summary(&list) == [(busy.clone(), 1, 2), (quiet.clone(), 1, 0)], "{list}");

    // The mark never moves back, a mark above the head is clamped, and the read time is stored.
    phone.read(&busy, 1).await?;
    phone.read(&quiet, 1_000).await?;
    let list = http.my_rooms("").await?.expect(200).body;
    ensure!(summary(&list) == [(busy.clone(), 1, 2), (quiet.clone(), 0, 1)], "{list}");
    let receipts = stack.http("ann").get(&format!("/rooms/{busy}/receipts")).await?.expect(200).body;
    let ben = receipts["receipts"].as_array().into_iter().flatten().find(|one| one["user"] == "ben");
    ensure!(ben.is_some_and(|ben| ben["read_seq"] == 2 && ben["read_at"].is_string()), "{receipts}");

    ann.send(&quiet, "again").await?;
    let list = http.my_rooms("").await?.expect(200).body;
    ensure!(summary(&list) == [(quiet, 1, 1), (busy, 1, 2)], "{list}");
    Ok(())
}
