//! `DELETE /me`: an erased user leaves no trace in any table or Redis key, whatever happens during the erasure.

use std::time::{Duration, Instant};

use crate::marked::{MARK, create_data, erase, mallory, start_stack, token};
use crate::search_index::{ensure_index_is_of_present_texts, index_all};
use crate::traces::find_traces;
use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use tidings_harness::{Client, Http, Stack, node};

const WAIT_TIMEOUT: Duration = Duration::from_secs(30);

async fn ensure_no_trace(stack: &Stack) -> Result<()> {
    let left = find_traces(stack, MARK).await?;
    ensure!(left.is_empty(), "left behind:\n{}", left.join("\n"));
    Ok(())
}

// Covers: DELETE /me.
#[tokio::test]
async fn erasure_leaves_no_trace_in_tables_or_redis() -> Result<()> {
    let stack = start_stack().await?;
    let rooms = create_data(&stack).await?;
    index_all(&stack).await?;
    // Connects until the account is cached, because for a minute after a change it is cached for seconds only.
    let begun = Instant::now();
    let before = loop {
        drop(Client::connect(&stack.gateway(0).ws(), &token(&stack)).await?);
        let traces = find_traces(&stack, MARK).await?;
        let places = traces.iter().filter_map(|trace| trace.split(':').next()).map(str::to_owned);
        let places: Vec<String> = places.collect();
        if places.iter().any(|place| place == "redis account") {
            break places;
        }
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "the account is not cached: {places:?}");
    };
    for table in
        ["dead_letters", "events", "message_versions", "messages", "messages_archive", "reactions", "users"]
    {
        ensure!(
            before.iter().any(|found| found == table),
            "there is nothing to erase in {table}: {before:?}"
        );
    }
    let heads = "SELECT id, head_seq FROM rooms ORDER BY id";
    let heads_before = stack.database().query(heads).await?;
    let ids = "SELECT room_id, seq, id, sender_id, client_id, at FROM messages ORDER BY 1, 2";
    let ids_before = stack.database().query(ids).await?;

    assert_eq!(erase(&mallory(&stack)).await?, 204);
    ensure_no_trace(&stack).await?;
    ensure_index_is_of_present_texts(&stack).await?;

    // Seqs, ids and client ids stay. Only mallory's leaving, and the transfer of her rooms, moved the heads.
    assert_eq!(stack.database().query(ids).await?, ids_before);
    for (before, after) in heads_before.iter().zip(stack.database().query(heads).await?) {
        let moved = after[1].parse::<u64>()? - before[1].parse::<u64>()?;
        let by = if before[0] == rooms[1] || before[0] == rooms[6] {
            0
        } else if before[0] == rooms[2] {
            2
        } else {
            1
        };
        assert_eq!(moved, by, "{}", before[0]);
    }
    let alice = stack.http("alice");
    let page = alice.messages(&rooms[0], "").await?.expect(200).body;
    let first = &page["messages"][0];
    assert_eq!(
        (&first["content"], &first["metadata"], &first["edited_at"]),
        (&json!("of alice"), &Value::Null, &Value::Null)
    );
    assert_eq!(first["reactions"], json!([]));
    let second = &page["messages"][1];
    assert_eq!(
        (&second["deleted"], &second["content"], &second["sender"], &second["reactions"]),
        (&json!(true), &json!(""), &json!({"id": "mallory", "name": null, "picture": null}), &json!([]))
    );
    // The log is dense, and search still finds the messages of others.
    let events = alice.events(&rooms[0], "limit=200").await?.expect(200).body;
    let seqs: Vec<u64> =
        events["events"].as_array().into_iter().flatten().filter_map(|event| event["seq"].as_u64()).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
    let found = alice.get("/search?q=of%20alice").await?.expect(200).body;
    assert_eq!(found["results"].as_array().map(Vec::len), Some(1));
    assert_eq!(stack.database().value("SELECT count(*) FROM members WHERE user_id = 'mallory'").await?, "0");

    // A second erasure has the same result. Requests with an old token are refused, and the name in the token is not
    // stored.
    assert_eq!(erase(&mallory(&stack)).await?, 204);
    assert_eq!(mallory(&stack).get("/me/rooms").await?.expect(403).code(), "forbidden");
    let refused = Client::connect(&stack.gateway(0).ws(), &token(&stack))
        .await
        .err()
        .context("the connection was accepted")?;
    assert_eq!(refused.code(), "forbidden");
    let root = Http::new(&stack.persistence(0).url(), &stack.admin_token("root"));
    assert_eq!(root.put_user("mallory", json!({"name": MARK, "blocked": false})).await?.status, 409);
    ensure_no_trace(&stack).await
}

