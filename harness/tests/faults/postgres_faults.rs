//! PostgreSQL is reachable but unusable: read-only, disk full, no free connection, or tables locked. The services
//! recover from each fault without help, nothing is lost or becomes a dead letter, and meanwhile requests are
//! `unavailable`.

use std::time::{Duration, Instant};

use crate::room_log::{RoomLog, WAIT_TIMEOUT, hold, metric};
use anyhow::{Result, ensure};
use serde_json::json;
use tidings_harness::{Stack, http};
use tokio::process::{Child, Command};

const MAX_BACKLOG_RECORDS: u64 = 10_000;

/// Appends messages without waiting until they are stored.
async fn append_messages(room: &RoomLog, names: std::ops::RangeInclusive<u32>) -> Result<()> {
    for name in names {
        room.append(&format!("m{name}")).await?;
    }
    Ok(())
}

/// Checks that all messages are stored once and in order, and that the writer made no dead letter, void or hole, and
/// did not report a stuck batch.
async fn ensure_recovered(stack: &Stack, room: &RoomLog, count: u32) -> Result<()> {
    room.until_head(stack, count as usize).await?;
    let expected: Vec<String> = (1..=count).map(|n| format!("m{n}")).collect();
    ensure!(room.message_texts(stack).await? == expected);
    ensure!(stack.database().value("SELECT count(*) FROM dead_letters").await? == "0");
    ensure!(metric(stack, 0, "tidings_persistence_voids_total").await? == 0.0);
    ensure!(metric(stack, 0, "tidings_persistence_holes_total").await? == 0.0);
    let log = stack.persistence(0).log()?;
    ensure!(!log.contains("neither be written nor put aside") && !log.contains("panicked"), "{log}");
    Ok(())
}

