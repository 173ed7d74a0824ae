//! `tidings-persistence import` of history: messages keep their times, edits, reactions and deletions, members keep their
//! read marks, and clients go on above the imported messages.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};
use tidings_harness::{Cursor, ServerFrame, Stack, node};
use tidings_shared::clock::unix_ms;

use crate::importing::{import, message_line, run_import, start_stack, write_lines};

const WAIT_TIMEOUT: Duration = Duration::from_secs(20);

fn old_message(id: &str, sender: &str, at: &str, content: &str) -> Value {
    json!({"type": "message", "room": "general", "id": id, "sender": sender, "at": at, "content": content})
}

/// Two rooms without a time of creation, four messages with four changes in one and a later message in the other.
fn history() -> Vec<Value> {
    let mut first = old_message("m/1", "alice", "2019-05-06T07:08:09Z", "first");
    first["sender_name"] = json!("Alice A.");
    first["edits"] = json!([{"at": "2019-05-06T08:00:00Z", "content": "first, better"}]);
    first["reactions"] = json!([
        {"user": "bob", "emoji": "👍", "at": "2019-05-07T00:00:00Z"},
        {"user": "carol", "emoji": "👍", "at": "2019-05-08T00:00:00Z"},
    ]);
    let mut regretted = old_message("m/3", "bob", "2019-05-06T07:10:00Z", "regretted");
    regretted["deleted"] = json!({"at": "2019-05-06T07:11:00Z"});
    let mut newest = old_message("l/1", "alice", "2020-01-01T00:00:00Z", "newest");
    newest["room"] = json!("later");
    let members = json!([{"user": "bob"}, {"user": "carol"}]);
    vec![
        json!({"type": "room", "id": "later", "kind": "private", "created_by": "alice", "members": members}),
        json!({"type": "room", "id": "general", "kind": "private", "created_by": "alice", "members": members}),
        newest,
        first,
        old_message("m/2", "bob", "2019-05-06T07:09:00Z", "second"),
        regretted,
        old_message("m/4", "alice", "2019-05-06T07:12:00Z", "needle"),
        json!({"type": "read", "room": "general", "user": "bob", "upto": "2019-05-06T07:09:30Z"}),
    ]
}

#[tokio::test]
async fn message_with_invalid_reaction_is_imported_and_told() -> Result<()> {
    let stack = start_stack().await?;
    let mut message = old_message("m/1", "alice", "2019-05-06T07:08:09Z", "one\r\ntwo");
    message["reactions"] = json!([
        {"user": "bob", "emoji": "not one", "at": "2019-05-07T00:00:00Z"},
        {"user": "bob", "emoji": "👍\u{fe0f}", "at": "2019-05-07T00:00:00Z"},
    ]);
    let members = json!([{"user": "bob"}]);
    let room = json!({"type": "room", "id": "general", "kind": "private", "created_by": "alice", "members": members});
    let path = write_lines(stack.folder(), "reactions.jsonl", vec![room, message])?;
    let output = run_import(&stack, &path, &[]).await?;
    let (errors, summary) = (String::from_utf8(output.stderr)?, String::from_utf8(output.stdout)?);
    ensure!(errors.contains(":2: bad_field: a reaction is left out"), "{errors}");
    ensure!(summary.contains("0 lines refused, 1 reactions left out"), "{summary}");
    let page = stack.http("bob").messages("general", "").await?.expect(200).body;
    let stored = &page["messages"][0];
    ensure!(stored["content"] == "one\ntwo", "{stored}");
    let reactions = json!([{"emoji": "👍", "count": 1, "mine": true, "users": ["bob"]}]);
    ensure!(stored["reactions"] == reactions, "{stored}");
    Ok(())
}

