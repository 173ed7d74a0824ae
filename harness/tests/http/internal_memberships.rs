//! Requests of gateways for the memberships of several users: users with very many rooms are answered alone, few
//! requests run at a time, and a failure of the cache affects only its own user.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use tidings_harness::Stack;
use tidings_shared::{
    ids::{Epoch, RoomId, UserId},
    log::{Authority, SeedOutcome},
};

use crate::internal_listener::{internal_client, post};
use crate::room_log::hold;

const CACHED_WITHIN: Duration = Duration::from_secs(20);

/// The answer to a request for the memberships of alice and bob together. Waits until all partitions are in epoch 1: a
/// user with rooms in a partition of an earlier epoch is answered alone.
async fn ask_for_alice_and_bob(stack: &Stack) -> Result<Value> {
    stack.database().until("SELECT count(*) FROM partitions WHERE epoch < 1", "0").await?;
    let ask = json!({"user": "alice", "epoch": 1, "more": ["bob"]}).to_string();
    let (status, answer) = post(stack, "/internal/v1/rooms", Some(stack.internal_secret()), ask).await?;
    ensure!(status == 200, "{status} {answer}");
    Ok(answer)
}

#[tokio::test]
async fn user_with_very_many_rooms_is_answered_alone() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let client = internal_client(&stack)?;
    stack.http("alice").new_room(&["bob"]).await?;
    // Alice has one room more than the limit of a combined request, and bob has as many as the limit.
    let more_rooms = "INSERT INTO rooms (id, partition, kind, name, created_by) \
          SELECT 'many' || n, 0, 'private', 'Room ' || n, 'alice' FROM generate_series(1, 1000) n; \
        INSERT INTO members (room_id, user_id, role) \
          SELECT 'many' || n, 'alice', 'owner' FROM generate_series(1, 1000) n; \
        INSERT INTO members (room_id, user_id, role) \
          SELECT 'many' || n, 'bob', 'member' FROM generate_series(1, 999) n";
    stack.database().query(more_rooms).await?;

    let count = |rooms: &Value| rooms.as_object().map_or(0, serde_json::Map::len);
    let answer = ask_for_alice_and_bob(&stack).await?;
    ensure!(answer["is_first_missing"] == true, "alice delays the other users of the request");
    let counts = (count(&answer["rooms"]), count(&answer["more"][0]["rooms"]));
    ensure!(counts == (0, 1000), "{counts:?}");

    let users = [UserId::parse("alice")?, UserId::parse("bob")?];
    let loaded = try_join_all(users.iter().map(|user| client.rooms(user, Epoch(1)))).await?;
    let counts: Vec<usize> = loaded.iter().map(|of| of.rooms.len()).collect();
    ensure!(counts == [1001, 1000], "{counts:?}");
    Ok(())
}

#[tokio::test]
async fn at_most_two_membership_requests_run_at_a_time() -> Result<()> {
    const BLOCKED_READS: &str = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
        AND datname = current_database() AND query LIKE '%FROM members mb%'";
    let stack = Stack::builder().gateways(0).start().await?;
    let client = internal_client(&stack)?;
    let users: Vec<UserId> = (0..100).map(|n| UserId::parse(&format!("u{n}")).unwrap()).collect();
    // On a busy machine the lock may end before the requests arrive, so there are several attempts.
    for _ in 0..5 {
        // A request ends after two seconds without an answer of the database.
        let held = hold(&stack, "LOCK TABLE members IN ACCESS EXCLUSIVE MODE", 1.0).await?;
        let loads = try_join_all(users.iter().map(|user| client.rooms(user, Epoch(1))));
        let count_reads = async {
            // Further requests would arrive in this time.
            tokio::time::sleep(Duration::from_millis(400)).await;
            stack.database().value(BLOCKED_READS).await
        };
        let (loaded, reads) = tokio::join!(loads, count_reads);
        held.await?;
        ensure!(loaded?.iter().all(|of| of.rooms.is_empty()));
        let reads: u64 = reads?.parse()?;
        ensure!(reads <= 2, "{reads} requests read memberships at a time");
        if reads > 0 {
            return Ok(());
        }
    }
    bail!("no request was blocked")
}

#[tokio::test]
async fn unreadable_stamp_leaves_only_its_user_uncached() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let room = RoomId::parse(&stack.http("alice").new_room(&["bob"]).await?)?;
    let seeded = internal_client(&stack)?.seed(Epoch(1), std::slice::from_ref(&room)).await?;
    ensure!(seeded == [SeedOutcome::Seeded], "{seeded:?}");
    // The stamp of alice cannot be parsed.
    stack.shards().command::<()>(redis::cmd("SET").arg("rooms:{alice}:v").arg("no number")).await?;
    let is_cached = async |user: &str| {
        stack.shards().command::<bool>(redis::cmd("EXISTS").arg(format!("rooms:{{{user}}}"))).await
    };
    let begun = Instant::now();
    loop {
        let answer = ask_for_alice_and_bob(&stack).await?;
        let role = |rooms: &Value| rooms[room.as_str()]["role"].clone();
        let roles = (role(&answer["rooms"]), role(&answer["more"][0]["rooms"]));
        ensure!(roles.0 == "owner" && roles.1 == "member", "{answer}");
        // A node that has no session for the partition of bob yet does not fill his cache.
        if is_cached("bob").await? {
            break;
        }
        ensure!(begun.elapsed() < CACHED_WITHIN, "bob is not cached");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    ensure!(!is_cached("alice").await?, "alice is cached");
    Ok(())
}