#[tokio::test]
async fn erased_last_owner_hands_room_to_senior_member() -> Result<()> {
    let stack = start_stack().await?;
    let http = mallory(&stack);
    let members = json!([{"user": "greg", "role": "guest"}, {"user": "mia"}, {"user": "ada", "role": "admin"}, {"user": "bea", "role": "admin"}]);
    let create = async |kind: &str, members: Value| -> Result<String> {
        let body = json!({"kind": kind, "members": members});
        Ok(http.post("/rooms", body).await?.expect(201).body["room"].as_str().unwrap_or_default().to_owned())
    };
    let admins = create("private", members).await?;
    let plain = create(
        "public",
        json!([{"user": "greg", "role": "guest"}, {"user": "mia"}, {"user": "vip", "role": "vip"}]),
    )
    .await?;
    let guests = create("private", json!([{"user": "greg", "role": "guest"}])).await?;
    let alone = create("private", json!([])).await?;
    let owners =
        create("private", json!([{"user": "ada", "role": "admin"}, {"user": "olga", "role": "owner"}]))
            .await?;
    let direct = create("direct", json!([{"user": "mia"}])).await?;
    let archived = create("private", json!([{"user": "mia"}])).await?;
    http.archive_room(&archived).await?.expect(204);
    // Sets when each member joined.
    for (user, days) in [("bea", 3), ("ada", 2), ("vip", 3), ("mia", 2), ("greg", 9)] {
        stack
            .database()
            .query(&format!(
                "UPDATE members SET joined_at = now() - interval '{days} days' WHERE user_id = '{user}'"
            ))
            .await?;
    }
    let socket = stack.connect("mia").await?;
    socket.join_and_catch_up(&plain).await?;

    assert_eq!(erase(&http).await?, 204);
    let owner_of = async |room: &str| {
        stack
            .database()
            .query(&format!(
                "SELECT user_id FROM members WHERE room_id = '{room}' AND role = 'owner' ORDER BY 1"
            ))
            .await
    };
    for (room, owner) in
        [(&admins, "bea"), (&plain, "vip"), (&guests, "greg"), (&owners, "olga"), (&archived, "mia")]
    {
        assert_eq!(owner_of(room).await?, [[owner]], "{room}");
    }
    for room in [&alone, &direct] {
        assert!(owner_of(room).await?.is_empty(), "{room}");
    }
    let changed = socket.wait_for("member:changed", WAIT_TIMEOUT).await?;
    let removed = socket.wait_for("member:removed", WAIT_TIMEOUT).await?;
    ensure!(
        format!("{changed:?}").contains("vip") && format!("{removed:?}").contains("mallory"),
        "{changed:?} {removed:?}"
    );
    let counts = "SELECT count(*) FROM rooms r WHERE r.member_count <> (SELECT count(*) FROM members m WHERE m.room_id = r.id)";
    assert_eq!(stack.database().value(counts).await?, "0");
    Ok(())
}

