//! The memory of a process as the kernel reports it.

use anyhow::{Context, Result};

/// Resident bytes of a process, including shared memory and pages of the program.
///
/// # Errors
/// When it has ended.
pub fn resident(pid: u32) -> Result<u64> {
    field(pid, "VmRSS:")
}

/// Resident bytes of a process that no file backs: heap and stacks, without pages of the program.
///
/// # Errors
/// When it has ended.
pub fn anonymous(pid: u32) -> Result<u64> {
    field(pid, "RssAnon:")
}

fn field(pid: u32, name: &str) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))
        .with_context(|| format!("process {pid} has ended"))?;
    let line =
        status.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}
