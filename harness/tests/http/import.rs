//! `tidings-persistence import`: the data of another system is imported once and in its order.

use crate::importing::{import, message_line, run_import, start_stack, write_lines};
use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tidings_harness::node;

#[tokio::test]
async fn import_keeps_rooms_users_and_messages_with_their_fields() -> Result<()> {
    let stack = start_stack().await?;
    let lines = [
        json!({"type": "user", "id": "alice", "name": "Alice A.", "picture": "https://example.org/a"}),
        json!({"type": "room", "id": "general", "kind": "private", "name": "General", "created_by": "alice",
            "created_at": "2018-01-01T00:00:00Z", "metadata": {"topic": "tea"}, "members": [{"user": "bob", "role": "admin"}]}),
        json!({"type": "message", "room": "general", "id": "m/1", "sender": "alice", "at": "2019-05-06T07:08:09Z",
            "content": "first\nZoë ☕", "kind": "note", "metadata": {"b": 1, "a": [2]}}),
        json!({"type": "message", "room": "general", "id": "m/2", "sender": "gone", "content": "answer", "reply_to": "m/1",
            "visible_to": {"users": ["bob"]}}),
        json!({"type": "message", "room": "general", "id": "m/3", "sender": "bob", "content": "lost thread", "reply_to": "m/0"}),
        json!({"type": "member", "room": "general", "user": "carol", "role": "guest"}),
    ];
    let path = write_lines(stack.folder(), "a.jsonl", lines)?;
    let summary = import(&stack, &path, &[]).await?;
    assert_eq!(
        summary,
        "3 messages, 1 rooms, 1 members, 1 users, 0 changes, 0 read marks imported; 0 were there already; 0 lines refused"
    );

    let (alice, bob, carol) = (stack.http("alice"), stack.http("bob"), stack.http("carol"));
    let room = bob.room("general").await?.expect(200).body;
    assert_eq!(
        (&room["name"], &room["created_by"], &room["role"], &room["members"]),
        (&json!("General"), &json!("alice"), &json!("admin"), &json!(3))
    );
    assert_eq!(
        (&room["metadata"], &room["created_at"]),
        (&json!({"topic": "tea"}), &json!("2018-01-01T00:00:00.000Z"))
    );
    let page = bob.messages("general", "").await?.expect(200).body;
    let first = &page["messages"][0];
    assert_eq!(
        (&first["content"], &first["kind"], &first["sender"]["name"], &first["seq"]),
        (&json!("first\nZoë ☕"), &json!("note"), &json!("Alice A."), &json!(1))
    );
    assert_eq!(first["metadata"], json!({"b": 1, "a": [2], "imported": {"id": "m/1"}}));
    assert_eq!(first["at"], "2019-05-06T07:08:09.000Z");
    assert_eq!(
        (&page["messages"][1]["reply_to"], &page["messages"][1]["sender"]["id"]),
        (&json!(1), &json!("gone"))
    );
    assert_eq!(page["messages"][2]["reply_to"], Value::Null, "the answered message does not exist");
    assert_eq!(page["messages"][2]["metadata"]["imported"]["reply_to"], "m/0");
    let seen = carol.messages("general", "").await?.expect(200).body;
    assert_eq!(seen["messages"].as_array().map(Vec::len), Some(2), "private messages stay private");
    let events = alice.events("general", "after=3").await?.expect(200).body;
    assert_eq!(
        (&events["events"][0]["type"], &events["events"][0]["user"], &events["events"][0]["role"]),
        (&json!("member:added"), &json!("carol"), &json!("guest"))
    );
    Ok(())
}

