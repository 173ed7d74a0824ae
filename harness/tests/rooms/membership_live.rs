//! Who comes into a room in the midst of a conversation, as they hear it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::channel::UserChannel;
use anyhow::{Result, ensure};
use serde_json::json;
use tidings_harness::{Cursor, Stack};

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn who_is_added_in_the_midst_of_it_joins_from_where_they_are_told_and_misses_nothing() -> Result<()> {
    let stack = Stack::start().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&[]).await?;
    let mut channel = UserChannel::of(&stack, "bob").await?;
    // Alice talks on until she is told that bob heard enough.
    let (said, enough) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let talking = {
        let (alice, room, said, enough) = (alice.clone(), room.clone(), said.clone(), enough.clone());
        tokio::spawn(async move {
            while !enough.load(Relaxed) {
                let n = said.load(Relaxed);
                alice.send(&room, &format!("m{n}"), &n.to_string()).await?.expect(201);
                said.fetch_add(1, Relaxed);
            }
            anyhow::Ok(())
        })
    };
    let until = async |count: u64| -> Result<()> {
        let begun = Instant::now();
        while said.load(Relaxed) < count {
            ensure!(begun.elapsed() < PATIENCE, "{} of {count} were said", said.load(Relaxed));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    };
    until(20).await?;
    let adding = {
        let (alice, room) = (alice.clone(), room.clone());
        tokio::spawn(async move { alice.put_member(&room, "bob", "vip").await })
    };
    let added = channel.next_frame().await?;
    let from: Cursor = serde_json::from_value(added["from"].clone())?;
    let bob = stack.connect("bob").await?;
    let joined = bob.join_after(&room, &from).await?;
    ensure!((joined.role.as_str(), joined.members) == ("vip", 2), "{joined:?}");
    adding.await??.expect(200);
    until(said.load(Relaxed) + 20).await?;
    enough.store(true, Relaxed);
    talking.await??;
    ensure!(from.seq >= 20, "in the midst of it: {from:?}");
    // All that was said, and that he was added.
    for seq in from.seq + 1..=said.load(Relaxed) + 1 {
        let mut heard = bob.next_of_log(PATIENCE).await?;
        if heard.kind() == "room:caught_up" {
            heard = bob.next_of_log(PATIENCE).await?;
        }
        ensure!(heard.place() == Some((room.as_str(), seq)), "{seq}: {heard:?}");
        ensure!((heard.kind() == "member:added") == (seq == from.seq + 1), "{heard:?}");
    }
    Ok(())
}

#[tokio::test]
async fn what_a_join_tells_of_the_room_is_what_it_was_changed_to() -> Result<()> {
    let stack = Stack::start().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&["bob", "carol"]).await?;
    // The room's hash is there from now on.
    alice.send(&room, "m1", "hi").await?.expect(201);
    alice.change_room(&room, json!({"name": "Coffee"})).await?.expect(200);
    alice.put_member(&room, "bob", "guest").await?.expect(200);
    alice.remove_member(&room, "carol").await?.expect(200);
    let (bob, carol) = (stack.connect("bob").await?, stack.connect("carol").await?);
    let joined = bob.join(&room).await?;
    let told = (joined.name.as_deref(), joined.role.as_str(), joined.members, joined.head.seq);
    ensure!(told == (Some("Coffee"), "guest", 2, 4), "{joined:?}");
    ensure!(bob.send(&room, "may I?").await.is_err_and(|error| error.code() == "forbidden"));
    ensure!(carol.join(&room).await.is_err_and(|error| error.code() == "not_found"));
    alice.archive_room(&room).await?.expect(204);
    let alice = stack.connect("alice").await?;
    ensure!(alice.send(&room, "anybody?").await.is_err_and(|error| error.code() == "conflict"));
    Ok(())
}
