//! The reader of a program's standard output may close it before the program ends, as `head` does.

use crate::base;
use std::process::{Command, Output, Stdio};

use anyhow::{Result, ensure};
use tidings_harness::folder::Folder;

fn run_with_closed_stdout(folder: &Folder, arguments: &[&str]) -> Result<Output> {
    let (reader, writer) = std::io::pipe()?;
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidings-dev"));
    command.arg("--folder").arg(folder.path().join(".dev")).args(arguments);
    command.env_remove("REDIS_URL").env_remove("DATABASE_URL");
    Ok(command.stdout(writer).stderr(Stdio::piped()).output()?)
}

fn ensure_success_without_errors(output: &Output) -> Result<()> {
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && errors.is_empty(), "{}: {errors}", output.status);
    Ok(())
}

#[test]
fn dev_program_completes_when_stdout_is_closed() -> Result<()> {
    let folder = Folder::new()?;
    let base = base::free_base().to_string();
    let mut outcome = run_with_closed_stdout(&folder, &["up", "--detach", "--port", &base])
        .and_then(|output| ensure_success_without_errors(&output));
    for arguments in [&["status"][..], &["status", "--json"], &["token", "ann"]] {
        outcome = outcome
            .and_then(|()| ensure_success_without_errors(&run_with_closed_stdout(&folder, arguments)?));
    }
    let state = std::fs::read_to_string(folder.path().join(".dev/state.json")).unwrap_or_default();
    let down = run_with_closed_stdout(&folder, &["down"]);
    outcome?;
    ensure_success_without_errors(&down?)?;
    // `down` stopped all processes, although nobody read its output.
    let left: Vec<u32> = pids(&serde_json::from_str(&state)?);
    ensure!(left.len() >= 4, "the state lists too few processes: {state}");
    for pid in left {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        ensure!(line.is_empty(), "{pid} still runs: {}", String::from_utf8_lossy(&line));
    }
    Ok(())
}

/// All values of fields called `pid`, at any depth.
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
