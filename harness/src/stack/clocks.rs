//! Prepares the clocks of a stack's processes. Must run before any of the processes starts.

use std::path::Path;

use anyhow::Result;

use crate::wall_clock::WallClock;

pub(super) fn prepare(folder: &Path, gateways: usize, persistence: usize) -> Result<()> {
    let numbered = |name: &'static str, count| (0..count).map(move |number| format!("{name}-{number}"));
    let nodes = numbered("gateway", gateways).chain(numbered("persistence", persistence));
    let servers = ["redis", "postgres"].map(str::to_owned);
    nodes.chain(servers).try_for_each(|name| WallClock::of(folder, &name).prepare())
}
