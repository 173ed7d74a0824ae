//! Import files, and `tidings-persistence import` on them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Output;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tidings_harness::{Stack, node};

pub async fn start_stack() -> Result<Stack> {
    Stack::builder().gateways(0).start().await
}

/// Writes a file with one line for each value.
pub fn write_lines(folder: &Path, name: &str, lines: impl IntoIterator<Item = Value>) -> Result<PathBuf> {
    let path = folder.join(name);
    let mut file = std::io::BufWriter::new(std::fs::File::create(&path)?);
    for line in lines {
        match line {
            Value::String(raw) => writeln!(file, "{raw}")?,
            line => writeln!(file, "{line}")?,
        }
    }
    file.flush()?;
    Ok(path)
}

pub async fn run_import(stack: &Stack, path: &PathBuf, arguments: &[&str]) -> Result<Output> {
    let mut command = tokio::process::Command::new(node::program("tidings-persistence")?);
    command.arg("import").arg(path).args(arguments);
    command.args(["--database-url", stack.database().url(), "--redis-url", &stack.shards().services_url()]);
    Ok(command.output().await?)
}

/// Runs an import that must succeed; returns the last line that it printed.
pub async fn import(stack: &Stack, path: &PathBuf, arguments: &[&str]) -> Result<String> {
    let output = run_import(stack, path, arguments).await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout)?;
    Ok(printed.lines().last().unwrap_or_default().to_owned())
}

pub fn message_line(room: &str, id: u32, sender: &str) -> Value {
    json!({"type": "message", "room": room, "id": id, "sender": sender, "at": "2019-05-06T07:08:09Z", "content": format!("words {id}")})
}
