//! Slow mode: who sets and sees it, whose messages it refuses, and that it holds over all nodes and after a loss of
//! Redis.

use std::time::{Duration, Instant};

use crate::hearing::{WAIT_TIMEOUT, connect_and_join, expect_ok, new_room_with, typing_frame};
use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use tidings_harness::{Client, ClientError, ServerFrame, Stack};
use tidings_shared::{ids::RoomId, log::keys};

/// Sends a message that slow mode must refuse; returns the time after which it may be repeated.
async fn expect_slow_mode_wait(client: &Client, room: &str, client_id: &str) -> Result<Duration> {
    match client.send_as(room, client_id, "x").await {
        Err(ClientError::Answered(error)) => {
            let cause = (error.code.as_str(), error.reason.as_deref());
            ensure!(cause == ("rate_limited", Some("slow_mode")), "{error:?}");
            ensure!(error.message.contains("slow mode"), "{error:?}");
            Ok(Duration::from_millis(error.retry_after_ms.context("no time of retry")?))
        }
        other => bail!("{client_id}: {other:?}"),
    }
}

// Covers: PATCH /rooms/{room}, room:updated.
#[tokio::test]
async fn slow_mode_is_set_by_admins_and_seen_by_members() -> Result<()> {
    let stack = Stack::shared().await?;
    let room = new_room_with(&stack, "alice", &[("ada", "admin"), ("bob", "member")]).await?;
    let (ada, bob) = (stack.http("ada"), stack.http("bob"));
    ensure!(bob.room(&room).await?.expect(200).body["slow_mode_s"] == 0);
    let joined = connect_and_join(&stack, 0, "bob", &room).await?;
    bob.change_room(&room, json!({"slow_mode_s": 5})).await?.expect(403);
    for bad in [json!(-1), json!(3601), json!(70_000), json!(1.5), json!("5"), json!(true)] {
        let refused = ada.change_room(&room, json!({"slow_mode_s": bad})).await?.expect(400).body;
        ensure!(
            (&refused["code"], &refused["field"]) == (&json!("bad_request"), &json!("slow_mode_s")),
            "{refused}"
        );
    }
    let change = json!({"slow_mode_s": 3600, "name": "Tea"});
    let changed = ada.change_room(&room, change.clone()).await?.expect(200).body;
    ensure!((&changed["slow_mode_s"], &changed["head"]["seq"]) == (&json!(3600), &json!(1)), "{changed}");
    let same = ada.change_room(&room, change).await?.expect(200).body;
    ensure!(same["head"]["seq"] == 1, "a value that is already set adds no event: {same}");

    ensure!(bob.room(&room).await?.expect(200).body["slow_mode_s"] == 3600);
    ensure!(bob.my_rooms("").await?.expect(200).body["rooms"][0]["slow_mode_s"] == 3600);
    let ServerFrame::Other(event) = joined.wait_for("room:updated", WAIT_TIMEOUT).await? else {
        bail!("room:updated is not a log event");
    };
    ensure!((&event["slow_mode_s"], &event["seq"]) == (&json!(3600), &json!(1)), "{event}");
    let events = bob.events(&room, "").await?.expect(200).body["events"].clone();
    ensure!((&events[0]["slow_mode_s"], &events[0]["by"]) == (&json!(3600), &json!("ada")), "{events}");
    Ok(())
}

// Covers: rate_limited.
#[tokio::test]
async fn slow_mode_refuses_second_message_on_all_nodes() -> Result<()> {
    let stack = Stack::shared().await?;
    let room =
        new_room_with(&stack, "alice", &[("ada", "admin"), ("bob", "member"), ("tim", "tutor")]).await?;
    let bob = stack.http("bob");
    // Messages that were sent before slow mode was set do not count.
    bob.send(&room, "b0", "early").await?.expect(201);
    stack.http("alice").change_room(&room, json!({"slow_mode_s": 3600})).await?.expect(200);
    let sockets = [stack.connect_at(0, "bob").await?, stack.connect_at(1, "bob").await?];
    let first = sockets[0].send_as(&room, "b1", "one").await?;
    ensure!(!first.duplicate, "{first:?}");
    for socket in &sockets {
        let wait = expect_slow_mode_wait(socket, &room, "b2").await?;
        ensure!((3000..=3600).contains(&wait.as_secs()), "{wait:?}");
        let again = socket.send_as(&room, "b1", "one").await?;
        ensure!((again.seq, again.duplicate) == (first.seq, true), "{again:?}");
    }
    let refused = bob.send(&room, "b2", "two").await?.expect(429).body;
    ensure!(
        (&refused["code"], &refused["reason"]) == (&json!("rate_limited"), &json!("slow_mode")),
        "{refused}"
    );
    ensure!(refused["retry_after_ms"].as_u64().is_some_and(|ms| ms > 3_000_000), "{refused}");
    ensure!(bob.send(&room, "b1", "one").await?.expect(200).body["seq"] == first.seq);

    // Slow mode does not limit other commands.
    sockets[0].edit(&room, first.seq, "won").await?;
    sockets[1].react(&room, first.seq, "+").await?;
    sockets[1].read(&room, first.seq).await?;
    expect_ok(&sockets[1], typing_frame(&room, true)).await?;
    for user in ["alice", "ada"] {
        for client_id in ["1", "2"] {
            stack.http(user).send(&room, client_id, "x").await?.expect(201);
        }
    }
    // A message over HTTP counts too, and each member has a time of their own.
    stack.http("tim").send(&room, "t1", "x").await?.expect(201);
    expect_slow_mode_wait(&stack.connect_at(1, "tim").await?, &room, "t2").await?;
    Ok(())
}

