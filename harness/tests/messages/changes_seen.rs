//! Visibility of changes: live, in replays, in the log, in history and in versions.

use std::time::Duration;

use crate::ways::{
    ADD_REACTION, CHANGES, ChangeOutcome, DELETE, EDIT, REMOVE_REACTION, Transport, both_transports,
};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tidings_harness::{Stack, client::Client, frames::Cursor, frames::ServerFrame, http::Http};

const WAIT_TIMEOUT: Duration = Duration::from_secs(10);

async fn start_stack() -> Result<Stack> {
    let builder = Stack::builder().gateway_env("TIDINGS_MESSAGES_PER_SECOND", 1000);
    builder.gateway_env("TIDINGS_MESSAGES_BURST", 1000).start().await
}

async fn fetch_message(http: &Http, room: &str, seq: u64) -> Result<Value> {
    Ok(http.get(&format!("/rooms/{room}/messages/{seq}")).await?.expect(200).body)
}

async fn fetch_events(http: &Http, room: &str) -> Result<Vec<Value>> {
    let page = http.events(room, "limit=200").await?.expect(200).body;
    Ok(page["events"].as_array().cloned().unwrap_or_default())
}

async fn fetch_versions(http: &Http, room: &str, seq: u64) -> Result<Vec<Value>> {
    let answer = http.get(&format!("/rooms/{room}/messages/{seq}/versions")).await?.expect(200).body;
    Ok(answer["versions"].as_array().cloned().unwrap_or_default())
}

/// Joins from the start and returns the whole replay.
async fn replay(client: &Client, room: &str, epoch: &str) -> Result<Vec<Value>> {
    client.join_after(room, &Cursor { epoch: epoch.to_owned(), seq: 0 }).await?;
    let mut replayed = Vec::new();
    loop {
        match client.next_event(WAIT_TIMEOUT).await? {
            ServerFrame::Other(value) if !value["target"].is_u64() => {}
            ServerFrame::CaughtUp(_) => return Ok(replayed),
            ServerFrame::Gap(gap) => replayed.push(json!({"type": "room:gap", "after": gap.after})),
            ServerFrame::Message(new) => {
                replayed.push(json!({"type": "message:new", "seq": new.seq, "content": new.content}));
            }
            ServerFrame::Other(value) => replayed.push(value),
            other => anyhow::bail!("{other:?}"),
        }
        if replayed.last().is_some_and(|last| last["type"] == "room:gap") {
            return Ok(replayed);
        }
    }
}

#[tokio::test]
async fn private_message_changes_are_visible_only_to_its_readers() -> Result<()> {
    let stack = Stack::shared().await?;
    let alice = stack.http("alice");
    let members = json!([{"user": "bob"}, {"user": "eve"}, {"user": "vera", "role": "vip"}, {"user": "adam", "role": "admin"}]);
    let room = alice.post("/rooms", json!({"kind": "private", "members": members})).await?.expect(201).body;
    let room = room["room"].as_str().context("room")?;
    let body = json!({"client_id": "c", "content": "secret", "visible_to": {"roles": ["vip"]}});
    let sent = stack.http("bob").post(&format!("/rooms/{room}/messages"), body).await?.expect(201).body;
    let epoch = sent["epoch"].as_str().context("epoch")?;
    let mut listeners = Vec::new();
    for user in ["alice", "bob", "eve", "vera", "adam"] {
        let client = stack.connect(user).await?;
        client.join_and_catch_up(room).await?;
        listeners.push((user, client));
    }

    // Users who may not see the message get `not_found`, also the owner, an admin and the admin scope.
    let root = Http::new(&stack.persistence(0).url(), &stack.admin_token("root"));
    let mut excluded = vec![Transport::Http(root.clone())];
    for user in ["alice", "eve", "adam"] {
        excluded.extend(both_transports(&stack, user).await?);
    }
    for transport in &excluded {
        for (kind, fields) in CHANGES {
            let outcome = transport.change(kind, room, 1, serde_json::from_str(fields)?).await?;
            assert_eq!(outcome.code(), "not_found", "{kind}");
        }
    }
    for user in [&alice, &stack.http("adam"), &root] {
        user.get(&format!("/rooms/{room}/messages/1/versions")).await?.expect(404);
    }

    let [bob, vera] = [Transport::Http(stack.http("bob")), Transport::Http(stack.http("vera"))];
    bob.change(EDIT, room, 1, json!({"content": "more secret"})).await?.seq()?;
    vera.change(ADD_REACTION, room, 1, json!({"emoji": "👀"})).await?.seq()?;
    vera.change(REMOVE_REACTION, room, 1, json!({"emoji": "👀"})).await?.seq()?;
    bob.change(EDIT, room, 1, json!({"content": "most secret"})).await?.seq()?;
    alice.send(room, "after", "for all").await?.expect(201);
    let kinds = ["message:edited", "reaction:added", "reaction:removed", "message:edited"];
    for (user, client) in &listeners {
        let mut seen = Vec::new();
        loop {
            let event = client.next_event(WAIT_TIMEOUT).await?;
            if event.kind() == "message:new" {
                break;
            }
            if event.log_position().is_some() {
                seen.push(event.kind().to_owned());
            }
        }
        let expected: &[&str] = if matches!(*user, "bob" | "vera") { &kinds } else { &[] };
        assert_eq!(seen, expected, "{user}, live");

        let log = fetch_events(&stack.http(user), room).await?;
        let seen: Vec<&str> = log.iter().filter_map(|event| event["type"].as_str()).collect();
        assert_eq!(
            seen.len(),
            expected.len() + 1 + usize::from(!expected.is_empty()),
            "{user}, over HTTP: {log:?}"
        );
        let replayed = replay(&stack.connect(user).await?, room, epoch).await?;
        assert_eq!(replayed.len(), seen.len(), "{user}, replayed: {replayed:?}");
        let received = format!("{log:?}{replayed:?}");
        assert_eq!(received.contains("secret"), !expected.is_empty(), "{user}");
    }
    assert_eq!(fetch_message(&stack.http("vera"), room, 1).await?["content"], "most secret");
    Ok(())
}

