//! Searches all data of a stack, in PostgreSQL and in Redis, for text that must not be there.

use anyhow::Result;
use redis::{Value, aio::MultiplexedConnection};
use tidings_harness::Stack;

/// All rows of tables and all keys of Redis that contain `mark`, ignoring case.
pub async fn find_traces(stack: &Stack, mark: &str) -> Result<Vec<String>> {
    let mark = mark.to_lowercase();
    let mut found = Vec::new();
    for (place, text) in table_rows(stack).await?.into_iter().chain(key_values(stack).await?) {
        if text.to_lowercase().contains(&mark) {
            found.push(format!("{place}: {text}"));
        }
    }
    Ok(found)
}

/// Each row of each table, with bytes as text.
async fn table_rows(stack: &Stack) -> Result<Vec<(String, String)>> {
    let database = stack.database();
    let tables =
        database.query("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1").await?;
    let mut rows = Vec::new();
    for table in tables.into_iter().flatten() {
        let bytes = if table == "dead_letters" { " || encode(t.record, 'escape')" } else { "" };
        for row in database.query(&format!("SELECT t::text{bytes} FROM {table} t")).await? {
            rows.push((table.clone(), row.concat()));
        }
    }
    Ok(rows)
}

async fn key_values(stack: &Stack) -> Result<Vec<(String, String)>> {
    let mut held = Vec::new();
    for node in stack.shards().nodes() {
        let client = redis::Client::open(node.url())?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        let names: Vec<Vec<u8>> = redis::cmd("KEYS").arg("*").query_async(&mut connection).await?;
        for name in names {
            let text = value_text(&mut connection, &name).await?;
            held.push((format!("redis {}", String::from_utf8_lossy(&name)), text));
        }
    }
    Ok(held)
}

async fn value_text(connection: &mut MultiplexedConnection, key: &[u8]) -> Result<String> {
    let kind: String = redis::cmd("TYPE").arg(key).query_async(connection).await?;
    let mut command = match kind.as_str() {
        "string" => redis::cmd("GET"),
        "hash" => redis::cmd("HGETALL"),
        "list" => redis::cmd("LRANGE"),
        "set" => redis::cmd("SMEMBERS"),
        "zset" => redis::cmd("ZRANGE"),
        "stream" => redis::cmd("XRANGE"),
        // The key was deleted after `KEYS`.
        "none" => return Ok(String::new()),
        other => anyhow::bail!("a key of the type {other}"),
    };
    command.arg(key);
    match kind.as_str() {
        "list" | "zset" => command.arg(0).arg(-1),
        "stream" => command.arg("-").arg("+"),
        _ => &mut command,
    };
    let value: Value = command.query_async(connection).await?;
    let mut text = String::new();
    flatten(&value, &mut text);
    Ok(text)
}

fn flatten(value: &Value, text: &mut String) {
    match value {
        Value::BulkString(bytes) => text.push_str(&String::from_utf8_lossy(bytes)),
        Value::SimpleString(simple) => text.push_str(simple),
        Value::Array(values) | Value::Set(values) => values.iter().for_each(|value| flatten(value, text)),
        Value::Map(pairs) => pairs.iter().for_each(|(key, value)| {
            flatten(key, text);
            flatten(value, text);
        }),
        _ => {}
    }
    text.push(' ');
}
