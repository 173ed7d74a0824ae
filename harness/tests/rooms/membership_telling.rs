//! Announcements of membership changes: the cache and the user's channel get a committed change before anybody gets
//! `stored` for it. Long because the caches of memberships and of accounts have the same races.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::channel::UserChannel;
use crate::room_log::{RoomLog, WAIT_TIMEOUT, hold};
use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};
use tidings_harness::{Http, ServerFrame, Stack, System};
use tidings_shared::{
    ids::{Epoch, Seq, UserId},
    internal::{ConnectUserRequest, InternalClient},
    membership::{self, Account, Membership},
    people::UserNotice,
};

const MAX_BACKLOG_RECORDS: u64 = 10_000;

async fn start_stack() -> Result<Stack> {
    Stack::builder().gateways(0).start().await
}

fn user_id(name: &str) -> UserId {
    UserId::parse(name).expect("a user id")
}

fn admin_http(stack: &impl System) -> Http {
    stack.http("root").with_token(&stack.admin_token("root"))
}

async fn rooms_version(stack: &Stack, name: &str) -> Result<Value> {
    Ok(stack.http(name).my_rooms("").await?.expect(200).body["rooms_version"].clone())
}

// Covers: room:added.
#[tokio::test]
async fn added_user_is_notified_before_answer_and_misses_nothing() -> Result<()> {
    let stack = start_stack().await?;
    let alice = stack.http("alice");
    let body = json!({"kind": "private", "name": "Tea"});
    let room = alice.post("/rooms", body).await?.expect(201).body["room"].clone();
    let room = room.as_str().unwrap_or_default();
    alice.send(room, "a1", "before").await?.expect(201);
    let (mut channel, before) =
        (UserChannel::subscribe(&stack, "bob").await?, rooms_version(&stack, "bob").await?);
    alice.put_member(room, "bob", "vip").await?.expect(200);
    ensure!(rooms_version(&stack, "bob").await? != before);
    let added = channel.next_frame().await?;
    let expected = json!({
        "type": "room:added", "room": room, "kind": "private", "name": "Tea", "role": "vip",
        "from": {"epoch": "1", "seq": 1},
    });
    ensure!(added == expected, "{added}");
    alice.send(room, "a2", "after").await?.expect(201);
    let from = added["from"]["seq"].as_u64().unwrap_or_default();
    let events = stack.http("bob").events(room, &format!("after={from}&epoch=1")).await?.expect(200).body;
    let kinds: Vec<&str> = events["events"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|event| event["type"].as_str())
        .collect();
    ensure!(kinds == ["member:added", "message:new"], "{kinds:?}");

    // A role change is announced in the room only, but it also changes the list of rooms.
    let before = rooms_version(&stack, "bob").await?;
    alice.put_member(room, "bob", "guest").await?.expect(200);
    ensure!(rooms_version(&stack, "bob").await? != before);
    alice.remove_member(room, "bob").await?.expect(200);
    let removed = channel.next_frame().await?;
    ensure!(removed == json!({"type": "room:removed", "room": room, "seq": 5}), "{removed}");
    ensure!(channel.is_silent());
    Ok(())
}

#[tokio::test]
async fn all_initial_members_are_notified_of_new_room() -> Result<()> {
    let stack = start_stack().await?;
    let users: Vec<String> = (0..450).map(|n| format!("u{n:03}")).collect();
    let mut channels = Vec::new();
    for name in ["alice", "u000", "u225", "u449"] {
        channels.push((name, UserChannel::subscribe(&stack, name).await?));
    }
    let members: Vec<&str> = users.iter().map(String::as_str).collect();
    let room = stack.http("alice").create_room("public", &members).await?.expect(201).body["room"].clone();
    for (name, channel) in &mut channels {
        let role = if *name == "alice" { "owner" } else { "member" };
        let expected = json!({
            "type": "room:added", "room": room, "kind": "public", "name": null, "role": role,
            "from": {"epoch": "1", "seq": 0},
        });
        let added = channel.next_frame().await?;
        ensure!(added == expected, "{name}: {added}");
    }
    Ok(())
}

