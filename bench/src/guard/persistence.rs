//! The operations while persistence is counted. All messages are appended before persistence may read the first,
//! because otherwise the batches would vary.

use anyhow::{Result, ensure};
use serde_json::json;
use tidings_harness::{Client, Service};

use super::CountOptions;
use super::system::{PATIENCE, System, message};

/// Rooms; they are in most partitions, because a read is shared among the partitions.
const ROOMS: usize = 64;
/// Messages of each room before the count, and while it runs. Each number completes a block of the search index, so that
/// the indexer takes the block soon.
const STORED_BEFORE: usize = 63;
const STORED_PER_ROOM: usize = 64;
const PAGES: usize = 100;
/// Messages of a page: the default limit.
const PAGE: usize = 50;
const PAGES_BEFORE: usize = 20;

/// Instructions of persistence for each message that it stores and indexes, in many rooms at once.
pub(super) async fn stored(options: &CountOptions) -> Result<u64> {
    let (system, sender, rooms) = start(options, ROOMS).await?;
    store(&system, &sender, &rooms, STORED_BEFORE).await?;
    system.begin().await?;
    store(&system, &sender, &rooms, STORED_PER_ROOM).await?;
    system.end(ROOMS * STORED_PER_ROOM).await
}

/// Instructions of persistence for each page of a room's history.
pub(super) async fn pages(options: &CountOptions) -> Result<u64> {
    let (system, sender, rooms) = start(options, 1).await?;
    store(&system, &sender, &rooms, 2 * PAGE).await?;
    let http = system.stack.http("sender");
    let read = async |pages: usize| {
        for _ in 0..pages {
            let answer = http.messages(&rooms[0], &format!("limit={PAGE}")).await?;
            let messages = answer.body["messages"].as_array().map_or(0, Vec::len);
            ensure!(answer.status == 200 && messages == PAGE, "a page: {} {messages}", answer.status);
        }
        Ok(())
    };
    read(PAGES_BEFORE).await?;
    system.begin().await?;
    read(PAGES).await?;
    system.end(PAGES).await
}

/// Starts a system with a user in this many rooms. The room ids, and so the partitions, are the same in each run.
async fn start(options: &CountOptions, rooms: usize) -> Result<(System, Client, Vec<String>)> {
    let system = System::start(Service::Persistence, 1, options).await?;
    let token = system.stack.admin_token("sender");
    let http = system.stack.http("sender").with_token(&token);
    let mut ids = Vec::with_capacity(rooms);
    for number in 0..rooms {
        let id = format!("01990000-0000-7000-8000-{number:012}");
        let answer = http.post("/rooms", json!({ "kind": "private", "id": id })).await?;
        ensure!(answer.status == 201, "make a room: {} {}", answer.status, answer.body);
        ids.push(id);
    }
    let sender = system.stack.connect("sender").await?;
    sender.join_many(&ids.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    Ok((system, sender, ids))
}

/// Appends messages to each room while persistence is paused; then it stores and indexes them.
async fn store(system: &System, sender: &Client, rooms: &[String], messages: usize) -> Result<()> {
    let persistence = system.stack.persistence(0);
    persistence.pause()?;
    for number in 1..=messages {
        for room in rooms {
            // The last message of a room is stored after all others of the room.
            let stage = if number == messages { "stored" } else { "accepted" };
            let mut frame = message(room);
            (frame["type"], frame["ref"], frame["ack"]) =
                (json!("message:send"), json!("sent"), json!(stage));
            sender.send_json(&frame).await?;
        }
        for _ in rooms {
            sender.wait_for("message:new", PATIENCE).await?;
        }
    }
    persistence.resume()?;
    for _ in 0..messages * rooms.len() {
        sender.wait_for("ack", PATIENCE).await?;
    }
    let behind = "SELECT count(*) FROM rooms r LEFT JOIN search_progress p ON p.room_id = r.id \
                  WHERE r.head_seq > COALESCE(p.indexed_seq, 0)";
    system.stack.database().until(behind, "0").await
}
