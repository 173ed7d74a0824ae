//! Starts and stops the companion programs of `./dev up --with`, one replica of each.
//! Touches children, their logs, and the folder of the files.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nix::sys::signal::Signal;

use super::companion::Companion;
use super::detached::stop_processes;
use super::launch::{NODE_TIMEOUT, launch, passed_on};
use super::state::State;
use super::{ADMIN_PORT_OFFSET, Home};
use crate::node::{self, is_ready};
use crate::{say, stack};

const STOP_TIMEOUT: Duration = Duration::from_secs(40);

/// Starts the programs of `state` that do not run.
pub(super) async fn start(home: &Home, state: &mut State, with_demo: bool) -> Result<()> {
    let wanted: Vec<Companion> = state.companions.keys().copied().collect();
    if wanted.iter().any(|companion| companion.reads_feed()) {
        stack::set_feed(&state.database_url, true).await?;
    }
    for companion in wanted {
        let (name, port) = (companion.name(), companion.port(state.first_port)?);
        let program = format!("tidings-{name}");
        let settings = settings(home, state, companion, port, with_demo)?;
        let log = home.log_file(name);
        let node = state.companions.entry(companion).or_default();
        let ports = [port, port + ADMIN_PORT_OFFSET];
        let launched = launch(node, name, &node::program(&program)?, settings, &ports, &log);
        state.save(home)?;
        launched?;
        let running = state.companions.get(&companion).and_then(|node| node.running.as_ref());
        let running = running.context("just launched")?;
        let ready = running.until_ready(NODE_TIMEOUT, &log, || is_ready(port + ADMIN_PORT_OFFSET));
        ready.await.with_context(|| format!("{program} on port {port}"))?;
        say!("{name:<12} http://127.0.0.1:{port} (pid {})", running.pid);
    }
    Ok(())
}

/// Stops all programs but those in `keep`. The next `up` starts them again.
pub(super) async fn stop(state: &mut State, keep: &BTreeSet<Companion>) {
    let others = state.companions.iter_mut().filter(|(companion, _)| !keep.contains(companion));
    let surplus: Vec<_> =
        others.filter_map(|(companion, node)| Some((companion.name(), node.running.take()?))).collect();
    stop_processes(&surplus, Signal::SIGTERM, STOP_TIMEOUT).await;
}

fn settings(
    home: &Home,
    state: &mut State,
    companion: Companion,
    port: u16,
    with_demo: bool,
) -> Result<Vec<(String, String)>> {
    let mut settings = Vec::new();
    let mut add = |name: &str, value: String| settings.push((name.to_owned(), value));
    let prefix = format!("TIDINGS_{}", companion.name().to_uppercase());
    add("DATABASE_URL", state.database_url.clone());
    add("TIDINGS_JWT_SECRET", state.jwt_secret.clone());
    add(&format!("{prefix}_LISTEN"), format!("127.0.0.1:{port}"));
    add(&format!("{prefix}_ADMIN_LISTEN"), format!("127.0.0.1:{}", port + ADMIN_PORT_OFFSET));
    match companion {
        Companion::Files => {
            add("TIDINGS_FILES_SECRET", state.files_secret.clone());
            let folder = home.files_folder();
            std::fs::create_dir_all(&folder)?;
            add("TIDINGS_FILES_FOLDER", folder.display().to_string());
        }
        Companion::Push => {
            add("REDIS_URL", state.redis_url.clone());
            if state.vapid_key.is_empty() {
                // Any 32 random bytes are a private key of P-256, except one time in four thousand million.
                state.vapid_key = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
            }
            add("TIDINGS_PUSH_VAPID_KEY", state.vapid_key.clone());
            add("TIDINGS_PUSH_VAPID_SUBJECT", "mailto:developer@example.org".to_owned());
        }
        // A developer's webhook receivers run on this machine, so private addresses are allowed.
        Companion::Webhooks => add("TIDINGS_WEBHOOKS_ALLOW_PRIVATE", "true".to_owned()),
    }
    settings.extend(passed_on(state.first_port, with_demo)?);
    Ok(settings)
}