#[tokio::test]
async fn existing_empty_direct_room_is_announced_again() -> Result<()> {
    let stack = start_stack().await?;
    let (alice, mut channel) = (stack.http("alice"), UserChannel::subscribe(&stack, "bob").await?);
    let room = alice.create_room("direct", &["bob"]).await?.expect(201).body["room"].clone();
    ensure!(channel.next_frame().await?["room"] == room);
    // A repeated creation announces the room again, because the node that created it may have crashed before.
    alice.create_room("direct", &["bob"]).await?.expect(200);
    let again = channel.next_frame().await?;
    ensure!((&again["role"], &again["kind"]) == (&json!("member"), &json!("direct")), "{again}");
    alice.send(room.as_str().unwrap_or_default(), "a1", "hi").await?.expect(201);
    ensure!(matches!(channel.next_notice().await?, UserNotice::Activity { .. }));
    let before = rooms_version(&stack, "bob").await?;
    alice.create_room("direct", &["bob"]).await?.expect(200);
    ensure!(rooms_version(&stack, "bob").await? == before && channel.is_silent());
    Ok(())
}

#[tokio::test]
async fn committed_change_is_announced_by_next_writer_after_crash() -> Result<()> {
    let stack = Stack::builder().gateways(0).persistence_env("TIDINGS_LEASE_MS", 1000).start().await?;
    let room = RoomLog::new(&stack, MAX_BACKLOG_RECORDS).await?;
    room.send("m1").await?;
    let mut channel = UserChannel::subscribe(&stack, "carol").await?;
    // Redis hangs while the writer waits for the lock on members. So the writer commits the change, but cannot announce
    // it.
    let held = hold(&stack, "LOCK TABLE members IN SHARE MODE", 2.0).await?;
    let (alice, id) = (stack.http("alice"), room.room.clone());
    let adding = tokio::spawn(async move { alice.put_member(id.as_str(), "carol", "member").await });
    stack.database().until_blocked().await?;
    stack.shards().pause()?;
    held.await?;
    let is_there =
        format!("SELECT count(*) FROM members WHERE room_id = '{}' AND user_id = 'carol'", room.room);
    stack.database().until(&is_there, "1").await?;
    // The writer crashes now.
    stack.persistence(0).kill();
    ensure!(!adding.await?.is_ok_and(|answer| answer.status == 200), "answered before the announcement");
    stack.shards().resume()?;
    ensure!(channel.is_silent(), "announced before the crash");
    stack.persistence(0).restart().await?;
    let added = channel.next_frame().await?;
    ensure!((&added["type"], &added["from"]["seq"]) == (&json!("room:added"), &json!(1)), "{added}");
    // The change is announced after the restart, and was written once.
    room.send("m2").await?;
    ensure!(room.stored_log(&stack).await?.len() == 3);
    let count = format!("SELECT member_count FROM rooms WHERE id = '{}'", room.room);
    ensure!(stack.database().value(&count).await? == "3");
    Ok(())
}

#[tokio::test]
async fn overtaken_cache_fill_is_discarded() -> Result<()> {
    let stack = start_stack().await?;
    let log = RoomLog::new(&stack, MAX_BACKLOG_RECORDS).await?;
    let bob = user_id("bob");
    let session = log.log.session_of_user(&bob).await?;
    let mut connection = session.connection();
    let rooms = |read: u64| {
        HashMap::from([(log.room.clone(), Membership { role: "member".into(), read_seq: Seq(read) })])
    };
    let cached = async |connection: &mut _| -> Result<_> {
        let room = std::slice::from_ref(&log.room);
        let cached = membership::cached_in(connection, &bob, session.epoch, room).await?;
        Ok(cached.and_then(|mut cached| cached.pop()?).map(|membership| membership.read_seq.0))
    };
    let stamp = membership::stamp(&mut connection, &bob).await?;
    membership::advance_read(&mut connection, &log.room, [(&bob, Seq(9))]).await?;
    ensure!(!membership::fill(&mut connection, &bob, session.epoch, stamp, &rooms(5)).await?);
    ensure!(cached(&mut connection).await?.is_none());
    let stamp = membership::stamp(&mut connection, &bob).await?;
    ensure!(membership::fill(&mut connection, &bob, session.epoch, stamp, &rooms(9)).await?);
    // A read mark moves while the cache is being filled. The older fill must not undo the new mark.
    membership::advance_read(&mut connection, &log.room, [(&bob, Seq(11))]).await?;
    ensure!(!membership::fill(&mut connection, &bob, session.epoch, stamp, &rooms(9)).await?);
    ensure!(cached(&mut connection).await? == Some(11));
    let stamp = membership::stamp(&mut connection, &bob).await?;
    membership::invalidate(&mut connection, [&bob]).await?;
    ensure!(!membership::fill(&mut connection, &bob, session.epoch, stamp, &rooms(11)).await?);
    ensure!(cached(&mut connection).await?.is_none());
    Ok(())
}

