//! Runs `tidings-persistence dead-letter` as operators do, and makes dead letters for it.

use std::process::Output;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tidings_harness::{Stack, node};

/// Makes PostgreSQL refuse messages that contain `tea`.
pub async fn refuse_tea(stack: &Stack) -> Result<()> {
    let sql = "ALTER TABLE messages ADD CONSTRAINT no_tea CHECK (content NOT LIKE '%tea%')";
    stack.database().query(sql).await.map(drop)
}

pub async fn allow_tea(stack: &Stack) -> Result<()> {
    stack.database().query("ALTER TABLE messages DROP CONSTRAINT no_tea").await.map(drop)
}

pub async fn run_dead_letter_command(stack: &Stack, arguments: &[&str]) -> Result<Output> {
    let mut command = tokio::process::Command::new(node::program("tidings-persistence")?);
    command.arg("dead-letter").args(arguments);
    command.args(["--database-url", stack.database().url(), "--redis-url", &stack.shards().services_url()]);
    Ok(command.output().await?)
}

/// Runs a command that must succeed; returns its output.
pub async fn run_successfully(stack: &Stack, arguments: &[&str]) -> Result<String> {
    let output = run_dead_letter_command(stack, arguments).await?;
    ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// Runs a command that must fail; returns its error output.
pub async fn run_expecting_failure(stack: &Stack, arguments: &[&str]) -> Result<String> {
    let output = run_dead_letter_command(stack, arguments).await?;
    ensure!(!output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
    Ok(String::from_utf8(output.stderr)?)
}

/// Lists the dead letters that the arguments select; without arguments, all of them.
pub async fn list_letters(stack: &Stack, arguments: &[&str]) -> Result<Vec<Value>> {
    let printed = run_successfully(stack, &[&["list", "--json"], arguments].concat()).await?;
    printed.lines().map(|line| serde_json::from_str(line).context("a line is not JSON")).collect()
}

/// The id of the only dead letter.
pub async fn only_letter_id(stack: &Stack) -> Result<String> {
    let letters = list_letters(stack, &[]).await?;
    ensure!(letters.len() == 1, "{letters:?}");
    Ok(letters[0]["id"].to_string())
}

/// Inserts a dead letter whose record has these header fields after the time, and this JSON; returns its id.
pub async fn insert_letter(stack: &Stack, room: &str, header: &[&str], json: &str) -> Result<String> {
    let record = format!("1\u{1f}1\u{1f}1\u{1f}1\u{1f}{}\n{json}", header.join("\u{1f}"));
    let hex: String = record.bytes().map(|byte| format!("{byte:02x}")).collect();
    let sql = format!(
        "INSERT INTO dead_letters (room_id, seq, partition, epoch, ingest_id, record, reason) \
         VALUES ('{room}', 1, 0, 1, gen_random_uuid()::text, decode('{hex}', 'hex'), 'put there') RETURNING id"
    );
    stack.database().value(&sql).await
}

/// Inserts a dead letter with a message of this sender; returns its id.
pub async fn insert_message_letter(stack: &Stack, room: &str, sender: &str) -> Result<String> {
    let id = uuid::Uuid::now_v7().to_string();
    let json = format!(
        r#"{{"id":"{id}","client_id":"c","sender":{{"id":"{sender}"}},"kind":"text","content":"put"}}"#
    );
    insert_letter(stack, room, &[room, "message:new", sender, "c", &id, "", "", ""], &json).await
}
