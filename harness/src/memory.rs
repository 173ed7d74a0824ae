//! The memory of a process as the kernel reports it.

use anyhow::{Context, Result};

/// Resident memory of a process in bytes, including shared memory and pages of the program.
pub fn resident(pid: u32) -> Result<u64> {
    status_field_bytes(pid, "VmRSS:")
}

/// The largest resident memory that a process has had, in bytes.
pub fn peak(pid: u32) -> Result<u64> {
    status_field_bytes(pid, "VmHWM:")
}

/// Anonymous resident memory of a process in bytes: heap and stacks, without pages of the program or of other files.
pub fn anonymous(pid: u32) -> Result<u64> {
    status_field_bytes(pid, "RssAnon:")
}

/// A field of `/proc/PID/status`, in bytes.
fn status_field_bytes(pid: u32, name: &str) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))
        .with_context(|| format!("process {pid} has ended"))?;
    let line =
        status.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}