/// Waits until the writer has tried again this many times.
async fn until_writer_retries(stack: &Stack, retries: f64) -> Result<()> {
    let begun = Instant::now();
    while metric(stack, 0, r#"tidings_persistence_retries_total{cause="away"}"#).await.unwrap_or(0.0)
        < retries
    {
        // An attempt without a free connection takes some seconds.
        ensure!(begun.elapsed() < 3 * WAIT_TIMEOUT, "the writer does not retry");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

#[tokio::test]
async fn read_only_postgres_serves_history_and_delays_writes() -> Result<()> {
    // The lease outlasts the fault, so the writer itself must detect the fault.
    let builder = Stack::builder().gateways(0).own_postgres().persistence_env("TIDINGS_LEASE_MS", 60_000);
    let stack = builder.start().await?;
    let room = RoomLog::new(&stack, MAX_BACKLOG_RECORDS).await?;
    room.send("m1").await?;
    let set = |value: &str| format!("ALTER SYSTEM SET default_transaction_read_only = {value}");
    let (reload, alice) = ("SELECT pg_reload_conf()", stack.http("alice"));
    stack.database().query(&set("on")).await?;
    stack.database().query(reload).await?;
    while stack.database().value("SHOW default_transaction_read_only").await? != "on" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    append_messages(&room, 2..=40).await?;
    until_writer_retries(&stack, 5.0).await?;
    alice.messages(room.room.as_str(), "").await?.expect(200);
    let made = alice.create_room("private", &["bob"]).await?.expect(503);
    ensure!((made.code(), &made.body["retry_after_ms"]) == ("unavailable", &json!(1000)), "{made:?}");
    ensure!(room.message_texts(&stack).await? == ["m1"]);
    stack.database().query(&set("off")).await?;
    stack.database().query(reload).await?;
    ensure_recovered(&stack, &room, 40).await?;
    alice.new_room(&["bob"]).await?;
    Ok(())
}

/// An address may lead to a replica for a moment and then to the new primary. Connections made in between must be
/// replaced.
#[tokio::test]
async fn read_only_connections_are_replaced_when_writes_return() -> Result<()> {
    let builder = Stack::builder().gateways(0).own_postgres().persistence_env("TIDINGS_LEASE_MS", 60_000);
    let stack = builder.start().await?;
    let room = RoomLog::new(&stack, MAX_BACKLOG_RECORDS).await?;
    room.send("m1").await?;
    let database = stack.database();
    let set = |to: &str| {
        format!("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I {to}', current_database()); END $$")
    };
    let hang_up = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                   WHERE datname = current_database() AND pid <> pg_backend_pid()";
    database.query(&format!("{}; {hang_up}", set("SET default_transaction_read_only = on"))).await?;
    append_messages(&room, 2..=40).await?;
    until_writer_retries(&stack, 5.0).await?;
    database
        .query(&format!("SET TRANSACTION READ WRITE; {}", set("RESET default_transaction_read_only")))
        .await?;
    ensure_recovered(&stack, &room, 40).await?;
    stack.http("alice").new_room(&["bob"]).await?;
    Ok(())
}

#[tokio::test]
async fn writer_waits_for_full_disk() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let room = RoomLog::new(&stack, MAX_BACKLOG_RECORDS).await?;
    room.send("m1").await?;
    let full = "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS \
                  $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$; \
                CREATE TRIGGER full_disk BEFORE INSERT ON messages FOR EACH STATEMENT EXECUTE FUNCTION full_disk()";
    stack.database().query(full).await?;
    append_messages(&room, 2..=40).await?;
    until_writer_retries(&stack, 5.0).await?;
    ensure!(room.message_texts(&stack).await? == ["m1"]);
    stack.database().query("DROP TRIGGER full_disk ON messages").await?;
    ensure_recovered(&stack, &room, 40).await
}

/// Opens connections until the server has none left. PostgreSQL frees each one soon after its client is dropped,
/// because the sleeping backend checks whether its client is still there.
async fn take_all_connections(stack: &Stack) -> Result<Vec<Child>> {
    let mut taken: Vec<Child> = Vec::new();
    let begun = Instant::now();
    loop {
        taken.retain_mut(|child| child.try_wait().is_ok_and(|ended| ended.is_none()));
        for _ in 0..8 {
            let mut psql = Command::new("psql");
            psql.args(["--no-psqlrc", "--quiet", "--output=/dev/null", "--command", "SELECT pg_sleep(600)"]);
            psql.env("PGOPTIONS", "-c client_connection_check_interval=200");
            psql.arg(stack.database().url()).stderr(std::process::Stdio::null()).kill_on_drop(true);
            taken.push(psql.spawn()?);
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        if stack.database().query("SELECT 1").await.is_err_and(|error| error.to_string().contains("too many"))
        {
            return Ok(taken);
        }
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "the server always has free connections");
    }
}

#[tokio::test]
async fn writer_waits_for_exhausted_connections() -> Result<()> {
    let stack = Stack::builder().gateways(0).own_postgres().start().await?;
    let database = stack.database();
    // Persistence opens at most 39 connections. The rest let the test query the database afterwards.
    database.query("ALTER SYSTEM SET max_connections = 45").await?;
    database.server().restart().await?;
    stack.persistence(0).restart().await?;
    let room = RoomLog::new(&stack, MAX_BACKLOG_RECORDS).await?;
    room.send("m1").await?;
    // A back end, because other users have few reads at a time.
    let alice = stack.http("alice").with_token(&stack.admin_token("alice"));
    let node = stack.persistence(0);
    node.pause()?;
    let ours =
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'tidings%'";
    database.query(ours).await?;
    let taken = take_all_connections(&stack).await?;
    node.resume()?;
    append_messages(&room, 2..=40).await?;
    let asked = (0..50).map(|_| alice.messages(room.room.as_str(), ""));
    for answer in futures_util::future::try_join_all(asked).await? {
        ensure!((answer.status, answer.code()) == (503, "unavailable"), "{answer:?}");
    }
    // Without its lease, which ends during the fault, the writer does not try again.
    until_writer_retries(&stack, 2.0).await?;
    let ready = http::client().get(format!("{}/readyz", node.admin())).send().await?;
    ensure!(ready.status() == 503 && ready.text().await?.contains("database"));
    drop(taken);
    node.until_ready().await?;
    ensure_recovered(&stack, &room, 40).await?;
    alice.messages(room.room.as_str(), "").await?.expect(200);
    Ok(())
}

/// Locks a table for longer than the statement timeout, and checks the answers of history meanwhile.
async fn run_with_locked_table(table: &str, history: &[(u16, &str)]) -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let room = RoomLog::new(&stack, MAX_BACKLOG_RECORDS).await?;
    room.send("m1").await?;
    let held = hold(&stack, &format!("LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"), 12.0).await?;
    append_messages(&room, 2..=40).await?;
    // A back end, because other users have few reads at a time.
    let alice = stack.http("alice").with_token(&stack.admin_token("alice"));
    let asked = (0..50).map(|_| alice.messages(room.room.as_str(), ""));
    for answer in futures_util::future::try_join_all(asked).await? {
        ensure!(history.contains(&(answer.status, answer.code())), "{answer:?}");
    }
    held.await?;
    ensure_recovered(&stack, &room, 40).await?;
    alice.messages(room.room.as_str(), "").await?.expect(200);
    Ok(())
}

#[tokio::test]
async fn locked_messages_make_history_unavailable_and_delay_writes() -> Result<()> {
    run_with_locked_table("messages", &[(503, "unavailable")]).await
}

#[tokio::test]
async fn locked_partitions_keep_history_readable_and_delay_writes() -> Result<()> {
    run_with_locked_table("partitions", &[(200, "")]).await
}