#[tokio::test]
async fn deleted_text_is_shown_only_in_versions_to_admins() -> Result<()> {
    let stack = start_stack().await?;
    let (alice, bob) = (stack.http("alice"), stack.http("bob"));
    let room = alice.new_room(&["bob"]).await?;
    let body = json!({"client_id": "c", "content": "secret", "metadata": {"a": "secret"}});
    let sent = bob.post(&format!("/rooms/{room}/messages"), body).await?.expect(201).body;
    let epoch = sent["epoch"].as_str().context("epoch")?;
    let transport = Transport::Http(bob.clone());
    transport
        .change(EDIT, &room, 1, json!({"content": "secret too", "metadata": {"b": "secret"}}))
        .await?
        .seq()?;
    transport.change(ADD_REACTION, &room, 1, json!({"emoji": "👍"})).await?.seq()?;

    // Before the delete, the replay has the original text and its changes.
    let replayed = replay(&stack.connect("alice").await?, &room, epoch).await?;
    let contents: Vec<&Value> = replayed.iter().map(|event| &event["content"]).collect();
    assert_eq!(contents, [&json!("secret"), &json!("secret too"), &Value::Null]);
    let log = fetch_events(&alice, &room).await?;
    assert_eq!((&log[0]["content"], &log[0]["metadata"]), (&json!("secret too"), &json!({"b": "secret"})));
    assert_eq!(log[0]["edited_at"], log[1]["at"]);

    let deleted = transport.change(DELETE, &room, 1, json!({})).await?.seq()?;
    for user in [&alice, &bob] {
        let mut answers = vec![fetch_message(user, &room, 1).await?];
        answers.push(user.messages(&room, "").await?.body);
        answers.push(user.room(&room).await?.body);
        answers.push(user.my_rooms("").await?.body);
        answers.extend(fetch_events(user, &room).await?);
        let answers = json!(answers).to_string();
        ensure!(!answers.contains("secret"), "{answers}");
    }
    let log = fetch_events(&alice, &room).await?;
    assert_eq!(
        (&log[0]["content"], &log[0]["deleted"], &log[1]["content"]),
        (&json!(""), &json!(true), &json!(""))
    );
    let last = alice.room(&room).await?.body["last_message"].clone();
    assert_eq!(
        (&last["deleted"], &last["last_seq"], &last["reactions"]),
        (&json!(true), &json!(deleted), &json!([]))
    );

    // The delete dropped the tail, so a replay of older events is a gap. Redis no longer holds the text.
    let replayed = replay(&stack.connect("alice").await?, &room, epoch).await?;
    assert_eq!(replayed, [json!({"type": "room:gap", "after": 0})]);
    ensure!(!dump_of_tail(&stack, &room).await?.contains("secret"));

    // A second delete is an event, but does not drop the tail again.
    let again = transport.change(DELETE, &room, 1, json!({})).await?.seq()?;
    assert_eq!(again, deleted + 1);
    assert_eq!(fetch_message(&alice, &room, 1).await?["last_seq"], deleted);
    ensure!(dump_of_tail(&stack, &room).await?.matches("\"type\":\"message:deleted\"").count() == 2);

    let kept = fetch_versions(&alice, &room, 1).await?;
    let kept: Vec<&Value> = kept.iter().map(|version| &version["content"]).collect();
    assert_eq!(kept, ["secret", "secret too"]);
    Ok(())
}