#[tokio::test]
async fn user_erased_while_sending_is_disconnected_without_trace() -> Result<()> {
    let stack = start_stack().await?;
    let room = stack.http("alice").new_room(&["mallory"]).await?;
    let mut senders = Vec::new();
    for number in 0..3 {
        let socket = Client::connect(&stack.gateway(0).ws(), &token(&stack)).await?;
        let room = room.clone();
        senders.push(tokio::spawn(async move {
            for n in 0.. {
                let send = json!({"room": room, "client_id": format!("{number}-{n}"), "content": format!("{MARK} {n}"), "ack": "accepted"});
                if socket.send_with(send).await.is_err() {
                    break;
                }
            }
            socket.until_closed().await
        }));
    }
    let stored = "SELECT count(*) FROM messages";
    let begun = Instant::now();
    while stack.database().value(stored).await?.parse::<u32>()? < 100 {
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "no message is stored");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(erase(&mallory(&stack)).await?, 204);
    for closed in senders {
        assert_eq!(closed.await??.code, Some(4403));
    }
    ensure_no_trace(&stack).await
}

#[tokio::test]
async fn interrupted_erasure_is_finished_by_another_replica() -> Result<()> {
    let mut stack = start_stack().await?;
    create_data(&stack).await?;
    // The lock lets the erasure begin but not finish.
    let url = stack.database().url().to_owned();
    let mut holder = tokio::process::Command::new("psql")
        .args([
            "--no-psqlrc",
            "--quiet",
            "--output=/dev/null",
            "--command",
            "BEGIN; LOCK TABLE messages_archive IN SHARE MODE; SELECT pg_sleep(60)",
            &url,
        ])
        .kill_on_drop(true)
        .spawn()?;
    stack.database().until_asleep().await?;
    let http = mallory(&stack);
    let asking = tokio::spawn(async move { erase(&http).await });
    let under_way = "SELECT count(*) FROM users WHERE erasing_at IS NOT NULL AND erased_at IS NULL";
    stack.database().until(under_way, "1").await?;
    stack.database().until_blocked().await?;
    assert_eq!(
        mallory(&stack).get("/me/rooms").await?.expect(403).code(),
        "forbidden",
        "the user is refused from the start"
    );
    ensure!(!find_traces(&stack, MARK).await?.is_empty());
    stack.persistence(0).kill();
    ensure!(asking.await?.is_err());
    holder.kill().await?;
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()";
    stack.database().query(end).await?;

    stack.add_persistence(tidings_harness::Ports::free()?).await?;
    stack.database().until(under_way, "0").await?;
    ensure_no_trace(&stack).await?;
    let again = Http::new(&stack.persistence(1).url(), &token(&stack));
    assert_eq!(erase(&again).await?, 204);
    Ok(())
}

#[tokio::test]
async fn indexer_in_progress_does_not_restore_erased_content() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let http = mallory(&stack);
    let room = http.new_room(&["bob"]).await?;
    // The indexer has read mallory's message, and takes four seconds to commit its index entry.
    let slow = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(4); RETURN NULL; END'; \
                CREATE TRIGGER slow AFTER INSERT ON search_blocks EXECUTE FUNCTION slow()";
    http.send(&room, "c", &format!("words {MARK}")).await?.expect(201);
    stack.database().query(slow).await?;
    stack.persistence(0).restart().await?;
    stack.database().until_asleep().await?;
    assert_eq!(erase(&http).await?, 204);
    ensure_no_trace(&stack).await?;
    stack.database().query("DROP FUNCTION slow CASCADE").await?;
    ensure_index_is_of_present_texts(&stack).await
}

#[tokio::test]
async fn name_from_token_is_not_stored_when_erasure_begins() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    stack.http("mallory").get("/me/rooms").await?.expect(200);
    let begins = "BEGIN; SELECT FROM users WHERE id = 'mallory' FOR UPDATE; SELECT pg_sleep(2); \
                  UPDATE users SET erasing_at = now(), blocked = true, name = NULL WHERE id = 'mallory'; COMMIT";
    let mut beginning = tokio::process::Command::new("psql")
        .args(["--no-psqlrc", "--quiet", "--output=/dev/null", "--command", begins, stack.database().url()])
        .spawn()?;
    stack.database().until_asleep().await?;
    // The request has read that mallory is not being erased, and now waits to write her name.
    let mut status = mallory(&stack).get("/me/rooms").await?.status;
    // On a busy machine the request waits longer for the row than it may.
    while status == 503 {
        status = mallory(&stack).get("/me/rooms").await?.status;
    }
    assert_eq!(status, 403);
    ensure!(beginning.wait().await?.success());
    ensure_no_trace(&stack).await
}

