//! Rows of epochs that ended long ago are merged, and old cursors stay valid or get a gap. A seed does not wait for
//! locks on the rows of members.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;
use tidings_harness::Stack;

use crate::room_log::{RoomLog, WAIT_TIMEOUT, hold};

#[tokio::test]
async fn old_epochs_of_room_are_merged() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let alice = stack.http("alice");
    let (room, few) = (alice.new_room(&[]).await?, alice.new_room(&[]).await?);
    stack.persistence(0).kill();
    // Epochs 1 to 38 began long ago, 39 and 40 yesterday. Events up to the base of an epoch belong to earlier epochs.
    let base = |epoch: u64| if epoch == 8 { 3 } else { 10 * epoch };
    let bases: String = (2..=40).map(|epoch| format!(", ('{room}', {epoch}, {})", base(epoch))).collect();
    let database = stack.database();
    database
        .query(&format!(
            "DELETE FROM room_epochs; DELETE FROM epochs_opened; \
             INSERT INTO epochs_opened (epoch, run_id, opened_at) SELECT n, 'old', \
               now() - CASE WHEN n < 39 THEN interval '30 days' ELSE interval '1 day' END FROM generate_series(1, 40) n; \
             SELECT setval(pg_get_serial_sequence('epochs_opened', 'epoch'), 40); \
             INSERT INTO room_epochs VALUES ('{room}', 1, 0){bases}, ('{few}', 1, 0), ('{few}', 2, 7), ('{few}', 5, 9)"
        ))
        .await?;
    let valid_up_to = async |epoch: u64| -> Result<u64> {
        let sql = format!("SELECT min(base) FROM room_epochs WHERE room_id = '{room}' AND epoch > {epoch}");
        Ok(database.value(&sql).await?.parse()?)
    };
    let mut exact = Vec::new();
    for epoch in 1..40 {
        exact.push(valid_up_to(epoch).await?);
    }
    stack.persistence(0).restart().await?;
    // 18 rows remain: the first epoch, the merged epoch, and the newest 16.
    database.until(&format!("SELECT count(*) FROM room_epochs WHERE room_id = '{room}'"), "18").await?;
    let merged =
        format!("SELECT epoch, base FROM room_epochs WHERE room_id = '{room}' ORDER BY epoch LIMIT 3");
    assert_eq!(database.query(&merged).await?, [["1", "0"], ["24", "3"], ["25", "250"]]);
    for (epoch, exact) in (1..40).zip(exact) {
        let now = valid_up_to(epoch).await?;
        ensure!(now <= exact, "a cursor of epoch {epoch} is valid up to {now}, not {exact}");
        ensure!(now == exact || (2..24).contains(&epoch), "epoch {epoch}: {now}, not {exact}");
    }
    let unchanged = format!("SELECT count(*) FROM room_epochs WHERE room_id = '{few}'");
    assert_eq!(database.value(&unchanged).await?, "3");
    let old = alice.get(&format!("/rooms/{room}/events?epoch=9&after=4")).await?.expect(409).body;
    assert_eq!(old["after"], json!(3));
    Ok(())
}

#[tokio::test]
async fn seed_of_a_room_waits_for_no_member() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let room = RoomLog::new(&stack, 10_000).await?;
    room.send("m1").await?;
    let held = hold(&stack, "LOCK TABLE members IN ACCESS EXCLUSIVE MODE", 12.0).await?;
    stack.redis().restart_empty().await?;
    let begun = Instant::now();
    while room.append("m2").await.is_err() {
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "the room is never seeded");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    ensure!(!held.is_finished(), "the seed waited for the members");
    held.await?;
    Ok(())
}
