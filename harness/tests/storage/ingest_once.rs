//! Each appended record is stored once and unchanged. A record that cannot be stored becomes a void, which is
//! announced.

use std::time::Instant;

use crate::room_log::{RoomLog, hold_messages, metric};
use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tidings_harness::Stack;
use tidings_shared::{
    ids::{Seq, UserId},
    log::{AppendError, ReadMark, record::Visibility, stored::Stored},
};

const MAX_BACKLOG_RECORDS: u64 = 10_000;

async fn start_stack() -> Result<Stack> {
    Stack::builder().gateways(0).start().await
}

#[tokio::test]
async fn every_part_of_a_message_is_stored_byte_for_byte() -> Result<()> {
    let stack = start_stack().await?;
    let room = RoomLog::new(&stack, MAX_BACKLOG_RECORDS).await?;
    let mut entry = room.message("c-1", "");
    let id = entry.id.clone().unwrap_or_default();
    entry.body = format!(
        r#"{{"id":"{id}","client_id":"c-1","sender":{{"id":"alice"}},"kind":"note","content":"Zoë \"☕\"\n\ud83d\ude00","reply_to":1,"attachments":[{{"b":1.0, "a":2}}],"metadata":{{"z":1e2,  "a":null}},"mentions":["bob,{{}}\"","carol"]}}"#
    );
    entry.visibility =
        Visibility { users: vec!["bob,{}\"".into(), "carol".into()], roles: vec!["admin".into()] };
    let accepted = room.log.append(&entry).await?;
    ensure!(room.wait_stored(&accepted).await == Stored::AsAccepted);
    let row = stack
        .database()
        .query(&format!(
            "SELECT seq, id, sender_id, client_id, kind, content, reply_to, attachments, metadata, \
               to_json(visible_users), to_json(visible_roles), (extract(epoch FROM at) * 1000)::bigint, last_seq, deleted, to_json(mentions) \
             FROM messages WHERE room_id = '{}'",
            room.room
        ))
        .await?;
    let expected = [
        "1",
        &id,
        "alice",
        "c-1",
        "note",
        "Zoë \"☕\"\n😀",
        "1",
        r#"[{"b":1.0, "a":2}]"#,
        r#"{"z":1e2,  "a":null}"#,
        r#"["bob,{}\"","carol"]"#,
        r#"["admin"]"#,
        &accepted.at_ms.to_string(),
        "1",
        "f",
        r#"["bob,{}\"","carol"]"#,
    ];
    ensure!(row == [expected], "{row:?}");

    let plain = room.log.append(&room.message("c-2", "plain")).await?;
    ensure!(room.wait_stored(&plain).await == Stored::AsAccepted);
    let row = stack
        .database()
        .query("SELECT reply_to IS NULL, attachments IS NULL, metadata IS NULL, visible_users IS NULL, visible_roles IS NULL, mentions IS NULL FROM messages WHERE client_id = 'c-2'")
        .await?;
    ensure!(row == [["t", "t", "t", "t", "t", "t"]], "{row:?}");
    Ok(())
}

#[tokio::test]
async fn concurrent_messages_are_stored_in_accepted_order() -> Result<()> {
    let stack = start_stack().await?;
    let room = RoomLog::new(&stack, MAX_BACKLOG_RECORDS).await?;
    let names: Vec<String> = (1..=1500).map(|n| format!("m{n}")).collect();
    let mut accepted = Vec::new();
    for names in names.chunks(100) {
        let appends = names.iter().map(async |name| room.append(name).await.map(|accepted| (accepted, name)));
        accepted.extend(futures_util::future::try_join_all(appends).await?);
    }
    accepted.sort_by_key(|(accepted, _)| accepted.seq);
    let (last, _) = accepted.last().expect("there are appends");
    ensure!(last.seq == Seq(1500) && room.wait_stored(last).await == Stored::AsAccepted);
    let texts = room.message_texts(&stack).await?;
    ensure!(texts.iter().eq(accepted.iter().map(|(_, name)| *name)));
    ensure!(metric(&stack, 0, "tidings_persistence_holes_total").await? == 0.0);
    Ok(())
}

