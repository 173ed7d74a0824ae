//! Free TCP ports on 127.0.0.1. They are below the kernel's ephemeral range, so no outgoing connection of another test
//! takes a port before its server uses it. A port belongs to the process that asked for it until this process ends:
//! no other process gets it while its server restarts. Each process begins its search at another port.

use std::fs::{self, File, TryLockError};
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};

use nix::unistd::Uid;

const PORTS: Range<u16> = 12_000..20_000;

static NEXT_OFFSET: AtomicU16 = AtomicU16::new(0);

/// The locked files of this process's ports. The kernel releases the locks when the process ends.
static LOCKS: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// A port on which nobody listens now, and which no other call of this function gets while this process runs.
///
/// # Errors
/// When no port is free, or the folder of locks cannot be written.
pub fn free() -> anyhow::Result<u16> {
    let folder = lock_folder();
    fs::create_dir_all(&folder)?;
    let count = u32::try_from(PORTS.len())?;
    let start = std::process::id().wrapping_mul(7919);
    for _ in PORTS {
        let offset = start.wrapping_add(NEXT_OFFSET.fetch_add(1, Ordering::Relaxed).into()) % count;
        let port = PORTS.start + u16::try_from(offset)?;
        let Some(lock) = lock(&folder, port)? else { continue };
        if is_free(port) {
            LOCKS.lock().expect("no holder panics").push(lock);
            return Ok(port);
        }
    }
    anyhow::bail!("no free port between {} and {}", PORTS.start, PORTS.end)
}

/// Whether this port of 127.0.0.1 is free now.
pub fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// The folder of the locks of one user's processes.
fn lock_folder() -> PathBuf {
    std::env::temp_dir().join(format!("tidings-ports-{}", Uid::effective()))
}

/// The locked file of a port; None if somebody holds its lock.
fn lock(folder: &Path, port: u16) -> anyhow::Result<Option<File>> {
    let file = File::options().create(true).append(true).open(folder.join(port.to_string()))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_is_not_given_twice_while_nobody_listens() -> anyhow::Result<()> {
        let port = free()?;
        assert!(is_free(port));
        assert!(lock(&lock_folder(), port)?.is_none(), "the lock of port {port} is free");
        NEXT_OFFSET.fetch_sub(1, Ordering::Relaxed);
        assert_ne!(free()?, port);
        Ok(())
    }
}