/// The bytes of a room's tail as Redis stores them, without compression.
async fn dump_of_tail(stack: &Stack, room: &str) -> Result<String> {
    let room = tidings_shared::ids::RoomId::parse(room)?;
    let client = tidings_shared::log::client(&stack.shards().url())?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    redis::cmd("CONFIG")
        .arg("SET")
        .arg("rdbcompression")
        .arg("no")
        .query_async::<()>(&mut connection)
        .await?;
    let key = tidings_shared::log::keys::tail(&room);
    let dump: Vec<u8> = redis::cmd("DUMP").arg(key).query_async(&mut connection).await?;
    ensure!(!dump.is_empty(), "the room has no tail");
    Ok(String::from_utf8_lossy(&dump).into_owned())
}

// Covers: GET /rooms/{room}/messages/{seq}/versions.
#[tokio::test]
async fn admins_read_every_version_oldest_first() -> Result<()> {
    let stack = start_stack().await?;
    let olga = stack.http("olga");
    let members =
        json!([{"user": "adam", "role": "admin"}, {"user": "mary"}, {"user": "greg", "role": "guest"}]);
    let room = olga.post("/rooms", json!({"kind": "private", "members": members})).await?.expect(201).body;
    let room = room["room"].as_str().context("room")?;
    let mary = stack.http("mary");
    let sent = mary.send(room, "c", "one").await?.expect(201).body;
    let mut expected = vec![json!({"content": "one", "at": sent["at"], "by": "mary"})];
    assert_eq!(fetch_versions(&olga, room, 1).await?, expected);

    Transport::Http(mary.clone()).change(ADD_REACTION, room, 1, json!({"emoji": "+"})).await?.seq()?;
    assert_eq!(fetch_versions(&olga, room, 1).await?.len(), 1, "a reaction makes no version");
    for (user, content) in [(&mary, "two"), (&olga, "three"), (&mary, "two")] {
        let path = format!("/rooms/{room}/messages/1");
        let body = json!({"content": content});
        let ack = user.request(reqwest::Method::PATCH, &path, Some(body)).await?.expect(200).body;
        let by = if content == "three" { "olga" } else { "mary" };
        expected.push(json!({"content": content, "at": ack["at"], "by": by}));
    }
    let root = Http::new(&stack.persistence(0).url(), &stack.admin_token("root"));
    for user in [&olga, &stack.http("adam"), &root] {
        assert_eq!(fetch_versions(user, room, 1).await?, expected);
    }
    Transport::Http(mary.clone()).change(DELETE, room, 1, json!({})).await?.seq()?;
    assert_eq!(fetch_versions(&olga, room, 1).await?, expected);

    let path = format!("/rooms/{room}/messages/1/versions");
    for (user, status) in [("mary", 403), ("greg", 403), ("eve", 404)] {
        stack.http(user).get(&path).await?.expect(status);
    }
    for no_message in [2, 99] {
        olga.get(&format!("/rooms/{room}/messages/{no_message}/versions")).await?.expect(404);
    }
    // If a message has more than 200 versions, the answer has the original and the latest ones.
    stack
        .database()
        .query(&format!(
            "INSERT INTO message_versions (room_id, seq, version, content, at, by) \
             SELECT '{room}', 1, n, n::text, now(), 'mary' FROM generate_series(1000, 1999) n"
        ))
        .await?;
    let many = fetch_versions(&olga, room, 1).await?;
    assert_eq!(
        (many.len(), &many[0]["content"], &many[199]["content"]),
        (200, &json!("one"), &json!("1999"))
    );
    Ok(())
}

