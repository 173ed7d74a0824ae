//! Free TCP ports on 127.0.0.1. They are below the kernel's ephemeral range, so no outgoing connection of another test
//! takes a port before its server uses it. Each process begins its search at another port.

use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::sync::atomic::{AtomicU16, Ordering};

const PORTS: Range<u16> = 12_000..20_000;
/// A range separate from [`PORTS`], so that none of our programs takes the port of a server while it restarts.
const RESTART_PORTS: Range<u16> = 22_000..30_000;

static NEXT_OFFSET: AtomicU16 = AtomicU16::new(0);

/// A port on which nobody listens now. It may still be taken before the caller uses it.
///
/// # Errors
/// When no port of the range is free.
pub fn free() -> anyhow::Result<u16> {
    free_of(&PORTS)
}

/// Like [`free`], but for a server that restarts on the same port.
pub fn free_for_restart() -> anyhow::Result<u16> {
    free_of(&RESTART_PORTS)
}

fn free_of(ports: &Range<u16>) -> anyhow::Result<u16> {
    let count = u32::try_from(ports.len())?;
    let start = std::process::id().wrapping_mul(7919);
    for _ in ports.clone() {
        let offset = start.wrapping_add(NEXT_OFFSET.fetch_add(1, Ordering::Relaxed).into()) % count;
        let port = ports.start + u16::try_from(offset)?;
        if is_free(port) {
            return Ok(port);
        }
    }
    anyhow::bail!("no free port between {} and {}", ports.start, ports.end)
}

/// Whether this port of 127.0.0.1 is free now.
pub fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
