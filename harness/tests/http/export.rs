//! `GET /me/export`: the answer is complete, or visibly breaks off. The server holds only a little of it in memory.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use tidings_harness::{Http, Stack, Token, memory::resident, node};

const WAIT_TIMEOUT: Duration = Duration::from_secs(30);

fn token(stack: &Stack) -> String {
    Token::of("mallory").name("Mallory M.").sign(stack.jwt_secret())
}

fn mallory(stack: &Stack) -> Http {
    Http::new(&stack.persistence(0).url(), &token(stack))
}

/// The lines of an export, each parsed as JSON.
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

fn lines_of_type<'a>(lines: &'a [Value], kind: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["type"] == kind).collect()
}

// Covers: GET /me/export.
#[tokio::test]
async fn export_holds_all_own_data_and_nothing_of_others() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let (alice, mallory) = (stack.http("alice"), mallory(&stack));
    let (stays, left) = (alice.new_room(&["mallory"]).await?, alice.new_room(&["mallory"]).await?);
    alice.send(&stays, "a", "of alice").await?.expect(201);
    let body = json!({"client_id": "m", "content": "first \"words\"\n☕", "metadata": {"b": 1.5}, "reply_to": 1,
        "visible_to": {"users": ["alice"]}, "mentions": ["alice"],
        "attachments": [{"name": "n", "url": "https://example.org/n", "media_type": "a/b", "size": 3}]});
    mallory.post(&format!("/rooms/{stays}/messages"), body.clone()).await?.expect(201);
    let path = format!("/rooms/{stays}/messages/2");
    mallory.request(Method::PATCH, &path, Some(json!({"content": "second words"}))).await?.expect(200);
    mallory
        .request(Method::PUT, &format!("/rooms/{stays}/messages/1/reactions/%E2%98%95"), None)
        .await?
        .expect(200);
    mallory.read(&stays, 2).await?.expect(200);
    mallory.send(&left, "l", "said in a room that was left").await?.expect(201);
    mallory.remove_member(&left, "mallory").await?.expect(200);

    let lines = export(&mallory, &token(&stack)).await?;
    assert_eq!(
        (&lines[0]["type"], &lines[0]["version"], &lines[0]["user"]),
        (&json!("export"), &json!(1), &json!("mallory"))
    );
    let last = lines.last().context("no lines")?;
    assert_eq!((&last["type"], &last["lines"]), (&json!("end"), &json!(lines.len() - 1)));
    assert_eq!(lines[1]["name"], "Mallory M.");
    let memberships = lines_of_type(&lines, "membership");
    assert_eq!((memberships.len(), &memberships[0]["room"]), (1, &json!(stays)));
    assert_eq!((&memberships[0]["role"], &memberships[0]["read_seq"]), (&json!("member"), &json!(2)));
    let messages = lines_of_type(&lines, "message");
    let in_room = |room: &str| messages.iter().find(|message| message["room"] == room).context("a message");
    assert_eq!(messages.len(), 2);
    assert_eq!(in_room(&left)?["content"], "said in a room that was left");
    for field in ["metadata", "reply_to", "attachments", "client_id", "mentions"] {
        assert_eq!(in_room(&stays)?[field], body[field], "{field}");
    }
    assert_eq!(in_room(&stays)?["visible_to"], json!({"users": ["alice"], "roles": []}));
    let versions: Vec<_> =
        lines_of_type(&lines, "version").iter().map(|version| version["content"].clone()).collect();
    assert_eq!(versions, ["first \"words\"\n☕", "second words"]);
    let reactions = lines_of_type(&lines, "reaction");
    assert_eq!((reactions.len(), &reactions[0]["emoji"], &reactions[0]["seq"]), (1, &json!("☕"), &json!(1)));
    ensure!(!serde_json::to_string(&lines)?.contains("of alice"));

    // The export includes messages that retention has archived.
    stack.database().query("UPDATE messages SET at = at - interval '9 days'").await?;
    let mut job = tokio::process::Command::new(node::program("tidings-persistence")?);
    job.args(["retain", "--older-than", "1d", "--archive", "--database-url", stack.database().url()]);
    ensure!(job.args(["--redis-url", &stack.shards().services_url()]).output().await?.status.success());
    let archived = export(&mallory, &token(&stack)).await?;
    let archived = lines_of_type(&archived, "message");
    ensure!(
        archived.iter().any(|line| line["content"] == "second words" && line["archived"] == true),
        "{archived:?}"
    );
    assert_eq!(mallory.with_token("").get("/me/export").await?.status, 401);
    Ok(())
}

/// Inserts messages of alice, each of 800 characters, directly into the tables.
async fn insert_messages(stack: &Stack, room: &str, count: u32) -> Result<()> {
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

#[tokio::test]
async fn long_export_needs_little_memory_and_stops_with_its_reader() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&["bob", "carol", "dave"]).await?;
    insert_messages(&stack, &room, 60_000).await?;
    // One request before the measurement, so that memory that any request needs is already allocated.
    let url = format!("{}/v1/me/export", alice.base());
    let client = tidings_harness::http::client();
    let begin = async || client.get(&url).bearer_auth(stack.token("alice")).send().await;
    let pid = stack.persistence(0).pid().context("persistence does not run")?;
    alice.get("/me/rooms").await?.expect(200);
    let before = resident(pid)?;
    let mut answer = begin().await?.error_for_status()?;
    let (mut bytes, mut peak) = (0, 0);
    while let Some(chunk) = answer.chunk().await? {
        bytes += chunk.len();
        peak = peak.max(resident(pid)?);
    }
    ensure!(bytes > 50 * 1024 * 1024, "{bytes} bytes");
    ensure!(peak < before + 32 * 1024 * 1024, "from {before} to {peak} bytes for {bytes} bytes");

    // At most one export per user and four in all may run. An export ends when its client is gone.
    let people = ["alice", "bob", "carol", "dave"];
    stack
        .database()
        .query("UPDATE messages SET sender_id = (ARRAY['alice', 'bob', 'carol', 'dave'])[1 + seq % 4]")
        .await?;
    stack.database().query("VACUUM ANALYZE messages").await?;
    let begin = async |user: &str| client.get(&url).bearer_auth(stack.token(user)).send().await;
    // The server notices a closed connection when it cannot send the next bytes, so the slot is free a moment later.
    let begun = async |user: &str| {
        let asked = Instant::now();
        loop {
            let answer = begin(user).await?;
            if answer.status() == 200 {
                return anyhow::Ok(answer);
            }
            ensure!(asked.elapsed() < WAIT_TIMEOUT, "exports go on without their clients");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    for _ in 0..3 {
        let mut unread = Vec::new();
        for user in people {
            let mut answer = begun(user).await?;
            answer.chunk().await?;
            unread.push(answer);
            assert_eq!(begin(user).await?.status(), 429, "a second export of {user} is refused");
        }
        assert_eq!(begin("erin").await?.status(), 503, "a fifth export is refused");
        drop(unread);
        for user in people {
            begun(user).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn failed_export_breaks_off_without_end_line() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&[]).await?;
    insert_messages(&stack, &room, 20_000).await?;
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
    ensure!(!ended, "the export ended as if it were complete");
    ensure!(!String::from_utf8_lossy(&text).contains("\"type\":\"end\""));
    Ok(())
}
