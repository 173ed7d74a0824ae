//! `rooms_version`: two lists of rooms that differ never have the same one, however long somebody was away.

use std::collections::HashSet;

use crate::room_log::RoomLog;
use anyhow::{Result, ensure};
use tidings_harness::Stack;

/// The version of a user's list of rooms, as HTTP tells it.
async fn version(stack: &Stack, user: &str) -> Result<String> {
    let rooms = stack.http(user).my_rooms("").await?.expect(200).body;
    Ok(rooms["rooms_version"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn no_version_comes_twice_also_when_the_last_one_was_forgotten() -> Result<()> {
    let stack = Stack::builder().gateways(1).start().await?;
    let room = RoomLog::new(&stack, 10_000).await?;
    let (alice, mut seen) = (stack.http("alice"), HashSet::new());
    for role in ["vip", "guest", "member"] {
        alice.put_member(room.room.as_str(), "bob", role).await?.expect(200);
        let now = version(&stack, "bob").await?;
        ensure!(seen.insert(now.clone()), "{now} again: {seen:?}");
        ensure!(version(&stack, "bob").await? == now, "nothing changed");
        ensure!(stack.connect("bob").await?.connected().rooms_version == now, "the gateway tells another");
        // As after a week in which nothing changed.
        room.redis::<u32>(redis::cmd("DEL").arg("rooms:{bob}:v")).await?;
    }
    // Whoever finds it forgotten begins anew, from where nobody was.
    let begun = version(&stack, "bob").await?;
    ensure!(!seen.contains(&begun), "{begun} again: {seen:?}");
    ensure!(version(&stack, "bob").await? == begun, "nothing changed");
    ensure!(stack.connect("bob").await?.connected().rooms_version == begun);
    Ok(())
}

#[tokio::test]
async fn a_forgotten_version_is_told_also_while_the_memory_of_redis_is_full() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let room = RoomLog::new(&stack, 10_000).await?;
    let before = version(&stack, "bob").await?;
    room.redis::<u32>(redis::cmd("DEL").arg("rooms:{bob}:v")).await?;
    let _: String = room.redis(redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg("1mb")).await?;
    let refused = room.redis::<String>(redis::cmd("SET").arg("x").arg("y")).await;
    ensure!(refused.is_err_and(|error| error.to_string().contains("OOM")), "its memory is not full");
    let full = version(&stack, "bob").await?;
    ensure!(full != "unknown" && full != before, "{full} after {before}");
    Ok(())
}
