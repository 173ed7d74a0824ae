//! `GET /me/export` and `DELETE /me`: all that is kept of a person, and that nothing of it is left afterwards.

#[path = "support/traces.rs"]
mod traces;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use tidings_harness::{Client, Http, Stack, Token, clock, http::encode, node};
use traces::traces;

const PATIENCE: Duration = Duration::from_secs(30);
/// Stands in every text and name of mallory's, and nowhere else.
const MARK: &str = "xq7mark";

async fn stack() -> Result<Stack> {
    let builder = Stack::builder().gateway_env("TIDINGS_MESSAGES_PER_SECOND", 1000);
    builder.gateway_env("TIDINGS_MESSAGES_BURST", 1000).start().await
}

fn token(stack: &Stack) -> String {
    let token = Token::of("mallory").name(&format!("Mallory {MARK}"));
    token.claim("picture", json!(format!("https://example.org/{MARK}.png"))).sign(stack.jwt_secret())
}

fn mallory(stack: &Stack) -> Http {
    Http::new(&stack.persistence(0).url(), &token(stack))
}

async fn erase(user: &Http) -> Result<u16> {
    Ok(user.request(Method::DELETE, "/me", None).await?.status)
}

/// The lines of an export, each checked to be JSON, and whether it came to its end.
async fn export(user: &Http, token: &str) -> Result<Vec<Value>> {
    let answer = tidings_harness::http::client()
        .get(format!("{}/v1/me/export", user.base()))
        .bearer_auth(token)
        .send()
        .await?
        .error_for_status()?;
    ensure!(answer.headers()["content-type"] == "application/x-ndjson");
    let text = answer.text().await?;
    ensure!(text.ends_with('\n'));
    text.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}

fn of_type<'a>(lines: &'a [Value], kind: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["type"] == kind).collect()
}

#[tokio::test]
async fn an_export_holds_all_that_is_kept_of_me_and_nothing_of_others() -> Result<()> {
    let stack = stack().await?;
    let (alice, mallory) = (stack.http("alice"), mallory(&stack));
    let (stays, left) = (alice.new_room(&["mallory"]).await?, alice.new_room(&["mallory"]).await?);
    alice.send(&stays, "a", "of alice").await?.expect(201);
    let body = json!({"client_id": "m", "content": "first \"words\"\n☕", "metadata": {"b": 1.5}, "reply_to": 1,
        "visible_to": {"users": ["alice"]},
        "attachments": [{"name": "n", "url": "https://example.org/n", "media_type": "a/b", "size": 3}]});
    mallory.post(&format!("/rooms/{stays}/messages"), body.clone()).await?.expect(201);
    let path = format!("/rooms/{stays}/messages/2");
    mallory.request(Method::PATCH, &path, Some(json!({"content": "second words"}))).await?.expect(200);
    mallory.request(Method::PUT, &format!("/rooms/{stays}/messages/1/reactions/%E2%98%95"), None).await?.expect(200);
    mallory.read(&stays, 2).await?.expect(200);
    mallory.send(&left, "l", "said in a room that was left").await?.expect(201);
    mallory.remove_member(&left, "mallory").await?.expect(200);

    let lines = export(&mallory, &token(&stack)).await?;
    assert_eq!((&lines[0]["type"], &lines[0]["version"], &lines[0]["user"]), (&json!("export"), &json!(1), &json!("mallory")));
    let last = lines.last().context("no lines")?;
    assert_eq!((&last["type"], &last["lines"]), (&json!("end"), &json!(lines.len() - 1)));
    assert_eq!(lines[1]["name"], format!("Mallory {MARK}"));
    let memberships = of_type(&lines, "membership");
    assert_eq!((memberships.len(), &memberships[0]["room"]), (1, &json!(stays)));
    assert_eq!((&memberships[0]["role"], &memberships[0]["read_seq"]), (&json!("member"), &json!(2)));
    let messages = of_type(&lines, "message");
    let in_room = |room: &str| messages.iter().find(|message| message["room"] == room).context("a message");
    assert_eq!(messages.len(), 2);
    assert_eq!(in_room(&left)?["content"], "said in a room that was left");
    for field in ["metadata", "reply_to", "attachments", "client_id"] {
        assert_eq!(in_room(&stays)?[field], body[field], "{field}");
    }
    assert_eq!(in_room(&stays)?["visible_to"], json!({"users": ["alice"], "roles": []}));
    let versions: Vec<_> = of_type(&lines, "version").iter().map(|version| version["content"].clone()).collect();
    assert_eq!(versions, ["first \"words\"\n☕", "second words"]);
    let reactions = of_type(&lines, "reaction");
    assert_eq!((reactions.len(), &reactions[0]["emoji"], &reactions[0]["seq"]), (1, &json!("☕"), &json!(1)));
    ensure!(!serde_json::to_string(&lines)?.contains("of alice"));

    // What retention has put into the archive is still kept of me.
    stack.database().query("UPDATE messages SET at = at - interval '9 days'").await?;
    let mut job = tokio::process::Command::new(node::program("tidings-persistence")?);
    job.args(["retain", "--older-than", "1d", "--archive", "--database-url", stack.database().url()]);
    ensure!(job.args(["--redis-url", &stack.redis().url()]).output().await?.status.success());
    let archived = export(&mallory, &token(&stack)).await?;
    let archived = of_type(&archived, "message");
    ensure!(archived.iter().any(|line| line["content"] == "second words" && line["archived"] == true), "{archived:?}");
    assert_eq!(mallory.with_token("").get("/me/export").await?.status, 401);
    Ok(())
}