// Covers: message:void, void.
#[tokio::test]
async fn late_duplicate_becomes_an_announced_void() -> Result<()> {
    let stack = start_stack().await?;
    let room = RoomLog::new(&stack, MAX_BACKLOG_RECORDS).await?;
    let first = room.append("once").await?;
    ensure!(room.wait_stored(&first).await == Stored::AsAccepted);
    let active = format!("SELECT updated_at FROM rooms WHERE id = '{}'", room.room);
    let first_active = stack.database().value(&active).await?;
    room.forget_client_ids().await?;
    let again = room.append("once").await?;
    ensure!((again.seq, again.duplicate) == (Seq(2), false), "Redis remembers nothing: {again:?}");
    let there = Stored::First { seq: Seq(1), id: first.id.clone(), at_ms: first.at_ms };
    ensure!(room.wait_stored(&again).await == there);
    // A further repetition gets the same answer, although Redis knows only the second seq.
    let third = room.append("once").await?;
    ensure!(third.duplicate && room.wait_stored(&third).await == there);

    let stands = room.until_head(&stack, 3).await?;
    ensure!((stands[1].kind.as_str(), stands[1].body_text.as_str()) == ("void", "{}"), "{stands:?}");
    let void: Value = serde_json::from_str(&stands[2].body_text)?;
    let expected = json!({
        "type": "message:void", "room": room.room, "seq": 3, "at": void["at"],
        "target": 2, "client_id": "once", "by": "alice", "reason": "duplicate", "of": 1
    });
    ensure!(void == expected, "{void}");
    let row = stack
        .database()
        .query("SELECT actor_id, client_id, void_reason, void_of, void_told FROM events WHERE type = 'void'")
        .await?;
    ensure!(row == [["alice", "once", "duplicate", "1", "t"]], "{row:?}");
    ensure!(room.message_texts(&stack).await? == ["once"]);
    ensure!(stack.database().value(&active).await? == first_active, "a void is no activity");
    Ok(())
}

