//! Events for all connections of a user on every node, joined or not: additions, removals, missed changes,
//! account changes. And the limit of connections per user.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tidings_harness::{Client, ClientError, Cursor, Http, ServerFrame, Stack, System};
use tidings_shared::{
    ids::{RoomId, UserId},
    log::{Layout, RedisConnection},
    people::{self, UserNotice},
};

const WAIT_TIMEOUT: Duration = Duration::from_secs(20);
/// The connections of a blocked user must be closed within this time.
const BLOCK_DEADLINE: Duration = Duration::from_secs(5);

fn admin_http(stack: &impl System) -> Http {
    stack.http("root").with_token(&stack.admin_token("root"))
}

async fn connect_redis(stack: &Stack) -> Result<RedisConnection> {
    let connection = redis::Client::open(stack.redis().url())?.get_multiplexed_async_connection().await?;
    Ok(RedisConnection::new(connection, Layout::Single))
}

async fn subscriber_count(stack: &Stack, user: &str) -> Result<u64> {
    let mut redis = connect_redis(stack).await?;
    let channel = format!("user:{user}");
    let (_, count): (String, u64) =
        redis::cmd("PUBSUB").arg("NUMSUB").arg(&channel).query_async(&mut redis).await?;
    Ok(count)
}

async fn next_frame(client: &Client, kind: &str) -> Result<Value> {
    match client.wait_for(kind, WAIT_TIMEOUT).await? {
        ServerFrame::Other(value) => Ok(value),
        other => anyhow::bail!("{other:?}"),
    }
}

/// Fails if a frame of this type arrives.
async fn expect_no_frame(client: &Client, kind: &str) -> Result<()> {
    client.ping().await?;
    match client.wait_for(kind, Duration::from_millis(500)).await {
        Err(ClientError::Silent(_)) => Ok(()),
        other => anyhow::bail!("{other:?}"),
    }
}

async fn publish_notice(stack: &Stack, user: &str, notice: UserNotice) -> Result<()> {
    Ok(people::publish(&mut connect_redis(stack).await?, [(&UserId::parse(user)?, &notice)]).await?)
}

// Covers: room:added, room:removed.
#[tokio::test]
async fn membership_change_reaches_all_connections_on_all_nodes() -> Result<()> {
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
        let added = next_frame(device, "room:added").await?;
        ensure!(
            (&added["room"], &added["role"], &added["kind"])
                == (&json!(room), &json!("guest"), &json!("private")),
            "{added}"
        );
        let from: Cursor = serde_json::from_value(added["from"].clone())?;
        device.join_after(&room, &from).await?;
        // From this cursor on, the device receives its own addition and everything later.
        ensure!(next_frame(device, "member:added").await?["seq"] == 2);
        ensure!(
            matches!(device.next_of_log(WAIT_TIMEOUT).await?, ServerFrame::Message(message) if message.seq == 3)
        );
        device.wait_for("room:caught_up", WAIT_TIMEOUT).await?;
    }
    stack.http("alice").remove_member(&room, "bob").await?.expect(200);
    for device in &devices {
        ensure!(next_frame(device, "member:removed").await?["seq"] == 4);
        let removed = next_frame(device, "room:removed").await?;
        ensure!(removed == json!({"type": "room:removed", "room": room, "seq": 4}), "{removed}");
        ensure!(device.join(&room).await.is_err_and(|error| error.code() == "not_found"));
    }
    expect_no_frame(&other, "room:added").await?;
    let revoked = stack.gateway(0).metrics().await?;
    ensure!(revoked.contains("\ntidings_gateway_revoked_total 2\n"), "{revoked}");
    Ok(())
}

