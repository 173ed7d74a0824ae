//! Free TCP ports on 127.0.0.1. They are below the kernel's ephemeral range, so no outgoing connection of another test
//! takes a port before its server uses it. Each process begins its search at another port.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

const FIRST_PORT: u32 = 10_000;
const PORT_COUNT: u32 = 22_000;

static NEXT_OFFSET: AtomicU32 = AtomicU32::new(0);

/// A port on which nobody listens now. It may still be taken before the caller uses it.
///
/// # Errors
/// When no port of the range is free.
pub fn free() -> anyhow::Result<u16> {
    let start = std::process::id().wrapping_mul(7919);
    for _ in 0..PORT_COUNT {
        let port = FIRST_PORT + start.wrapping_add(NEXT_OFFSET.fetch_add(1, Ordering::Relaxed)) % PORT_COUNT;
        let port = u16::try_from(port)?;
        if is_free(port) {
            return Ok(port);
        }
    }
    anyhow::bail!("no free port between {FIRST_PORT} and {}", FIRST_PORT + PORT_COUNT)
}

/// Whether this port of 127.0.0.1 is free now.
pub fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