#[tokio::test]
async fn repeated_import_adds_only_missing_lines() -> Result<()> {
    let stack = start_stack().await?;
    let room = json!({"type": "room", "id": "r", "kind": "private", "created_by": "alice"});
    let member = json!({"type": "member", "room": "r", "user": "bob"});
    let lines = |upto: u32| {
        let messages = (1..=upto).map(|id| message_line("r", id, if id % 3 == 0 { "bob" } else { "alice" }));
        [room.clone(), member.clone()].into_iter().chain(messages)
    };
    let half = write_lines(stack.folder(), "half.jsonl", lines(700))?;
    import(&stack, &half, &[]).await?;
    let whole = write_lines(stack.folder(), "whole.jsonl", lines(1200))?;
    // Redis becomes empty, so only PostgreSQL remembers the first half.
    stack.shards().restart_empty().await?;
    let summary = import(&stack, &whole, &[]).await?;
    ensure!(
        summary.starts_with("500 messages, 0 rooms") && summary.contains("701 were there already"),
        "{summary}"
    );
    let summary = import(&stack, &whole, &[]).await?;
    ensure!(summary.starts_with("0 messages, 0 rooms"), "{summary}");
    let stored =
        stack.database().query("SELECT content FROM messages WHERE room_id = 'r' ORDER BY seq").await?;
    let expected: Vec<_> = (1..=1200).map(|id| vec![format!("words {id}")]).collect();
    ensure!(stored == expected, "{} messages", stored.len());
    assert_eq!(stack.database().value("SELECT count(*) FROM events WHERE type = 'void'").await?, "0");
    assert_eq!(stack.database().value("SELECT count(*) FROM events WHERE type = 'member:added'").await?, "1");
    Ok(())
}

/// The number of lines from a message to its reply; a multiple of the number of rooms, so both are in the same room.
const REPLY_DISTANCE: u32 = 999;

#[tokio::test]
async fn killed_import_resumes_at_its_checkpoint() -> Result<()> {
    let stack = start_stack().await?;
    let rooms = ["r1", "r2", "r3"];
    let created =
        rooms.iter().map(|room| json!({"type": "room", "id": room, "kind": "public", "created_by": "alice"}));
    // Each message replies to a message before the lines that the next run reads again.
    let messages = (1..=6000).map(|id| {
        let mut message = message_line(rooms[id as usize % 3], id, "alice");
        if id > REPLY_DISTANCE {
            message["reply_to"] = json!(id - REPLY_DISTANCE);
        }
        message
    });
    let path = write_lines(stack.folder(), "all.jsonl", created.chain(messages))?;
    let checkpoint = stack.folder().join("checkpoint");
    let checkpoint = checkpoint.to_str().unwrap_or_default();
    let mut command = tokio::process::Command::new(node::program("tidings-persistence")?);
    command.arg("import").arg(&path).args(["--checkpoint", checkpoint, "--rate", "2000"]);
    command.args(["--database-url", stack.database().url(), "--redis-url", &stack.shards().services_url()]);
    let mut job = command.stdout(std::process::Stdio::null()).kill_on_drop(true).spawn()?;
    let stored = "SELECT count(*) FROM messages";
    let begun = std::time::Instant::now();
    while stack.database().value(stored).await?.parse::<u32>()? < 1500 {
        ensure!(begun.elapsed().as_secs() < 150, "too little is imported");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    job.kill().await?;
    ensure!(stack.database().value(stored).await?.parse::<u32>()? < 6000, "the import was already finished");
    let summary = import(&stack, &path, &["--checkpoint", checkpoint]).await?;
    ensure!(
        summary.contains("0 lines refused") && !summary.starts_with("6000") && !summary.contains(" 3 rooms"),
        "{summary}"
    );
    for (number, room) in rooms.iter().enumerate() {
        let sql = format!("SELECT content FROM messages WHERE room_id = '{room}' ORDER BY seq");
        let expected: Vec<_> =
            (1..=6000).filter(|id| id % 3 == number).map(|id| vec![format!("words {id}")]).collect();
        ensure!(stack.database().query(&sql).await? == expected, "{room}");
    }
    let lost = format!(
        "SELECT count(*) FROM messages WHERE seq > {0} AND reply_to IS DISTINCT FROM seq - {0}",
        REPLY_DISTANCE / 3
    );
    assert_eq!(
        stack.database().value(&lost).await?,
        "0",
        "answers to messages from before the kill lost their reference"
    );
    let summary = import(&stack, &path, &["--checkpoint", checkpoint]).await?;
    ensure!(summary.starts_with("0 messages") && summary.contains(" 0 were there already"), "{summary}");
    Ok(())
}

#[tokio::test]
async fn invalid_import_lines_are_reported_with_line_numbers() -> Result<()> {
    let stack = start_stack().await?;
    let lines = [
        json!({"type": "room", "id": "r", "kind": "private", "created_by": "alice"}),
        json!("this is no JSON"),
        message_line("r", 1, "alice"),
        message_line("nowhere", 2, "alice"),
        json!({"type": "message", "room": "r", "id": 3, "sender": "alice", "content": "x".repeat(1001)}),
        json!(""),
        json!("y".repeat(300_000)),
        message_line("r", 4, "alice"),
    ];
    let path = write_lines(stack.folder(), "bad.jsonl", lines)?;
    let output = run_import(&stack, &path, &[]).await?;
    ensure!(output.status.success());
    let errors = String::from_utf8(output.stderr)?;
    let mut numbers: Vec<&str> = errors.lines().filter_map(|line| line.split(':').nth(1)).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, ["2", "4", "5", "7"], "{errors}");
    ensure!(errors.contains("no room nowhere") && errors.contains("over 1000 characters"), "{errors}");
    let stored = stack.database().query("SELECT content FROM messages ORDER BY seq").await?;
    assert_eq!(stored, [["words 1"], ["words 4"]]);

    let strict = run_import(&stack, &path, &["--strict"]).await?;
    ensure!(!strict.status.success() && String::from_utf8_lossy(&strict.stderr).contains("bad.jsonl:2:"));
    let missing = run_import(&stack, &stack.folder().join("missing.jsonl"), &[]).await?;
    ensure!(!missing.status.success() && String::from_utf8_lossy(&missing.stderr).contains("missing.jsonl"));
    Ok(())
}