#[tokio::test]
async fn node_subscribes_user_from_first_to_last_connection() -> Result<()> {
    let stack = Stack::builder().gateways(2).start().await?;
    ensure!(subscriber_count(&stack, "bob").await? == 0);
    let (first, second) = (stack.connect_at(0, "bob").await?, stack.connect_at(0, "bob").await?);
    let on_other_node = stack.connect_at(1, "bob").await?;
    ensure!(subscriber_count(&stack, "bob").await? == 2, "each of the two nodes must subscribe once");
    let channels = "\ntidings_gateway_user_channels 1\n";
    ensure!(stack.gateway(0).metrics().await?.contains(channels));
    first.close().await?;
    publish_notice(&stack, "bob", UserNotice::Frame("{\"type\":\"x:test\"}".into())).await?;
    next_frame(&second, "x:test").await?;
    next_frame(&on_other_node, "x:test").await?;
    second.close().await?;
    let begun = tokio::time::Instant::now();
    while subscriber_count(&stack, "bob").await? != 1 {
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "the channel of a disconnected user is still subscribed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

// Covers: rooms:changed.
#[tokio::test]
async fn missed_rooms_change_is_sent_after_resubscription() -> Result<()> {
    let stack = Stack::builder().gateways(2).start().await?;
    let bobs = [stack.connect_at(0, "bob").await?, stack.connect_at(1, "bob").await?];
    let (carol, before) = (stack.connect_at(0, "carol").await?, bobs[0].connected().rooms_version.clone());
    // Simulates a lost notice: only the version shows the change.
    let users = [UserId::parse("bob")?];
    tidings_shared::membership::invalidate(&mut connect_redis(&stack).await?, &users).await?;
    stack.shards().cut_pub_sub().await?;
    let version = stack.http("bob").my_rooms("").await?.expect(200).body["rooms_version"].clone();
    for bob in &bobs {
        let changed = next_frame(bob, "rooms:changed").await?;
        ensure!(
            changed["rooms_version"] == version && changed["rooms_version"] != json!(before),
            "{changed}"
        );
    }
    expect_no_frame(&carol, "rooms:changed").await?;
    // The change is sent once: a later cut sends nothing.
    stack.shards().cut_pub_sub().await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    expect_no_frame(&bobs[0], "rooms:changed").await
}

// Covers: 4403.
#[tokio::test]
async fn blocked_user_is_disconnected_from_all_nodes_in_seconds() -> Result<()> {
    let stack = Stack::shared().await?;
    let room = stack.http("alice").new_room(&["mallory"]).await?;
    let devices = [stack.connect_at(0, "mallory").await?, stack.connect_at(1, "mallory").await?];
    devices[0].join_and_catch_up(&room).await?;
    let alice = stack.connect_at(0, "alice").await?;
    admin_http(&stack).put_user("mallory", json!({"blocked": true})).await?.expect(200);
    for device in &devices {
        let closed = tokio::time::timeout(BLOCK_DEADLINE, device.until_closed()).await??;
        ensure!(closed.code == Some(4403), "{closed:?}");
        let error = device.wait_for("error", WAIT_TIMEOUT).await?;
        ensure!(matches!(&error, ServerFrame::Error(error) if error.code == "forbidden"), "{error:?}");
    }
    ensure!(stack.connect("mallory").await.is_err_and(|error| error.code() == "forbidden"));
    alice.ping().await?;
    admin_http(&stack).put_user("mallory", json!({"blocked": false})).await?.expect(200);
    stack.connect("mallory").await?;
    Ok(())
}

#[tokio::test]
async fn missed_block_takes_effect_after_resubscription() -> Result<()> {
    let stack = Stack::builder().gateways(2).start().await?;
    let devices = [stack.connect_at(0, "mallory").await?, stack.connect_at(1, "mallory").await?];
    let alice = stack.connect_at(0, "alice").await?;
    // Simulates a lost notice.
    stack.database().query("UPDATE users SET blocked = true WHERE id = 'mallory'").await?;
    let mallory = UserId::parse("mallory")?;
    tidings_shared::membership::invalidate_account(&mut connect_redis(&stack).await?, &mallory).await?;
    stack.shards().cut_pub_sub().await?;
    for device in &devices {
        let closed = tokio::time::timeout(BLOCK_DEADLINE, device.until_closed()).await??;
        ensure!(closed.code == Some(4403), "{closed:?}");
    }
    alice.ping().await?;
    Ok(())
}

#[tokio::test]
async fn block_during_repeated_pub_sub_cuts_takes_effect() -> Result<()> {
    let stack = Stack::start().await?;
    for round in 0..10 {
        let user = format!("mallory-{round}");
        let device = stack.connect(&user).await?;
        let (blocked, cut) = tokio::join!(
            async { admin_http(&stack).put_user(&user, json!({"blocked": true})).await },
            stack.shards().cut_pub_sub()
        );
        blocked?.expect(200);
        cut?;
        let closed = tokio::time::timeout(BLOCK_DEADLINE, device.until_closed()).await??;
        ensure!(closed.code == Some(4403), "{closed:?}");
    }
    Ok(())
}

#[tokio::test]
async fn account_lookup_is_retried_until_persistence_answers() -> Result<()> {
    let stack = Stack::start().await?;
    let device = stack.connect("mallory").await?;
    stack.database().query("UPDATE users SET blocked = true WHERE id = 'mallory'").await?;
    stack.persistence(0).kill();
    let mallory = UserId::parse("mallory")?;
    tidings_shared::membership::invalidate_account(&mut connect_redis(&stack).await?, &mallory).await?;
    publish_notice(&stack, "mallory", UserNotice::Account).await?;
    device.ping().await?;
    stack.persistence(0).restart().await?;
    let closed = tokio::time::timeout(WAIT_TIMEOUT, device.until_closed()).await??;
    ensure!(closed.code == Some(4403), "{closed:?}");
    Ok(())
}

#[tokio::test]
async fn changed_name_appears_on_later_messages() -> Result<()> {
    let stack = Stack::shared().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let (alice, bob) = (stack.connect("alice").await?, stack.connect("bob").await?);
    alice.join_and_catch_up(&room).await?;
    bob.send(&room, "as nobody").await?;
    admin_http(&stack).put_user("bob", json!({"name": "Bob the Great"})).await?.expect(200);
    let begun = tokio::time::Instant::now();
    loop {
        bob.send(&room, "as somebody").await?;
        let ServerFrame::Message(message) = alice.wait_for("message:new", WAIT_TIMEOUT).await? else {
            continue;
        };
        if message.sender.name.as_deref() == Some("Bob the Great") {
            return Ok(());
        }
        ensure!(begun.elapsed() < WAIT_TIMEOUT && message.sender.name.is_none(), "{message:?}");
        tokio::time::sleep(Duration::from_millis(120)).await;
    }
}

#[tokio::test]
async fn own_read_marks_reach_every_connection_once() -> Result<()> {
    let stack = Stack::start().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let (live, not_joined) = (stack.connect("bob").await?, stack.connect("bob").await?);
    live.join_and_catch_up(&room).await?;
    let notice = |pushed, mark: &str| UserNotice::Read {
        room: RoomId::parse(&room).unwrap(),
        pushed,
        frame: json!({"type": "receipt:read", "room": room, "mark": mark}).to_string().into(),
    };
    // Live subscriptions already got a pushed read through the room. All other connections get it from the user's
    // channel.
    publish_notice(&stack, "bob", notice(true, "pushed")).await?;
    publish_notice(&stack, "bob", notice(false, "not pushed")).await?;
    ensure!(next_frame(&not_joined, "receipt:read").await?["mark"] == "pushed");
    ensure!(next_frame(&not_joined, "receipt:read").await?["mark"] == "not pushed");
    ensure!(next_frame(&live, "receipt:read").await?["mark"] == "not pushed");
    Ok(())
}

// Covers: 4409.
#[tokio::test]
async fn connection_over_user_limit_closes_oldest_on_node() -> Result<()> {
    let stack = Stack::builder().gateways(2).gateway_env("TIDINGS_CONNECTIONS_PER_USER", 3).start().await?;
    let on_other_node = stack.connect_at(1, "bob").await?;
    let other = stack.connect_at(0, "carol").await?;
    let mut devices = Vec::new();
    for _ in 0..3 {
        devices.push(stack.connect_at(0, "bob").await?);
    }
    for device in &devices {
        device.ping().await?;
    }
    // The limit counts the connections on all worker threads.
    for oldest in 0..3 {
        devices.push(stack.connect_at(0, "bob").await?);
        let closed = devices[oldest].until_closed().await?;
        ensure!(closed.code == Some(4409), "{closed:?}");
    }
    for device in &devices[3..] {
        device.ping().await?;
    }
    other.ping().await?;
    on_other_node.ping().await?;
    let metrics = stack.gateway(0).metrics().await?;
    ensure!(metrics.contains("tidings_gateway_closes_total{code=\"4409\"} 3"), "{metrics}");
    Ok(())
}

#[tokio::test]
async fn connect_during_pub_sub_cut_succeeds_and_misses_nothing() -> Result<()> {
    let stack = Stack::start().await?;
    let room = stack.http("alice").new_room(&[]).await?;
    let mut redis = connect_redis(&stack).await?;
    for round in 0..10 {
        let user = format!("bob-{round}");
        let (connected, cut) = tokio::join!(stack.connect(&user), stack.shards().cut_pub_sub());
        let (device, ()) = (connected?, cut?);
        stack.http("alice").put_member(&room, &user, "member").await?.expect(200);
        // The user gets one of these two frames, no matter at which moment the cut comes.
        let notified = tokio::time::timeout(WAIT_TIMEOUT, async {
            loop {
                let frame = device.next_event(WAIT_TIMEOUT).await?;
                if matches!(frame.kind(), "room:added" | "rooms:changed") {
                    return anyhow::Ok(frame);
                }
            }
        });
        notified.await.with_context(|| format!("round {round}"))??;
    }
    let _: String = redis::cmd("PING").query_async(&mut redis).await?;
    Ok(())
}

#[tokio::test]
async fn new_epoch_is_announced_to_many_users_over_time() -> Result<()> {
    const USERS: usize = 350;
    let stack = Stack::builder().gateways(1).start().await?;
    let mut clients = Vec::with_capacity(USERS);
    for n in 0..USERS {
        clients.push(stack.connect(&format!("user-{n}")).await?);
    }
    stack.shards().restart().await?;
    let announced = clients.iter().map(async |client| {
        let changed = next_frame(client, "rooms:changed").await?;
        ensure!(changed["rooms_version"] != json!(client.connected().rooms_version), "{changed}");
        Ok(tokio::time::Instant::now())
    });
    let times = futures_util::future::try_join_all(announced).await?;
    let (first, last) = (times.iter().min().context("no user")?, times.iter().max().context("no user")?);
    ensure!(*last - *first > Duration::from_secs(1), "{:?}", *last - *first);
    Ok(())
}