// Covers: GET /rooms/{room}/messages/{seq}.
#[tokio::test]
async fn reactions_are_listed_in_given_order_with_first_twenty_users() -> Result<()> {
    let stack = Stack::shared().await?;
    let alice = stack.http("alice");
    let people: Vec<String> = (0..25).map(|n| format!("p{n:02}")).collect();
    let names: Vec<&str> = people.iter().map(String::as_str).collect();
    let room = alice.new_room(&names).await?;
    alice.send(&room, "c", "x").await?.expect(201);
    let react = async |user: &str, kind: &str, emoji: &str| -> Result<u64> {
        Transport::Http(stack.http(user)).change(kind, &room, 1, json!({"emoji": emoji})).await?.seq()
    };
    react("p24", ADD_REACTION, "z").await?;
    for user in people.iter().rev() {
        react(user, ADD_REACTION, "a").await?;
    }
    let last = react("alice", ADD_REACTION, "m").await?;
    react("alice", ADD_REACTION, "m").await?;
    let first_twenty: Vec<&String> = people.iter().rev().take(20).collect();
    let mut expected = json!([
        {"emoji": "z", "count": 1, "mine": false, "users": ["p24"]},
        {"emoji": "a", "count": 25, "mine": false, "users": first_twenty},
        {"emoji": "m", "count": 1, "mine": true, "users": ["alice"]},
    ]);
    let now = fetch_message(&alice, &room, 1).await?;
    assert_eq!(
        (&now["reactions"], &now["last_seq"]),
        (&expected, &json!(last)),
        "the same reaction changes nothing"
    );
    let page = alice.messages(&room, "").await?.body;
    assert_eq!(page["messages"][0]["reactions"], expected);
    assert_eq!(alice.room(&room).await?.body["last_message"]["reactions"], expected);
    (expected[1]["mine"], expected[2]["mine"]) = (json!(true), json!(false));
    assert_eq!(
        fetch_message(&stack.http("p00"), &room, 1).await?["reactions"],
        expected,
        "`mine` must count users beyond the listed ones"
    );

    react("p24", REMOVE_REACTION, "z").await?;
    react("p24", REMOVE_REACTION, "z").await?;
    react("p24", ADD_REACTION, "z").await?;
    let now = fetch_message(&alice, &room, 1).await?;
    let order: Vec<&Value> =
        now["reactions"].as_array().context("list")?.iter().map(|r| &r["emoji"]).collect();
    assert_eq!(order, ["a", "m", "z"]);
    Ok(())
}

#[tokio::test]
async fn emoji_over_limit_is_rejected_and_voided_for_everyone() -> Result<()> {
    let stack = start_stack().await?;
    let (alice, bob) = (stack.http("alice"), stack.connect("bob").await?);
    let room = alice.new_room(&["bob"]).await?;
    alice.send(&room, "c", "x").await?.expect(201);
    let transport = Transport::Http(alice.clone());
    for n in 0..100 {
        transport
            .change(ADD_REACTION, &room, 1, json!({"emoji": n.to_string(), "ack": "accepted"}))
            .await?
            .seq()?;
    }
    bob.join_and_catch_up(&room).await?;
    for (transport, client_id) in both_transports(&stack, "alice").await?.iter().zip(["a", "b"]) {
        for _ in 0..2 {
            let outcome = transport
                .change(ADD_REACTION, &room, 1, json!({"emoji": "new", "client_id": client_id}))
                .await?;
            let refused = ChangeOutcome::Refused {
                code: "bad_request".to_owned(),
                reason: "rejected".to_owned(),
                field: String::new(),
            };
            assert_eq!(outcome, refused);
        }
        let ServerFrame::Other(added) = bob.wait_for("reaction:added", WAIT_TIMEOUT).await? else {
            unreachable!()
        };
        let ServerFrame::Void(void) = bob.wait_for("message:void", WAIT_TIMEOUT).await? else {
            unreachable!()
        };
        assert_eq!(Some(void.target), added["seq"].as_u64());
        assert_eq!((void.message, void.reason.as_str(), void.of), (Some(1), "rejected", None));
        assert_eq!(void.client_id.as_deref(), Some(client_id));
    }
    transport.change(ADD_REACTION, &room, 1, json!({"emoji": "7"})).await?.seq()?;
    let now = fetch_message(&alice, &room, 1).await?;
    assert_eq!((now["reactions"].as_array().map(Vec::len), &now["last_seq"]), (Some(100), &json!(101)));
    assert_eq!(stack.database().value("SELECT count(*) FROM dead_letters").await?, "0");
    // The client id of the rejected change is still free for a message.
    alice.send(&room, "a", "y").await?.expect(201);
    Ok(())
}