#[tokio::test]
async fn repeated_old_client_ids_fail_one_batch_a_second() -> Result<()> {
    let stack = start_stack().await?;
    let room = RoomLog::new(&stack, MAX_BACKLOG_RECORDS).await?;
    let first = room.append("once").await?;
    ensure!(room.wait_stored(&first).await == Stored::AsAccepted);
    let there = Stored::First { seq: first.seq, id: first.id.clone(), at_ms: first.at_ms };
    let begun = Instant::now();
    for _ in 0..10 {
        room.forget_client_ids().await?;
        let again = room.append("once").await?;
        ensure!(room.wait_stored(&again).await == there);
    }
    let failed = metric(&stack, 0, r#"tidings_persistence_retries_total{cause="taken"}"#).await?;
    let seconds = begun.elapsed().as_secs_f64();
    ensure!(failed >= 1.0 && failed <= 1.0 + seconds, "{failed} batches failed in {seconds} s");
    Ok(())
}

#[tokio::test]
async fn same_client_id_twice_in_a_batch_is_one_message() -> Result<()> {
    let stack = start_stack().await?;
    let room = RoomLog::new(&stack, MAX_BACKLOG_RECORDS).await?;
    let hold = hold_messages(&stack, 1.0).await?;
    room.append("before").await?;
    let first = room.append("once").await?;
    room.forget_client_ids().await?;
    let again = room.append("once").await?;
    hold.await?;
    ensure!(room.wait_stored(&first).await == Stored::AsAccepted);
    ensure!(
        room.wait_stored(&again).await == Stored::First { seq: first.seq, id: first.id, at_ms: first.at_ms }
    );
    ensure!(room.message_texts(&stack).await? == ["before", "once"]);
    Ok(())
}

#[tokio::test]
async fn void_of_private_message_is_visible_to_its_readers_only() -> Result<()> {
    let stack = start_stack().await?;
    let room = RoomLog::new(&stack, MAX_BACKLOG_RECORDS).await?;
    for _ in 0..2 {
        let mut entry = room.message("secret", "secret");
        entry.visibility = Visibility { users: vec!["bob".into()], roles: vec![] };
        let accepted = room.log.append(&entry).await?;
        room.wait_stored(&accepted).await;
        room.forget_client_ids().await?;
    }
    room.until_head(&stack, 3).await?;
    let row = stack
        .database()
        .query("SELECT to_json(visible_users), visible_roles IS NULL FROM events WHERE type = 'message:void'")
        .await?;
    ensure!(row == [[r#"["bob","alice"]"#, "t"]], "{row:?}");
    Ok(())
}

#[tokio::test]
async fn poison_record_becomes_void_and_its_neighbours_are_stored() -> Result<()> {
    let stack = start_stack().await?;
    let room = RoomLog::new(&stack, MAX_BACKLOG_RECORDS).await?;
    let hold = hold_messages(&stack, 1.0).await?;
    room.append("before").await?;
    let mut waits = Vec::new();
    for n in 0..40 {
        waits.push((room.append(&format!("good {n}")).await?, Stored::AsAccepted));
        // PostgreSQL refuses NUL in text. The other body lacks fields that a message must have.
        let mut poison = room.message(&format!("poison {n}"), "\0");
        if n % 2 == 0 {
            poison.body = r#"{"kind":"text"}"#.to_owned();
        }
        if n % 10 < 2 {
            waits.push((room.log.append(&poison).await?, Stored::Rejected));
        }
    }
    hold.await?;
    for (accepted, outcome) in &waits {
        ensure!(room.wait_stored(accepted).await == *outcome, "{accepted:?}");
    }
    ensure!(room.message_texts(&stack).await?.len() == 41);
    let stands = room.until_head(&stack, 41 + 8 + 8).await?;
    let announced = stands.iter().filter(|stands| stands.kind == "message:void").count();
    ensure!(
        announced == 8 && stands.iter().filter(|stands| stands.kind == "void").count() == 8,
        "{stands:?}"
    );
    let letters = stack
        .database()
        .value(&format!(
            "SELECT count(*) FROM dead_letters WHERE room_id = '{}' AND length(record) > 50 AND reason <> ''",
            room.room
        ))
        .await?;
    ensure!(letters == "8", "{letters}");
    // The client id stays used even when Redis has forgotten it.
    let repeated = room.append("poison 0").await?;
    ensure!(repeated.duplicate && room.wait_stored(&repeated).await == Stored::Rejected);
    room.forget_client_ids().await?;
    let mut entry = room.message("poison 0", "now good");
    entry.first_attempt = false;
    ensure!(room.log.append(&entry).await == Err(AppendError::Rejected));
    Ok(())
}

#[tokio::test]
async fn log_and_reason_hold_no_content_of_poison_record() -> Result<()> {
    const MARK: &str = "hunter2";
    let stack = Stack::builder().gateways(0).persistence_env("TIDINGS_LOG", "debug").start().await?;
    let room = RoomLog::new(&stack, MAX_BACKLOG_RECORDS).await?;
    let bodies = [
        format!(r#"{{"kind":"text","content":{{"a":"{MARK}"}}}}"#),
        format!(r#"{{"kind":"text","content":"x","reply_to":"{MARK}"}}"#),
        format!(r#"{{"kind":"text","content":"{MARK}\u0000"}}"#),
        format!(r#"{{"kind":"text","content":"x {MARK}"#),
    ];
    stack.database().query(&format!("ALTER TABLE messages ADD CHECK (content <> 'no {MARK}')")).await?;
    let ids = (0..bodies.len()).map(|n| format!("c{n}")).collect::<Vec<_>>();
    let mut poison = Vec::new();
    for (body, client_id) in bodies.into_iter().zip(&ids) {
        let mut entry = room.message(client_id, "");
        entry.body = body;
        poison.push(entry);
    }
    poison.push(room.message("refused", &format!("no {MARK}")));
    let mut bad_id = room.message("bad-id", "x");
    bad_id.id = Some(MARK.to_owned());
    poison.push(bad_id);
    let mut event = room.message("event", "x");
    (event.kind, event.body) = ("message:edited", format!(r#"{{"target":"{MARK}"}}"#));
    poison.push(event);
    for entry in &poison {
        let accepted = room.log.append(entry).await?;
        ensure!(room.wait_stored(&accepted).await == Stored::Rejected, "{}", entry.body);
    }
    let line = |kind: &str, json: &str| {
        let fields = ["1", "1", "0", "1", room.room.as_str(), kind, "", "", "", "", "", ""];
        format!("{}\n{json}", fields.join("\u{1f}"))
    };
    for record in [
        line("marks", &format!(r#"[["{MARK}","bob",1]]"#)),
        line("marks", &format!(r#"{{"{MARK}":1}}"#)),
        MARK.to_owned(),
    ] {
        let mut add = redis::cmd("XADD");
        let _: String = room.redis(add.arg(room.partition().ingest()).arg("*").arg("r").arg(record)).await?;
    }
    room.send("after").await?;
    let letters = stack
        .database()
        .query("SELECT reason, strpos(encode(record, 'escape'), 'hunter2') > 0 FROM dead_letters ORDER BY id")
        .await?;
    ensure!(letters.len() == poison.len() + 3, "{letters:?}");
    ensure!(letters.iter().all(|row| row[1] == "t" && !row[0].contains(MARK)), "{letters:?}");
    let log = stack.persistence(0).log()?;
    ensure!(log.matches("dead letter").count() == letters.len());
    let leak = log.lines().find(|line| line.contains(MARK));
    ensure!(leak.is_none(), "{leak:?}");
    Ok(())
}

#[tokio::test]
async fn malformed_record_becomes_dead_letter_and_stream_goes_on() -> Result<()> {
    let stack = start_stack().await?;
    let room = RoomLog::new(&stack, MAX_BACKLOG_RECORDS).await?;
    room.send("before").await?;
    for record in ["garbage", "", "9\u{1f}x\n{}"] {
        let mut add = redis::cmd("XADD");
        let _: String = room.redis(add.arg(room.partition().ingest()).arg("*").arg("r").arg(record)).await?;
    }
    ensure!(room.send("after").await? == Seq(2));
    ensure!(room.message_texts(&stack).await? == ["before", "after"]);
    let letters = stack
        .database()
        .query("SELECT partition, convert_from(record, 'UTF8') FROM dead_letters ORDER BY id")
        .await?;
    let partition = room.partition().0.to_string();
    ensure!(letters.len() == 3 && letters[0] == [partition.as_str(), "garbage"], "{letters:?}");
    Ok(())
}

#[tokio::test]
async fn lost_watermark_is_written_again_with_its_exceptions() -> Result<()> {
    let stack = start_stack().await?;
    let room = RoomLog::new(&stack, MAX_BACKLOG_RECORDS).await?;
    let first = room.append("once").await?;
    ensure!(room.wait_stored(&first).await == Stored::AsAccepted);
    room.forget_client_ids().await?;
    let hold = hold_messages(&stack, 1.5).await?;
    let again = room.append("once").await?;
    stack.database().until_blocked().await?;
    // The batch is in progress. When it is committed, the script that writes the watermark is gone.
    let _: () = room.redis(redis::cmd("SCRIPT").arg("FLUSH")).await?;
    hold.await?;
    let outcome = room.wait_stored(&again).await;
    ensure!(outcome == Stored::First { seq: Seq(1), id: first.id, at_ms: first.at_ms }, "{outcome:?}");
    room.until_head(&stack, 3).await?;
    Ok(())
}

#[tokio::test]
async fn marks_move_forward_and_never_beyond_the_head() -> Result<()> {
    let stack = start_stack().await?;
    let room = RoomLog::new(&stack, MAX_BACKLOG_RECORDS).await?;
    for n in 0..5 {
        room.append(&n.to_string()).await?;
    }
    let bob = UserId::parse("bob")?;
    let marks = |seq, delivered| [ReadMark { user: bob.clone(), seq: Seq(seq), delivered }];
    for (seq, delivered) in [(3, false), (1, false), (4, true), (99, true), (2, true)] {
        let marked = room.log.mark(&room.room, &marks(seq, delivered)).await?;
        ensure!(marked.head == Seq(5) && room.wait_stored(&marked.accepted).await == Stored::AsAccepted);
    }
    let row = stack
        .database()
        .query("SELECT read_seq, delivered_seq, read_at IS NOT NULL FROM members WHERE user_id = 'bob'")
        .await?;
    ensure!(row == [["3", "5", "t"]], "{row:?}");
    Ok(())
}
