//! The demo: a page with its own small server on Node.js. Everything else works without it, so a failure to start it is
//! only printed. Touches one child and its log.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use super::detached::Detached;
use super::state::State;
use super::{Home, ports_of};
use crate::node::{Service, with_environment};
use crate::ports;
use crate::say;

/// Distance from the first gateway's port.
const PORT_OFFSET: u16 = 2;
const PATIENCE: Duration = Duration::from_secs(20);
const END_PATIENCE: Duration = Duration::from_secs(5);
const LEFT_PATIENCE: Duration = Duration::from_secs(2);
/// The setting of the services with the allowed origins.
pub(super) const ALLOWED_ORIGINS: &str = "TIDINGS_ALLOWED_ORIGINS";

/// Its port.
pub(super) fn port(first: u16) -> Result<u16> {
    first.checked_add(PORT_OFFSET).context("the port is too high")
}

/// Its URL.
pub(super) fn url(first: u16) -> Result<String> {
    Ok(format!("http://127.0.0.1:{}", port(first)?))
}

/// The origins that the developer allows, and the demo's origin. An empty list and `*` already allow the demo.
pub(super) fn with_its_origins(allowed: &str, first: u16) -> Result<String> {
    let mut entries = allowed.split(',').map(str::trim).filter(|entry| !entry.is_empty()).peekable();
    if entries.peek().is_none() || entries.any(|entry| entry == "*") {
        return Ok(allowed.to_owned());
    }
    let port = port(first)?;
    Ok(format!("{},http://127.0.0.1:{port},http://localhost:{port}", allowed.trim().trim_end_matches(',')))
}

/// Runs this program as the demo's server, with these nodes; without a program stops the server.
pub(super) async fn up(home: &Home, state: &mut State, program: Option<&Path>) -> Result<()> {
    let Some(program) = program else {
        stop(state).await;
        return state.save(home);
    };
    let log = home.log("demo");
    let started = launch(state, program, &log).await;
    state.save(home)?;
    let started = match (started, &state.demo.running) {
        (Ok(()), Some(running)) => {
            let port = port(state.first_port)?;
            running.until_ready(PATIENCE, &log, || answers(port)).await.map(|()| running.pid)
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

/// Starts it unless it already runs with the same settings.
async fn launch(state: &mut State, program: &Path, log: &Path) -> Result<()> {
    let settings = settings(state, program)?;
    if state.demo.running.as_ref().is_some_and(Detached::is_alive) && state.demo.settings == settings {
        return Ok(());
    }
    stop(state).await;
    let port = port(state.first_port)?;
    if !is_left(port).await {
        bail!("port {port} of 127.0.0.1 is taken by another program");
    }
    let mut command = Command::new("node");
    command.arg(program).args(["--port", &port.to_string()]);
    with_environment(&mut command, &settings);
    state.demo.running = Some(Detached::start(&command, log).context("is Node installed?")?);
    state.demo.settings = settings;
    Ok(())
}

/// Whether the port becomes free soon: threads of a process that has ended may hold it a little longer.
async fn is_left(port: u16) -> bool {
    let begun = Instant::now();
    while !ports::is_free(port) {
        if begun.elapsed() > LEFT_PATIENCE {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    true
}

/// Stops it, if it runs.
pub(super) async fn stop(state: &mut State) -> bool {
    let Some(running) = state.demo.running.take().filter(Detached::is_alive) else { return false };
    running.signal(Signal::SIGTERM);
    running.signal(Signal::SIGCONT);
    running.until_ended(END_PATIENCE).await;
    true
}

fn settings(state: &State, program: &Path) -> Result<Vec<(String, String)>> {
    let origins = |service: Service, many: usize| -> Result<String> {
        let ports: Result<Vec<_>> =
            (0..many).map(|number| ports_of(service, state.first_port, number)).collect();
        let urls = ports?.into_iter().map(|ports| format!("http://127.0.0.1:{}", ports.public));
        Ok(urls.collect::<Vec<_>>().join(","))
    };
    // A new build changes the settings, so that the server is restarted.
    let page = program.with_file_name("dist").join("index.html");
    let built = page.metadata().and_then(|page| page.modified()).context("it is not built")?;
    let built = built.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let settings = [
        ("TIDINGS_JWT_SECRET", state.jwt_secret.clone()),
        ("TIDINGS_DEMO_GATEWAYS", origins(Service::Gateway, state.gateways.len())?),
        ("TIDINGS_DEMO_PERSISTENCE", origins(Service::Persistence, state.persistence.len())?),
        ("TIDINGS_DEMO_BUILT", built.to_string()),
    ];
    Ok(settings.map(|(name, value)| (name.to_owned(), value)).to_vec())
}

async fn answers(port: u16) -> bool {
    let asked = crate::http::client().get(format!("http://127.0.0.1:{port}/healthz"));
    asked.timeout(Duration::from_secs(2)).send().await.is_ok_and(|answer| answer.status() == 200)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demo_origin_is_added_only_to_a_list_of_origins() {
        let with = |allowed| with_its_origins(allowed, 8080).unwrap();
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
