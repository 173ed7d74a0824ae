//! The demo: a page with its own small server on Node.js. Everything else works without the demo, so a failure to start
//! it is only printed. Touches one child and its log.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use super::companion::Companion;
use super::detached::Detached;
use super::state::State;
use super::{Home, ports_of};
use crate::node::{Service, set_environment};
use crate::ports;
use crate::say;

/// The demo's port is the first gateway's port plus this number.
const PORT_OFFSET: u16 = 2;
const WAIT_TIMEOUT: Duration = Duration::from_secs(20);
const END_TIMEOUT: Duration = Duration::from_secs(5);
const PORT_FREE_TIMEOUT: Duration = Duration::from_secs(2);
/// The setting of the services that lists the allowed origins.
pub(super) const ALLOWED_ORIGINS: &str = "TIDINGS_ALLOWED_ORIGINS";

/// The demo's port.
pub(super) fn port(first: u16) -> Result<u16> {
    first.checked_add(PORT_OFFSET).context("the port is too high")
}

/// The demo's URL.
pub(super) fn url(first: u16) -> Result<String> {
    Ok(format!("http://127.0.0.1:{}", port(first)?))
}

/// Adds the demo's origin to the origins that the developer allows. An empty list and `*` already allow the demo.
pub(super) fn add_demo_origins(allowed: &str, first: u16) -> Result<String> {
    let mut entries = allowed.split(',').map(str::trim).filter(|entry| !entry.is_empty()).peekable();
    if entries.peek().is_none() || entries.any(|entry| entry == "*") {
        return Ok(allowed.to_owned());
    }
    let port = port(first)?;
    Ok(format!("{},http://127.0.0.1:{port},http://localhost:{port}", allowed.trim().trim_end_matches(',')))
}

/// Runs this program as the demo's server, connected to the running nodes. Without a program, stops the server.
pub(super) async fn start_or_stop(home: &Home, state: &mut State, program: Option<&Path>) -> Result<()> {
    let Some(program) = program else {
        stop(state).await;
        return state.save(home);
    };
    let log = home.log_file("demo");
    let started = ensure_started(state, program, &log).await;
    state.save(home)?;
    let started = match (started, &state.demo.running) {
        (Ok(()), Some(running)) => {
            let port = port(state.first_port)?;
            running.until_ready(WAIT_TIMEOUT, &log, || is_answering(port)).await.map(|()| running.pid)
        }
        (Ok(()), None) => return Ok(()),
        (Err(error), _) => Err(error),
    };
    match started {
        Ok(pid) => say!("demo         {} (pid {pid})", url(state.first_port)?),
        Err(error) => {
            say!("demo         not started: {error:#}");
            stop(state).await;
            state.save(home)?;
        }
    }
    Ok(())
}

/// Starts the demo's server unless it already runs with the same settings.
async fn ensure_started(state: &mut State, program: &Path, log: &Path) -> Result<()> {
    let settings = demo_settings(state, program)?;
    if state.demo.running.as_ref().is_some_and(Detached::is_alive) && state.demo.settings == settings {
        return Ok(());
    }
    stop(state).await;
    let port = port(state.first_port)?;
    if !wait_until_free(port).await {
        bail!("port {port} of 127.0.0.1 is taken by another program");
    }
    let mut command = Command::new("node");
    command.arg(program).args(["--port", &port.to_string()]);
    set_environment(&mut command, &settings);
    state.demo.running = Some(Detached::start(&command, log).context("is Node installed?")?);
    state.demo.settings = settings;
    Ok(())
}

/// Waits at most [`PORT_FREE_TIMEOUT`] until the port is free, and returns whether it is. A process that has just ended
/// may still hold it.
async fn wait_until_free(port: u16) -> bool {
    let begun = Instant::now();
    while !ports::is_free(port) {
        if begun.elapsed() > PORT_FREE_TIMEOUT {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    true
}

/// Stops the demo's server. Returns whether it ran.
pub(super) async fn stop(state: &mut State) -> bool {
    let Some(running) = state.demo.running.take().filter(Detached::is_alive) else { return false };
    running.signal(Signal::SIGTERM);
    running.signal(Signal::SIGCONT);
    running.until_ended(END_TIMEOUT).await;
    true
}

fn demo_settings(state: &State, program: &Path) -> Result<Vec<(String, String)>> {
    let origins = |service: Service, count: usize| -> Result<String> {
        let ports: Result<Vec<_>> =
            (0..count).map(|number| ports_of(service, state.first_port, number)).collect();
        let urls = ports?.into_iter().map(|ports| format!("http://127.0.0.1:{}", ports.public));
        Ok(urls.collect::<Vec<_>>().join(","))
    };
    // The settings include the build, because a new build must restart the server.
    let page = program.with_file_name("dist").join("index.html");
    let built = page.metadata().and_then(|page| page.modified()).context("it is not built")?;
    let built = built.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let settings = [
        ("TIDINGS_JWT_SECRET", state.jwt_secret.clone()),
        ("TIDINGS_DEMO_GATEWAYS", origins(Service::Gateway, state.gateways.len())?),
        ("TIDINGS_DEMO_PERSISTENCE", origins(Service::Persistence, state.persistence.len())?),
        ("TIDINGS_DEMO_PROGRAMS", companion_origins(state)?),
        ("TIDINGS_DEMO_BUILT", built.to_string()),
    ];
    Ok(settings.map(|(name, value)| (name.to_owned(), value)).to_vec())
}

/// The origins of the programs as the demo reads them: `files=http://127.0.0.1:8083,push=…`.
fn companion_origins(state: &State) -> Result<String> {
    let origin = |companion: &Companion| {
        Ok(format!("{}=http://127.0.0.1:{}", companion.name(), companion.port(state.first_port)?))
    };
    Ok(state.companions.keys().map(origin).collect::<Result<Vec<_>>>()?.join(","))
}

async fn is_answering(port: u16) -> bool {
    let request = crate::http::client().get(format!("http://127.0.0.1:{port}/healthz"));
    request.timeout(Duration::from_secs(2)).send().await.is_ok_and(|answer| answer.status() == 200)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demo_origin_is_added_only_to_a_list_of_origins() {
        let with = |allowed| add_demo_origins(allowed, 8080).unwrap();
        assert_eq!(with(""), "");
        assert_eq!(with(" *"), " *");
        assert_eq!(with("https://a.example, *"), "https://a.example, *");
        let both = "https://a.example,http://127.0.0.1:8082,http://localhost:8082";
        assert_eq!(
            (with("https://a.example"), with("https://a.example,")),
            (both.to_owned(), both.to_owned())
        );
    }
}
