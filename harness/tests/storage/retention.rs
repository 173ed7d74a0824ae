//! `tidings-persistence retain`: old messages are removed, nothing is renumbered, a late repetition is still a
//! duplicate, and concurrent senders are not delayed.

use std::ops::RangeInclusive;
use std::process::Output;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tidings_harness::{Stack, clock, node};

use crate::search_index::{ensure_index_is_of_present_texts, index_all};

async fn start_stack() -> Result<Stack> {
    Stack::builder().gateways(0).start().await
}

async fn run_retain(stack: &Stack, arguments: &[&str]) -> Result<Output> {
    let mut command = tokio::process::Command::new(node::program("tidings-persistence")?);
    command.arg("retain").args(arguments);
    command.args(["--database-url", stack.database().url(), "--redis-url", &stack.redis().url()]);
    Ok(command.output().await?)
}

/// Runs the job to its end; returns its output.
async fn retain(stack: &Stack, arguments: &[&str]) -> Result<String> {
    let output = run_retain(stack, arguments).await?;
    ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

async fn age_messages(stack: &Stack, days: u32, which: &str) -> Result<()> {
    let sql = format!("UPDATE messages SET at = at - interval '{days} days' WHERE {which}");
    stack.database().query(&sql).await.map(drop)
}

/// Creates a room of alice and bob with three messages. The first two are 200 days old; the second is edited and has a
/// reaction.
async fn create_old_room(stack: &Stack) -> Result<String> {
    let (alice, bob) = (stack.http("alice"), stack.http("bob"));
    let room = alice.new_room(&["bob"]).await?;
    let path = format!("/rooms/{room}/messages");
    let full = json!({
        "client_id": "one", "content": "first words", "metadata": {"secret": 1}, "mentions": ["bob"],
        "attachments": [{"name": "a", "url": "https://example.org/a", "media_type": "text/plain", "size": 1}]
    });
    alice.post(&path, full).await?.expect(201);
    alice.send(&room, "two", "second words").await?.expect(201);
    let edit = json!({"content": "second words edited"});
    alice.request("PATCH".parse()?, &format!("{path}/2"), Some(edit)).await?.expect(200);
    bob.request("PUT".parse()?, &format!("{path}/2/reactions/%F0%9F%91%8D"), None).await?.expect(200);
    alice.send(&room, "three", "young words").await?.expect(201);
    age_messages(stack, 200, &format!("room_id = '{room}' AND seq < 3")).await?;
    Ok(room)
}

/// All rows that hold contents, as text.
async fn stored_contents(stack: &Stack) -> Result<String> {
    let sql = "SELECT m::text FROM messages m UNION ALL SELECT e::text FROM events e UNION ALL \
               SELECT v::text FROM message_versions v UNION ALL SELECT r::text FROM reactions r";
    Ok(stack.database().query(sql).await?.concat().join("\n"))
}

#[tokio::test]
async fn old_messages_are_archived_and_shown_as_deleted() -> Result<()> {
    let stack = start_stack().await?;
    let (alice, room) = (stack.http("alice"), create_old_room(&stack).await?);
    let before = alice.messages(&room, "").await?.expect(200).body;
    let summary = retain(&stack, &["--older-than", "180d", "--archive"]).await?;
    ensure!(summary.contains("2 messages in 1 rooms"), "{summary}");

    let page = alice.messages(&room, "").await?.expect(200).body;
    for (place, field) in [(0, "id"), (0, "seq"), (0, "client_id"), (0, "sender"), (1, "id"), (1, "last_seq")]
    {
        assert_eq!(page["messages"][place][field], before["messages"][place][field], "{field}");
    }
    for place in [0, 1] {
        let message = &page["messages"][place];
        assert_eq!(
            (&message["content"], &message["deleted"], &message["metadata"], &message["attachments"]),
            (&json!(""), &json!(true), &json!(null), &json!(null))
        );
        assert_eq!((&message["reactions"], &message["mentions"]), (&json!([]), &json!(null)));
    }
    assert_eq!(page["messages"][2], before["messages"][2], "newer messages stay unchanged");
    assert_eq!(page["head"], before["head"]);

    let archived = stack
        .database()
        .query("SELECT seq, content, metadata::text, attachments IS NOT NULL, versions->0->>'content', versions->1->>'content', mentions::text FROM messages_archive ORDER BY seq")
        .await?;
    assert_eq!(
        archived,
        [
            ["1", "first words", "{\"secret\":1}", "t", "", "", "{bob}"],
            ["2", "second words edited", "", "f", "second words", "second words edited", ""]
        ]
    );
    let left = stored_contents(&stack).await?;
    ensure!(!left.contains("first") && !left.contains("second") && left.contains("young words"), "{left}");
    let events = alice.events(&room, "").await?.expect(200).body;
    let types: Vec<_> =
        events["events"].as_array().into_iter().flatten().map(|event| &event["type"]).collect();
    assert_eq!(
        types,
        ["message:new", "message:new", "void", "reaction:added", "message:new"],
        "nothing is renumbered"
    );
    Ok(())
}

#[tokio::test]
async fn late_repetition_of_dropped_message_is_a_duplicate() -> Result<()> {
    let stack = start_stack().await?;
    let (alice, room) = (stack.http("alice"), create_old_room(&stack).await?);
    let first = alice.messages(&room, "").await?.expect(200).body["messages"][0].clone();
    retain(&stack, &["--older-than", "180d", "--drop"]).await?;
    // In the first round Redis remembers the client id, in the second only PostgreSQL.
    for _ in 0..2 {
        let again = alice.send(&room, "one", "first words").await?.expect(200).body;
        assert_eq!(
            (&again["duplicate"], &again["seq"], &again["id"]),
            (&json!(true), &first["seq"], &first["id"])
        );
        stack.redis().restart_empty().await?;
        let begun = Instant::now();
        while alice.send(&room, "probe", "x").await?.status == 503 {
            ensure!(begun.elapsed() < Duration::from_secs(30), "Redis does not come back");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    ensure!(!stored_contents(&stack).await?.contains("first words"));
    Ok(())
}

#[tokio::test]
async fn drop_removes_messages_and_their_archive_everywhere() -> Result<()> {
    let stack = start_stack().await?;
    let room = create_old_room(&stack).await?;
    let other = create_old_room(&stack).await?;
    retain(&stack, &["--older-than", "180d", "--archive", "--room", &room]).await?;
    let archive = "SELECT room_id, count(*) FROM messages_archive GROUP BY room_id";
    assert_eq!(
        stack.database().query(archive).await?,
        [[room.as_str(), "2"]],
        "the other room is not touched"
    );
    // The tails of both rooms still hold the old messages.
    let summary = retain(&stack, &["--older-than", "180d", "--drop", "--batch", "1"]).await?;
    ensure!(summary.contains("2 messages in 1 rooms") && summary.contains("2 contents dropped"), "{summary}");
    assert!(stack.database().query(archive).await?.is_empty());
    let left = stored_contents(&stack).await? + &tail_contents(&stack).await?;
    for gone in ["first words", "second words"] {
        ensure!(!left.contains(gone), "{gone}: {left}");
    }
    ensure!(left.contains("young words") && left.contains(&other));
    // A second run has nothing to do.
    ensure!(retain(&stack, &["--older-than", "180d", "--drop"]).await?.contains("0 messages in 0 rooms"));
    Ok(())
}

/// All tails in Redis as text. They hold old messages too, because `age_messages` changes no time in Redis.
async fn tail_contents(stack: &Stack) -> Result<String> {
    let client = redis::Client::open(stack.redis().url())?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    let tails: Vec<String> = redis::cmd("KEYS").arg("*:tail:*").query_async(&mut connection).await?;
    let mut dump = String::new();
    for key in tails {
        let entries: redis::Value =
            redis::cmd("XRANGE").arg(&key).arg("-").arg("+").query_async(&mut connection).await?;
        dump.push_str(&format!("{entries:?}"));
    }
    Ok(dump)
}

#[tokio::test]
async fn deleted_message_keeps_earlier_text_only_in_archive() -> Result<()> {
    let stack = start_stack().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&[]).await?;
    alice.send(&room, "one", "regretted words").await?.expect(201);
    alice.request("DELETE".parse()?, &format!("/rooms/{room}/messages/1"), None).await?.expect(200);
    age_messages(&stack, 2, "true").await?;
    retain(&stack, &["--older-than", "1d", "--archive"]).await?;
    ensure!(!stored_contents(&stack).await?.contains("regretted"));
    let archived =
        stack.database().query("SELECT content, versions->0->>'content' FROM messages_archive").await?;
    assert_eq!(archived, [["", "regretted words"]]);
    Ok(())
}

#[tokio::test]
async fn invalid_retain_arguments_are_refused() -> Result<()> {
    let stack = start_stack().await?;
    for (arguments, expected) in [
        (&["--older-than", "180d"][..], "--archive"),
        (&["--archive"], "--older-than"),
        (&["--older-than", "180d", "--drop", "--archive"], "cannot be used with"),
        (&["--older-than", "soon", "--drop"], "180d"),
        (&["--older-than", "1d", "--drop", "--batch", "1001"], "1001"),
        (&["--older-than", "1d", "--drop", "--room", "a b"], "room id"),
    ] {
        let output = run_retain(&stack, arguments).await?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(!output.status.success() && error.contains(expected), "{arguments:?}: {error}");
    }
    Ok(())
}

/// Inserts old messages into a room, directly into the tables.
async fn insert_old_messages(stack: &Stack, room: &str, seqs: RangeInclusive<u32>) -> Result<()> {
    let (first, last) = (seqs.start(), seqs.end());
    stack
        .database()
        .query(&format!(
            "INSERT INTO messages (room_id, seq, id, sender_id, client_id, kind, content, at, last_seq) \
             SELECT '{room}', n, gen_random_uuid(), 'alice', 'old-' || n, 'text', 'old words ' || n, \
               now() - interval '300 days' + n * interval '1 second', n FROM generate_series({first}, {last}) n; \
             UPDATE rooms SET head_seq = {last} WHERE id = '{room}'; ANALYZE messages"
        ))
        .await
        .map(drop)
}

/// Runs the job over `count` messages while a user sends; returns the 99th percentile of the answer times, and the
/// number of answers.
async fn retain_under_load(count: u32, pause_ms: &str) -> Result<(Duration, usize)> {
    let stack = Stack::builder()
        .gateways(1)
        .gateway_env("TIDINGS_MESSAGES_PER_SECOND", 1000)
        .gateway_env("TIDINGS_MESSAGES_BURST", 1000)
        .own_postgres()
        .start()
        .await?;
    let alice = stack.http("alice");
    let (old, busy) = (alice.new_room(&["bob"]).await?, alice.new_room(&["bob"]).await?);
    insert_old_messages(&stack, &old, 1..=count).await?;

    let job = {
        let mut command = tokio::process::Command::new(node::program("tidings-persistence")?);
        command.args(["retain", "--older-than", "180d", "--archive", "--pause-ms", pause_ms]);
        command.args(["--database-url", stack.database().url(), "--redis-url", &stack.redis().url()]);
        command.stdout(std::process::Stdio::piped()).kill_on_drop(true).spawn()?
    };
    let job = tokio::spawn(job.wait_with_output());
    let (client, mut took, mut sent) = (stack.connect("bob").await?, Vec::new(), 0);
    while !job.is_finished() {
        // Sends to the room of the old messages and to another one.
        for room in [&old, &busy] {
            let begun = Instant::now();
            let ack = client.send_as(room, &clock::client_id(), "meanwhile").await?;
            took.push(begun.elapsed());
            ensure!(ack.stage == "stored");
            sent += 1;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let output = job.await??;
    let summary = String::from_utf8(output.stdout)?;
    ensure!(
        output.status.success() && summary.contains(&format!("{count} messages in 1 rooms")),
        "{summary}"
    );
    println!("{summary}");

    let database = stack.database();
    assert_eq!(database.value("SELECT count(*) FROM messages_archive").await?, count.to_string());
    let left = "SELECT count(*) FROM messages WHERE content LIKE 'old words%' OR (seq <= 10 AND NOT deleted AND content LIKE 'old%')";
    assert_eq!(database.value(left).await?, "0");
    let whole = format!(
        "SELECT count(*) = max(seq) AND max(seq) = (SELECT head_seq FROM rooms WHERE id = '{old}') FROM messages WHERE room_id = '{old}'"
    );
    assert_eq!(database.value(&whole).await?, "t");
    let meanwhile = "SELECT count(*) FROM messages WHERE content = 'meanwhile' AND NOT deleted";
    assert_eq!(database.value(meanwhile).await?, sent.to_string());
    took.sort_unstable();
    let p99 = *took.get(took.len() * 99 / 100).context("no message was sent")?;
    Ok((p99, took.len()))
}

#[tokio::test]
async fn retention_does_not_delay_concurrent_senders() -> Result<()> {
    let (p99, sent) = retain_under_load(50_000, "0").await?;
    println!("{sent} sends, 99 % stored within {p99:?}");
    ensure!(p99 < Duration::from_secs(3), "{p99:?}");
    Ok(())
}

/// Started with `./dev test --long retention`.
#[tokio::test]
#[ignore = "long: a million messages"]
async fn a_million_old_messages_are_archived_beside_senders() -> Result<()> {
    let (p99, sent) = retain_under_load(1_000_000, "0").await?;
    println!("{sent} sends, 99 % stored within {p99:?}");
    ensure!(p99 < Duration::from_secs(3), "{p99:?}");
    Ok(())
}

#[tokio::test]
async fn killed_retention_is_finished_by_next_run() -> Result<()> {
    let stack = start_stack().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&[]).await?;
    // The first message is in the tail.
    alice.send(&room, "said", "said long ago").await?.expect(201);
    age_messages(&stack, 400, "true").await?;
    ensure!(tail_contents(&stack).await?.contains("said long ago"));
    insert_old_messages(&stack, &room, 2..=20_000).await?;
    let mut command = tokio::process::Command::new(node::program("tidings-persistence")?);
    command.args(["retain", "--older-than", "180d", "--archive", "--batch", "200", "--pause-ms", "20"]);
    command.args(["--database-url", stack.database().url(), "--redis-url", &stack.redis().url()]);
    let mut job = command.stdout(std::process::Stdio::null()).kill_on_drop(true).spawn()?;
    let archived = "SELECT count(*) FROM messages_archive";
    let begun = Instant::now();
    while stack.database().value(archived).await?.parse::<u32>()? < 1000 {
        ensure!(begun.elapsed() < Duration::from_secs(30), "nothing is archived");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    job.kill().await?;
    let half: u32 = stack.database().value(archived).await?.parse()?;
    ensure!(half < 20_000, "the job was already finished");
    ensure!(!tail_contents(&stack).await?.contains("said long ago"), "the next run does not drop this tail");
    let deleted = "SELECT count(*) FROM messages WHERE deleted";
    assert_eq!(
        stack.database().value(deleted).await?,
        half.to_string(),
        "exactly the archived messages are removed"
    );
    retain(&stack, &["--older-than", "180d", "--archive"]).await?;
    assert_eq!(stack.database().value(archived).await?, "20000");
    assert_eq!(stack.database().value("SELECT count(*) FROM messages WHERE content <> ''").await?, "0");
    Ok(())
}

#[tokio::test]
async fn removed_contents_leave_no_trace_in_search_index() -> Result<()> {
    let stack = start_stack().await?;
    let room = stack.http("alice").new_room(&[]).await?;
    let sql = format!(
        "INSERT INTO messages (room_id, seq, id, sender_id, client_id, kind, content, at, last_seq) \
         SELECT '{room}', n, gen_random_uuid(), 'alice', 'c' || n, 'text', 'word' || n, now(), n \
         FROM generate_series(1, 300) n; UPDATE rooms SET head_seq = 300 WHERE id = '{room}'"
    );
    stack.database().query(&sql).await?;
    age_messages(&stack, 200, "seq < 150").await?;
    index_all(&stack).await?;
    retain(&stack, &["--older-than", "180d", "--drop"]).await?;
    assert_eq!(stack.database().value("SELECT count(*) FROM search_blocks").await?, "3");
    ensure_index_is_of_present_texts(&stack).await
}
