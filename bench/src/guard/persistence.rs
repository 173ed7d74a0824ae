//! What is done while persistence is counted. How messages fall into batches is up to the moment; so they are all there
//! before it may read the first.

use anyhow::{Result, ensure};
use serde_json::json;
use tidings_harness::{Client, Service};

use super::Manner;
use super::system::{PATIENCE, System, message};

/// What is read at once is shared among the partitions, so there are rooms in most of them.
const ROOMS: usize = 64;
const STORED_PER_ROOM: usize = 32;
const PAGES: usize = 100;
/// Messages of a page: as many as there are without a limit in the request.
const PAGE: usize = 50;
const PAGES_BEFORE: usize = 20;

/// Instructions of persistence for each message that it stores and makes findable, many rooms at once.
pub(super) async fn stored(manner: &Manner) -> Result<u64> {
    let (system, sender, rooms) = start(manner, ROOMS).await?;
    store(&system, &sender, &rooms, 2).await?;
    system.begin().await?;
    store(&system, &sender, &rooms, STORED_PER_ROOM).await?;
    system.end(ROOMS * STORED_PER_ROOM).await
}

/// Instructions of persistence for each page of a room's history.
pub(super) async fn pages(manner: &Manner) -> Result<u64> {
    let (system, sender, rooms) = start(manner, 1).await?;
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

/// Somebody in so many rooms, whose ids, and with them the partitions, are the same each time.
async fn start(manner: &Manner, rooms: usize) -> Result<(System, Client, Vec<String>)> {
    let system = System::start(Service::Persistence, 1, manner).await?;
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

/// Has messages appended to each room while persistence stands still, and stored and findable when it goes on.
async fn store(system: &System, sender: &Client, rooms: &[String], messages: usize) -> Result<()> {
    let persistence = system.stack.persistence(0);
    persistence.pause()?;
    for number in 1..=messages {
        for room in rooms {
            // With the last one of a room all of it is stored.
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
