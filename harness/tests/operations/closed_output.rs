//! Whoever reads a program's standard output may go away before it ends, as `head` does.

use crate::base;
use std::process::{Command, Output, Stdio};

use anyhow::{Result, ensure};
use tidings_harness::folder::Folder;

/// Runs `tidings-dev`, with nobody at the other end of its standard output.
fn unread(folder: &Folder, arguments: &[&str]) -> Result<Output> {
    let (reader, writer) = std::io::pipe()?;
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidings-dev"));
    command.arg("--folder").arg(folder.path().join(".dev")).args(arguments);
    command.env_remove("REDIS_URL").env_remove("DATABASE_URL");
    Ok(command.stdout(writer).stderr(Stdio::piped()).output()?)
}

fn quiet(output: &Output) -> Result<()> {
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && told.is_empty(), "{}: {told}", output.status);
    Ok(())
}

#[test]
fn with_nobody_reading_what_it_prints_the_developers_program_does_its_work_to_the_end() -> Result<()> {
    let folder = Folder::new()?;
    let base = base::free_base().to_string();
    let mut outcome = unread(&folder, &["up", "--detach", "--port", &base]).and_then(|output| quiet(&output));
    for arguments in [&["status"][..], &["status", "--json"], &["token", "ann"]] {
        outcome = outcome.and_then(|()| quiet(&unread(&folder, arguments)?));
    }
    let state = std::fs::read_to_string(folder.path().join(".dev/state.json")).unwrap_or_default();
    let down = unread(&folder, &["down"]);
    outcome?;
    quiet(&down?)?;
    // It came to the last of what it stops, and not only to the first line.
    let left: Vec<u32> = pids(&serde_json::from_str(&state)?);
    ensure!(left.len() >= 4, "it told of no processes: {state}");
    for pid in left {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        ensure!(line.is_empty(), "{pid} goes on: {}", String::from_utf8_lossy(&line));
    }
    Ok(())
}

/// All that is called `pid`, however deep.
fn pids(state: &serde_json::Value) -> Vec<u32> {
    match state {
        serde_json::Value::Object(fields) => {
            let own = fields.get("pid").and_then(serde_json::Value::as_u64);
            let own = own.and_then(|pid| pid.try_into().ok());
            own.into_iter().chain(fields.values().flat_map(pids)).collect()
        }
        serde_json::Value::Array(all) => all.iter().flat_map(pids).collect(),
        _ => Vec::new(),
    }
}