/// So many messages of alice's in one room, without the way through the log; each of 800 characters.
async fn many_messages(stack: &Stack, room: &str, count: u32) -> Result<()> {
    stack
        .database()
        .query(&format!(
            "INSERT INTO messages (room_id, seq, id, sender_id, client_id, kind, content, at, last_seq) \
             SELECT '{room}', n, gen_random_uuid(), 'alice', 'c' || n, 'text', repeat('long ', 160), now(), n \
             FROM generate_series(1, {count}) n; UPDATE rooms SET head_seq = {count} WHERE id = '{room}'; \
             INSERT INTO search_progress VALUES ('{room}', {count})"
        ))
        .await
        .map(drop)
}

/// Resident memory of a process, KiB.
fn resident(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

#[tokio::test]
async fn a_long_export_needs_little_memory_and_ends_with_whoever_asked_for_it() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&[]).await?;
    many_messages(&stack, &room, 60_000).await?;
    // Once before, so that what is kept for any export is there.
    let url = format!("{}/v1/me/export", alice.base());
    let client = tidings_harness::http::client();
    let begin = async || client.get(&url).bearer_auth(stack.token("alice")).send().await;
    let pid = stack.persistence(0).pid().context("it does not run")?;
    alice.get("/me/rooms").await?.expect(200);
    let before = resident(pid)?;
    let mut answer = begin().await?.error_for_status()?;
    let (mut bytes, mut most) = (0, 0);
    while let Some(chunk) = answer.chunk().await? {
        bytes += chunk.len();
        most = most.max(resident(pid)?);
    }
    ensure!(bytes > 50 * 1024 * 1024, "{bytes} bytes");
    ensure!(most < before + 32 * 1024, "from {before} to {most} KiB for {bytes} bytes");

    // Four may be under way; those whose askers are gone make room.
    for _ in 0..3 {
        let mut unread = Vec::new();
        for _ in 0..4 {
            let mut answer = begin().await?.error_for_status()?;
            answer.chunk().await?;
            unread.push(answer);
        }
        assert_eq!(begin().await?.status(), 503, "a fifth waits");
        drop(unread);
        let begun = Instant::now();
        while begin().await?.status() == 503 {
            ensure!(begun.elapsed() < PATIENCE, "exports go on without their askers");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_export_that_cannot_be_whole_is_cut_off() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&[]).await?;
    many_messages(&stack, &room, 20_000).await?;
    let url = format!("{}/v1/me/export", alice.base());
    let mut answer =
        tidings_harness::http::client().get(&url).bearer_auth(stack.token("alice")).send().await?;
    answer.chunk().await?;
    stack.database().query("ALTER TABLE messages RENAME TO away").await?;
    let mut text = Vec::new();
    let ended = loop {
        match answer.chunk().await {
            Ok(Some(chunk)) => text.extend_from_slice(&chunk),
            Ok(None) => break true,
            Err(_) => break false,
        }
    };
    ensure!(!ended, "it ended as if it were whole");
    ensure!(!String::from_utf8_lossy(&text).contains("\"type\":\"end\""));
    Ok(())
}

