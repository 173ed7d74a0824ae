//! What reaches all connections of a user, joined or not, on every node: being added and removed, changes that went
//! unnoticed, the account. And how many connections there may be.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tidings_harness::{Client, ClientError, Cursor, Http, ServerFrame, Stack};
use tidings_shared::{
    ids::{RoomId, UserId},
    people::{self, Notice},
};

const PATIENCE: Duration = Duration::from_secs(20);
/// What a blocked user's connections may take to be closed.
const BLOCKED_WITHIN: Duration = Duration::from_secs(5);

fn root(stack: &Stack) -> Http {
    stack.http("root").with_token(&stack.admin_token("root"))
}

async fn redis(stack: &Stack) -> Result<redis::aio::MultiplexedConnection> {
    Ok(redis::Client::open(stack.redis().url())?.get_multiplexed_async_connection().await?)
}

async fn cut_pub_sub(stack: &Stack) -> Result<()> {
    let mut redis = redis(stack).await?;
    Ok(redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("pubsub").query_async(&mut redis).await?)
}

async fn subscribers(stack: &Stack, user: &str) -> Result<u64> {
    let mut redis = redis(stack).await?;
    let channel = format!("user:{user}");
    let (_, count): (String, u64) =
        redis::cmd("PUBSUB").arg("NUMSUB").arg(&channel).query_async(&mut redis).await?;
    Ok(count)
}

/// The next frame of this type as JSON.
async fn told(client: &Client, kind: &str) -> Result<Value> {
    match client.wait_for(kind, PATIENCE).await? {
        ServerFrame::Other(value) => Ok(value),
        other => anyhow::bail!("{other:?}"),
    }
}

/// Nothing of these types comes.
async fn untold(client: &Client, kind: &str) -> Result<()> {
    client.ping().await?;
    match client.wait_for(kind, Duration::from_millis(500)).await {
        Err(ClientError::Silent(_)) => Ok(()),
        other => anyhow::bail!("{other:?}"),
    }
}

async fn notify(stack: &Stack, user: &str, notice: Notice) -> Result<()> {
    Ok(people::tell(&mut redis(stack).await?, [(&UserId::parse(user)?, &notice)]).await?)
}

// Covers: room:added, room:removed.
#[tokio::test]
async fn being_added_and_removed_reaches_all_connections_everywhere_without_a_reconnect() -> Result<()> {
    let stack = Stack::builder().gateways(2).start().await?;
    let room = stack.http("alice").new_room(&[]).await?;
    let devices = [
        stack.connect_at(0, "bob").await?,
        stack.connect_at(0, "bob").await?,
        stack.connect_at(1, "bob").await?,
    ];
    let other = stack.connect_at(0, "carol").await?;
    stack.http("alice").send(&room, "1", "before").await?.expect(201);
    stack.http("alice").put_member(&room, "bob", "guest").await?.expect(200);
    stack.http("alice").send(&room, "2", "after").await?.expect(201);
    for device in &devices {
        let added = told(device, "room:added").await?;
        ensure!(
            (&added["room"], &added["role"], &added["kind"])
                == (&json!(room), &json!("guest"), &json!("private")),
            "{added}"
        );
        let from: Cursor = serde_json::from_value(added["from"].clone())?;
        device.join_after(&room, &from).await?;
        // Nothing is missed from there: being added, and what came behind.
        ensure!(told(device, "member:added").await?["seq"] == 2);
        ensure!(
            matches!(device.next_of_log(PATIENCE).await?, ServerFrame::Message(message) if message.seq == 3)
        );
        device.wait_for("room:caught_up", PATIENCE).await?;
    }
    stack.http("alice").remove_member(&room, "bob").await?.expect(200);
    for device in &devices {
        ensure!(told(device, "member:removed").await?["seq"] == 4);
        let removed = told(device, "room:removed").await?;
        ensure!(removed == json!({"type": "room:removed", "room": room, "seq": 4}), "{removed}");
        ensure!(device.join(&room).await.is_err_and(|error| error.code() == "not_found"));
    }
    untold(&other, "room:added").await?;
    let revoked = stack.gateway(0).metrics().await?;
    ensure!(revoked.contains("\ntidings_gateway_revoked_total 2\n"), "{revoked}");
    Ok(())
}

