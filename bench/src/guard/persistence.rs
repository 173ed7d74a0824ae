//! The counted operations of persistence. All messages are appended while persistence is paused, because otherwise the
//! sizes of the batches would vary.

use anyhow::{Result, ensure};
use serde_json::json;
use tidings_harness::{Client, Service};

use super::CountOptions;
use super::system::{System, WAIT_TIMEOUT, new_message_frame};

/// Number of rooms. There are as many as partitions, so most partitions have one: persistence reads all partitions with
/// shared requests.
const ROOMS: usize = 64;
/// Messages of each room before counting begins, and while counting. These two numbers and [`PAGED_MESSAGES`] end a
/// block of the search index, because the indexer indexes a complete block soon.
const WARMUP_MESSAGES_PER_ROOM: usize = 63;
const COUNTED_MESSAGES_PER_ROOM: usize = 64;
/// Messages of the room whose pages are counted.
const PAGED_MESSAGES: usize = 127;
const COUNTED_PAGES: usize = 100;
/// Messages of a page: the default limit.
const PAGE_SIZE: usize = 50;
const WARMUP_PAGES: usize = 20;

/// Instructions of persistence per message that it stores and indexes, in many rooms at once.
pub(super) async fn instructions_per_stored_message(options: &CountOptions) -> Result<u64> {
    let (system, sender, rooms) = start_with_rooms(options, ROOMS).await?;
    store_and_index(&system, &sender, &rooms, WARMUP_MESSAGES_PER_ROOM).await?;
    system.begin_counting().await?;
    store_and_index(&system, &sender, &rooms, COUNTED_MESSAGES_PER_ROOM).await?;
    system.end_counting(ROOMS * COUNTED_MESSAGES_PER_ROOM).await
}

/// Instructions of persistence per page of a room's history.
pub(super) async fn instructions_per_page(options: &CountOptions) -> Result<u64> {
    let (system, sender, rooms) = start_with_rooms(options, 1).await?;
    store_and_index(&system, &sender, &rooms, PAGED_MESSAGES).await?;
    let http = system.stack.http("sender");
    let read = async |pages: usize| {
        for _ in 0..pages {
            let answer = http.messages(&rooms[0], &format!("limit={PAGE_SIZE}")).await?;
            let messages = answer.body["messages"].as_array().map_or(0, Vec::len);
            ensure!(answer.status == 200 && messages == PAGE_SIZE, "a page: {} {messages}", answer.status);
        }
        Ok(())
    };
    read(WARMUP_PAGES).await?;
    system.begin_counting().await?;
    read(COUNTED_PAGES).await?;
    system.end_counting(COUNTED_PAGES).await
}

/// Starts a system and creates this many rooms, which one user joins. The room ids, and so the partitions, are the same
/// in each run.
async fn start_with_rooms(options: &CountOptions, rooms: usize) -> Result<(System, Client, Vec<String>)> {
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

/// Appends messages to each room while persistence is paused, then waits until persistence has stored and indexed them.
async fn store_and_index(system: &System, sender: &Client, rooms: &[String], messages: usize) -> Result<()> {
    let persistence = system.stack.persistence(0);
    persistence.pause()?;
    for number in 1..=messages {
        for room in rooms {
            // The last message of a room is stored after all others of the room.
            let stage = if number == messages { "stored" } else { "accepted" };
            let mut frame = new_message_frame(room);
            (frame["type"], frame["ref"], frame["ack"]) =
                (json!("message:send"), json!("sent"), json!(stage));
            sender.send_json(&frame).await?;
        }
        for _ in rooms {
            sender.wait_for("message:new", WAIT_TIMEOUT).await?;
        }
    }
    persistence.resume()?;
    for _ in 0..messages * rooms.len() {
        sender.wait_for("ack", WAIT_TIMEOUT).await?;
    }
    let unindexed_rooms_sql = "SELECT count(*) FROM rooms r LEFT JOIN search_progress p ON p.room_id = r.id \
                  WHERE r.head_seq > COALESCE(p.indexed_seq, 0)";
    system.stack.database().until(unindexed_rooms_sql, "0").await
}