/// What mallory leaves behind everywhere: rooms that she is in and left, private messages, edits, reactions, the archive,
/// dead letters, names.
async fn live(stack: &Stack) -> Result<Vec<String>> {
    let (alice, http) = (stack.http("alice"), mallory(stack));
    let socket = Client::connect(&stack.gateway(0).ws(), &token(stack)).await?;
    let text = |words: &str| format!("{words} {MARK} \"quoted\"\n\u{1f642} Ж");
    let stays = alice.new_room(&["mallory", "bob"]).await?;
    let left = alice.new_room(&["mallory"]).await?;
    let own = http.new_room(&["bob"]).await?;
    let direct = http.create_room("direct", &["bob"]).await?.expect(201).body["room"].as_str().unwrap_or_default().to_owned();
    let old = alice.new_room(&["mallory"]).await?;
    let rooms = vec![stays.clone(), left.clone(), own.clone(), direct.clone(), old.clone()];

    alice.send(&stays, "a1", "of alice").await?.expect(201);
    for room in &rooms {
        socket.send(room, &text("sent")).await?;
        let body = json!({"client_id": clock::client_id(), "content": text("private"), "visible_to": {"roles": ["owner"]},
            "metadata": {(MARK): [MARK]}, "attachments": [{"name": MARK, "url": format!("https://example.org/{MARK}"),
            "media_type": "a/b", "size": 1}]});
        http.post(&format!("/rooms/{room}/messages"), body).await?.expect(201);
    }
    // Edits and reactions: of hers, of others', some taken back; all of them in a room she stays in.
    socket.edit(&stays, 2, &text("edited")).await?;
    socket.edit(&stays, 2, &text("edited again")).await?;
    alice.request(Method::PATCH, &format!("/rooms/{stays}/messages/3"), Some(json!({"content": text("edited by alice")}))).await?;
    socket.react(&stays, 1, MARK).await?;
    for (method, seq) in [(Method::PUT, 2), (Method::DELETE, 2), (Method::PUT, 3)] {
        let path = format!("/rooms/{stays}/messages/{seq}/reactions/{}", encode(&format!("{MARK}!")));
        http.request(method, &path, None).await?.expect(200);
    }
    alice.request(Method::PUT, &format!("/rooms/{stays}/messages/2/reactions/x"), None).await?.expect(200);
    // As an admin she writes into what alice said.
    alice.put_member(&stays, "mallory", "admin").await?.expect(200);
    http.request(Method::PATCH, &format!("/rooms/{stays}/messages/1"), Some(json!({"content": text("over alice"), "metadata": {(MARK): 1}}))).await?.expect(200);
    http.remove_member(&left, "mallory").await?.expect(200);
    // The last record of its partition.
    let corrected = json!({"content": text("corrected by alice")});
    alice.request(Method::PATCH, &format!("/rooms/{left}/messages/1"), Some(corrected)).await?.expect(200);
    // Something of hers is in the archive.
    stack.database().query(&format!("UPDATE messages SET at = at - interval '9 days' WHERE room_id = '{old}'")).await?;
    let mut job = tokio::process::Command::new(node::program("tidings-persistence")?);
    job.args(["retain", "--older-than", "1d", "--archive", "--database-url", stack.database().url()]);
    ensure!(job.args(["--redis-url", &stack.redis().url()]).output().await?.status.success());
    // And something could not be written.
    stack.database().query("ALTER TABLE messages ADD CHECK (content NOT LIKE '%poison%')").await?;
    http.send(&stays, "poison", &text("poison")).await?.expect(400);
    socket.close().await?;
    Ok(rooms)
}