#[tokio::test]
async fn imported_direct_room_without_id_reuses_existing_room() -> Result<()> {
    let stack = start_stack().await?;
    let direct =
        json!({"type": "room", "kind": "direct", "created_by": "alice", "members": [{"user": "bob"}]});
    let path = write_lines(stack.folder(), "direct.jsonl", [direct.clone(), direct])?;
    let summary = import(&stack, &path, &["--strict"]).await?;
    ensure!(summary.contains(" 1 rooms,") && summary.contains(" 1 were there already"), "{summary}");
    let nameless = json!({"type": "room", "kind": "private", "created_by": "alice"});
    let output = run_import(&stack, &write_lines(stack.folder(), "nameless.jsonl", [nameless])?, &[]).await?;
    ensure!(
        String::from_utf8_lossy(&output.stderr).contains("nameless.jsonl:1: bad_field: id is missing"),
        "{output:?}"
    );
    assert_eq!(stack.database().value("SELECT count(*) FROM rooms").await?, "1");
    Ok(())
}

#[tokio::test]
async fn import_brings_back_nothing_of_erased_user() -> Result<()> {
    let stack = start_stack().await?;
    let room = json!({"type": "room", "id": "r", "kind": "private", "created_by": "mallory", "members": [{"user": "alice"}]});
    let first = write_lines(
        stack.folder(),
        "first.jsonl",
        [room.clone(), message_line("r", 1, "mallory"), message_line("r", 2, "alice")],
    )?;
    import(&stack, &first, &["--strict"]).await?;
    let erased = stack.http("mallory").request("DELETE".parse()?, "/me", None).await?;
    assert_eq!(erased.status, 204);

    let mut second_room = room.clone();
    second_room["id"] = json!("r2");
    let lines = [
        room,
        message_line("r", 1, "mallory"),
        message_line("r", 2, "alice"),
        json!({"type": "user", "id": "mallory", "name": "Mallory"}),
        second_room,
        json!({"type": "member", "room": "r", "user": "mallory", "role": "owner"}),
        message_line("r", 3, "mallory"),
        message_line("r", 4, "alice"),
    ];
    let output = run_import(&stack, &write_lines(stack.folder(), "second.jsonl", lines)?, &[]).await?;
    let errors = String::from_utf8(output.stderr)?;
    let mut refused: Vec<&str> = errors
        .lines()
        .filter(|line| line.ends_with("it belongs to an erased user"))
        .filter_map(|line| line.split(':').nth(1))
        .collect();
    refused.sort_unstable();
    assert_eq!(refused, ["4", "5", "6", "7"], "{errors}");
    let summary = String::from_utf8(output.stdout)?;
    ensure!(
        summary.contains("1 messages, 0 rooms") && summary.contains("3 were there already; 4 lines refused"),
        "{summary}"
    );
    let contents = "SELECT count(*) FROM messages WHERE sender_id = 'mallory' AND content <> ''";
    assert_eq!(stack.database().value(contents).await?, "0");
    assert_eq!(stack.database().value("SELECT count(*) FROM members WHERE user_id = 'mallory'").await?, "0");
    Ok(())
}