#[tokio::test]
async fn imported_history_keeps_times_changes_and_read_marks() -> Result<()> {
    let stack = start_stack().await?;
    let path = write_lines(stack.folder(), "history.jsonl", history())?;
    assert_eq!(
        import(&stack, &path, &["--strict"]).await?,
        "5 messages, 2 rooms, 0 members, 0 users, 4 changes, 1 read marks imported; 0 were there already; 0 lines refused"
    );
    let (alice, bob) = (stack.http("alice"), stack.http("bob"));
    let page = bob.messages("general", "").await?.expect(200).body;
    let times: Vec<_> = page["messages"].as_array().into_iter().flatten().map(|one| &one["at"]).collect();
    assert_eq!(
        times,
        [
            "2019-05-06T07:08:09.000Z",
            "2019-05-06T07:09:00.000Z",
            "2019-05-06T07:10:00.000Z",
            "2019-05-06T07:12:00.000Z"
        ]
    );
    let (first, regretted) = (&page["messages"][0], &page["messages"][2]);
    assert_eq!(
        (&first["content"], &first["edited_at"], &first["sender"]["name"]),
        (&json!("first, better"), &json!("2019-05-06T08:00:00.000Z"), &json!("Alice A."))
    );
    let reaction = &first["reactions"][0];
    assert_eq!(
        (&reaction["emoji"], &reaction["count"], &reaction["users"]),
        (&json!("👍"), &json!(2), &json!(["bob", "carol"]))
    );
    assert_eq!((&regretted["deleted"], &regretted["content"]), (&json!(true), &json!("")));
    let versions = alice.get("/rooms/general/messages/1/versions").await?.expect(200).body;
    assert_eq!(
        versions["versions"],
        json!([
            {"content": "first", "at": "2019-05-06T07:08:09.000Z", "by": "alice"},
            {"content": "first, better", "at": "2019-05-06T08:00:00.000Z", "by": "alice"},
        ])
    );
    let given = "SELECT user_id, extract(epoch FROM at)::bigint FROM reactions ORDER BY user_id";
    assert_eq!(stack.database().query(given).await?, [["bob", "1557187200"], ["carol", "1557273600"]]);

    let rooms = bob.my_rooms("").await?.expect(200).body;
    let (newest, general) = (&rooms["rooms"][0], &rooms["rooms"][1]);
    assert_eq!((&newest["room"], &newest["unread"]), (&json!("later"), &json!(1)));
    assert_eq!((&general["read_seq"], &general["unread"]), (&json!(2), &json!(1)));
    assert_eq!(
        (&general["created_at"], &general["updated_at"]),
        (&json!("2019-05-06T07:08:09.000Z"), &json!("2019-05-06T07:12:00.000Z"))
    );
    let found = bob.get("/search?q=needle&room=general").await?.expect(200).body;
    assert_eq!(found["results"][0]["message"]["at"], "2019-05-06T07:12:00.000Z");
    Ok(())
}

#[tokio::test]
async fn read_line_counts_for_member_added_after_messages() -> Result<()> {
    let stack = start_stack().await?;
    let lines = vec![
        json!({"type": "room", "id": "general", "kind": "private", "created_by": "alice"}),
        old_message("1", "alice", "2019-05-06T07:08:09Z", "one"),
        old_message("2", "alice", "2019-05-06T07:09:00Z", "two"),
        json!({"type": "member", "room": "general", "user": "bob"}),
        json!({"type": "read", "room": "general", "user": "bob", "upto": "2019-05-06T07:08:30Z"}),
    ];
    let path = write_lines(stack.folder(), "late.jsonl", lines)?;
    for _ in 0..2 {
        import(&stack, &path, &["--strict"]).await?;
        let room = stack.http("bob").room("general").await?.expect(200).body;
        assert_eq!((&room["read_seq"], &room["unread"]), (&json!(1), &json!(1)));
    }
    Ok(())
}

#[tokio::test]
async fn repeated_history_import_doubles_and_revives_nothing() -> Result<()> {
    let stack = start_stack().await?;
    let path = write_lines(stack.folder(), "history.jsonl", history())?;
    import(&stack, &path, &["--strict"]).await?;
    let taken_back = "/rooms/general/messages/1/reactions/%F0%9F%91%8D";
    stack.http("bob").request("DELETE".parse()?, taken_back, None).await?.expect(200);
    let heads = "SELECT id, head_seq FROM rooms ORDER BY id";
    let before = stack.database().query(heads).await?;
    // Redis becomes empty, so only PostgreSQL remembers what was imported.
    stack.shards().restart_empty().await?;
    assert_eq!(
        import(&stack, &path, &["--strict"]).await?,
        "0 messages, 0 rooms, 0 members, 0 users, 0 changes, 0 read marks imported; 8 were there already; 0 lines refused"
    );
    assert_eq!(stack.database().query(heads).await?, before);
    assert_eq!(stack.database().query("SELECT user_id FROM reactions").await?, [["carol"]]);

    let mut more = history();
    more[3]["edits"] = json!([
        {"at": "2019-05-06T08:00:00Z", "content": "first, better"},
        {"at": "2019-05-06T09:00:00Z", "content": "first, best"},
    ]);
    let summary = import(&stack, &write_lines(stack.folder(), "more.jsonl", more)?, &["--strict"]).await?;
    ensure!(summary.contains(" 1 changes,"), "{summary}");
    let text = "SELECT content FROM messages WHERE room_id = 'general' AND seq = 1";
    assert_eq!(stack.database().value(text).await?, "first, best");
    Ok(())
}