async fn until_indexed(stack: &Stack) -> Result<()> {
    let behind = "SELECT count(*) FROM rooms r LEFT JOIN search_progress p ON p.room_id = r.id \
                  WHERE r.head_seq > COALESCE(p.indexed_seq, 0)";
    let begun = Instant::now();
    while stack.database().value(behind).await? != "0" {
        ensure!(begun.elapsed() < PATIENCE, "the index stays behind");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

async fn nothing_is_left(stack: &Stack) -> Result<()> {
    until_indexed(stack).await?;
    let left = traces(stack, MARK).await?;
    ensure!(left.is_empty(), "left behind:\n{}", left.join("\n"));
    Ok(())
}

#[tokio::test]
async fn nothing_of_whoever_is_erased_is_left_anywhere() -> Result<()> {
    let stack = stack().await?;
    let rooms = live(&stack).await?;
    until_indexed(&stack).await?;
    let before: Vec<String> =
        traces(&stack, MARK).await?.iter().map(|trace| trace.split(':').next().unwrap_or_default().to_owned()).collect();
    for place in ["dead_letters", "events", "message_search", "message_versions", "messages", "messages_archive", "reactions", "users"] {
        ensure!(before.iter().any(|found| found == place), "there is nothing to erase in {place}: {before:?}");
    }
    ensure!(before.iter().any(|found| found.starts_with("redis account")), "{before:?}");
    let heads = "SELECT id, head_seq FROM rooms ORDER BY id";
    let heads_before = stack.database().query(heads).await?;
    let ids = "SELECT room_id, seq, id, sender_id, client_id, at FROM messages ORDER BY 1, 2";
    let ids_before = stack.database().query(ids).await?;

    assert_eq!(erase(&mallory(&stack)).await?, 204);
    nothing_is_left(&stack).await?;

    // Places, ids and client ids stay; heads moved on by her leaving, and by handing on what was hers.
    assert_eq!(stack.database().query(ids).await?, ids_before);
    for (before, after) in heads_before.iter().zip(stack.database().query(heads).await?) {
        let moved = after[1].parse::<u64>()? - before[1].parse::<u64>()?;
        let by = if before[0] == rooms[1] { 0 } else if before[0] == rooms[2] || before[0] == rooms[3] { 2 } else { 1 };
        assert_eq!(moved, by, "{}", before[0]);
    }
    let alice = stack.http("alice");
    let page = alice.messages(&rooms[0], "").await?.expect(200).body;
    let first = &page["messages"][0];
    assert_eq!((&first["content"], &first["metadata"], &first["edited_at"]), (&json!("of alice"), &Value::Null, &Value::Null));
    assert_eq!(first["reactions"], json!([]));
    let second = &page["messages"][1];
    assert_eq!(
        (&second["deleted"], &second["content"], &second["sender"], &second["reactions"]),
        (&json!(true), &json!(""), &json!({"id": "mallory", "name": null, "picture": null}), &json!([]))
    );
    // The log is dense, and others find their texts again.
    let events = alice.events(&rooms[0], "limit=200").await?.expect(200).body;
    let seqs: Vec<u64> = events["events"].as_array().into_iter().flatten().filter_map(|event| event["seq"].as_u64()).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
    let found = alice.get("/search?q=of%20alice").await?.expect(200).body;
    assert_eq!(found["results"].as_array().map(Vec::len), Some(1));
    assert_eq!(stack.database().value("SELECT count(*) FROM members WHERE user_id = 'mallory'").await?, "0");

    // Again is the same; whoever comes with an old token is shut out, and tells us nothing new.
    assert_eq!(erase(&mallory(&stack)).await?, 204);
    assert_eq!(mallory(&stack).get("/me/rooms").await?.expect(403).code(), "forbidden");
    let refused = Client::connect(&stack.gateway(0).ws(), &token(&stack)).await.err().context("let in")?;
    assert_eq!(refused.code(), "forbidden");
    let root = Http::new(&stack.persistence(0).url(), &stack.admin_token("root"));
    assert_eq!(root.put_user("mallory", json!({"name": MARK, "blocked": false})).await?.status, 409);
    nothing_is_left(&stack).await
}

#[tokio::test]
async fn the_last_owner_hands_the_room_to_whoever_was_there_longest() -> Result<()> {
    let stack = stack().await?;
    let http = mallory(&stack);
    let members = json!([{"user": "greg", "role": "guest"}, {"user": "mia"}, {"user": "ada", "role": "admin"}, {"user": "bea", "role": "admin"}]);
    let create = async |kind: &str, members: Value| -> Result<String> {
        let body = json!({"kind": kind, "members": members});
        Ok(http.post("/rooms", body).await?.expect(201).body["room"].as_str().unwrap_or_default().to_owned())
    };
    let admins = create("private", members).await?;
    let plain = create("public", json!([{"user": "greg", "role": "guest"}, {"user": "mia"}, {"user": "vip", "role": "vip"}])).await?;
    let guests = create("private", json!([{"user": "greg", "role": "guest"}])).await?;
    let alone = create("private", json!([])).await?;
    let owners = create("private", json!([{"user": "ada", "role": "admin"}, {"user": "olga", "role": "owner"}])).await?;
    let direct = create("direct", json!([{"user": "mia"}])).await?;
    let archived = create("private", json!([{"user": "mia"}])).await?;
    http.archive_room(&archived).await?.expect(204);
    // In the order in which they came.
    for (user, days) in [("bea", 3), ("ada", 2), ("vip", 3), ("mia", 2), ("greg", 9)] {
        stack.database().query(&format!("UPDATE members SET joined_at = now() - interval '{days} days' WHERE user_id = '{user}'")).await?;
    }
    let socket = stack.connect("mia").await?;
    socket.join_and_catch_up(&plain).await?;

    assert_eq!(erase(&http).await?, 204);
    let owner_of = async |room: &str| {
        stack.database().query(&format!("SELECT user_id FROM members WHERE room_id = '{room}' AND role = 'owner' ORDER BY 1")).await
    };
    for (room, owner) in [(&admins, "bea"), (&plain, "vip"), (&guests, "greg"), (&owners, "olga"), (&direct, "mia"), (&archived, "mia")] {
        assert_eq!(owner_of(room).await?, [[owner]], "{room}");
    }
    assert!(owner_of(&alone).await?.is_empty());
    let told = socket.wait_for("member:changed", PATIENCE).await?;
    let went = socket.wait_for("member:removed", PATIENCE).await?;
    ensure!(format!("{told:?}").contains("vip") && format!("{went:?}").contains("mallory"), "{told:?} {went:?}");
    let counts = "SELECT count(*) FROM rooms r WHERE r.member_count <> (SELECT count(*) FROM members m WHERE m.room_id = r.id)";
    assert_eq!(stack.database().value(counts).await?, "0");
    Ok(())
}

#[tokio::test]
async fn whoever_is_erased_while_talking_is_cut_off_and_leaves_nothing() -> Result<()> {
    let stack = stack().await?;
    let room = stack.http("alice").new_room(&["mallory"]).await?;
    let mut talking = Vec::new();
    for number in 0..3 {
        let socket = Client::connect(&stack.gateway(0).ws(), &token(&stack)).await?;
        let room = room.clone();
        talking.push(tokio::spawn(async move {
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
        ensure!(begun.elapsed() < PATIENCE, "nobody talks");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(erase(&mallory(&stack)).await?, 204);
    for closed in talking {
        assert_eq!(closed.await??.code, Some(4403));
    }
    nothing_is_left(&stack).await
}

#[tokio::test]
async fn an_erasure_that_was_cut_off_is_finished_by_whoever_is_left() -> Result<()> {
    let mut stack = stack().await?;
    live(&stack).await?;
    // It can begin, and not come to its end.
    let url = stack.database().url().to_owned();
    let mut holder = tokio::process::Command::new("psql")
        .args(["--no-psqlrc", "--quiet", "--output=/dev/null", "--command", "BEGIN; LOCK TABLE messages_archive IN SHARE MODE; SELECT pg_sleep(60)", &url])
        .kill_on_drop(true)
        .spawn()?;
    let http = mallory(&stack);
    let asking = tokio::spawn(async move { erase(&http).await });
    let begun = Instant::now();
    let under_way = "SELECT count(*) FROM users WHERE erasing_at IS NOT NULL AND erased_at IS NULL";
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'messages_archive'::regclass";
    while stack.database().value(under_way).await? != "1" || stack.database().value(waits).await? == "0" {
        ensure!(begun.elapsed() < PATIENCE, "it does not begin");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(mallory(&stack).get("/me/rooms").await?.expect(403).code(), "forbidden", "shut out from the start");
    ensure!(!traces(&stack, MARK).await?.is_empty());
    stack.persistence(0).kill();
    ensure!(asking.await?.is_err());
    holder.kill().await?;
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()";
    stack.database().query(end).await?;

    stack.add_persistence(tidings_harness::Ports::free()?).await?;
    let begun = Instant::now();
    while stack.database().value(under_way).await? != "0" {
        ensure!(begun.elapsed() < Duration::from_secs(60), "nobody goes on with it");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    nothing_is_left(&stack).await?;
    let again = Http::new(&stack.persistence(1).url(), &token(&stack));
    assert_eq!(erase(&again).await?, 204);
    Ok(())
}

#[tokio::test]
async fn what_is_erased_is_not_put_back_by_an_indexer_that_was_under_way() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let http = mallory(&stack);
    let room = http.new_room(&["bob"]).await?;
    // The indexer has read what she said, and cannot write it.
    let mut holder = tokio::process::Command::new("psql")
        .args(["--no-psqlrc", "--quiet", "--output=/dev/null", "--command", "BEGIN; LOCK TABLE message_search IN SHARE MODE; SELECT pg_sleep(4)"])
        .arg(stack.database().url())
        .spawn()?;
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'message_search'::regclass";
    let sleeps = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()";
    let until = async |sql: &str| -> Result<()> {
        let begun = Instant::now();
        while stack.database().value(sql).await? == "0" {
            ensure!(begun.elapsed() < PATIENCE, "{sql}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    };
    until(sleeps).await?;
    http.send(&room, "c", &format!("words {MARK}")).await?.expect(201);
    until(waits).await?;
    assert_eq!(erase(&http).await?, 204);
    ensure!(holder.wait().await?.success());
    nothing_is_left(&stack).await
}

#[tokio::test]
async fn a_name_that_is_told_while_an_erasure_begins_is_not_taken_over() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    stack.http("mallory").get("/me/rooms").await?.expect(200);
    let begins = "BEGIN; SELECT FROM users WHERE id = 'mallory' FOR UPDATE; SELECT pg_sleep(2); \
                  UPDATE users SET erasing_at = now(), blocked = true, name = NULL WHERE id = 'mallory'; COMMIT";
    let mut beginning = tokio::process::Command::new("psql")
        .args(["--no-psqlrc", "--quiet", "--output=/dev/null", "--command", begins, stack.database().url()])
        .spawn()?;
    let sleeps = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()";
    let begun = Instant::now();
    while stack.database().value(sleeps).await? == "0" {
        ensure!(begun.elapsed() < PATIENCE, "the row is not locked");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // It has read that she is not being erased, and waits to write her name.
    assert_eq!(mallory(&stack).get("/me/rooms").await?.status, 403);
    ensure!(beginning.wait().await?.success());
    nothing_is_left(&stack).await
}

#[tokio::test]
async fn only_whoever_may_use_the_service_is_erased_by_asking() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let alice = stack.http("alice");
    assert_eq!(erase(&alice.with_token("")).await?, 401);
    alice.get("/me/rooms").await?.expect(200);
    stack.database().query("UPDATE users SET blocked = true").await?;
    assert_eq!(erase(&alice).await?, 403);
    assert_eq!(stack.database().value("SELECT count(*) FROM users WHERE erasing_at IS NOT NULL").await?, "0");
    assert_eq!(erase(&stack.http("stranger")).await?, 204, "there is nothing of them");
    assert_eq!(stack.database().value("SELECT count(*) FROM users WHERE id = 'stranger'").await?, "0");
    Ok(())
}
