//! `DELETE /me` while writes of the user are still in progress, and while something blocks the erasure.

use std::time::Duration;

use crate::marked::{MARK, erase, mallory};
use crate::room_log::RoomLog;
use crate::traces::find_traces;
use anyhow::{Context, Result, ensure};
use serde_json::json;
use tidings_harness::{Client, Http, Ports, Stack, Token};
use tidings_shared::ids::UserId;
use tidings_shared::log::{AppendError, Entry};
use tidings_shared::role::MinRole;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// A token with which mallory may act in any room.
fn token(stack: &Stack) -> String {
    Token::of("mallory").name(&format!("Mallory {MARK}")).scope("tidings.admin").sign(stack.jwt_secret())
}

async fn ensure_no_trace(stack: &Stack) -> Result<()> {
    let left = find_traces(stack, MARK).await?;
    ensure!(left.is_empty(), "left behind:\n{}", left.join("\n"));
    Ok(())
}

/// Starts a process that holds locks until it is killed.
async fn start_lock_holder(stack: &Stack, locks: &str) -> Result<Child> {
    let sql = format!("BEGIN; {locks}; SELECT pg_sleep(60)");
    let holder = Command::new("psql")
        .args(["--no-psqlrc", "--quiet", "--output=/dev/null", "--command", &sql, stack.database().url()])
        .kill_on_drop(true)
        .spawn()?;
    stack.database().until_asleep().await?;
    Ok(holder)
}

async fn kill_lock_holder(stack: &Stack, mut holder: Child) -> Result<()> {
    holder.kill().await?;
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' \
               AND pid <> pg_backend_pid() AND datname = current_database()";
    stack.database().query(end).await.map(drop)
}

const COUNT_ERASED: &str = "SELECT count(*) FROM users WHERE id = 'mallory' AND erased_at IS NOT NULL";

#[tokio::test]
async fn erasure_waits_for_accepted_message_and_removes_it() -> Result<()> {
    let stack = Stack::start().await?;
    let room = stack.http("alice").new_room(&[]).await?;
    let socket = Client::connect(&stack.gateway(0).ws(), &token(&stack)).await?;
    let holder = start_lock_holder(&stack, "LOCK TABLE messages IN SHARE MODE").await?;
    socket.send_with(json!({"room": room, "client_id": "c", "content": MARK, "ack": "accepted"})).await?;
    let http = Http::new(&stack.persistence(0).url(), &token(&stack));
    let erasing = tokio::spawn(async move { erase(&http).await });
    // An erasure that wrongly does not wait would end in this time.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(stack.database().value(COUNT_ERASED).await?, "0", "the erasure did not wait for her message");
    kill_lock_holder(&stack, holder).await?;
    stack.database().until("SELECT count(*) FROM messages", "1").await?;
    assert_eq!(erasing.await??, 204);
    ensure_no_trace(&stack).await
}

#[tokio::test]
async fn stale_node_cannot_append_for_erased_user() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let (room, user) = (RoomLog::new(&stack, 10_000).await?, UserId::parse("mallory")?);
    let entry = |min_role| Entry {
        sender: Some(&user),
        min_role,
        ..Entry::new(&room.room, "member:removed", json!({"content": MARK}).to_string())
    };
    mallory(&stack).get("/me/rooms").await?.expect(200);
    assert_eq!(erase(&mallory(&stack)).await?, 204);
    for min_role in [MinRole::Anyone, MinRole::Guest, MinRole::Owner] {
        let refused = room.log.append(&entry(min_role)).await;
        ensure!(refused == Err(AppendError::Revoked), "{min_role:?}: {refused:?}");
    }
    ensure_no_trace(&stack).await?;
    // Only the removal of the erased user from a room may still be appended.
    room.wait_stored(&room.log.append(&entry(MinRole::Always)).await?).await;
    Ok(())
}

#[tokio::test]
async fn request_admitted_before_erasure_appends_nothing() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let room = stack.http("alice").new_room(&[]).await?;
    let body = json!({"client_id": "late", "content": MARK}).to_string();
    let url = stack.persistence(0).url();
    let address = url.strip_prefix("http://").context("a URL")?;
    let mut slow = TcpStream::connect(address).await?;
    let head = format!(
        "POST /v1/rooms/{room}/messages HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Authorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        token(&stack),
        body.len()
    );
    slow.write_all(head.as_bytes()).await?;
    slow.write_all(&body.as_bytes()[..1]).await?;
    // Mallory's account exists, so the request was admitted.
    stack.database().until("SELECT count(*) FROM users WHERE id = 'mallory'", "1").await?;
    assert_eq!(erase(&Http::new(&url, &token(&stack))).await?, 204);
    slow.write_all(&body.as_bytes()[1..]).await?;
    let mut answer = String::new();
    slow.read_to_string(&mut answer).await?;
    ensure!(answer.starts_with("HTTP/1.1 40"), "{answer}");
    ensure_no_trace(&stack).await
}

