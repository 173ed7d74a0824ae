//! The indexer finds rooms that no writer marked, even under constant writes.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;
use tidings_harness::{Stack, clock};

use crate::search_index::until_indexed;

const WAIT_TIMEOUT: Duration = Duration::from_secs(30);

#[tokio::test]
async fn unmarked_room_is_indexed_while_others_are_busy() -> Result<()> {
    let builder = Stack::builder().gateways(0).persistence(2);
    let builder = builder.persistence_env("TIDINGS_MESSAGES_PER_SECOND", 1000);
    let stack = builder.persistence_env("TIDINGS_MESSAGES_BURST", 1000).start().await?;
    let (alice, sender) = (stack.http("alice"), stack.http("bob"));
    let quiet = alice.new_room(&[]).await?;
    let mut busy = Vec::new();
    for _ in 0..6 {
        busy.push(sender.new_room(&[]).await?);
    }
    // When each replica owns half of the partitions, it has scanned all rooms.
    let begun = Instant::now();
    while !stack.persistence(1).metrics().await?.contains("tidings_persistence_leases 32\n") {
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "the partitions are not shared equally");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    until_indexed(&stack).await?;
    // A slow index write, so that there is always more to index.
    let slow = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(1); RETURN NULL; END'; \
                CREATE TRIGGER slow AFTER INSERT ON search_blocks FOR EACH STATEMENT EXECUTE FUNCTION slow()";
    stack.database().query(slow).await?;
    let senders: Vec<_> = busy
        .into_iter()
        .map(|room| {
            let sender = sender.clone();
            tokio::spawn(async move {
                loop {
                    let body = json!({"client_id": clock::client_id(), "content": "hay", "ack": "accepted"});
                    // A send may fail while a partition moves to the other replica.
                    let _ = sender.post(&format!("/rooms/{room}/messages"), body).await;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(3)).await;
    // No writer marks this room: only the scan after a take-over of partitions can find it.
    stack
        .database()
        .query(&format!(
            "INSERT INTO messages (room_id, seq, id, sender_id, client_id, kind, content, at, last_seq) \
             VALUES ('{quiet}', 1, gen_random_uuid(), 'alice', 'c', 'text', 'needle', now(), 1); \
             UPDATE rooms SET head_seq = 1 WHERE id = '{quiet}'"
        ))
        .await?;
    let found = format!("SELECT count(*) FROM search_blocks WHERE room_id = '{quiet}'");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(stack.database().value(&found).await?, "0", "the room was indexed before the take-over");
    stack.persistence(1).kill();
    let begun = Instant::now();
    while stack.database().value(&found).await? == "0" {
        ensure!(begun.elapsed() < Duration::from_secs(60), "no replica scanned all rooms");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for sender in senders {
        ensure!(!sender.is_finished());
        sender.abort();
    }
    Ok(())
}
