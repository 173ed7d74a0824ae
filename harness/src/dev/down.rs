//! `./dev down` and `./dev reset`: nodes drain, servers write their data and stop. Then `reset` deletes the data.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::Signal;

use super::Home;
use super::companions;
use super::demo;
use super::detached::{Detached, stop_processes};
use super::state::State;
use crate::say;

const NODE_TIMEOUT: Duration = Duration::from_secs(40);
const SERVER_TIMEOUT: Duration = Duration::from_secs(60);

/// `reset` does not delete these files: downloaded tools, and its own lock.
const KEPT_ENTRIES: [&str; 2] = ["tools", "lock"];

/// Stops everything that `./dev` started. Keeps ports, numbers of nodes, secrets and data.
pub async fn down(home: &Home) -> Result<()> {
    let _lock = home.lock()?;
    stop_all(home).await
}

/// Like [`down`], but also deletes the data of the private servers.
///
/// # Errors
/// When the state cannot be read, or the folder cannot be emptied.
pub async fn reset(home: &Home) -> Result<()> {
    let _lock = home.lock()?;
    stop_all(home).await?;
    for entry in fs::read_dir(&home.0)? {
        let entry = entry?;
        if KEPT_ENTRIES.iter().any(|kept| entry.file_name() == *kept) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    say!("wiped {}", home.0.display());
    Ok(())
}

async fn stop_all(home: &Home) -> Result<()> {
    let mut state = State::load(home)?;
    let counts = (state.gateways.len(), state.persistence.len());
    if demo::stop(&mut state).await {
        say!("demo         stopped");
    }
    companions::stop(&mut state, &BTreeSet::new()).await;
    stop_nodes(&mut state, 0, 0).await;
    // The next `up` starts the same numbers of nodes.
    state.gateways.resize_with(counts.0, Default::default);
    state.persistence.resize_with(counts.1, Default::default);
    stop_redis(state.redis_cluster.take_running()).await;
    // SIGINT is PostgreSQL's fast shutdown: it closes connections instead of waiting for them.
    for (name, server, signal) in
        [("redis", &mut state.redis, Signal::SIGTERM), ("postgres", &mut state.postgres, Signal::SIGINT)]
    {
        if let Some(running) = server.running.take() {
            stop_processes(&[(name, running)], signal, SERVER_TIMEOUT).await;
        }
    }
    if home.state_file().exists() {
        state.save(home)?;
    }
    Ok(())
}

/// Stops all nodes but the first `gateways` gateways and the first `persistence` persistence nodes. Gateways stop
/// first.
pub(super) async fn stop_nodes(state: &mut State, gateways: usize, persistence: usize) {
    for (name, nodes, keep) in
        [("gateway", &mut state.gateways, gateways), ("persistence", &mut state.persistence, persistence)]
    {
        let surplus = nodes.drain(keep.min(nodes.len())..);
        let running: Vec<_> = surplus.filter_map(|node| Some((name, node.running?))).collect();
        stop_processes(&running, Signal::SIGTERM, NODE_TIMEOUT).await;
    }
}

/// Stops these Redis servers, all at the same time. They write their data first.
pub(super) async fn stop_redis(servers: Vec<Detached>) {
    let servers: Vec<_> = servers.into_iter().map(|running| ("redis", running)).collect();
    stop_processes(&servers, Signal::SIGTERM, SERVER_TIMEOUT).await;
}