#[tokio::test]
async fn edited_text_leaves_redis_before_its_rows_are_cleared() -> Result<()> {
    let mut stack = Stack::builder().gateways(0).start().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&["mallory"]).await?;
    alice.put_member(&room, "mallory", "admin").await?.expect(200);
    alice.send(&room, "c", "of alice").await?.expect(201);
    let edit = json!({"content": format!("over alice {MARK}")});
    let seq = alice.messages(&room, "").await?.expect(200).body["messages"][0]["seq"].clone();
    let path = format!("/rooms/{room}/messages/{seq}");
    mallory(&stack).request("PATCH".parse()?, &path, Some(edit)).await?.expect(200);
    alice.remove_member(&room, "mallory").await?.expect(200);
    let is_in_a_tail = async |stack: &Stack| -> Result<bool> {
        Ok(find_traces(stack, MARK).await?.iter().any(|trace| trace.contains(":tail:")))
    };
    ensure!(is_in_a_tail(&stack).await?);

    let holder =
        start_lock_holder(&stack, &format!("SELECT FROM messages WHERE room_id = '{room}' FOR UPDATE"))
            .await?;
    let http = mallory(&stack);
    let erasing = tokio::spawn(async move { erase(&http).await });
    stack.database().until_blocked().await?;
    ensure!(!is_in_a_tail(&stack).await?, "the next replica could not know of this tail");
    stack.persistence(0).kill();
    ensure!(erasing.await?.is_err());
    kill_lock_holder(&stack, holder).await?;
    stack.add_persistence(Ports::free()?).await?;
    stack.database().until(COUNT_ERASED, "1").await?;
    ensure_no_trace(&stack).await
}

#[tokio::test]
async fn simultaneous_erasures_write_one_audit_entry() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let root = stack.http("root").with_token(&stack.admin_token("root"));
    root.put_user("bob", json!({})).await?.expect(200);
    let holder = start_lock_holder(&stack, "SELECT FROM users WHERE id = 'bob' FOR UPDATE").await?;
    let delete = || root.request(reqwest::Method::DELETE, "/users/bob", None);
    let release = async {
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
                       AND datname = current_database()";
        stack.database().until(waiting, "2").await?;
        kill_lock_holder(&stack, holder).await
    };
    let (one, other, released) = tokio::join!(delete(), delete(), release);
    released?;
    one?.expect(204);
    other?.expect(204);
    let entries = "SELECT count(*) FROM audit_log WHERE action = 'user.erase'";
    assert_eq!(stack.database().value(entries).await?, "1");
    Ok(())
}

#[tokio::test]
async fn failing_erasures_do_not_block_others() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let stuck = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''stuck''; END'; \
                 CREATE TRIGGER stuck BEFORE UPDATE ON users FOR EACH ROW \
                   WHEN (NEW.erased_at IS NOT NULL AND NEW.id LIKE 'stuck%') EXECUTE FUNCTION refuse(); \
                 INSERT INTO users (id, blocked, erasing_at) SELECT 'stuck' || n, true, now() \
                   FROM generate_series(10, 30) n UNION ALL SELECT 'zoe', true, now()";
    stack.database().query(stuck).await?;
    stack
        .database()
        .until("SELECT count(*) FROM users WHERE id = 'zoe' AND erased_at IS NOT NULL", "1")
        .await?;
    assert_eq!(
        stack
            .database()
            .value("SELECT count(*) FROM users WHERE erased_at IS NULL AND erasing_at IS NOT NULL")
            .await?,
        "21"
    );
    Ok(())
}

/// Changes reactions like a batch of the writer: locks the messages in order, adds a reaction to the first message and,
/// when another statement waits, removes the reactions of the second.
const REACTION_BATCH_SQL: &str = "\
    BEGIN; \
    SELECT FROM messages ORDER BY room_id, seq FOR NO KEY UPDATE; \
    INSERT INTO reactions (room_id, seq, emoji, user_id, at, event_seq) \
      SELECT room_id, min(seq), 'x', 'bob', now(), 99 FROM messages GROUP BY room_id; \
    SELECT pg_sleep(1); \
    DO $$ BEGIN FOR turn IN 1..300 LOOP \
      PERFORM pg_stat_clear_snapshot(), pg_sleep(0.1); \
      EXIT WHEN EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()); \
    END LOOP; END $$; \
    DELETE FROM reactions WHERE seq = (SELECT max(seq) FROM messages); \
    COMMIT";

#[tokio::test]
async fn erasure_of_reactions_and_a_batch_do_not_deadlock() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&["mallory"]).await?;
    for client_id in ["c1", "c2"] {
        let seq = alice.send(&room, client_id, "x").await?.expect(201).body["seq"].clone();
        let path = format!("/rooms/{room}/messages/{seq}/reactions/x");
        mallory(&stack).request("PUT".parse()?, &path, None).await?.expect(200);
    }
    let batch = Command::new("psql")
        .args([
            "--no-psqlrc",
            "--quiet",
            "--output=/dev/null",
            "--set=ON_ERROR_STOP=1",
            "--command",
            REACTION_BATCH_SQL,
        ])
        .arg(stack.database().url())
        .kill_on_drop(true)
        .spawn()?;
    stack.database().until_asleep().await?;
    assert_eq!(erase(&mallory(&stack)).await?, 204);
    let done = batch.wait_with_output().await?;
    ensure!(done.status.success(), "the batch was ended");
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    assert_eq!(stack.database().value(deadlocks).await?, "0");
    assert_eq!(
        stack.database().value("SELECT count(*) FROM reactions WHERE user_id = 'mallory'").await?,
        "0"
    );
    Ok(())
}
