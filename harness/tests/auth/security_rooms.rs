//! Clients that join too many rooms, or join all the time. Each test states a memory bound; docs/SECURITY.md lists
//! them.

use crate::hostile::{KIB, MIB, MemoryWatch};
use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use tidings_harness::{ClientError, Stack};

/// Inserts rooms of alice directly into the database.
async fn insert_rooms(stack: &Stack, count: usize) -> Result<Vec<String>> {
    let database = stack.database();
    stack.http("alice").new_room(&[]).await?;
    database
        .query(&format!(
            "INSERT INTO rooms (id, partition, kind, name, created_by) \
             SELECT 'many' || n, 0, 'private', 'Room ' || n, 'alice' FROM generate_series(1, {count}) n; \
             INSERT INTO members (room_id, user_id, role) \
             SELECT 'many' || n, 'alice', 'owner' FROM generate_series(1, {count}) n"
        ))
        .await?;
    Ok((1..=count).map(|n| format!("many{n}")).collect())
}

// Covers: too_large, room:joined.
#[tokio::test]
async fn connection_joins_at_most_thousand_rooms() -> Result<()> {
    const CONNECTIONS: usize = 10;
    // 1,000 rooms on each of ten connections. Each may use 8 KiB: its subscription, and its name in the join answer.
    const MAX_GROWTH_BYTES: u64 = 10_000 * 8 * KIB;
    let stack = Stack::builder().gateway_env("TIDINGS_JOINS_PER_SECOND", 10_000);
    let stack = stack.gateway_env("TIDINGS_MESSAGES_BURST", 10_000).start().await?;
    let rooms = insert_rooms(&stack, 1_200).await?;
    let watch = MemoryWatch::begin(stack.gateway(0))?;
    let joining = (0..CONNECTIONS).map(async |_| {
        let alice = stack.connect("alice").await?;
        let over = json!({"type": "room:join", "rooms": rooms[..201].to_vec()});
        let refused = alice.ask(over).await.err().context("a join of 201 rooms succeeded")?;
        ensure!(refused.code() == "too_large", "{refused}");
        let mut joined = 0;
        for some in rooms.chunks(200) {
            let (_, answer) = alice.ask(json!({"type": "room:join", "rooms": some})).await?;
            let count = |field: &str| answer[field].as_array().map_or(0, Vec::len);
            joined += count("rooms");
            let too_large = |room: &Value| room["code"] == "too_large";
            let failed = answer["failed"].as_array().context("failed")?;
            ensure!(failed.iter().all(too_large), "{failed:?}");
            ensure!(count("rooms") + failed.len() == some.len(), "each room must be in the answer once");
        }
        ensure!(joined == 1_000, "{joined}");
        Ok(alice)
    });
    let connections = try_join_all(joining).await?;
    watch.ensure_growth_within(MAX_GROWTH_BYTES, "many rooms")?;
    for alice in &connections {
        alice.ping().await?;
    }
    Ok(())
}

// Covers: rate_limited, 4429.
#[tokio::test]
async fn endless_joins_are_limited_then_closed_while_others_continue() -> Result<()> {
    const MAX_GROWTH_BYTES: u64 = 32 * MIB;
    let stack = Stack::builder().gateway_env("TIDINGS_ABUSE_PER_MINUTE", 300).start().await?;
    let rooms = insert_rooms(&stack, 200).await?;
    let bob = stack.connect("bob").await?;
    let alice = stack.connect("alice").await?;
    let watch = MemoryWatch::begin(stack.gateway(0))?;
    let unknown: Vec<String> = (0..200).map(|n| format!("unknown{n}")).collect();
    let joins = [
        json!({"type": "room:join", "rooms": rooms}),
        json!({"type": "room:join", "rooms": "mine"}),
        json!({"type": "room:join", "rooms": unknown}),
    ];
    for (number, join) in joins.iter().cycle().take(3_000).enumerate() {
        if alice.send_json(join).await.is_err() {
            break;
        }
        if number % 500 == 0 {
            bob.ping().await?;
        }
    }
    let closed = alice.until_closed().await?;
    ensure!(closed.code == Some(4429), "{closed}");
    bob.ping().await?;
    watch.ensure_growth_within(MAX_GROWTH_BYTES, "many joins")?;
    // Alice can still open a connection, although her joins may be limited.
    match stack.connect("alice").await?.join(&rooms[0]).await {
        Ok(_) => Ok(()),
        Err(ClientError::Answered(error)) if error.code == "rate_limited" => Ok(()),
        Err(error) => Err(error.into()),
    }
}