#[tokio::test]
async fn refused_message_is_accepted_after_slow_mode_time() -> Result<()> {
    let stack = Stack::shared().await?;
    let room = new_room_with(&stack, "alice", &[("bob", "member")]).await?;
    let alice = stack.http("alice");
    alice.change_room(&room, json!({"slow_mode_s": 2})).await?.expect(200);
    let (here, there) = (stack.connect_at(0, "bob").await?, stack.connect_at(1, "bob").await?);
    let begun = Instant::now();
    here.send_as(&room, "b1", "one").await?;
    let mut refusals = 0;
    while let Err(error) = there.send_as(&room, "b2", "two").await {
        refusals += 1;
        ensure!(error.reason() == "slow_mode" && refusals < 5, "{error}");
        let wait_ms = match error {
            ClientError::Answered(error) => error.retry_after_ms,
            _ => None,
        };
        tokio::time::sleep(Duration::from_millis(wait_ms.context("no time of retry")?)).await;
    }
    // Redis counts whole milliseconds.
    ensure!(begun.elapsed() >= Duration::from_millis(1_990), "accepted after {:?}", begun.elapsed());

    // A changed slow mode applies at once, and is kept when the room is archived and unarchived.
    alice.change_room(&room, json!({"slow_mode_s": 3600})).await?.expect(200);
    expect_slow_mode_wait(&here, &room, "b3").await?;
    alice.archive_room(&room).await?.expect(204);
    alice.change_room(&room, json!({"archived": false})).await?.expect(200);
    expect_slow_mode_wait(&here, &room, "b3").await?;
    alice.change_room(&room, json!({"slow_mode_s": 0})).await?.expect(200);
    for client_id in ["b3", "b4"] {
        ensure!(!here.send_as(&room, client_id, "x").await?.duplicate);
    }
    Ok(())
}

#[tokio::test]
async fn only_one_of_concurrent_messages_is_accepted() -> Result<()> {
    let stack = Stack::shared().await?;
    let room = new_room_with(&stack, "alice", &[("bob", "member")]).await?;
    stack.http("alice").change_room(&room, json!({"slow_mode_s": 3600})).await?.expect(200);
    let sockets = [stack.connect_at(0, "bob").await?, stack.connect_at(1, "bob").await?];
    let sends = (0..20).map(|n| {
        let (socket, room) = (&sockets[n % 2], &room);
        async move { socket.send_as(room, &format!("b{n}"), "x").await }
    });
    let answers = futures_util::future::join_all(sends).await;
    let (accepted, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    ensure!(accepted.len() == 1, "{accepted:?}");
    let reasons = refused.into_iter().filter_map(Result::err).filter(|error| error.reason() == "slow_mode");
    ensure!(reasons.count() == 19, "refused for another reason");
    Ok(())
}

/// Sets slow mode, lets `restart` begin another epoch, and sends two messages.
async fn ensure_slow_mode_survives(restart: impl AsyncFn(&Stack, &str) -> Result<()>) -> Result<()> {
    let stack = Stack::start().await?;
    let room = new_room_with(&stack, "alice", &[("bob", "member")]).await?;
    stack.http("alice").change_room(&room, json!({"slow_mode_s": 3600})).await?.expect(200);
    restart(&stack, &room).await?;
    let bob = stack.http("bob");
    let send = async |client_id: &str| -> Result<u16> {
        for _ in 0..100 {
            let answer = bob.send(&room, client_id, "x").await?;
            if answer.status != 503 {
                return Ok(answer.status);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bail!("{client_id} was not answered")
    };
    let first = send("b1").await?;
    ensure!([200, 201].contains(&first), "{first}");
    ensure!(send("b2").await? == 429, "the room was seeded without its slow mode");
    Ok(())
}

#[tokio::test]
async fn slow_mode_holds_after_redis_lost_everything() -> Result<()> {
    ensure_slow_mode_survives(async |stack, _| stack.shards().restart_empty().await).await
}

#[tokio::test]
async fn seed_repairs_slow_mode_that_previous_version_overwrote() -> Result<()> {
    ensure_slow_mode_survives(async |stack, room| {
        let mut archived = redis::cmd("HSET");
        archived.arg(keys::room(&RoomId::parse(room)?)).arg("archived").arg("0");
        stack.shards().command::<usize>(&archived).await?;
        stack.shards().restart().await
    })
    .await
}