#[tokio::test]
async fn clients_read_imported_history_and_send_above_it() -> Result<()> {
    const MESSAGES: u64 = 300;
    let stack = Stack::start().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let bob = stack.connect("bob").await?;
    let before = bob.join_and_catch_up(&room).await?;
    ensure!(before.seq == 0, "{before:?}");
    let lines = (1..=300).map(|id| message_line(&room, id, "alice"));
    import(&stack, &write_lines(stack.folder(), "all.jsonl", lines)?, &["--strict"]).await?;

    let alice = stack.connect("alice").await?;
    ensure!(alice.join(&room).await?.head.seq == MESSAGES);
    let late = stack.connect("bob").await?;
    late.join_after(&room, &Cursor { epoch: before.epoch.clone(), seq: 0 }).await?;
    let ServerFrame::Gap(gap) = late.next_of_log(WAIT_TIMEOUT).await? else { bail!("expected a gap") };
    ensure!((gap.after, gap.head.seq) == (0, MESSAGES), "{gap:?}");
    let query = format!("after=0&upto={MESSAGES}&limit=200&epoch={}", gap.head.epoch);
    let page = stack.http("bob").events(&room, &query).await?.expect(200).body;
    let first = &page["events"][0];
    ensure!(first["type"] == "message:new" && first["at"] == "2019-05-06T07:08:09.000Z", "{first}");

    let ack = alice.send(&room, "live").await?;
    ensure!((ack.seq, &ack.epoch) == (MESSAGES + 1, &before.epoch), "{ack:?}");
    // The client that was there before the import is told of gaps, not of each old message.
    let mut seq = before.seq;
    while seq <= MESSAGES {
        seq = match bob.next_of_log(WAIT_TIMEOUT).await? {
            ServerFrame::Gap(gap) if gap.after == seq => gap.head.seq,
            ServerFrame::Message(live) if live.content == "live" => live.seq,
            other => bail!("after {seq}: {other:?}"),
        };
    }
    let stored = "SELECT count(*) FROM messages";
    assert_eq!(stack.database().value(stored).await?, (MESSAGES + 1).to_string());
    Ok(())
}

#[tokio::test]
async fn message_older_than_last_of_its_room_is_refused() -> Result<()> {
    let stack = start_stack().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&[]).await?;
    alice.send(&room, "live", "live").await?.expect(201);
    let mut present = message_line(&room, 2, "alice");
    present["at"] = json!(unix_ms());
    let path = write_lines(stack.folder(), "late.jsonl", [message_line(&room, 1, "alice"), present])?;
    let output = run_import(&stack, &path, &[]).await?;
    let errors = String::from_utf8(output.stderr)?;
    ensure!(output.status.success() && errors.contains("late.jsonl:1: out_of_order: "), "{errors}");
    let stored = "SELECT content FROM messages ORDER BY seq";
    assert_eq!(stack.database().query(stored).await?, [["live"], ["words 2"]]);
    Ok(())
}

#[tokio::test]
async fn check_needs_no_servers_and_reports_refused_lines() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let lines = [
        json!({"type": "room", "id": "general", "kind": "private", "created_by": "alice"}),
        old_message("1", "alice", "2019-05-06T07:08:09Z", "good"),
        old_message("2", "alice", "2019-05-06T06:00:00Z", "too early"),
        old_message("3", "alice", "yesterday", "no time"),
        json!({"type": "read", "room": "general", "user": "alice", "upto": 1_600_000_000_000_i64}),
    ];
    let path = write_lines(folder.path(), "bad.jsonl", lines)?;
    let mut command = tokio::process::Command::new(node::program("tidings-persistence")?);
    let output = command.arg("import").arg(path).arg("--check").env_clear().output().await?;
    ensure!(output.status.code() == Some(1), "{output:?}");
    let errors = String::from_utf8(output.stderr)?;
    ensure!(
        errors.contains("bad.jsonl:3: out_of_order: ") && errors.contains("bad.jsonl:4: bad_time: "),
        "{errors}"
    );
    let summary = String::from_utf8(output.stdout)?;
    ensure!(summary.trim_end() == "3 lines can be imported; 2 lines would be refused", "{summary}");
    Ok(())
}

#[tokio::test]
async fn retention_goes_by_original_times() -> Result<()> {
    let stack = start_stack().await?;
    let mut young = message_line("general", 2, "alice");
    young["at"] = json!(unix_ms());
    let lines = [
        json!({"type": "room", "id": "general", "kind": "private", "created_by": "alice"}),
        message_line("general", 1, "alice"),
        young,
    ];
    import(&stack, &write_lines(stack.folder(), "all.jsonl", lines)?, &["--strict"]).await?;
    let mut retain = tokio::process::Command::new(node::program("tidings-persistence")?);
    retain.args(["retain", "--older-than", "180d", "--drop", "--database-url", stack.database().url()]);
    let output = retain.args(["--redis-url", &stack.shards().services_url()]).output().await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let contents = "SELECT deleted::text, length(content) FROM messages ORDER BY seq";
    assert_eq!(stack.database().query(contents).await?, [["true", "0"], ["false", "7"]]);
    Ok(())
}