#[tokio::test]
async fn erasure_requires_valid_token() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let alice = stack.http("alice");
    alice.get("/me/rooms").await?.expect(200);
    assert_eq!(erase(&alice.with_token("")).await?, 401);
    assert_eq!(stack.database().value("SELECT count(*) FROM users WHERE erasing_at IS NOT NULL").await?, "0");
    assert_eq!(erase(&stack.http("unknown")).await?, 204, "an unknown user has nothing to erase");
    assert_eq!(stack.database().value("SELECT count(*) FROM users WHERE id = 'unknown'").await?, "0");
    Ok(())
}

// Covers: DELETE /users/{user}.
#[tokio::test]
async fn blocked_users_are_erased_by_admin_by_job_and_by_themselves() -> Result<()> {
    let stack = start_stack().await?;
    create_data(&stack).await?;
    let root = Http::new(&stack.persistence(0).url(), &stack.admin_token("root"));
    for user in ["mallory", "carol", "dave"] {
        root.put_user(user, json!({"blocked": true})).await?.expect(200);
    }
    let delete = async |caller: &Http, user: &str| -> Result<(u16, String)> {
        let answer = caller.request(Method::DELETE, &format!("/users/{user}"), None).await?;
        Ok((answer.status, answer.code().to_owned()))
    };
    assert_eq!(delete(&stack.http("alice"), "mallory").await?, (403, "forbidden".to_owned()));
    assert_eq!(delete(&root, "nobody").await?, (404, "not_found".to_owned()));
    assert_eq!(stack.database().value("SELECT count(*) FROM users WHERE erasing_at IS NOT NULL").await?, "0");
    for _ in 0..2 {
        assert_eq!(delete(&root, "mallory").await?.0, 204);
        ensure_no_trace(&stack).await?;
    }

    assert_eq!(erase(&stack.http("carol")).await?, 204);
    assert_eq!(stack.http("carol").get("/me/rooms").await?.expect(403).code(), "forbidden");

    let job = async |users: &[&str]| -> Result<std::process::Output> {
        let mut job = tokio::process::Command::new(node::program("tidings-persistence")?);
        job.arg("erase").args(users).args(["--database-url", stack.database().url()]);
        Ok(tokio::time::timeout(WAIT_TIMEOUT, job.kill_on_drop(true).output()).await??)
    };
    // The lease keeps the replicas from this erasure, so the job reports that it is not done.
    stack.database().query("UPDATE users SET erasing_at = now(), erasure_lease = now() + interval '1 hour' WHERE id = 'dave'").await?;
    let waited = job(&["--wait-s", "1", "dave", "carol"]).await?;
    let message = String::from_utf8(waited.stderr)?;
    ensure!(!waited.status.success() && message.contains("dave is not erased after 1 s"), "{message}");
    ensure!(message.contains("2 users are left") && message.contains("the service runs"), "{message}");
    stack
        .database()
        .query("UPDATE users SET erasing_at = NULL, erasure_lease = NULL WHERE id = 'dave'")
        .await?;
    let refused = job(&["dave", "nobody"]).await?;
    ensure!(!refused.status.success() && String::from_utf8(refused.stderr)?.contains("no user nobody"));
    let erased = "SELECT string_agg(id, ' ' ORDER BY id) FROM users WHERE erased_at IS NOT NULL";
    assert_eq!(stack.database().value(erased).await?, "carol mallory");
    let done = job(&["dave", "carol"]).await?;
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    ensure!(String::from_utf8(done.stdout)?.contains("dave is erased"));
    assert_eq!(stack.database().value(erased).await?, "carol dave mallory");
    Ok(())
}