#[tokio::test]
async fn changed_membership_is_never_stale_in_cache() -> Result<()> {
    let stack = start_stack().await?;
    let log = RoomLog::new(&stack, MAX_BACKLOG_RECORDS).await?;
    let bob = user_id("bob");
    let session = log.log.session_of_user(&bob).await?;
    let persistence = internal_client(&stack)?;
    let cached = async || -> Result<Option<Option<String>>> {
        let mut connection = session.connection();
        let rooms = [log.room.clone()];
        let found = membership::cached_in(&mut connection, &bob, session.epoch, &rooms).await?;
        Ok(found.map(|mut found| found.pop().flatten().map(|membership| membership.role)))
    };
    let alice = stack.http("alice");
    for role in ["vip", "guest", "admin", "member"] {
        persistence.rooms(&bob, session.epoch).await?;
        ensure!(cached().await?.is_some(), "the cache must be filled");
        alice.put_member(log.room.as_str(), "bob", role).await?.expect(200);
        ensure!(cached().await?.is_none_or(|found| found.as_deref() == Some(role)), "{role}");
    }
    persistence.rooms(&bob, session.epoch).await?;
    alice.remove_member(log.room.as_str(), "bob").await?.expect(200);
    ensure!(cached().await?.is_none_or(|found| found.is_none()));
    // Now the cache is filled between the append and the commit.
    let hold = hold(&stack, "LOCK TABLE members IN SHARE MODE", 1.5).await?;
    let (http, id) = (stack.http("alice"), log.room.clone());
    let adding = tokio::spawn(async move { http.put_member(id.as_str(), "bob", "member").await });
    let begun = Instant::now();
    while !begun.elapsed().gt(&Duration::from_secs(1)) {
        persistence.rooms(&bob, session.epoch).await?;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    ensure!(cached().await? == Some(None), "the cache must hold the state before the commit");
    hold.await?;
    adding.await??.expect(200);
    ensure!(cached().await?.is_none(), "the commit must drop the cache");
    Ok(())
}

fn internal_client(stack: &Stack) -> Result<InternalClient> {
    let secret = secrecy::SecretString::from(stack.internal_secret().to_owned());
    Ok(InternalClient::new(&[stack.persistence(0).internal()], secret)?)
}

// Covers: PUT /users/{user}.
#[tokio::test]
async fn admin_scope_creates_changes_and_blocks_user() -> Result<()> {
    let stack = Stack::shared().await?;
    let (root, bob) = (admin_http(&stack), stack.http("bob"));
    bob.put_user("bob", json!({"name": "Bob"})).await?.expect(403);
    let created =
        root.put_user("bob", json!({"name": "Bob", "picture": "https://x/p"})).await?.expect(200).body;
    let expected = json!({"user": "bob", "name": "Bob", "picture": "https://x/p", "blocked": false});
    ensure!(created == expected, "{created}");
    let changed = root.put_user("bob", json!({"picture": "", "name": null})).await?.expect(200).body;
    ensure!(changed == json!({"user": "bob", "name": "Bob", "picture": null, "blocked": false}), "{changed}");
    bob.my_rooms("").await?.expect(200);
    root.put_user("bob", json!({"blocked": true})).await?.expect(200);
    ensure!(bob.my_rooms("").await?.expect(403).code() == "forbidden");
    let back = root.put_user("bob", json!({"blocked": false})).await?.expect(200).body;
    ensure!(back["name"] == "Bob", "{back}");
    bob.my_rooms("").await?.expect(200);
    root.put_user("b b", json!({})).await?.expect(400);
    Ok(())
}

#[tokio::test]
async fn addition_tells_name_and_picture_of_the_new_member() -> Result<()> {
    let stack = Stack::start().await?;
    let (alice, root) = (stack.http("alice"), admin_http(&stack));
    root.put_user("carol", json!({"name": "Carol", "picture": "https://x/c"})).await?.expect(200);
    let room = alice.new_room(&["bob"]).await?;
    let bob = stack.connect("bob").await?;
    bob.join(&room).await?;
    alice.put_member(&room, "carol", "vip").await?.expect(200);
    let ServerFrame::Other(live) = bob.wait_for("member:added", WAIT_TIMEOUT).await? else {
        bail!("an addition of an unexpected form");
    };
    ensure!((&live["name"], &live["picture"]) == (&json!("Carol"), &json!("https://x/c")), "{live}");
    let logged = async || -> Result<Value> {
        Ok(alice.events(&room, "after=0").await?.expect(200).body["events"][0].clone())
    };
    let event = logged().await?;
    ensure!((&event["name"], &event["picture"]) == (&live["name"], &live["picture"]), "{event}");
    // The log stores neither, so a change and an erasure of the user also hold for earlier events.
    let stored = "SELECT count(*) FROM events WHERE body::text LIKE '%Carol%' OR body::text LIKE '%https:%'";
    ensure!(stack.database().value(stored).await? == "0");
    root.put_user("carol", json!({"name": "Caroline", "picture": ""})).await?.expect(200);
    let event = logged().await?;
    ensure!(event["name"] == "Caroline" && event.get("picture").is_none(), "{event}");
    Ok(())
}

#[tokio::test]
async fn changed_account_is_announced_and_never_stale_in_cache() -> Result<()> {
    let stack = start_stack().await?;
    let (root, bob) = (admin_http(&stack), user_id("bob"));
    let log = RoomLog::new(&stack, MAX_BACKLOG_RECORDS).await?;
    let session = log.log.session_of_user(&bob).await?;
    let persistence = internal_client(&stack)?;
    let ask = ConnectUserRequest { user: bob.clone(), name: None, picture: None };
    let cached = async || -> Result<Option<bool>> {
        let account = membership::cached_account(&mut session.connection(), &bob, session.epoch).await?;
        Ok(account.map(|account| account.blocked))
    };
    persistence.connect_user(&ask).await?;
    ensure!(cached().await? == Some(false));
    let mut channel = UserChannel::subscribe(&stack, "bob").await?;
    root.put_user("bob", json!({"blocked": true})).await?.expect(200);
    ensure!(channel.next_notice().await? == UserNotice::Account);
    ensure!(cached().await?.is_none_or(|blocked| blocked));
    // A read that began before the change must not fill the cache.
    let mut connection = session.connection();
    let version = membership::account_version(&mut connection, &bob).await?;
    root.put_user("bob", json!({"blocked": false})).await?.expect(200);
    let stale = Account { name: None, picture: None, blocked: true };
    ensure!(!membership::cache_account(&mut connection, &bob, session.epoch, version, &stale).await?);
    ensure!(cached().await?.is_none_or(|blocked| !blocked));
    Ok(())
}

/// The notice before the COMMIT fills the cache with the account as it was.
#[tokio::test]
async fn block_holds_although_its_process_is_killed() -> Result<()> {
    let stack = start_stack().await?;
    let (root, bob) = (admin_http(&stack), user_id("bob"));
    let log = RoomLog::new(&stack, MAX_BACKLOG_RECORDS).await?;
    let session = log.log.session_of_user(&bob).await?;
    let ask = ConnectUserRequest { user: bob.clone(), name: None, picture: None };
    internal_client(&stack)?.connect_user(&ask).await?;
    let held = hold(&stack, "SELECT FROM users WHERE id = 'bob' FOR UPDATE", 4.0).await?;
    let blocking = tokio::spawn(async move { root.put_user("bob", json!({"blocked": true})).await });
    let waits = "SELECT (count(*) > 0)::text FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
                 AND query LIKE 'WITH put AS (INSERT INTO users%' AND datname = current_database()";
    stack.database().until(waits, "true").await?;
    // PostgreSQL commits the statement although its client has ended.
    stack.persistence(0).kill();
    drop(blocking.await);
    held.await?;
    stack.database().until("SELECT blocked FROM users WHERE id = 'bob'", "t").await?;
    let begun = Instant::now();
    loop {
        let mut connection = session.connection();
        let cached = membership::cached_account(&mut connection, &bob, session.epoch).await?;
        if cached.is_none_or(|account| account.blocked) {
            return Ok(());
        }
        ensure!(begun.elapsed() < 2 * WAIT_TIMEOUT, "the account is cached as if bob were not blocked");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn full_redis_still_receives_committed_changes() -> Result<()> {
    let stack = start_stack().await?;
    let room = RoomLog::new(&stack, MAX_BACKLOG_RECORDS).await?;
    room.send("m1").await?;
    let mut channel = UserChannel::subscribe(&stack, "bob").await?;
    let held = hold(&stack, "LOCK TABLE members IN SHARE MODE", 1.5).await?;
    let (alice, id) = (stack.http("alice"), room.room.clone());
    let removing = tokio::spawn(async move { alice.remove_member(id.as_str(), "bob").await });
    let begun = Instant::now();
    while room.log.read(&room.room, None, Epoch(0), None, &[]).await?.head.seq < Seq(2) {
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "nothing was appended");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let _: String = room.redis(redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg("1mb")).await?;
    let refused = room.redis::<String>(redis::cmd("SET").arg("x").arg("y")).await;
    ensure!(refused.is_err_and(|error| error.to_string().contains("OOM")), "the memory of Redis is not full");
    held.await?;
    removing.await??.expect(200);
    ensure!(channel.next_frame().await?["type"] == "room:removed");
    Ok(())
}
