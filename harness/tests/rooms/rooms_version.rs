//! `rooms_version`: two different lists of rooms never have the same version, even after a long absence.

use std::collections::HashSet;

use crate::room_log::RoomLog;
use anyhow::{Result, ensure};
use tidings_harness::Stack;

async fn rooms_version(stack: &Stack, user: &str) -> Result<String> {
    let rooms = stack.http(user).my_rooms("").await?.expect(200).body;
    Ok(rooms["rooms_version"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn rooms_version_never_repeats_after_it_is_forgotten() -> Result<()> {
    let stack = Stack::builder().gateways(1).start().await?;
    let room = RoomLog::new(&stack, 10_000).await?;
    let (alice, mut seen) = (stack.http("alice"), HashSet::new());
    for role in ["vip", "guest", "member"] {
        alice.put_member(room.room.as_str(), "bob", role).await?.expect(200);
        let now = rooms_version(&stack, "bob").await?;
        ensure!(seen.insert(now.clone()), "{now} again: {seen:?}");
        ensure!(rooms_version(&stack, "bob").await? == now, "the version must not change without a change");
        ensure!(
            stack.connect("bob").await?.connected().rooms_version == now,
            "the gateway reports another version"
        );
        // Redis forgets the version after a week without a change.
        room.redis::<u32>(redis::cmd("DEL").arg("rooms:{bob}:v")).await?;
    }
    // The next reader starts a new version that was never used.
    let renewed = rooms_version(&stack, "bob").await?;
    ensure!(!seen.contains(&renewed), "{renewed} again: {seen:?}");
    ensure!(rooms_version(&stack, "bob").await? == renewed, "the version must not change without a change");
    ensure!(stack.connect("bob").await?.connected().rooms_version == renewed);
    Ok(())
}

#[tokio::test]
async fn forgotten_rooms_version_is_renewed_while_redis_is_full() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let room = RoomLog::new(&stack, 10_000).await?;
    let before = rooms_version(&stack, "bob").await?;
    room.redis::<u32>(redis::cmd("DEL").arg("rooms:{bob}:v")).await?;
    let _: String = room.redis(redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg("1mb")).await?;
    let refused = room.redis::<String>(redis::cmd("SET").arg("x").arg("y")).await;
    ensure!(refused.is_err_and(|error| error.to_string().contains("OOM")), "the memory of Redis is not full");
    let full = rooms_version(&stack, "bob").await?;
    ensure!(full != "unknown" && full != before, "{full} after {before}");
    Ok(())
}
