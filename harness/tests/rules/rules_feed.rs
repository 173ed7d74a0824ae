//! The rule of the feed: the positions of a partition become visible in ascending order, because a batch holds the lock
//! of its partition until its COMMIT.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tidings_harness::feed::FeedConsumer;
use tidings_harness::stack::set_feed;
use tidings_harness::{Ports, Token};

use crate::replay::{BrokenPromise, Removal, ReplaySystem, WAIT_TIMEOUT, ensure_needed, small_stack};
use crate::row_lock::{HeldLock, is_commit_waiting, make_commits_wait};
use crate::rules_processes::store_over_http;

/// How long the second node tries to store a message while the batch of the first node is stopped at its COMMIT. With
/// the rule it cannot store it.
const TAKEOVER_TIME: Duration = Duration::from_secs(10);

/// The number of stored events of a room.
async fn stored_head(system: &ReplaySystem, room: &str) -> Result<usize> {
    let sql = format!("SELECT head_seq FROM rooms WHERE id = '{room}'");
    Ok(system.stack.database().value(&sql).await?.parse()?)
}

/// A batch is stopped at its COMMIT, and Redis loses its message. Then another node may store a message of another room
/// in the partition, and a consumer reads the feed. Then the batch is committed.
async fn replay_batch_commits_after_a_later_one(system: &mut ReplaySystem) -> Result<BrokenPromise> {
    set_feed(system.stack.database().url(), true).await?;
    system.send_until_stored("a").await?;
    let other = system.new_room_in_same_partition().await?;
    make_commits_wait(&system.stack, "messages", "NEW.client_id = 'b'").await?;
    let lock = HeldLock::of_commits(&system.stack).await?;
    system.send_until_accepted("b").await?;
    let begun = Instant::now();
    while !is_commit_waiting(&system.stack).await? {
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "the batch does not reach its COMMIT");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    system.stack.persistence(0).pause()?;
    system.stack.redis().restart_empty().await?;
    system.stack.add_persistence(Ports::free()?).await?;
    let alice = system.stack.http_at(1, "alice");
    store_over_http(&alice, &other, "c", Instant::now() + TAKEOVER_TIME).await?;

    let token = Token::of("indexer").scope("tidings.feed").sign(system.stack.jwt_secret());
    let feed = system.stack.http_at(1, "indexer").with_token(&token);
    let mut consumer = FeedConsumer::from_start("limit=100");
    consumer.read_all(&feed).await?;
    lock.release(&system.stack).await?;
    system.stack.database().until("SELECT count(*) FROM messages WHERE client_id = 'b'", "1").await?;
    let is_stored = store_over_http(&alice, &other, "c", Instant::now() + WAIT_TIMEOUT).await?;
    ensure!(is_stored, "c is not stored");
    consumer.read_all(&feed).await?;
    for room in [&system.room, &other] {
        let (head, got) =
            (stored_head(system, room).await?, consumer.rooms.get(room).map_or(0, |log| log.len()));
        if got < head {
            return Ok(Some(format!("{head} events of {room} are stored, and the feed has {got}")));
        }
    }
    Ok(None)
}

#[tokio::test]
async fn batch_locks_its_partition_until_its_commit() -> Result<()> {
    let removal = Removal::Text("ORDER BY p.partition FOR NO KEY UPDATE OF p)", "ORDER BY p.partition)");
    ensure_needed(&[removal], small_stack(), replay_batch_commits_after_a_later_one).await
}