#[tokio::test]
async fn a_node_hears_of_a_user_from_the_first_connection_to_the_last() -> Result<()> {
    let stack = Stack::builder().gateways(2).start().await?;
    ensure!(subscribers(&stack, "bob").await? == 0);
    let (first, second) = (stack.connect_at(0, "bob").await?, stack.connect_at(0, "bob").await?);
    let elsewhere = stack.connect_at(1, "bob").await?;
    ensure!(subscribers(&stack, "bob").await? == 2, "one for each node");
    let channels = "\ntidings_gateway_user_channels 1\n";
    ensure!(stack.gateway(0).metrics().await?.contains(channels));
    first.close().await?;
    notify(&stack, "bob", Notice::Frame("{\"type\":\"x:test\"}".into())).await?;
    told(&second, "x:test").await?;
    told(&elsewhere, "x:test").await?;
    second.close().await?;
    let begun = tokio::time::Instant::now();
    while subscribers(&stack, "bob").await? != 1 {
        ensure!(begun.elapsed() < PATIENCE, "the channel of a user who is gone is still subscribed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

// Covers: rooms:changed.
#[tokio::test]
async fn a_change_that_went_unnoticed_is_told_once_the_node_hears_again() -> Result<()> {
    let stack = Stack::builder().gateways(2).start().await?;
    let bobs = [stack.connect_at(0, "bob").await?, stack.connect_at(1, "bob").await?];
    let (carol, before) = (stack.connect_at(0, "carol").await?, bobs[0].connected().rooms_version.clone());
    // As if the notice had been lost: only the version tells.
    let users = [UserId::parse("bob")?];
    tidings_shared::membership::changed(&mut redis(&stack).await?, &users).await?;
    cut_pub_sub(&stack).await?;
    let version = stack.http("bob").my_rooms("").await?.expect(200).body["rooms_version"].clone();
    for bob in &bobs {
        let changed = told(bob, "rooms:changed").await?;
        ensure!(
            changed["rooms_version"] == version && changed["rooms_version"] != json!(before),
            "{changed}"
        );
    }
    untold(&carol, "rooms:changed").await?;
    // Once told it is known.
    cut_pub_sub(&stack).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    untold(&bobs[0], "rooms:changed").await
}

// Covers: 4403.
#[tokio::test]
async fn a_blocked_user_is_gone_from_all_nodes_within_seconds() -> Result<()> {
    let stack = Stack::builder().gateways(2).start().await?;
    let room = stack.http("alice").new_room(&["mallory"]).await?;
    let devices = [stack.connect_at(0, "mallory").await?, stack.connect_at(1, "mallory").await?];
    devices[0].join_and_catch_up(&room).await?;
    let alice = stack.connect_at(0, "alice").await?;
    root(&stack).put_user("mallory", json!({"blocked": true})).await?.expect(200);
    for device in &devices {
        let closed = tokio::time::timeout(BLOCKED_WITHIN, device.until_closed()).await??;
        ensure!(closed.code == Some(4403), "{closed:?}");
        let error = device.wait_for("error", PATIENCE).await?;
        ensure!(matches!(&error, ServerFrame::Error(error) if error.code == "forbidden"), "{error:?}");
    }
    ensure!(stack.connect("mallory").await.is_err_and(|error| error.code() == "forbidden"));
    alice.ping().await?;
    root(&stack).put_user("mallory", json!({"blocked": false})).await?.expect(200);
    stack.connect("mallory").await?;
    Ok(())
}

#[tokio::test]
async fn a_block_that_no_node_was_told_of_counts_once_they_hear_again() -> Result<()> {
    let stack = Stack::builder().gateways(2).start().await?;
    let devices = [stack.connect_at(0, "mallory").await?, stack.connect_at(1, "mallory").await?];
    let alice = stack.connect_at(0, "alice").await?;
    // As if the notice had been lost.
    stack.database().query("UPDATE users SET blocked = true WHERE id = 'mallory'").await?;
    let mallory = UserId::parse("mallory")?;
    tidings_shared::membership::account_changed(&mut redis(&stack).await?, &mallory).await?;
    cut_pub_sub(&stack).await?;
    for device in &devices {
        let closed = tokio::time::timeout(BLOCKED_WITHIN, device.until_closed()).await??;
        ensure!(closed.code == Some(4403), "{closed:?}");
    }
    alice.ping().await?;
    Ok(())
}

#[tokio::test]
async fn a_block_while_pub_sub_is_cut_again_and_again_counts_all_the_same() -> Result<()> {
    let stack = Stack::start().await?;
    for round in 0..10 {
        let user = format!("mallory-{round}");
        let device = stack.connect(&user).await?;
        let (blocked, cut) = tokio::join!(
            async { root(&stack).put_user(&user, json!({"blocked": true})).await },
            cut_pub_sub(&stack)
        );
        blocked?.expect(200);
        cut?;
        let closed = tokio::time::timeout(BLOCKED_WITHIN, device.until_closed()).await??;
        ensure!(closed.code == Some(4403), "{closed:?}");
    }
    Ok(())
}

#[tokio::test]
async fn whoever_persistence_could_not_be_asked_about_is_asked_about_until_it_answers() -> Result<()> {
    let stack = Stack::start().await?;
    let device = stack.connect("mallory").await?;
    stack.database().query("UPDATE users SET blocked = true WHERE id = 'mallory'").await?;
    stack.persistence(0).kill();
    let mallory = UserId::parse("mallory")?;
    tidings_shared::membership::account_changed(&mut redis(&stack).await?, &mallory).await?;
    notify(&stack, "mallory", Notice::Account).await?;
    device.ping().await?;
    stack.persistence(0).restart().await?;
    let closed = tokio::time::timeout(PATIENCE, device.until_closed()).await??;
    ensure!(closed.code == Some(4403), "{closed:?}");
    Ok(())
}

#[tokio::test]
async fn a_changed_name_is_that_of_the_next_message() -> Result<()> {
    let stack = Stack::start().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let (alice, bob) = (stack.connect("alice").await?, stack.connect("bob").await?);
    alice.join_and_catch_up(&room).await?;
    bob.send(&room, "as nobody").await?;
    root(&stack).put_user("bob", json!({"name": "Bob the Great"})).await?.expect(200);
    let begun = tokio::time::Instant::now();
    loop {
        bob.send(&room, "as somebody").await?;
        let ServerFrame::Message(message) = alice.wait_for("message:new", PATIENCE).await? else { continue };
        if message.sender.name.as_deref() == Some("Bob the Great") {
            return Ok(());
        }
        ensure!(begun.elapsed() < PATIENCE && message.sender.name.is_none(), "{message:?}");
        tokio::time::sleep(Duration::from_millis(120)).await;
    }
}

#[tokio::test]
async fn ones_own_read_marks_come_once_to_every_connection() -> Result<()> {
    let stack = Stack::start().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let (joined, elsewhere) = (stack.connect("bob").await?, stack.connect("bob").await?);
    joined.join_and_catch_up(&room).await?;
    let notice = |pushed, mark: &str| Notice::Read {
        room: RoomId::parse(&room).unwrap(),
        pushed,
        frame: json!({"type": "receipt:read", "room": room, "mark": mark}).to_string().into(),
    };
    // Pushed to the room as well, it comes with the room to who is live there; not pushed, it comes so to all.
    notify(&stack, "bob", notice(true, "pushed")).await?;
    notify(&stack, "bob", notice(false, "not pushed")).await?;
    ensure!(told(&elsewhere, "receipt:read").await?["mark"] == "pushed");
    ensure!(told(&elsewhere, "receipt:read").await?["mark"] == "not pushed");
    ensure!(told(&joined, "receipt:read").await?["mark"] == "not pushed");
    Ok(())
}

// Covers: 4409.
#[tokio::test]
async fn one_connection_too_many_of_a_user_closes_their_oldest_on_the_node() -> Result<()> {
    let stack = Stack::builder().gateways(2).gateway_env("TIDINGS_CONNECTIONS_PER_USER", 3).start().await?;
    let elsewhere = stack.connect_at(1, "bob").await?;
    let other = stack.connect_at(0, "carol").await?;
    let mut devices = Vec::new();
    for _ in 0..3 {
        devices.push(stack.connect_at(0, "bob").await?);
    }
    for device in &devices {
        device.ping().await?;
    }
    // Whichever of the node's threads they are on.
    for oldest in 0..3 {
        devices.push(stack.connect_at(0, "bob").await?);
        let closed = devices[oldest].until_closed().await?;
        ensure!(closed.code == Some(4409), "{closed:?}");
    }
    for device in &devices[3..] {
        device.ping().await?;
    }
    other.ping().await?;
    elsewhere.ping().await?;
    let metrics = stack.gateway(0).metrics().await?;
    ensure!(metrics.contains("tidings_gateway_closes_total{code=\"4409\"} 3"), "{metrics}");
    Ok(())
}

#[tokio::test]
async fn whoever_connects_while_pub_sub_is_away_comes_in_and_is_told_what_was_missed() -> Result<()> {
    let stack = Stack::start().await?;
    let room = stack.http("alice").new_room(&[]).await?;
    let mut redis = redis(&stack).await?;
    for round in 0..10 {
        let user = format!("bob-{round}");
        let (connected, cut) = tokio::join!(stack.connect(&user), cut_pub_sub(&stack));
        let (device, ()) = (connected?, cut?);
        stack.http("alice").put_member(&room, &user, "member").await?.expect(200);
        // One of the two comes, whichever way the cut met it.
        let heard = tokio::time::timeout(PATIENCE, async {
            loop {
                let frame = device.next_event(PATIENCE).await?;
                if matches!(frame.kind(), "room:added" | "rooms:changed") {
                    return anyhow::Ok(frame);
                }
            }
        });
        heard.await.with_context(|| format!("round {round}"))??;
    }
    let _: String = redis::cmd("PING").query_async(&mut redis).await?;
    Ok(())
}
