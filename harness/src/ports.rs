//! Free TCP ports on 127.0.0.1, below the kernel's ephemeral range, so that no outgoing connection of another test
//! takes a port between its choice and its use. Each process starts at another port.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

const FIRST: u32 = 10_000;
const COUNT: u32 = 22_000;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A port on which nobody listens now. It may still be taken before the caller uses it.
///
/// # Errors
/// When no port of the range is free.
pub fn free() -> anyhow::Result<u16> {
    let start = std::process::id().wrapping_mul(7919);
    for _ in 0..COUNT {
        let port = FIRST + start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let port = u16::try_from(port)?;
        if is_free(port) {
            return Ok(port);
        }
    }
    anyhow::bail!("no free port between {FIRST} and {}", FIRST + COUNT)
}

/// Whether this port of 127.0.0.1 is free now.
pub fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
