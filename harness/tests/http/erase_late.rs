//! `DELETE /me` while something of theirs is still on its way, and while something stands in its own way.

use crate::marked;
use std::time::Duration;

use crate::marked::{MARK, erase, mallory};
use crate::room_log::RoomLog;
use crate::traces::traces;
use anyhow::{Context, Result, ensure};
use serde_json::json;
use tidings_harness::{Client, Http, Ports, Stack, Token};
use tidings_shared::ids::UserId;
use tidings_shared::log::{AppendError, Entry, Minimum};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// Mallory may act in any room.
fn token(stack: &Stack) -> String {
    Token::of("mallory").name(&format!("Mallory {MARK}")).scope("tidings.admin").sign(stack.jwt_secret())
}

async fn nothing_is_left(stack: &Stack) -> Result<()> {
    let left = traces(stack, MARK).await?;
    ensure!(left.is_empty(), "left behind:\n{}", left.join("\n"));
    Ok(())
}

/// Holds locks until it is killed.
async fn hold(stack: &Stack, locks: &str) -> Result<Child> {
    let sql = format!("BEGIN; {locks}; SELECT pg_sleep(60)");
    let holder = Command::new("psql")
        .args(["--no-psqlrc", "--quiet", "--output=/dev/null", "--command", &sql, stack.database().url()])
        .kill_on_drop(true)
        .spawn()?;
    stack.database().until_asleep().await?;
    Ok(holder)
}

async fn let_go(stack: &Stack, mut holder: Child) -> Result<()> {
    holder.kill().await?;
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' \
               AND pid <> pg_backend_pid() AND datname = current_database()";
    stack.database().query(end).await.map(drop)
}

const ERASED: &str = "SELECT count(*) FROM users WHERE id = 'mallory' AND erased_at IS NOT NULL";

#[tokio::test]
async fn what_was_accepted_in_a_room_of_others_is_waited_for_and_goes_too() -> Result<()> {
    let stack = Stack::start().await?;
    let room = stack.http("alice").new_room(&[]).await?;
    let socket = Client::connect(&stack.gateway(0).ws(), &token(&stack)).await?;
    let holder = hold(&stack, "LOCK TABLE messages IN SHARE MODE").await?;
    socket.send_with(json!({"room": room, "client_id": "c", "content": MARK, "ack": "accepted"})).await?;
    let http = Http::new(&stack.persistence(0).url(), &token(&stack));
    let erasing = tokio::spawn(async move { erase(&http).await });
    // Time enough for one that does not wait.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(stack.database().value(ERASED).await?, "0", "a text of hers is not stored yet");
    let_go(&stack, holder).await?;
    stack.database().until("SELECT count(*) FROM messages", "1").await?;
    assert_eq!(erasing.await??, 204);
    marked::until_indexed(&stack).await?;
    nothing_is_left(&stack).await
}

#[tokio::test]
async fn a_node_that_does_not_know_of_it_yet_appends_nothing_of_theirs() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let (room, user) = (RoomLog::new(&stack, 10_000).await?, UserId::parse("mallory")?);
    let entry = |minimum| Entry {
        sender: Some(&user),
        minimum,
        ..Entry::new(&room.room, "member:removed", json!({"content": MARK}).to_string())
    };
    mallory(&stack).get("/me/rooms").await?.expect(200);
    assert_eq!(erase(&mallory(&stack)).await?, 204);
    for minimum in [Minimum::Anyone, Minimum::Guest, Minimum::Owner] {
        let refused = room.log.append(&entry(minimum)).await;
        ensure!(refused == Err(AppendError::Revoked), "{minimum:?}: {refused:?}");
    }
    nothing_is_left(&stack).await?;
    // But that they leave a room where somebody put them all the same.
    room.stored(&room.log.append(&entry(Minimum::Always)).await?).await;
    Ok(())
}

#[tokio::test]
async fn a_request_that_was_let_in_before_appends_nothing_afterwards() -> Result<()> {
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
    // She is known: so she was let in.
    stack.database().until("SELECT count(*) FROM users WHERE id = 'mallory'", "1").await?;
    assert_eq!(erase(&Http::new(&url, &token(&stack))).await?, 204);
    slow.write_all(&body.as_bytes()[1..]).await?;
    let mut answer = String::new();
    slow.read_to_string(&mut answer).await?;
    ensure!(answer.starts_with("HTTP/1.1 40"), "{answer}");
    nothing_is_left(&stack).await
}

#[tokio::test]
async fn what_was_only_edited_is_out_of_redis_before_the_tables_forget_where_it_was() -> Result<()> {
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
    let in_a_tail = async |stack: &Stack| -> Result<bool> {
        Ok(traces(stack, MARK).await?.iter().any(|trace| trace.contains(":tail:")))
    };
    ensure!(in_a_tail(&stack).await?);

    let holder = hold(&stack, &format!("SELECT FROM messages WHERE room_id = '{room}' FOR UPDATE")).await?;
    let http = mallory(&stack);
    let erasing = tokio::spawn(async move { erase(&http).await });
    stack.database().until_blocked().await?;
    ensure!(!in_a_tail(&stack).await?, "whoever goes on could not know of this tail");
    stack.persistence(0).kill();
    ensure!(erasing.await?.is_err());
    let_go(&stack, holder).await?;
    stack.add_persistence(Ports::free()?).await?;
    stack.database().until(ERASED, "1").await?;
    marked::until_indexed(&stack).await?;
    nothing_is_left(&stack).await
}

#[tokio::test]
async fn erasures_that_fail_again_and_again_do_not_keep_others_from_their_turn() -> Result<()> {
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
